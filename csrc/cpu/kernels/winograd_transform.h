// Winograd's transforms along one axis, and of a tile of 4 x 6 x 6 inputs and 2 x 4 x 4 outputs.
// Vectors run over channels.
//
// F(2, 3) has the points 0, 1, -1 and infinity, F(4, 3) the points 0, +-3/4, +-3/2 and infinity:
// with +-1 and +-2 the numbers between grow more, and float32 loses twice as much.
#pragma once

#include "vec.h"

namespace mri2pet::cpu::MRI2PET_BUILD {

constexpr int kTileDepth = 2, kTileSide = 4;        // outputs of a tile
constexpr int kFromDepth = 4, kFromSide = 6;        // inputs of a tile
constexpr int kPlaces = kFromDepth * kFromSide;     // (depth, column) of a row
constexpr int kPositions = kPlaces * kFromSide;     // products of a tile: (depth, column), row

constexpr float kA = 0.75f, kB = 1.5f;              // the points of F(4, 3)
constexpr float kA2 = kA * kA, kB2 = kB * kB;       // exact, as all below
constexpr float kSum2 = kA2 + kB2, kProduct2 = kA2 * kB2;

using V = Vec<float>;

// ---- Inputs, n of them, to n places.

inline void forward_2(const V* d, V* to) {
  to[0] = d[0] - d[2];
  to[1] = d[2] + d[1];
  to[2] = d[2] - d[1];
  to[3] = d[3] - d[1];
}

inline void forward_4(const V* d, V* to) {
  const V even_a = d[4] - kB2 * d[2], odd_a = d[3] - kB2 * d[1];
  const V even_b = d[4] - kA2 * d[2], odd_b = d[3] - kA2 * d[1];
  to[0] = kProduct2 * d[0] + (d[4] - kSum2 * d[2]);
  to[1] = even_a + kA * odd_a;
  to[2] = even_a - kA * odd_a;
  to[3] = even_b + kB * odd_b;
  to[4] = even_b - kB * odd_b;
  to[5] = kProduct2 * d[1] + (d[5] - kSum2 * d[3]);
}

// ---- Products at n places to n - 2 outputs.

inline void back_2(const V* m, V* to) {
  to[0] = (m[1] + m[2]) + m[0];
  to[1] = (m[1] - m[2]) + m[3];
}

inline void back_4(const V* m, V* to) {
  const V sum_a = m[1] + m[2], difference_a = m[1] - m[2];
  const V sum_b = m[3] + m[4], difference_b = m[3] - m[4];
  to[0] = m[0] + sum_a + sum_b;
  to[1] = kA * difference_a + kB * difference_b;
  to[2] = kA2 * sum_a + kB2 * sum_b;
  to[3] = kA * kA2 * difference_a + (kB * kB2 * difference_b + m[5]);
}

// ---- Weights, three of them, to n places; once a network, in float64.

inline void weights_2(const double* g, double* to) {
  to[0] = g[0];
  to[1] = (g[0] + g[1] + g[2]) / 2;
  to[2] = (g[0] - g[1] + g[2]) / 2;
  to[3] = g[2];
}

inline void weights_4(const double* g, double* to) {
  constexpr double a2 = kA2, b2 = kB2;
  constexpr double scale_a = 1 / (2 * a2 * (a2 - b2)), scale_b = 1 / (2 * b2 * (b2 - a2));
  const double even_a = (g[0] + a2 * g[2]) * scale_a, odd_a = kA * g[1] * scale_a;
  const double even_b = (g[0] + b2 * g[2]) * scale_b, odd_b = kB * g[1] * scale_b;
  to[0] = g[0] / (a2 * b2);
  to[1] = even_a + odd_a;
  to[2] = even_a - odd_a;
  to[3] = even_b + odd_b;
  to[4] = even_b - odd_b;
  to[5] = g[2];
}

}  // namespace mri2pet::cpu::MRI2PET_BUILD
