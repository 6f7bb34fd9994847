// How the attention's work is cut: the same for both passes, and for any number of threads.
#pragma once

#include "gemm.h"
#include "mri2pet/linear_attention.h"
#include "workspace.h"

namespace mri2pet::cpu::MRI2PET_BUILD {

constexpr std::int64_t kRowTile = 8;        // rows of Wk x that are alive at a time
constexpr std::int64_t kMostChunks = 32;    // parts of N with partial sums of their own
constexpr std::int64_t kBlockValues = 4096;  // of X in a block: it stays in the first cache
constexpr std::int64_t kLeastBlock = 128;  // voxels: sums of fewer are mostly sums over lanes
constexpr std::int64_t kVoxelPad = 16;      // a multiple of W in every build
// Products of X and Wk below which waking other threads costs about as much as they save.
constexpr std::int64_t kAlone = std::int64_t{1} << 22;

struct AttentionPlan {
  std::int64_t depth;          // D
  std::int64_t rows;           // D, padded
  std::int64_t columns;        // C, padded
  std::int64_t block;          // voxels a block
  std::int64_t chunk_voxels;   // a multiple of `block`
  std::int64_t chunks;         // a sample
  std::int64_t scratch;        // values for load_block and store_block
  int threads;

  template <typename Params>
  explicit AttentionPlan(const Params& p) {
    depth = p.heads * p.width;
    rows = round_up(depth, kRowTile);
    columns = round_up(p.channels, kRowPad);
    block = larger(kLeastBlock, smaller(512, kBlockValues / columns / 64 * 64));
    block = smaller(block, round_up(p.voxels, kVoxelPad));
    chunk_voxels = round_up((p.voxels + kMostChunks - 1) / kMostChunks, block);
    chunks = (p.voxels + chunk_voxels - 1) / chunk_voxels;
    scratch = block_scratch(p.channels, block);
    threads = p.batch * p.voxels * p.channels * depth < kAlone ? 1 : p.resources.threads;
  }
};

// The voxels of one block within a chunk.
struct Span {
  std::int64_t first, count, padded;
};

template <typename Params>
inline bool next_block(const Params& p, const AttentionPlan& plan, std::int64_t chunk,
                       std::int64_t index, Span& span) {
  const std::int64_t first = chunk * plan.chunk_voxels + index * plan.block;
  const std::int64_t end = smaller(p.voxels, (chunk + 1) * plan.chunk_voxels);
  if (first >= end) return false;
  span.first = first;
  span.count = smaller(plan.block, end - first);
  span.padded = round_up(span.count, kVoxelPad);
  return true;
}

// matrix [rows, columns] contiguous to [padded rows, padded columns] with zeros, times a factor.
template <typename T>
inline void pad_matrix(const T* from, std::int64_t rows, std::int64_t columns, T factor, T* to,
                       std::int64_t padded_rows, std::int64_t padded_columns) {
  for (std::int64_t i = 0; i < padded_rows; ++i) {
    T* row = to + i * padded_columns;
    const std::int64_t valid = i < rows ? columns : 0;
    for (std::int64_t j = 0; j < valid; ++j) row[j] = from[i * columns + j] * factor;
    for (std::int64_t j = valid; j < padded_columns; ++j) row[j] = 0;
  }
}

// A W x W block: each zip of one half of the rows with the other moves a bit of the row's number to
// the column's.
template <typename T>
inline void transpose_block(const T* from, std::int64_t row, T* to, std::int64_t to_row) {
  constexpr int W = kLanes<T>;
  Vec<T> v[W], u[W];
  for (int k = 0; k < W; ++k) v[k] = load(from + k * row);
  for (int stage = 1; stage < W; stage *= 2) {
    for (int k = 0; k < W / 2; ++k) {
      u[2 * k] = zip_low<T>(v[k], v[W / 2 + k]);
      u[2 * k + 1] = zip_high<T>(v[k], v[W / 2 + k]);
    }
    for (int k = 0; k < W; ++k) v[k] = u[k];
  }
  for (int k = 0; k < W; ++k) store(to + k * to_row, v[k]);
}

template <typename T>
inline void transpose(const T* from, std::int64_t rows, std::int64_t columns, T* to) {
  constexpr int W = kLanes<T>;
  for (std::int64_t i = 0; i < rows; i += W) {
    for (std::int64_t j = 0; j < columns; j += W) {
      if (i + W <= rows && j + W <= columns) {
        transpose_block(from + i * columns + j, columns, to + j * rows + i, rows);
        continue;
      }
      for (std::int64_t k = i; k < smaller(rows, i + W); ++k)
        for (std::int64_t l = j; l < smaller(columns, j + W); ++l)
          to[l * rows + k] = from[k * columns + l];
    }
  }
}

// A_h = ctx_h^T Wq_h of every head, [D, C], with ctx_h = S_h Wv_h^T (kept in `context`,
// [heads, width, width]). wv_t is [C, D]: Wv transposed.
template <typename T, typename Params>
inline void mix_values(const Params& p, const T* s, const T* w_q, const T* wv_t, T* context,
                       T* mixed) {
  const std::int64_t E = p.width, C = p.channels, D = p.heads * p.width;
  for (std::int64_t h = 0; h < p.heads; ++h) {
    T* ctx = context + h * E * E;
    small_product<T>({s + h * E * C, C, 1}, {wv_t + h * E, D, 1}, E, C, E, ctx, E, false);
    small_product<T>(Matrix<T>{ctx, E, 1}.transposed(), {w_q + h * E * C, C, 1}, E, E, C,
                     mixed + h * E * C, C, false);
  }
}

}  // namespace mri2pet::cpu::MRI2PET_BUILD
