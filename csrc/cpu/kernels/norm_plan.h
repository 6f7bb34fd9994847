// How the norm's work is cut, and its per-channel numbers spread over the values of a vector.
#pragma once

#include "blocks.h"
#include "mri2pet/group_norm_gelu.h"
#include "workspace.h"

namespace mri2pet::cpu::MRI2PET_BUILD {

constexpr std::int64_t kChunkValues = 65536;  // one task, with partial sums of its own
constexpr std::int64_t kBlockLength = 2048;   // values at a time; they stay in the first cache

inline std::int64_t common_multiple(std::int64_t a, std::int64_t b) {
  std::int64_t x = a, y = b;
  while (y != 0) {
    const std::int64_t rest = x % y;
    x = y;
    y = rest;
  }
  return a / x * b;
}

// A sample is `runs` runs of contiguous values: its channels, or, channels-last, all of it. Along a
// run the channel of a value repeats with `period`, a multiple of W; runs are cut into chunks and
// blocks at multiples of it.
struct NormPlan {
  bool last;
  std::int64_t channels, values, runs, run_length, run_stride, period, block, chunk_length;
  std::int64_t run_chunks, chunks;  // chunks of a run, of a sample

  template <typename T, typename Params>
  static NormPlan of(const Params& p) {
    NormPlan plan;
    plan.last = layout_of(p.x_strides, p.channels, p.voxels) == Layout::channels_last;
    plan.channels = p.channels;
    plan.values = p.channels * p.voxels;
    plan.runs = plan.last ? 1 : p.channels;
    plan.run_length = plan.last ? plan.values : p.voxels;
    plan.period = plan.last ? common_multiple(p.channels, kLanes<T>) : kLanes<T>;
    plan.block = larger(plan.period, kBlockLength / plan.period * plan.period);
    plan.chunk_length = round_up(kChunkValues, plan.block);
    plan.run_chunks = (plan.run_length + plan.chunk_length - 1) / plan.chunk_length;
    plan.chunks = plan.runs * plan.run_chunks;
    return plan;
  }

  // Where the values of a run begin.
  std::int64_t start(const Strides& s, std::int64_t b, std::int64_t run) const {
    return b * s.batch + (last ? 0 : run * s.channel);
  }
  std::int64_t channel(std::int64_t run, std::int64_t i) const { return last ? i % channels : run; }
};

// One block of a run: `first` counts values along the run.
struct NormBlock {
  std::int64_t first, count, padded;
};

template <typename T>
inline bool next_norm_block(const NormPlan& plan, std::int64_t chunk, std::int64_t index,
                            NormBlock& block) {
  const std::int64_t begin = chunk % plan.run_chunks * plan.chunk_length;
  const std::int64_t end = smaller(plan.run_length, begin + plan.chunk_length);
  block.first = begin + index * plan.block;
  if (block.first >= end) return false;
  block.count = smaller(plan.block, end - block.first);
  block.padded = round_up(block.count, kLanes<T>);
  return true;
}

// Whether a block of a tensor can be worked on where it lies: of T, in whole vectors.
template <typename T>
inline bool in_place(DType dtype, const NormBlock& block) {
  return dtype == (sizeof(T) == sizeof(double) ? DType::f64 : DType::f32) &&
         block.count == block.padded;
}

// The values of a block, where they lie or widened into the buffer, zero up to `padded` there.
template <typename T>
inline const T* values_of(const void* from, DType dtype, std::int64_t start, const NormBlock& block,
                          T* buffer) {
  if (in_place<T>(dtype, block)) return static_cast<const T*>(from) + start + block.first;
  widen(from, dtype, start + block.first, block.count, buffer);
  for (std::int64_t i = block.count; i < block.padded; ++i) buffer[i] = 0;
  return buffer;
}

// Where the results of a block go: their tensor, or the buffer, which `finish` narrows.
template <typename T>
inline T* place_of(void* to, DType dtype, std::int64_t start, const NormBlock& block, T* buffer) {
  return in_place<T>(dtype, block) ? static_cast<T*>(to) + start + block.first : buffer;
}

template <typename T>
inline void finish(const T* buffer, void* to, DType dtype, std::int64_t start,
                   const NormBlock& block) {
  if (!in_place<T>(dtype, block)) narrow(buffer, block.count, to, dtype, start + block.first);
}

// What a value needs of its channel, over one period: h = (x - mean) * scale + shift (+ residual).
template <typename T>
struct Spread {
  T *scale, *shift, *weight;  // [period]; weight only in the backward pass

  static Spread take(Arena& arena, std::int64_t threads, std::int64_t period) {
    T* memory = arena.take<T>(3 * threads * period);
    return {memory, memory + threads * period, memory + 2 * threads * period};
  }

  Spread of_worker(int id, std::int64_t period) const {
    return {scale + id * period, shift + id * period, weight + id * period};
  }

  template <typename Params>
  void fill(const Params& p, const NormPlan& plan, std::int64_t b, std::int64_t run, T rstd) const {
    const T* w = static_cast<const T*>(p.weight);
    const T* bias = static_cast<const T*>(p.bias);
    const T* more = static_cast<const T*>(p.channel_bias);
    for (std::int64_t i = 0; i < plan.period; ++i) {
      const std::int64_t c = plan.channel(run, i);
      weight[i] = w[c];
      scale[i] = w[c] * rstd;
      shift[i] = bias[c] + (more == nullptr ? T(0) : more[b * plan.channels + c]);
    }
  }
};

}  // namespace mri2pet::cpu::MRI2PET_BUILD
