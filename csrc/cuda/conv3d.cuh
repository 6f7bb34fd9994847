// What the files of conv3d share: the tiles that are compiled, and a launch's arguments.
#pragma once

#include "common.cuh"
#include "mri2pet/conv3d.h"

namespace mri2pet {
namespace cuda {

// Shared memory is counted in units: 8 channels of one voxel, 16 bytes.
constexpr int kUnit = 8;
constexpr int kRing = 4;  // input planes held: three that are read, one that is on its way

// One tile: a block of kWarpsI x kWarpsJ warps computes, plane by plane, kRows rows a warp of 16
// voxels each, and 8 kTilesN output channels of them.
template <int kUnits_, int kTilesN_, int kRows_, int kWarpsI_, int kWarpsJ_>
struct Tile {
  static constexpr int kUnits = kUnits_;    // units of input channels a voxel
  static constexpr int kTilesN = kTilesN_;  // groups of 8 output channels a block
  static constexpr int kRows = kRows_;
  static constexpr int kWarpsI = kWarpsI_;
  static constexpr int kWarpsJ = kWarpsJ_;
  static constexpr int kThreads = 32 * kWarpsI * kWarpsJ;
  static constexpr int kTileI = kRows * kWarpsI;
  static constexpr int kTileJ = 16 * kWarpsJ;
  static constexpr int kHaloI = kTileI + 2;
  static constexpr int kHaloJ = kTileJ + 2;
  // One plane of the ring: [kUnits, kHaloI, kHaloJ] units. Eight voxels of a row lie side by side,
  // so that ldmatrix reads all 32 banks once.
  static constexpr int kPlane = kUnits * kHaloI * kHaloJ;
  // Weights: [3 (rows), kTaps, kPitch] units of 8 input channels of one output channel. The sum runs
  // over pairs of units, so an odd number of them is filled up with zeros.
  static constexpr int kPairs = (9 * kUnits + 1) / 2;
  static constexpr int kTaps = 2 * kPairs;
  // Pairs in one stretch of code, where the loads of one hide behind the products of another.
  static constexpr int kUnroll = kPairs % 3 == 0 ? 3 : kPairs % 2 == 0 ? 2 : kPairs;
  static constexpr int kPitch = 8 * kTilesN + 1;  // odd: neighbouring taps fall into other banks
  static constexpr int kWeights = 3 * kTaps * kPitch;
  static constexpr int kSharedBytes = 16 * (kRing * kPlane + kWeights);
};

struct Conv3dArguments {
  Conv3dForward p;
  std::int64_t tiles_i, tiles_j, chunks, groups;  // blocks a sample: their product
  int planes;                                     // output planes a block
  int granule_x, granule_x2, granule_weight;      // bytes that one copy takes: 16, 8, 4 or 2
};

// The most bytes, of 16, 8, 4 and 2, that divide a row of `channels` values from p on.
inline int granule(const void* p, std::int64_t channels) {
  for (int bytes = 16; bytes > 2; bytes /= 2) {
    if (is_aligned(p, bytes) && channels * 2 % bytes == 0) return bytes;
  }
  return 2;
}

// Divides the volume among blocks of Shape, then queues the kernel.
struct Conv3dPlan {
  int tile_i, tile_j, outputs;  // of a block, in voxels, voxels and channels
  int shared_bytes, threads;
  Status (*run)(const Conv3dArguments& a);
};

// The tiles for inputs of 8 kUnits channels: one file each.
template <int kUnits>
void conv3d_plan(int variant, std::int64_t channels_out, DType dtype, Conv3dPlan& plan);

}  // namespace cuda
}  // namespace mri2pet
