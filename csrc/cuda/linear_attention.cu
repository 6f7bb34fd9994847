// Linear attention with its algebra folded, forward (mri2pet/linear_attention.h).
//
// 1. keys_kernel, or small_keys_kernel: S by an online softmax; each block takes a part of the voxels, computes Wk x on the
//    fly and keeps a shift, a sum and C sums of p x for every row. Reads X once.
// 2. merge_kernel: merges the parts of a row; its row of the context and its column of Wo ctx^T.
// 3. mix_kernel: M = (Wo ctx^T) Wq.
// 4. apply_kernel: Y = M X + b. Reads X, writes Y.
// Bytes: 2 |X| read and |Y| written (X may come from the L2 cache the second time); the parts take
// rows * (C + 2) * 4 bytes a block. Arithmetic a voxel: rows * (4 C + 4) flops and `rows` exp2, so
// for C = 8 in float32 the kernel is bound by the multiply-adds of step 1, not by memory.
#include "linear_attention_small.cuh"

namespace mri2pet {
namespace cuda {
namespace {

constexpr int kKeyThreads = 512;
constexpr float kSlack = 8.0f;  // p may grow to 2^8 before the shift of a row is moved

// How a block divides its work: a thread holds kOwn of the channels of kOwnRows rows; kLanes threads
// side by side hold a row; the groups of threads that hold all rows share the voxels of a tile.
template <int kOwn_, int kOwnRows_, int kLanes_, int kTile_>
struct Keys {
  static constexpr int kOwn = kOwn_, kOwnRows = kOwnRows_, kLanes = kLanes_, kTile = kTile_;
  static constexpr int kGroupThreads = kRows / kOwnRows * kLanes;
  static constexpr int kGroups = kKeyThreads / kGroupThreads;
  static constexpr int kState = kOwnRows * (kOwn + 2);  // floats that groups hand over
};

template <typename K>
struct Row {
  float w[K::kOwn], s[K::kOwn];
  float shift, sum;
};

// Moves the shift of a row up to `to`.
template <typename K>
__device__ __forceinline__ void raise_shift(Row<K>& row, float to) {
  const float scale = exp2f(row.shift - to);
  row.shift = to;
  row.sum *= scale;
#pragma unroll
  for (int c = 0; c < K::kOwn; ++c) row.s[c] *= scale;
}

// Adds four voxels, of which `count` exist; x holds the thread's channels of them.
template <typename K>
__device__ __forceinline__ void add_voxels(Row<K> (&rows)[K::kOwnRows], const float* x, int count) {
  float k[K::kOwnRows][4];
#pragma unroll
  for (int r = 0; r < K::kOwnRows; ++r) k[r][0] = k[r][1] = k[r][2] = k[r][3] = 0.0f;
#pragma unroll
  for (int c = 0; c < K::kOwn; ++c) {
    const float4 v = load4(x + c * kPitch<K::kTile>);
#pragma unroll
    for (int r = 0; r < K::kOwnRows; ++r) {
      k[r][0] += rows[r].w[c] * v.x;
      k[r][1] += rows[r].w[c] * v.y;
      k[r][2] += rows[r].w[c] * v.z;
      k[r][3] += rows[r].w[c] * v.w;
    }
  }
#pragma unroll
  for (int r = 0; r < K::kOwnRows; ++r) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int bits = K::kLanes / 2; bits > 0; bits >>= 1) {
        k[r][i] += __shfl_xor_sync(kFullWarp, k[r][i], bits);
      }
      if (i >= count) k[r][i] = -INFINITY;
    }
    const float most = fmaxf(fmaxf(k[r][0], k[r][1]), fmaxf(k[r][2], k[r][3]));
    if (most > rows[r].shift + kSlack) raise_shift<K>(rows[r], most);
#pragma unroll
    for (int i = 0; i < 4; ++i) k[r][i] = exp2f(k[r][i] - rows[r].shift);
    rows[r].sum += (k[r][0] + k[r][1]) + (k[r][2] + k[r][3]);
  }
  // Makes the compiler read x again: kept, it would take 4 kOwn registers and spill.
  if (K::kOwn > 8) __syncwarp();
#pragma unroll
  for (int c = 0; c < K::kOwn; ++c) {
    const float4 v = load4(x + c * kPitch<K::kTile>);
#pragma unroll
    for (int r = 0; r < K::kOwnRows; ++r) {
      rows[r].s[c] += (k[r][0] * v.x + k[r][1] * v.y) + (k[r][2] * v.z + k[r][3] * v.w);
    }
  }
}

