// The normalising pass behind a convolution that has left its statistics (mri2pet/apply_norm.h).
//
// A thread takes 8 channels of a voxel at a time. Bytes a value: 2 read and 2 written, and 2 read
// with a residual.
#include "mri2pet/apply_norm.h"

#include "parts.cuh"

namespace mri2pet {
namespace cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kGroups = 4;  // groups of 8 channels a thread
constexpr int kMost = static_cast<int>(kApplyNormMostChannels);

// One group of the residual, from the tensor that holds its channels.
template <typename T>
__device__ __forceinline__ void load_residual(const ApplyNorm& p, std::int64_t voxel, int channel,
                                              float (&r)[kVector<T>]) {
  const int channels2 = static_cast<int>(p.channels_residual2);
  const int channels1 = static_cast<int>(p.channels) - channels2;
  const bool second = channel >= channels1;
  const T* from = static_cast<const T*>(second ? p.residual2 : p.residual);
  load_vector(from + voxel * (second ? channels2 : channels1) + channel - (second ? channels1 : 0),
              r);
}

template <typename T>
__global__ void __launch_bounds__(kThreads, 4) apply_norm_kernel(const ApplyNorm p) {
  MRI2PET_SHARED(double, scratch, 2 * kThreads / 32);
  MRI2PET_SHARED(float, scale, kMost);
  MRI2PET_SHARED(float, shift, kMost);
  const int channels = static_cast<int>(p.channels), units = channels / kVector<T>;
  const std::int64_t sample = blockIdx.y, groups = p.voxels * units;
  const Norm norm = norm_of_parts<kThreads>(
      static_cast<const Conv3dPart*>(p.parts) + sample * p.part_count, p.part_count, p.eps, scratch);
  for (int c = threadIdx.x; c < channels; c += kThreads) {
    const double weight = static_cast<const float*>(p.weight)[c] * norm.rstd;
    float more = static_cast<const float*>(p.bias)[c];
    if (p.channel_bias) more += static_cast<const float*>(p.channel_bias)[sample * channels + c];
    scale[c] = static_cast<float>(weight);
    shift[c] = static_cast<float>(more - norm.mean * weight);
  }
  __syncthreads();
  const T* x = static_cast<const T*>(p.x) + sample * p.voxels * channels;
  T* y = static_cast<T*>(p.y) + sample * p.voxels * channels;
  const std::int64_t first = std::int64_t{blockIdx.x} * kThreads * kGroups + threadIdx.x;
#pragma unroll
  for (int s = 0; s < kGroups; ++s) {
    const std::int64_t g = first + s * kThreads;
    if (g >= groups) return;
    const std::int64_t voxel = g / units;
    const int channel = static_cast<int>(g - voxel * units) * kVector<T>;
    float v[kVector<T>], r[kVector<T>] = {};
    load_vector(x + g * kVector<T>, v);
    if (p.residual) load_residual<T>(p, sample * p.voxels + voxel, channel, r);
#pragma unroll
    for (int i = 0; i < kVector<T>; ++i) {
      v[i] = v[i] * scale[channel + i] + shift[channel + i] + r[i];
      if (p.gelu) v[i] = fast_gelu(v[i]);
    }
    store_vector(y + g * kVector<T>, v);
  }
}

}  // namespace

Status apply_norm(const ApplyNorm& p) {
  if (const Status status = check(p); !status.ok()) return status;
  for (const void* tensor : {p.x, p.residual, p.residual2, static_cast<const void*>(p.y)}) {
    if (!is_aligned(tensor)) return {Code::bad_layout, "tensors must be aligned to 16 bytes"};
  }
  const std::int64_t blocks = ceil_div(p.voxels * p.channels / kVector<__half>, kThreads * kGroups);
  if (blocks > kMostBlocks || p.batch > 65535) return {Code::bad_shape, "batch * voxels"};
  const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(p.batch));
  void (*kernel)(ApplyNorm) =
      p.dtype == DType::f16 ? &apply_norm_kernel<__half> : &apply_norm_kernel<__nv_bfloat16>;
  return launch(kernel, grid, kThreads, 0, p.resources.stream, p);
}

}  // namespace cuda
}  // namespace mri2pet
