// Forward pass: mean and variance of each sample from its chunks, then one pass for all the rest.
#include "../parallel.h"
#include "math.h"
#include "norm_plan.h"

namespace mri2pet::cpu::MRI2PET_BUILD {
namespace {

struct Moments {
  double count, mean, squares;  // squares: sum (x - mean)^2

  // Chan, Golub & LeVeque 1983.
  void merge(const Moments& other) {
    const double total = count + other.count, distance = other.mean - mean;
    mean += distance * other.count / total;
    squares += other.squares + distance * distance * count * other.count / total;
    count = total;
  }
};

template <typename T>
struct Forward {
  const GroupNormGeluForward& p;
  NormPlan plan;
  Moments* parts;  // [B, chunks]
  Spread<T> spread;
  T* worker;  // [threads, 2 blocks]
  std::int64_t bytes;

  explicit Forward(const GroupNormGeluForward& params)
      : p(params), plan(NormPlan::of<T>(params)) {
    Arena arena(p.resources.workspace);
    parts = arena.take<Moments>(p.batch * plan.chunks);
    spread = Spread<T>::take(arena, p.resources.threads, plan.period);
    worker = arena.take<T>(p.resources.threads * 2 * plan.block);
    bytes = arena.bytes();
  }

  // Four sums side by side, as one would wait for each addition.
  static constexpr int kSums = 4;
  struct Sums {
    Vec<T> part[kSums] = {};
    T total() const { return sum_lanes<T>((part[0] + part[1]) + (part[2] + part[3])); }
  };

  Moments moments_of(std::int64_t start, const NormBlock& block, T* buffer) const {
    constexpr int W = kLanes<T>;
    const T* x = values_of(p.x, p.dtype, start, block, buffer);
    Sums sum;
    std::int64_t i = 0;
    for (; i + kSums * W <= block.padded; i += kSums * W)
      for (int k = 0; k < kSums; ++k) sum.part[k] += load(x + i + k * W);
    for (; i < block.padded; i += W) sum.part[0] += load(x + i);
    const T mean = sum.total() / block.count;
    for (i = block.count; i < block.padded; ++i) buffer[i] = mean;  // x is the buffer then
    Sums squares;
    const auto add = [&](std::int64_t at, Vec<T>& to) {
      const Vec<T> d = load(x + at) - mean;
      to += d * d;
    };
    for (i = 0; i + kSums * W <= block.padded; i += kSums * W)
      for (int k = 0; k < kSums; ++k) add(i + k * W, squares.part[k]);
    for (; i < block.padded; i += W) add(i, squares.part[0]);
    return {static_cast<double>(block.count), mean, squares.total()};
  }

  void measure(std::int64_t task, int id) const {
    const std::int64_t b = task / plan.chunks, chunk = task % plan.chunks;
    const std::int64_t start = plan.start(p.x_strides, b, chunk / plan.run_chunks);
    Moments all = {0, 0, 0};
    NormBlock block;
    for (std::int64_t i = 0; next_norm_block<T>(plan, chunk, i, block); ++i)
      all.merge(moments_of(start, block, worker + id * 2 * plan.block));
    parts[task] = all;
  }

  void merge(std::int64_t b) const {
    Moments all = {0, 0, 0};
    for (std::int64_t k = 0; k < plan.chunks; ++k) all.merge(parts[b * plan.chunks + k]);
    static_cast<T*>(p.mean)[b] = static_cast<T>(all.mean);
    static_cast<T*>(p.rstd)[b] =
        static_cast<T>(1 / __builtin_sqrt(all.squares / all.count + p.eps));
  }

  void apply(std::int64_t task, int id) const {
    const std::int64_t b = task / plan.chunks, chunk = task % plan.chunks;
    const std::int64_t run = chunk / plan.run_chunks;
    const T mean = static_cast<const T*>(p.mean)[b];
    const Spread<T> own = spread.of_worker(id, plan.period);
    own.fill(p, plan, b, run, static_cast<const T*>(p.rstd)[b]);
    T* buffer = worker + id * 2 * plan.block;
    const std::int64_t x_start = plan.start(p.x_strides, b, run);
    const std::int64_t y_start = plan.start(p.y_strides, b, run);
    const std::int64_t residual_start = plan.start(p.residual_strides, b, run);
    NormBlock block;
    for (std::int64_t i = 0; next_norm_block<T>(plan, chunk, i, block); ++i) {
      const T* x = values_of(p.x, p.dtype, x_start, block, buffer);
      const T* residual = p.residual == nullptr ? nullptr
                                                : values_of(p.residual, p.dtype, residual_start,
                                                            block, buffer + plan.block);
      T* y = place_of(p.y, p.dtype, y_start, block, buffer);
      for (std::int64_t k = 0, j = 0; k < block.padded; k += kLanes<T>) {
        Vec<T> h = (load(x + k) - mean) * load(own.scale + j) + load(own.shift + j);
        if (residual != nullptr) h += load(residual + k);
        store(y + k, p.gelu ? h * normal(h).integral : h);
        j += kLanes<T>;
        if (j == plan.period) j = 0;
      }
      finish(buffer, p.y, p.dtype, y_start, block);
    }
  }

  void run() {
    const int threads = p.resources.threads;
    const auto self = static_cast<void*>(this);
    parallel_for(
        threads, p.batch * plan.chunks,
        [](void* f, std::int64_t task, int id) { static_cast<Forward*>(f)->measure(task, id); },
        self);
    for (std::int64_t b = 0; b < p.batch; ++b) merge(b);
    parallel_for(
        threads, p.batch * plan.chunks,
        [](void* f, std::int64_t task, int id) { static_cast<Forward*>(f)->apply(task, id); },
        self);
  }
};

}  // namespace

std::int64_t group_norm_gelu_forward_bytes(const GroupNormGeluForward& p) {
  return accumulates_in_f64(p.dtype) ? Forward<double>(p).bytes : Forward<float>(p).bytes;
}

void group_norm_gelu_forward_kernel(const GroupNormGeluForward& p) {
  if (accumulates_in_f64(p.dtype)) {
    Forward<double>(p).run();
  } else {
    Forward<float>(p).run();
  }
}

}  // namespace mri2pet::cpu::MRI2PET_BUILD
