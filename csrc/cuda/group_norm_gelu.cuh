// What the forward and the backward pass of group_norm_gelu share: how threads divide the tensor,
// the GELU, and what is refused.
#pragma once

#include "common.cuh"
#include "mri2pet/group_norm_gelu.h"

namespace mri2pet {
namespace cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kItems = 32;         // values that a thread holds at once
constexpr int kMostRoundsOfOne = 2; // of a sample that one block takes
constexpr int kMostParts = 512;    // blocks a sample, about; what every block merges again

// How the threads of the blocks share a [B, C, N] tensor. A thread takes groups of W = 16 bytes'
// elements that follow each other in memory: W voxels of one channel (channels first) or W channels
// of one voxel (channels last), and steps over the voxels, so its channels stay the same.
struct Tiling {
  std::int64_t batch, channels, voxels;
  bool channels_first;
  Access access;                // of every tensor
  int lanes;                    // channels last: threads side by side over the channels of a voxel
  int rows;                     // channels last: voxels a step of the block
  int steps;                    // groups a thread
  std::int64_t chunk;           // voxels a block
  std::int64_t chunks;          // per channel block
  std::int64_t channel_blocks;  // per sample
  __host__ __device__ std::int64_t parts() const { return channel_blocks * chunks; }  // a sample
  std::int64_t blocks() const { return batch * parts(); }
};

Tiling make_tiling(std::int64_t batch, std::int64_t channels, std::int64_t voxels, DType dtype,
                   const Strides& strides) {
  const std::int64_t width = 16 / element_bytes(dtype);
  Tiling t{batch, channels, voxels, layout_of(strides, channels, voxels) == Layout::channels_first};
  if (t.channels_first) {
    t.chunk = kThreads * kItems;
    t.channel_blocks = channels;
  } else {
    const std::int64_t groups = ceil_div(channels, width);
    t.lanes = static_cast<int>(groups < kThreads ? groups : kThreads);
    t.rows = kThreads / t.lanes;
    t.chunk = t.rows * (kItems / width);
    t.channel_blocks = ceil_div(groups, t.lanes);
  }
  // Blocks take several rounds of kItems values where a sample has many. Nothing here depends on
  // the batch, so that a sample's sums are those it has alone.
  const std::int64_t parts = t.channel_blocks * ceil_div(voxels, t.chunk);
  const bool one_block = t.channel_blocks == 1 && parts <= kMostRoundsOfOne;
  const std::int64_t rounds = one_block ? parts : ceil_div(parts, kMostParts);
  t.steps = static_cast<int>(rounds * (kItems / width));
  t.chunk *= rounds;
  t.chunks = ceil_div(voxels, t.chunk);
  return t;
}

// The share of one thread.
template <typename T>
struct Share {
  std::int64_t sample, chunk, channel, voxel;
  int step;    // voxels between its groups
  int width;   // channels last: how many of its channels exist, 0 for a thread without work
  bool first;  // channels first
  std::int64_t voxels;

