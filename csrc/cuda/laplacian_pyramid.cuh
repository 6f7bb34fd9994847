// The geometry of a Laplacian pyramid of one slice: pooling, bilinear enlarging and the transposes
// of both, in the form in which each pixel is gathered by one thread.
#pragma once

#include "common.cuh"
#include "mri2pet/laplacian_pyramid_loss.h"

namespace mri2pet {
namespace cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kLevels = kPyramidLevels;

// Where the levels of one slice are: level l is [rows[l], columns[l]] at `start[l]`; level 1 has a
// second array at `copy`, because g_1 is needed to the end.
struct Shape {
  int rows[kLevels + 1], columns[kLevels + 1];
  int start[kLevels + 1];  // in the array of levels 1 ... 5
  int copy;
  int coarse;  // values of levels 1 ... 5 and of the copy
  std::int64_t fine;
};

inline Shape make_shape(std::int64_t rows, std::int64_t columns) {
  Shape s{};
  s.fine = rows * columns;
  s.rows[0] = static_cast<int>(rows);
  s.columns[0] = static_cast<int>(columns);
  for (int l = 1; l <= kLevels; ++l) {
    s.rows[l] = s.rows[l - 1] / 2;
    s.columns[l] = s.columns[l - 1] / 2;
    s.start[l] = s.coarse;
    s.coarse += s.rows[l] * s.columns[l];
  }
  s.copy = s.coarse;
  s.coarse += s.rows[1] * s.columns[1];
  return s;
}

// The two coarse indices that fine index i is interpolated from, and the weight of the second
// (torch's align_corners = false; scale = coarse / fine size).
struct Taps {
  int first, second;
  float weight;
};

__device__ __forceinline__ Taps taps(int i, int coarse, float scale) {
  const float at = fmaxf(scale * (static_cast<float>(i) + 0.5f) - 0.5f, 0.0f);
  const int first = min(static_cast<int>(at), coarse - 1);
  return {first, min(first + 1, coarse - 1), fminf(at - static_cast<float>(first), 1.0f)};
}

constexpr int kSupport = 6;  // the most fine indices that one coarse index reaches on an axis

// The fine indices that take from coarse index p, and with which weights: the transpose of taps().
struct Reach {
  int start;
  float weight[kSupport];
};

__device__ __forceinline__ Reach reach(int p, int coarse, int fine, float scale) {
  Reach r;
  if (fine == 2 * coarse) {
    r.start = 2 * p - 1;
    const bool low = p == 0, high = p == coarse - 1;
    r.weight[0] = low ? 0.0f : 0.25f;
    r.weight[1] = low ? 1.0f : 0.75f;
    r.weight[2] = high ? 1.0f : 0.75f;
    r.weight[3] = high ? 0.0f : 0.25f;
    r.weight[4] = r.weight[5] = 0.0f;
    return r;
  }
  const float first = (static_cast<float>(p) - 0.5f) / scale - 0.5f;
  r.start = max(static_cast<int>(floorf(first)), 0);
#pragma unroll
  for (int k = 0; k < kSupport; ++k) {
    const int i = r.start + k;
    float weight = 0.0f;
    if (i < fine) {
      const Taps t = taps(i, coarse, scale);
      if (t.first == p) weight += 1.0f - t.weight;
      if (t.second == p) weight += t.weight;
    }
    r.weight[k] = weight;
  }
  return r;
}

__device__ __forceinline__ float axis_scale(int coarse, int fine) {
  return static_cast<float>(coarse) / static_cast<float>(fine);
}

// up(coarse)[i, j] for an image of `rows` x `columns` enlarged to `fine_rows` x `fine_columns`.
struct Enlarged {
  const float* image;
  int rows, columns;
  float row_scale, column_scale;

  __device__ Enlarged(const float* image_, const Shape& s, int level)
      : image(image_),
        rows(s.rows[level]),
        columns(s.columns[level]),
        row_scale(axis_scale(s.rows[level], s.rows[level - 1])),
        column_scale(axis_scale(s.columns[level], s.columns[level - 1])) {}

  __device__ __forceinline__ float at(int i, int j) const {
    const Taps r = taps(i, rows, row_scale), c = taps(j, columns, column_scale);
    const float* a = image + r.first * columns;
    const float* b = image + r.second * columns;
    const float top = (1.0f - c.weight) * a[c.first] + c.weight * a[c.second];
    const float bottom = (1.0f - c.weight) * b[c.first] + c.weight * b[c.second];
    return (1.0f - r.weight) * top + r.weight * bottom;
  }
};

// Calls f(i, j) for every pixel, a warp along a row.
template <typename F>
__device__ __forceinline__ void each_pixel(int rows, int columns, F f) {
  for (int j = static_cast<int>(threadIdx.x) % 32; j < columns; j += 32) {
    for (int i = static_cast<int>(threadIdx.x) / 32; i < rows; i += kThreads / 32) f(i, j);
  }
}

// up^T(d)[i, j] for d of level `level` - 1.
struct Reduced {
  const float* d;
  int rows, columns, fine_rows, fine_columns;
  float row_scale, column_scale;

  __device__ Reduced(const float* d_, const Shape& s, int level)
      : d(d_),
        rows(s.rows[level]),
        columns(s.columns[level]),
        fine_rows(s.rows[level - 1]),
        fine_columns(s.columns[level - 1]),
        row_scale(axis_scale(rows, fine_rows)),
        column_scale(axis_scale(columns, fine_columns)) {}

  __device__ __forceinline__ float at(int i, int j) const {
    const Reach r = reach(i, rows, fine_rows, row_scale);
    const Reach c = reach(j, columns, fine_columns, column_scale);
    float sum = 0.0f;
#pragma unroll
    for (int k = 0; k < kSupport; ++k) {
      if (r.weight[k] == 0.0f) continue;
      const float* line = d + (r.start + k) * fine_columns + c.start;
      float across = 0.0f;
#pragma unroll
      for (int m = 0; m < kSupport; ++m) {
        if (c.weight[m] != 0.0f) across += c.weight[m] * line[m];
      }
      sum += r.weight[k] * across;
    }
    return sum;
  }
};

// pool^T(a)[i, j]; the last row or column of an odd size is in no pool.
__device__ __forceinline__ float pool_transposed(const float* a, int rows, int columns, int i,
                                                 int j) {
  const int r = i / 2, c = j / 2;
  return r < rows && c < columns ? 0.25f * a[r * columns + c] : 0.0f;
}

}  // namespace
}  // namespace cuda
}  // namespace mri2pet
