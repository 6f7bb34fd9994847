// Backward pass: sums of dh and dh xhat for each channel, then one pass for the gradients.
#include "../parallel.h"
#include "math.h"
#include "norm_plan.h"

namespace mri2pet::cpu::MRI2PET_BUILD {
namespace {

template <typename T>
struct Backward {
  const GroupNormGeluBackward& p;
  NormPlan plan;
  std::int64_t part_channels;  // C of a chunk that holds all channels, else 1
  double* parts;               // [B, chunks, 2, part_channels]: sums of dh, of dh xhat
  double* sums;                // [B, 2, C]
  T* means;                    // [B, 2]: of weight dh, of weight dh xhat
  Spread<T> spread;
  T* lanes;   // [threads, 2, period]
  T* worker;  // [threads, 3 blocks]
  std::int64_t bytes;

  explicit Backward(const GroupNormGeluBackward& params)
      : p(params), plan(NormPlan::of<T>(params)) {
    part_channels = plan.last ? p.channels : 1;
    Arena arena(p.resources.workspace);
    parts = arena.take<double>(p.batch * plan.chunks * 2 * part_channels);
    sums = arena.take<double>(p.batch * 2 * p.channels);
    means = arena.take<T>(p.batch * 2);
    spread = Spread<T>::take(arena, p.resources.threads, plan.period);
    lanes = arena.take<T>(p.resources.threads * 2 * plan.period);
    worker = arena.take<T>(p.resources.threads * 3 * plan.block);
    bytes = arena.bytes();
  }

  // A block of what is read; `residual` is null where it does not matter.
  struct Inputs {
    const T *x, *residual, *grad;
  };

  Inputs load_all(std::int64_t b, std::int64_t run, const NormBlock& block, T* buffer) const {
    const bool added = p.residual != nullptr && p.gelu;
    return {values_of(p.x, p.dtype, plan.start(p.x_strides, b, run), block, buffer),
            added ? values_of(p.residual, p.dtype, plan.start(p.residual_strides, b, run), block,
                              buffer + plan.block)
                  : nullptr,
            values_of(p.grad_y, p.dtype, plan.start(p.grad_y_strides, b, run), block,
                      buffer + 2 * plan.block)};
  }

  // dh of one vector; `centred` is x - mean.
  Vec<T> slope(const Inputs& from, const Spread<T>& own, std::int64_t k, std::int64_t j,
               Vec<T> centred) const {
    const Vec<T> grad = load(from.grad + k);
    if (!p.gelu) return grad;
    Vec<T> h = centred * load(own.scale + j) + load(own.shift + j);
    if (from.residual != nullptr) h += load(from.residual + k);
    const Normal<T> at = normal(h);
    return grad * (at.integral + h * at.density);
  }

  void sum(std::int64_t task, int id) const {
    const std::int64_t b = task / plan.chunks, chunk = task % plan.chunks;
    const std::int64_t run = chunk / plan.run_chunks;
    const T mean = static_cast<const T*>(p.mean)[b], rstd = static_cast<const T*>(p.rstd)[b];
    const Spread<T> own = spread.of_worker(id, plan.period);
    own.fill(p, plan, b, run, rstd);
    double* part = parts + task * 2 * part_channels;
    for (std::int64_t c = 0; c < 2 * part_channels; ++c) part[c] = 0;
    T* slopes = lanes + id * 2 * plan.period;
    T* products = slopes + plan.period;
    NormBlock block;
    for (std::int64_t i = 0; next_norm_block<T>(plan, chunk, i, block); ++i) {
      const Inputs from = load_all(b, run, block, worker + id * 3 * plan.block);
      std::memset(slopes, 0, 2 * plan.period * sizeof(T));
      for (std::int64_t k = 0, j = 0; k < block.padded; k += kLanes<T>) {
        // grad_y of padding is 0, and so is its dh.
        const Vec<T> centred = load(from.x + k) - mean;
        const Vec<T> dh = slope(from, own, k, j, centred);
        store(slopes + j, load(slopes + j) + dh);
        store(products + j, load(products + j) + dh * centred);
        j += kLanes<T>;
        if (j == plan.period) j = 0;
      }
      for (std::int64_t j = 0; j < plan.period; ++j) {
        const std::int64_t c = plan.last ? j % p.channels : 0;
        part[c] += slopes[j];
        part[part_channels + c] += static_cast<double>(products[j]) * rstd;
      }
    }
  }

