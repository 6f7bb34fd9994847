// The kernel of conv3d: an implicit matrix product on the tensor cores (mma.cuh).
//
// A block marches along the depth. Four input planes with their halo lie in shared memory as a ring,
// so each is loaded once a block; the next one arrives while the present output plane is computed.
// A row of 16 voxels is the M of a product, 8 output channels are its N, and its K runs over the taps
// and input channels, two units of 8 channels at a time: an address for each unit is all that a tap
// needs. A warp owns kRows rows above each other. An input row is read from shared memory once for
// each pair of units and multiplied with the weights of all three taps along that axis.
#pragma once

#include "conv3d.cuh"
#include "mma.cuh"
#include "parts.cuh"

namespace mri2pet {
namespace cuda {
namespace {

// Where a block works.
template <typename S>
struct Place {
  std::int64_t sample, part;
  int k0, k1;  // output planes
  int i0, j0;
  int o0;      // first output channel

  __device__ explicit Place(const Conv3dArguments& a) {
    std::int64_t block = blockIdx.x;
    const std::int64_t per_sample = a.groups * a.tiles_j * a.tiles_i * a.chunks;
    sample = block / per_sample;
    part = block - sample * per_sample;
    block = part;
    o0 = static_cast<int>(block % a.groups) * 8 * S::kTilesN;
    block /= a.groups;
    j0 = static_cast<int>(block % a.tiles_j) * S::kTileJ;
    block /= a.tiles_j;
    i0 = static_cast<int>(block % a.tiles_i) * S::kTileI;
    k0 = static_cast<int>(block / a.tiles_i) * a.planes;
    k1 = min(k0 + a.planes, static_cast<int>(a.p.depth));
  }
};

// Copies up to 8 values, `count` of which exist, to a unit of shared memory; the others become 0.
template <typename T>
__device__ __forceinline__ void copy_unit(unsigned char* to, const T* from, const T* base, int count,
                                          int granule, bool inside) {
  if (granule == 16) {
    cp_async<16>(to, inside ? from : base, inside);
  } else if (granule == 8) {
#pragma unroll
    for (int q = 0; q < 2; ++q) {
      const bool valid = inside && 4 * q < count;
      cp_async<8>(to + 8 * q, valid ? from + 4 * q : base, valid);
    }
  } else if (granule == 4) {
#pragma unroll
    for (int q = 0; q < 4; ++q) {
      const bool valid = inside && 2 * q < count;
      cp_async<4>(to + 4 * q, valid ? from + 2 * q : base, valid);
    }
  } else {
    Pack<T> pack;
#pragma unroll
    for (int i = 0; i < kUnit; ++i) {
      from_float(0.0f, pack.items[i]);
      if (inside && i < count) pack.items[i] = from[i];
    }
    *reinterpret_cast<Pack<T>*>(to) = pack;
  }
}

template <typename T, typename S>
__device__ __forceinline__ void load_weights(const Conv3dArguments& a, const Place<S>& place,
                                             unsigned char* weights) {
  const T* w = static_cast<const T*>(a.p.weight);
  const int channels = static_cast<int>(a.p.channels_in);
  for (int e = threadIdx.x; e < 8 * S::kTilesN * 27 * S::kUnits; e += S::kThreads) {
    const int unit = e % S::kUnits, tap = e / S::kUnits % 27, o = e / (27 * S::kUnits);
    const int dk = tap / 9, di = tap / 3 % 3, dj = tap % 3, count = channels - kUnit * unit;
    const int row = di * S::kTaps + (dk * 3 + dj) * S::kUnits + unit;
    const T* from = w + (std::int64_t{place.o0 + o} * 27 + tap) * channels + kUnit * unit;
    copy_unit(weights + 16 * (row * S::kPitch + o), from, w, count, a.granule_weight,
              place.o0 + o < a.p.channels_out && count > 0);
  }
  if (S::kTaps > 9 * S::kUnits) {
    for (int e = threadIdx.x; e < 3 * S::kPitch; e += S::kThreads) {
      const int row = e / S::kPitch * S::kTaps + S::kTaps - 1;
      copy_unit(weights + 16 * (row * S::kPitch + e % S::kPitch), w, w, 0, 2, false);
    }
  }
}

// What lies at element e of a plane of the ring.
template <typename S>
struct Element {
  int unit, i, j, offset;  // offset: bytes in the plane
  bool inside;