// Adds the groups' states into group 0, one group after the other. `memory` is free to use.
template <typename K>
__device__ __forceinline__ void merge_groups(Row<K> (&rows)[K::kOwnRows], int group, int member,
                                             float* memory) {
  for (int from = 1; from < K::kGroups; ++from) {
    __syncthreads();
    float* slot = memory + member;
    if (group == from) {
#pragma unroll
      for (int r = 0; r < K::kOwnRows; ++r) {
        *slot = rows[r].shift, slot += K::kGroupThreads;
        *slot = rows[r].sum, slot += K::kGroupThreads;
#pragma unroll
        for (int c = 0; c < K::kOwn; ++c) *slot = rows[r].s[c], slot += K::kGroupThreads;
      }
    }
    __syncthreads();
    if (group != 0) continue;
#pragma unroll
    for (int r = 0; r < K::kOwnRows; ++r) {
      const float shift = *slot;
      slot += K::kGroupThreads;
      if (shift == -INFINITY) {  // that group has seen no voxel
        slot += (K::kOwn + 1) * K::kGroupThreads;
        continue;
      }
      if (shift > rows[r].shift) raise_shift<K>(rows[r], shift);
      const float scale = exp2f(shift - rows[r].shift);
      rows[r].sum += *slot * scale, slot += K::kGroupThreads;
#pragma unroll
      for (int c = 0; c < K::kOwn; ++c) rows[r].s[c] += *slot * scale, slot += K::kGroupThreads;
    }
  }
}

template <typename K>
__global__ void __launch_bounds__(kKeyThreads, 1) keys_kernel(const Arguments a) {
  MRI2PET_DYNAMIC_SHARED(float, tiles);
  const Sizes& z = a.z;
  const int thread = static_cast<int>(threadIdx.x);
  const int group = thread / K::kGroupThreads, member = thread % K::kGroupThreads;
  const int channel = member % K::kLanes * K::kOwn;
  const int first_row = member / K::kLanes * K::kOwnRows;
  const std::int64_t sample = blockIdx.y;

  // Tiles are kOwn * kLanes channels high; those beyond the tensor's are zero.
  const int used = z.padded * kPitch<K::kTile>;
  const int size = K::kOwn * K::kLanes * kPitch<K::kTile>;
  for (int i = used + thread; i < size; i += kKeyThreads) tiles[i] = tiles[size + i] = 0.0f;

  const float* w_k = static_cast<const float*>(a.p.w_qkv) + std::int64_t{z.rows} * z.channels;
  Row<K> rows[K::kOwnRows];
#pragma unroll
  for (int r = 0; r < K::kOwnRows; ++r) {
    rows[r].shift = -INFINITY;
    rows[r].sum = 0.0f;
#pragma unroll
    for (int c = 0; c < K::kOwn; ++c) {
      const bool exists = first_row + r < z.rows && channel + c < z.channels;
      rows[r].w[c] = exists ? w_k[(first_row + r) * z.channels + channel + c] * kLog2E : 0.0f;
      rows[r].s[c] = 0.0f;
    }
  }

  const TileRange range = tiles_of_block(z.voxels, K::kTile);
  load_tile<K::kTile>(a.x, z, sample, range.first * K::kTile, tiles);
  for (std::int64_t t = range.first; t < range.last; ++t) {
    __syncthreads();
    const float* tile = tiles + (t - range.first) % 2 * size;
    if (t + 1 < range.last) {
      load_tile<K::kTile>(a.x, z, sample, (t + 1) * K::kTile,
                          tiles + (t + 1 - range.first) % 2 * size);
    }
    const std::int64_t left = z.voxels - t * K::kTile;
    for (int n = group * 4; n < K::kTile && n < left; n += K::kGroups * 4) {
      add_voxels<K>(rows, tile + channel * kPitch<K::kTile> + n, clamp_count(left - n, 4));
    }
  }
  merge_groups<K>(rows, group, member, tiles);
  if (group != 0) return;
#pragma unroll
  for (int r = 0; r < K::kOwnRows; ++r) {
    if (first_row + r >= z.rows) continue;
    const std::int64_t at = (sample * a.splits + blockIdx.x) * z.rows + first_row + r;
    if (channel == 0) {
      a.shifts[at] = rows[r].shift;
      a.sums[at] = rows[r].sum;
    }
#pragma unroll
    for (int c = 0; c < K::kOwn; ++c) {
      if (channel + c < z.channels) a.parts[at * z.channels + channel + c] = rows[r].s[c];
    }
  }
}

template <int kTile>
__global__ void __launch_bounds__(kThreads) apply_kernel(const Arguments a) {
  MRI2PET_DYNAMIC_SHARED(float, x);
  const Sizes& z = a.z;
  float* y = x + z.padded * kPitch<kTile>;
  const std::int64_t sample = blockIdx.y, start = std::int64_t{blockIdx.x} * kTile;
  const float* matrix = a.matrix + sample * z.padded * z.padded;
  const float* bias = static_cast<const float*>(a.p.bias);
  load_tile<kTile>(a.x, z, sample, start, x);
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < z.padded * kTile / 16; i += kThreads) {
    const int n = i % (kTile / 4) * 4, c = i / (kTile / 4) * 4;
    float4 acc[4];
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const float b = c + r < z.channels ? bias[c + r] : 0.0f;
      acc[r] = make_float4(b, b, b, b);
    }
    for (int j = 0; j < z.padded; j += 4) {
      float4 w[4], v[4];
      load_rows(matrix + c * z.padded + j, z.padded, w);
      load_rows(x + j * kPitch<kTile> + n, kPitch<kTile>, v);
      multiply_add(acc, w, v);
    }