  // The chunks, in order, to the sums of each sample and channel, and these to the weights'.
  void merge() const {
    const std::int64_t C = p.channels;
    auto* grad_weight = static_cast<T*>(p.grad_weight);
    auto* grad_bias = static_cast<T*>(p.grad_bias);
    auto* grad_channel_bias = static_cast<T*>(p.grad_channel_bias);
    std::memset(sums, 0, p.batch * 2 * C * sizeof(double));
    for (std::int64_t b = 0; b < p.batch; ++b) {
      double* own = sums + b * 2 * C;
      for (std::int64_t k = 0; k < plan.chunks; ++k) {
        const double* part = parts + (b * plan.chunks + k) * 2 * part_channels;
        for (std::int64_t i = 0; i < part_channels; ++i) {
          const std::int64_t c = plan.last ? i : k / plan.run_chunks;
          own[c] += part[i];
          own[C + c] += part[part_channels + i];
        }
      }
      double mean_slope = 0, mean_product = 0;
      for (std::int64_t c = 0; c < C; ++c) {
        const double w = static_cast<const T*>(p.weight)[c];
        mean_slope += w * own[c];
        mean_product += w * own[C + c];
        if (grad_channel_bias != nullptr) grad_channel_bias[b * C + c] = static_cast<T>(own[c]);
      }
      means[2 * b] = static_cast<T>(mean_slope / static_cast<double>(plan.values));
      means[2 * b + 1] = static_cast<T>(mean_product / static_cast<double>(plan.values));
    }
    for (std::int64_t c = 0; c < C; ++c) {
      double slope_sum = 0, product_sum = 0;
      for (std::int64_t b = 0; b < p.batch; ++b) {
        slope_sum += sums[b * 2 * C + c];
        product_sum += sums[b * 2 * C + C + c];
      }
      grad_bias[c] = static_cast<T>(slope_sum);
      grad_weight[c] = static_cast<T>(product_sum);
    }
  }

  void apply(std::int64_t task, int id) const {
    const std::int64_t b = task / plan.chunks, chunk = task % plan.chunks;
    const std::int64_t run = chunk / plan.run_chunks;
    const T mean = static_cast<const T*>(p.mean)[b], rstd = static_cast<const T*>(p.rstd)[b];
    const T mean_slope = means[2 * b], per_centred = means[2 * b + 1] * rstd;
    const Spread<T> own = spread.of_worker(id, plan.period);
    own.fill(p, plan, b, run, rstd);
    T* buffer = worker + id * 3 * plan.block;
    T* grad_buffer = buffer + 2 * plan.block;
    const std::int64_t x_start = plan.start(p.grad_x_strides, b, run);
    const std::int64_t residual_start = plan.start(p.grad_residual_strides, b, run);
    NormBlock block;
    for (std::int64_t i = 0; next_norm_block<T>(plan, chunk, i, block); ++i) {
      const Inputs from = load_all(b, run, block, buffer);
      T* grad_x = place_of(p.grad_x, p.dtype, x_start, block, buffer);
      T* grad_residual = p.grad_residual == nullptr
                             ? nullptr
                             : place_of(p.grad_residual, p.dtype, residual_start, block, grad_buffer);
      for (std::int64_t k = 0, j = 0; k < block.padded; k += kLanes<T>) {
        const Vec<T> centred = load(from.x + k) - mean;
        const Vec<T> dh = slope(from, own, k, j, centred);
        const Vec<T> inner = dh * load(own.weight + j) - mean_slope - centred * per_centred;
        store(grad_x + k, rstd * inner);
        if (grad_residual != nullptr) store(grad_residual + k, dh);
        j += kLanes<T>;
        if (j == plan.period) j = 0;
      }
      finish(buffer, p.grad_x, p.dtype, x_start, block);
      if (grad_residual != nullptr)
        finish(grad_buffer, p.grad_residual, p.dtype, residual_start, block);
    }
  }

  void run() {
    const int threads = p.resources.threads;
    const auto self = static_cast<void*>(this);
    parallel_for(
        threads, p.batch * plan.chunks,
        [](void* f, std::int64_t task, int id) { static_cast<Backward*>(f)->sum(task, id); }, self);
    merge();
    parallel_for(
        threads, p.batch * plan.chunks,
        [](void* f, std::int64_t task, int id) { static_cast<Backward*>(f)->apply(task, id); },
        self);
  }
};

}  // namespace

std::int64_t group_norm_gelu_backward_bytes(const GroupNormGeluBackward& p) {
  return accumulates_in_f64(p.dtype) ? Backward<double>(p).bytes : Backward<float>(p).bytes;
}

void group_norm_gelu_backward_kernel(const GroupNormGeluBackward& p) {
  if (accumulates_in_f64(p.dtype)) {
    Backward<double>(p).run();
  } else {
    Backward<float>(p).run();
  }
}

}  // namespace mri2pet::cpu::MRI2PET_BUILD
