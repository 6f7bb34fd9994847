// What a launcher returns: done, or what was wrong with its arguments.
#pragma once

namespace mri2pet {

enum class Code : int {
  ok = 0,
  bad_shape,        // a size that is zero, negative, too large for the kernel, or does not fit
  bad_layout,       // strides that are neither contiguous nor channels-last
  bad_dtype,        // a dtype that the kernel does not take
  bad_value,        // a number out of its range (eps, a weight that is not finite, ...)
  null_pointer,     // a required pointer is null
  small_workspace,  // workspace_bytes is less than the op's *_workspace() asks for
  device_failure,   // the CUDA runtime reported an error; detail holds its text
};

// detail is a string with static lifetime that says which argument, or null.
struct Status {
  Code code = Code::ok;
  const char* detail = nullptr;
  bool ok() const { return code == Code::ok; }
};

static inline const char* name(Code code) {
  switch (code) {
    case Code::ok: return "ok";
    case Code::bad_shape: return "unsupported shape";
    case Code::bad_layout: return "unsupported strides";
    case Code::bad_dtype: return "unsupported dtype";
    case Code::bad_value: return "value out of range";
    case Code::null_pointer: return "missing tensor";
    case Code::small_workspace: return "workspace too small";
    case Code::device_failure: return "CUDA error";
  }
  return "unknown status";
}

}  // namespace mri2pet
