#include "mri2pet/apply_norm.h"

#include "bind.h"

namespace mri2pet::bindings {
namespace {

using Sizes = std::array<std::int64_t, 3>;   // B, C, N
using Counted = std::array<std::int64_t, 2>;  // data_ptr(), parts or channels

std::string describe(const ApplyNorm& p) {
  std::ostringstream text;
  text << "batch " << p.batch << ", channels " << p.channels << ", voxels " << p.voxels;
  return text.str();
}

ApplyNorm make(const Sizes& sizes, const std::string& type, bool gelu, double eps, Pointer x,
               const Counted& parts, Pointer weight, Pointer bias, Pointer residual,
               const Counted& residual2, Pointer channel_bias, Pointer y) {
  ApplyNorm p;
  p.batch = sizes[0];
  p.channels = sizes[1];
  p.voxels = sizes[2];
  p.dtype = dtype(type);
  p.gelu = gelu;
  p.eps = eps;
  p.x = pointer(x);
  p.parts = pointer(static_cast<Pointer>(parts[0]));
  p.part_count = parts[1];
  p.weight = pointer(weight);
  p.bias = pointer(bias);
  p.residual = pointer(residual);
  p.residual2 = pointer(static_cast<Pointer>(residual2[0]));
  p.channels_residual2 = residual2[1];
  p.channel_bias = pointer(channel_bias);
  p.y = pointer(y);
  return p;
}

}  // namespace

void bind_apply_norm(py::module_& m) {
  using py::arg;
  py::class_<ApplyNorm> params(m, "ApplyNorm");
  params.def(py::init(&make), arg("sizes"), arg("dtype"), arg("gelu"), arg("eps"), arg("x"),
             arg("parts"), arg("weight"), arg("bias"), arg("residual"), arg("residual2"),
             arg("channel_bias"), arg("y"));
  bind_resources(params);
  bind_launcher<ApplyNorm>(m, "apply_norm", nullptr, nullptr, MRI2PET_CUDA_LAUNCHER(apply_norm),
                           nullptr, &describe);
}

}  // namespace mri2pet::bindings
