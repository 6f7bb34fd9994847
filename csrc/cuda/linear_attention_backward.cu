// The backward pass of linear_attention (mri2pet/linear_attention.h).
//
// 1. outer_kernel: parts of dM = G X^T and of the sums of G. Reads X and G.
// 2. weights_kernel, a block a head and sample: from dM the gradients of Wq, Wv and Wo, and dS.
// 3. input_kernel: per tile of voxels P again, dK, then dX = M^T G + dS^T P + Wk^T dK from shared
//    memory, and the part of dWk = dK X^T that stays in registers. Reads X and G, writes dX.
// sum_kernel adds the parts in a fixed order.
// Bytes: 2 |X| + 2 |G| read, |dX| written. Arithmetic a voxel: rows * (10 C + 4) + 4 C^2 flops and
// `rows` exp2: bound by the multiply-adds for C = 8 in float32.
#include "linear_attention_weights.cuh"

namespace mri2pet {
namespace cuda {
namespace {

// A thread holds kCells cells of 4 x 4 of dM for one slice of the voxels of a tile.
template <int kTile, int kCells>
__global__ void __launch_bounds__(kThreads) outer_kernel(const Arguments a) {
  MRI2PET_DYNAMIC_SHARED(float, g);
  const Sizes& z = a.z;
  float* x = g + z.padded * kPitch<kTile>;
  const std::int64_t sample = blockIdx.y;
  const int thread = static_cast<int>(threadIdx.x);
  const int across = z.padded / 4, cells = across * across;
  const int slices = cells < kThreads ? kThreads / cells : 1;
  const int slice = thread % slices, first_cell = thread / slices;
  float4 acc[kCells][4], sum[kCells];  // dM[4 i + r, 4 j ...] and the sums of G's rows 4 i ...
#pragma unroll
  for (int k = 0; k < kCells; ++k) {
    sum[k] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll
    for (int r = 0; r < 4; ++r) acc[k][r] = sum[k];
  }
  const TileRange range = tiles_of_block(z.voxels, kTile);
  for (std::int64_t t = range.first; t < range.last; ++t) {
    __syncthreads();
    load_tile<kTile>(a.grad_y, z, sample, t * kTile, g);
    load_tile<kTile>(a.x, z, sample, t * kTile, x);
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kCells; ++k) {
      const int cell = first_cell + k * kThreads, i = cell / across, j = cell - i * across;
      if (cell >= cells) continue;
      for (int n = slice * 4; n < kTile; n += slices * 4) {
        float4 gs[4], xs[4];
        load_rows(g + i * 4 * kPitch<kTile> + n, kPitch<kTile>, gs);
        load_rows(x + j * 4 * kPitch<kTile> + n, kPitch<kTile>, xs);
#pragma unroll
        for (int r = 0; r < 4; ++r) {
          acc[k][r].x += dot(gs[r], xs[0]);
          acc[k][r].y += dot(gs[r], xs[1]);
          acc[k][r].z += dot(gs[r], xs[2]);
          acc[k][r].w += dot(gs[r], xs[3]);
        }
        const float4 one = make_float4(1.0f, 1.0f, 1.0f, 1.0f);
        sum[k].x += dot(gs[0], one);
        sum[k].y += dot(gs[1], one);
        sum[k].z += dot(gs[2], one);
        sum[k].w += dot(gs[3], one);
      }
    }
  }
  // Adds the slices: 20 values a thread in shared memory, one thread a cell collects them.
  float* out = a.outer_parts + (sample * gridDim.x + blockIdx.x) * a.outer_size;
#pragma unroll
  for (int k = 0; k < kCells; ++k) {
    __syncthreads();
#pragma unroll
    for (int r = 0; r < 4; ++r) store4(g + (r * kThreads + thread) * 4, acc[k][r]);
    store4(g + (4 * kThreads + thread) * 4, sum[k]);
    __syncthreads();
    const int cell = first_cell + k * kThreads, i = cell / across, j = cell - i * across;
    if (slice != 0 || cell >= cells) continue;
    for (int r = 0; r < 5; ++r) {
      float4 total = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
      for (int s = 0; s < slices; ++s) {
        add_scaled(total, load4(g + (r * kThreads + thread + s) * 4), 1.0f);
      }
      if (r < 4) store4(out + (i * 4 + r) * z.padded + j * 4, total);
      if (r == 4 && j == 0) store4(out + z.padded * z.padded + i * 4, total);
    }
  }
}


// What input_kernel keeps in shared memory: rows of P, dK and G over the voxels of a tile, X, dX,
// and, when kStaged, the table that multiplies them; else it is read through the L1 cache.
template <int kTile_, int kCells_, bool kStaged_>
struct InputLayout {
  static constexpr int kTile = kTile_, kCells = kCells_;
  static constexpr bool kStaged = kStaged_;
  static constexpr int kBlocks = kCells == 1 ? 2 : 1;  // a multiprocessor, without spilling
  static constexpr int kPitch = cuda::kPitch<kTile_>;
  static std::size_t bytes(const Sizes& z) {
    const int rows = 2 * kRows + z.padded;
    return sizeof(float) * ((rows + 2 * z.padded) * kPitch + (kStaged ? rows * z.padded : 0));
  }
};

// P and dK of a tile into `acts`: each thread 4 rows by 4 voxels at a time.
template <typename L>
__device__ __forceinline__ void keys_of_tile(const Sizes& z, const float* table,
                                             const float* shift, const float* mean,
                                             std::int64_t left, const float* x, float* acts) {
  constexpr int kQuads = L::kTile / 4, kPitch = L::kPitch;
  const int n = static_cast<int>(threadIdx.x) % kQuads * 4;
  for (int row = static_cast<int>(threadIdx.x) / kQuads * 4; row < kRows;
       row += kThreads / kQuads * 4) {
    float4 k[4], u[4];
#pragma unroll
    for (int r = 0; r < 4; ++r) k[r] = u[r] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    for (int c = 0; c < z.padded; c += 4) {
      float4 w[4], v[4];
      load_rows(x + c * kPitch + n, kPitch, v);
      load_rows(table + (kRows + row) * z.padded + c, z.padded, w);
      multiply_add(k, w, v);
      load_rows(table + row * z.padded + c, z.padded, w);
      multiply_add(u, w, v);
    }
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const float s = shift[row + r], m = mean[row + r];
      float4 p;
      p.x = n + 0 < left ? exp2f(k[r].x * kLog2E - s) : 0.0f;
      p.y = n + 1 < left ? exp2f(k[r].y * kLog2E - s) : 0.0f;
      p.z = n + 2 < left ? exp2f(k[r].z * kLog2E - s) : 0.0f;
      p.w = n + 3 < left ? exp2f(k[r].w * kLog2E - s) : 0.0f;
      store4(acts + (row + r) * kPitch + n, p);
      store4(acts + (kRows + row + r) * kPitch + n,
             make_float4(p.x * (u[r].x - m), p.y * (u[r].y - m), p.z * (u[r].z - m),
                         p.w * (u[r].w - m)));
    }
  }
}

// Of 2 kKept sums a lane keeps half and gives the other half to the lane that keeps those.
template <int kKept>
__device__ __forceinline__ void halve(float (&sums)[16], int lane) {
  const bool upper = (lane & kKept / 2) != 0;
#pragma unroll
  for (int i = 0; i < kKept; ++i) {
    const float keep = upper ? sums[kKept + i] : sums[i];
    const float give = upper ? sums[i] : sums[kKept + i];
    sums[i] = keep + __shfl_xor_sync(kFullWarp, give, kKept / 2);
  }
}

// dX of a tile: 8 neighbouring lanes share a cell of 4 channels by 4 voxels, each adds every eighth
// row; then they halve the cell three times, so that each lane ends with two of its 16 sums.
template <typename L>
__device__ __forceinline__ void input_of_tile(const Sizes& z, const float* table,
                                              const float* acts, float* out) {
  constexpr int kQuads = L::kTile / 4, kPitch = L::kPitch;
  const int lane = static_cast<int>(threadIdx.x) % 8, team = static_cast<int>(threadIdx.x) / 8;
  const int cells = z.padded / 4 * kQuads, rows = 2 * kRows + z.padded;
  for (int first = 0; first < cells; first += kThreads / 8) {
    const int cell = min(first + team, cells - 1);
    const int c = cell / kQuads * 4, n = cell % kQuads * 4;
    float4 acc[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) acc[i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll 2
    for (int row = lane; row < rows; row += 8) {
      const float4 w = load4(table + row * z.padded + c);
      const float4 v = load4(acts + row * kPitch + n);
      add_scaled(acc[0], v, w.x);
      add_scaled(acc[1], v, w.y);
      add_scaled(acc[2], v, w.z);
      add_scaled(acc[3], v, w.w);
    }
    float sums[16];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      sums[4 * i] = acc[i].x, sums[4 * i + 1] = acc[i].y;
      sums[4 * i + 2] = acc[i].z, sums[4 * i + 3] = acc[i].w;
    }
    halve<8>(sums, lane);
    halve<4>(sums, lane);
    halve<2>(sums, lane);
    float* to = out + (c + lane / 2) * kPitch + n + lane % 2 * 2;
    if (first + team < cells) to[0] = sums[0], to[1] = sums[1];
  }
}

// Which part of dWk a thread adds: rows lane, lane + 32, ... and groups of 4 channels; when there
// are fewer groups than warps, several warps share one and divide the voxels.
struct KeyShare {
  int lane, group, slice, slices;
  bool works;

