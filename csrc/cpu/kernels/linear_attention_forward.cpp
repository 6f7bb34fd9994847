// Forward pass: S by online softmax over blocks of voxels, then M, then Y = M X + b.
#include "../parallel.h"
#include "attention_plan.h"
#include "math.h"

namespace mri2pet::cpu::MRI2PET_BUILD {
namespace {

// Exponents are to base 2: log2(e) is in the keys' weights.
template <typename T>
struct Forward {
  const LinearAttentionForward& p;
  AttentionPlan plan;
  std::int64_t groups;  // parts of D with a task of their own, where N alone gives too few
  T *w_k, *wv_t;        // [rows, columns], [C, D]
  T *part_max, *part_sum, *part_s;  // [B, chunks, rows], ..., [B, chunks, rows * columns] in tiles
  T *m, *context, *mixed;           // [B, columns, columns], [B, heads, width, width], [B, D, C]
  T* worker;                        // [threads, worker_values]
  std::int64_t worker_values;
  View x, y;
  std::int64_t bytes;

  explicit Forward(const LinearAttentionForward& params) : p(params), plan(params) {
    const std::int64_t B = p.batch, C = p.channels, rows = plan.rows, columns = plan.columns;
    const bool few = B * plan.chunks < 16;
    groups = few && rows % (4 * kRowTile) == 0 ? 4 : 1;
    Arena arena(p.resources.workspace);
    w_k = arena.take<T>(rows * columns);
    wv_t = arena.take<T>(C * plan.depth);
    part_max = arena.take<T>(B * plan.chunks * rows);
    part_sum = arena.take<T>(B * plan.chunks * rows);
    part_s = arena.take<T>(B * plan.chunks * rows * columns);
    m = arena.take<T>(B * columns * columns);
    context = arena.take<T>(B * p.heads * p.width * p.width);
    mixed = arena.take<T>(B * plan.depth * C);
    worker_values = round_up((2 * columns + kRowTile) * plan.block + plan.scratch, kVoxelPad);
    worker = arena.take<T>(plan.threads * worker_values);
    bytes = arena.bytes();
    x = view(p.x, p.dtype, p.x_strides, C, p.voxels);
    y = view(p.y, p.dtype, p.y_strides, C, p.voxels);
  }

  void pack() {
    const std::int64_t C = p.channels, D = plan.depth;
    const T* w = static_cast<const T*>(p.w_qkv);
    pad_matrix<T>(w + D * C, D, C, static_cast<T>(kLog2E), w_k, plan.rows, plan.columns);
    transpose(w + 2 * D * C, D, C, wv_t);
  }

  // A new maximum: what was summed so far shrinks.
  void raise_maximum(T* max, T* sum, T* s, std::int64_t d, T to) const {
    Vec<T> shrink = exp2(splat(max[d] - to));
    const bool first = max[d] == -__builtin_inf();
    max[d] = to;
    if (first) return;
    sum[d] *= shrink[0];
    for (std::int64_t c = 0; c < plan.columns; ++c)
      s[tile_index<T>(d, c, plan.columns)] *= shrink[0];
  }

  // keys [n] of row d to exp2(keys - max), their sum added to sum[d].
  void exponentiate(T* keys, std::int64_t n, T* max, T* sum, T* s, std::int64_t d) const {
    Vec<T> top = load(keys);
    for (std::int64_t i = kLanes<T>; i < n; i += kLanes<T>) top = maximum<T>(top, load(keys + i));
    const T block_max = max_lanes<T>(top);
    if (!(block_max <= max[d])) raise_maximum(max, sum, s, d, block_max);
    Vec<T> total = {};
    const T shift = max[d];
    for (std::int64_t i = 0; i < n; i += kLanes<T>) {
      const Vec<T> e = exp2(load(keys + i) - shift);
      store(keys + i, e);
      total += e;
    }
    sum[d] += sum_lanes<T>(total);
  }

  // The sums of one chunk of one sample, for one group of the rows of D.
  void summarise(std::int64_t task, int id) const {
    const std::int64_t group = task % groups, part = task / groups;
    const std::int64_t b = part / plan.chunks, chunk = part % plan.chunks;
    const std::int64_t rows = plan.rows / groups, row0 = group * rows, columns = plan.columns;
    T* max = part_max + part * plan.rows;
    T* sum = part_sum + part * plan.rows;
    T* s = part_s + part * plan.rows * columns;
    for (std::int64_t d = row0; d < row0 + rows; ++d) {
      max[d] = -static_cast<T>(__builtin_inf());
      sum[d] = 0;
    }
    std::memset(s + row0 * columns, 0, rows * columns * sizeof(T));
    T* block = worker + id * worker_values;
    T* keys = block + columns * plan.block;
    T* scratch = keys + kRowTile * plan.block;
    Span span;
    for (std::int64_t i = 0; next_block(p, plan, chunk, i, span); ++i) {
      load_block(x, b, span.first, span.count, span.padded, block, plan.block, scratch);
      for (std::int64_t d = row0; d < row0 + rows; d += kRowTile) {
        expand<T>(w_k + d * columns, columns, 1, block, plan.block, kRowTile, columns, span.padded,
                  keys, plan.block, false);
        for (std::int64_t r = 0; r < kRowTile; ++r) {
          T* row = keys + r * plan.block;
          for (std::int64_t n = span.count; n < span.padded; ++n)
            row[n] = -static_cast<T>(__builtin_inf());
          exponentiate(row, span.padded, max, sum, s, d + r);
        }
        reduce<T>(keys, plan.block, block, plan.block, kRowTile, columns, span.padded,
                  s + d * columns);
      }
    }
  }

