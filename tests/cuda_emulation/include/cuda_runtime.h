// The part of the CUDA runtime and of device code that the kernels use, for g++ (cuda_emulation.h).
#pragma once

#include <cmath>
#include <tuple>
#include <utility>

#include "cuda_emulation.h"
#include "mma_emulation.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) alignas(n)

#define MRI2PET_SHARED(type, name, count) \
  type* name = static_cast<type*>(cuda_emulation::static_shared(sizeof(type) * (count)))
#define MRI2PET_DYNAMIC_SHARED(type, name) \
  type* name = static_cast<type*>(cuda_emulation::dynamic_shared())

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned int x, y;
};
struct alignas(16) uint4 {
  unsigned int x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline void __stwb(float4* p, float4 v) { *p = v; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

// ---- Synchronisation and warp collectives.
inline void __syncthreads() { cuda_emulation::wait_for_block("__syncthreads"); }
inline void __syncwarp(unsigned mask = 0xffffffffu) {
  cuda_emulation::wait_for_warp(mask, "__syncwarp");
}
inline void __threadfence() {}
inline void __threadfence_block() {}

template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  const int lane = cuda_emulation::current->lane;
  const int from = (lane & ~(width - 1)) | (source & (width - 1));
  return cuda_emulation::shuffle(mask, value, from, "__shfl_sync");
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
  const int lane = cuda_emulation::current->lane;
  const int from = lane ^ bits;
  const bool outside = (from & ~(width - 1)) > (lane & ~(width - 1));
  return cuda_emulation::shuffle(mask, value, outside ? lane : from, "__shfl_xor_sync");
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, int distance, int width = 32) {
  const int lane = cuda_emulation::current->lane;
  const bool outside = (lane & (width - 1)) + distance >= width;
  return cuda_emulation::shuffle(mask, value, outside ? lane : lane + distance,
                                 "__shfl_down_sync");
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, int distance, int width = 32) {
  const int lane = cuda_emulation::current->lane;
  const bool outside = (lane & (width - 1)) < distance;
  return cuda_emulation::shuffle(mask, value, outside ? lane : lane - distance, "__shfl_up_sync");
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  return cuda_emulation::ballot(mask, predicate, "__ballot_sync");
}
inline int __any_sync(unsigned mask, int predicate) {
  return cuda_emulation::ballot(mask, predicate, "__any_sync") != 0;
}
inline int __all_sync(unsigned mask, int predicate) {
  return cuda_emulation::ballot(mask, predicate, "__all_sync") == mask;
}

// ---- Atomics: one thread runs at a time, so a plain update is atomic.
template <typename T>
T atomicAdd(T* address, T value) {
  const T old = *address;
  *address = old + value;
  return old;
}
template <typename T>
T atomicMax(T* address, T value) {
  const T old = *address;
  if (value > old) *address = value;
  return old;
}

// ---- Intrinsics.
template <typename T>
T __ldg(const T* address) {
  return *address;
}
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(static_cast<std::uint64_t>(a) * b >> 32);
}
inline float __uint_as_float(unsigned bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
inline unsigned __float_as_uint(float value) {
  unsigned bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __saturatef(float x) { return std::fmin(std::fmax(x, 0.0f), 1.0f); }
template <typename A>
constexpr A min(A a, A b) {
  return b < a ? b : a;
}
template <typename A>
constexpr A max(A a, A b) {
  return a < b ? b : a;
}

// ---- Host API.
enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorLaunchFailure = 719,
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
};
using cudaStream_t = struct CUstream_st*;
struct cudaLaunchAttribute {};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  cudaLaunchAttribute* attrs = nullptr;
  unsigned numAttrs = 0;
};

const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cuda_emulation_set_attribute(const void* kernel, cudaFuncAttribute attribute, int value);

template <typename T>
cudaError_t cudaFuncSetAttribute(T* kernel, cudaFuncAttribute attribute, int value) {
  return cuda_emulation_set_attribute(reinterpret_cast<const void*>(kernel), attribute, value);
}

template <typename... Expected, typename... Actual>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Expected...),
                               Actual&&... arguments) {
  using Call = std::pair<void (*)(Expected...), std::tuple<Expected...>>;
  const cuda_emulation::Launch launch{config->gridDim, config->blockDim, config->dynamicSmemBytes,
                                      reinterpret_cast<const void*>(kernel)};
  const Call call{kernel, std::tuple<Expected...>(std::forward<Actual>(arguments)...)};
  return static_cast<cudaError_t>(cuda_emulation::submit(config->stream, [launch, call] {
    const auto body = [](void* data) {
      const Call* c = static_cast<const Call*>(data);
      std::apply(c->first, c->second);
    };
    return cuda_emulation::run(launch, body, const_cast<Call*>(&call));
  }));
}

// ---- Memory, streams and graphs (streams.cpp).
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2 };
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };
constexpr unsigned cudaStreamNonBlocking = 1;
using cudaGraph_t = struct CUgraph_st*;
using cudaGraphNode_t = struct CUgraphNode_st*;
using cudaGraphExec_t = struct CUgraphExec_st*;
struct cudaDeviceProp {
  char name[256];
};

cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaMalloc(void** pointer, std::size_t bytes);
cudaError_t cudaFree(void* pointer);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream);
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, std::size_t* count);
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* executable, cudaGraph_t graph,
                                          unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
