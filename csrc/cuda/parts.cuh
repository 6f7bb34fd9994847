// What a consumer of conv3d's statistics needs: their merge, and a GELU for half precision.
#pragma once

#include "common.cuh"
#include "mri2pet/conv3d.h"

namespace mri2pet {
namespace cuda {

struct Norm {
  double mean, rstd;
};

// Merges one sample's parts by the whole block: Chan's rule for all at once, in float64. `scratch`
// holds 2 * kThreads / 32 values.
template <int kThreads>
__device__ __forceinline__ Norm norm_of_parts(const Conv3dPart* parts, std::int64_t count,
                                              double eps, double* scratch) {
  double sums[2] = {0.0, 0.0};
  for (std::int64_t n = threadIdx.x; n < count; n += kThreads) {
    sums[0] += static_cast<double>(parts[n].count) * parts[n].mean;
    sums[1] += static_cast<double>(parts[n].count);
  }
  block_sum(sums, scratch);
  const double mean = sums[0] / sums[1];
  double squares[1] = {0.0};
  for (std::int64_t n = threadIdx.x; n < count; n += kThreads) {
    const double distance = parts[n].mean - mean;
    squares[0] += parts[n].squares + parts[n].count * distance * distance;
  }
  block_sum(squares, scratch);
  return {mean, 1.0 / sqrt(squares[0] / sums[1] + eps)};
}

// GELU(h) = h Phi(h) by 7.1.26 of Abramowitz and Stegun: |error of Phi| < 1e-7.
__device__ __forceinline__ float fast_gelu(float h) {
  const float size = fabsf(h), t = __fdividef(1.0f, 1.0f + 0.23164190f * size);
  const float poly =
      t * (0.127414796f +
           t * (-0.142248368f + t * (0.7107068705f + t * (-0.7265760135f + t * 0.5307027145f))));
  return fmaxf(h, 0.0f) - size * poly * __expf(-0.5f * h * h);
}

}  // namespace cuda
}  // namespace mri2pet
