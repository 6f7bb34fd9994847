// y = concat(skip, upsampled x) along the channels, on CUDA alone: x is brought to the volume of skip
// by trilinear interpolation with aligned corners, as torch's interpolate(align_corners=True).
// Interpolation is in float32; y is rounded once.
#pragma once

#include "mri2pet/status.h"
#include "mri2pet/types.h"

namespace mri2pet {

struct UpsampleConcatForward {
  std::int64_t batch = 0;                                              // B
  std::int64_t depth = 0, height = 0, width = 0;                       // of skip and y
  std::int64_t coarse_depth = 0, coarse_height = 0, coarse_width = 0;  // of x
  std::int64_t channels_skip = 0, channels_x = 0;
  DType dtype = DType::f32;  // of all tensors: f32, bf16 or f16
  const void* skip = nullptr;  // [B, channels_skip, N]
  Strides skip_strides;
  const void* x = nullptr;  // [B, channels_x, coarse N], of the layout of skip
  Strides x_strides;
  void* y = nullptr;  // [B, channels_skip + channels_x, N], likewise
  Strides y_strides;
  Resources resources;  // no workspace
};

// The gradient of x: the transpose of the interpolation, applied to the last channels of grad_y.
struct UpsampleConcatBackward {
  std::int64_t batch = 0;
  std::int64_t depth = 0, height = 0, width = 0;
  std::int64_t coarse_depth = 0, coarse_height = 0, coarse_width = 0;
  std::int64_t channels_skip = 0, channels_x = 0;
  DType dtype = DType::f32;
  const void* grad_y = nullptr;  // [B, channels_skip + channels_x, N]
  Strides grad_y_strides;
  void* grad_x = nullptr;  // [B, channels_x, coarse N], of the layout of grad_y
  Strides grad_x_strides;
  Resources resources;  // no workspace
};

Status check(const UpsampleConcatForward& p);
Status check(const UpsampleConcatBackward& p);

namespace cuda {
Status upsample_concat_forward(const UpsampleConcatForward& p);
Status upsample_concat_backward(const UpsampleConcatBackward& p);
}  // namespace cuda

}  // namespace mri2pet
