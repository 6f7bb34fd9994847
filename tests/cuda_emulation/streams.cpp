// Memory, streams and graphs of the emulation.
//
// A stream does nothing until it is waited for, so that a program which reads a result too early,
// or frees what a queued copy still reads, shows it. Memory is NaN at first.
#include <cstdlib>
#include <map>
#include <memory>
#include <vector>

#include "cuda_runtime.h"

namespace {

using Work = std::function<int()>;
using WorkList = std::vector<Work>;

constexpr std::size_t kAlignment = 256;
constexpr std::size_t kGuard = 256;  // bytes behind each piece of memory; they must stay untouched
constexpr unsigned char kPoison = 0xff;

std::map<void*, std::size_t> sizes;

cudaError_t error(cudaError_t code, const char* text) {
  cuda_emulation::error(code, text);
  return code;
}

bool inside(const void* pointer, std::size_t bytes) {
  auto piece = sizes.upper_bound(const_cast<void*>(pointer));
  if (piece == sizes.begin()) return false;
  --piece;
  const auto* start = static_cast<unsigned char*>(piece->first);
  return static_cast<const unsigned char*>(pointer) + bytes <= start + piece->second;
}

int run_all(const WorkList& list) {
  for (const Work& work : list)
    if (const int code = work(); code != cudaSuccess) return code;
  return cudaSuccess;
}

}  // namespace

struct CUstream_st {
  WorkList queue;
  bool capturing = false;
  WorkList captured;
};
struct CUgraph_st {
  WorkList work;
};
struct CUgraphExec_st {
  WorkList work;
};

namespace cuda_emulation {

int submit(void* stream, std::function<int()> work) {
  auto* s = static_cast<CUstream_st*>(stream);
  if (s == nullptr) return work();
  (s->capturing ? s->captured : s->queue).push_back(std::move(work));
  return cudaSuccess;
}

bool fails(const char* call) {
  static std::map<std::string, int> calls;
  const char* wanted = std::getenv("CUDA_EMULATION_FAIL");
  const int number = ++calls[call];
  const std::string name = call;
  const bool asked = wanted != nullptr &&
                     (wanted == name || wanted == name + ":" + std::to_string(number));
  if (asked) error(cudaErrorInvalidValue, "asked for by the test");
  return asked;
}

}  // namespace cuda_emulation

#define MAY_FAIL(call) \
  if (cuda_emulation::fails(#call)) return cudaErrorInvalidValue

cudaError_t cudaSetDevice(int) {
  MAY_FAIL(cudaSetDevice);
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  MAY_FAIL(cudaGetDeviceProperties);
  std::strcpy(properties->name, "Emulated GPU");
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** pointer, std::size_t bytes) {
  MAY_FAIL(cudaMalloc);
  const std::size_t whole = (bytes + kGuard + kAlignment - 1) / kAlignment * kAlignment;
  *pointer = std::aligned_alloc(kAlignment, whole);
  std::memset(*pointer, kPoison, whole);
  sizes[*pointer] = bytes;
  return cudaSuccess;
}

cudaError_t cudaFree(void* pointer) {
  if (pointer == nullptr) return cudaSuccess;
  const auto piece = sizes.find(pointer);
  if (piece == sizes.end()) std::abort();
  for (std::size_t i = 0; i < kGuard; ++i)
    if (static_cast<unsigned char*>(pointer)[piece->second + i] != kPoison) std::abort();
  sizes.erase(piece);
  std::free(pointer);
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  MAY_FAIL(cudaStreamCreateWithFlags);
  *stream = new CUstream_st;
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  MAY_FAIL(cudaStreamSynchronize);
  if (stream->capturing) return error(cudaErrorInvalidValue, "a wait within a capture");
  WorkList queue;
  queue.swap(stream->queue);
  return static_cast<cudaError_t>(run_all(queue));
}

cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream) {
  MAY_FAIL(cudaMemsetAsync);
  if (!inside(to, bytes)) return error(cudaErrorInvalidValue, "a fill outside of device memory");
  return static_cast<cudaError_t>(cuda_emulation::submit(stream, [=] {
    std::memset(to, value, bytes);
    return 0;
  }));
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  MAY_FAIL(cudaMemcpyAsync);
  if (!inside(kind == cudaMemcpyHostToDevice ? to : from, bytes))
    return error(cudaErrorInvalidValue, "a copy outside of device memory");
  return static_cast<cudaError_t>(cuda_emulation::submit(stream, [=] {
    std::memcpy(to, from, bytes);
    return 0;
  }));
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  MAY_FAIL(cudaStreamBeginCapture);
  if (stream == nullptr) return error(cudaErrorInvalidValue, "a capture on the default stream");
  stream->capturing = true;
  return cudaSuccess;
}

// CUDA_EMULATION_LOSE=all, or the number of a node: what a capture loses without an error.
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  MAY_FAIL(cudaStreamEndCapture);
  stream->capturing = false;
  WorkList& nodes = stream->captured;
  if (const char* lost = std::getenv("CUDA_EMULATION_LOSE"); lost != nullptr) {
    if (std::string(lost) == "all") {
      nodes.clear();
    } else {
      nodes.erase(nodes.begin() + std::atoi(lost));
    }
  }
  *graph = new CUgraph_st{std::move(nodes)};
  return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t*, std::size_t* count) {
  MAY_FAIL(cudaGraphGetNodes);
  *count = graph->work.size();
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* executable, cudaGraph_t graph,
                                          unsigned long long) {
  MAY_FAIL(cudaGraphInstantiateWithFlags);
  *executable = new CUgraphExec_st{graph->work};
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  MAY_FAIL(cudaGraphLaunch);
  return static_cast<cudaError_t>(
      cuda_emulation::submit(stream, [executable] { return run_all(executable->work); }));
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
