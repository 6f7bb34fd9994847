// Types shared by the parameter structs of all ops. All memory belongs to the caller.
//
// Functions here are static: files that are compiled for different instruction sets include them,
// and the linker may not pick one file's copy for another.
#pragma once

#include <cstdint>

#include "mri2pet/status.h"

namespace mri2pet {

enum class DType : int { f32 = 0, bf16 = 1, f16 = 2, f64 = 3 };

// Weights, statistics and sums are of the accumulation type: float64 beside float64 activations,
// float32 beside all others.
static inline bool accumulates_in_f64(DType dtype) { return dtype == DType::f64; }
static inline std::int64_t accumulator_bytes(DType dtype) { return accumulates_in_f64(dtype) ? 8 : 4; }
static inline std::int64_t element_bytes(DType dtype) {
  return dtype == DType::f64 ? 8 : dtype == DType::f32 ? 4 : 2;
}

// Strides of a [B, C, N] tensor, in elements. voxel == 1 is the contiguous layout, channel == 1 is
// channels-last; the other two strides are free.
struct Strides {
  std::int64_t batch = 0;
  std::int64_t channel = 0;
  std::int64_t voxel = 0;
};

// The layout of a [B, C, N] tensor as the kernels tell it apart. With C == 1 or N == 1 one tensor
// is both; it then counts as channels_first when voxel == 1.
enum class Layout { channels_first, channels_last, other };

static inline Layout layout_of(const Strides& s, std::int64_t channels, std::int64_t voxels) {
  if (s.voxel == 1 || voxels == 1) return Layout::channels_first;
  if (s.channel == 1 || channels == 1) return Layout::channels_last;
  return Layout::other;
}

// Where a launcher works. Partial sums of two-stage reductions are in the workspace, which is
// 64-byte aligned and not cleared; its size in bytes is asked from the op's *_workspace().
struct Resources {
  void* workspace = nullptr;
  std::int64_t workspace_bytes = 0;
  int threads = 1;         // CPU only: as many as torch.get_num_threads()
  void* stream = nullptr;  // CUDA only: cudaStream_t; work is queued there and not waited for
};

static inline Status check_workspace(const Resources& resources, std::int64_t needed) {
  if (resources.threads < 1) return {Code::bad_value, "threads must be at least 1"};
  if (needed > 0 && (resources.workspace == nullptr || resources.workspace_bytes < needed))
    return {Code::small_workspace, nullptr};
  return {};
}

}  // namespace mri2pet
