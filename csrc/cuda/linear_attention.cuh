// What the forward and the backward pass of linear_attention share: tiles of a [B, C, N] tensor in
// shared memory, sums of partial results, and what is refused.
//
// A tile holds C channels (rounded up to a multiple of 4, the rest zero) by kTile voxels in float32,
// channel by channel, whatever the tensor's dtype and layout. Its rows are kTile + 4 floats apart:
// 16-byte accesses by lanes in adjacent rows then meet different banks, and so do the transposing
// stores of a channels-last tensor.
#pragma once

#include "common.cuh"
#include "mri2pet/linear_attention.h"

namespace mri2pet {
namespace cuda {
namespace {

constexpr int kMostChannels = 128;
constexpr int kRows = 128;  // heads * width at most; the kernels count on this many, padded
constexpr float kLog2E = 1.44269504f;

template <int kTile>
constexpr int kPitch = kTile + 4;

struct Sizes {
  std::int64_t batch, voxels;
  int channels, padded;  // C, and C rounded up to a multiple of 4
  int heads, width, rows;
  DType dtype;
  bool channels_first;
};

template <typename Params>
Sizes sizes_of(const Params& p) {
  Sizes z;
  z.batch = p.batch;
  z.voxels = p.voxels;
  z.channels = static_cast<int>(p.channels);
  z.padded = static_cast<int>(round_up(p.channels, 4));
  z.heads = static_cast<int>(p.heads);
  z.width = static_cast<int>(p.width);
  z.rows = z.heads * z.width;
  z.dtype = p.dtype;
  z.channels_first = layout_of(p.x_strides, p.channels, p.voxels) == Layout::channels_first;
  return z;
}

template <typename Params>
Status check_kernel_sizes(const Params& p) {
  if (p.dtype == DType::f64) return {Code::bad_dtype, "x"};
  if (p.channels > kMostChannels) return {Code::bad_shape, "more than 128 channels"};
  if (p.heads > kRows || p.width > kRows || p.heads * p.width > kRows) {
    return {Code::bad_shape, "heads * width is more than 128"};
  }
  if (p.batch > 65535) return {Code::bad_shape, "a batch of more than 65535"};
  if (p.voxels > kMostBlocks * 32) return {Code::bad_shape, "voxels"};
  return {};
}

// A [B, C, N] tensor of the op's dtype and layout.
struct View {
  const void* data;
  Strides strides;
  bool vectors;
};

inline View view_of(const void* data, const Strides& strides, const Sizes& z) {
  const Layout layout = z.channels_first ? Layout::channels_first : Layout::channels_last;
  return {data, strides, takes_vectors(data, strides, layout, z.channels, z.voxels, z.dtype)};
}

__device__ __forceinline__ int clamp_count(std::int64_t left, int most) {
  return left <= 0 ? 0 : left < most ? static_cast<int>(left) : most;
}

// Calls f(pointer into the tensor, channel, voxel in the tile, how many elements exist) for each
// 16 bytes of a tile, divided among the threads of the block.
template <typename T, int kTile, typename F>
__device__ __forceinline__ void each_group(const View& view, const Sizes& z, std::int64_t sample,
                                           std::int64_t start, F f) {
  constexpr int kWidth = kVector<T>;
  const T* base = static_cast<const T*>(view.data) + sample * view.strides.batch;
  const int across = z.channels_first ? kTile / kWidth : (z.padded + kWidth - 1) / kWidth;
  const int down = z.channels_first ? z.padded : kTile;
  for (int i = static_cast<int>(threadIdx.x); i < across * down; i += static_cast<int>(blockDim.x)) {
    const int line = i / across, group = (i - line * across) * kWidth;
    if (z.channels_first) {
      const int count = line < z.channels ? clamp_count(z.voxels - start - group, kWidth) : 0;
      f(base + line * view.strides.channel + start + group, line, group, count);
    } else {
      const int count = start + line < z.voxels ? clamp_count(z.channels - group, kWidth) : 0;
      f(base + (start + line) * view.strides.voxel + group, group, line, count);
    }
  }
}

template <typename T, int kTile>
__device__ __forceinline__ void load_tile_as(const View& view, const Sizes& z, std::int64_t sample,
                                             std::int64_t start, float* tile) {
  constexpr int kWidth = kVector<T>;
  each_group<T, kTile>(view, z, sample, start, [&](const T* p, int channel, int voxel, int count) {
    float v[kWidth];
    if (count > 0) {
      load_group(p, count, view.vectors, v);
    } else {
#pragma unroll
      for (int i = 0; i < kWidth; ++i) v[i] = 0.0f;
    }
    float* to = tile + channel * kPitch<kTile> + voxel;
    if (z.channels_first) {
#pragma unroll
      for (int i = 0; i < kWidth; i += 4) {
        store4(to + i, make_float4(v[i], v[i + 1], v[i + 2], v[i + 3]));
      }
    } else {
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        if (channel + i < z.padded) to[i * kPitch<kTile>] = v[i];
      }
    }
  });
}

template <typename T, int kTile>
__device__ __forceinline__ void store_tile_as(const View& view, const Sizes& z,
                                              std::int64_t sample, std::int64_t start,
                                              const float* tile) {
  constexpr int kWidth = kVector<T>;
  each_group<T, kTile>(view, z, sample, start, [&](const T* p, int channel, int voxel, int count) {
    if (count == 0) return;
    const float* from = tile + channel * kPitch<kTile> + voxel;
    const int step = z.channels_first ? 1 : kPitch<kTile>;
    float v[kWidth];
#pragma unroll
    for (int i = 0; i < kWidth; ++i) v[i] = i < count ? from[i * step] : 0.0f;
    store_group(const_cast<T*>(p), count, view.vectors, v);
  });
}

// One kernel serves all dtypes: the choice is made once a tile, the arithmetic is in float32.
template <int kTile>
__device__ __forceinline__ void load_tile(const View& view, const Sizes& z, std::int64_t sample,
                                          std::int64_t start, float* tile) {
  if (z.dtype == DType::f32) {
    load_tile_as<float, kTile>(view, z, sample, start, tile);
  } else if (z.dtype == DType::bf16) {
    load_tile_as<__nv_bfloat16, kTile>(view, z, sample, start, tile);
  } else {
    load_tile_as<__half, kTile>(view, z, sample, start, tile);
  }
}

template <int kTile>
__device__ __forceinline__ void store_tile(const View& view, const Sizes& z, std::int64_t sample,
                                           std::int64_t start, const float* tile) {
  if (z.dtype == DType::f32) {
    store_tile_as<float, kTile>(view, z, sample, start, tile);
  } else if (z.dtype == DType::bf16) {
    store_tile_as<__nv_bfloat16, kTile>(view, z, sample, start, tile);
  } else {
    store_tile_as<__half, kTile>(view, z, sample, start, tile);
  }
}

// The tiles that block blockIdx.x of gridDim.x blocks works on.
struct TileRange {
  std::int64_t first, last;
};

__device__ __forceinline__ TileRange tiles_of_block(std::int64_t voxels, int tile) {
  const std::int64_t tiles = (voxels + tile - 1) / tile;
  const std::int64_t each = (tiles + gridDim.x - 1) / gridDim.x;
  return {blockIdx.x * each, min((blockIdx.x + 1) * each, tiles)};
}

// How many blocks share the voxels of a sample: about `per_processor` blocks a multiprocessor in
// all, and none of them without a tile. `beside`: blocks that each of them is anyway, for its rows.
inline int choose_splits(const Sizes& z, int tile, int per_processor, int beside = 1) {
  const std::int64_t tiles = ceil_div(z.voxels, tile);
  const std::int64_t blocks =
      std::int64_t{per_processor} * device_attribute(cudaDevAttrMultiProcessorCount, 100);
  const std::int64_t wanted = ceil_div(blocks, z.batch * beside);
  const std::int64_t each = ceil_div(tiles, wanted);
  return static_cast<int>(ceil_div(tiles, each));
}

__device__ __forceinline__ float dot(float4 a, float4 b) {
  return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
}

// a += b * s
__device__ __forceinline__ void add_scaled(float4& a, float4 b, float s) {
  a.x += b.x * s;
  a.y += b.y * s;
  a.z += b.z * s;
  a.w += b.w * s;
}

// acc[r][.] (four voxels) += w_r[c] x_c over four channels: 4 x 4 outputs, 64 multiply-adds.
__device__ __forceinline__ void multiply_add(float4 (&acc)[4], const float4 (&w)[4],
                                             const float4 (&x)[4]) {
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    add_scaled(acc[r], x[0], w[r].x);
    add_scaled(acc[r], x[1], w[r].y);
    add_scaled(acc[r], x[2], w[r].z);
    add_scaled(acc[r], x[3], w[r].w);
  }
}

// Four rows of a tile or matrix from `p`, `pitch` floats apart.
__device__ __forceinline__ void load_rows(const float* p, int pitch, float4 (&v)[4]) {
#pragma unroll
  for (int r = 0; r < 4; ++r) v[r] = load4(p + r * pitch);
}

__device__ __forceinline__ void load_rows2(const float* p, int pitch, float4 (&v)[2]) {
  v[0] = load4(p);
  v[1] = load4(p + pitch);
}

}  // namespace
}  // namespace cuda
}  // namespace mri2pet
