// The launcher of conv3d (mri2pet/conv3d.h): which tile, and how many blocks.
#include "conv3d.cuh"

namespace mri2pet {
namespace cuda {
namespace {

Conv3dPlan plan_for(const Conv3dForward& p) {
  Conv3dPlan plan{};
  const std::int64_t units = ceil_div(p.channels_in, kUnit);
  if (units <= 1) {
    conv3d_plan<1>(p.variant, p.channels_out, p.dtype, plan);
  } else if (units == 2) {
    conv3d_plan<2>(p.variant, p.channels_out, p.dtype, plan);
  } else if (units == 3) {
    conv3d_plan<3>(p.variant, p.channels_out, p.dtype, plan);
  } else {
    conv3d_plan<6>(p.variant, p.channels_out, p.dtype, plan);
  }
  return plan;
}

// As many output planes a block as leave a block for every place on the device: more of them load
// fewer planes twice.
std::int64_t planes_a_block(const Conv3dForward& p, const Conv3dPlan& plan, std::int64_t columns) {
  if (p.planes > 0) return p.planes < p.depth ? p.planes : p.depth;
  const std::int64_t shared = device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, 99 * 1024);
  std::int64_t resident = shared / (plan.shared_bytes + 2048);
  if (resident > 512 / plan.threads) resident = 512 / plan.threads;  // registers
  if (resident < 1) resident = 1;
  const std::int64_t places = resident * device_attribute(cudaDevAttrMultiProcessorCount, 108);
  std::int64_t chunks = places / columns;
  if (chunks < 1) chunks = 1;
  if (chunks > p.depth) chunks = p.depth;
  return ceil_div(p.depth, chunks);
}

Conv3dArguments arguments_for(const Conv3dForward& p, const Conv3dPlan& plan) {
  Conv3dArguments a{p, 0, 0, 0, 0, 0, 0, 0, 0};
  a.tiles_i = ceil_div(p.height, plan.tile_i);
  a.tiles_j = ceil_div(p.width, plan.tile_j);
  a.groups = ceil_div(p.channels_out, plan.outputs);
  const std::int64_t columns = a.tiles_i * a.tiles_j * a.groups * p.batch;
  a.planes = static_cast<int>(planes_a_block(p, plan, columns));
  a.chunks = ceil_div(p.depth, a.planes);
  a.granule_x = granule(p.x, p.channels_in - p.channels_x2);
  a.granule_x2 = granule(p.x2, p.channels_x2);
  a.granule_weight = granule(p.weight, p.channels_in);
  return a;
}

}  // namespace

std::int64_t conv3d_parts(const Conv3dForward& p) {
  if (!check(p).ok()) return 0;
  const Conv3dArguments a = arguments_for(p, plan_for(p));
  return a.groups * a.tiles_j * a.tiles_i * a.chunks;
}

Status conv3d(const Conv3dForward& p) {
  if (const Status status = check(p); !status.ok()) return status;
  const Conv3dPlan plan = plan_for(p);
  const Conv3dArguments a = arguments_for(p, plan);
  if (a.groups * a.tiles_j * a.tiles_i * a.chunks > kMostBlocks / p.batch) {
    return {Code::bad_shape, "batch * depth * height * width"};
  }
  if (!is_aligned(p.y, 4) && p.channels_out % 2 == 0) {
    return {Code::bad_layout, "y must be aligned to 4 bytes"};
  }
  return plan.run(a);
}

}  // namespace cuda
}  // namespace mri2pet
