// The bfloat16 type for g++ (cuda_emulation.h), rounded to nearest even.
#pragma once

#include <cstdint>
#include <cstring>

struct alignas(2) __nv_bfloat16 {
  std::uint16_t bits;
};
inline float __bfloat162float(__nv_bfloat16 b) {
  const std::uint32_t word = static_cast<std::uint32_t>(b.bits) << 16;
  float f;
  std::memcpy(&f, &word, 4);
  return f;
}
inline __nv_bfloat16 __float2bfloat16_rn(float f) {
  std::uint32_t word;
  std::memcpy(&word, &f, 4);
  if (f != f) return {0x7fff};
  return {static_cast<std::uint16_t>((word + 0x7fffu + (word >> 16 & 1u)) >> 16)};
}
