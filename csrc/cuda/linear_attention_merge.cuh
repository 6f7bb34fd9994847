// From the parts of S to the matrix M of a sample: the middle of linear_attention's forward pass.
#pragma once

#include "linear_attention.cuh"

namespace mri2pet {
namespace cuda {
namespace {

constexpr int kThreads = 256;

struct Arguments {
  LinearAttentionForward p;
  Sizes z;
  View x, y;
  int splits;
  float* shifts;  // [B, splits, rows], to base 2
  float* sums;    // [B, splits, rows]
  float* parts;   // [B, splits, rows, C]
  float* mixed;   // [B, C, rows]: Wo ctx^T
  float* matrix;  // [B, padded C, padded C]: M, zero where it is padded
};

// One block for row blockIdx.x of sample blockIdx.y.
__global__ void __launch_bounds__(kThreads) merge_kernel(const Arguments a) {
  MRI2PET_SHARED(float, partial, kThreads);
  MRI2PET_SHARED(float, s, kMostChannels);
  MRI2PET_SHARED(float, context, kRows);
  MRI2PET_SHARED(float, scratch, kThreads / 32);
  const Sizes& z = a.z;
  const int thread = static_cast<int>(threadIdx.x), row = static_cast<int>(blockIdx.x);
  const std::int64_t sample = blockIdx.y, part0 = sample * a.splits * z.rows + row;

  float shift = -INFINITY;  // every warp looks at all parts
  for (int i = thread % 32; i < a.splits; i += 32) {
    shift = fmaxf(shift, a.shifts[part0 + i * z.rows]);
  }
#pragma unroll
  for (int bits = 16; bits > 0; bits >>= 1) {
    shift = fmaxf(shift, __shfl_xor_sync(kFullWarp, shift, bits));
  }
  float sum[1] = {0.0f};
  for (int i = thread; i < a.splits; i += kThreads) {
    sum[0] += a.sums[part0 + i * z.rows] * exp2f(a.shifts[part0 + i * z.rows] - shift);
  }
  block_sum(sum, scratch);

  const int slices = kThreads / z.channels, slice = thread / z.channels;
  const int c = thread - slice * z.channels;
  float value = 0.0f;
  if (slice < slices) {
    for (int i = slice; i < a.splits; i += slices) {
      const std::int64_t at = part0 + i * z.rows;
      value += a.parts[at * z.channels + c] * exp2f(a.shifts[at] - shift);
    }
  }
  partial[thread] = value;
  __syncthreads();
  if (thread < z.channels) {
    value = 0.0f;
    for (int i = 0; i < slices; ++i) value += partial[i * z.channels + thread];
    s[thread] = value / sum[0];
    static_cast<float*>(a.p.s)[(sample * z.rows + row) * z.channels + thread] = s[thread];
  }
  if (thread == 0) {
    static_cast<float*>(a.p.row_max)[sample * z.rows + row] = shift;
    static_cast<float*>(a.p.row_sum)[sample * z.rows + row] = sum[0];
  }
  __syncthreads();

  const int head = row / z.width * z.width;  // the first row of this row's head
  const float* w_v = static_cast<const float*>(a.p.w_qkv) + (2 * z.rows + head) * z.channels;
  constexpr int kHelpers = 8;  // threads side by side that share a product
  for (int e = thread / kHelpers; e < round_up(z.width, kThreads / kHelpers);
       e += kThreads / kHelpers) {
    float total = 0.0f;
    if (e < z.width) {
#pragma unroll 4
      for (int i = thread % kHelpers; i < z.channels; i += kHelpers) {
        total += s[i] * w_v[e * z.channels + i];
      }
    }
#pragma unroll
    for (int bits = kHelpers / 2; bits > 0; bits >>= 1) {
      total += __shfl_xor_sync(kFullWarp, total, bits);
    }
    if (e < z.width && thread % kHelpers == 0) context[e] = total;
  }
  __syncthreads();
  const float* w_out = static_cast<const float*>(a.p.w_out) + head;
  for (int i = thread; i < z.channels; i += kThreads) {
    float total = 0.0f;
    for (int e = 0; e < z.width; ++e) total += w_out[i * z.rows + e] * context[e];
    a.mixed[(sample * z.channels + i) * z.rows + row] = total;
  }
}

// 32 neighbouring cells of M a block; warp w takes the rows w, w + 8, ... so that all loads of a
// thread are under way at once.
__global__ void __launch_bounds__(kThreads) mix_kernel(const Arguments a) {
  MRI2PET_SHARED(float, partial, kThreads);
  constexpr int kWarps = kThreads / 32;
  const Sizes& z = a.z;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int at = static_cast<int>(blockIdx.x) * 32 + lane;
  const int i = at / z.padded, j = at - i * z.padded;
  const std::int64_t sample = blockIdx.y;
  const bool exists = i < z.channels && j < z.channels;
  float total = 0.0f;
  if (exists) {
    const float* mixed = a.mixed + (sample * z.channels + i) * z.rows;
    const float* w_q = static_cast<const float*>(a.p.w_qkv) + j;
#pragma unroll
    for (int n = 0; n < kRows / kWarps; ++n) {
      const int d = n * kWarps + warp;
      if (d < z.rows) total += mixed[d] * w_q[d * z.channels];
    }
  }
  partial[threadIdx.x] = total;
  __syncthreads();
  if (warp != 0 || i >= z.padded) return;
  total = 0.0f;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) total += partial[w * 32 + lane];
  if (exists) static_cast<float*>(a.p.m)[(sample * z.channels + i) * z.channels + j] = total;
  a.matrix[(sample * z.padded + i) * z.padded + j] = total;
}

}  // namespace
}  // namespace cuda
}  // namespace mri2pet
