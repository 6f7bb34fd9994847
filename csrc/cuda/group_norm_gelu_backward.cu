// The backward pass of group_norm_gelu (mri2pet/group_norm_gelu.h).
//
// One pass for the sums per channel (reads x, grad_y [, residual]; writes grad_residual when it is
// wanted), one pass that writes grad_x (reads x and grad_residual, or x, grad_y [, residual]
// again), the small sums over chunks and samples. Bytes a value of e bytes: 4 e read and e written without a residual, 5 e and
// 2 e with one.
#include "group_norm_gelu.cuh"

namespace mri2pet {
namespace cuda {
namespace {

// Blocks a multiprocessor: as many as fit without spilling registers.
template <typename T>
constexpr int kBlocks = sizeof(T) == 4 ? 3 : 2;

struct BackwardArguments {
  GroupNormGeluBackward p;
  Tiling t;
  float2* parts;   // [B, C, chunks]: sums of dh and of dh * xhat
  float2* totals;  // [B, channel blocks, chunks]: sums of weight * dh and of weight * dh * xhat
};

template <typename T>
__device__ __forceinline__ Affine<T> kept_affine(const BackwardArguments& a, const Share<T>& share) {
  return {a.p, share, a.t.channels, static_cast<const float*>(a.p.mean)[share.sample],
          static_cast<const float*>(a.p.rstd)[share.sample]};
}

// dh of one group at voxel n.
template <typename T>
__device__ __forceinline__ void gradient_before_activation(const BackwardArguments& a,
                                                           const Share<T>& share,
                                                           const Affine<T>& affine, std::int64_t n,
                                                           int count,
                                                           const float (&x)[kVector<T>],
                                                           float (&dh)[kVector<T>]) {
  load_group(static_cast<const T*>(a.p.grad_y) + share.at(a.p.grad_y_strides, n), count,
             a.t.access, dh);
  if (!a.p.gelu) return;
  float h[kVector<T>];
  affine.apply(a.p, share, n, count, a.t.access, x, h);
#pragma unroll
  for (int i = 0; i < kVector<T>; ++i) dh[i] *= gelu_slope(h[i]);
}

template <typename T>
__global__ void __launch_bounds__(kThreads, kBlocks<T>) channel_sums_kernel(const BackwardArguments a) {
  constexpr int kWidth = kVector<T>;
  MRI2PET_SHARED(float2, scratch, kThreads);
  const Share<T> share(a.t);
  const bool works = share.count(share.voxel) > 0;
  float2 sums[kWidth];
#pragma unroll
  for (int i = 0; i < kWidth; ++i) sums[i] = make_float2(0.0f, 0.0f);
  float total[2] = {0.0f, 0.0f};
  if (works) {
    const Affine<T> affine = kept_affine(a, share);
    for (int s = 0; s < a.t.steps; ++s) {
      const std::int64_t n = share.voxel + s * std::int64_t{share.step};
      const int count = share.count(n);
      if (count == 0) break;
      float x[kWidth], dh[kWidth];
      load_group(static_cast<const T*>(a.p.x) + share.at(a.p.x_strides, n), count, a.t.access, x);
      gradient_before_activation(a, share, affine, n, count, x, dh);
      if (a.p.grad_residual) {
        store_group(static_cast<T*>(a.p.grad_residual) + share.at(a.p.grad_residual_strides, n),
                    count, a.t.access, dh);
        // The sums are over what the second pass reads back, so that they cancel as they should.
#pragma unroll
        for (int i = 0; i < kWidth; ++i) dh[i] = rounded<T>(dh[i]);
      }
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        if (i >= count) continue;
        sums[i].x += dh[i];
        sums[i].y += dh[i] * (x[i] - affine.mean) * affine.rstd;
      }
    }
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      total[0] += affine.weight[i] * sums[i].x;
      total[1] += affine.weight[i] * sums[i].y;
    }
  }
  block_sum(total, reinterpret_cast<float*>(scratch));
  if (threadIdx.x == 0) a.totals[blockIdx.x] = make_float2(total[0], total[1]);
  if (a.t.channels_first) {
#pragma unroll
    for (int i = 1; i < kWidth; ++i) {
      sums[0].x += sums[i].x;
      sums[0].y += sums[i].y;
    }
    float both[2] = {sums[0].x, sums[0].y};
    block_sum(both, reinterpret_cast<float*>(scratch));
    if (threadIdx.x == 0) a.parts[blockIdx.x] = make_float2(both[0], both[1]);
    return;
  }
  const int lane = static_cast<int>(threadIdx.x) % a.t.lanes;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    __syncthreads();
    scratch[threadIdx.x] = sums[i];
    __syncthreads();
    const std::int64_t c = share.channel_of(i);
    if (static_cast<int>(threadIdx.x) >= a.t.lanes || c >= a.t.channels) continue;
    float2 sum = make_float2(0.0f, 0.0f);
    for (int row = 0; row < a.t.rows; ++row) {
      sum.x += scratch[row * a.t.lanes + lane].x;
      sum.y += scratch[row * a.t.lanes + lane].y;
    }
    a.parts[(share.sample * a.t.channels + c) * a.t.chunks + share.chunk] = sum;
  }
}

