// The matrix products between Winograd's transforms: m[tile, o] = sum over c of v[tile, c] u[c, o].
//
// Vectors run over output channels. Where half a vector is left of them, its lanes hold every
// output twice, for an even and an odd input channel: a broadcast of two neighbours of v meets
// both, and the two sums of an output are added at the end. So 24 channels fill vectors of 16 lanes.
#pragma once

#include "blocks.h"
#include "vec.h"

namespace mri2pet::cpu::MRI2PET_BUILD {

constexpr int kHalf = kLanes<float> / 2;
constexpr int kRows = kLanes<float> == 16 ? 8 : 4;  // tiles at a time; the sums stay in registers
constexpr int kMostVectors = 3;                     // of outputs at a time

inline Vec<float> splat_pair(const float* from) {
  double pair;
  std::memcpy(&pair, from, sizeof pair);
  return (Vec<float>)splat(pair);
}

// The output channels of a product: `full` vectors, and a half one.
struct OutputBlock {
  int full, half;
  // Vectors that a pair of input channels brings.
  int vectors() const { return 2 * full + half; }
  std::int64_t channels() const { return full * kLanes<float> + half * kHalf; }
};

// The block that begins at output channel `first`, of `padded` (a multiple of kHalf).
inline OutputBlock output_block(std::int64_t first, std::int64_t padded) {
  constexpr int W = kLanes<float>;
  const std::int64_t left = padded - first;
  const int full = static_cast<int>(smaller(left / W, kMostVectors));
  return {full, full < kMostVectors && left - full * W == kHalf ? 1 : 0};
}

// Channels lie in runs of a vector's width, the last run narrower: [run][tile][channel of the run].
// kRows tiles by one block of outputs; v and m are at the first of these tiles in the first run, u
// at the weights of the block; `tiles` of a piece, a multiple of kRows.
template <int Full, int Half>
inline void product(const float* v, std::int64_t channels, std::int64_t first, const float* u,
                    float* m, std::int64_t tiles) {
  constexpr int R = kRows, W = kLanes<float>;
  Vec<float> sum[R][Full + 1] = {}, twice[R] = {};
  for (std::int64_t left = channels; left > 0; left -= W, v += tiles * W) {
    const std::int64_t width = smaller(left, W);
    const float* at = v + first * width;
    for (std::int64_t c = 0; c < width; c += 2) {
      for (int odd = 0; odd < 2 && Full > 0; ++odd) {
        Vec<float> right[Full + 1];
        for (int j = 0; j < Full; ++j) right[j] = load(u + (odd * Full + j) * W);
        for (int r = 0; r < R; ++r) {
          const Vec<float> value = splat(at[r * width + c + odd]);
          for (int j = 0; j < Full; ++j) sum[r][j] += value * right[j];
        }
      }
      if (Half) {
        const Vec<float> right = load(u + 2 * Full * W);
        for (int r = 0; r < R; ++r) twice[r] += splat_pair(at + r * width + c) * right;
      }
      u += (2 * Full + Half) * W;
    }
  }
  for (int j = 0; j < Full; ++j, m += tiles * W)
    for (int r = 0; r < R; ++r) store(m + (first + r) * W, sum[r][j]);
  for (int r = 0; r < R && Half; r += 2)
    store(m + (first + r) * kHalf,
          evens<float>(twice[r], twice[r + 1]) + odds<float>(twice[r], twice[r + 1]));
}

template <int Full, int Half>
inline void product_rows(const float* v, std::int64_t channels, const float* u, float* m,
                         std::int64_t tiles) {
  for (std::int64_t first = 0; first < tiles; first += kRows)
    product<Full, Half>(v, channels, first, u, m, tiles);
}

// One position: `channels` (even) come in and `outputs` (a multiple of kHalf) go out.
inline void product_of_position(const float* v, std::int64_t channels, const float* u, float* m,
                                std::int64_t outputs, std::int64_t tiles) {
  for (std::int64_t first = 0; first < outputs;) {
    const OutputBlock block = output_block(first, outputs);
    float* to = m + first * tiles;
    switch (2 * block.full + block.half) {
      case 1: product_rows<0, 1>(v, channels, u, to, tiles); break;
      case 2: product_rows<1, 0>(v, channels, u, to, tiles); break;
      case 3: product_rows<1, 1>(v, channels, u, to, tiles); break;
      case 4: product_rows<2, 0>(v, channels, u, to, tiles); break;
      case 5: product_rows<2, 1>(v, channels, u, to, tiles); break;
      default: product_rows<3, 0>(v, channels, u, to, tiles); break;
    }
    u += channels / 2 * block.vectors() * kLanes<float>;
    first += block.channels();
  }
}

}  // namespace mri2pet::cpu::MRI2PET_BUILD