  __device__ explicit Share(const Tiling& t) : first(t.channels_first), voxels(t.voxels) {
    const std::int64_t line = blockIdx.x / t.chunks;
    const int thread = static_cast<int>(threadIdx.x);
    chunk = blockIdx.x - line * t.chunks;
    sample = line / t.channel_blocks;
    channel = line - sample * t.channel_blocks;
    if (first) {
      voxel = chunk * t.chunk + thread * kVector<T>;
      step = kThreads * kVector<T>;
      width = kVector<T>;
    } else {
      channel = (channel * t.lanes + thread % t.lanes) * kVector<T>;
      voxel = chunk * t.chunk + thread / t.lanes;
      step = t.rows;
      const std::int64_t left = t.channels - channel;
      width = thread / t.lanes >= t.rows || left <= 0 ? 0
              : left < kVector<T>                     ? static_cast<int>(left)
                                                      : kVector<T>;
    }
  }
  // How many elements of the group at voxel n exist.
  __device__ int count(std::int64_t n) const {
    if (n >= voxels) return 0;
    return !first ? width : static_cast<int>(min(voxels - n, std::int64_t{kVector<T>}));
  }
  __device__ std::int64_t at(const Strides& s, std::int64_t n) const {
    return sample * s.batch + channel * s.channel + n * (first ? 1 : s.voxel);
  }
  __device__ std::int64_t channel_of(int i) const { return first ? channel : channel + i; }
};

// ---- GELU(h) = h Phi(h), exact.
__device__ __forceinline__ float gelu(float h) {
  return 0.5f * h * (1.0f + erff(h * 0.707106781f));
}
__device__ __forceinline__ float gelu_slope(float h) {
  const float density = 0.398942280f * __expf(-0.5f * h * h);
  return 0.5f * (1.0f + erff(h * 0.707106781f)) + h * density;
}

// What a thread needs of its channels: h = (x - mean) * rstd * weight + shift [+ residual].
template <typename T>
struct Affine {
  float mean, rstd, weight[kVector<T>], shift[kVector<T>];

  template <typename Params>
  __device__ Affine(const Params& p, const Share<T>& share, std::int64_t channels, float mean,
                    float rstd)
      : mean(mean), rstd(rstd) {
    const float* channel_bias = static_cast<const float*>(p.channel_bias);
#pragma unroll
    for (int i = 0; i < kVector<T>; ++i) {
      const std::int64_t c = share.channel_of(i);
      const bool exists = c < channels;
      weight[i] = exists ? static_cast<const float*>(p.weight)[c] : 0.0f;
      shift[i] = exists ? static_cast<const float*>(p.bias)[c] : 0.0f;
      if (exists && channel_bias) shift[i] += channel_bias[share.sample * channels + c];
    }
  }
  // h of one group at voxel n; x holds the group.
  template <typename Params>
  __device__ void apply(const Params& p, const Share<T>& share, std::int64_t n, int count,
                        Access access, const float (&x)[kVector<T>], float (&h)[kVector<T>]) const {
#pragma unroll
    for (int i = 0; i < kVector<T>; ++i) h[i] = (x[i] - mean) * rstd * weight[i] + shift[i];
    if (p.residual) {
      float r[kVector<T>];
      load_group(static_cast<const T*>(p.residual) + share.at(p.residual_strides, n), count,
                 access, r);
#pragma unroll
      for (int i = 0; i < kVector<T>; ++i) h[i] += r[i];
    }
  }
};

// What a launcher refuses beside check(): sizes and dtypes that these kernels do not take.
template <typename Arguments>
Status prepare(Arguments& a) {
  if (const Status status = check(a.p); !status.ok()) return status;
  if (a.p.dtype == DType::f64) return {Code::bad_dtype, "x"};
  const std::int64_t bytes = plan(a);
  if (a.t.blocks() > kMostBlocks) return {Code::bad_shape, "batch * channels * voxels"};
  if (a.p.resources.workspace == nullptr || a.p.resources.workspace_bytes < bytes) {
    return {Code::small_workspace, nullptr};
  }
  return {};
}

// The widest access that `access` and a tensor allow; a tensor that is not there allows all.
Access narrowed(Access access, const Tiling& t, DType dtype, const void* p, const Strides& s) {
  if (p == nullptr) return access;
  const Layout layout = t.channels_first ? Layout::channels_first : Layout::channels_last;
  const auto takes = [&](std::int64_t bytes) {
    return takes_vectors(p, s, layout, t.channels, t.voxels, dtype, bytes);
  };
  const Access own = takes(16) ? Access::vectors : takes(8) ? Access::halves : Access::elements;
  return own < access ? own : access;
}

inline dim3 one_dimension(std::int64_t blocks) { return dim3(static_cast<unsigned>(blocks)); }

}  // namespace
}  // namespace cuda
}  // namespace mri2pet
