// The functions of csrc/cuda/mma.cuh for g++. A copy is carried out when it is waited for, so that a
// read before the wait finds what was there before.
#pragma once

#include "cuda_bf16.h"
#include "cuda_emulation.h"
#include "cuda_fp16.h"

#define MRI2PET_EMULATED_MMA

namespace mri2pet {
namespace cuda {
namespace emulated {

inline float value(std::uint16_t bits, __half) {
  __half h;
  std::memcpy(&h, &bits, 2);
  return __half2float(h);
}
inline float value(std::uint16_t bits, __nv_bfloat16) { return __bfloat162float({bits}); }

struct Operands {
  unsigned a[4], b[2];
};

}  // namespace emulated

template <typename T>
void mma_m16n8k16(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, T type) {
  emulated::Operands own{{a[0], a[1], a[2], a[3]}, {b0, b1}};
  const unsigned char* slots = cuda_emulation::gather(own, "mma");
  const int lane = cuda_emulation::current->lane;
  for (int half = 0; half < 2; ++half) {
    for (int k = 0; k < 16; ++k) {
      emulated::Operands row;
      std::memcpy(&row, slots + (lane / 4 * 4 + k % 8 / 2) * cuda_emulation::kSlot, sizeof(row));
      const unsigned pair = row.a[k / 8 * 2 + half];
      const float left = emulated::value(static_cast<std::uint16_t>(pair >> k % 2 * 16), type);
      for (int j = 0; j < 2; ++j) {
        emulated::Operands column;
        const int holder = (lane % 4 * 2 + j) * 4 + k % 8 / 2;
        std::memcpy(&column, slots + holder * cuda_emulation::kSlot, sizeof(column));
        const unsigned word = column.b[k / 8] >> k % 2 * 16;
        c[half * 2 + j] += left * emulated::value(static_cast<std::uint16_t>(word), type);
      }
    }
  }
}

template <int kMatrices>
void ldmatrix(unsigned (&r)[kMatrices], const void* row) {
  if (cuda_emulation::current->lane < 8 * kMatrices) cuda_emulation::check_shared(row, 16);
  const unsigned char* slots = cuda_emulation::gather(row, "ldmatrix");
  const int lane = cuda_emulation::current->lane;
  for (int m = 0; m < kMatrices; ++m) {
    const unsigned char* from;
    std::memcpy(&from, slots + (m * 8 + lane / 4) * cuda_emulation::kSlot, sizeof(from));
    std::memcpy(&r[m], from + lane % 4 * 4, 4);
  }
}
inline void ldmatrix_x4(unsigned (&r)[4], const void* row) { ldmatrix(r, row); }
inline void ldmatrix_x2(unsigned (&r)[2], const void* row) { ldmatrix(r, row); }

template <int kBytes>
void cp_async(void* to, const void* from, bool valid) {
  static_assert(kBytes == 16 || kBytes == 8 || kBytes == 4, "bytes of an asynchronous copy");
  cuda_emulation::check_shared(to, kBytes);
  if (reinterpret_cast<std::uintptr_t>(from) % kBytes != 0) {
    cuda_emulation::fail("an asynchronous copy from an address that is not aligned");
  }
  cuda_emulation::current->copies.push_back({to, valid ? from : nullptr, kBytes});
}
inline void cp_async_wait_all() {
  for (const auto& copy : cuda_emulation::current->copies) {
    if (copy.from == nullptr) {
      std::memset(copy.to, 0, copy.bytes);
    } else {
      std::memcpy(copy.to, copy.from, copy.bytes);
    }
  }
  cuda_emulation::current->copies.clear();
}

}  // namespace cuda
}  // namespace mri2pet
