// The 3 x 3 x 3 convolution with stride 1 and padding 1 in float32 by Winograd's minimal filtering,
// on the CPU alone and without gradient:
//   y[b, v, o] = bias[o] + sum over taps t and channels c of weight[o, c, t] * x[b, v + t, c],
// with x = 0 outside the volume. F(2, 3) along the depth and F(4, 3) along rows and columns: a tile
// of 2 x 4 x 4 outputs needs 4 x 6 x 6 = 144 products a pair of channels, the sum itself 864.
#pragma once

#include "mri2pet/status.h"
#include "mri2pet/types.h"

namespace mri2pet {

// The weights as the products read them. They depend on the instruction set that runs.
struct WinogradWeights {
  std::int64_t channels_in = 0, channels_out = 0;
  const void* weight = nullptr;  // float [channels_out, channels_in, 3, 3, 3]
  void* transformed = nullptr;   // float [winograd_weights_size()]
  Resources resources;           // no workspace
};

struct WinogradForward {
  std::int64_t batch = 0;                          // B
  std::int64_t depth = 0, height = 0, width = 0;   // K, I, J
  std::int64_t channels_in = 0, channels_out = 0;
  const void* x = nullptr;            // float [B, K, I, J, channels_in]
  const void* transformed = nullptr;  // of winograd_weights
  const void* bias = nullptr;         // float [channels_out], or null
  void* y = nullptr;                  // float [B, K, I, J, channels_out]
  Resources resources;
};

Status check(const WinogradWeights& p);
Status check(const WinogradForward& p);

namespace cpu {
// Floats of the transformed weights.
std::int64_t winograd_weights_size(std::int64_t channels_in, std::int64_t channels_out);
Status winograd_weights(const WinogradWeights& p);
std::int64_t winograd_forward_workspace(const WinogradForward& p);
Status winograd_forward(const WinogradForward& p);
}  // namespace cpu

}  // namespace mri2pet
