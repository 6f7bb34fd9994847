// The sampling loop: one step captured as one CUDA graph and replayed for every row of the tables.
#pragma once

#include <cuda_runtime.h>

#include <optional>
#include <vector>

#include "device_array.h"
#include "inputs.h"
#include "mri2pet/sampler_step.h"
#include "plan.h"

namespace mri2pet::example {

class Loop {
 public:
  // Binds the denoiser, runs one step plainly, captures it, and compares the first replay with it.
  // rows: [S, R], from bias_rows.
  Loop(Plan& denoiser, const Inputs& inputs, const std::vector<float>& rows, const Stream& stream);
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  std::int64_t batch() const { return batch_; }  // volumes that the denoiser takes

  // The samples `first` ... `first` + batch - 1, standardised: [B, V].
  std::vector<float> run(std::int64_t first);

 private:
  void start(std::int64_t first);  // noise and what it is added to in x, zeros in all else, counter at row 0
  void step();                     // gather the row, evaluate, update, advance the counter
  void capture();
  void compare(const std::vector<float>& x, const std::vector<float>& x0);
  SamplerStep update() const;

  Plan& denoiser_;
  const Inputs& inputs_;
  const Stream& stream_;
  std::int64_t batch_, voxels_;
  // Tables, a row a step.
  DeviceArray<float> rows_;
  DeviceArray<double> coefficients_, noise_only_;
  DeviceArray<std::int64_t> timesteps_;
  // What a step reads and writes; the graph holds these addresses.
  DeviceArray<std::int64_t> counter_, subjects_, samples_;
  DeviceArray<float> x_, x0_, output_, biases_;
  std::optional<DeviceArray<float>> guide_;
  cudaGraph_t graph_ = nullptr;
  cudaGraphExec_t executable_ = nullptr;
};

}  // namespace mri2pet::example
