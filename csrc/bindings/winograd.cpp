#include "mri2pet/winograd.h"

#include "bind.h"

namespace mri2pet::bindings {
namespace {

using Channels = std::array<std::int64_t, 2>;  // in, out
using Sizes = std::array<std::int64_t, 6>;     // B, K, I, J, channels in, channels out

std::string describe_weights(const WinogradWeights& p) {
  std::ostringstream text;
  text << "channels " << p.channels_in << " -> " << p.channels_out;
  return text.str();
}

std::string describe(const WinogradForward& p) {
  std::ostringstream text;
  text << "batch " << p.batch << ", volume " << p.depth << " x " << p.height << " x " << p.width
       << ", channels " << p.channels_in << " -> " << p.channels_out;
  return text.str();
}

WinogradWeights weights(const Channels& channels, Pointer weight, Pointer transformed) {
  WinogradWeights p;
  p.channels_in = channels[0];
  p.channels_out = channels[1];
  p.weight = pointer(weight);
  p.transformed = pointer(transformed);
  return p;
}

WinogradForward forward(const Sizes& sizes, Pointer x, Pointer transformed, Pointer bias,
                        Pointer y) {
  WinogradForward p;
  p.batch = sizes[0];
  p.depth = sizes[1];
  p.height = sizes[2];
  p.width = sizes[3];
  p.channels_in = sizes[4];
  p.channels_out = sizes[5];
  p.x = pointer(x);
  p.transformed = pointer(transformed);
  p.bias = pointer(bias);
  p.y = pointer(y);
  return p;
}

}  // namespace

void bind_winograd(py::module_& m) {
  using py::arg;
  m.def("winograd_weights_size", &cpu::winograd_weights_size, arg("channels_in"),
        arg("channels_out"), "Floats of the transformed weights on this processor.");
  py::class_<WinogradWeights> weights_class(m, "WinogradWeights");
  weights_class.def(py::init(&weights), arg("channels"), arg("weight"), arg("transformed"));
  bind_resources(weights_class);
  bind_launcher<WinogradWeights>(m, "winograd_weights", &cpu::winograd_weights, nullptr, nullptr,
                                 nullptr, &describe_weights);

  py::class_<WinogradForward> forward_class(m, "WinogradForward");
  forward_class.def(py::init(&forward), arg("sizes"), arg("x"), arg("transformed"), arg("bias"),
                    arg("y"));
  bind_resources(forward_class);
  bind_launcher<WinogradForward>(m, "winograd_forward", &cpu::winograd_forward,
                                 &cpu::winograd_forward_workspace, nullptr, nullptr, &describe);
}

}  // namespace mri2pet::bindings
