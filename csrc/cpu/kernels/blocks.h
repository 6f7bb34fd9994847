// Blocks of a [B, C, N] tensor as [C, n] arrays of the accumulation type, from and to any dtype and
// both layouts.
#pragma once

#include "mri2pet/types.h"
#include "vec.h"

namespace mri2pet::cpu::MRI2PET_BUILD {

// Rows of a block are padded to multiples of this, with zeros.
constexpr std::int64_t kRowPad = 8;

inline std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}
inline std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
inline std::int64_t larger(std::int64_t a, std::int64_t b) { return a > b ? a : b; }

// ---- One value. The integer forms let the compiler vectorise the loops below.

inline float from_bf16(std::uint16_t h) {
  return __builtin_bit_cast(float, std::uint32_t{h} << 16);
}

inline float from_f16(std::uint16_t h) {
  const std::uint32_t sign = std::uint32_t(h & 0x8000u) << 16;
  const std::uint32_t magnitude = std::uint32_t(h & 0x7fffu) << 13;
  const float scaled = __builtin_bit_cast(float, magnitude) * 0x1p112f;
  const std::uint32_t special = magnitude >= (0x7c00u << 13) ? 0x7f800000u : 0u;
  return __builtin_bit_cast(float, __builtin_bit_cast(std::uint32_t, scaled) | special | sign);
}

inline std::uint16_t to_bf16(float value) {  // to nearest, ties to even
  const std::uint32_t u = __builtin_bit_cast(std::uint32_t, value);
  const std::uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  return static_cast<std::uint16_t>(value != value ? 0x7fc0u : rounded);
}

inline std::uint16_t to_f16(float value) {  // to nearest, ties to even
  const std::uint32_t bits = __builtin_bit_cast(std::uint32_t, value);
  const std::uint32_t sign = bits & 0x80000000u;
  const std::uint32_t u = bits ^ sign;
  const std::uint32_t huge = u > 0x7f800000u ? 0x7e00u : 0x7c00u;
  const std::uint32_t tiny =
      __builtin_bit_cast(std::uint32_t, __builtin_bit_cast(float, u) + 0.5f) - 0x3f000000u;
  const std::uint32_t usual = (u + 0xc8000fffu + ((u >> 13) & 1u)) >> 13;
  const std::uint32_t half = u >= 0x47800000u ? huge : u < 0x38800000u ? tiny : usual;
  return static_cast<std::uint16_t>(half | (sign >> 16));
}

// ---- Runs of values.

template <typename Acc>
inline void widen(const void* from, DType dtype, std::int64_t start, std::int64_t count, Acc* to) {
  if (dtype == DType::bf16) {
    const auto* p = static_cast<const std::uint16_t*>(from) + start;
    for (std::int64_t i = 0; i < count; ++i) to[i] = from_bf16(p[i]);
  } else if (dtype == DType::f16) {
    const auto* p = static_cast<const std::uint16_t*>(from) + start;
    for (std::int64_t i = 0; i < count; ++i) to[i] = from_f16(p[i]);
  } else {
    std::memcpy(to, static_cast<const Acc*>(from) + start, count * sizeof(Acc));
  }
}

template <typename Acc>
inline void narrow(const Acc* from, std::int64_t count, void* to, DType dtype,
                   std::int64_t start) {
  if (dtype == DType::bf16) {
    auto* p = static_cast<std::uint16_t*>(to) + start;
    for (std::int64_t i = 0; i < count; ++i) p[i] = to_bf16(static_cast<float>(from[i]));
  } else if (dtype == DType::f16) {
    auto* p = static_cast<std::uint16_t*>(to) + start;
    for (std::int64_t i = 0; i < count; ++i) p[i] = to_f16(static_cast<float>(from[i]));
  } else {
    std::memcpy(static_cast<Acc*>(to) + start, from, count * sizeof(Acc));
  }
}

// ---- [n, G] interleaved to [G, n] and back, n a multiple of W, G = kGroup channels. One pass of
// evens and odds over all vectors moves the lowest bit of a value's index to the top; log2(G) passes
// bring the channel there.

template <typename T>
constexpr int kGroup = kLanes<T> < 8 ? kLanes<T> : 8;

template <typename T>
inline void deinterleave(const T* from, std::int64_t n, T* to, std::int64_t row) {
  constexpr int G = kGroup<T>;
  for (std::int64_t i = 0; i < n; i += kLanes<T>) {
    Vec<T> v[G], u[G];
    for (int k = 0; k < G; ++k) v[k] = load(from + i * G + k * kLanes<T>);
    for (int stage = 1; stage < G; stage *= 2) {
      for (int k = 0; k < G / 2; ++k) {
        u[k] = evens<T>(v[2 * k], v[2 * k + 1]);
        u[G / 2 + k] = odds<T>(v[2 * k], v[2 * k + 1]);
      }
      for (int k = 0; k < G; ++k) v[k] = u[k];
    }
    for (int k = 0; k < G; ++k) store(to + k * row + i, v[k]);
  }
}

