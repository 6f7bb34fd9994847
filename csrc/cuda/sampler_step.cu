// One denoising step with its noise drawn in registers (mri2pet/sampler_step.h).
//
// A thread takes the four voxels of one Philox block. Bytes a voxel: x, output and previous_x0 are
// read once (12; 8 when d == 0; 2 less with half output), x and x0 written once (8).
#include "mri2pet/sampler_step.h"

#include "common.cuh"

namespace mri2pet {
namespace cuda {
namespace {

constexpr int kThreads = 256;

struct Arguments {
  SamplerStep p;
  unsigned blocks_per_sample;
};

// Philox4x32-10: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
__device__ __forceinline__ uint4 philox(uint4 c, unsigned k0, unsigned k1) {
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const unsigned low0 = 0xD2511F53u * c.x, high0 = __umulhi(0xD2511F53u, c.x);
    const unsigned low1 = 0xCD9E8D57u * c.z, high1 = __umulhi(0xCD9E8D57u, c.z);
    c = make_uint4(high1 ^ c.y ^ k0, low1, high0 ^ c.w ^ k1, low0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

// sin and cos of an angle in [0, 2 pi]: reduction by multiples of pi / 2 in three parts, then the
// minimax polynomials on [-pi/4, pi/4]. sincosf would carry a path for huge arguments that keeps an
// array in local memory.
__device__ __forceinline__ float2 sine_cosine(float angle) {
  const float quadrant = rintf(angle * 0.636619772f);
  float r = fmaf(quadrant, -1.57079601e+00f, angle);
  r = fmaf(quadrant, -3.13916473e-07f, r);
  r = fmaf(quadrant, -5.39030253e-15f, r);
  const float r2 = r * r;
  float sine = fmaf(2.86567956e-6f, r2, -1.98559923e-4f);
  sine = fmaf(sine, r2, 8.33338592e-3f);
  sine = fmaf(sine, r2, -1.66666672e-1f);
  sine = fmaf(r * r2, sine, r);
  float cosine = fmaf(2.44677067e-5f, r2, -1.38877297e-3f);
  cosine = fmaf(cosine, r2, 4.16666567e-2f);
  cosine = fmaf(cosine, r2, -0.5f);
  cosine = fmaf(cosine, r2, 1.0f);
  const int q = static_cast<int>(quadrant);
  const float s = (q & 1) ? cosine : sine;
  const float c = (q & 1) ? sine : cosine;
  return make_float2((q & 2) ? -s : s, ((q + 1) & 2) ? -c : c);
}

__device__ __forceinline__ void box_muller(unsigned radius_bits, unsigned angle_bits, float& z0,
                                           float& z1) {
  const float u = static_cast<float>((radius_bits >> 8) + 1u) * 0x1p-24f;
  const float radius = sqrtf(-2.0f * logf(u));
  const float angle = static_cast<float>(angle_bits >> 8) * 3.74507028e-07f;  // 2 pi 2^-24
  const float2 sc = sine_cosine(angle);
  z0 = radius * sc.y;
  z1 = radius * sc.x;
}

// Four values from `at`, of which `count` exist. kVectors: every group of four voxels is whole and
// aligned. The compiler would merge the branches of a run-time flag.
template <bool kVectors, typename T>
__device__ __forceinline__ void read4(const void* base, std::int64_t at, int count,
                                      float (&v)[4]) {
  struct alignas(4 * sizeof(T)) Four {
    T items[4];
  };
  const T* p = static_cast<const T*>(base) + at;
  if constexpr (kVectors) {
    const Four four = *reinterpret_cast<const Four*>(p);
#pragma unroll
    for (int i = 0; i < 4; ++i) v[i] = to_float(four.items[i]);
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) v[i] = i < count ? to_float(p[i]) : 0.0f;
  }
}

template <bool kVectors>
__device__ __forceinline__ void write4(float* base, std::int64_t at, int count,
                                       const float (&v)[4]) {
  if constexpr (kVectors) {
    // An assignment of 16 bytes comes out of the compiler as four stores here.
    __stwb(reinterpret_cast<float4*>(base + at), make_float4(v[0], v[1], v[2], v[3]));
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i < count) base[at + i] = v[i];
    }
  }
}

template <typename T, bool kVectors>
__global__ void __launch_bounds__(kThreads) step_kernel(const Arguments arguments) {
  const SamplerStep& p = arguments.p;
  const unsigned sample = blockIdx.x / arguments.blocks_per_sample;
  const unsigned part = blockIdx.x - sample * arguments.blocks_per_sample;
  const std::int64_t block = std::int64_t{part} * kThreads + threadIdx.x;
  const std::int64_t voxel = block * 4;
  if (voxel >= p.voxels) return;
  const int count = static_cast<int>(min(p.voxels - voxel, std::int64_t{4}));
  const std::int64_t at = sample * p.voxels + voxel;

  const std::int64_t row = p.row ? *p.row : 0;
  const std::int64_t step = p.timesteps ? p.timesteps[row] : p.step;
  float k[kSamplerCoefficients];
#pragma unroll
  for (int i = 0; i < kSamplerCoefficients; ++i) {
    k[i] = static_cast<float>(p.coefficients[row * kSamplerCoefficients + i]);
  }

  float x[4], output[4], x0[4], result[4];
  read4<kVectors, float>(p.x, at, count, x);
  read4<kVectors, T>(p.output, at, count, output);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    x0[i] = k[4] * x[i] + k[5] * output[i];
    result[i] = k[0] * x[i] + k[1] * output[i];
  }
  if (k[3] != 0.0f) {
    float previous[4];
    read4<kVectors, float>(p.previous_x0, at, count, previous);
#pragma unroll
    for (int i = 0; i < 4; ++i) result[i] += k[3] * previous[i];
  }
  if (k[2] != 0.0f) {
    const std::uint64_t subject = static_cast<std::uint64_t>(p.subjects[sample]);
    const uint4 counter =
        make_uint4(static_cast<unsigned>(block), static_cast<unsigned>(step),
                   static_cast<unsigned>(subject), static_cast<unsigned>(subject >> 32));
    const uint4 words = philox(counter, static_cast<unsigned>(p.seed),
                               static_cast<unsigned>(p.samples[sample]));
    float z[4];
    box_muller(words.x, words.y, z[0], z[1]);
    box_muller(words.z, words.w, z[2], z[3]);
#pragma unroll
    for (int i = 0; i < 4; ++i) result[i] += k[2] * z[i];
  }
  write4<kVectors>(p.new_x, at, count, result);
  write4<kVectors>(p.x0, at, count, x0);
}

template <typename T>
Status step(const Arguments& a, dim3 grid) {
  const SamplerStep& p = a.p;
  const bool vectors = p.voxels % 4 == 0 && is_aligned(p.x) && is_aligned(p.new_x) &&
                       is_aligned(p.x0) && is_aligned(p.previous_x0) &&
                       is_aligned(p.output, 4 * sizeof(T));
  return launch(vectors ? step_kernel<T, true> : step_kernel<T, false>, grid, kThreads, 0,
                p.resources.stream, a);
}

}  // namespace

Status sampler_step(const SamplerStep& p) {
  if (const Status status = check(p); !status.ok()) return status;
  const std::int64_t blocks_per_sample = ceil_div(ceil_div(p.voxels, 4), kThreads);
  const std::int64_t blocks = p.batch * blocks_per_sample;
  if (blocks > kMostBlocks) return {Code::bad_shape, "batch * voxels"};
  const Arguments arguments{p, static_cast<unsigned>(blocks_per_sample)};
  const dim3 grid(static_cast<unsigned>(blocks));
  switch (p.output_dtype) {
    case DType::f32: return step<float>(arguments, grid);
    case DType::bf16: return step<__nv_bfloat16>(arguments, grid);
    case DType::f16: return step<__half>(arguments, grid);
    case DType::f64: break;
  }
  return {Code::bad_dtype, "output"};
}

}  // namespace cuda
}  // namespace mri2pet
