#include "mri2pet/upsample_concat.h"

#include "bind.h"

namespace mri2pet::bindings {
namespace {

// B, fine volume, coarse volume, channels of skip and of x.
using Sizes = std::array<std::int64_t, 9>;

template <typename Params>
Params with_sizes(const Sizes& sizes, const std::string& type) {
  Params p;
  p.batch = sizes[0];
  p.depth = sizes[1];
  p.height = sizes[2];
  p.width = sizes[3];
  p.coarse_depth = sizes[4];
  p.coarse_height = sizes[5];
  p.coarse_width = sizes[6];
  p.channels_skip = sizes[7];
  p.channels_x = sizes[8];
  p.dtype = dtype(type);
  return p;
}

template <typename Params>
std::string describe(const Params& p) {
  std::ostringstream text;
  text << "batch " << p.batch << ", channels " << p.channels_skip << " + " << p.channels_x
       << ", volume " << p.depth << " x " << p.height << " x " << p.width << " from "
       << p.coarse_depth << " x " << p.coarse_height << " x " << p.coarse_width;
  return text.str();
}

UpsampleConcatForward forward(const Sizes& sizes, const std::string& type, const Tensor3& skip,
                              const Tensor3& x, const Tensor3& y) {
  auto p = with_sizes<UpsampleConcatForward>(sizes, type);
  p.skip = pointer(skip);
  p.skip_strides = strides(skip);
  p.x = pointer(x);
  p.x_strides = strides(x);
  p.y = pointer(y);
  p.y_strides = strides(y);
  return p;
}

UpsampleConcatBackward backward(const Sizes& sizes, const std::string& type,
                                const Tensor3& grad_y, const Tensor3& grad_x) {
  auto p = with_sizes<UpsampleConcatBackward>(sizes, type);
  p.grad_y = pointer(grad_y);
  p.grad_y_strides = strides(grad_y);
  p.grad_x = pointer(grad_x);
  p.grad_x_strides = strides(grad_x);
  return p;
}

template <typename Params>
Status not_on_the_cpu(const Params&) {
  return {Code::bad_value, "this op has no kernel for the CPU"};
}

}  // namespace

void bind_upsample_concat(py::module_& m) {
  using py::arg;
  py::class_<UpsampleConcatForward> forward_class(m, "UpsampleConcatForward");
  forward_class.def(py::init(&forward), arg("sizes"), arg("dtype"), arg("skip"), arg("x"),
                    arg("y"));
  bind_resources(forward_class);
  bind_launcher<UpsampleConcatForward>(m, "upsample_concat_forward",
                                       &not_on_the_cpu<UpsampleConcatForward>, nullptr,
                                       MRI2PET_CUDA_LAUNCHER(upsample_concat_forward), nullptr,
                                       &describe);

  py::class_<UpsampleConcatBackward> backward_class(m, "UpsampleConcatBackward");
  backward_class.def(py::init(&backward), arg("sizes"), arg("dtype"), arg("grad_y"),
                     arg("grad_x"));
  bind_resources(backward_class);
  bind_launcher<UpsampleConcatBackward>(m, "upsample_concat_backward",
                                        &not_on_the_cpu<UpsampleConcatBackward>, nullptr,
                                        MRI2PET_CUDA_LAUNCHER(upsample_concat_backward), nullptr,
                                        &describe);
}

}  // namespace mri2pet::bindings
