#include "mri2pet/laplacian_pyramid_loss.h"

#include "bind.h"

namespace mri2pet::bindings {
namespace {

using Sizes = std::array<std::int64_t, 4>;  // B, K, I, J

std::string describe(const LaplacianPyramidLossForward& p) {
  std::ostringstream text;
  text << "batch " << p.batch << ", slices " << p.slices << " of " << p.rows << " x " << p.columns
       << ", laplacian_weight " << p.laplacian_weight;
  return text.str();
}

std::string describe_backward(const LaplacianPyramidLossBackward& p) {
  return std::to_string(p.count) + " values";
}

LaplacianPyramidLossForward forward(const Sizes& sizes, const std::string& output_type,
                                    const std::string& target_type, Pointer output, Pointer target,
                                    Pointer weight, double laplacian_weight, Pointer terms,
                                    Pointer grad) {
  LaplacianPyramidLossForward p;
  p.batch = sizes[0];
  p.slices = sizes[1];
  p.rows = sizes[2];
  p.columns = sizes[3];
  p.output_dtype = dtype(output_type);
  p.target_dtype = dtype(target_type);
  p.output = pointer(output);
  p.target = pointer(target);
  p.weight = pointer(weight);
  p.laplacian_weight = laplacian_weight;
  p.terms = pointer(terms);
  p.grad = pointer(grad);
  return p;
}

LaplacianPyramidLossBackward backward(std::int64_t count, const std::string& output_type,
                                      Pointer grad, Pointer grad_loss, Pointer grad_output) {
  LaplacianPyramidLossBackward p;
  p.count = count;
  p.output_dtype = dtype(output_type);
  p.grad = pointer(grad);
  p.grad_loss = pointer(grad_loss);
  p.grad_output = pointer(grad_output);
  return p;
}

}  // namespace

void bind_laplacian_pyramid_loss(py::module_& m) {
  using py::arg;
  py::class_<LaplacianPyramidLossForward> forward_class(m, "LaplacianPyramidLossForward");
  forward_class.def(py::init(&forward), arg("sizes"), arg("output_dtype"), arg("target_dtype"),
                    arg("output"), arg("target"), arg("weight"), arg("laplacian_weight"),
                    arg("terms"), arg("grad"));
  bind_resources(forward_class);
  bind_launcher<LaplacianPyramidLossForward>(
      m, "laplacian_pyramid_loss_forward", &cpu::laplacian_pyramid_loss_forward,
      &cpu::laplacian_pyramid_loss_forward_workspace,
      MRI2PET_CUDA_LAUNCHER(laplacian_pyramid_loss_forward),
      MRI2PET_CUDA_LAUNCHER(laplacian_pyramid_loss_forward_workspace), &describe);

  py::class_<LaplacianPyramidLossBackward> backward_class(m, "LaplacianPyramidLossBackward");
  backward_class.def(py::init(&backward), arg("count"), arg("output_dtype"), arg("grad"),
                     arg("grad_loss"), arg("grad_output"));
  bind_resources(backward_class);
  bind_launcher<LaplacianPyramidLossBackward>(
      m, "laplacian_pyramid_loss_backward", &cpu::laplacian_pyramid_loss_backward, nullptr,
      MRI2PET_CUDA_LAUNCHER(laplacian_pyramid_loss_backward), nullptr, &describe_backward);
}

}  // namespace mri2pet::bindings
