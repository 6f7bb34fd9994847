#include "mri2pet/conv3d.h"

#include "bind.h"

namespace mri2pet::bindings {
namespace {

using Sizes = std::array<std::int64_t, 6>;  // B, K, I, J, channels in, channels out
using Input = std::array<std::int64_t, 2>;  // data_ptr(), channels; zeros for none
using Norm = std::array<std::int64_t, 4>;   // data_ptr() of parts, their number, weight, bias

std::string describe(const Conv3dForward& p) {
  std::ostringstream text;
  text << "batch " << p.batch << ", volume " << p.depth << " x " << p.height << " x " << p.width
       << ", channels " << p.channels_in << " -> " << p.channels_out << ", variant " << p.variant;
  return text.str();
}

Conv3dForward forward(const Sizes& sizes, const std::string& type, Pointer x, const Input& x2,
                      Pointer weight, const Norm& norm, double eps, Pointer y, int variant,
                      std::int64_t planes) {
  Conv3dForward p;
  p.batch = sizes[0];
  p.depth = sizes[1];
  p.height = sizes[2];
  p.width = sizes[3];
  p.channels_in = sizes[4];
  p.channels_out = sizes[5];
  p.dtype = dtype(type);
  p.x = pointer(x);
  p.x2 = pointer(static_cast<Pointer>(x2[0]));
  p.channels_x2 = x2[1];
  p.weight = pointer(weight);
  p.in_parts = pointer(static_cast<Pointer>(norm[0]));
  p.in_part_count = norm[1];
  p.norm_weight = pointer(static_cast<Pointer>(norm[2]));
  p.norm_bias = pointer(static_cast<Pointer>(norm[3]));
  p.eps = eps;
  p.y = pointer(y);
  p.variant = variant;
  p.planes = planes;
  return p;
}

}  // namespace

void bind_conv3d(py::module_& m) {
  using py::arg;
  m.attr("conv3d_variants") = kConv3dVariants;
  py::class_<Conv3dForward> params(m, "Conv3dForward");
  params.def(py::init(&forward), arg("sizes"), arg("dtype"), arg("x"), arg("x2"), arg("weight"),
             arg("norm"), arg("eps"), arg("y"), arg("variant"), arg("planes"));
  params.def(
      "write_parts", [](Conv3dForward& p, Pointer parts) { p.parts = pointer(parts); },
      arg("parts"), "Where the statistics of y go, float32 [B, conv3d_parts(params, True), 3].");
  bind_resources(params);
  bind_launcher<Conv3dForward>(m, "conv3d", nullptr, nullptr, MRI2PET_CUDA_LAUNCHER(conv3d),
                               nullptr, &describe);
  m.def(
      "conv3d_parts",
      [](const Conv3dForward& p) -> std::int64_t {
        raise_unless_ok(check(p), "conv3d", p, &describe);
#if MRI2PET_CUDA_ENABLED
        return cuda::conv3d_parts(p);
#else
        raise_no_cuda("conv3d");
#endif
      },
      arg("params"), "Parts a sample that conv3d writes on the current CUDA device.");
}

}  // namespace mri2pet::bindings
