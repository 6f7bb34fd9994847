// The 3 x 3 x 3 convolution with stride 1 and padding 1 of volumes with few channels, on CUDA alone:
//   y[b, v, o] = sum over taps t and channels c of weight[o, t, c] * h[b, v + t, c],
// with h = x, or h = gelu(GroupNorm(1)(x)) where `parts` are given, and h = 0 outside the volume.
// All tensors are channels-last and contiguous; sums are float32.
#pragma once

#include "mri2pet/status.h"
#include "mri2pet/types.h"

namespace mri2pet {

// Mean, sum of squared deviations and number of the values of one block's output.
struct Conv3dPart {
  float mean, squares, count;
};

struct Conv3dForward {
  std::int64_t batch = 0;                        // B
  std::int64_t depth = 0, height = 0, width = 0;  // K, I, J
  std::int64_t channels_in = 0, channels_out = 0;  // each at most kConv3dMostChannels
  DType dtype = DType::f16;                      // f16 or bf16: of x, x2, weight and y
  const void* x = nullptr;                       // [B, K, I, J, C] or its first channels
  const void* x2 = nullptr;                      // the other channels, or null
  std::int64_t channels_x2 = 0;                  // of channels_in; the rest is in x, 8 n channels
  const void* weight = nullptr;                  // [channels_out, 3, 3, 3, channels_in]
  const void* in_parts = nullptr;   // Conv3dPart [B, in_part_count] of x, or null for no norm
  std::int64_t in_part_count = 0;
  const void* norm_weight = nullptr;  // float [channels_in], with in_parts
  const void* norm_bias = nullptr;    // float [channels_in], with in_parts
  double eps = 1e-5;
  void* y = nullptr;                // [B, K, I, J, channels_out]
  void* parts = nullptr;            // Conv3dPart [B, conv3d_parts()] of y, or null
  int variant = 0;                  // which tile, 0 ... kConv3dVariants - 1
  std::int64_t planes = 0;          // output planes a block; 0: as the device is filled
  Resources resources;              // no workspace
};

constexpr std::int64_t kConv3dMostChannels = 48;
constexpr int kConv3dVariants = 3;

Status check(const Conv3dForward& p);

namespace cuda {
// Blocks a sample, each of which writes one Conv3dPart; 0 where the launcher would refuse.
std::int64_t conv3d_parts(const Conv3dForward& p);
Status conv3d(const Conv3dForward& p);
}  // namespace cuda

}  // namespace mri2pet
