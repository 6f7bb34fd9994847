// What the kernels share: typed 16-byte loads and stores, block sums, the launch.
//
// The same files are compiled with g++ for the tests (tests/cuda_emulation), so shared memory is
// declared through two macros and every launch goes through cudaLaunchKernelEx.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "mri2pet/status.h"
#include "mri2pet/types.h"

#ifndef MRI2PET_SHARED
#define MRI2PET_SHARED(type, name, count) __shared__ type name[count]
#define MRI2PET_DYNAMIC_SHARED(type, name)                             \
  extern __shared__ __align__(16) unsigned char mri2pet_dynamic_shared[]; \
  type* name = reinterpret_cast<type*>(mri2pet_dynamic_shared)
#endif

namespace mri2pet {
namespace cuda {

constexpr unsigned kFullWarp = 0xffffffffu;
constexpr int kSharedOptIn = 48 * 1024;  // above this a kernel must ask for its shared memory
constexpr std::int64_t kMostBlocks = 0x7fffffff;

// ---- Elements. 16 bytes are 4 floats or 8 halves.
template <typename T>
constexpr int kVector = 16 / static_cast<int>(sizeof(T));

template <typename T>
struct alignas(16) Pack {
  T items[kVector<T>];
};

__device__ __forceinline__ float to_float(float v) { return v; }
__device__ __forceinline__ float to_float(__half v) { return __half2float(v); }
__device__ __forceinline__ float to_float(__nv_bfloat16 v) { return __bfloat162float(v); }

__device__ __forceinline__ void from_float(float v, float& out) { out = v; }
__device__ __forceinline__ void from_float(float v, __half& out) { out = __float2half_rn(v); }
__device__ __forceinline__ void from_float(float v, __nv_bfloat16& out) {
  out = __float2bfloat16_rn(v);
}

template <typename T>
__device__ __forceinline__ float rounded(float v) {
  T narrow;
  from_float(v, narrow);
  return to_float(narrow);
}

template <typename T>
__device__ __forceinline__ void load_vector(const T* p, float (&v)[kVector<T>]) {
  const Pack<T> pack = *reinterpret_cast<const Pack<T>*>(p);
#pragma unroll
  for (int i = 0; i < kVector<T>; ++i) v[i] = to_float(pack.items[i]);
}

template <typename T>
__device__ __forceinline__ void store_vector(T* p, const float (&v)[kVector<T>]) {
  Pack<T> pack;
#pragma unroll
  for (int i = 0; i < kVector<T>; ++i) from_float(v[i], pack.items[i]);
  *reinterpret_cast<Pack<T>*>(p) = pack;
}

__device__ __forceinline__ float4 load4(const float* p) {
  return *reinterpret_cast<const float4*>(p);
}
__device__ __forceinline__ void store4(float* p, float4 v) { *reinterpret_cast<float4*>(p) = v; }

inline bool is_aligned(const void* p, std::int64_t bytes = 16) {
  return reinterpret_cast<std::uintptr_t>(p) % static_cast<std::uintptr_t>(bytes) == 0;
}

// Whether vectors of `bytes` along the fast axis of a [B, C, N] tensor are all aligned and whole.
inline bool takes_vectors(const void* p, const Strides& s, Layout layout, std::int64_t channels,
                          std::int64_t voxels, DType dtype, std::int64_t bytes = 16) {
  const std::int64_t vector = bytes / element_bytes(dtype);
  const bool first = layout == Layout::channels_first;
  const std::int64_t fast = first ? voxels : channels;
  const std::int64_t pitch = first ? s.channel : s.voxel;
  const std::int64_t unit = first ? s.voxel : s.channel;
  return is_aligned(p, bytes) && unit == 1 && fast % vector == 0 && pitch % vector == 0 &&
         s.batch % vector == 0;
}

// Up to a vector of elements, of which `count` exist; the others are 0. `vectors`: takes_vectors().
template <typename T>
__device__ __forceinline__ void load_group(const T* p, int count, bool vectors,
                                           float (&v)[kVector<T>]) {
  if (vectors) {
    load_vector(p, v);
  } else {
#pragma unroll
    for (int i = 0; i < kVector<T>; ++i) v[i] = i < count ? to_float(p[i]) : 0.0f;
  }
}

template <typename T>
__device__ __forceinline__ void store_group(T* p, int count, bool vectors,
                                            const float (&v)[kVector<T>]) {
  if (vectors) {
    store_vector(p, v);
  } else {
#pragma unroll
    for (int i = 0; i < kVector<T>; ++i) {
      if (i < count) from_float(v[i], p[i]);
    }
  }
}

// How the groups of a tensor are read and written: whole, as two halves of 8 bytes of which the
// second may be missing (12 channels of a half type), or element by element.
enum class Access : int { elements, halves, vectors };

template <typename T>
struct alignas(8) HalfPack {
  T items[kVector<T> / 2];
};

template <typename T>
__device__ __forceinline__ void load_group(const T* p, int count, Access access,
                                           float (&v)[kVector<T>]) {
  if (access != Access::halves) return load_group(p, count, access == Access::vectors, v);
  constexpr int kHalf = kVector<T> / 2;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    HalfPack<T> pack{};
    if (half * kHalf < count) pack = reinterpret_cast<const HalfPack<T>*>(p)[half];
#pragma unroll
    for (int i = 0; i < kHalf; ++i) v[half * kHalf + i] = to_float(pack.items[i]);
  }
}

template <typename T>
__device__ __forceinline__ void store_group(T* p, int count, Access access,
                                            const float (&v)[kVector<T>]) {
  if (access != Access::halves) return store_group(p, count, access == Access::vectors, v);
  constexpr int kHalf = kVector<T> / 2;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    HalfPack<T> pack;
#pragma unroll
    for (int i = 0; i < kHalf; ++i) from_float(v[half * kHalf + i], pack.items[i]);
    if (half * kHalf < count) reinterpret_cast<HalfPack<T>*>(p)[half] = pack;
  }
}

