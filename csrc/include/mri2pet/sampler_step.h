// One denoising step of every sampler, with its noise drawn in the kernel.
//
//   (a, b, c, d, p, q) = coefficients[row]
//   new_x = a x + b output + c z + d previous_x0        x0 = p x + q output
//
// z: Philox4x32-10 with key (seed, sample) and counter (voxel / 4, step, subject low 32 bits,
// subject high 32 bits). The four words give two Box-Muller pairs, in order: with
// u = ((w0 >> 8) + 1) 2^-24 and v = (w1 >> 8) 2^-24, z0 = sqrt(-2 log u) cos(2 pi v) and
// z1 = sqrt(-2 log u) sin(2 pi v); z2 and z3 likewise from w2 and w3. Voxels count from 0 in
// each sample. No noise is drawn when c == 0, and previous_x0 is not read when d == 0.
#pragma once

#include "mri2pet/status.h"
#include "mri2pet/types.h"

namespace mri2pet {

constexpr int kSamplerCoefficients = 6;

struct SamplerStep {
  std::int64_t batch = 0;              // B
  std::int64_t voxels = 0;             // V of one sample, at most 2^34
  DType output_dtype = DType::f32;     // f32, bf16 or f16
  const float* x = nullptr;            // [B, V]
  const void* output = nullptr;        // [B, V]
  const float* previous_x0 = nullptr;  // [B, V]
  float* new_x = nullptr;              // [B, V]; may be x
  float* x0 = nullptr;                 // [B, V]; may be previous_x0
  // Everything below lies on the device of the tensors.
  const double* coefficients = nullptr;     // [rows, 6]
  const std::int64_t* row = nullptr;        // [1], which row; null for row 0
  const std::int64_t* timesteps = nullptr;  // [rows], the counter's step of a row; null: `step`
  const std::int64_t* subjects = nullptr;   // [B]
  const std::int64_t* samples = nullptr;    // [B], 0 ... 2^32 - 1
  std::int64_t seed = 0;                    // 0 ... 2^32 - 1
  std::int64_t step = 0;                    // 0 ... 2^32 - 1
  Resources resources;                      // no workspace
};

Status check(const SamplerStep& p);

namespace cpu {
Status sampler_step(const SamplerStep& p);
}  // namespace cpu

namespace cuda {
Status sampler_step(const SamplerStep& p);
}  // namespace cuda

}  // namespace mri2pet
