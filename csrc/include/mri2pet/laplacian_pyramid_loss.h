// Noise MSE and Laplacian pyramid distance in one pass, with the gradient (docs/kernels.md).
//
//   e = output - target
//   mse = mean(e^2),  laplacian = sum_l mean_b(weight_b * mean (L_l e_b)^2)
//   loss = mse + laplacian_weight * laplacian
//   grad = d loss / d output = 2 e / n + 2 laplacian_weight weight_b sum_l L_l^T (L_l e) / n_l
//
// L_l is level l of 5 of the pyramid of a slice: average-pool 2 x 2 (floor), upsample bilinearly to
// the level's size (align_corners = false), subtract. Acc is float64 beside float64 output,
// float32 otherwise; sums over the volume are at least that exact and repeat bit for bit.
#pragma once

#include "mri2pet/status.h"
#include "mri2pet/types.h"

namespace mri2pet {

constexpr int kPyramidLevels = 5;

struct LaplacianPyramidLossForward {
  std::int64_t batch = 0;    // B
  std::int64_t slices = 0;   // K, axial slices a sample
  std::int64_t rows = 0;     // I, at least 2^5
  std::int64_t columns = 0;  // J, at least 2^5
  DType output_dtype = DType::f32;
  DType target_dtype = DType::f32;  // f64 if and only if output_dtype is
  const void* output = nullptr;     // [B, K, I, J], contiguous
  const void* target = nullptr;     // [B, K, I, J], contiguous
  const void* weight = nullptr;     // Acc [B]
  double laplacian_weight = 0;      // finite, >= 0; at 0 `laplacian` is computed all the same
  void* terms = nullptr;            // Acc [3]: loss, mse, laplacian
  void* grad = nullptr;             // Acc [B, K, I, J], or null when no gradient is wanted
  Resources resources;
};

// grad_output = grad * grad_loss, in the dtype of output.
struct LaplacianPyramidLossBackward {
  std::int64_t count = 0;            // B K I J
  DType output_dtype = DType::f32;   // of grad_output
  const void* grad = nullptr;        // Acc [count], of the forward pass
  const void* grad_loss = nullptr;   // Acc [1], on the device of the tensors
  void* grad_output = nullptr;       // [count]
  Resources resources;
};

Status check(const LaplacianPyramidLossForward& p);
Status check(const LaplacianPyramidLossBackward& p);

namespace cpu {
std::int64_t laplacian_pyramid_loss_forward_workspace(const LaplacianPyramidLossForward& p);
Status laplacian_pyramid_loss_forward(const LaplacianPyramidLossForward& p);
Status laplacian_pyramid_loss_backward(const LaplacianPyramidLossBackward& p);
}  // namespace cpu

namespace cuda {
std::int64_t laplacian_pyramid_loss_forward_workspace(const LaplacianPyramidLossForward& p);
Status laplacian_pyramid_loss_forward(const LaplacianPyramidLossForward& p);
Status laplacian_pyramid_loss_backward(const LaplacianPyramidLossBackward& p);
}  // namespace cuda

}  // namespace mri2pet
