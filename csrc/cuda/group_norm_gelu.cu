// GroupNorm with one group, fused with residual, channel bias and GELU (mri2pet/group_norm_gelu.h).
//
// Statistics of parts of 32 values a thread, held in registers for an exact two-pass variance;
// merged per sample in float64; then one pass that normalises and writes. Bytes a value of e bytes:
// 2 e read and e written (3 e read with a residual).
#include "group_norm_gelu.cuh"

namespace mri2pet {
namespace cuda {
namespace {

// Mean, sum of squared deviations and number of the values of a block.
struct Part {
  float mean, squares, count;
};

struct ForwardArguments {
  GroupNormGeluForward p;
  Tiling t;
  Part* parts;  // [B, channel blocks, chunks]
};

template <typename T>
__global__ void __launch_bounds__(kThreads, 4) statistics_kernel(const ForwardArguments a) {
  MRI2PET_SHARED(float, scratch, 2 * kThreads / 32);
  constexpr int kSteps = kItems / kVector<T>;
  const Share<T> share(a.t);
  const T* x = static_cast<const T*>(a.p.x);
  float v[kSteps][kVector<T>];
  float sums[2] = {0.0f, 0.0f};
#pragma unroll
  for (int s = 0; s < kSteps; ++s) {
    const std::int64_t n = share.voxel + s * share.step;
    const int count = share.count(n);
    if (count > 0) {
      load_group(x + share.at(a.p.x_strides, n), count, a.t.vectors, v[s]);
    } else {
#pragma unroll
      for (int i = 0; i < kVector<T>; ++i) v[s][i] = 0.0f;
    }
#pragma unroll
    for (int i = 0; i < kVector<T>; ++i) sums[0] += v[s][i];
    sums[1] += static_cast<float>(count);
  }
  block_sum(sums, scratch);
  const float mean = sums[0] / sums[1];
  float squares[1] = {0.0f};
#pragma unroll
  for (int s = 0; s < kSteps; ++s) {
    const int count = share.count(share.voxel + s * share.step);
#pragma unroll
    for (int i = 0; i < kVector<T>; ++i) {
      const float deviation = i < count ? v[s][i] - mean : 0.0f;
      squares[0] += deviation * deviation;
    }
  }
  block_sum(squares, scratch);
  if (threadIdx.x == 0) a.parts[blockIdx.x] = {mean, squares[0], sums[1]};
}

// One block a sample: Chan's merge of all parts at once, in float64.
__global__ void __launch_bounds__(kThreads) merge_statistics_kernel(const ForwardArguments a) {
  MRI2PET_SHARED(double, scratch, kThreads / 32);
  const std::int64_t count = a.t.channel_blocks * a.t.chunks;
  const Part* parts = a.parts + blockIdx.x * count;
  const double values = static_cast<double>(a.t.channels) * static_cast<double>(a.t.voxels);
  double sum[1] = {0.0};
  for (std::int64_t i = threadIdx.x; i < count; i += kThreads) {
    sum[0] += static_cast<double>(parts[i].count) * parts[i].mean;
  }
  block_sum(sum, scratch);
  const double mean = sum[0] / values;
  sum[0] = 0.0;
  for (std::int64_t i = threadIdx.x; i < count; i += kThreads) {
    const double shift = parts[i].mean - mean;
    sum[0] += parts[i].squares + parts[i].count * shift * shift;
  }
  block_sum(sum, scratch);
  if (threadIdx.x == 0) {
    static_cast<float*>(a.p.mean)[blockIdx.x] = static_cast<float>(mean);
    static_cast<float*>(a.p.rstd)[blockIdx.x] =
        static_cast<float>(1.0 / sqrt(sum[0] / values + a.p.eps));
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads, 4) normalize_kernel(const ForwardArguments a) {
  const Share<T> share(a.t);
  if (share.count(share.voxel) == 0) return;
  const Affine<T> affine(a.p, share, a.t.channels);
  for (int s = 0; s < kItems / kVector<T>; ++s) {
    const std::int64_t n = share.voxel + s * share.step;
    const int count = share.count(n);
    if (count == 0) return;
    float x[kVector<T>], h[kVector<T>];
    load_group(static_cast<const T*>(a.p.x) + share.at(a.p.x_strides, n), count, a.t.vectors, x);
    affine.apply(a.p, share, n, count, a.t.vectors, x, h);
    if (a.p.gelu) {
#pragma unroll
      for (int i = 0; i < kVector<T>; ++i) h[i] = gelu(h[i]);
    }
    store_group(static_cast<T*>(a.p.y) + share.at(a.p.y_strides, n), count, a.t.vectors, h);
  }
}

std::int64_t plan(ForwardArguments& a) {
  a.t = make_tiling(a.p.batch, a.p.channels, a.p.voxels, a.p.dtype, a.p.x_strides);
  Workspace workspace(a.p.resources.workspace);
  a.parts = workspace.take<Part>(a.t.blocks());
  return workspace.bytes();
}

template <typename T>
Status forward(const ForwardArguments& a) {
  const dim3 grid = one_dimension(a.t.blocks());
  const dim3 samples = one_dimension(a.t.batch);
  void* stream = a.p.resources.stream;
  Status status = launch(statistics_kernel<T>, grid, kThreads, 0, stream, a);
  if (status.ok()) status = launch(merge_statistics_kernel, samples, kThreads, 0, stream, a);
  if (status.ok()) status = launch(normalize_kernel<T>, grid, kThreads, 0, stream, a);
  return status;
}

}  // namespace

std::int64_t group_norm_gelu_forward_workspace(const GroupNormGeluForward& p) {
  if (!check(p).ok()) return 0;
  ForwardArguments a{p, {}, nullptr};
  return plan(a);
}

Status group_norm_gelu_forward(const GroupNormGeluForward& p) {
  ForwardArguments a{p, {}, nullptr};
  if (const Status status = prepare(a); !status.ok()) return status;
  a.t.vectors = all_take_vectors(a.t, p.dtype, p.x, p.x_strides) &&
                all_take_vectors(a.t, p.dtype, p.residual, p.residual_strides) &&
                all_take_vectors(a.t, p.dtype, p.y, p.y_strides);
  switch (p.dtype) {
    case DType::f32: return forward<float>(a);
    case DType::bf16: return forward<__nv_bfloat16>(a);
    case DType::f16: return forward<__half>(a);
    case DType::f64: break;
  }
  return {Code::bad_dtype, "x"};
}

}  // namespace cuda
}  // namespace mri2pet
