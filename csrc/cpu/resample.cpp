#include "mri2pet/resample.h"

#include "isa.h"

namespace mri2pet::cpu {

MRI2PET_DECLARE_KERNEL(void resample_kernel(const Resample& p);)

Status resample(const Resample& p) {
  if (const Status status = check(p); !status.ok()) return status;
  MRI2PET_DISPATCH(resample_kernel(p));
  return {};
}

}  // namespace mri2pet::cpu
