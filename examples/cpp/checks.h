// Every failure becomes an exception that names the call.
#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#include "mri2pet/status.h"

namespace mri2pet::example {

[[noreturn]] inline void fail(const std::string& what) { throw std::runtime_error(what); }

inline void check(bool done, const std::string& call) {
  if (!done) fail(call + " failed");
}

inline void check(cudaError_t error, const std::string& call) {
  if (error != cudaSuccess) fail(call + " failed: " + cudaGetErrorString(error));
}

inline void check(const Status& status, const std::string& call) {
  if (status.ok()) return;
  fail(call + " failed: " + name(status.code) +
       (status.detail == nullptr ? "" : std::string(": ") + status.detail));
}

template <typename T>
T* made(T* object, const std::string& call) {
  check(object != nullptr, call);
  return object;
}

}  // namespace mri2pet::example
