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

  // Overwrites the padding of x.
  Moments moments_of(T* x, const NormBlock& block) const {
    Vec<T> total = {};
    for (std::int64_t i = 0; i < block.padded; i += kLanes<T>) total += load(x + i);
    const T mean = sum_lanes<T>(total) / block.count;
    for (std::int64_t i = block.count; i < block.padded; ++i) x[i] = mean;
    Vec<T> squares = {};
    for (std::int64_t i = 0; i < block.padded; i += kLanes<T>) {
      const Vec<T> d = load(x + i) - mean;
      squares += d * d;
    }
    return {static_cast<double>(block.count), mean, sum_lanes<T>(squares)};
  }

  void measure(std::int64_t task, int id) const {
    const std::int64_t b = task / plan.chunks, chunk = task % plan.chunks;
    T* x = worker + id * 2 * plan.block;
    const std::int64_t start = plan.start(p.x_strides, b, chunk / plan.run_chunks);
    Moments all = {0, 0, 0};
    NormBlock block;
    for (std::int64_t i = 0; next_norm_block<T>(plan, chunk, i, block); ++i) {
      load_run(p.x, p.dtype, start, block, x);
      all.merge(moments_of(x, block));
    }
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
    T* x = worker + id * 2 * plan.block;
    T* residual = x + plan.block;
    NormBlock block;
    for (std::int64_t i = 0; next_norm_block<T>(plan, chunk, i, block); ++i) {
      load_run(p.x, p.dtype, plan.start(p.x_strides, b, run), block, x);
      if (p.residual != nullptr)
        load_run(p.residual, p.dtype, plan.start(p.residual_strides, b, run), block, residual);
      for (std::int64_t k = 0, j = 0; k < block.padded; k += kLanes<T>) {
        Vec<T> h = (load(x + k) - mean) * load(own.scale + j) + load(own.shift + j);
        if (p.residual != nullptr) h += load(residual + k);
        store(x + k, p.gelu ? h * normal(h).integral : h);
        j += kLanes<T>;
        if (j == plan.period) j = 0;
      }
      narrow(x, block.count, p.y, p.dtype, plan.start(p.y_strides, b, run) + block.first);
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
