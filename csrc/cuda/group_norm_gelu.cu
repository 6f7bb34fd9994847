// GroupNorm with one group, fused with residual, channel bias and GELU (mri2pet/group_norm_gelu.h).
//
// Statistics of 32 values a thread at a time, held in registers for an exact two-pass variance, and
// merged over the block in float64; then one pass that merges the blocks' parts, normalises and
// writes. A small sample is one block's, in one launch. Bytes a value of e bytes: 2 e read and e written (3 e read with a residual).
#include "group_norm_gelu.cuh"
#include "moments.cuh"

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

// Merges one part a thread; every thread gets the result. Chan's rule for all parts at once.
__device__ Moments merged(const Part& part, double* scratch) {
  double sums[2] = {static_cast<double>(part.count), static_cast<double>(part.count) * part.mean};
  block_sum(sums, scratch);
  const double mean = sums[1] / sums[0], shift = part.mean - mean;
  double squares[1] = {part.squares + part.count * shift * shift};
  block_sum(squares, scratch);
  return {mean, squares[0], sums[0]};
}

// The values of a thread.
template <typename T>
__device__ __forceinline__ Part own_part(const ForwardArguments& a, const Share<T>& share) {
  constexpr int kSteps = kItems / kVector<T>;
  const T* x = static_cast<const T*>(a.p.x);
  Part own = {0.0f, 0.0f, 0.0f};
  for (int first = 0; first < a.t.steps; first += kSteps) {
    float v[kSteps][kVector<T>];
    float sum = 0.0f, held = 0.0f;
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
      const std::int64_t n = share.voxel + (first + s) * std::int64_t{share.step};
      const int count = share.count(n);
      if (count > 0) {
        load_group(x + share.at(a.p.x_strides, n), count, a.t.access, v[s]);
      } else {
#pragma unroll
        for (int i = 0; i < kVector<T>; ++i) v[s][i] = 0.0f;
      }
#pragma unroll
      for (int i = 0; i < kVector<T>; ++i) sum += v[s][i];
      held += static_cast<float>(count);
    }
    if (held == 0.0f) break;
    const float mean = sum / held;
    float squares = 0.0f;
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
      const int count = share.count(share.voxel + (first + s) * std::int64_t{share.step});
#pragma unroll
      for (int i = 0; i < kVector<T>; ++i) {
        const float deviation = i < count ? v[s][i] - mean : 0.0f;
        squares += deviation * deviation;
      }
    }
    // The rule of Chan, Golub and LeVeque for two parts.
    const float count = own.count + held, shift = mean - own.mean;
    own.squares += squares + shift * shift * (own.count * held / count);
    own.mean += shift * (held / count);
    own.count = count;
  }
  return own;
}

// Normalises, adds and activates the values of a thread; one of a sample's keeps its statistics.
template <typename T>
__device__ __forceinline__ void write_normalized(const ForwardArguments& a, const Share<T>& share,
                                                 const Moments& moments) {
  const float mean = static_cast<float>(moments.mean);
  const float rstd = static_cast<float>(1.0 / sqrt(moments.squares / moments.count + a.p.eps));
  if (threadIdx.x == 0 && blockIdx.x == share.sample * a.t.parts()) {
    static_cast<float*>(a.p.mean)[share.sample] = mean;
    static_cast<float*>(a.p.rstd)[share.sample] = rstd;
  }
  if (share.count(share.voxel) == 0) return;
  const Affine<T> affine(a.p, share, a.t.channels, mean, rstd);
  for (int s = 0; s < a.t.steps; ++s) {
    const std::int64_t n = share.voxel + s * std::int64_t{share.step};
    const int count = share.count(n);
    if (count == 0) return;
    float x[kVector<T>], h[kVector<T>];
    load_group(static_cast<const T*>(a.p.x) + share.at(a.p.x_strides, n), count, a.t.access, x);
    affine.apply(a.p, share, n, count, a.t.access, x, h);
    if (a.p.gelu) {
#pragma unroll
      for (int i = 0; i < kVector<T>; ++i) h[i] = gelu(h[i]);
    }
    store_group(static_cast<T*>(a.p.y) + share.at(a.p.y_strides, n), count, a.t.access, h);
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads, 4) statistics_kernel(const ForwardArguments a) {
  MRI2PET_SHARED(double, scratch, 2 * kThreads / 32);
  const Share<T> share(a.t);
  const Moments moments = merged(own_part(a, share), scratch);
  if (threadIdx.x == 0) {
    a.parts[blockIdx.x] = {static_cast<float>(moments.mean), static_cast<float>(moments.squares),
                           static_cast<float>(moments.count)};
  }
}

// Every block merges the parts of its sample again: at most about kMostParts of 12 bytes, which lie
// in the second cache, and so no launch stands between the two kernels.
template <typename T>
__global__ void __launch_bounds__(kThreads, 4) normalize_kernel(const ForwardArguments a) {
  MRI2PET_SHARED(double, scratch, 2 * kThreads / 32);
  const Share<T> share(a.t);
  const Part* parts = a.parts + share.sample * a.t.parts();
  write_normalized(a, share, merged_parts<kThreads>(parts, a.t.parts(), scratch));
}

// A sample that one block holds.
template <typename T>
__global__ void __launch_bounds__(kThreads, 4) whole_kernel(const ForwardArguments a) {
  MRI2PET_SHARED(double, scratch, 2 * kThreads / 32);
  const Share<T> share(a.t);
  write_normalized(a, share, merged(own_part(a, share), scratch));
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
  void* stream = a.p.resources.stream;
  if (a.t.parts() == 1) return launch(whole_kernel<T>, grid, kThreads, 0, stream, a);
  Status status = launch(statistics_kernel<T>, grid, kThreads, 0, stream, a);
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
  a.t.access = narrowed(Access::vectors, a.t, p.dtype, p.x, p.x_strides);
  a.t.access = narrowed(a.t.access, a.t, p.dtype, p.residual, p.residual_strides);
  a.t.access = narrowed(a.t.access, a.t, p.dtype, p.y, p.y_strides);
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
