#include <sstream>
#include <string>

#include "../cpu/isa.h"
#include "../cpu/parallel.h"
#include "bind.h"

namespace py = pybind11;

namespace {

py::list split(const std::string& text, char separator) {
  py::list parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.append(part);
  return parts;
}

py::dict build_info() {
  py::dict cuda;
  cuda["enabled"] = bool(MRI2PET_CUDA_ENABLED);
  cuda["version"] = MRI2PET_CUDA_VERSION;
  cuda["status"] = MRI2PET_CUDA_STATUS;
  cuda["architectures"] =
      MRI2PET_CUDA_ENABLED ? split(MRI2PET_CUDA_ARCHITECTURES, ';') : py::list();
  cuda["kernel_files"] = MRI2PET_CUDA_SOURCE_COUNT;

  py::dict info;
  info["version"] = MRI2PET_VERSION;
  info["revision"] = MRI2PET_REVISION;
  info["compiler"] = MRI2PET_COMPILER;
  info["build_type"] = MRI2PET_BUILD_TYPE;
  info["cpu"] = py::dict();
  info["cpu"]["instruction_set"] = mri2pet::cpu::name(mri2pet::cpu::isa());
  info["cpu"]["threading"] = mri2pet::cpu::threading();
  info["cuda"] = cuda;
  return info;
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "Native part of mri2pet. Links neither torch nor a CUDA driver.";
  m.def("build_info", &build_info,
        "What this module was built from and with: version, git revision, compiler, build type, "
        "cpu (the instruction set chosen for this processor, threading) "
        "and cuda (enabled, toolkit version, status, architectures, number of kernel files).");
  mri2pet::bindings::bind_linear_attention(m);
  mri2pet::bindings::bind_apply_norm(m);
  mri2pet::bindings::bind_conv3d(m);
  mri2pet::bindings::bind_group_norm_gelu(m);
  mri2pet::bindings::bind_laplacian_pyramid_loss(m);
  mri2pet::bindings::bind_resample(m);
  mri2pet::bindings::bind_sampler_step(m);
  mri2pet::bindings::bind_upsample_concat(m);
  mri2pet::bindings::bind_winograd(m);
}