template <typename T>
inline void interleave(const T* from, std::int64_t row, std::int64_t n, T* to) {
  constexpr int G = kGroup<T>;
  for (std::int64_t i = 0; i < n; i += kLanes<T>) {
    Vec<T> v[G], u[G];
    for (int k = 0; k < G; ++k) v[k] = load(from + k * row + i);
    for (int stage = 1; stage < G; stage *= 2) {
      for (int k = 0; k < G / 2; ++k) {
        u[2 * k] = zip_low<T>(v[k], v[G / 2 + k]);
        u[2 * k + 1] = zip_high<T>(v[k], v[G / 2 + k]);
      }
      for (int k = 0; k < G; ++k) v[k] = u[k];
    }
    for (int k = 0; k < G; ++k) store(to + i * G + k * kLanes<T>, v[k]);
  }
}

// ---- Whole blocks.

struct View {
  void* data;
  DType dtype;
  Strides strides;
  Layout layout;
  std::int64_t channels;
};

inline View view(const void* data, DType dtype, const Strides& strides, std::int64_t channels,
                 std::int64_t voxels) {
  return {const_cast<void*>(data), dtype, strides, layout_of(strides, channels, voxels), channels};
}

// Values of scratch that load_block and store_block need for blocks of n voxels.
inline std::int64_t block_scratch(std::int64_t channels, std::int64_t n) {
  return n * (round_up(channels, kRowPad) + kRowPad);
}

// to[c * row + i] = tensor[b, c, first + i] for i < count; zero up to `padded` voxels (a multiple of
// W) and up to a multiple of kRowPad channels.
template <typename Acc>
inline void load_block(const View& from, std::int64_t b, std::int64_t first, std::int64_t count,
                       std::int64_t padded, Acc* to, std::int64_t row, Acc* scratch) {
  const std::int64_t C = from.channels, rows = round_up(C, kRowPad);
  const Strides& s = from.strides;
  if (from.layout == Layout::channels_first) {
    for (std::int64_t c = 0; c < C; ++c) {
      widen(from.data, from.dtype, b * s.batch + c * s.channel + first, count, to + c * row);
      for (std::int64_t i = count; i < padded; ++i) to[c * row + i] = 0;
    }
    for (std::int64_t c = C; c < rows; ++c) std::memset(to + c * row, 0, padded * sizeof(Acc));
    return;
  }
  constexpr int G = kGroup<Acc>;
  const bool dense = s.voxel == C;
  Acc* wide = scratch;                  // [count, C]
  Acc* group = scratch + padded * rows;  // [padded, G]
  if (dense) {
    widen(from.data, from.dtype, b * s.batch + first * C, count * C, wide);
  } else {
    for (std::int64_t i = 0; i < count; ++i)
      widen(from.data, from.dtype, b * s.batch + (first + i) * s.voxel, C, wide + i * C);
  }
  for (std::int64_t c = 0; c < rows; c += G) {
    if (C == G && count == padded) {
      deinterleave(wide, padded, to, row);
      continue;
    }
    const std::int64_t valid = c >= C ? 0 : smaller(G, C - c);
    if (valid == G) {
      for (std::int64_t i = 0; i < count; ++i)
        std::memcpy(group + i * G, wide + i * C + c, G * sizeof(Acc));
    } else {
      for (std::int64_t i = 0; i < count; ++i)
        for (std::int64_t k = 0; k < G; ++k)
          group[i * G + k] = k < valid ? wide[i * C + c + k] : Acc(0);
    }
    for (std::int64_t i = count * G; i < padded * G; ++i) group[i] = 0;
    deinterleave(group, padded, to + c * row, row);
  }
}

// tensor[b, c, first + i] = from[c * row + i] for i < count. `from` has rows up to a multiple of
// kRowPad and voxels up to a multiple of W; what lies there is read and not used.
template <typename Acc>
inline void store_block(const Acc* from, std::int64_t row, const View& to, std::int64_t b,
                        std::int64_t first, std::int64_t count, Acc* scratch) {
  const std::int64_t C = to.channels, rows = round_up(C, kRowPad);
  const Strides& s = to.strides;
  if (to.layout == Layout::channels_first) {
    for (std::int64_t c = 0; c < C; ++c)
      narrow(from + c * row, count, to.data, to.dtype, b * s.batch + c * s.channel + first);
    return;
  }
  constexpr int G = kGroup<Acc>;
  const std::int64_t padded = round_up(count, kLanes<Acc>);
  Acc* wide = scratch;                  // [count, C]
  Acc* group = scratch + padded * rows;  // [padded, G]
  for (std::int64_t c = 0; c < C; c += G) {
    const std::int64_t valid = smaller(G, C - c);
    if (C == G) {
      interleave(from, row, padded, wide);
      continue;
    }
    interleave(from + c * row, row, padded, group);
    if (valid == G) {
      for (std::int64_t i = 0; i < count; ++i)
        std::memcpy(wide + i * C + c, group + i * G, G * sizeof(Acc));
    } else {
      for (std::int64_t i = 0; i < count; ++i)
        for (std::int64_t k = 0; k < valid; ++k) wide[i * C + c + k] = group[i * G + k];
    }
  }
  if (s.voxel == C) {
    narrow(wide, count * C, to.data, to.dtype, b * s.batch + first * C);
  } else {
    for (std::int64_t i = 0; i < count; ++i)
      narrow(wide + i * C, C, to.data, to.dtype, b * s.batch + (first + i) * s.voxel);
  }
}

}  // namespace mri2pet::cpu::MRI2PET_BUILD
