// S of small volumes with many channels, where a block of keys_kernel would have one of a few tiles
// to itself and 128 rows to work through: here the rows are shared among the blocks as well.
//
// A warp holds two rows. Its lanes share the voxels of a tile for Wk x, and the channels for p x.
#pragma once

#include "linear_attention_merge.cuh"

namespace mri2pet {
namespace cuda {
namespace {

constexpr int kSmallVoxels = 16384;  // at most
constexpr int kSmallTile = 128;      // voxels
constexpr int kSmallWarps = 4;
constexpr int kSmallThreads = kSmallWarps * 32;
constexpr int kSmallRows = 2;        // of a warp
constexpr int kSmallBlockRows = kSmallWarps * kSmallRows;

// A tile is voxel by voxel here: kChannels values and 4 more, so that eight lanes with a voxel each
// meet all banks.
template <int kChannels>
constexpr int kSmallPitch = kChannels + 4;

template <int kChannels>
__device__ __forceinline__ void load_voxels(const Arguments& a, std::int64_t sample,
                                            std::int64_t start, float* tile) {
  const auto put = [&](auto* p, int channel, int voxel, int count) {
    using T = std::remove_const_t<std::remove_pointer_t<decltype(p)>>;
    float v[kVector<T>];
    if (count > 0) {
      load_group(p, count, a.x.vectors, v);
    } else {
#pragma unroll
      for (int i = 0; i < kVector<T>; ++i) v[i] = 0.0f;
    }
#pragma unroll
    for (int i = 0; i < kVector<T>; ++i) {
      const int c = a.z.channels_first ? channel : channel + i;
      const int n = a.z.channels_first ? voxel + i : voxel;
      if (c < kChannels) tile[n * kSmallPitch<kChannels> + c] = v[i];
    }
  };
  if (a.z.dtype == DType::f32) {
    each_group<float, kSmallTile>(a.x, a.z, sample, start, put);
  } else if (a.z.dtype == DType::bf16) {
    each_group<__nv_bfloat16, kSmallTile>(a.x, a.z, sample, start, put);
  } else {
    each_group<__half, kSmallTile>(a.x, a.z, sample, start, put);
  }
}

// Grid: blocks of rows, splits of the voxels, samples.
template <int kChannels>
__global__ void __launch_bounds__(kSmallThreads) small_keys_kernel(const Arguments a) {
  constexpr int kPitch = kSmallPitch<kChannels>, kVoxels = kSmallTile / 32;
  constexpr int kLanes = kChannels / 4, kGroups = 32 / kLanes;  // of a warp, for p x
  MRI2PET_DYNAMIC_SHARED(float, tile);
  const Sizes& z = a.z;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  float* weights = tile + kSmallTile * kPitch + warp * kSmallRows * kChannels;
  float* shares = tile + kSmallTile * kPitch + kSmallBlockRows * kChannels +
                  warp * kSmallRows * kSmallTile;
  const int first_row = static_cast<int>(blockIdx.x) * kSmallBlockRows + warp * kSmallRows;
  const int split = static_cast<int>(blockIdx.y);
  const std::int64_t sample = blockIdx.z;

  const float* w_k = static_cast<const float*>(a.p.w_qkv) + std::int64_t{z.rows} * z.channels;
  for (int i = lane; i < kSmallRows * kChannels; i += 32) {
    const int row = first_row + i / kChannels, c = i % kChannels;
    weights[i] = row < z.rows && c < z.channels ? w_k[row * z.channels + c] * kLog2E : 0.0f;
  }
  for (int i = thread; i < kSmallTile * kPitch; i += kSmallThreads) tile[i] = 0.0f;

  float shift[kSmallRows], sum[kSmallRows];
  float4 s[kSmallRows];
#pragma unroll
  for (int r = 0; r < kSmallRows; ++r) {
    shift[r] = -INFINITY;
    sum[r] = 0.0f;
    s[r] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  }
  const std::int64_t tiles = (z.voxels + kSmallTile - 1) / kSmallTile;
  const std::int64_t each = (tiles + a.splits - 1) / a.splits;
  const std::int64_t last = min((split + 1) * each, tiles);
  for (std::int64_t t = split * each; t < last; ++t) {
    __syncthreads();
    load_voxels<kChannels>(a, sample, t * kSmallTile, tile);
    __syncthreads();
    float k[kSmallRows][kVoxels];
#pragma unroll
    for (int r = 0; r < kSmallRows; ++r) {
#pragma unroll
      for (int v = 0; v < kVoxels; ++v) k[r][v] = 0.0f;
    }
#pragma unroll 4
    for (int c = 0; c < kChannels; c += 4) {
      float4 w[kSmallRows];
      load_rows2(weights + c, kChannels, w);
#pragma unroll
      for (int v = 0; v < kVoxels; ++v) {
        const float4 x = load4(tile + (v * 32 + lane) * kPitch + c);
#pragma unroll
        for (int r = 0; r < kSmallRows; ++r) k[r][v] += dot(w[r], x);
      }
    }
    const std::int64_t left = z.voxels - t * kSmallTile;
#pragma unroll
    for (int r = 0; r < kSmallRows; ++r) {
      float most = -INFINITY;
#pragma unroll
      for (int v = 0; v < kVoxels; ++v) {
        if (v * 32 + lane >= left) k[r][v] = -INFINITY;
        most = fmaxf(most, k[r][v]);
      }
#pragma unroll
      for (int bits = 16; bits > 0; bits >>= 1) {
        most = fmaxf(most, __shfl_xor_sync(kFullWarp, most, bits));
      }
      if (most > shift[r]) {
        const float scale = exp2f(shift[r] - most);
        shift[r] = most;
        sum[r] *= scale;
        s[r] = make_float4(s[r].x * scale, s[r].y * scale, s[r].z * scale, s[r].w * scale);
      }
#pragma unroll
      for (int v = 0; v < kVoxels; ++v) {
        const float p = exp2f(k[r][v] - shift[r]);
        sum[r] += p;
        shares[r * kSmallTile + v * 32 + lane] = p;
      }
    }
    __syncwarp();
    const int channel = lane % kLanes * 4;
#pragma unroll 2
    for (int n = lane / kLanes * 4; n < kSmallTile; n += kGroups * 4) {
      float4 p[kSmallRows];
      load_rows2(shares + n, kSmallTile, p);
      float4 x[4];
      load_rows(tile + n * kPitch + channel, kPitch, x);
#pragma unroll
      for (int r = 0; r < kSmallRows; ++r) {
        add_scaled(s[r], x[0], p[r].x);
        add_scaled(s[r], x[1], p[r].y);
        add_scaled(s[r], x[2], p[r].z);
        add_scaled(s[r], x[3], p[r].w);
      }
    }
    __syncwarp();
  }
#pragma unroll
  for (int r = 0; r < kSmallRows; ++r) {
    sum[r] = warp_sum(sum[r]);
#pragma unroll
    for (int bits = kLanes; bits < 32; bits <<= 1) {
      s[r].x += __shfl_xor_sync(kFullWarp, s[r].x, bits);
      s[r].y += __shfl_xor_sync(kFullWarp, s[r].y, bits);
      s[r].z += __shfl_xor_sync(kFullWarp, s[r].z, bits);
      s[r].w += __shfl_xor_sync(kFullWarp, s[r].w, bits);
    }
    const int row = first_row + r;
    if (row >= z.rows) continue;
    const std::int64_t at = (sample * a.splits + split) * z.rows + row;
    if (lane == 0) {
      a.shifts[at] = shift[r];
      a.sums[at] = sum[r];
    }
    if (lane >= kLanes) continue;
    const float values[4] = {s[r].x, s[r].y, s[r].z, s[r].w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int c = lane * 4 + i;
      if (c < z.channels) a.parts[at * z.channels + c] = values[i];
    }
  }
}

inline bool is_small(const Sizes& z) { return z.channels > 16 && z.voxels <= kSmallVoxels; }

inline int small_row_blocks(const Sizes& z) {
  return static_cast<int>(ceil_div(z.rows, kSmallBlockRows));
}

template <int kChannels>
Status launch_small_keys(const Arguments& a) {
  const dim3 grid(static_cast<unsigned>(small_row_blocks(a.z)), static_cast<unsigned>(a.splits),
                  static_cast<unsigned>(a.z.batch));
  const std::size_t floats = kSmallTile * kSmallPitch<kChannels> +
                             kSmallBlockRows * (kChannels + kSmallTile);
  return launch(small_keys_kernel<kChannels>, grid, kSmallThreads, 4 * floats,
                a.p.resources.stream, a);
}

}  // namespace
}  // namespace cuda
}  // namespace mri2pet
