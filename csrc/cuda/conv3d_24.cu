// conv3d of up to 24 input channels.
#include "conv3d_kernel.cuh"

namespace mri2pet {
namespace cuda {

template <>
void conv3d_plan<3>(int variant, std::int64_t channels_out, DType dtype, Conv3dPlan& plan) {
  if (channels_out <= 16) {
    plan = variant == 0   ? plan_of<Tile<3, 2, 4, 4, 1>>(dtype)
           : variant == 1 ? plan_of<Tile<3, 2, 4, 4, 2>>(dtype)
                          : plan_of<Tile<3, 2, 8, 2, 2>>(dtype);
  } else {
    plan = variant == 0   ? plan_of<Tile<3, 3, 4, 4, 1>>(dtype)
           : variant == 1 ? plan_of<Tile<3, 3, 4, 4, 2>>(dtype)
                          : plan_of<Tile<3, 3, 8, 2, 2>>(dtype);
  }

}

}  // namespace cuda
}  // namespace mri2pet
