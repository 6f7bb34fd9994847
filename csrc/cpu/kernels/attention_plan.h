// How the attention's work is cut: the same for both passes, and for any number of threads.
#pragma once

#include "gemm.h"
#include "mri2pet/linear_attention.h"
#include "workspace.h"

namespace mri2pet::cpu::MRI2PET_BUILD {

constexpr std::int64_t kRowTile = 8;        // rows of Wk x that are alive at a time
constexpr std::int64_t kMostChunks = 32;    // parts of N with partial sums of their own
constexpr std::int64_t kBlockValues = 4096;  // of X in a block: it stays in the first cache
constexpr std::int64_t kVoxelPad = 16;      // a multiple of W in every build

struct AttentionPlan {
  std::int64_t depth;          // D
  std::int64_t rows;           // D, padded
  std::int64_t columns;        // C, padded
  std::int64_t block;          // voxels a block
  std::int64_t chunk_voxels;   // a multiple of `block`
  std::int64_t chunks;         // a sample
  std::int64_t scratch;        // values for load_block and store_block

  template <typename Params>
  explicit AttentionPlan(const Params& p) {
    depth = p.heads * p.width;
    rows = round_up(depth, kRowTile);
    columns = round_up(p.channels, kRowPad);
    block = larger(64, smaller(512, kBlockValues / columns / 64 * 64));
    block = smaller(block, round_up(p.voxels, kVoxelPad));
    chunk_voxels = round_up((p.voxels + kMostChunks - 1) / kMostChunks, block);
    chunks = (p.voxels + chunk_voxels - 1) / chunk_voxels;
    scratch = block_scratch(p.channels, block);
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
  for (std::int64_t i = 0; i < padded_rows; ++i)
    for (std::int64_t j = 0; j < padded_columns; ++j)
      to[i * padded_columns + j] =
          i < rows && j < columns ? from[i * columns + j] * factor : T(0);
}

template <typename T>
inline void transpose(const T* from, std::int64_t rows, std::int64_t columns, T* to) {
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < columns; ++j) to[j * rows + i] = from[i * columns + j];
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
