// Fibers, the scheduler of a block's threads, and the host API of the emulation.
#include "cuda_emulation.h"

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "cuda_runtime.h"

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

uint3 threadIdx{}, blockIdx{};
dim3 blockDim, gridDim;

namespace cuda_emulation {

Thread* current = nullptr;

namespace {

constexpr std::size_t kStack = 64 * 1024;
constexpr std::size_t kGuard = 1024;                // bytes behind each part of shared memory
constexpr std::size_t kStaticBytes = 48 * 1024;
constexpr std::size_t kDefaultDynamicBytes = 48 * 1024;
constexpr unsigned char kPoison = 0xff;             // NaN in float, half and bfloat16

int multiprocessors = 3;
int dynamic_limit = 227 * 1024;
bool reversed = false;
std::map<const void*, int> dynamic_bytes_of;
std::string error_text = "no error";

void* scheduler_stack_pointer = nullptr;
bool failed = false;
void (*body)(void*) = nullptr;
void* body_arguments = nullptr;

std::vector<Thread> threads;
std::vector<unsigned char> stacks, static_memory, dynamic_memory, exchange;
std::size_t dynamic_bytes = 0;
std::vector<std::size_t> static_ends;  // of the arrays that the first thread has declared

#if defined(__x86_64__)
extern "C" void cuda_emulation_switch(void** save, void* load);
// Saves the registers that a call preserves, changes stacks and goes on there.
asm(R"(
  .text
  .globl cuda_emulation_switch
  .hidden cuda_emulation_switch
cuda_emulation_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");

void* new_fiber(unsigned char* stack, void (*entry)()) {
  auto top = reinterpret_cast<std::uintptr_t>(stack + kStack) & ~std::uintptr_t{15};
  void** sp = reinterpret_cast<void**>(top);
  *--sp = nullptr;  // a return address for `entry`, which never returns
  *--sp = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; ++i) *--sp = nullptr;
  return sp;
}
#else
void cuda_emulation_switch(void** save, void* load) {
  ucontext_t here;
  *save = &here;
  swapcontext(&here, static_cast<ucontext_t*>(load));
}

void* new_fiber(unsigned char* stack, void (*entry)()) {
  auto* context = new (stack) ucontext_t;
  getcontext(context);
  context->uc_stack.ss_sp = stack + sizeof(ucontext_t);
  context->uc_stack.ss_size = kStack - sizeof(ucontext_t);
  context->uc_link = nullptr;
  makecontext(context, entry, 0);
  return context;
}
#endif

void to_scheduler() { cuda_emulation_switch(&current->stack_pointer, scheduler_stack_pointer); }

void fiber_entry() {
  body(body_arguments);
  current->wait = Wait::done;
  to_scheduler();
}

void resume(Thread& thread) {
  current = &thread;
  threadIdx = thread.index;
  cuda_emulation_switch(&scheduler_stack_pointer, thread.stack_pointer);
  current = nullptr;
}

std::string position(const Thread& t) {
  return "block (" + std::to_string(blockIdx.x) + ", " + std::to_string(blockIdx.y) + ", " +
         std::to_string(blockIdx.z) + ") thread " + std::to_string(t.warp * 32 + t.lane);
}

// Runs the lanes of one warp until each is at a block barrier or done.
bool run_warp(Thread* lanes) {
  for (;;) {
    for (int i = 0; i < 32; ++i) {
      Thread& t = lanes[reversed ? 31 - i : i];
      if (t.wait != Wait::none) continue;
      resume(t);
      if (failed) return false;
    }
    bool at_collective = false;
    for (int i = 0; i < 32; ++i) {
      Thread& t = lanes[i];
      if (t.wait != Wait::warp) continue;
      at_collective = true;
      for (int j = 0; j < 32; ++j) {
        const Thread& other = lanes[j];
        const bool together = other.wait == Wait::warp && other.mask == t.mask &&
                              std::strcmp(other.site, t.site) == 0;
        if ((t.mask >> j & 1u) && !together) {
          error_text = position(t) + " waits at " + t.site + " for lane " + std::to_string(j) +
                       ", which is elsewhere";
          return false;
        }
      }
    }
    if (!at_collective) return true;
    for (int i = 0; i < 32; ++i) {
      if (lanes[i].wait == Wait::warp) lanes[i].wait = Wait::none;
    }
  }
}

bool run_block() {
  const int warps = static_cast<int>(threads.size() / 32);
  for (;;) {
    for (int w = 0; w < warps; ++w) {
      if (!run_warp(&threads[32 * (reversed ? warps - 1 - w : w)])) return false;
    }
    std::size_t waiting = 0;
    for (Thread& t : threads) waiting += t.wait == Wait::block;
    if (waiting == 0) return true;
    if (waiting != threads.size()) {
      error_text = "some threads of a block left while others wait at __syncthreads";
      return false;
    }
    for (Thread& t : threads) t.wait = Wait::none;
  }
}

// Whether nothing was written behind the first `used` bytes.
bool untouched(const std::vector<unsigned char>& memory, std::size_t used) {
  for (std::size_t i = used; i < used + kGuard - 16; ++i) {
    if (memory[i] != kPoison) return false;
  }
  return true;
}

void prepare_block() {
  // Only what the last block has declared can differ from the poison.
  const std::size_t used = static_ends.empty() ? kStaticBytes : static_ends.back();
  std::fill(static_memory.begin(), static_memory.begin() + used + kGuard, kPoison);
  static_ends.clear();
  std::fill(dynamic_memory.begin(), dynamic_memory.end(), kPoison);
  for (std::size_t i = 0; i < threads.size(); ++i) {
    Thread& t = threads[i];
    t = Thread{};
    const auto n = static_cast<unsigned>(i);
    t.index = {n % blockDim.x, n / blockDim.x % blockDim.y, n / blockDim.x / blockDim.y};
    t.lane = static_cast<int>(i % 32);
    t.warp = static_cast<int>(i / 32);
    t.stack_pointer = new_fiber(stacks.data() + i * kStack, fiber_entry);
  }
}

}  // namespace

int error(int code, const std::string& text) {
  error_text = text;
  return code;
}

void fail(const char* what) {
  failed = true;
  error_text = position(*current) + ": " + what;
  for (;;) to_scheduler();
}

void wait_for_block(const char* site) {
  current->site = site;
  current->wait = Wait::block;
  to_scheduler();
}

void wait_for_warp(unsigned mask, const char* site) {
  if (!(mask >> current->lane & 1u)) fail("a lane is not in the mask of its own collective");
  current->mask = mask;
  current->site = site;
  current->wait = Wait::warp;
  to_scheduler();
}

unsigned char* exchange_buffer() {
  current->parity ^= 1;
  return exchange.data() + (current->warp * 2 + current->parity) * 32 * kSlot;
}

void* static_shared(std::size_t bytes) {
  const std::size_t start = current->static_used;
  if (current == &threads[0]) static_ends.push_back(start + bytes);
  current->static_used += (bytes + kGuard + 15) & ~std::size_t{15};
  if (current->static_used > kStaticBytes) fail("more than 48 KiB of static shared memory");
  return static_memory.data() + start;
}

void* dynamic_shared() { return dynamic_memory.data(); }

void check_shared(const void* p, std::size_t bytes) {
  const auto start = reinterpret_cast<std::uintptr_t>(p);
  const auto first = reinterpret_cast<std::uintptr_t>(dynamic_memory.data());
  if (start % bytes != 0) fail("an address of shared memory that is not aligned");
  if (start < first || start + bytes > first + dynamic_bytes) {
    fail("an address outside of dynamic shared memory");
  }
}

int run(const Launch& launch, void (*kernel_body)(void*), void* arguments) {
  const std::size_t count = std::size_t{launch.block.x} * launch.block.y * launch.block.z;
  const auto own_limit = dynamic_bytes_of.find(launch.kernel);
  const std::size_t allowed =
      own_limit == dynamic_bytes_of.end() ? kDefaultDynamicBytes : own_limit->second;
  if (count == 0 || count > 1024 || count % 32 != 0 || launch.block.z > 64) {
    return error(cudaErrorInvalidConfiguration, "block size outside 32, 64 ... 1024");
  }
  if (launch.grid.x == 0 || launch.grid.x > 0x7fffffffu || launch.grid.y == 0 ||
      launch.grid.y > 65535 || launch.grid.z == 0 || launch.grid.z > 65535) {
    return error(cudaErrorInvalidConfiguration, "grid size out of range");
  }
  if (launch.dynamic_bytes > allowed) {
    return error(cudaErrorInvalidValue, "more dynamic shared memory than the kernel was allowed");
  }
  body = kernel_body;
  body_arguments = arguments;
  blockDim = launch.block;
  gridDim = launch.grid;
  dynamic_bytes = launch.dynamic_bytes;
  failed = false;
  threads.resize(count);
  if (stacks.size() < count * kStack) stacks.resize(count * kStack);
  exchange.resize(count / 32 * 2 * 32 * kSlot);
  static_memory.assign(kStaticBytes + kGuard, kPoison);
  static_ends.clear();
  dynamic_memory.resize(dynamic_bytes + kGuard);
  const std::uint64_t blocks = std::uint64_t{launch.grid.x} * launch.grid.y * launch.grid.z;
  for (std::uint64_t i = 0; i < blocks; ++i) {
    const std::uint64_t n = reversed ? blocks - 1 - i : i;
    blockIdx = {static_cast<unsigned>(n % launch.grid.x),
                   static_cast<unsigned>(n / launch.grid.x % launch.grid.y),
                   static_cast<unsigned>(n / launch.grid.x / launch.grid.y)};
    prepare_block();
    if (!run_block()) return cudaErrorLaunchFailure;
    bool clean = untouched(dynamic_memory, dynamic_bytes);
    for (const std::size_t end : static_ends) clean = clean && untouched(static_memory, end);
    if (!clean) return error(cudaErrorLaunchFailure, "a write past the end of shared memory");
  }
  return cudaSuccess;
}

}  // namespace cuda_emulation

const char* cudaGetErrorString(cudaError_t) { return cuda_emulation::error_text.c_str(); }
cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrMultiProcessorCount ? cuda_emulation::multiprocessors
                                                       : cuda_emulation::dynamic_limit;
  return cudaSuccess;
}

cudaError_t cuda_emulation_set_attribute(const void* kernel, cudaFuncAttribute, int value) {
  if (value > cuda_emulation::dynamic_limit) {
    cuda_emulation::error_text = "more dynamic shared memory than the device has";
    return cudaErrorInvalidValue;
  }
  cuda_emulation::dynamic_bytes_of[kernel] = value;
  return cudaSuccess;
}

// The device that the kernels see. `reverse` runs blocks, warps and lanes last to first.
extern "C" void cuda_emulation_configure(int multiprocessors, int dynamic_limit, int reverse) {
  cuda_emulation::multiprocessors = multiprocessors;
  cuda_emulation::dynamic_limit = dynamic_limit;
  cuda_emulation::reversed = reverse != 0;
}