  __device__ explicit KeyShare(const Sizes& z) {
    constexpr int kWarps = kThreads / 32;
    const int warp = static_cast<int>(threadIdx.x) / 32, groups = z.padded / 4;
    slices = groups < kWarps ? kWarps / groups : 1;
    lane = static_cast<int>(threadIdx.x) % 32;
    group = warp / slices;
    slice = warp % slices;
    works = group < groups;
  }
};

template <typename L>
__device__ __forceinline__ void add_keys_gradient(const Sizes& z, const KeyShare& share,
                                                  const float* acts, const float* x,
                                                  float4 (&acc)[L::kCells][4]) {
  constexpr int kPitch = L::kPitch, kWarps = kThreads / 32;
  if (!share.works) return;
  for (int n = share.slice * 4; n < L::kTile; n += share.slices * 4) {
    float4 dk[4];
    load_rows(acts + (kRows + share.lane) * kPitch + n, 32 * kPitch, dk);
#pragma unroll
    for (int k = 0; k < L::kCells; ++k) {
      const int c = (share.group + k * kWarps) * 4;
      if (c >= z.padded) continue;
      float4 v[4];
      load_rows(x + c * kPitch + n, kPitch, v);
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        acc[k][r].x += dot(dk[r], v[0]);
        acc[k][r].y += dot(dk[r], v[1]);
        acc[k][r].z += dot(dk[r], v[2]);
        acc[k][r].w += dot(dk[r], v[3]);
      }
    }
  }
}

