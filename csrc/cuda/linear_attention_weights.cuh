// The small matrices of the backward pass of linear_attention, and sums of parts.
#pragma once

#include "linear_attention.cuh"

namespace mri2pet {
namespace cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWeightThreads = 512;
constexpr int kJobs = 5;

struct Arguments {
  LinearAttentionBackward p;
  Sizes z;
  View x, grad_y, grad_x;
  int outer_splits, input_splits;
  int outer_size;      // padded C x padded C for dM, then padded C for the sum of G
  float* outer_parts;  // [B, outer splits, outer size]
  float* outer;        // [B, outer size]
  float* context;      // [B, heads, width, width], and of that size its gradient
  float* grad_context;
  float* left;         // [B, C, rows]: dM Wq^T
  float* right;        // [B, rows, C]: ctx Wo^T
  float* grad_q;       // [B, rows, C]
  float* grad_v;       // [B, rows, C]
  float* grad_out;     // [B, C, rows]
  float* table;        // [B, 2 kRows + padded C, padded C]: dS, Wk, M; zero where padded
  float* shift;        // [B, kRows]: P = exp2(log2(e) Wk x - shift); infinite where padded
  float* mean;         // [B, kRows]: <dS_d, S_d>
  float* key_parts;    // [B, input splits, kRows, padded C]
};


// out[b, r, c] = sum over the parts of in[b, part, r, c]; strides in floats.
struct SumJob {
  const float* in;
  float* out;
  std::int64_t in_batch, out_batch, part_stride;
  int parts, rows, columns, in_pitch;
};

struct Sums {
  SumJob jobs[kJobs];
};

// 32 neighbouring outputs a block; warp w takes parts w, w + 8, ...
__global__ void __launch_bounds__(kThreads) sum_kernel(const Sums sums) {
  MRI2PET_SHARED(float, partial, kThreads);
  const SumJob& job = sums.jobs[blockIdx.y];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const std::int64_t at = std::int64_t{blockIdx.x} * 32 + lane;
  const bool exists = at < std::int64_t{job.rows} * job.columns;
  float total = 0.0f;
  if (exists) {
    const std::int64_t row = at / job.columns, column = at - row * job.columns;
    const float* in = job.in + blockIdx.z * job.in_batch + row * job.in_pitch + column;
#pragma unroll 4
    for (int i = warp; i < job.parts; i += kThreads / 32) total += in[i * job.part_stride];
  }
  partial[threadIdx.x] = total;
  __syncthreads();
  if (warp != 0 || !exists) return;
  total = 0.0f;
  for (int i = 0; i < kThreads / 32; ++i) total += partial[i * 32 + lane];
  job.out[blockIdx.z * job.out_batch + at] = total;
}

// out[r, c] = sum_k a[r * a_row + k * a_k] b[k * b_k + c * b_column], by all threads of the block.
struct Factor {
  const float* p;
  std::int64_t row, k;
};

template <typename Store>
__device__ __forceinline__ void product(int rows, int columns, int depth, Factor a, Factor b,
                                        Store store) {
  for (int i = static_cast<int>(threadIdx.x); i < rows * columns; i += kWeightThreads) {
    const int r = i / columns, c = i - r * columns;
    float total = 0.0f;
#pragma unroll 4
    for (int k = 0; k < depth; ++k) total += a.p[r * a.row + k * a.k] * b.p[c * b.row + k * b.k];
    store(r, c, total);
  }
}

// Block (head, sample). Products that need an earlier one wait for it at a barrier.
__global__ void __launch_bounds__(kWeightThreads) weights_kernel(const Arguments a) {
  const Sizes& z = a.z;
  const int w = z.width, c = z.channels, d0 = static_cast<int>(blockIdx.x) * w;
  const std::int64_t sample = blockIdx.y, pitch = z.rows, keys = std::int64_t{z.rows} * c;
  const float* w_q = static_cast<const float*>(a.p.w_qkv) + d0 * c;
  const float* w_v = w_q + 2 * keys;
  const float* w_out = static_cast<const float*>(a.p.w_out) + d0;
  const float* s = static_cast<const float*>(a.p.s) + sample * keys + d0 * c;
  const float* dm = a.outer + sample * a.outer_size;
  const std::int64_t head = sample * z.heads + blockIdx.x, square = std::int64_t{w} * w;
  float* context = a.context + head * square;
  float* grad_context = a.grad_context + head * square;
  float* left = a.left + sample * keys + d0;
  float* right = a.right + sample * keys + d0 * c;
  float* grad_q = a.grad_q + sample * keys + d0 * c;
  float* grad_v = a.grad_v + sample * keys + d0 * c;
  float* grad_out = a.grad_out + sample * keys + d0;
  float* table = a.table + sample * (2 * kRows + z.padded) * z.padded;

  product(w, w, c, {s, c, 1}, {w_v, c, 1}, [&](int d, int e, float v) { context[d * w + e] = v; });
  product(c, w, c, {dm, z.padded, 1}, {w_q, c, 1},
          [&](int i, int d, float v) { left[i * pitch + d] = v; });
  __syncthreads();
  product(c, w, w, {left, pitch, 1}, {context, 1, w},
          [&](int i, int e, float v) { grad_out[i * pitch + e] = v; });
  product(w, w, c, {left, 1, pitch}, {w_out, 1, pitch},
          [&](int d, int e, float v) { grad_context[d * w + e] = v; });
  product(w, c, w, {context, w, 1}, {w_out, pitch, 1},
          [&](int d, int i, float v) { right[d * c + i] = v; });
  __syncthreads();
  product(w, c, c, {right, c, 1}, {dm, 1, z.padded},
          [&](int d, int j, float v) { grad_q[d * c + j] = v; });
  product(w, c, w, {grad_context, 1, w}, {s, 1, c},
          [&](int e, int i, float v) { grad_v[e * c + i] = v; });
  product(w, c, w, {grad_context, w, 1}, {w_v, 1, c},
          [&](int d, int i, float v) { table[(d0 + d) * z.padded + i] = v; });
  __syncthreads();
  for (int d = d0 + static_cast<int>(threadIdx.x); d < d0 + w; d += kWeightThreads) {
    float total = 0.0f;
    for (int i = 0; i < c; ++i) total += table[d * z.padded + i] * s[(d - d0) * c + i];
    a.mean[sample * kRows + d] = total;
    a.shift[sample * kRows + d] =
        static_cast<const float*>(a.p.row_max)[sample * z.rows + d] +
        log2f(static_cast<const float*>(a.p.row_sum)[sample * z.rows + d]);
  }
}

// Fills what weights_kernel leaves of the table: padding, Wk and M.
__global__ void __launch_bounds__(kThreads) table_kernel(const Arguments a) {
  const Sizes& z = a.z;
  const std::int64_t sample = blockIdx.y;
  const int at = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  const int row = at / z.padded, c = at - row * z.padded;
  float* table = a.table + sample * (2 * kRows + z.padded) * z.padded;
  if (row >= 2 * kRows + z.padded || (row < z.rows && c < z.channels)) return;
  float value = 0.0f;
  if (row < kRows) {
    if (row >= z.rows && c == 0) {
      a.mean[sample * kRows + row] = 0.0f;
      a.shift[sample * kRows + row] = INFINITY;
    }
  } else if (row < 2 * kRows) {
    const int d = row - kRows;
    const float* w_k = static_cast<const float*>(a.p.w_qkv) + std::int64_t{z.rows} * z.channels;
    if (d < z.rows && c < z.channels) value = w_k[d * z.channels + c];
  } else if (row - 2 * kRows < z.channels && c < z.channels) {
    const std::int64_t i = sample * z.channels + row - 2 * kRows;
    value = static_cast<const float*>(a.p.m)[i * z.channels + c];
  }
  table[row * z.padded + c] = value;
}

Status launch_sums(const Arguments& a, const Sums& sums, int jobs, std::int64_t batch) {
  std::int64_t most = 0;
  for (int i = 0; i < jobs; ++i) {
    const std::int64_t count = std::int64_t{sums.jobs[i].rows} * sums.jobs[i].columns;
    most = count > most ? count : most;
  }
  const dim3 grid(static_cast<unsigned>(ceil_div(most, 32)), static_cast<unsigned>(jobs),
                  static_cast<unsigned>(batch));
  return launch(sum_kernel, grid, kThreads, 0, a.p.resources.stream, sums);
}

Status sum_outer(const Arguments& a) {
  Sums sums{};
  sums.jobs[0] = {a.outer_parts, a.outer, std::int64_t{a.outer_splits} * a.outer_size,
                  a.outer_size,  a.outer_size, a.outer_splits, 1, a.outer_size, a.outer_size};
  return launch_sums(a, sums, 1, a.z.batch);
}

Status sum_gradients(const Arguments& a) {
  const int rows = a.z.rows, channels = a.z.channels, batch = static_cast<int>(a.z.batch);
  const std::int64_t matrix = std::int64_t{rows} * channels;
  float* qkv = static_cast<float*>(a.p.grad_w_qkv);
  Sums sums{};
  sums.jobs[0] = {a.grad_q, qkv, 0, 0, matrix, batch, rows, channels, channels};
  sums.jobs[1] = {a.key_parts, qkv + matrix, 0, 0, std::int64_t{kRows} * a.z.padded,
                  batch * a.input_splits, rows, channels, a.z.padded};
  sums.jobs[2] = {a.grad_v, qkv + 2 * matrix, 0, 0, matrix, batch, rows, channels, channels};
  sums.jobs[3] = {a.grad_out, static_cast<float*>(a.p.grad_w_out), 0, 0, matrix, batch, channels,
                  rows, rows};
  sums.jobs[4] = {a.outer + a.z.padded * a.z.padded, static_cast<float*>(a.p.grad_bias), 0, 0,
                  a.outer_size, batch, 1, channels, channels};
  return launch_sums(a, sums, kJobs, 1);
}

}  // namespace
}  // namespace cuda
}  // namespace mri2pet
