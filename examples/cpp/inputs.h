// What prepare.py writes: everything that the loop needs of the model and of one subject.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "npy.h"

namespace mri2pet::example {

struct Inputs {
  // settings.txt
  std::int64_t samples = 0;     // volumes to draw
  std::int64_t seed = 0;        // 0 ... 2^32 - 1
  std::int64_t subject = 0;     // 64 bits that name the MRI
  std::int64_t noise_step = 0;  // the step of the noise that the loop starts from
  double pet_mean = 0, pet_std = 0;  // SUVR = volume * pet_std + pet_mean
  std::string gpu;  // the model on which the plans passed their self-test
  std::string encoder_sha256, denoiser_sha256;
  // One file each
  Array<float> mri;                          // [1, 1, K, I, J] in model space, in [0, 1]
  std::optional<Array<float>> guide;         // [1, 1 or 2, K, I, J]; with `cond: concat`
  Array<float> start;                        // [1, 1, K, I, J], added to the first noise
  Array<float> time_embeddings;              // [S, E]
  Array<float> bias_weight;                  // [R, E]
  Array<float> bias_bias;                    // [S, R]
  Array<double> coefficients;                // [S, 6]
  Array<std::int64_t> timesteps;             // [S]

  std::int64_t steps() const { return timesteps.shape[0]; }
  std::int64_t biases() const { return bias_weight.shape[0]; }
};

// Throws when something is missing, cut, or does not fit the rest.
Inputs read_inputs(const std::string& folder);

// All that the network's blocks take from the step and the MRI, a row a step: [S, R].
// row = weight silu(embedding + time embedding) + bias; embedding: [E].
std::vector<float> bias_rows(const Inputs& inputs, const std::vector<float>& embedding);

}  // namespace mri2pet::example