// ---- Sums over a warp and a block, in an order that does not depend on the run.
template <typename T>
__device__ __forceinline__ T warp_sum(T v) {
#pragma unroll
  for (int bits = 16; bits > 0; bits >>= 1) v += __shfl_xor_sync(kFullWarp, v, bits);
  return v;
}

// Sums `count` values a thread over the block; every thread gets the sums. `scratch` holds
// count * blockDim.x / 32 floats of shared memory and is free again when the call returns.
template <typename T, int kCount>
__device__ __forceinline__ void block_sum(T (&v)[kCount], T* scratch) {
  const int warp = threadIdx.x / 32, warps = blockDim.x / 32;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    v[i] = warp_sum(v[i]);
    if (threadIdx.x % 32 == 0) scratch[i * warps + warp] = v[i];
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    v[i] = T{0};
    for (int w = 0; w < warps; ++w) v[i] += scratch[i * warps + w];
  }
  __syncthreads();
}

// ---- Host.
__host__ __device__ inline std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
__host__ __device__ inline std::int64_t round_up(std::int64_t a, std::int64_t b) { return ceil_div(a, b) * b; }

inline int device_attribute(cudaDeviceAttr attribute, int otherwise) {
  int device = 0, value = 0;
  const bool known = cudaGetDevice(&device) == cudaSuccess &&
                     cudaDeviceGetAttribute(&value, attribute, device) == cudaSuccess;
  if (!known) cudaGetLastError();
  return known ? value : otherwise;
}

// Queues `kernel` on a stream. Grids larger than the device takes are refused by the runtime.
template <typename Arguments>
Status launch(void (*kernel)(Arguments), dim3 grid, int threads, std::size_t shared_bytes,
              void* stream, const Arguments& arguments) {
  cudaError_t error = cudaSuccess;
  if (shared_bytes > kSharedOptIn) {
    error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(shared_bytes));
  }
  if (error == cudaSuccess) {
    cudaLaunchConfig_t config{};
    config.gridDim = grid;
    config.blockDim = dim3(static_cast<unsigned>(threads));
    config.dynamicSmemBytes = shared_bytes;
    config.stream = static_cast<cudaStream_t>(stream);
    error = cudaLaunchKernelEx(&config, kernel, arguments);
  }
  if (error == cudaSuccess) return {};
  cudaGetLastError();
  return {Code::device_failure, cudaGetErrorString(error)};
}

// Takes consecutive parts of the caller's workspace, each 16-byte aligned. An op lays out its parts
// in one function, from which both the launcher and the op's *_workspace() learn the size.
class Workspace {
 public:
  explicit Workspace(const void* start) : start_(reinterpret_cast<std::uintptr_t>(start)) {}

  template <typename T>
  T* take(std::int64_t count) {
    const std::uintptr_t part = start_ + static_cast<std::uintptr_t>(bytes_);
    bytes_ += round_up(count * static_cast<std::int64_t>(sizeof(T)), 16);
    return reinterpret_cast<T*>(part);
  }
  std::int64_t bytes() const { return bytes_; }

 private:
  std::uintptr_t start_;
  std::int64_t bytes_ = 0;
};

}  // namespace cuda
}  // namespace mri2pet