  __device__ Element(const Conv3dArguments& a, const Place<S>& place, int plane, int e) {
    const int voxel = e / S::kUnits, row = voxel / S::kHaloJ, column = voxel % S::kHaloJ;
    unit = e % S::kUnits;
    i = place.i0 + row - 1;
    j = place.j0 + column - 1;
    offset = 16 * ((unit * S::kHaloI + row) * S::kHaloJ + column);
    inside = plane >= 0 && plane < a.p.depth && i >= 0 && i < a.p.height && j >= 0 &&
             j < a.p.width;
  }
};

// Queues the copy of an input plane with its halo; what is outside the volume becomes 0.
template <typename T, typename S>
__device__ __forceinline__ void load_plane(const Conv3dArguments& a, const Place<S>& place,
                                           int plane, unsigned char* to) {
  const int channels2 = static_cast<int>(a.p.channels_x2);
  const int channels1 = static_cast<int>(a.p.channels_in) - channels2;
  const std::int64_t first = (place.sample * a.p.depth + plane) * a.p.height;
  for (int e = threadIdx.x; e < S::kPlane; e += S::kThreads) {
    const Element<S> at(a, place, plane, e);
    const bool second = channels2 > 0 && kUnit * at.unit >= channels1;
    const int channels = second ? channels2 : channels1;
    const int channel = kUnit * at.unit - (second ? channels1 : 0);
    const T* base = static_cast<const T*>(second ? a.p.x2 : a.p.x);
    const T* from = base + ((first + at.i) * a.p.width + at.j) * channels + channel;
    copy_unit(to + at.offset, from, base, channels - channel,
              second ? a.granule_x2 : a.granule_x, at.inside && channel < channels);
  }
}

__device__ __forceinline__ void load_eight(const float* p, float (&v)[kUnit]) {
  const float4 low = load4(p), high = load4(p + 4);
  v[0] = low.x, v[1] = low.y, v[2] = low.z, v[3] = low.w;
  v[4] = high.x, v[5] = high.y, v[6] = high.z, v[7] = high.w;
}

// Replaces a plane's values by gelu(scale x + shift). Each thread changes what it has copied itself.
template <typename T, typename S>
__device__ __forceinline__ void activate_plane(const Conv3dArguments& a, const Place<S>& place,
                                               int plane, unsigned char* data, const float* scale,
                                               const float* shift) {
  for (int e = threadIdx.x; e < S::kPlane; e += S::kThreads) {
    const Element<S> at(a, place, plane, e);
    if (!at.inside) continue;
    float v[kUnit], factor[kUnit], term[kUnit];
    T* values = reinterpret_cast<T*>(data + at.offset);
    load_vector(values, v);
    load_eight(scale + kUnit * at.unit, factor);
    load_eight(shift + kUnit * at.unit, term);
#pragma unroll
    for (int c = 0; c < kUnit; ++c) v[c] = fast_gelu(v[c] * factor[c] + term[c]);
    store_vector(values, v);
  }
}

// The norm of the input from the parts that its producer wrote: x scale + shift for each channel.
template <typename S>
__device__ void make_norm(const Conv3dArguments& a, const Place<S>& place, float* scale,
                          float* shift) {
  MRI2PET_SHARED(double, scratch, 2 * S::kThreads / 32);
  const std::int64_t count = a.p.in_part_count;
  const Conv3dPart* parts = static_cast<const Conv3dPart*>(a.p.in_parts) + place.sample * count;
  const Norm norm = norm_of_parts<S::kThreads>(parts, count, a.p.eps, scratch);
  for (int c = threadIdx.x; c < kUnit * S::kUnits; c += S::kThreads) {
    const bool exists = c < a.p.channels_in;
    const float weight = exists ? static_cast<const float*>(a.p.norm_weight)[c] : 0.0f;
    const float bias = exists ? static_cast<const float*>(a.p.norm_bias)[c] : 0.0f;
    scale[c] = static_cast<float>(norm.rstd * weight);
    shift[c] = static_cast<float>(bias - norm.mean * norm.rstd * weight);
  }
  __syncthreads();
}

// One output plane of a warp: sums of kRows x 16 voxels and 8 kTilesN channels.
template <typename T, typename S>
__device__ __forceinline__ void multiply(const unsigned char* ring, const unsigned char* weights,
                                         int first_slot, float (&sums)[S::kRows][S::kTilesN][4]) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int row0 = warp / S::kWarpsJ * S::kRows, column0 = warp % S::kWarpsJ * 16;
  const unsigned char* voxel = ring + 16 * (row0 * S::kHaloJ + column0 + lane % 16);
  const unsigned char* outputs = weights + 16 * ((lane / 8 % 2) * S::kPitch + lane / 16 * 8 + lane % 8);
#pragma unroll
  for (int r = 0; r < S::kRows; ++r) {
#pragma unroll
    for (int n = 0; n < S::kTilesN; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[r][n][i] = 0.0f;
    }
  }
#pragma unroll S::kUnroll
  for (int s = 0; s < S::kPairs; ++s) {
    unsigned b[3][2 * S::kTilesN];
#pragma unroll
    for (int di = 0; di < 3; ++di) {
      const unsigned char* rows = outputs + 16 * (di * S::kTaps + 2 * s) * S::kPitch;
#pragma unroll
      for (int n = 0; n + 1 < S::kTilesN; n += 2) {
        unsigned four[4];
        ldmatrix_x4(four, rows + 16 * 8 * n);
#pragma unroll
        for (int m = 0; m < 4; ++m) b[di][2 * n + m] = four[m];
      }
      if (S::kTilesN % 2 == 1) {
        unsigned two[2];
        ldmatrix_x2(two, rows + 16 * 8 * (S::kTilesN - 1));
        b[di][2 * S::kTilesN - 2] = two[0];
        b[di][2 * S::kTilesN - 1] = two[1];
      }
    }
    // The unit of this lane's addresses; the one beyond the last has the weight 0.
    const int u = min(2 * s + lane / 16, 9 * S::kUnits - 1);
    const int dk = u / (3 * S::kUnits), dj = u / S::kUnits % 3, unit = u % S::kUnits;
    const int slot = (first_slot + dk) % kRing;
    const unsigned char* rows =
        voxel + 16 * (slot * S::kPlane + unit * S::kHaloI * S::kHaloJ + dj);
#pragma unroll
    for (int i = 0; i < S::kRows + 2; ++i) {
      unsigned x[4];
      ldmatrix_x4(x, rows + 16 * i * S::kHaloJ);
#pragma unroll
      for (int di = 0; di < 3; ++di) {
        const int r = i - di;
        if (r < 0 || r >= S::kRows) continue;
#pragma unroll
        for (int n = 0; n < S::kTilesN; ++n) {
          mma_m16n8k16(sums[r][n], x, b[di][2 * n], b[di][2 * n + 1], T{});
        }
      }
    }
  }
}

// Running sums of a thread's outputs about its first one, so that nothing cancels.
struct Statistics {
  float shift = 0.0f, sum = 0.0f, squares = 0.0f, count = 0.0f;

