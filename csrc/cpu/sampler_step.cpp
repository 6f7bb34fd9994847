#include "mri2pet/sampler_step.h"

#include "isa.h"
#include "memory.h"

namespace mri2pet::cpu {

MRI2PET_DECLARE_KERNEL(void sampler_step_kernel(const SamplerStep& p);)

Status sampler_step(const SamplerStep& p) {
  if (const Status status = check(p); !status.ok()) return status;
  if (const Status status = check_workspace(p.resources, 0); !status.ok()) return status;
  expect_to_fill(p.new_x, p.batch * p.voxels * 4);
  expect_to_fill(p.x0, p.batch * p.voxels * 4);
  MRI2PET_DISPATCH(sampler_step_kernel(p));
  return {};
}

}  // namespace mri2pet::cpu
