// What is left of GroupNorm(1) when the statistics are known (conv3d.h), on CUDA alone:
//   y = act((x - mean) rstd weight + bias + residual + channel_bias),
// act being the GELU or nothing. All tensors are channels-last and contiguous, C is a multiple of 8.
#pragma once

#include "mri2pet/conv3d.h"

namespace mri2pet {

struct ApplyNorm {
  std::int64_t batch = 0;     // B
  std::int64_t channels = 0;  // C
  std::int64_t voxels = 0;    // N
  DType dtype = DType::f16;   // f16 or bf16: of x, residual, residual2 and y
  bool gelu = true;
  double eps = 1e-5;
  const void* x = nullptr;            // [B, N, C]
  const void* parts = nullptr;        // Conv3dPart [B, part_count] of x
  std::int64_t part_count = 0;
  const void* weight = nullptr;       // float [C]
  const void* bias = nullptr;         // float [C]
  const void* residual = nullptr;     // [B, N, C] or its first channels; or null
  const void* residual2 = nullptr;    // the other channels, or null
  std::int64_t channels_residual2 = 0;  // of C; the rest is in residual, 8 n channels each
  const void* channel_bias = nullptr;   // float [B, C], or null
  void* y = nullptr;                    // [B, N, C]
  Resources resources;                  // no workspace
};

constexpr std::int64_t kApplyNormMostChannels = 128;

Status check(const ApplyNorm& p);

namespace cuda {
Status apply_norm(const ApplyNorm& p);
}  // namespace cuda

}  // namespace mri2pet