  __device__ __forceinline__ void add(float v) {
    if (count == 0.0f) shift = v;
    const float distance = v - shift;
    sum += distance;
    squares += distance * distance;
    count += 1.0f;
  }
};

__device__ __forceinline__ void merge(Conv3dPart& a, const Conv3dPart& b) {
  const float count = a.count + b.count;
  if (count == 0.0f) return;
  const float distance = b.mean - a.mean, share = b.count / count;
  a.mean += distance * share;
  a.squares += b.squares + distance * distance * a.count * share;
  a.count = count;
}

// Merges the threads' statistics by Chan's rule in a fixed order.
template <typename S>
__device__ void write_part(const Conv3dArguments& a, const Place<S>& place, const Statistics& own) {
  MRI2PET_SHARED(Conv3dPart, warps, S::kThreads / 32);
  Conv3dPart part{0.0f, 0.0f, own.count};
  if (own.count > 0.0f) {
    part.mean = own.shift + own.sum / own.count;
    part.squares = fmaxf(own.squares - own.sum * own.sum / own.count, 0.0f);
  }
#pragma unroll
  for (int bits = 16; bits > 0; bits >>= 1) {
    const Conv3dPart other{__shfl_xor_sync(kFullWarp, part.mean, bits),
                           __shfl_xor_sync(kFullWarp, part.squares, bits),
                           __shfl_xor_sync(kFullWarp, part.count, bits)};
    merge(part, other);
  }
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = part;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int w = 1; w < S::kThreads / 32; ++w) merge(part, warps[w]);
  const std::int64_t count = a.groups * a.tiles_j * a.tiles_i * a.chunks;
  static_cast<Conv3dPart*>(a.p.parts)[place.sample * count + place.part] = part;
}

// Writes two neighbouring channels of one voxel, `count` of which exist.
template <typename T>
__device__ __forceinline__ void store_pair(T* y, const float* v, int count, bool together) {
  struct alignas(4) Two {
    T items[2];
  };
  Two two;
  from_float(v[0], two.items[0]);
  from_float(v[1], two.items[1]);
  if (together) {
    *reinterpret_cast<Two*>(y) = two;
  } else {
    y[0] = two.items[0];
    if (count > 1) y[1] = two.items[1];
  }
}

template <typename T, typename S>
__device__ __forceinline__ void store_plane(const Conv3dArguments& a, const Place<S>& place, int k,
                                            const float (&sums)[S::kRows][S::kTilesN][4],
                                            Statistics& statistics) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int i0 = place.i0 + warp / S::kWarpsJ * S::kRows;
  const int j0 = place.j0 + warp % S::kWarpsJ * 16 + lane / 4;
  const int o0 = place.o0 + lane % 4 * 2, channels = static_cast<int>(a.p.channels_out);
  const bool together = channels % 2 == 0;
  T* y = static_cast<T*>(a.p.y);
#pragma unroll
  for (int r = 0; r < S::kRows; ++r) {
    if (i0 + r >= a.p.height) continue;
    const std::int64_t row = ((place.sample * a.p.depth + k) * a.p.height + i0 + r) * a.p.width;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int j = j0 + 8 * half;
      if (j >= a.p.width) continue;
#pragma unroll
      for (int n = 0; n < S::kTilesN; ++n) {
        const int count = channels - o0 - 8 * n;
        if (count <= 0) continue;
        const float* v = sums[r][n] + 2 * half;
        store_pair(y + (row + j) * channels + o0 + 8 * n, v, count, together);
        if (a.p.parts == nullptr) continue;
        statistics.add(rounded<T>(v[0]));
        if (count > 1) statistics.add(rounded<T>(v[1]));
      }
    }
  }
}