// The block's part of dWk; the slices are added in shared memory, which is free by now.
template <typename L>
__device__ __forceinline__ void write_keys_gradient(const Sizes& z, const KeyShare& share,
                                                    const float4 (&acc)[L::kCells][4],
                                                    float* memory, float* out) {
#pragma unroll
  for (int k = 0; k < L::kCells; ++k) {
    const int c = (share.group + k * kThreads / 32) * 4;
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const int row = share.lane + 32 * r;
      float4 total = acc[k][r];
      if (share.slices > 1) {
        __syncthreads();
        store4(memory + threadIdx.x * 4, total);
        __syncthreads();
        total = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        for (int s = 0; share.slice == 0 && s < share.slices; ++s) {
          add_scaled(total, load4(memory + (threadIdx.x + s * 32) * 4), 1.0f);
        }
      }
      if (share.works && share.slice == 0 && c < z.padded) store4(out + row * z.padded + c, total);
    }
  }
}

template <typename L>
__global__ void __launch_bounds__(kThreads, L::kBlocks) input_kernel(const Arguments a) {
  MRI2PET_DYNAMIC_SHARED(float, acts);
  const Sizes& z = a.z;
  const int rows = 2 * kRows + z.padded;
  float* grad = acts + 2 * kRows * L::kPitch;
  float* x = acts + rows * L::kPitch;
  float* out = x + z.padded * L::kPitch;
  const std::int64_t sample = blockIdx.y;
  const float* table = a.table + sample * rows * z.padded;
  if (L::kStaged) {
    float* staged = out + z.padded * L::kPitch;
    for (int i = static_cast<int>(threadIdx.x) * 4; i < rows * z.padded; i += kThreads * 4) {
      store4(staged + i, load4(table + i));
    }
    table = staged;
  }
  const KeyShare share(z);
  float4 keys[L::kCells][4];
#pragma unroll
  for (int k = 0; k < L::kCells; ++k) {
#pragma unroll
    for (int r = 0; r < 4; ++r) keys[k][r] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  }
  const TileRange range = tiles_of_block(z.voxels, L::kTile);
  for (std::int64_t t = range.first; t < range.last; ++t) {
    const std::int64_t start = t * L::kTile;
    load_tile<L::kTile>(a.x, z, sample, start, x);
    load_tile<L::kTile>(a.grad_y, z, sample, start, grad);
    __syncthreads();
    keys_of_tile<L>(z, table, a.shift + sample * kRows, a.mean + sample * kRows, z.voxels - start,
                    x, acts);
    __syncthreads();
    input_of_tile<L>(z, table, acts, out);
    add_keys_gradient<L>(z, share, acts, x, keys);
    __syncthreads();
    store_tile<L::kTile>(a.grad_x, z, sample, start, out);
  }
  float* part = a.key_parts + (sample * gridDim.x + blockIdx.x) * kRows * z.padded;
  write_keys_gradient<L>(z, share, keys, acts, part);
}

