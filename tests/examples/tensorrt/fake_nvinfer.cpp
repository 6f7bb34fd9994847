// Two engines that compute a simple function, behind the interfaces of NvInfer.h.
//
// A plan is a text: "encoder" or "denoiser", then each tensor's name, its number of sizes and them.
// As TensorRT does, every call tells of a failure by its value alone.
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "NvInfer.h"

namespace {

using cuda_emulation::fails;
using nvinfer1::Dims;

struct Tensor {
  std::string name;
  Dims dims{};
  std::int64_t count() const {
    std::int64_t n = 1;
    for (int i = 0; i < dims.nbDims; ++i) n *= dims.d[i];
    return n;
  }
};

struct Call {
  std::map<std::string, float*> data;
  std::map<std::string, std::int64_t> count;
  std::int64_t batch = 1;
};

// embedding[j] = mean(mri) (j + 1) / E + mri[j]
void encode(const Call& c) {
  const std::int64_t voxels = c.count.at("mri"), width = c.count.at("embedding");
  const float* mri = c.data.at("mri");
  double mean = 0;
  for (std::int64_t i = 0; i < voxels; ++i) mean += mri[i];
  mean /= voxels;
  for (std::int64_t j = 0; j < width; ++j)
    c.data.at("embedding")[j] = static_cast<float>(mean * (j + 1) / width + mri[j % voxels]);
}

// output = 0.3 x_t + sum_j block_biases[j] ((j % 7) - 3) / 70 + 0.1 guide
void denoise(const Call& c) {
  const std::int64_t voxels = c.count.at("x_t") / c.batch;
  const std::int64_t width = c.count.at("block_biases") / c.batch;
  const auto mri = c.data.find("guide");
  for (std::int64_t b = 0; b < c.batch; ++b) {
    double shift = 0;
    for (std::int64_t j = 0; j < width; ++j)
      shift += double{c.data.at("block_biases")[b * width + j]} * (j % 7 - 3) / 70;
    for (std::int64_t v = b * voxels; v < (b + 1) * voxels; ++v) {
      const float seen = mri == c.data.end() ? 0.0f : mri->second[v];
      c.data.at("output")[v] =
          static_cast<float>(0.3 * c.data.at("x_t")[v] + shift + 0.1 * seen);
    }
  }
}

class Context : public nvinfer1::IExecutionContext {
 public:
  Context(bool encoder, const std::vector<Tensor>& tensors)
      : encoder_(encoder), tensors_(tensors) {
    for (const Tensor& t : tensors_) call_.count[t.name] = t.count();
    call_.batch = tensors_[0].dims.d[0];
  }
  bool setTensorAddress(char const* name, void* data) noexcept override {
    if (fails("setTensorAddress") || call_.count.count(name) == 0) return false;
    call_.data[name] = static_cast<float*>(data);
    return true;
  }
  int32_t inferShapes(int32_t, char const**) noexcept override {
    if (fails("inferShapes")) return -1;
    return static_cast<int32_t>(tensors_.size() - call_.data.size());
  }
  bool enqueueV3(cudaStream_t stream) noexcept override {
    if (fails("enqueueV3") || stream == nullptr || call_.data.size() != tensors_.size())
      return false;
    const auto function = encoder_ ? encode : denoise;
    return cuda_emulation::submit(stream, [function, call = call_] {
             function(call);
             return 0;
           }) == 0;
  }

 private:
  bool encoder_;
  std::vector<Tensor> tensors_;
  Call call_;
};

class Engine : public nvinfer1::ICudaEngine {
 public:
  explicit Engine(std::istream& plan) {
    std::string kind;
    plan >> kind;
    encoder_ = kind == "encoder";
    for (Tensor t; plan >> t.name >> t.dims.nbDims;) {
      for (int i = 0; i < t.dims.nbDims; ++i) plan >> t.dims.d[i];
      tensors_.push_back(t);
    }
    good_ = (encoder_ || kind == "denoiser") && plan.eof() && !tensors_.empty();
  }
  bool good() const { return good_; }
  nvinfer1::IExecutionContext* createExecutionContext(
      nvinfer1::ExecutionContextAllocationStrategy) noexcept override {
    return fails("createExecutionContext") ? nullptr : new Context(encoder_, tensors_);
  }
  int32_t getNbIOTensors() const noexcept override {
    return fails("getNbIOTensors") ? 0 : static_cast<int32_t>(tensors_.size());
  }
  char const* getIOTensorName(int32_t index) const noexcept override {
    return fails("getIOTensorName") ? nullptr : tensors_[index].name.c_str();
  }
  Dims getTensorShape(char const* name) const noexcept override {
    Dims unknown{};
    unknown.nbDims = -1;
    for (const Tensor& t : tensors_)
      if (t.name == name && !fails("getTensorShape")) return t.dims;
    return unknown;
  }
  nvinfer1::DataType getTensorDataType(char const*) const noexcept override {
    return fails("getTensorDataType") ? nvinfer1::DataType::kHALF : nvinfer1::DataType::kFLOAT;
  }

 private:
  bool encoder_ = false, good_ = false;
  std::vector<Tensor> tensors_;
};

class Runtime : public nvinfer1::IRuntime {
 public:
  explicit Runtime(nvinfer1::ILogger* logger) : logger_(logger) {}
  nvinfer1::ICudaEngine* deserializeCudaEngine(void const* blob, std::size_t size)
      noexcept override {
    std::istringstream plan(std::string(static_cast<const char*>(blob), size));
    auto* engine = new Engine(plan);
    if (engine->good() && !fails("deserializeCudaEngine")) return engine;
    logger_->log(nvinfer1::ILogger::Severity::kERROR, "the plan cannot be read");
    delete engine;
    return nullptr;
  }

 private:
  nvinfer1::ILogger* logger_;
};

}  // namespace

extern "C" void* createInferRuntime_INTERNAL(void* logger, int32_t) noexcept {
  return fails("createInferRuntime") ? nullptr
                                     : new Runtime(static_cast<nvinfer1::ILogger*>(logger));
}
