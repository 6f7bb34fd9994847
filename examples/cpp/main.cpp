// Samples PET volumes of one MRI with two TensorRT plans: see README.md.
#include <cuda_runtime.h>

#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "checks.h"
#include "inputs.h"
#include "loop.h"
#include "npy.h"
#include "plan.h"

namespace mri2pet::example {
namespace {

constexpr const char* kUsage =
    "usage: mri2pet_sample PLANS INPUTS OUTPUT.npy\n"
    "  PLANS    folder of encoder.plan and denoiser.plan\n"
    "  INPUTS   folder that prepare.py wrote for one MRI and these plans\n"
    "  OUTPUT   float32 [samples, K, I, J], SUVR on the model's PET grid\n";

// Makes device 0 the current one; CUDA_VISIBLE_DEVICES says which that is.
void use_gpu(const std::string& expected) {
  check(cudaSetDevice(0), "cudaSetDevice");
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  if (properties.name != expected)
    fail("this GPU is a " + std::string(properties.name) +
         ", but the plans passed their self-test on a " + expected);
}

// The MRI's embedding, [E].
std::vector<float> encode(nvinfer1::IRuntime& runtime, const std::string& file,
                          const Inputs& inputs, const Stream& stream) {
  Plan encoder(runtime, file, inputs.encoder_sha256);
  if (encoder.tensor("mri").shape != inputs.mri.shape)
    fail("mri.npy: has the shape " + text(inputs.mri.shape) + ", but the encoder takes " +
         text(encoder.tensor("mri").shape));
  const DeviceArray<float> mri(stream, inputs.mri.values);
  const DeviceArray<float> embedding(stream, count(encoder.tensor("embedding").shape));
  encoder.bind({{"mri", &mri}, {"embedding", &embedding}});
  encoder.enqueue(stream);
  return embedding.download();
}

void run(const std::string& plans, const Inputs& inputs, const std::string& output) {
  use_gpu(inputs.gpu);
  const Stream stream;
  Logger logger;
  const std::unique_ptr<nvinfer1::IRuntime> runtime(
      made(nvinfer1::createInferRuntime(logger), "createInferRuntime"));
  const std::vector<float> rows =
      bias_rows(inputs, encode(*runtime, plans + "/encoder.plan", inputs, stream));
  Plan denoiser(*runtime, plans + "/denoiser.plan", inputs.denoiser_sha256);
  Loop loop(denoiser, inputs, rows, stream);

  const Shape& x = denoiser.tensor("x_t").shape;
  Array<float> suvr{{inputs.samples}, {}};
  suvr.shape.insert(suvr.shape.end(), x.begin() + 2, x.end());
  const std::size_t wanted = static_cast<std::size_t>(count(suvr.shape));
  for (std::int64_t first = 0; first < inputs.samples; first += loop.batch()) {
    for (const float value : loop.run(first))
      suvr.values.push_back(static_cast<float>(value * inputs.pet_std + inputs.pet_mean));
  }
  suvr.values.resize(wanted);  // the last batch may hold more samples than were asked for
  write_npy(output, suvr);
}

}  // namespace
}  // namespace mri2pet::example

int main(int count, char** arguments) {
  if (count != 4) {
    std::fputs(mri2pet::example::kUsage, stderr);
    return 2;
  }
  try {
    mri2pet::example::run(arguments[1], mri2pet::example::read_inputs(arguments[2]), arguments[3]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "mri2pet_sample: error: %s\n", error.what());
    return 1;
  }
  return 0;
}
