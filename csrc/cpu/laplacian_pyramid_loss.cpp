#include "mri2pet/laplacian_pyramid_loss.h"

#include "isa.h"
#include "memory.h"

namespace mri2pet::cpu {

MRI2PET_DECLARE_KERNEL(
    std::int64_t laplacian_pyramid_loss_forward_bytes(const LaplacianPyramidLossForward& p);
    void laplacian_pyramid_loss_forward_kernel(const LaplacianPyramidLossForward& p);
    void laplacian_pyramid_loss_backward_kernel(const LaplacianPyramidLossBackward& p);)

std::int64_t laplacian_pyramid_loss_forward_workspace(const LaplacianPyramidLossForward& p) {
  return MRI2PET_DISPATCH(laplacian_pyramid_loss_forward_bytes(p));
}

Status laplacian_pyramid_loss_forward(const LaplacianPyramidLossForward& p) {
  if (const Status status = check(p); !status.ok()) return status;
  if (const Status status =
          check_workspace(p.resources, laplacian_pyramid_loss_forward_workspace(p));
      !status.ok())
    return status;
  if (p.grad != nullptr)
    expect_to_fill(p.grad, p.batch * p.slices * p.rows * p.columns *
                               accumulator_bytes(p.output_dtype));
  MRI2PET_DISPATCH(laplacian_pyramid_loss_forward_kernel(p));
  return {};
}

Status laplacian_pyramid_loss_backward(const LaplacianPyramidLossBackward& p) {
  if (const Status status = check(p); !status.ok()) return status;
  if (const Status status = check_workspace(p.resources, 0); !status.ok()) return status;
  expect_to_fill(p.grad_output, p.count * element_bytes(p.output_dtype));
  MRI2PET_DISPATCH(laplacian_pyramid_loss_backward_kernel(p));
  return {};
}

}  // namespace mri2pet::cpu
