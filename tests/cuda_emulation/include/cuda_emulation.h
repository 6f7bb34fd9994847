// Runs CUDA kernels on the CPU, so that a wrong index, a missing barrier or an unwritten value fails
// in a test without a GPU. The blocks of a grid run in turn; the threads of a block are fibers that
// give way at __syncthreads, __syncwarp and the warp collectives.
//
// What is checked: launch limits, every thread of a block reaching the same barrier, every lane of a
// mask reaching the same collective, writes past the end of shared memory. Shared memory is filled
// with NaN before each block. Running a kernel a second time with the order reversed shows most
// races: the result must be the same bit for bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

struct uint3 {
  unsigned int x, y, z;
};

struct dim3 {
  unsigned int x, y, z;
  constexpr dim3(unsigned int x_ = 1, unsigned int y_ = 1, unsigned int z_ = 1)
      : x(x_), y(y_), z(z_) {}
};

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

namespace cuda_emulation {

enum class Wait { none, warp, block, done };

struct Thread {
  void* stack_pointer = nullptr;
  uint3 index{};
  int lane = 0;
  int warp = 0;
  Wait wait = Wait::none;
  unsigned mask = 0;           // of the warp collective that it waits for
  const char* site = nullptr;  // the collective's name
  int parity = 0;              // which of the warp's two exchange buffers is next
  std::size_t static_used = 0; // bytes of static shared memory declared so far
  struct Copy {
    void* to;
    const void* from;  // null for zeros
    std::size_t bytes;
  };
  std::vector<Copy> copies;  // asynchronous ones that nobody has waited for
};

extern Thread* current;

// Ends the launch with an error; does not return.
[[noreturn]] void fail(const char* what);

void wait_for_block(const char* site);
void wait_for_warp(unsigned mask, const char* site);

void* static_shared(std::size_t bytes);
void* dynamic_shared();

// Fails unless `bytes` at p are aligned and lie in the block's dynamic shared memory.
void check_shared(const void* p, std::size_t bytes);

constexpr std::size_t kSlot = 32;  // bytes a lane can exchange

// The 32 slots of the warp of the current thread, alternating between two buffers: a lane can be at
// most one collective ahead of another.
unsigned char* exchange_buffer();

template <typename T>
T shuffle(unsigned mask, T value, int source, const char* site) {
  static_assert(sizeof(T) <= 8, "a shuffle exchanges at most 8 bytes");
  unsigned char* slots = exchange_buffer();
  std::memcpy(slots + current->lane * kSlot, &value, sizeof(T));
  wait_for_warp(mask, site);
  if (source < 0 || source > 31) return value;
  if (!(mask >> source & 1u)) fail("a shuffle reads a lane that is not in its mask");
  T result;
  std::memcpy(&result, slots + source * kSlot, sizeof(T));
  return result;
}

inline unsigned ballot(unsigned mask, int predicate, const char* site) {
  unsigned char* slots = exchange_buffer();
  slots[current->lane * kSlot] = predicate != 0;
  wait_for_warp(mask, site);
  unsigned result = 0;
  for (int lane = 0; lane < 32; ++lane) {
    if ((mask >> lane & 1u) && slots[lane * kSlot]) result |= 1u << lane;
  }
  return result;
}

// The values of all 32 lanes, kSlot bytes apart; every lane of the warp must call it.
template <typename T>
const unsigned char* gather(const T& value, const char* site) {
  static_assert(sizeof(T) <= kSlot, "a lane exchanges at most kSlot bytes");
  unsigned char* slots = exchange_buffer();
  std::memcpy(slots + current->lane * kSlot, &value, sizeof(T));
  wait_for_warp(0xffffffffu, site);
  return slots;
}

struct Launch {
  dim3 grid, block;
  std::size_t dynamic_bytes;
  const void* kernel;
};

// Runs `body(arguments)` once per thread; returns a cudaError_t.
int run(const Launch& launch, void (*body)(void*), void* arguments);

// Queues work that returns a cudaError_t. A stream keeps it until the stream is waited for, or puts
// it into the graph that is being captured; without a stream it runs at once.
int submit(void* stream, std::function<int()> work);

// What cudaGetErrorString says next; returns `code`.
int error(int code, const std::string& text);

// Whether the environment asks for the failure of a call: CUDA_EMULATION_FAIL=name, or name:N for
// its Nth call alone.
bool fails(const char* call);

}  // namespace cuda_emulation