template <int kTile, int kCells>
Status launch_outer(const Arguments& a) {
  const dim3 grid(static_cast<unsigned>(a.outer_splits), static_cast<unsigned>(a.z.batch));
  const std::size_t tiles = 2 * static_cast<std::size_t>(a.z.padded) * kPitch<kTile>;
  const std::size_t states = 5 * 4 * kThreads;
  return launch(outer_kernel<kTile, kCells>, grid, kThreads, 4 * (tiles > states ? tiles : states),
                a.p.resources.stream, a);
}

template <typename L>
Status launch_input(const Arguments& a) {
  const dim3 grid(static_cast<unsigned>(a.input_splits), static_cast<unsigned>(a.z.batch));
  return launch(input_kernel<L>, grid, kThreads, L::bytes(a.z), a.p.resources.stream, a);
}

int outer_tile(int channels) { return channels <= 16 ? 256 : channels <= 32 ? 128 : 64; }
int input_tile(int channels) { return channels <= 16 ? 64 : 32; }

std::int64_t plan(Arguments& a) {
  a.z = sizes_of(a.p);
  const Sizes& z = a.z;
  a.outer_splits = choose_splits(z, outer_tile(z.channels), 2);
  a.input_splits = choose_splits(z, input_tile(z.channels), 2);
  a.outer_size = z.padded * z.padded + z.padded;
  const std::int64_t matrix = z.batch * z.rows * z.channels;
  const std::int64_t square = z.batch * z.heads * z.width * z.width;
  Workspace workspace(a.p.resources.workspace);
  a.outer_parts = workspace.take<float>(z.batch * a.outer_splits * a.outer_size);
  a.outer = workspace.take<float>(z.batch * a.outer_size);
  a.context = workspace.take<float>(square);
  a.grad_context = workspace.take<float>(square);
  a.left = workspace.take<float>(matrix);
  a.right = workspace.take<float>(matrix);
  a.grad_q = workspace.take<float>(matrix);
  a.grad_v = workspace.take<float>(matrix);
  a.grad_out = workspace.take<float>(matrix);
  a.table = workspace.take<float>(z.batch * (2 * kRows + z.padded) * z.padded);
  a.shift = workspace.take<float>(z.batch * kRows);
  a.mean = workspace.take<float>(z.batch * kRows);
  a.key_parts = workspace.take<float>(z.batch * a.input_splits * kRows * z.padded);
  return workspace.bytes();
}

Status run(const Arguments& a) {
  const int channels = a.z.channels;
  const auto batch = static_cast<unsigned>(a.z.batch);
  const int cells = (2 * kRows + a.z.padded) * a.z.padded;
  const dim3 table(static_cast<unsigned>(ceil_div(cells, kThreads)), batch);
  const dim3 heads(static_cast<unsigned>(a.z.heads), batch);
  void* stream = a.p.resources.stream;
  Status status = channels <= 16   ? launch_outer<256, 1>(a)
                  : channels <= 32 ? launch_outer<128, 1>(a)
                  : channels <= 64 ? launch_outer<64, 1>(a)
                                   : launch_outer<64, 4>(a);
  if (status.ok()) status = sum_outer(a);
  if (status.ok()) status = launch(table_kernel, table, kThreads, 0, stream, a);
  if (status.ok()) status = launch(weights_kernel, heads, kWeightThreads, 0, stream, a);
  if (!status.ok()) return status;
  status = channels <= 16   ? launch_input<InputLayout<64, 1, true>>(a)
           : channels <= 32 ? launch_input<InputLayout<32, 1, true>>(a)
                            : launch_input<InputLayout<32, 4, false>>(a);
  return status.ok() ? sum_gradients(a) : status;
}

}  // namespace

std::int64_t linear_attention_backward_workspace(const LinearAttentionBackward& p) {
  if (!check(p).ok() || !check_kernel_sizes(p).ok()) return 0;
  Arguments a{p};
  return plan(a);
}

Status linear_attention_backward(const LinearAttentionBackward& p) {
  if (const Status status = check(p); !status.ok()) return status;
  if (const Status status = check_kernel_sizes(p); !status.ok()) return status;
  Arguments a{p};
  const std::int64_t bytes = plan(a);
  if (p.resources.workspace == nullptr || p.resources.workspace_bytes < bytes) {
    return {Code::small_workspace, nullptr};
  }
  a.x = view_of(p.x, p.x_strides, a.z);
  a.grad_y = view_of(p.grad_y, p.grad_y_strides, a.z);
  a.grad_x = view_of(p.grad_x, p.grad_x_strides, a.z);
  return run(a);
}

}  // namespace cuda
}  // namespace mri2pet
