// Moments of a tensor from those of its parts, by Chan's rule for all parts at once, in float64.
#pragma once

#include "common.cuh"

namespace mri2pet {
namespace cuda {

// Mean, sum of squared deviations and number of values.
struct Moments {
  double mean, squares, count;
};

// Merges `count` parts from memory by the whole block; every thread gets the result. A `Part` has
// these three as floats. `scratch` holds 2 * kThreads / 32 values.
template <int kThreads, typename Part>
__device__ __forceinline__ Moments merged_parts(const Part* parts, std::int64_t count,
                                                double* scratch) {
  double sums[2] = {0.0, 0.0};
  for (std::int64_t i = threadIdx.x; i < count; i += kThreads) {
    sums[0] += static_cast<double>(parts[i].count) * parts[i].mean;
    sums[1] += static_cast<double>(parts[i].count);
  }
  block_sum(sums, scratch);
  const double mean = sums[0] / sums[1];
  double squares[1] = {0.0};
  for (std::int64_t i = threadIdx.x; i < count; i += kThreads) {
    const double shift = parts[i].mean - mean;
    squares[0] += parts[i].squares + parts[i].count * shift * shift;
  }
  block_sum(squares, scratch);
  return {mean, squares[0], sums[1]};
}

}  // namespace cuda
}  // namespace mri2pet
