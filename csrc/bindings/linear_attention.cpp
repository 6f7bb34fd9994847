#include "mri2pet/linear_attention.h"

#include "bind.h"

namespace mri2pet::bindings {
namespace {

using Sizes = std::array<std::int64_t, 5>;  // B, C, N, heads, width

template <typename Params>
Params with_sizes(const Sizes& sizes, const std::string& type) {
  Params p;
  p.batch = sizes[0];
  p.channels = sizes[1];
  p.voxels = sizes[2];
  p.heads = sizes[3];
  p.width = sizes[4];
  p.dtype = dtype(type);
  return p;
}

template <typename Params>
std::string describe(const Params& p) {
  std::ostringstream text;
  text << "batch " << p.batch << ", channels " << p.channels << ", voxels " << p.voxels
       << ", heads " << p.heads << " of " << p.width;
  return text.str();
}

LinearAttentionForward forward(const Sizes& sizes, const std::string& type, const Tensor3& x,
                               Pointer w_qkv, Pointer w_out, Pointer bias, const Tensor3& y,
                               Pointer row_max, Pointer row_sum, Pointer s, Pointer m) {
  auto p = with_sizes<LinearAttentionForward>(sizes, type);
  p.x = pointer(x);
  p.x_strides = strides(x);
  p.w_qkv = pointer(w_qkv);
  p.w_out = pointer(w_out);
  p.bias = pointer(bias);
  p.y = pointer(y);
  p.y_strides = strides(y);
  p.row_max = pointer(row_max);
  p.row_sum = pointer(row_sum);
  p.s = pointer(s);
  p.m = pointer(m);
  return p;
}

LinearAttentionBackward backward(const Sizes& sizes, const std::string& type, const Tensor3& x,
                                 const Tensor3& grad_y, Pointer w_qkv, Pointer w_out,
                                 Pointer row_max, Pointer row_sum, Pointer s, Pointer m,
                                 const Tensor3& grad_x, Pointer grad_w_qkv, Pointer grad_w_out,
                                 Pointer grad_bias) {
  auto p = with_sizes<LinearAttentionBackward>(sizes, type);
  p.x = pointer(x);
  p.x_strides = strides(x);
  p.grad_y = pointer(grad_y);
  p.grad_y_strides = strides(grad_y);
  p.w_qkv = pointer(w_qkv);
  p.w_out = pointer(w_out);
  p.row_max = pointer(row_max);
  p.row_sum = pointer(row_sum);
  p.s = pointer(s);
  p.m = pointer(m);
  p.grad_x = pointer(grad_x);
  p.grad_x_strides = strides(grad_x);
  p.grad_w_qkv = pointer(grad_w_qkv);
  p.grad_w_out = pointer(grad_w_out);
  p.grad_bias = pointer(grad_bias);
  return p;
}

}  // namespace

void bind_linear_attention(py::module_& m) {
  using py::arg;
  py::class_<LinearAttentionForward> forward_class(m, "LinearAttentionForward");
  forward_class.def(py::init(&forward), arg("sizes"), arg("dtype"), arg("x"), arg("w_qkv"),
                    arg("w_out"), arg("bias"), arg("y"), arg("row_max"), arg("row_sum"), arg("s"),
                    arg("m"));
  bind_resources(forward_class);
  bind_launcher<LinearAttentionForward>(
      m, "linear_attention_forward", &cpu::linear_attention_forward,
      &cpu::linear_attention_forward_workspace, MRI2PET_CUDA_LAUNCHER(linear_attention_forward),
      MRI2PET_CUDA_LAUNCHER(linear_attention_forward_workspace), &describe);

  py::class_<LinearAttentionBackward> backward_class(m, "LinearAttentionBackward");
  backward_class.def(py::init(&backward), arg("sizes"), arg("dtype"), arg("x"), arg("grad_y"),
                     arg("w_qkv"), arg("w_out"), arg("row_max"), arg("row_sum"), arg("s"),
                     arg("m"), arg("grad_x"), arg("grad_w_qkv"), arg("grad_w_out"),
                     arg("grad_bias"));
  bind_resources(backward_class);
  bind_launcher<LinearAttentionBackward>(
      m, "linear_attention_backward", &cpu::linear_attention_backward,
      &cpu::linear_attention_backward_workspace, MRI2PET_CUDA_LAUNCHER(linear_attention_backward),
      MRI2PET_CUDA_LAUNCHER(linear_attention_backward_workspace), &describe);
}

}  // namespace mri2pet::bindings
