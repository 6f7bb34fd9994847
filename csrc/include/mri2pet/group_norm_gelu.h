// y = act(h) with h = xhat * weight + bias + residual + channel_bias, xhat = (x - mean) * rstd:
// GroupNorm with one group over all C N values of a sample; act is the exact (erf) GELU or nothing.
// Acc is the accumulation type (types.h).
#pragma once

#include "mri2pet/status.h"
#include "mri2pet/types.h"

namespace mri2pet {

struct GroupNormGeluForward {
  std::int64_t batch = 0;     // B
  std::int64_t channels = 0;  // C
  std::int64_t voxels = 0;    // N
  DType dtype = DType::f32;   // of x, residual and y
  bool gelu = true;
  double eps = 1e-5;
  const void* x = nullptr;  // [B, C, N]
  Strides x_strides;
  const void* weight = nullptr;    // Acc [C]
  const void* bias = nullptr;      // Acc [C]
  const void* residual = nullptr;  // [B, C, N] of the layout of x, or null
  Strides residual_strides;
  const void* channel_bias = nullptr;  // Acc [B, C] contiguous, or null
  void* y = nullptr;                   // [B, C, N], of the layout of x
  Strides y_strides;
  void* mean = nullptr;  // Acc [B], kept for the backward pass
  void* rstd = nullptr;  // Acc [B], 1 / sqrt(variance + eps), likewise
  Resources resources;
};

// With dh = grad_y * act'(h), h recomputed:
//   grad_residual = dh, grad_channel_bias[b, c] = sum_n dh, grad_bias = sum_b of it,
//   grad_weight[c] = sum_bn dh xhat,
//   grad_x = rstd (weight dh - mean_cn(weight dh) - xhat mean_cn(weight dh xhat)).
struct GroupNormGeluBackward {
  std::int64_t batch = 0;
  std::int64_t channels = 0;
  std::int64_t voxels = 0;
  DType dtype = DType::f32;  // of x, residual, grad_y, grad_x and grad_residual
  bool gelu = true;
  const void* x = nullptr;
  Strides x_strides;
  const void* weight = nullptr;    // Acc [C]
  const void* bias = nullptr;      // Acc [C]
  const void* residual = nullptr;  // as in the forward pass, or null
  Strides residual_strides;
  const void* channel_bias = nullptr;  // as in the forward pass, or null
  const void* mean = nullptr;          // Acc [B]
  const void* rstd = nullptr;          // Acc [B]
  const void* grad_y = nullptr;        // [B, C, N], of the layout of x
  Strides grad_y_strides;
  void* grad_x = nullptr;  // [B, C, N], of the layout of x
  Strides grad_x_strides;
  void* grad_residual = nullptr;  // [B, C, N] of the layout of x, or null when not wanted
  Strides grad_residual_strides;
  void* grad_weight = nullptr;        // Acc [C]
  void* grad_bias = nullptr;          // Acc [C]
  void* grad_channel_bias = nullptr;  // Acc [B, C], or null when not wanted
  Resources resources;
};

Status check(const GroupNormGeluForward& p);
Status check(const GroupNormGeluBackward& p);

namespace cpu {
std::int64_t group_norm_gelu_forward_workspace(const GroupNormGeluForward& p);
std::int64_t group_norm_gelu_backward_workspace(const GroupNormGeluBackward& p);
Status group_norm_gelu_forward(const GroupNormGeluForward& p);
Status group_norm_gelu_backward(const GroupNormGeluBackward& p);
}  // namespace cpu

namespace cuda {
std::int64_t group_norm_gelu_forward_workspace(const GroupNormGeluForward& p);
std::int64_t group_norm_gelu_backward_workspace(const GroupNormGeluBackward& p);
Status group_norm_gelu_forward(const GroupNormGeluForward& p);
Status group_norm_gelu_backward(const GroupNormGeluBackward& p);
}  // namespace cuda

}  // namespace mri2pet
