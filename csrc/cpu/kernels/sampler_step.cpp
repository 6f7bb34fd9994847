// The update and its noise, a few hundred voxels at a time.
#include "../parallel.h"
#include "blocks.h"
#include "mri2pet/sampler_step.h"
#include "noise.h"

namespace mri2pet::cpu::MRI2PET_BUILD {
namespace {

constexpr std::int64_t kTaskVoxels = 16 * kNoiseVoxels;

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

  void update(std::int64_t task) const {
    const std::int64_t sample = task / tasks, begin = task % tasks * kTaskVoxels;
    const std::int64_t end = smaller(p.voxels, begin + kTaskVoxels);
    float noise[kNoiseVoxels] = {}, output[kNoiseVoxels];
    for (std::int64_t first = begin; first < end; first += kNoiseVoxels) {
      const std::int64_t count = smaller(kNoiseVoxels, end - first);
      if (c != 0)
        normals(static_cast<std::uint32_t>(first / 4), step,
                static_cast<std::uint64_t>(p.subjects[sample]), static_cast<std::uint32_t>(p.seed),
                static_cast<std::uint32_t>(p.samples[sample]), noise);
      widen(p.output, p.output_dtype, sample * p.voxels + first, count, output);
      combine(sample * p.voxels + first, count, output, noise);
    }
  }

  // new_x and x0 may be x and previous_x0: each voxel is read before it is written.
  void combine(std::int64_t at, std::int64_t count, const float* output,
               const float* noise) const {
    const float *x = p.x + at, *before = p.previous_x0 + at;
    float *new_x = p.new_x + at, *x0 = p.x0 + at;
    for (std::int64_t i = 0; i < count; ++i) {
      const float value = x[i];
      float sum = a * value + b * output[i];
      if (d != 0) sum += d * before[i];
      if (c != 0) sum += c * noise[i];
      x0[i] = p_x * value + p_output * output[i];
      new_x[i] = sum;
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
