#include "mri2pet/group_norm_gelu.h"

#include "isa.h"
#include "memory.h"

namespace mri2pet::cpu {

MRI2PET_DECLARE_KERNEL(
    std::int64_t group_norm_gelu_forward_bytes(const GroupNormGeluForward& p);
    std::int64_t group_norm_gelu_backward_bytes(const GroupNormGeluBackward& p);
    void group_norm_gelu_forward_kernel(const GroupNormGeluForward& p);
    void group_norm_gelu_backward_kernel(const GroupNormGeluBackward& p);)

namespace {

// The kernels walk a channels-last sample as one run of values.
template <typename Params>
Status check_dense(const Params& p) {
  const bool last = layout_of(p.x_strides, p.channels, p.voxels) == Layout::channels_last;
  if (last && p.x_strides.voxel != p.channels)
    return {Code::bad_layout, "a channels-last tensor must be dense on the CPU"};
  return {};
}

template <typename Params>
std::int64_t tensor_bytes(const Params& p) {
  return p.batch * p.channels * p.voxels * element_bytes(p.dtype);
}

}  // namespace

std::int64_t group_norm_gelu_forward_workspace(const GroupNormGeluForward& p) {
  return MRI2PET_DISPATCH(group_norm_gelu_forward_bytes(p));
}

std::int64_t group_norm_gelu_backward_workspace(const GroupNormGeluBackward& p) {
  return MRI2PET_DISPATCH(group_norm_gelu_backward_bytes(p));
}

Status group_norm_gelu_forward(const GroupNormGeluForward& p) {
  if (const Status status = check(p); !status.ok()) return status;
  if (const Status status = check_dense(p); !status.ok()) return status;
  if (const Status status = check_workspace(p.resources, group_norm_gelu_forward_workspace(p));
      !status.ok())
    return status;
  expect_to_fill(p.y, tensor_bytes(p));
  MRI2PET_DISPATCH(group_norm_gelu_forward_kernel(p));
  return {};
}

Status group_norm_gelu_backward(const GroupNormGeluBackward& p) {
  if (const Status status = check(p); !status.ok()) return status;
  if (const Status status = check_dense(p); !status.ok()) return status;
  if (const Status status = check_workspace(p.resources, group_norm_gelu_backward_workspace(p));
      !status.ok())
    return status;
  expect_to_fill(p.grad_x, tensor_bytes(p));
  if (p.grad_residual != nullptr) expect_to_fill(p.grad_residual, tensor_bytes(p));
  MRI2PET_DISPATCH(group_norm_gelu_backward_kernel(p));
  return {};
}

}  // namespace mri2pet::cpu
