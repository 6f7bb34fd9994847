// The update and its noise in one pass: the noise stays in registers.
#include "../parallel.h"
#include "blocks.h"
#include "mri2pet/sampler_step.h"
#include "noise.h"

namespace mri2pet::cpu::MRI2PET_BUILD {
namespace {

constexpr std::int64_t kTaskVoxels = 8192;  // a multiple of kNoiseVoxels in every build

struct Step {
  const SamplerStep& p;
  float a, b, c, d, p_x, p_output;  // a row of the table
  std::uint32_t step;
  std::int64_t tasks;  // a sample

  explicit Step(const SamplerStep& params) : p(params) {
    const std::int64_t row = p.row == nullptr ? 0 : *p.row;
    const double* from = p.coefficients + row * kSamplerCoefficients;
    a = static_cast<float>(from[0]);
    b = static_cast<float>(from[1]);
    c = static_cast<float>(from[2]);
    d = static_cast<float>(from[3]);
    p_x = static_cast<float>(from[4]);
    p_output = static_cast<float>(from[5]);
    step = static_cast<std::uint32_t>(p.timesteps == nullptr ? p.step : p.timesteps[row]);
    tasks = (p.voxels + kTaskVoxels - 1) / kTaskVoxels;
  }

  // new_x and x0 may be x and previous_x0: each voxel is read before it is written.
  void update(std::int64_t task) const {
    const std::int64_t sample = task / tasks, begin = task % tasks * kTaskVoxels;
    const std::int64_t end = smaller(p.voxels, begin + kTaskVoxels);
    std::int64_t first = begin;
    for (; first + kNoiseVoxels <= end; first += kNoiseVoxels) {
      const std::int64_t at = sample * p.voxels + first;
      float buffer[kNoiseVoxels];
      const float* output = static_cast<const float*>(p.output) + at;
      if (p.output_dtype != DType::f32) {
        widen(p.output, p.output_dtype, at, kNoiseVoxels, buffer);
        output = buffer;
      }
      combine(sample, first, p.x + at, output, p.previous_x0 + at, p.new_x + at, p.x0 + at);
    }
    if (first < end) last(sample, first, end - first);
  }

  // Fewer than kNoiseVoxels voxels.
  void last(std::int64_t sample, std::int64_t first, std::int64_t count) const {
    const std::int64_t at = sample * p.voxels + first;
    float x[kNoiseVoxels] = {}, output[kNoiseVoxels] = {}, before[kNoiseVoxels] = {};
    float new_x[kNoiseVoxels], x0[kNoiseVoxels];
    std::memcpy(x, p.x + at, count * sizeof(float));
    widen(p.output, p.output_dtype, at, count, output);
    if (d != 0) std::memcpy(before, p.previous_x0 + at, count * sizeof(float));
    combine(sample, first, x, output, before, new_x, x0);
    std::memcpy(p.new_x + at, new_x, count * sizeof(float));
    std::memcpy(p.x0 + at, x0, count * sizeof(float));
  }

  // kNoiseVoxels voxels of a sample, from its voxel `first`.
  void combine(std::int64_t sample, std::int64_t first, const float* x, const float* output,
               const float* before, float* new_x, float* x0) const {
    Vec<float> noise[4] = {};
    if (c != 0)
      normals(static_cast<std::uint32_t>(first / 4), step,
              static_cast<std::uint64_t>(p.subjects[sample]), static_cast<std::uint32_t>(p.seed),
              static_cast<std::uint32_t>(p.samples[sample]), noise);
    for (int k = 0; k < 4; ++k) {
      const int i = k * kLanes<float>;
      const Vec<float> value = load(x + i), predicted = load(output + i);
      Vec<float> sum = a * value + b * predicted;
      if (d != 0) sum += d * load(before + i);
      if (c != 0) sum += c * noise[k];
      store(x0 + i, p_x * value + p_output * predicted);
      store(new_x + i, sum);
    }
  }
};

}  // namespace

void sampler_step_kernel(const SamplerStep& p) {
  Step step(p);
  parallel_for(
      p.resources.threads, p.batch * step.tasks,
      [](void* s, std::int64_t task, int) { static_cast<Step*>(s)->update(task); }, &step);
}

}  // namespace mri2pet::cpu::MRI2PET_BUILD
