#include "loop.h"

#include <cmath>
#include <numeric>

#include "checks.h"
#include "step_kernels.h"

namespace mri2pet::example {
namespace {

constexpr double kTolerance = 1e-3;  // of the first replay beside a plain step, relative

// a = c = 1 and nothing else: the update adds its noise.
const std::vector<double> kNoiseOnly = {1, 0, 1, 0, 0, 0};

// One volume after the other, as many as the batch holds.
std::vector<float> repeated(const std::vector<float>& one, std::int64_t batch) {
  std::vector<float> all;
  for (std::int64_t i = 0; i < batch; ++i) all.insert(all.end(), one.begin(), one.end());
  return all;
}

double difference(const std::vector<float>& a, const std::vector<float>& b) {
  double apart = 0, size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    apart += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
    size += double{b[i]} * b[i];
  }
  return std::sqrt(apart / size);
}

}  // namespace

Loop::Loop(Plan& denoiser, const Inputs& inputs, const std::vector<float>& rows,
           const Stream& stream)
    : denoiser_(denoiser),
      inputs_(inputs),
      stream_(stream),
      batch_(denoiser.tensor("x_t").shape.at(0)),
      voxels_(count(denoiser.tensor("x_t").shape) / batch_),
      rows_(stream, rows),
      coefficients_(stream, inputs.coefficients.values),
      noise_only_(stream, kNoiseOnly),
      timesteps_(stream, inputs.timesteps.values),
      counter_(stream, 1),
      subjects_(stream, std::vector<std::int64_t>(batch_, inputs.subject)),
      samples_(stream, batch_),
      x_(stream, batch_ * voxels_),
      x0_(stream, batch_ * voxels_),
      output_(stream, batch_ * voxels_),
      biases_(stream, batch_ * inputs.biases()) {
  std::map<std::string, const DeviceArray<float>*> arrays = {
      {"x_t", &x_}, {"block_biases", &biases_}, {"output", &output_}};
  if (inputs.guide) {
    guide_.emplace(stream, repeated(inputs.guide->values, batch_));
    arrays["guide"] = &*guide_;
  }
  denoiser_.bind(arrays);
  // A plain run first: it lets TensorRT settle before the capture, and shows what to expect.
  start(0);
  step();
  stream_.wait();
  const std::vector<float> x = x_.download(), x0 = x0_.download();
  capture();
  compare(x, x0);
}

Loop::~Loop() {
  cudaGraphExecDestroy(executable_);
  cudaGraphDestroy(graph_);
}

std::vector<float> Loop::run(std::int64_t first) {
  start(first);
  for (std::int64_t i = 0; i < inputs_.steps(); ++i)
    check(cudaGraphLaunch(executable_, stream_.get()), "cudaGraphLaunch");
  return x_.download();
}

SamplerStep Loop::update() const {
  SamplerStep p;
  p.batch = batch_;
  p.voxels = voxels_;
  p.x = p.new_x = x_.data();
  p.output = output_.data();
  p.previous_x0 = p.x0 = x0_.data();
  p.coefficients = coefficients_.data();
  p.row = counter_.data();
  p.timesteps = timesteps_.data();
  p.subjects = subjects_.data();
  p.samples = samples_.data();
  p.seed = inputs_.seed;
  p.resources.stream = stream_.get();
  return p;
}

void Loop::start(std::int64_t first) {
  std::vector<std::int64_t> samples(batch_);
  std::iota(samples.begin(), samples.end(), first);
  samples_.upload(samples);
  counter_.clear();
  x_.upload(repeated(inputs_.start.values, batch_));
  x0_.clear();
  output_.clear();
  biases_.clear();
  SamplerStep noise = update();
  noise.coefficients = noise_only_.data();
  noise.row = noise.timesteps = nullptr;
  noise.step = inputs_.noise_step;
  check(cuda::sampler_step(noise), "sampler_step of the first noise");
}

void Loop::step() {
  const GatherRow gather{rows_.data(), counter_.data(), biases_.data(), inputs_.biases(), batch_};
  check(gather_row(gather, stream_.get()), "gather_row");
  denoiser_.enqueue(stream_);
  check(cuda::sampler_step(update()), "sampler_step");
  check(advance({counter_.data()}, stream_.get()), "advance");
}

void Loop::capture() {
  check(cudaStreamBeginCapture(stream_.get(), cudaStreamCaptureModeThreadLocal),
        "cudaStreamBeginCapture");
  step();
  check(cudaStreamEndCapture(stream_.get(), &graph_), "cudaStreamEndCapture");
  std::size_t nodes = 0;
  check(cudaGraphGetNodes(graph_, nullptr, &nodes), "cudaGraphGetNodes");
  if (nodes == 0) fail("cudaStreamEndCapture failed: the captured graph is empty");
  check(cudaGraphInstantiateWithFlags(&executable_, graph_, 0), "cudaGraphInstantiateWithFlags");
}

// A capture that failed can leave a graph that does less, without an error.
void Loop::compare(const std::vector<float>& x, const std::vector<float>& x0) {
  start(0);
  check(cudaGraphLaunch(executable_, stream_.get()), "cudaGraphLaunch");
  const double apart = std::fmax(difference(x_.download(), x), difference(x0_.download(), x0));
  if (!(apart <= kTolerance))
    fail("the CUDA graph gives another result than a plain step (relative " +
         std::to_string(apart) + ")");
  if (counter_.download()[0] != 1) fail("the CUDA graph does not advance the row of the tables");
}

}  // namespace mri2pet::example
