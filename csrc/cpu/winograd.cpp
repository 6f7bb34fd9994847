#include "mri2pet/winograd.h"

#include "isa.h"
#include "memory.h"

namespace mri2pet::cpu {

MRI2PET_DECLARE_KERNEL(
    std::int64_t winograd_weights_count(std::int64_t channels_in, std::int64_t channels_out);
    void winograd_weights_kernel(const WinogradWeights& p);
    std::int64_t winograd_forward_bytes(const WinogradForward& p);
    void winograd_forward_kernel(const WinogradForward& p);)

std::int64_t winograd_weights_size(std::int64_t channels_in, std::int64_t channels_out) {
  return MRI2PET_DISPATCH(winograd_weights_count(channels_in, channels_out));
}

Status winograd_weights(const WinogradWeights& p) {
  if (const Status status = check(p); !status.ok()) return status;
  MRI2PET_DISPATCH(winograd_weights_kernel(p));
  return {};
}

std::int64_t winograd_forward_workspace(const WinogradForward& p) {
  return MRI2PET_DISPATCH(winograd_forward_bytes(p));
}

Status winograd_forward(const WinogradForward& p) {
  if (const Status status = check(p); !status.ok()) return status;
  if (const Status status = check_workspace(p.resources, winograd_forward_workspace(p));
      !status.ok())
    return status;
  expect_to_fill(p.y, p.batch * p.depth * p.height * p.width * p.channels_out * 4);
  MRI2PET_DISPATCH(winograd_forward_kernel(p));
  return {};
}

}  // namespace mri2pet::cpu
