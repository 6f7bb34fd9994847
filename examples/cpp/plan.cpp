#include "plan.h"

#include <cstdio>

#include "checks.h"
#include "sha256.h"

namespace mri2pet::example {
namespace {

constexpr std::uintptr_t kAlignment = 256;

}  // namespace

void Logger::log(Severity severity, nvinfer1::AsciiChar const* message) noexcept {
  if (severity <= Severity::kWARNING) std::fprintf(stderr, "TensorRT: %s\n", message);
}

Plan::Plan(nvinfer1::IRuntime& runtime, const std::string& file, const std::string& hash)
    : file_(file) {
  const std::string bytes = read_file(file);
  if (sha256(bytes) != hash)
    fail(file + ": not the plan that the inputs were prepared for (its hash differs)");
  engine_.reset(made(runtime.deserializeCudaEngine(bytes.data(), bytes.size()),
                     "deserializeCudaEngine of " + file));
  context_.reset(made(engine_->createExecutionContext(), "createExecutionContext of " + file));
  read_tensors();
}

void Plan::read_tensors() {
  const std::int32_t tensors = engine_->getNbIOTensors();
  check(tensors > 0, "getNbIOTensors of " + file_);
  for (std::int32_t i = 0; i < tensors; ++i) {
    const char* name = made(engine_->getIOTensorName(i), "getIOTensorName of " + file_);
    const nvinfer1::Dims dims = engine_->getTensorShape(name);
    check(dims.nbDims >= 0, std::string("getTensorShape(") + name + ")");
    if (engine_->getTensorDataType(name) != nvinfer1::DataType::kFLOAT)
      fail(file_ + ": getTensorDataType says that " + name + " is not float32");
    const Shape shape(dims.d, dims.d + dims.nbDims);
    for (const std::int64_t size : shape)
      if (size < 1) fail(file_ + ": getTensorShape says that " + name + " has no fixed shape");
    tensors_.push_back({name, shape});
  }
}

const Tensor& Plan::tensor(const std::string& name) const {
  for (const Tensor& tensor : tensors_)
    if (tensor.name == name) return tensor;
  fail(file_ + ": has no tensor " + name);
}

void Plan::bind(const std::map<std::string, const DeviceArray<float>*>& arrays) {
  for (const auto& [name, array] : arrays) tensor(name);
  for (const Tensor& tensor : tensors_) {
    const auto found = arrays.find(tensor.name);
    if (found == arrays.end()) fail(file_ + ": takes " + tensor.name + ", which is not given");
    const DeviceArray<float>& array = *found->second;
    if (array.count() != count(tensor.shape))
      fail(file_ + ": takes " + tensor.name + " " + text(tensor.shape) + ", not " +
           std::to_string(array.count()) + " values");
    if (reinterpret_cast<std::uintptr_t>(array.data()) % kAlignment != 0)
      fail(tensor.name + ": its memory does not start at a multiple of 256 bytes");
    check(context_->setTensorAddress(tensor.name.c_str(), array.data()),
          "setTensorAddress(" + tensor.name + ")");
  }
  check(context_->inferShapes(0, nullptr) == 0, "inferShapes of " + file_);
}

void Plan::enqueue(const Stream& stream) {
  check(context_->enqueueV3(stream.get()), "enqueueV3 of " + file_);
}

}  // namespace mri2pet::example
