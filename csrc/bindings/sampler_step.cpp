#include "mri2pet/sampler_step.h"

#include "bind.h"

namespace mri2pet::bindings {
namespace {

std::string describe(const SamplerStep& p) {
  std::ostringstream text;
  text << "batch " << p.batch << ", voxels " << p.voxels << ", seed " << p.seed << ", step "
       << p.step;
  return text.str();
}

template <typename T>
T* typed(Pointer address) {
  return static_cast<T*>(pointer(address));
}

SamplerStep make(const std::array<std::int64_t, 2>& sizes, const std::string& output_type,
                 Pointer x, Pointer output, Pointer previous_x0, Pointer new_x, Pointer x0,
                 Pointer coefficients, Pointer subjects, Pointer samples, std::int64_t seed,
                 std::int64_t step, Pointer row, Pointer timesteps) {
  SamplerStep p;
  p.batch = sizes[0];
  p.voxels = sizes[1];
  p.output_dtype = dtype(output_type);
  p.x = typed<const float>(x);
  p.output = pointer(output);
  p.previous_x0 = typed<const float>(previous_x0);
  p.new_x = typed<float>(new_x);
  p.x0 = typed<float>(x0);
  p.coefficients = typed<const double>(coefficients);
  p.subjects = typed<const std::int64_t>(subjects);
  p.samples = typed<const std::int64_t>(samples);
  p.seed = seed;
  p.step = step;
  p.row = typed<const std::int64_t>(row);
  p.timesteps = typed<const std::int64_t>(timesteps);
  return p;
}

}  // namespace

void bind_sampler_step(py::module_& m) {
  using py::arg;
  py::class_<SamplerStep> params(m, "SamplerStep");
  params.def(py::init(&make), arg("sizes"), arg("output_dtype"), arg("x"), arg("output"),
             arg("previous_x0"), arg("new_x"), arg("x0"), arg("coefficients"), arg("subjects"),
             arg("samples"), arg("seed"), arg("step"), arg("row") = 0, arg("timesteps") = 0);
  bind_resources(params);
  bind_launcher<SamplerStep>(m, "sampler_step", &cpu::sampler_step, nullptr,
                             MRI2PET_CUDA_LAUNCHER(sampler_step), nullptr, &describe);
}

}  // namespace mri2pet::bindings
