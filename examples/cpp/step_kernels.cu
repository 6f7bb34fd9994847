#include "step_kernels.h"

#include "../../csrc/cuda/common.cuh"

namespace mri2pet::example {
namespace {

constexpr int kThreads = 128;

__global__ void gather_row_kernel(const GatherRow p) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < p.batch * p.width) p.out[i] = p.table[*p.counter * p.width + i % p.width];
}

__global__ void advance_kernel(const Advance p) {
  if (threadIdx.x == 0) *p.counter += 1;
}

}  // namespace

Status gather_row(const GatherRow& p, void* stream) {
  const dim3 grid(static_cast<unsigned>(cuda::ceil_div(p.batch * p.width, kThreads)));
  return cuda::launch(gather_row_kernel, grid, kThreads, 0, stream, p);
}

Status advance(const Advance& p, void* stream) {
  return cuda::launch(advance_kernel, dim3(1), 32, 0, stream, p);
}

}  // namespace mri2pet::example
