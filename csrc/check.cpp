// Refusals that are the same on every device.
#include <cmath>
#include <initializer_list>

#include "mri2pet/apply_norm.h"
#include "mri2pet/conv3d.h"
#include "mri2pet/group_norm_gelu.h"
#include "mri2pet/laplacian_pyramid_loss.h"
#include "mri2pet/linear_attention.h"
#include "mri2pet/resample.h"
#include "mri2pet/sampler_step.h"
#include "mri2pet/upsample_concat.h"
#include "mri2pet/winograd.h"

namespace mri2pet {
namespace {

constexpr std::int64_t kMostElements = std::int64_t{1} << 62;

bool known(DType dtype) {
  return dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f16 || dtype == DType::f64;
}

// All positive, and their product far from the end of int64.
bool sizes_fit(std::initializer_list<std::int64_t> sizes) {
  std::int64_t product = 1;
  for (std::int64_t size : sizes) {
    if (size < 1 || size > kMostElements / product) return false;
    product *= size;
  }
  return true;
}

bool one_is_null(std::initializer_list<const void*> pointers) {
  for (const void* pointer : pointers) {
    if (pointer == nullptr) return true;
  }
  return false;
}

// Every tensor of the op has the layout of x.
bool same_layout(std::int64_t channels, std::int64_t voxels,
                 std::initializer_list<const Strides*> tensors) {
  const Layout layout = layout_of(**tensors.begin(), channels, voxels);
  for (const Strides* strides : tensors) {
    const Layout other = layout_of(*strides, channels, voxels);
    if (layout == Layout::other || other != layout) return false;
    if (strides->batch < 0 || strides->channel < 0 || strides->voxel < 0) return false;
  }
  return true;
}

constexpr const char* kLayout = "every tensor must be contiguous, or every one channels-last";

template <typename Params>
Status check_attention_sizes(const Params& p) {
  if (!sizes_fit({p.batch, p.channels, p.voxels}) ||
      !sizes_fit({3, p.heads, p.width, p.channels, p.batch, 8}))
    return {Code::bad_shape, "batch, channels, voxels, heads and width must be at least 1"};
  if (!known(p.dtype)) return {Code::bad_dtype, "x"};
  return {};
}

template <typename Params>
Status check_norm_sizes(const Params& p) {
  if (!sizes_fit({p.batch, p.channels, p.voxels}))
    return {Code::bad_shape, "batch, channels and voxels must be at least 1"};
  if (!known(p.dtype)) return {Code::bad_dtype, "x"};
  return {};
}

template <typename Params>
Status check_upsampling_sizes(const Params& p) {
  constexpr std::int64_t longest = std::int64_t{1} << 24;  // float32 tells coordinates apart
  if (!sizes_fit({p.batch, p.depth, p.height, p.width, p.channels_skip, p.channels_x}) ||
      !sizes_fit({p.batch, p.coarse_depth, p.coarse_height, p.coarse_width, p.channels_x}))
    return {Code::bad_shape, "every size must be at least 1"};
  for (std::int64_t size : {p.depth, p.height, p.width, p.coarse_depth, p.coarse_height,
                            p.coarse_width, p.channels_skip, p.channels_x}) {
    if (size > longest) return {Code::bad_shape, "a size is above 2^24"};
  }
  if ((p.channels_skip + p.channels_x) * p.width > longest)
    return {Code::bad_shape, "channels * width is above 2^24"};
  if (!known(p.dtype)) return {Code::bad_dtype, "skip"};
  return {};
}

}  // namespace

Status check(const UpsampleConcatForward& p) {
  if (const Status status = check_upsampling_sizes(p); !status.ok()) return status;
  if (one_is_null({p.skip, p.x, p.y})) return {Code::null_pointer, nullptr};
  // The layout of y alone: a tensor of one channel or voxel has both.
  const Strides& s = p.y_strides;
  if (s.voxel != 1 && s.channel != 1) return {Code::bad_layout, kLayout};
  return {};
}

Status check(const UpsampleConcatBackward& p) {
  if (const Status status = check_upsampling_sizes(p); !status.ok()) return status;
  if (one_is_null({p.grad_y, p.grad_x})) return {Code::null_pointer, nullptr};
  const Strides& s = p.grad_y_strides;
  if (s.voxel != 1 && s.channel != 1) return {Code::bad_layout, kLayout};
  return {};
}

Status check(const Conv3dForward& p) {
  constexpr std::int64_t longest = std::int64_t{1} << 30;
  if (!sizes_fit({p.batch, p.depth, p.height, p.width, p.channels_in, p.channels_out}))
    return {Code::bad_shape, "every size must be at least 1"};
  if (p.depth > longest || p.height > longest || p.width > longest)
    return {Code::bad_shape, "depth, height and width may be at most 2^30"};
  if (p.channels_in > kConv3dMostChannels || p.channels_out > kConv3dMostChannels)
    return {Code::bad_shape, "at most 48 channels come in and go out"};
  if (p.dtype != DType::f16 && p.dtype != DType::bf16) return {Code::bad_dtype, "x"};
  if (p.variant < 0 || p.variant >= kConv3dVariants) return {Code::bad_value, "variant"};
  if (p.planes < 0) return {Code::bad_value, "planes"};
  if (one_is_null({p.x, p.weight, p.y})) return {Code::null_pointer, nullptr};
  if (p.channels_x2 < 0 || p.channels_x2 >= p.channels_in ||
      (p.channels_x2 > 0) != (p.x2 != nullptr))
    return {Code::bad_value, "channels of the second input"};
  if (p.x2 != nullptr && (p.channels_in - p.channels_x2) % 8 != 0)
    return {Code::bad_shape, "beside a second input the first must have 8 n channels"};
  if (p.in_parts != nullptr) {
    if (p.in_part_count < 1) return {Code::bad_value, "in_part_count"};
    if (!std::isfinite(p.eps) || p.eps < 0) return {Code::bad_value, "eps"};
    if (one_is_null({p.norm_weight, p.norm_bias})) return {Code::null_pointer, nullptr};
  }
  return {};
}

Status check(const WinogradWeights& p) {
  if (!sizes_fit({p.channels_in, p.channels_out, 1024}))
    return {Code::bad_shape, "channels must be at least 1"};
  if (one_is_null({p.weight, p.transformed})) return {Code::null_pointer, nullptr};
  return {};
}

Status check(const WinogradForward& p) {
  if (!sizes_fit({p.batch, p.depth, p.height, p.width, p.channels_in, p.channels_out, 1024}))
    return {Code::bad_shape, "every size must be at least 1"};
  if (one_is_null({p.x, p.transformed, p.y})) return {Code::null_pointer, nullptr};
  return {};
}

Status check(const ApplyNorm& p) {
  if (Status status = check_norm_sizes(p); !status.ok()) return status;
  if (p.dtype != DType::f16 && p.dtype != DType::bf16) return {Code::bad_dtype, "x"};
  if (p.channels % 8 != 0 || p.channels > kApplyNormMostChannels)
    return {Code::bad_shape, "channels must be a multiple of 8, at most 128"};
  if (!std::isfinite(p.eps) || p.eps < 0) return {Code::bad_value, "eps"};
  if (p.part_count < 1) return {Code::bad_value, "part_count"};
  if (one_is_null({p.x, p.parts, p.weight, p.bias, p.y})) return {Code::null_pointer, nullptr};
  if (p.channels_residual2 < 0 || p.channels_residual2 >= p.channels ||
      p.channels_residual2 % 8 != 0 || (p.channels_residual2 > 0) != (p.residual2 != nullptr) ||
      (p.residual2 != nullptr && p.residual == nullptr))
    return {Code::bad_value, "channels of the second residual"};
  return {};
}

Status check(const LinearAttentionForward& p) {
  if (Status status = check_attention_sizes(p); !status.ok()) return status;
  if (one_is_null({p.x, p.w_qkv, p.w_out, p.bias, p.y, p.row_max, p.row_sum, p.s, p.m}))
    return {Code::null_pointer, nullptr};
  if (!same_layout(p.channels, p.voxels, {&p.x_strides, &p.y_strides}))
    return {Code::bad_layout, kLayout};
  return {};
}

Status check(const LinearAttentionBackward& p) {
  if (Status status = check_attention_sizes(p); !status.ok()) return status;
  if (one_is_null({p.x, p.grad_y, p.w_qkv, p.w_out, p.row_max, p.row_sum, p.s, p.m, p.grad_x,
                   p.grad_w_qkv, p.grad_w_out, p.grad_bias}))
    return {Code::null_pointer, nullptr};
  if (!same_layout(p.channels, p.voxels, {&p.x_strides, &p.grad_y_strides, &p.grad_x_strides}))
    return {Code::bad_layout, kLayout};
  return {};
}

Status check(const LaplacianPyramidLossForward& p) {
  constexpr std::int64_t smallest = std::int64_t{1} << kPyramidLevels;
  if (!sizes_fit({p.batch, p.slices, p.rows, p.columns}))
    return {Code::bad_shape, "batch, slices, rows and columns must be at least 1"};
  if (p.rows < smallest || p.columns < smallest)
    return {Code::bad_shape, "a slice needs at least 32 rows and 32 columns"};
  if (!known(p.output_dtype) || !known(p.target_dtype) ||
      (p.output_dtype == DType::f64) != (p.target_dtype == DType::f64))
    return {Code::bad_dtype, "output and target"};
  if (!std::isfinite(p.laplacian_weight) || p.laplacian_weight < 0)
    return {Code::bad_value, "the weight of the Laplacian term must be finite and not negative"};
  if (one_is_null({p.output, p.target, p.weight, p.terms})) return {Code::null_pointer, nullptr};
  return {};
}

Status check(const LaplacianPyramidLossBackward& p) {
  if (!sizes_fit({p.count})) return {Code::bad_shape, "count must be at least 1"};
  if (!known(p.output_dtype)) return {Code::bad_dtype, "grad_output"};
  if (one_is_null({p.grad, p.grad_loss, p.grad_output})) return {Code::null_pointer, nullptr};
  return {};
}

Status check(const Resample& p) {
  for (const std::int64_t* sizes : {p.source, p.target})
    if (!sizes_fit({sizes[0], sizes[1], sizes[2]}))
      return {Code::bad_shape, "every size must be at least 1"};
  if (p.first < 0) return {Code::bad_shape, "first"};
  if (p.order != 0 && p.order != 1 && p.order != 3)
    return {Code::bad_value, "order must be 0, 1 or 3"};
  for (double number : p.index_map)
    if (!std::isfinite(number)) return {Code::bad_value, "index_map"};
  if (one_is_null({p.values, p.out})) return {Code::null_pointer, nullptr};
  return {};
}

Status check(const SamplerStep& p) {
  constexpr std::int64_t words = std::int64_t{1} << 32;
  if (!sizes_fit({p.batch, p.voxels}) || p.voxels > 4 * words)
    return {Code::bad_shape, "batch and voxels must be at least 1, and a sample at most 2^34"};
  if (!known(p.output_dtype) || p.output_dtype == DType::f64) return {Code::bad_dtype, "output"};
  if (p.seed < 0 || p.seed >= words || p.step < 0 || p.step >= words)
    return {Code::bad_value, "seed and step must lie in 0 ... 2^32 - 1"};
  if (one_is_null({p.x, p.output, p.previous_x0, p.new_x, p.x0, p.coefficients, p.subjects,
                   p.samples}))
    return {Code::null_pointer, nullptr};
  return {};
}

Status check(const GroupNormGeluForward& p) {
  if (Status status = check_norm_sizes(p); !status.ok()) return status;
  if (!std::isfinite(p.eps) || p.eps < 0) return {Code::bad_value, "eps"};
  if (one_is_null({p.x, p.weight, p.bias, p.y, p.mean, p.rstd}))
    return {Code::null_pointer, nullptr};
  const Strides* residual = p.residual == nullptr ? &p.x_strides : &p.residual_strides;
  if (!same_layout(p.channels, p.voxels, {&p.x_strides, residual, &p.y_strides}))
    return {Code::bad_layout, kLayout};
  return {};
}

Status check(const GroupNormGeluBackward& p) {
  if (Status status = check_norm_sizes(p); !status.ok()) return status;
  if (one_is_null({p.x, p.weight, p.bias, p.mean, p.rstd, p.grad_y, p.grad_x, p.grad_weight,
                   p.grad_bias}))
    return {Code::null_pointer, nullptr};
  const Strides* residual = p.residual == nullptr ? &p.x_strides : &p.residual_strides;
  const Strides* grad = p.grad_residual == nullptr ? &p.x_strides : &p.grad_residual_strides;
  if (!same_layout(p.channels, p.voxels,
                   {&p.x_strides, residual, &p.grad_y_strides, &p.grad_x_strides, grad}))
    return {Code::bad_layout, kLayout};
  return {};
}

}  // namespace mri2pet