// One block a channel; a warp adds the chunks of a sample.
__global__ void __launch_bounds__(kThreads) channel_gradients_kernel(const BackwardArguments a) {
  MRI2PET_SHARED(float, scratch, 2 * kThreads / 32);
  const std::int64_t c = blockIdx.x;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  float total[2] = {0.0f, 0.0f};
  for (std::int64_t sample = warp; sample < a.t.batch; sample += kThreads / 32) {
    const float2* parts = a.parts + (sample * a.t.channels + c) * a.t.chunks;
    float2 sum = make_float2(0.0f, 0.0f);
    for (std::int64_t i = lane; i < a.t.chunks; i += 32) {
      sum.x += parts[i].x;
      sum.y += parts[i].y;
    }
    sum.x = warp_sum(sum.x);
    sum.y = warp_sum(sum.y);
    if (lane != 0) continue;
    if (a.p.grad_channel_bias) {
      static_cast<float*>(a.p.grad_channel_bias)[sample * a.t.channels + c] = sum.x;
    }
    total[0] += sum.x;
    total[1] += sum.y;
  }
  __syncwarp();
  block_sum(total, scratch);
  if (threadIdx.x == 0) {
    static_cast<float*>(a.p.grad_bias)[c] = total[0];
    static_cast<float*>(a.p.grad_weight)[c] = total[1];
  }
}

// Mean over a sample's C N values of weight * dh and of weight * dh * xhat; every block adds the
// totals of its sample again.
__device__ __forceinline__ float2 gradient_means(const BackwardArguments& a, std::int64_t sample,
                                                 double* scratch) {
  const float2* totals = a.totals + sample * a.t.parts();
  double sums[2] = {0.0, 0.0};
  for (std::int64_t i = threadIdx.x; i < a.t.parts(); i += kThreads) {
    sums[0] += totals[i].x;
    sums[1] += totals[i].y;
  }
  block_sum(sums, scratch);
  const double values = static_cast<double>(a.t.channels) * static_cast<double>(a.t.voxels);
  return make_float2(static_cast<float>(sums[0] / values), static_cast<float>(sums[1] / values));
}

template <typename T>
__global__ void __launch_bounds__(kThreads, kBlocks<T>) input_gradient_kernel(const BackwardArguments a) {
  constexpr int kWidth = kVector<T>;
  MRI2PET_SHARED(double, scratch, 2 * kThreads / 32);
  const Share<T> share(a.t);
  const float2 means = gradient_means(a, share.sample, scratch);
  if (share.count(share.voxel) == 0) return;
  const Affine<T> affine = kept_affine(a, share);
  for (int s = 0; s < a.t.steps; ++s) {
    const std::int64_t n = share.voxel + s * std::int64_t{share.step};
    const int count = share.count(n);
    if (count == 0) return;
    float x[kWidth], dh[kWidth];
    load_group(static_cast<const T*>(a.p.x) + share.at(a.p.x_strides, n), count, a.t.access, x);
    if (a.p.grad_residual) {
      load_group(
          static_cast<const T*>(a.p.grad_residual) + share.at(a.p.grad_residual_strides, n), count,
          a.t.access, dh);
    } else {
      gradient_before_activation(a, share, affine, n, count, x, dh);
    }
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const float xhat = (x[i] - affine.mean) * affine.rstd;
      x[i] = affine.rstd * ((affine.weight[i] * dh[i] - means.x) - xhat * means.y);
    }
    store_group(static_cast<T*>(a.p.grad_x) + share.at(a.p.grad_x_strides, n), count, a.t.access,
                x);
  }
}

std::int64_t plan(BackwardArguments& a) {
  a.t = make_tiling(a.p.batch, a.p.channels, a.p.voxels, a.p.dtype, a.p.x_strides);
  Workspace workspace(a.p.resources.workspace);
  a.parts = workspace.take<float2>(a.p.batch * a.p.channels * a.t.chunks);
  a.totals = workspace.take<float2>(a.t.blocks());
  return workspace.bytes();
}

template <typename T>
Status backward(const BackwardArguments& a) {
  const dim3 grid = one_dimension(a.t.blocks());
  const dim3 channels = one_dimension(a.t.channels);
  void* stream = a.p.resources.stream;
  Status status = launch(channel_sums_kernel<T>, grid, kThreads, 0, stream, a);
  if (status.ok()) status = launch(input_gradient_kernel<T>, grid, kThreads, 0, stream, a);
  if (status.ok()) status = launch(channel_gradients_kernel, channels, kThreads, 0, stream, a);
  return status;
}

}  // namespace

std::int64_t group_norm_gelu_backward_workspace(const GroupNormGeluBackward& p) {
  if (!check(p).ok()) return 0;
  BackwardArguments a{p, {}, nullptr, nullptr};
  return plan(a);
}

Status group_norm_gelu_backward(const GroupNormGeluBackward& p) {
  BackwardArguments a{p, {}, nullptr, nullptr};
  if (const Status status = prepare(a); !status.ok()) return status;
  a.t.access = narrowed(Access::vectors, a.t, p.dtype, p.x, p.x_strides);
  a.t.access = narrowed(a.t.access, a.t, p.dtype, p.residual, p.residual_strides);
  a.t.access = narrowed(a.t.access, a.t, p.dtype, p.grad_y, p.grad_y_strides);
  a.t.access = narrowed(a.t.access, a.t, p.dtype, p.grad_x, p.grad_x_strides);
  a.t.access = narrowed(a.t.access, a.t, p.dtype, p.grad_residual, p.grad_residual_strides);
  switch (p.dtype) {
    case DType::f32: return backward<float>(a);
    case DType::bf16: return backward<__nv_bfloat16>(a);
    case DType::f16: return backward<__half>(a);
    case DType::f64: break;
  }
  return {Code::bad_dtype, "x"};
}

}  // namespace cuda
}  // namespace mri2pet
