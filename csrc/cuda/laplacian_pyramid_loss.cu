// Noise MSE and Laplacian pyramid with its gradient (mri2pet/laplacian_pyramid_loss.h).
//
// One block a slice. The block reads output and target once, keeps the whole pyramid of
// e = output - target in shared memory, and writes the gradient once: 12 bytes a voxel in float32,
// 8 with half tensors. A 128 x 128 slice takes 104 KB of shared memory.
//
// Where that is too much, the finest level moves to global memory (the gradient itself, or the
// workspace when no gradient is wanted), and if need be the other levels to the workspace.
//
// The levels of a slice: g_0 = e, g_{l+1} = pool(g_l), d_l = g_l - up(g_{l+1}). With
// c_l = 2 lambda weight_b / n_l the gradient is a_0 + 2 e / n, from coarse to fine
//   a_5 = -up^T(c_4 d_4),   a_l = c_l d_l + pool^T(a_{l+1}) - up^T(c_{l-1} d_{l-1}),
// and up^T is gathered, so nothing is added atomically.
#include "laplacian_pyramid.cuh"

namespace mri2pet {
namespace cuda {
namespace {

enum class Place { shared, fine_global, all_global };

struct Arguments {
  LaplacianPyramidLossForward p;
  Shape shape;
  Place place;
  bool vectors;
  float2* sums;  // [B K]: sum of e^2, and sum over the levels of sum(d_l^2) / (rows columns)
  float* fine;   // [B K, I J] of the finest level when it is in global memory
  float* coarse; // [B K, coarse] of the others, likewise
};

__device__ __forceinline__ float load_one(DType dtype, const void* base, std::int64_t at) {
  if (dtype == DType::f32) return static_cast<const float*>(base)[at];
  if (dtype == DType::bf16) return to_float(static_cast<const __nv_bfloat16*>(base)[at]);
  return to_float(static_cast<const __half*>(base)[at]);
}

__device__ __forceinline__ void load_eight(DType dtype, const void* base, std::int64_t at,
                                           float (&v)[8]) {
  if (dtype == DType::f32) {
    const float* p = static_cast<const float*>(base) + at;
    const float4 low = load4(p), high = load4(p + 4);
    v[0] = low.x, v[1] = low.y, v[2] = low.z, v[3] = low.w;
    v[4] = high.x, v[5] = high.y, v[6] = high.z, v[7] = high.w;
  } else if (dtype == DType::bf16) {
    load_vector(static_cast<const __nv_bfloat16*>(base) + at, v);
  } else {
    load_vector(static_cast<const __half*>(base) + at, v);
  }
}

// e of this thread's pixels into `fine`; returns its sum of squares.
__device__ __forceinline__ float load_error(const Arguments& a, std::int64_t slice, float* fine) {
  const LaplacianPyramidLossForward& p = a.p;
  const std::int64_t start = slice * a.shape.fine;
  float sum = 0.0f;
  if (a.vectors) {
    for (std::int64_t n = threadIdx.x * 8; n < a.shape.fine; n += kThreads * 8) {
      float e[8], target[8];
      load_eight(p.output_dtype, p.output, start + n, e);
      load_eight(p.target_dtype, p.target, start + n, target);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        e[i] -= target[i];
        sum += e[i] * e[i];
      }
      store4(fine + n, make_float4(e[0], e[1], e[2], e[3]));
      store4(fine + n + 4, make_float4(e[4], e[5], e[6], e[7]));
    }
    return sum;
  }
  for (std::int64_t n = threadIdx.x; n < a.shape.fine; n += kThreads) {
    const float e = load_one(p.output_dtype, p.output, start + n) -
                    load_one(p.target_dtype, p.target, start + n);
    sum += e * e;
    fine[n] = e;
  }
  return sum;
}

template <Place kPlace>
__global__ void __launch_bounds__(kThreads, 2) pyramid_kernel(const Arguments a) {
  MRI2PET_DYNAMIC_SHARED(float, memory);
  MRI2PET_SHARED(float, scratch, 2 * kThreads / 32);
  const Shape& s = a.shape;
  const std::int64_t slice = blockIdx.x;
  float* fine = kPlace == Place::shared ? memory : a.fine + slice * s.fine;
  float* coarse = kPlace == Place::shared        ? memory + round_up(s.fine, 4)
                  : kPlace == Place::fine_global ? memory
                                                 : a.coarse + slice * s.coarse;
  float* g1 = coarse + s.copy;

  float sums[2] = {load_error(a, slice, fine), 0.0f};
  __syncthreads();
  for (int l = 1; l <= kLevels; ++l) {
    const float* from = l == 1 ? fine : l == 2 ? g1 : coarse + s.start[l - 1];
    float* to = l == 1 ? g1 : coarse + s.start[l];
    const int columns = s.columns[l], stride = s.columns[l - 1];
    each_pixel(s.rows[l], columns, [&](int i, int j) {
      const float* p = from + 2 * i * stride + 2 * j;
      to[i * columns + j] = 0.25f * ((p[0] + p[1]) + (p[stride] + p[stride + 1]));
    });
    __syncthreads();
  }
  for (int l = 0; l < kLevels; ++l) {
    const float* from = l == 0 ? fine : l == 1 ? g1 : coarse + s.start[l];
    float* to = l == 0 ? fine : coarse + s.start[l];
    const Enlarged up(l == 0 ? g1 : coarse + s.start[l + 1], s, l + 1);
    const int columns = s.columns[l];
    float squares = 0.0f;
    each_pixel(s.rows[l], columns, [&](int i, int j) {
      const float d = from[i * columns + j] - up.at(i, j);
      squares += d * d;
      to[i * columns + j] = d;
    });
    sums[1] += squares / (static_cast<float>(s.rows[l]) * static_cast<float>(columns));
    __syncthreads();
  }
  block_sum(sums, scratch);
  if (threadIdx.x == 0) a.sums[slice] = make_float2(sums[0], sums[1]);
  if (a.p.grad == nullptr) return;

  const std::int64_t sample = slice / a.p.slices;
  const double all = static_cast<double>(a.p.batch) * static_cast<double>(a.p.slices);
  const float weight = static_cast<const float*>(a.p.weight)[sample];
  const float common = static_cast<float>(2.0 * a.p.laplacian_weight * weight / all);
  float c[kLevels];
#pragma unroll
  for (int l = 0; l < kLevels; ++l) {
    c[l] = common / (static_cast<float>(s.rows[l]) * static_cast<float>(s.columns[l]));
  }
#pragma unroll
  for (int l = kLevels; l >= 1; --l) {
    float* to = coarse + s.start[l];
    const Reduced reduced(l == 1 ? fine : coarse + s.start[l - 1], s, l);
    const int columns = s.columns[l];
    each_pixel(s.rows[l], columns, [&](int i, int j) {
      float sum = -c[l - 1] * reduced.at(i, j);
      if (l < kLevels) {
        sum += c[l < kLevels ? l : 0] * to[i * columns + j];
        sum += pool_transposed(coarse + s.start[l + 1], s.rows[l + 1], s.columns[l + 1], i, j);
      }
      to[i * columns + j] = sum;
    });
    __syncthreads();
  }
  const float noise = static_cast<float>(2.0 / (all * static_cast<double>(s.fine)));
  const Enlarged up(g1, s, 1);
  float* grad = static_cast<float*>(a.p.grad) + slice * s.fine;
  each_pixel(s.rows[0], s.columns[0], [&](int i, int j) {
    const float d = fine[i * s.columns[0] + j];
    const float a1 = pool_transposed(coarse + s.start[1], s.rows[1], s.columns[1], i, j);
    grad[i * s.columns[0] + j] = noise * (d + up.at(i, j)) + (c[0] * d + a1);
  });
}

// The three terms from the sums of the slices; one block.
__global__ void __launch_bounds__(kThreads) terms_kernel(const Arguments a) {
  MRI2PET_SHARED(double, scratch, 2 * kThreads / 32);
  const std::int64_t slices = a.p.batch * a.p.slices;
  double totals[2] = {0.0, 0.0};
  for (std::int64_t i = threadIdx.x; i < slices; i += kThreads) {
    const double weight = static_cast<const float*>(a.p.weight)[i / a.p.slices];
    totals[0] += a.sums[i].x;
    totals[1] += weight * a.sums[i].y;
  }
  block_sum(totals, scratch);
  if (threadIdx.x != 0) return;
  const double count = static_cast<double>(slices);
  const double mse = totals[0] / (count * static_cast<double>(a.shape.fine));
  const double laplacian = totals[1] / count;
  float* terms = static_cast<float*>(a.p.terms);
  terms[0] = static_cast<float>(mse + a.p.laplacian_weight * laplacian);
  terms[1] = static_cast<float>(mse);
  terms[2] = static_cast<float>(laplacian);
}

template <typename T>
__global__ void __launch_bounds__(kThreads) scale_kernel(const LaplacianPyramidLossBackward p) {
  constexpr int kWidth = kVector<T>;
  const std::int64_t n = (std::int64_t{blockIdx.x} * kThreads + threadIdx.x) * kWidth;
  if (n >= p.count) return;
  const float scale = *static_cast<const float*>(p.grad_loss);
  const float* grad = static_cast<const float*>(p.grad) + n;
  T* out = static_cast<T*>(p.grad_output) + n;
  const int count = static_cast<int>(min(p.count - n, std::int64_t{kWidth}));
  const bool aligned = (reinterpret_cast<std::uintptr_t>(grad) |
                        reinterpret_cast<std::uintptr_t>(out)) % 16 == 0;
  float v[kWidth];
  if (aligned && count == kWidth) {
#pragma unroll
    for (int i = 0; i < kWidth; i += 4) {
      const float4 four = load4(grad + i);
      v[i] = four.x * scale, v[i + 1] = four.y * scale;
      v[i + 2] = four.z * scale, v[i + 3] = four.w * scale;
    }
    store_vector(out, v);
    return;
  }
  for (int i = 0; i < count; ++i) from_float(grad[i] * scale, out[i]);
}

std::int64_t shared_bytes(const Arguments& a) {
  const std::int64_t fine = a.place == Place::shared ? round_up(a.shape.fine, 4) : 0;
  return 4 * (fine + (a.place == Place::all_global ? 0 : a.shape.coarse));
}

// Chooses where the levels go and lays out the workspace; returns its bytes.
std::int64_t plan(Arguments& a) {
  a.shape = make_shape(a.p.rows, a.p.columns);
  const int limit = device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, kSharedOptIn) - 1024;
  a.place = Place::shared;
  if (shared_bytes(a) > limit) a.place = Place::fine_global;
  if (shared_bytes(a) > limit) a.place = Place::all_global;
  const std::int64_t slices = a.p.batch * a.p.slices;
  Workspace workspace(a.p.resources.workspace);
  a.sums = workspace.take<float2>(slices);
  a.fine = static_cast<float*>(a.p.grad);
  if (a.place != Place::shared && a.fine == nullptr) {
    a.fine = workspace.take<float>(slices * a.shape.fine);
  }
  if (a.place == Place::all_global) a.coarse = workspace.take<float>(slices * a.shape.coarse);
  return workspace.bytes();
}

Status check_sizes(const LaplacianPyramidLossForward& p) {
  constexpr std::int64_t kMost = std::int64_t{1} << 30;  // pixels of a slice are counted in int
  if (p.rows > kMost / p.columns || p.batch > kMostBlocks / p.slices) {
    return {Code::bad_shape, "rows * columns or batch * slices"};
  }
  return {};
}

}  // namespace

