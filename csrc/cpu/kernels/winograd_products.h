// The matrix products between Winograd's transforms: m[tile, o] = sum over c of v[tile, c] u[c, o].
//
// Vectors run over output channels. Where half a vector is left of them, its lanes hold every output
// twice, for an even and an odd input channel: a broadcast of two neighbours of v meets both, and
// the two sums of an output are added at the end. So 24 channels fill vectors of 16 lanes.
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

template <int Full, int Half>
inline void product(const float* v, std::int64_t v_row, const float* u, std::int64_t pairs,
                    float* m, std::int64_t m_row) {
  constexpr int R = kRows, W = kLanes<float>;
  Vec<float> sum[R][Full + 1] = {}, twice[R] = {};
  for (std::int64_t c = 0; c < pairs; ++c) {
    for (int odd = 0; odd < 2 && Full > 0; ++odd) {
      Vec<float> right[Full + 1];
      for (int j = 0; j < Full; ++j) right[j] = load(u + (odd * Full + j) * W);
      for (int r = 0; r < R; ++r) {
        const Vec<float> left = splat(v[r * v_row + 2 * c + odd]);
        for (int j = 0; j < Full; ++j) sum[r][j] += left * right[j];
      }
    }
    if (Half) {
      const Vec<float> right = load(u + 2 * Full * W);
      for (int r = 0; r < R; ++r) twice[r] += splat_pair(v + r * v_row + 2 * c) * right;
    }
    u += (2 * Full + Half) * W;
  }
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < Full; ++j) store(m + r * m_row + j * W, sum[r][j]);
  if (Half) {
    for (int r = 0; r < R; r += 2) {
      const Vec<float> both = evens<float>(twice[r], twice[r + 1]) + odds<float>(twice[r], twice[r + 1]);
      std::memcpy(m + r * m_row + Full * W, &both, sizeof(float) * kHalf);
      std::memcpy(m + (r + 1) * m_row + Full * W, reinterpret_cast<const char*>(&both) + sizeof(float) * kHalf,
                  sizeof(float) * kHalf);
    }
  }
}

template <int Full, int Half>
inline void product_rows(const float* v, std::int64_t v_row, const float* u, std::int64_t pairs,
                         float* m, std::int64_t m_row, std::int64_t rows) {
  for (std::int64_t r = 0; r < rows; r += kRows)
    product<Full, Half>(v + r * v_row, v_row, u, pairs, m + r * m_row, m_row);
}

// rows is a multiple of kRows; v has 2 * pairs channels; u is one position of the weights.
inline void product_of_position(const float* v, std::int64_t v_row, const float* u,
                                std::int64_t pairs, float* m, std::int64_t m_row,
                                std::int64_t rows) {
  for (std::int64_t first = 0; first < m_row;) {
    const OutputBlock block = output_block(first, m_row);
    float* to = m + first;
    switch (2 * block.full + block.half) {
      case 1: product_rows<0, 1>(v, v_row, u, pairs, to, m_row, rows); break;
      case 2: product_rows<1, 0>(v, v_row, u, pairs, to, m_row, rows); break;
      case 3: product_rows<1, 1>(v, v_row, u, pairs, to, m_row, rows); break;
      case 4: product_rows<2, 0>(v, v_row, u, pairs, to, m_row, rows); break;
      case 5: product_rows<2, 1>(v, v_row, u, pairs, to, m_row, rows); break;
      default: product_rows<3, 0>(v, v_row, u, pairs, to, m_row, rows); break;
    }
    u += pairs * block.vectors() * kLanes<float>;
    first += block.channels();
  }
}

}  // namespace mri2pet::cpu::MRI2PET_BUILD