template <typename T, typename S>
__global__ void __launch_bounds__(S::kThreads, 1) conv3d_kernel(const Conv3dArguments a) {
  MRI2PET_DYNAMIC_SHARED(unsigned char, ring);
  MRI2PET_SHARED(float4, norm_values, 2 * kUnit * S::kUnits / 4);  // scale, then shift
  float* scale = reinterpret_cast<float*>(norm_values);
  float* shift = scale + kUnit * S::kUnits;
  unsigned char* weights = ring + 16 * kRing * S::kPlane;
  const Place<S> place(a);
  const bool norm = a.p.in_parts != nullptr;
  const auto slot = [&](int plane) { return (plane - place.k0 + 1) % kRing; };
  const auto data = [&](int plane) { return ring + 16 * S::kPlane * slot(plane); };
  const auto activate = [&](int plane) {
    activate_plane<T, S>(a, place, plane, data(plane), scale, shift);
  };
  load_weights<T, S>(a, place, weights);
  for (int plane = place.k0 - 1; plane <= place.k0 + 1; ++plane) {
    load_plane<T, S>(a, place, plane, data(plane));
  }
  if (norm) make_norm<S>(a, place, scale, shift);
  Statistics statistics;
  for (int k = place.k0; k < place.k1; ++k) {
    cp_async_wait_all();
    if (norm) {
      if (k == place.k0) {
        activate(k - 1);
        activate(k);
      }
      activate(k + 1);
    }
    __syncthreads();  // plane k + 1 is there, and nobody reads plane k - 2 any more
    if (k + 1 < place.k1) load_plane<T, S>(a, place, k + 2, data(k + 2));
    float sums[S::kRows][S::kTilesN][4];
    multiply<T, S>(ring, weights, slot(k - 1), sums);
    store_plane<T, S>(a, place, k, sums, statistics);
  }
  if (a.p.parts != nullptr) write_part<S>(a, place, statistics);
}

template <typename T, typename S>
Status run_conv3d(const Conv3dArguments& a) {
  const std::int64_t blocks = a.p.batch * a.groups * a.tiles_j * a.tiles_i * a.chunks;
  return launch(conv3d_kernel<T, S>, dim3(static_cast<unsigned>(blocks)), S::kThreads,
                S::kSharedBytes, a.p.resources.stream, a);
}

template <typename S>
Conv3dPlan plan_of(DType dtype) {
  return {S::kTileI,   S::kTileJ,   8 * S::kTilesN, S::kSharedBytes,
          S::kThreads, dtype == DType::f16 ? &run_conv3d<__half, S> : &run_conv3d<__nv_bfloat16, S>};
}

}  // namespace
}  // namespace cuda
}  // namespace mri2pet
