// What a consumer of conv3d's statistics needs: their norm, and a GELU for half precision.
#pragma once

#include "moments.cuh"
#include "mri2pet/conv3d.h"

namespace mri2pet {
namespace cuda {

struct Norm {
  double mean, rstd;
};

// Of one sample, from its parts; see merged_parts.
template <int kThreads>
__device__ __forceinline__ Norm norm_of_parts(const Conv3dPart* parts, std::int64_t count,
                                              double eps, double* scratch) {
  const Moments all = merged_parts<kThreads>(parts, count, scratch);
  return {all.mean, 1.0 / sqrt(all.squares / all.count + eps)};
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
