// Values of one grid at the voxel centres of another, on the CPU:
//   out[x, y, z] = f(index_map (x, y, z, 1)),
// f by interpolation of order 0 (nearest), 1 (linear) or 3 (cubic B-spline, of coefficients).
// Outside the source's outermost voxel centres f is 0; taps beyond them are mirrored. These are
// scipy.ndimage's rules for mode "constant".
#pragma once

#include "mri2pet/status.h"
#include "mri2pet/types.h"

namespace mri2pet {

struct Resample {
  std::int64_t source[3] = {0, 0, 0};   // X, Y, Z
  std::int64_t strides[3] = {0, 0, 0};  // of values, in elements; fastest where the last one is 1
  std::int64_t target[3] = {0, 0, 0};   // of the result, or of some planes of it
  std::int64_t first = 0;               // the plane that they begin with
  int order = 1;
  double index_map[12] = {};             // 3 x 4, target index -> source index
  const float* values = nullptr;         // [X, Y, Z], for order 3 the spline's coefficients
  const std::uint8_t* needed = nullptr;  // [target], 0 where out stays as it is; or null
  float* out = nullptr;                  // [target]
  Resources resources;                   // no workspace, one thread
};

Status check(const Resample& p);

namespace cpu {
Status resample(const Resample& p);
}  // namespace cpu

}  // namespace mri2pet
