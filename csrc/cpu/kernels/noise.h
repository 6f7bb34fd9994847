// Philox4x32-10 (Salmon et al., SC 2011) and Box-Muller, W blocks of four voxels at a time.
#pragma once

#include "math.h"

namespace mri2pet::cpu::MRI2PET_BUILD {

// Voxels whose noise is made at a time.
constexpr int kNoiseVoxels = 4 * kLanes<float>;

using Word = Vec<std::uint32_t>;  // of W blocks
using Wide = Vec<std::uint64_t>;  // of W / 2 blocks, each in the low half of its lane

// Word k of the blocks first + i, in order: counter (first + i, step, subject low, high), key (seed,
// sample). The even blocks and the odd ones lie in vectors of their own, so that a product of 32
// bits by 32 needs no shuffle: what is in the high half of a lane is never looked at.
inline void philox(std::uint32_t first, std::uint32_t step, std::uint64_t subject,
                   std::uint32_t seed, std::uint32_t sample, Word* words) {
  Wide w[4][2] = {};
  for (int odd = 0; odd < 2; ++odd) {
    for (int i = 0; i < kLanes<std::uint64_t>; ++i)
      w[0][odd][i] = first + static_cast<std::uint32_t>(2 * i + odd);
    w[1][odd] = splat<std::uint64_t>(step);
    w[2][odd] = splat<std::uint64_t>(subject);
    w[3][odd] = splat<std::uint64_t>(subject >> 32);
  }
  for (int round = 0; round < 10; ++round) {
    const Wide key = splat<std::uint64_t>(seed), other = splat<std::uint64_t>(sample);
    for (Wide* at = w[0]; at < w[0] + 2; ++at) {
      Wide &a = at[0], &b = at[2], &c = at[4], &d = at[6];
      const Wide p = multiply_low_halves(a, splat<std::uint64_t>(0xD2511F53u));
      const Wide q = multiply_low_halves(c, splat<std::uint64_t>(0xCD9E8D57u));
      a = (q >> 32) ^ b ^ key;
      b = q;
      c = (p >> 32) ^ d ^ other;
      d = p;
    }
    seed += 0x9E3779B9u;
    sample += 0xBB67AE85u;
  }
  for (int k = 0; k < 4; ++k)
    words[k] = (Word)((w[k][0] & splat<std::uint64_t>(0xffffffffu)) | (w[k][1] << 32));
}

// log of x in [2^-24, 1]: Cephes, logf.c.
inline Vec<float> log_of(Vec<float> x) {
  const auto bits = (Vec<std::int32_t>)x;
  // The exponent of x / sqrt(1/2), so that the rest lies in [sqrt(1/2), sqrt(2)).
  const Vec<std::int32_t> exponent = (bits - 0x3f3504f3) >> 23;
  const Vec<float> m = (Vec<float>)(bits - (exponent << 23)) - 1.0f;
  const Vec<float> z = m * m;
  Vec<float> p = 7.0376836292e-2f * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  const Vec<float> e = __builtin_convertvector(exponent, Vec<float>);
  const Vec<float> rest = p * m * z - 2.12194440e-4f * e - 0.5f * z;
  return m + rest + 0.693359375f * e;
}

// Two normals of each pair of words: radius from the first, angle from the second.
inline void box_muller(Word radius_word, Word angle_word, Vec<float>& first, Vec<float>& second) {
  const auto whole = (Vec<std::int32_t>)(radius_word >> 8) + 1;
  const Vec<float> u = __builtin_convertvector(whole, Vec<float>) * 0x1p-24f;
  const Vec<float> radius = square_root(-2.0f * log_of(u));
  // angle = 2 pi v; v = quarter / 4 + rest / 4 with rest in [-1/2, 1/2], exactly.
  const auto turn = (Vec<std::int32_t>)(angle_word >> 8);
  const Vec<float> v = __builtin_convertvector(turn, Vec<float>) * 0x1p-22f;
  const Vec<float> shifted = v + 12582912.0f;  // 1.5 * 2^23: its last bits are the quarter
  const Vec<float> a = (v - (shifted - 12582912.0f)) * 1.57079632679f;
  const auto q = (Vec<std::int32_t>)shifted;
  const Vec<float> z = a * a;
  const Vec<float> sine =
      ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * a + a;
  const Vec<float> cosine =
      ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z * z -
      0.5f * z + 1.0f;
  const Vec<std::int32_t> swapped = (q & 1) != 0;
  const auto s = (Vec<std::int32_t>)(radius * (swapped ? cosine : sine));
  const auto c = (Vec<std::int32_t>)(radius * (swapped ? sine : cosine));
  // Bit 1 of the quarter, or of the next one, is the sign.
  const Vec<std::int32_t> sign = splat<std::int32_t>(INT32_MIN);
  first = (Vec<float>)(c ^ (((q + 1) << 30) & sign));
  second = (Vec<float>)(s ^ ((q << 30) & sign));
}

// The normals of kNoiseVoxels voxels, those from 4 * first on of one sample and step.
inline void normals(std::uint32_t first, std::uint32_t step, std::uint64_t subject,
                    std::uint32_t seed, std::uint32_t sample, Vec<float>* out) {
  Word words[4];
  philox(first, step, subject, seed, sample, words);
  Vec<float> z[4];
  box_muller(words[0], words[1], z[0], z[1]);
  box_muller(words[2], words[3], z[2], z[3]);
  // From normal k of every block to the four of a block side by side.
  const Vec<float> low_a = zip_low<float>(z[0], z[2]), high_a = zip_high<float>(z[0], z[2]);
  const Vec<float> low_b = zip_low<float>(z[1], z[3]), high_b = zip_high<float>(z[1], z[3]);
  out[0] = zip_low<float>(low_a, low_b);
  out[1] = zip_high<float>(low_a, low_b);
  out[2] = zip_low<float>(high_a, high_b);
  out[3] = zip_high<float>(high_a, high_b);
}

}  // namespace mri2pet::cpu::MRI2PET_BUILD
