// What the bindings of all ops share: how a tensor arrives, and how a status becomes an exception.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <sstream>
#include <stdexcept>
#include <string>

#include "build_config.h"
#include "mri2pet/status.h"
#include "mri2pet/types.h"

namespace mri2pet::bindings {

namespace py = pybind11;

using Pointer = std::uintptr_t;                  // data_ptr(); 0 for a tensor that is not there
using Tensor3 = std::array<std::int64_t, 4>;     // data_ptr(), strides of [B, C, N]

inline void* pointer(Pointer address) { return reinterpret_cast<void*>(address); }
inline void* pointer(const Tensor3& tensor) {
  return reinterpret_cast<void*>(static_cast<Pointer>(tensor[0]));
}
inline Strides strides(const Tensor3& tensor) { return {tensor[1], tensor[2], tensor[3]}; }

inline DType dtype(const std::string& name) {
  if (name == "float32") return DType::f32;
  if (name == "bfloat16") return DType::bf16;
  if (name == "float16") return DType::f16;
  if (name == "float64") return DType::f64;
  throw py::value_error("dtype " + name + " is not supported: float32, bfloat16, float16, float64");
}

// Raises what a status says, with the op's name and the sizes it was given.
template <typename Params>
void raise_unless_ok(const Status& status, const char* op, const Params& params,
                     std::string (*sizes)(const Params&)) {
  if (status.ok()) return;
  std::ostringstream message;
  message << op << ": " << name(status.code);
  if (status.detail != nullptr) message << ": " << status.detail;
  message << " (" << sizes(params) << ")";
  if (status.code == Code::device_failure) throw std::runtime_error(message.str());
  throw py::value_error(message.str());
}

[[noreturn]] inline void raise_no_cuda(const char* op) {
  throw std::runtime_error(std::string(op) +
                           ": this mri2pet was built without CUDA kernels (" MRI2PET_CUDA_STATUS
                           "); reinstall it where nvcc is, or set ops.backend=reference");
}

template <typename Params>
using Launcher = Status (*)(const Params&);
template <typename Params>
using Sizer = std::int64_t (*)(const Params&);

// The class of a params struct gains what every op has: where to work.
template <typename Params>
void bind_resources(py::class_<Params>& params) {
  params.def(
      "use",
      [](Params& p, Pointer workspace, std::int64_t bytes, int threads, Pointer stream) {
        p.resources = {pointer(workspace), bytes, threads, pointer(stream)};
      },
      py::arg("workspace"), py::arg("bytes"), py::arg("threads"), py::arg("stream"),
      "Workspace, number of CPU threads and CUDA stream of the launch.");
}

// module.<op>(params, cuda) runs without the GIL; module.<op>_workspace(params, cuda) is in bytes.
template <typename Params>
void bind_launcher(py::module_& m, const char* op, Launcher<Params> cpu, Sizer<Params> cpu_bytes,
                   Launcher<Params> cuda, Sizer<Params> cuda_bytes,
                   std::string (*sizes)(const Params&)) {
  m.def(
      op,
      [=](const Params& p, bool on_cuda) {
        if (on_cuda && cuda == nullptr) raise_no_cuda(op);
        if (!on_cuda && cpu == nullptr) {
          throw std::runtime_error(std::string(op) + ": there are CUDA kernels alone");
        }
        Status status;
        {
          py::gil_scoped_release release;
          status = on_cuda ? cuda(p) : cpu(p);
        }
        raise_unless_ok(status, op, p, sizes);
      },
      py::arg("params"), py::arg("cuda"));
  m.def(
      (std::string(op) + "_workspace").c_str(),
      [=](const Params& p, bool on_cuda) -> std::int64_t {
        if (on_cuda && cuda == nullptr) raise_no_cuda(op);
        raise_unless_ok(check(p), op, p, sizes);
        const Sizer<Params> bytes = on_cuda ? cuda_bytes : cpu_bytes;
        return bytes == nullptr ? 0 : bytes(p);
      },
      py::arg("params"), py::arg("cuda"));
}

void bind_linear_attention(py::module_& m);
void bind_apply_norm(py::module_& m);
void bind_conv3d(py::module_& m);
void bind_group_norm_gelu(py::module_& m);
void bind_laplacian_pyramid_loss(py::module_& m);
void bind_resample(py::module_& m);
void bind_sampler_step(py::module_& m);
void bind_upsample_concat(py::module_& m);
void bind_winograd(py::module_& m);

}  // namespace mri2pet::bindings

// A launcher of the CUDA build, or null where the module was built without.
#if MRI2PET_CUDA_ENABLED
#define MRI2PET_CUDA_LAUNCHER(function) &::mri2pet::cuda::function
#else
#define MRI2PET_CUDA_LAUNCHER(function) nullptr
#endif
