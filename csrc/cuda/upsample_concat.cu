// Trilinear upsampling and concatenation in one pass, and the gradient (mri2pet/upsample_concat.h).
//
// Forward: a block takes one row of the output, all channels of its voxels; a thread a group of
// channels of one voxel: a copy from skip, or eight neighbours of x, which lie in the first cache.
// Bytes: skip and x read, y written. Backward: a block takes one row of x; a thread gathers what its
// group gave to the output, so that no sums meet in memory and the result repeats bit for bit.
#include "common.cuh"
#include "mri2pet/upsample_concat.h"

namespace mri2pet {
namespace cuda {
namespace {

constexpr int kThreads = 128;

// Source coordinate = scale * target coordinate along each axis: torch's rule, in float32 as there.
struct Scales {
  float depth, height, width;
};

template <typename Params>
struct Arguments {
  Params p;
  Scales scale;
  bool channels_first;
};

float scale_of(std::int64_t fine, std::int64_t coarse) {
  return fine > 1 ? static_cast<float>(coarse - 1) / static_cast<float>(fine - 1) : 0.0f;
}

// Where target `to` lies between two neighbours of the coarse axis.
struct Between {
  int low, high;
  float high_share;

  __device__ Between(int to, int coarse, float scale) {
    const float at = scale * static_cast<float>(to);
    low = min(static_cast<int>(at), coarse - 1);
    high = min(low + 1, coarse - 1);
    high_share = at - static_cast<float>(low);
  }
  // The share of neighbour `of` in the target.
  __device__ float share(int of) const {
    return (of == low ? 1.0f - high_share : 0.0f) + (of == high ? high_share : 0.0f);
  }
};

// The targets that neighbour `of` may have a share in; those at the ends may have none.
struct Targets {
  int first, last;

  __device__ Targets(int of, int fine, float scale) : first(0), last(fine - 1) {
    if (scale == 0.0f) return;
    first = max(first, static_cast<int>(static_cast<float>(of - 1) / scale) - 1);
    const float end = static_cast<float>(of + 1) / scale + 1.0f;
    if (end < static_cast<float>(last)) last = static_cast<int>(end);
  }
};

// A group of kWidth channels: a whole vector, or one value.
template <typename T, int kWidth>
__device__ __forceinline__ void read(const T* p, float (&v)[kWidth]) {
  if constexpr (kWidth == 1) {
    v[0] = to_float(*p);
  } else {
    load_vector(p, v);
  }
}

template <typename T, int kWidth>
__device__ __forceinline__ void write(T* p, const float (&v)[kWidth]) {
  if constexpr (kWidth == 1) {
    from_float(v[0], *p);
  } else {
    store_vector(p, v);
  }
}

// Row blockIdx.x of [B, depth, height].
struct Row {
  std::int64_t sample;
  int k, i;

  __device__ Row(std::int64_t depth, std::int64_t height) {
    const std::int64_t plane = blockIdx.x / height;
    i = static_cast<int>(blockIdx.x - plane * height);
    sample = plane / depth;
    k = static_cast<int>(plane - sample * depth);
  }
};

// Item `at` of a row: a group of channels of a voxel, in the order of memory.
struct Item {
  int channel, j;

