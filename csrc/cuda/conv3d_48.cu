// conv3d of up to 48 input channels.
#include "conv3d_kernel.cuh"

namespace mri2pet {
namespace cuda {

template <>
void conv3d_plan<6>(int variant, std::int64_t /*channels_out*/, DType dtype,
                    Conv3dPlan& plan) {
  plan = variant == 0   ? plan_of<Tile<6, 3, 4, 4, 1>>(dtype)
         : variant == 1 ? plan_of<Tile<6, 3, 2, 8, 1>>(dtype)
                        : plan_of<Tile<6, 3, 2, 4, 1>>(dtype);
}

}  // namespace cuda
}  // namespace mri2pet
