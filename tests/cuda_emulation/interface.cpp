// C functions around the launchers, for ctypes. Each op gives <op>(params, &detail) → status code,
// <op>_workspace(params) → bytes and <op>_size() → sizeof its params struct.
#include <cstddef>

#include "mri2pet/apply_norm.h"
#include "mri2pet/conv3d.h"
#include "mri2pet/group_norm_gelu.h"
#include "mri2pet/laplacian_pyramid_loss.h"
#include "mri2pet/linear_attention.h"
#include "mri2pet/sampler_step.h"
#include "mri2pet/upsample_concat.h"

#define LAUNCHER(op, Params)                                                 \
  extern "C" int op(const mri2pet::Params* p, const char** detail) {         \
    const mri2pet::Status status = mri2pet::cuda::op(*p);                    \
    *detail = status.detail;                                                 \
    return static_cast<int>(status.code);                                    \
  }                                                                          \
  extern "C" std::size_t op##_size() { return sizeof(mri2pet::Params); }
#define WORKSPACE(op, Params)                                                \
  extern "C" long long op##_workspace(const mri2pet::Params* p) {            \
    return mri2pet::cuda::op##_workspace(*p);                                \
  }

LAUNCHER(linear_attention_forward, LinearAttentionForward)
WORKSPACE(linear_attention_forward, LinearAttentionForward)
LAUNCHER(linear_attention_backward, LinearAttentionBackward)
WORKSPACE(linear_attention_backward, LinearAttentionBackward)
LAUNCHER(laplacian_pyramid_loss_forward, LaplacianPyramidLossForward)
WORKSPACE(laplacian_pyramid_loss_forward, LaplacianPyramidLossForward)
LAUNCHER(laplacian_pyramid_loss_backward, LaplacianPyramidLossBackward)
LAUNCHER(group_norm_gelu_forward, GroupNormGeluForward)
WORKSPACE(group_norm_gelu_forward, GroupNormGeluForward)
LAUNCHER(group_norm_gelu_backward, GroupNormGeluBackward)
WORKSPACE(group_norm_gelu_backward, GroupNormGeluBackward)
LAUNCHER(sampler_step, SamplerStep)
LAUNCHER(upsample_concat_forward, UpsampleConcatForward)
LAUNCHER(upsample_concat_backward, UpsampleConcatBackward)
LAUNCHER(conv3d, Conv3dForward)
extern "C" long long conv3d_parts(const mri2pet::Conv3dForward* p) {
  return mri2pet::cuda::conv3d_parts(*p);
}
LAUNCHER(apply_norm, ApplyNorm)
