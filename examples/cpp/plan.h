// A TensorRT plan: loaded, its tensors given their memory, and run.
#pragma once

#include <NvInfer.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "device_array.h"
#include "npy.h"

#if NV_TENSORRT_MAJOR < 10
#error "mri2pet_sample needs TensorRT 10.13 or later"
#endif

namespace mri2pet::example {

class Logger : public nvinfer1::ILogger {
 public:
  void log(Severity severity, nvinfer1::AsciiChar const* message) noexcept override;
};

struct Tensor {
  std::string name;
  Shape shape;
};

// One context; the runtime must live longer.
class Plan {
 public:
  // A plan is a program: a file with another hash than `sha256` is not handed to TensorRT.
  Plan(nvinfer1::IRuntime& runtime, const std::string& file, const std::string& sha256);

  // Throws when the plan has no such tensor.
  const Tensor& tensor(const std::string& name) const;

  // Gives each tensor of the plan its memory, once and for all; the names must be the plan's.
  void bind(const std::map<std::string, const DeviceArray<float>*>& arrays);

  // Queues one evaluation.
  void enqueue(const Stream& stream);

 private:
  void read_tensors();

  std::string file_;
  std::unique_ptr<nvinfer1::ICudaEngine> engine_;
  std::unique_ptr<nvinfer1::IExecutionContext> context_;
  std::vector<Tensor> tensors_;
};

}  // namespace mri2pet::example
