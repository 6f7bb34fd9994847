#include "inputs.h"

#include <cmath>
#include <filesystem>
#include <map>
#include <sstream>

#include "checks.h"
#include "mri2pet/sampler_step.h"

namespace mri2pet::example {
namespace {

constexpr const char* kFormat = "3";

using Settings = std::map<std::string, std::string>;

Settings read_settings(const std::string& file) {
  std::istringstream lines(read_file(file));
  Settings settings;
  for (std::string name, value; lines >> name && std::getline(lines >> std::ws, value);)
    settings[name] = value;
  return settings;
}

const std::string& value(const Settings& settings, const std::string& name) {
  const auto found = settings.find(name);
  if (found == settings.end()) fail("settings.txt: names no " + name);
  return found->second;
}

template <typename T>
T number(const Settings& settings, const std::string& name) {
  std::istringstream stream(value(settings, name));
  T number{};
  if (!(stream >> number) || !stream.eof()) fail("settings.txt: " + name + " is not a number");
  return number;
}

template <typename T>
void expect(const char* name, const Array<T>& array, const Shape& shape) {
  if (array.shape != shape)
    fail(std::string(name) + ".npy: has the shape " + text(array.shape) + ", not " + text(shape));
}

void check_sizes(const Inputs& in) {
  if (in.timesteps.shape.size() != 1 || in.steps() < 1) fail("timesteps.npy: holds no steps");
  if (in.bias_weight.shape.size() != 2) fail("bias_weight.npy: not a matrix");
  expect("coefficients", in.coefficients, {in.steps(), kSamplerCoefficients});
  expect("time_embeddings", in.time_embeddings, {in.steps(), in.bias_weight.shape[1]});
  expect("bias_bias", in.bias_bias, {in.steps(), in.bias_weight.shape[0]});
  if (in.samples < 1) fail("settings.txt: samples must be at least 1");
  if (in.seed < 0 || in.seed >= std::int64_t{1} << 32)
    fail("settings.txt: seed must lie in 0 ... 2^32 - 1");
  for (const std::int64_t t : in.timesteps.values)
    if (t < 0 || t >= in.noise_step) fail("timesteps.npy: a step lies outside of the diffusion");
}

}  // namespace

Inputs read_inputs(const std::string& folder) {
  const Settings settings = read_settings(folder + "/settings.txt");
  if (value(settings, "format") != kFormat)
    fail("settings.txt: format " + value(settings, "format") + " is not format " + kFormat +
         "; prepare the inputs again");
  Inputs in;
  in.samples = number<std::int64_t>(settings, "samples");
  in.seed = number<std::int64_t>(settings, "seed");
  in.subject = static_cast<std::int64_t>(number<std::uint64_t>(settings, "subject"));
  in.noise_step = number<std::int64_t>(settings, "noise_step");
  in.pet_mean = number<double>(settings, "pet_mean");
  in.pet_std = number<double>(settings, "pet_std");
  in.gpu = value(settings, "gpu");
  in.encoder_sha256 = value(settings, "encoder_sha256");
  in.denoiser_sha256 = value(settings, "denoiser_sha256");
  in.mri = read_npy<float>(folder + "/mri.npy");
  if (std::filesystem::exists(folder + "/guide.npy"))
    in.guide = read_npy<float>(folder + "/guide.npy");
  in.start = read_npy<float>(folder + "/start.npy");
  in.time_embeddings = read_npy<float>(folder + "/time_embeddings.npy");
  in.bias_weight = read_npy<float>(folder + "/bias_weight.npy");
  in.bias_bias = read_npy<float>(folder + "/bias_bias.npy");
  in.coefficients = read_npy<double>(folder + "/coefficients.npy");
  in.timesteps = read_npy<std::int64_t>(folder + "/timesteps.npy");
  check_sizes(in);
  return in;
}

std::vector<float> bias_rows(const Inputs& in, const std::vector<float>& embedding) {
  const std::size_t steps = in.steps(), rows = in.biases(), width = embedding.size();
  if (static_cast<std::int64_t>(width) != in.bias_weight.shape[1])
    fail("bias_weight.npy: does not fit the encoder's embedding");
  std::vector<float> table(steps * rows), activated(width);
  for (std::size_t s = 0; s < steps; ++s) {
    for (std::size_t i = 0; i < width; ++i) {
      const float e = embedding[i] + in.time_embeddings.values[s * width + i];
      activated[i] = e / (1.0f + std::exp(-e));
    }
    for (std::size_t r = 0; r < rows; ++r) {
      double sum = in.bias_bias.values[s * rows + r];
      const float* weight = &in.bias_weight.values[r * width];
      for (std::size_t i = 0; i < width; ++i) sum += double{weight[i]} * activated[i];
      table[s * rows + r] = static_cast<float>(sum);
    }
  }
  return table;
}

}  // namespace mri2pet::example