std::int64_t laplacian_pyramid_loss_forward_workspace(const LaplacianPyramidLossForward& p) {
  if (!check(p).ok() || !check_sizes(p).ok()) return 0;
  Arguments a{p};
  return plan(a);
}

Status laplacian_pyramid_loss_forward(const LaplacianPyramidLossForward& p) {
  if (const Status status = check(p); !status.ok()) return status;
  if (p.output_dtype == DType::f64) return {Code::bad_dtype, "output"};
  if (const Status status = check_sizes(p); !status.ok()) return status;
  Arguments a{p};
  const std::int64_t bytes = plan(a);
  if (p.resources.workspace == nullptr || p.resources.workspace_bytes < bytes) {
    return {Code::small_workspace, nullptr};
  }
  a.vectors = a.shape.fine % 8 == 0 && is_aligned(p.output) && is_aligned(p.target) &&
              (a.place == Place::shared || is_aligned(a.fine));
  const dim3 grid(static_cast<unsigned>(p.batch * p.slices));
  const std::size_t shared = static_cast<std::size_t>(shared_bytes(a));
  void* stream = p.resources.stream;
  Status status =
      a.place == Place::shared
          ? launch(pyramid_kernel<Place::shared>, grid, kThreads, shared, stream, a)
      : a.place == Place::fine_global
          ? launch(pyramid_kernel<Place::fine_global>, grid, kThreads, shared, stream, a)
          : launch(pyramid_kernel<Place::all_global>, grid, kThreads, shared, stream, a);
  if (status.ok()) status = launch(terms_kernel, dim3(1), kThreads, 0, stream, a);
  return status;
}

Status laplacian_pyramid_loss_backward(const LaplacianPyramidLossBackward& p) {
  if (const Status status = check(p); !status.ok()) return status;
  if (p.output_dtype == DType::f64) return {Code::bad_dtype, "grad_output"};
  const std::int64_t blocks =
      ceil_div(p.count, kThreads * (16 / element_bytes(p.output_dtype)));
  if (blocks > kMostBlocks) return {Code::bad_shape, "count"};
  const dim3 grid(static_cast<unsigned>(blocks));
  void* stream = p.resources.stream;
  switch (p.output_dtype) {
    case DType::f32: return launch(scale_kernel<float>, grid, kThreads, 0, stream, p);
    case DType::bf16: return launch(scale_kernel<__nv_bfloat16>, grid, kThreads, 0, stream, p);
    case DType::f16: return launch(scale_kernel<__half>, grid, kThreads, 0, stream, p);
    case DType::f64: break;
  }
  return {Code::bad_dtype, "grad_output"};
}

}  // namespace cuda
}  // namespace mri2pet
