#include "mri2pet/group_norm_gelu.h"

#include "bind.h"

namespace mri2pet::bindings {
namespace {

using Sizes = std::array<std::int64_t, 3>;  // B, C, N

template <typename Params>
Params with_sizes(const Sizes& sizes, const std::string& type, bool gelu) {
  Params p;
  p.batch = sizes[0];
  p.channels = sizes[1];
  p.voxels = sizes[2];
  p.dtype = dtype(type);
  p.gelu = gelu;
  return p;
}

template <typename Params>
std::string describe(const Params& p) {
  std::ostringstream text;
  text << "batch " << p.batch << ", channels " << p.channels << ", voxels " << p.voxels;
  return text.str();
}

GroupNormGeluForward forward(const Sizes& sizes, const std::string& type, bool gelu, double eps,
                             const Tensor3& x, Pointer weight, Pointer bias,
                             const Tensor3& residual, Pointer channel_bias, const Tensor3& y,
                             Pointer mean, Pointer rstd) {
  auto p = with_sizes<GroupNormGeluForward>(sizes, type, gelu);
  p.eps = eps;
  p.x = pointer(x);
  p.x_strides = strides(x);
  p.weight = pointer(weight);
  p.bias = pointer(bias);
  p.residual = pointer(residual);
  p.residual_strides = strides(residual);
  p.channel_bias = pointer(channel_bias);
  p.y = pointer(y);
  p.y_strides = strides(y);
  p.mean = pointer(mean);
  p.rstd = pointer(rstd);
  return p;
}

GroupNormGeluBackward backward(const Sizes& sizes, const std::string& type, bool gelu,
                               const Tensor3& x, Pointer weight, Pointer bias,
                               const Tensor3& residual, Pointer channel_bias, Pointer mean,
                               Pointer rstd, const Tensor3& grad_y, const Tensor3& grad_x,
                               const Tensor3& grad_residual, Pointer grad_weight,
                               Pointer grad_bias, Pointer grad_channel_bias) {
  auto p = with_sizes<GroupNormGeluBackward>(sizes, type, gelu);
  p.x = pointer(x);
  p.x_strides = strides(x);
  p.weight = pointer(weight);
  p.bias = pointer(bias);
  p.residual = pointer(residual);
  p.residual_strides = strides(residual);
  p.channel_bias = pointer(channel_bias);
  p.mean = pointer(mean);
  p.rstd = pointer(rstd);
  p.grad_y = pointer(grad_y);
  p.grad_y_strides = strides(grad_y);
  p.grad_x = pointer(grad_x);
  p.grad_x_strides = strides(grad_x);
  p.grad_residual = pointer(grad_residual);
  p.grad_residual_strides = strides(grad_residual);
  p.grad_weight = pointer(grad_weight);
  p.grad_bias = pointer(grad_bias);
  p.grad_channel_bias = pointer(grad_channel_bias);
  return p;
}

}  // namespace

void bind_group_norm_gelu(py::module_& m) {
  using py::arg;
  py::class_<GroupNormGeluForward> forward_class(m, "GroupNormGeluForward");
  forward_class.def(py::init(&forward), arg("sizes"), arg("dtype"), arg("gelu"), arg("eps"),
                    arg("x"), arg("weight"), arg("bias"), arg("residual"), arg("channel_bias"),
                    arg("y"), arg("mean"), arg("rstd"));
  bind_resources(forward_class);
  bind_launcher<GroupNormGeluForward>(
      m, "group_norm_gelu_forward", &cpu::group_norm_gelu_forward,
      &cpu::group_norm_gelu_forward_workspace, MRI2PET_CUDA_LAUNCHER(group_norm_gelu_forward),
      MRI2PET_CUDA_LAUNCHER(group_norm_gelu_forward_workspace), &describe);

  py::class_<GroupNormGeluBackward> backward_class(m, "GroupNormGeluBackward");
  backward_class.def(py::init(&backward), arg("sizes"), arg("dtype"), arg("gelu"), arg("x"),
                     arg("weight"), arg("bias"), arg("residual"), arg("channel_bias"), arg("mean"),
                     arg("rstd"), arg("grad_y"), arg("grad_x"), arg("grad_residual"),
                     arg("grad_weight"), arg("grad_bias"), arg("grad_channel_bias"));
  bind_resources(backward_class);
  bind_launcher<GroupNormGeluBackward>(
      m, "group_norm_gelu_backward", &cpu::group_norm_gelu_backward,
      &cpu::group_norm_gelu_backward_workspace, MRI2PET_CUDA_LAUNCHER(group_norm_gelu_backward),
      MRI2PET_CUDA_LAUNCHER(group_norm_gelu_backward_workspace), &describe);
}

}  // namespace mri2pet::bindings