  // The chunks of kRowTile rows of a sample, in order, to S.
  void merge(std::int64_t task) const {
    const std::int64_t parts_of_d = plan.rows / kRowTile, b = task / parts_of_d;
    const std::int64_t C = p.channels, D = plan.depth, columns = plan.columns;
    const std::int64_t first = task % parts_of_d * kRowTile;
    T* row_max = static_cast<T*>(p.row_max) + b * D;
    T* row_sum = static_cast<T*>(p.row_sum) + b * D;
    T* s = static_cast<T*>(p.s) + b * D * C;
    // What a chunk counts for, row by row as in a column of tiles.
    constexpr int R = kTileRows<T>, S = kTileColumns<T>;
    T shares[kMostChunks][kRowTile * S], totals[kRowTile * S];
    for (std::int64_t r = 0; r < kRowTile; ++r) {
      const std::int64_t at = b * plan.chunks * plan.rows + first + r;
      T top = part_max[at], total = 0;
      for (std::int64_t k = 1; k < plan.chunks; ++k)
        top = part_max[at + k * plan.rows] > top ? part_max[at + k * plan.rows] : top;
      for (std::int64_t k = 0; k < plan.chunks; ++k) {
        const T share = exp2(splat(part_max[at + k * plan.rows] - top))[0];
        total += share * part_sum[at + k * plan.rows];
        for (int i = 0; i < S; ++i) shares[k][r * S + i] = share;
      }
      for (int i = 0; i < S; ++i) totals[r * S + i] = total;
      if (first + r >= D) continue;
      row_max[first + r] = top;
      row_sum[first + r] = total;
    }
    const T* parts = part_s + b * plan.chunks * plan.rows * columns;
    for (std::int64_t r = 0; r < smaller(kRowTile, D - first); r += R) {
      for (std::int64_t c = 0; c < C; c += S) {
        const T* tile = parts + tile_index<T>(first + r, c, columns);
        Vec<T> sum = {};
        for (std::int64_t k = 0; k < plan.chunks; ++k)
          sum += load(shares[k] + r * S) * load(tile + k * plan.rows * columns);
        store_tile<T>(sum / load(totals + r * S), D - first - r, C - c,
                      s + (first + r) * C + c, C);
      }
    }
  }

  // M of a sample from its S.
  void mix(std::int64_t b) const {
    const std::int64_t C = p.channels, D = plan.depth, columns = plan.columns;
    const T* s = static_cast<const T*>(p.s) + b * D * C;
    T* ctx = context + b * p.heads * p.width * p.width;
    T* a = mixed + b * D * C;
    T* small = static_cast<T*>(p.m) + b * C * C;
    mix_values<T>(p, s, static_cast<const T*>(p.w_qkv), wv_t, ctx, a);
    small_product<T>({static_cast<const T*>(p.w_out), D, 1}, {a, C, 1}, C, D, C, small, C, false);
    pad_matrix<T>(small, C, C, T(1), m + b * columns * columns, columns, columns);
  }

  void apply(std::int64_t task, int id) const {
    const std::int64_t b = task / plan.chunks, columns = plan.columns;
    T* block = worker + id * worker_values;
    T* out = block + columns * plan.block;
    T* scratch = out + columns * plan.block + kRowTile * plan.block;
    const T* bias = static_cast<const T*>(p.bias);
    Span span;
    for (std::int64_t i = 0; next_block(p, plan, task % plan.chunks, i, span); ++i) {
      load_block(x, b, span.first, span.count, span.padded, block, plan.block, scratch);
      for (std::int64_t c = 0; c < columns; ++c)
        for (std::int64_t n = 0; n < span.padded; ++n)
          out[c * plan.block + n] = c < p.channels ? bias[c] : T(0);
      expand<T>(m + b * columns * columns, columns, 1, block, plan.block, columns, columns,
                span.padded, out, plan.block, true);
      store_block(out, plan.block, y, b, span.first, span.count, scratch);
    }
  }

  void run() {
    const int threads = plan.threads;
    const auto self = static_cast<void*>(this);
    pack();
    parallel_for(
        threads, p.batch * plan.chunks * groups,
        [](void* f, std::int64_t task, int id) { static_cast<Forward*>(f)->summarise(task, id); },
        self);
    parallel_for(
        threads, p.batch * (plan.rows / kRowTile),
        [](void* f, std::int64_t task, int) { static_cast<Forward*>(f)->merge(task); }, self);
    parallel_for(
        threads, p.batch, [](void* f, std::int64_t b, int) { static_cast<Forward*>(f)->mix(b); },
        self);
    parallel_for(
        threads, p.batch * plan.chunks,
        [](void* f, std::int64_t task, int id) { static_cast<Forward*>(f)->apply(task, id); },
        self);
  }
};

}  // namespace

std::int64_t linear_attention_forward_bytes(const LinearAttentionForward& p) {
  return accumulates_in_f64(p.dtype) ? Forward<double>(p).bytes : Forward<float>(p).bytes;
}

void linear_attention_forward_kernel(const LinearAttentionForward& p) {
  if (accumulates_in_f64(p.dtype)) {
    Forward<double>(p).run();
  } else {
    Forward<float>(p).run();
  }
}

}  // namespace mri2pet::cpu::MRI2PET_BUILD
