// Resampling along the rows of the target: the place in the source goes forward by a constant.
#include "mri2pet/resample.h"
#include "vec.h"

namespace mri2pet::cpu::MRI2PET_BUILD {
namespace {

// A place this near to an outermost voxel centre is on it, whichever way its sum was rounded.
constexpr double kOnEdge = 1e-9;

using Four = float __attribute__((vector_size(16)));

inline Four four(const float* from) {
  Four v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

// The taps of one axis: offsets in elements and weights.
template <int kTaps>
struct Taps {
  std::int64_t at[kTaps];
  float weight[kTaps];
};

inline std::int64_t mirrored(std::int64_t i, std::int64_t size) {
  if (size == 1) return 0;
  if (i < 0) return -i < size ? -i : size - 1;
  return i < size ? i : 2 * size - 2 - i < 0 ? 0 : 2 * size - 2 - i;
}

inline void set(Taps<1>& taps, double place, std::int64_t size, std::int64_t stride) {
  std::int64_t nearest = static_cast<std::int64_t>(place + 0.5);
  if (nearest > size - 1) nearest = size - 1;
  taps.at[0] = nearest * stride;
  taps.weight[0] = 1.0f;
}

inline void set(Taps<2>& taps, double place, std::int64_t size, std::int64_t stride) {
  const std::int64_t below = static_cast<std::int64_t>(place);
  const double t = place - static_cast<double>(below);
  taps.at[0] = below * stride;
  taps.at[1] = (below + 1 < size ? below + 1 : below) * stride;
  taps.weight[0] = static_cast<float>(1.0 - t);
  taps.weight[1] = static_cast<float>(t);
}

inline void set(Taps<4>& taps, double place, std::int64_t size, std::int64_t stride) {
  const std::int64_t below = static_cast<std::int64_t>(place);
  const double t = place - static_cast<double>(below), r = 1.0 - t;
  for (int n = 0; n < 4; ++n) taps.at[n] = mirrored(below - 1 + n, size) * stride;
  taps.weight[0] = static_cast<float>(r * r * r / 6.0);
  taps.weight[1] = static_cast<float>(2.0 / 3.0 - t * t * (2.0 - t) / 2.0);
  taps.weight[2] = static_cast<float>(2.0 / 3.0 - r * r * (2.0 - r) / 2.0);
  taps.weight[3] = static_cast<float>(t * t * t / 6.0);
}

template <int kTaps>
inline float sum(const float* values, const Taps<kTaps>& x, const Taps<kTaps>& y,
                 const Taps<kTaps>& z) {
  float total = 0.0f;
  for (int a = 0; a < kTaps; ++a) {
    for (int b = 0; b < kTaps; ++b) {
      const float* row = values + x.at[a] + y.at[b];
      float along = 0.0f;
      for (int c = 0; c < kTaps; ++c) along += z.weight[c] * row[z.at[c]];
      total += x.weight[a] * y.weight[b] * along;
    }
  }
  return total;
}

// Four taps that lie side by side.
inline float sum_inside(const float* values, const Taps<4>& x, const Taps<4>& y,
                        const Taps<4>& z) {
  Four total = {};
  for (int a = 0; a < 4; ++a) {
    const float* plane = values + x.at[a] + z.at[0];
    Four of_plane = {};
    for (int b = 0; b < 4; ++b) of_plane += y.weight[b] * four(plane + y.at[b]);
    total += x.weight[a] * of_plane;
  }
  total *= four(z.weight);
  return (total[0] + total[1]) + (total[2] + total[3]);
}

// The place along one axis, moved onto the outermost centres where it is as good as there.
inline bool inside(double& place, std::int64_t size) {
  const double last = static_cast<double>(size - 1);
  if (!(place >= -kOnEdge && place <= last + kOnEdge)) return false;
  place = place < 0.0 ? 0.0 : place > last ? last : place;
  return true;
}

template <int kTaps>
void run(const Resample& p) {
  const double* m = p.index_map;
  const std::int64_t nx = p.source[0], ny = p.source[1], nz = p.source[2];
  std::int64_t at = 0;
  for (std::int64_t x = p.first; x < p.first + p.target[0]; ++x) {
    for (std::int64_t y = 0; y < p.target[1]; ++y) {
      double start[3];
      for (int axis = 0; axis < 3; ++axis)
        start[axis] = m[4 * axis] * static_cast<double>(x) +
                      m[4 * axis + 1] * static_cast<double>(y) + m[4 * axis + 3];
      for (std::int64_t z = 0; z < p.target[2]; ++z, ++at) {
        if (p.needed != nullptr && p.needed[at] == 0) continue;
        double px = start[0] + m[2] * static_cast<double>(z);
        double py = start[1] + m[6] * static_cast<double>(z);
        double pz = start[2] + m[10] * static_cast<double>(z);
        if (!inside(px, nx) || !inside(py, ny) || !inside(pz, nz)) {
          p.out[at] = 0.0f;
          continue;
        }
        Taps<kTaps> in_x, in_y, in_z;
        set(in_x, px, nx, p.strides[0]);
        set(in_y, py, ny, p.strides[1]);
        set(in_z, pz, nz, p.strides[2]);
        if constexpr (kTaps == 4) {
          if (in_z.at[3] - in_z.at[0] == 3 && in_z.at[2] - in_z.at[1] == 1 &&
              in_z.at[1] - in_z.at[0] == 1) {
            p.out[at] = sum_inside(p.values, in_x, in_y, in_z);
            continue;
          }
        }
        p.out[at] = sum(p.values, in_x, in_y, in_z);
      }
    }
  }
}

}  // namespace

void resample_kernel(const Resample& p) {
  if (p.order == 0) return run<1>(p);
  if (p.order == 1) return run<2>(p);
  run<4>(p);
}

}  // namespace mri2pet::cpu::MRI2PET_BUILD
