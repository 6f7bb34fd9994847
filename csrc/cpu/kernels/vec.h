// Vectors of the instruction set that this file is compiled for, as GCC and clang know them.
//
// Nothing here may become a symbol that the linker shares between the builds of a kernel: all is
// inline within the namespace of the build, and no container of the standard library is used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define MRI2PET_BUILD avx512
#define MRI2PET_VECTOR_BYTES 64
#elif defined(__AVX2__)
#define MRI2PET_BUILD avx2
#define MRI2PET_VECTOR_BYTES 32
#else
#define MRI2PET_BUILD generic
#define MRI2PET_VECTOR_BYTES 16
#endif

namespace mri2pet::cpu::MRI2PET_BUILD {

template <typename T>
struct VectorOf {
  typedef T type __attribute__((vector_size(MRI2PET_VECTOR_BYTES)));
};
template <typename T>
using Vec = typename VectorOf<T>::type;
template <typename T>
constexpr int kLanes = MRI2PET_VECTOR_BYTES / static_cast<int>(sizeof(T));

// The integer as wide as a float type, for work on its bits.
template <typename T>
struct BitsOf;
template <>
struct BitsOf<float> {
  using type = std::int32_t;
};
template <>
struct BitsOf<double> {
  using type = std::int64_t;
};
template <typename T>
using Bits = typename BitsOf<T>::type;

template <typename T>
inline Vec<T> load(const T* from) {
  Vec<T> v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

template <typename T>
inline void store(T* to, Vec<T> v) {
  std::memcpy(to, &v, sizeof v);
}

#if defined(__AVX2__) && !defined(__AVX512F__)
// All bits of the first `count` lanes.
inline __m256i first_lanes(int count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
#endif

// The first `count` lanes (1 ... W) from memory, zeros in the others; nothing behind them is read.
inline Vec<float> load_first(const float* from, int count) {
#if defined(__AVX512F__)
  return (Vec<float>)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), from);
#elif defined(__AVX2__)
  return (Vec<float>)_mm256_maskload_ps(from, first_lanes(count));
#else
  Vec<float> v = {};
  std::memcpy(&v, from, static_cast<std::size_t>(count) * sizeof(float));
  return v;
#endif
}

// Nothing behind the first `count` lanes (1 ... W) is written.
inline void store_first(float* to, Vec<float> v, int count) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1u << count) - 1), (__m512)v);
#elif defined(__AVX2__)
  _mm256_maskstore_ps(to, first_lanes(count), (__m256)v);
#else
  std::memcpy(to, &v, static_cast<std::size_t>(count) * sizeof(float));
#endif
}

template <typename T>
inline Vec<T> splat(T value) {
  return value - Vec<T>{};
}

template <typename T>
inline Vec<T> maximum(Vec<T> a, Vec<T> b) {
  return a > b ? a : b;
}

template <typename T>
inline Vec<T> minimum(Vec<T> a, Vec<T> b) {
  return a < b ? a : b;
}

// ---- Instructions that the compiler does not find by itself.

// The 64-bit products of the low halves of 64-bit lanes.
inline Vec<std::uint64_t> multiply_low_halves(Vec<std::uint64_t> a, Vec<std::uint64_t> b) {
#if defined(__AVX512F__)
  return (Vec<std::uint64_t>)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
  return (Vec<std::uint64_t>)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
  return (Vec<std::uint64_t>)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
  return (a & 0xffffffffu) * (b & 0xffffffffu);
#endif
}

inline Vec<float> square_root(Vec<float> x) {
#if defined(__AVX512F__)
  return (Vec<float>)_mm512_sqrt_ps((__m512)x);
#elif defined(__AVX2__)
  return (Vec<float>)_mm256_sqrt_ps((__m256)x);
#elif defined(__SSE2__)
  return (Vec<float>)_mm_sqrt_ps((__m128)x);
#else
  for (int i = 0; i < kLanes<float>; ++i) x[i] = __builtin_sqrtf(x[i]);
  return x;
#endif
}

// ---- Shuffles. A pair (a, b) is read as one sequence of 2 W values.

template <typename T, int... I>
inline Vec<T> evens_of(Vec<T> a, Vec<T> b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, (2 * I)...);
}
template <typename T, int... I>
inline Vec<T> odds_of(Vec<T> a, Vec<T> b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, (2 * I + 1)...);
}
template <typename T, int... I>
inline Vec<T> zip_low_of(Vec<T> a, Vec<T> b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, (I / 2 + (I % 2) * kLanes<T>)...);
}
template <typename T, int... I>
inline Vec<T> zip_high_of(Vec<T> a, Vec<T> b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, (kLanes<T> / 2 + I / 2 + (I % 2) * kLanes<T>)...);
}
template <typename T, int... I>
inline Vec<T> last_first_of(Vec<T> a, Vec<T> b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, (kLanes<T> - 1 + I)...);
}
template <typename T, int... I>
inline Vec<T> second_on_of(Vec<T> a, Vec<T> b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, (1 + I)...);
}
template <typename T>
using Lanes = std::make_integer_sequence<int, kLanes<T>>;

template <typename T>
inline Vec<T> evens(Vec<T> a, Vec<T> b) {
  return evens_of<T>(a, b, Lanes<T>{});
}
template <typename T>
inline Vec<T> odds(Vec<T> a, Vec<T> b) {
  return odds_of<T>(a, b, Lanes<T>{});
}
template <typename T>
inline Vec<T> zip_low(Vec<T> a, Vec<T> b) {
  return zip_low_of<T>(a, b, Lanes<T>{});
}
template <typename T>
inline Vec<T> zip_high(Vec<T> a, Vec<T> b) {
  return zip_high_of<T>(a, b, Lanes<T>{});
}
// W values of the sequence, from the last of a on.
template <typename T>
inline Vec<T> last_first(Vec<T> a, Vec<T> b) {
  return last_first_of<T>(a, b, Lanes<T>{});
}
// W values of the sequence, from the second of a on.
template <typename T>
inline Vec<T> second_on(Vec<T> a, Vec<T> b) {
  return second_on_of<T>(a, b, Lanes<T>{});
}

// v, with lane `at` (if there is one) from `other`.
template <typename T>
inline Vec<T> with_lane(Vec<T> v, std::int64_t at, Vec<T> other) {
  Vec<Bits<T>> lanes;
  for (int i = 0; i < kLanes<T>; ++i) lanes[i] = i;
  return lanes == static_cast<Bits<T>>(at) ? other : v;
}

// ---- Reductions, in an order that is fixed.

template <typename T>
inline T sum_lanes(Vec<T> v) {
  for (int left = kLanes<T>; left > 1; left /= 2) v = evens<T>(v, v) + odds<T>(v, v);
  return v[0];
}

template <typename T>
inline T max_lanes(Vec<T> v) {
  for (int left = kLanes<T>; left > 1; left /= 2)
    v = maximum<T>(evens<T>(v, v), odds<T>(v, v));
  return v[0];
}

// W vectors to one: lane i becomes the sum of the lanes of v[i]. Overwrites v.
template <typename T>
inline Vec<T> sum_each(Vec<T>* v) {
#pragma GCC unroll 4
  for (int left = kLanes<T>; left > 1; left /= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < left / 2; ++i)
      v[i] = evens<T>(v[2 * i], v[2 * i + 1]) + odds<T>(v[2 * i], v[2 * i + 1]);
  }
  return v[0];
}

}  // namespace mri2pet::cpu::MRI2PET_BUILD
