// Elementary functions on vectors. float: polynomials; double: libm, lane by lane.
#pragma once

#include "vec.h"

namespace mri2pet::cpu::MRI2PET_BUILD {

constexpr double kLog2E = 1.4426950408889634074;

// 2^x. Relative error <= 2e-7 for -126 <= x < 128; below it stays at 2^-126; NaN stays NaN.
inline Vec<float> exp2(Vec<float> x) {
  constexpr float to_integer = 12582912.0f;  // 1.5 * 2^23: adding it rounds to nearest
  x = x < -126.0f ? splat(-126.0f) : x;
  const Vec<float> shifted = x + to_integer;
  const Vec<float> f = x - (shifted - to_integer);  // in [-1/2, 1/2]
  // Cephes, exp2f.c.
  Vec<float> p = 1.535336188319500e-4f * f + 1.339887440266574e-3f;
  p = p * f + 9.618437357674640e-3f;
  p = p * f + 5.550332471162809e-2f;
  p = p * f + 2.402264791363012e-1f;
  p = p * f + 6.931472028550421e-1f;
  p = p * f + 1.0f;
  // The last bits of `shifted` are the integer; they go to the exponent of p.
  return (Vec<float>)((Vec<std::int32_t>)p + ((Vec<std::int32_t>)shifted << 23));
}

inline Vec<double> exp2(Vec<double> x) {
  for (int i = 0; i < kLanes<double>; ++i) x[i] = __builtin_exp2(x[i]);
  return x;
}

// The normal distribution: its density and its integral from -infinity, for the exact GELU
// x integral(x), whose derivative is integral(x) + x density(x).
template <typename T>
struct Normal {
  Vec<T> density, integral;
};

// Absolute error of the integral <= 1e-7: Abramowitz & Stegun 7.1.26.
inline Normal<float> normal(Vec<float> x) {
  const Vec<float> size = x < 0.0f ? -x : x;
  const Vec<float> t = 1.0f / (1.0f + size * 0.23164189f);  // 0.3275911 / sqrt(2)
  const Vec<float> e = exp2(x * x * -0.72134752f);          // exp(-x^2 / 2)
  Vec<float> p = 0.5307027145f * t - 0.7265760135f;
  p = p * t + 0.7107068705f;
  p = p * t - 0.1422483680f;
  p = p * t + 0.1274147960f;
  const Vec<float> tail = p * t * e;
  return {e * 0.3989422804f, x < 0.0f ? tail : 1.0f - tail};
}

inline Normal<double> normal(Vec<double> x) {
  Normal<double> result;
  for (int i = 0; i < kLanes<double>; ++i) {
    result.density[i] = __builtin_exp(-0.5 * x[i] * x[i]) * 0.39894228040143267794;
    result.integral[i] = 0.5 * __builtin_erfc(x[i] * -0.70710678118654752440);
  }
  return result;
}

}  // namespace mri2pet::cpu::MRI2PET_BUILD