  __device__ Item(int at, int groups, int kWidth, int width, bool channels_first) {
    const int along = channels_first ? width : groups;
    const int line = at / along, place = at - line * along;
    channel = (channels_first ? line : place) * kWidth;
    j = channels_first ? place : line;
  }
};

using Forward = Arguments<UpsampleConcatForward>;
using Backward = Arguments<UpsampleConcatBackward>;

template <typename T, int kWidth>
__global__ void __launch_bounds__(kThreads) upsample_kernel(const Forward a) {
  const UpsampleConcatForward& p = a.p;
  const Row row(p.depth, p.height);
  const Between k(row.k, static_cast<int>(p.coarse_depth), a.scale.depth);
  const Between i(row.i, static_cast<int>(p.coarse_height), a.scale.height);
  const int width = static_cast<int>(p.width), coarse_width = static_cast<int>(p.coarse_width);
  const int skipped = static_cast<int>(p.channels_skip);
  const int groups = (skipped + static_cast<int>(p.channels_x)) / kWidth;
  const std::int64_t start = (std::int64_t{row.k} * p.height + row.i) * width;
  const T* skip = static_cast<const T*>(p.skip) + row.sample * p.skip_strides.batch;
  const T* x = static_cast<const T*>(p.x) + row.sample * p.x_strides.batch;
  T* y = static_cast<T*>(p.y) + row.sample * p.y_strides.batch;
  const Strides &xs = p.x_strides, &ys = p.y_strides, &ss = p.skip_strides;

  for (int at = static_cast<int>(threadIdx.x); at < groups * width; at += kThreads) {
    const Item item(at, groups, kWidth, width, a.channels_first);
    const std::int64_t n = start + item.j;
    float v[kWidth];
    if (item.channel < skipped) {
      read<T, kWidth>(skip + item.channel * ss.channel + n * ss.voxel, v);
    } else {
      const Between j(item.j, coarse_width, a.scale.width);
      const T* from = x + (item.channel - skipped) * xs.channel;
#pragma unroll
      for (int c = 0; c < kWidth; ++c) v[c] = 0.0f;
#pragma unroll
      for (int corner = 0; corner < 8; ++corner) {
        const bool far_k = corner & 4, far_i = corner & 2, far_j = corner & 1;
        const std::int64_t line =
            std::int64_t{far_k ? k.high : k.low} * p.coarse_height + (far_i ? i.high : i.low);
        const float share = (far_k ? k.high_share : 1.0f - k.high_share) *
                            (far_i ? i.high_share : 1.0f - i.high_share) *
                            (far_j ? j.high_share : 1.0f - j.high_share);
        float corner_v[kWidth];
        read<T, kWidth>(from + (line * coarse_width + (far_j ? j.high : j.low)) * xs.voxel,
                        corner_v);
#pragma unroll
        for (int c = 0; c < kWidth; ++c) v[c] += share * corner_v[c];
      }
    }
    write<T, kWidth>(y + item.channel * ys.channel + n * ys.voxel, v);
  }
}

template <typename T, int kWidth>
__global__ void __launch_bounds__(kThreads, 8) gather_kernel(const Backward a) {
  const UpsampleConcatBackward& p = a.p;
  const Row row(p.coarse_depth, p.coarse_height);
  const Targets ks(row.k, static_cast<int>(p.depth), a.scale.depth);
  const Targets is(row.i, static_cast<int>(p.height), a.scale.height);
  const int depth = static_cast<int>(p.coarse_depth), height = static_cast<int>(p.coarse_height);
  const int width = static_cast<int>(p.coarse_width);
  const int groups = static_cast<int>(p.channels_x) / kWidth;
  const std::int64_t start = (std::int64_t{row.k} * height + row.i) * width;
  const Strides &gs = p.grad_y_strides, &xs = p.grad_x_strides;
  const T* grad = static_cast<const T*>(p.grad_y) + row.sample * gs.batch +
                  p.channels_skip * gs.channel;
  T* grad_x = static_cast<T*>(p.grad_x) + row.sample * xs.batch;

  for (int at = static_cast<int>(threadIdx.x); at < groups * width; at += kThreads) {
    const Item item(at, groups, kWidth, width, a.channels_first);
    const Targets js(item.j, static_cast<int>(p.width), a.scale.width);
    float sum[kWidth];
#pragma unroll
    for (int c = 0; c < kWidth; ++c) sum[c] = 0.0f;
    for (int k = ks.first; k <= ks.last; ++k) {
      const float share_k = Between(k, depth, a.scale.depth).share(row.k);
      if (share_k == 0.0f) continue;
      for (int i = is.first; i <= is.last; ++i) {
        const float share_ki = share_k * Between(i, height, a.scale.height).share(row.i);
        if (share_ki == 0.0f) continue;
        const std::int64_t line = (std::int64_t{k} * p.height + i) * p.width;
        for (int j = js.first; j <= js.last; ++j) {
          const float share = share_ki * Between(j, width, a.scale.width).share(item.j);
          if (share == 0.0f) continue;
          float v[kWidth];
          read<T, kWidth>(grad + item.channel * gs.channel + (line + j) * gs.voxel, v);
#pragma unroll
          for (int c = 0; c < kWidth; ++c) sum[c] += share * v[c];
        }
      }
    }
    write<T, kWidth>(grad_x + item.channel * xs.channel + (start + item.j) * xs.voxel, sum);
  }
}

template <typename Params>
Arguments<Params> arguments_of(const Params& p, const Strides& strides) {
  const Scales scale = {scale_of(p.depth, p.coarse_depth), scale_of(p.height, p.coarse_height),
                        scale_of(p.width, p.coarse_width)};
  return {p, scale, strides.voxel == 1};
}

// Whether every group of a vector's channels is whole and aligned.
template <typename T>
bool whole(const void* p, const Strides& s, std::int64_t channels) {
  return s.channel == 1 && is_aligned(p) && channels % kVector<T> == 0 &&
         s.voxel % kVector<T> == 0 && s.batch % kVector<T> == 0;
}

template <typename T>
Status forward(const Forward& a, dim3 grid) {
  const UpsampleConcatForward& p = a.p;
  const bool vectors = !a.channels_first && whole<T>(p.skip, p.skip_strides, p.channels_skip) &&
                       whole<T>(p.x, p.x_strides, p.channels_x) &&
                       whole<T>(p.y, p.y_strides, p.channels_x);
  return launch(vectors ? upsample_kernel<T, kVector<T>> : upsample_kernel<T, 1>, grid, kThreads, 0,
                p.resources.stream, a);
}

template <typename T>
Status backward(const Backward& a, dim3 grid) {
  const UpsampleConcatBackward& p = a.p;
  const bool vectors = !a.channels_first && p.channels_skip % kVector<T> == 0 &&
                       whole<T>(p.grad_y, p.grad_y_strides, p.channels_x) &&
                       whole<T>(p.grad_x, p.grad_x_strides, p.channels_x);
  return launch(vectors ? gather_kernel<T, kVector<T>> : gather_kernel<T, 1>, grid, kThreads, 0,
                p.resources.stream, a);
}

}  // namespace

Status upsample_concat_forward(const UpsampleConcatForward& p) {
  if (const Status status = check(p); !status.ok()) return status;
  const Forward a = arguments_of(p, p.y_strides);
  const std::int64_t rows = p.batch * p.depth * p.height;
  if (rows > kMostBlocks) return {Code::bad_shape, "batch * depth * height"};
  const dim3 grid(static_cast<unsigned>(rows));
  switch (p.dtype) {
    case DType::f32: return forward<float>(a, grid);
    case DType::bf16: return forward<__nv_bfloat16>(a, grid);
    case DType::f16: return forward<__half>(a, grid);
    case DType::f64: break;
  }
  return {Code::bad_dtype, "skip"};
}

Status upsample_concat_backward(const UpsampleConcatBackward& p) {
  if (const Status status = check(p); !status.ok()) return status;
  const Backward a = arguments_of(p, p.grad_y_strides);
  const std::int64_t rows = p.batch * p.coarse_depth * p.coarse_height;
  if (rows > kMostBlocks) return {Code::bad_shape, "batch * coarse depth * coarse height"};
  const dim3 grid(static_cast<unsigned>(rows));
  switch (p.dtype) {
    case DType::f32: return backward<float>(a, grid);
    case DType::bf16: return backward<__nv_bfloat16>(a, grid);
    case DType::f16: return backward<__half>(a, grid);
    case DType::f64: break;
  }
  return {Code::bad_dtype, "grad_y"};
}

}  // namespace cuda
}  // namespace mri2pet
