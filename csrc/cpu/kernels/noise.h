// Philox4x32-10 (Salmon et al., SC 2011) and Box-Muller on arrays of blocks of four voxels.
#pragma once

#include "vec.h"

namespace mri2pet::cpu::MRI2PET_BUILD {

constexpr int kNoiseBlocks = 128;  // made at a time
constexpr int kNoiseVoxels = 4 * kNoiseBlocks;

// Four words of each block: counter (first + i, step, subject low, high), key (seed, sample).
struct Words {
  std::uint32_t w[4][kNoiseBlocks];
};

inline void philox(std::uint32_t first, std::uint32_t step, std::uint64_t subject,
                   std::uint32_t seed, std::uint32_t sample, Words& out) {
  for (int i = 0; i < kNoiseBlocks; ++i) {
    out.w[0][i] = first + static_cast<std::uint32_t>(i);
    out.w[1][i] = step;
    out.w[2][i] = static_cast<std::uint32_t>(subject);
    out.w[3][i] = static_cast<std::uint32_t>(subject >> 32);
  }
  for (int round = 0; round < 10; ++round) {
    for (int i = 0; i < kNoiseBlocks; ++i) {
      const std::uint64_t p = std::uint64_t{out.w[0][i]} * 0xD2511F53u;
      const std::uint64_t q = std::uint64_t{out.w[2][i]} * 0xCD9E8D57u;
      out.w[0][i] = static_cast<std::uint32_t>(q >> 32) ^ out.w[1][i] ^ seed;
      out.w[1][i] = static_cast<std::uint32_t>(q);
      out.w[2][i] = static_cast<std::uint32_t>(p >> 32) ^ out.w[3][i] ^ sample;
      out.w[3][i] = static_cast<std::uint32_t>(p);
    }
    seed += 0x9E3779B9u;
    sample += 0xBB67AE85u;
  }
}

// log of x in [2^-24, 1]: Cephes, logf.c.
inline float log_of(float x) {
  const auto bits = __builtin_bit_cast(std::int32_t, x);
  // The exponent of x / sqrt(1/2), so that the rest lies in [sqrt(1/2), sqrt(2)).
  const std::int32_t exponent = (bits - 0x3f3504f3) >> 23;
  const float m = __builtin_bit_cast(float, bits - (exponent << 23)) - 1.0f;
  const float z = m * m;
  float p = 7.0376836292e-2f;
  p = p * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  const auto e = static_cast<float>(exponent);
  const float rest = p * m * z - 2.12194440e-4f * e - 0.5f * z;
  return m + rest + 0.693359375f * e;
}

// Two normals of each pair of words: radius from the first, angle from the second.
inline void box_muller(const std::uint32_t* radius_words, const std::uint32_t* angle_words,
                       float* first, float* second) {
  for (int i = 0; i < kNoiseBlocks; ++i) {
    const float u = static_cast<float>(static_cast<std::int32_t>((radius_words[i] >> 8) + 1)) *
                    0x1p-24f;
    const float radius = __builtin_sqrtf(-2.0f * log_of(u));
    // angle = 2 pi v; v = quarter / 4 + rest / 4 with rest in [-1/2, 1/2], exactly.
    const float v = static_cast<float>(static_cast<std::int32_t>(angle_words[i] >> 8)) * 0x1p-22f;
    const float quarter = (v + 12582912.0f) - 12582912.0f;
    const float a = (v - quarter) * 1.57079632679f;
    const auto q = static_cast<std::int32_t>(quarter);
    const float z = a * a;
    const float sine =
        ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * a + a;
    const float cosine =
        ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z * z -
        0.5f * z + 1.0f;
    const bool swapped = (q & 1) != 0;
    const float s = swapped ? cosine : sine, c = swapped ? sine : cosine;
    first[i] = radius * (((q + 1) & 2) != 0 ? -c : c);
    second[i] = radius * ((q & 2) != 0 ? -s : s);
  }
}

// kNoiseVoxels normals, those of the voxels 4 * first ... of one sample and step.
inline void normals(std::uint32_t first, std::uint32_t step, std::uint64_t subject,
                    std::uint32_t seed, std::uint32_t sample, float* out) {
  Words words;
  philox(first, step, subject, seed, sample, words);
  float z[4][kNoiseBlocks];
  box_muller(words.w[0], words.w[1], z[0], z[1]);
  box_muller(words.w[2], words.w[3], z[2], z[3]);
  for (int i = 0; i < kNoiseBlocks; ++i)
    for (int k = 0; k < 4; ++k) out[4 * i + k] = z[k][i];
}

}  // namespace mri2pet::cpu::MRI2PET_BUILD
