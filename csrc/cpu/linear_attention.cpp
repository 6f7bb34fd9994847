#include "mri2pet/linear_attention.h"

#include "isa.h"
#include "memory.h"

namespace mri2pet::cpu {

MRI2PET_DECLARE_KERNEL(
    std::int64_t linear_attention_forward_bytes(const LinearAttentionForward& p);
    std::int64_t linear_attention_backward_bytes(const LinearAttentionBackward& p);
    void linear_attention_forward_kernel(const LinearAttentionForward& p);
    void linear_attention_backward_kernel(const LinearAttentionBackward& p);)

std::int64_t linear_attention_forward_workspace(const LinearAttentionForward& p) {
  return MRI2PET_DISPATCH(linear_attention_forward_bytes(p));
}

std::int64_t linear_attention_backward_workspace(const LinearAttentionBackward& p) {
  return MRI2PET_DISPATCH(linear_attention_backward_bytes(p));
}

Status linear_attention_forward(const LinearAttentionForward& p) {
  if (const Status status = check(p); !status.ok()) return status;
  if (Status status = check_workspace(p.resources, linear_attention_forward_workspace(p));
      !status.ok())
    return status;
  expect_to_fill(p.y, p.batch * p.channels * p.voxels * element_bytes(p.dtype));
  MRI2PET_DISPATCH(linear_attention_forward_kernel(p));
  return {};
}

Status linear_attention_backward(const LinearAttentionBackward& p) {
  if (const Status status = check(p); !status.ok()) return status;
  if (Status status = check_workspace(p.resources, linear_attention_backward_workspace(p));
      !status.ok())
    return status;
  expect_to_fill(p.grad_x, p.batch * p.channels * p.voxels * element_bytes(p.dtype));
  MRI2PET_DISPATCH(linear_attention_backward_kernel(p));
  return {};
}

}  // namespace mri2pet::cpu