#pragma unroll
    for (int r = 0; r < 4; ++r) store4(y + (c + r) * kPitch<kTile> + n, acc[r]);
  }
  __syncthreads();
  store_tile<kTile>(a.y, z, sample, start, y);
}

template <typename K>
Status launch_keys(const Arguments& a) {
  const std::size_t tiles = 2 * K::kOwn * K::kLanes * kPitch<K::kTile>;
  const std::size_t states = K::kState * K::kGroupThreads;
  const dim3 grid(static_cast<unsigned>(a.splits), static_cast<unsigned>(a.z.batch));
  return launch(keys_kernel<K>, grid, kKeyThreads, 4 * (tiles > states ? tiles : states),
                a.p.resources.stream, a);
}

template <int kTile>
Status launch_apply(const Arguments& a) {
  const dim3 grid(static_cast<unsigned>(ceil_div(a.z.voxels, kTile)),
                  static_cast<unsigned>(a.z.batch));
  const std::size_t shared = 4u * 2 * static_cast<std::size_t>(a.z.padded) * kPitch<kTile>;
  return launch(apply_kernel<kTile>, grid, kThreads, shared, a.p.resources.stream, a);
}

using Keys8 = Keys<8, 2, 1, 512>;
using Keys16 = Keys<16, 2, 1, 256>;
using Keys32 = Keys<32, 1, 1, 128>;
using Keys64 = Keys<32, 1, 2, 64>;
using Keys128 = Keys<32, 1, 4, 64>;

Status launch_large(const Arguments& a) {
  const int channels = a.z.channels;
  return channels <= 8    ? launch_keys<Keys8>(a)
         : channels <= 16 ? launch_keys<Keys16>(a)
         : channels <= 32 ? launch_keys<Keys32>(a)
         : channels <= 64 ? launch_keys<Keys64>(a)
                          : launch_keys<Keys128>(a);
}

Status launch_small(const Arguments& a) {
  const int channels = a.z.channels;
  return channels <= 32   ? launch_small_keys<32>(a)
         : channels <= 64 ? launch_small_keys<64>(a)
                          : launch_small_keys<128>(a);
}

int keys_tile(int channels) {
  return channels <= 8 ? 512 : channels <= 16 ? 256 : channels <= 32 ? 128 : 64;
}

std::int64_t plan(Arguments& a) {
  a.z = sizes_of(a.p);
  a.splits = is_small(a.z) ? choose_splits(a.z, kSmallTile, 2, small_row_blocks(a.z))
                           : choose_splits(a.z, keys_tile(a.z.channels), 1);
  const std::int64_t rows = a.z.batch * a.splits * a.z.rows;
  Workspace workspace(a.p.resources.workspace);
  a.shifts = workspace.take<float>(rows);
  a.sums = workspace.take<float>(rows);
  a.parts = workspace.take<float>(rows * a.z.channels);
  a.mixed = workspace.take<float>(a.z.batch * a.z.channels * a.z.rows);
  a.matrix = workspace.take<float>(a.z.batch * a.z.padded * a.z.padded);
  return workspace.bytes();
}

}  // namespace

std::int64_t linear_attention_forward_workspace(const LinearAttentionForward& p) {
  if (!check(p).ok() || !check_kernel_sizes(p).ok()) return 0;
  Arguments a{p};
  return plan(a);
}

Status linear_attention_forward(const LinearAttentionForward& p) {
  if (const Status status = check(p); !status.ok()) return status;
  if (const Status status = check_kernel_sizes(p); !status.ok()) return status;
  Arguments a{p};
  const std::int64_t bytes = plan(a);
  if (p.resources.workspace == nullptr || p.resources.workspace_bytes < bytes) {
    return {Code::small_workspace, nullptr};
  }
  a.x = view_of(p.x, p.x_strides, a.z);
  a.y = view_of(p.y, p.y_strides, a.z);
  const int channels = a.z.channels;
  void* stream = p.resources.stream;
  const auto batch = static_cast<unsigned>(a.z.batch);
  const dim3 rows(static_cast<unsigned>(a.z.rows), batch);
  const dim3 cells(static_cast<unsigned>(ceil_div(a.z.padded * a.z.padded, 32)), batch);
  Status status = is_small(a.z) ? launch_small(a) : launch_large(a);
  if (status.ok()) status = launch(merge_kernel, rows, kThreads, 0, stream, a);
  if (status.ok()) status = launch(mix_kernel, cells, kThreads, 0, stream, a);
  if (!status.ok()) return status;
  return channels <= 8    ? launch_apply<512>(a)
         : channels <= 16 ? launch_apply<256>(a)
         : channels <= 32 ? launch_apply<128>(a)
                          : launch_apply<64>(a);
}

}  // namespace cuda
}  // namespace mri2pet
