// Linear attention with its algebra folded, whole block (Shen et al. 2021; docs/kernels.md).
//
//   P = softmax_N(Wk X)              [B, D, N]  never stored; D = heads * width
//   S = P X^T                        [B, D, C]
//   ctx_h = S_h Wv_h^T               [B, heads, width, width]
//   M = sum_h Wo_h ctx_h^T Wq_h      [B, C, C]
//   Y = M X + b                      [B, C, N]
//
// Acc is the accumulation type (types.h). Matrices of Acc are contiguous, row-major.
#pragma once

#include "mri2pet/status.h"
#include "mri2pet/types.h"

namespace mri2pet {

struct LinearAttentionForward {
  std::int64_t batch = 0;     // B
  std::int64_t channels = 0;  // C
  std::int64_t voxels = 0;    // N
  std::int64_t heads = 0;
  std::int64_t width = 0;     // rows of q, k and v a head
  DType dtype = DType::f32;   // of x and y
  const void* x = nullptr;    // [B, C, N]
  Strides x_strides;
  const void* w_qkv = nullptr;  // Acc [3 D, C], rows in the order (q k v) (heads) (width)
  const void* w_out = nullptr;  // Acc [C, D]
  const void* bias = nullptr;   // Acc [C]
  void* y = nullptr;            // [B, C, N], of the layout of x
  Strides y_strides;
  // Kept for the backward pass of the same device. row_max and row_sum may be to base 2.
  void* row_max = nullptr;  // Acc [B, D]: max_n (Wk x)
  void* row_sum = nullptr;  // Acc [B, D]: sum_n exp(Wk x - row_max)
  void* s = nullptr;        // Acc [B, D, C]
  void* m = nullptr;        // Acc [B, C, C]
  Resources resources;
};

// With G = dL/dY:
//   dM = G X^T, db = sum_n G; from dM by small products dWq, dWo, dctx, hence dWv and dS;
//   r_d = <dS_d, S_d>,  dK[d, n] = P[d, n] (<dS_d, x_n> - r_d),  P recomputed;
//   dX = M^T G + dS^T P + Wk^T dK,  dWk = dK X^T.
// Gradients of weights are sums over the batch.
struct LinearAttentionBackward {
  std::int64_t batch = 0;
  std::int64_t channels = 0;
  std::int64_t voxels = 0;
  std::int64_t heads = 0;
  std::int64_t width = 0;
  DType dtype = DType::f32;  // of x, grad_y and grad_x
  const void* x = nullptr;   // [B, C, N]
  Strides x_strides;
  const void* grad_y = nullptr;  // [B, C, N], of the layout of x
  Strides grad_y_strides;
  const void* w_qkv = nullptr;    // Acc [3 D, C]
  const void* w_out = nullptr;    // Acc [C, D]
  const void* row_max = nullptr;  // Acc [B, D], of the forward pass, as the next three
  const void* row_sum = nullptr;  // Acc [B, D]
  const void* s = nullptr;        // Acc [B, D, C]
  const void* m = nullptr;        // Acc [B, C, C]
  void* grad_x = nullptr;         // [B, C, N], of the layout of x
  Strides grad_x_strides;
  void* grad_w_qkv = nullptr;  // Acc [3 D, C]
  void* grad_w_out = nullptr;  // Acc [C, D]
  void* grad_bias = nullptr;   // Acc [C]
  Resources resources;
};

// What both backends refuse alike.
Status check(const LinearAttentionForward& p);
Status check(const LinearAttentionBackward& p);

namespace cpu {
std::int64_t linear_attention_forward_workspace(const LinearAttentionForward& p);
std::int64_t linear_attention_backward_workspace(const LinearAttentionBackward& p);
Status linear_attention_forward(const LinearAttentionForward& p);
Status linear_attention_backward(const LinearAttentionBackward& p);
}  // namespace cpu

namespace cuda {
std::int64_t linear_attention_forward_workspace(const LinearAttentionForward& p);
std::int64_t linear_attention_backward_workspace(const LinearAttentionBackward& p);
Status linear_attention_forward(const LinearAttentionForward& p);
Status linear_attention_backward(const LinearAttentionBackward& p);
}  // namespace cuda

}  // namespace mri2pet
