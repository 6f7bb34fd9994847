// Backward pass: dM = G X^T, the small products, then one pass that recomputes P for dX and dWk.
#include "../parallel.h"
#include "attention_plan.h"
#include "math.h"

namespace mri2pet::cpu::MRI2PET_BUILD {
namespace {

// Exponents are to base 2, as in the forward pass.
template <typename T>
struct Backward {
  const LinearAttentionBackward& p;
  AttentionPlan plan;
  T *w_k2, *w_k, *wv_t;         // Wk log2(e) and Wk: [rows, columns]; [C, D]
  T *part_m, *part_b;           // [B, chunks, columns * columns] in tiles, [B, chunks, columns]
  T *ds, *r, *shift;            // [B, rows, columns], [B, rows], [B, rows]: see small_products
  T* part_k;                    // [B, chunks, rows * columns] in tiles: dWk
  T *m, *context, *mixed;       // [B, columns, columns]; of one sample: ctx, A [D, C]
  T *dm, *wo_t;                 // of one sample: [C, C]; [D, C]
  T *dmixed, *transposed;       // of one sample: [D, C], [C, D]
  T *dctx, *dctx_t;             // of one sample and head: [width, width]
  T* worker;
  std::int64_t worker_values, bytes;
  View x, gy, gx;

  explicit Backward(const LinearAttentionBackward& params) : p(params), plan(params) {
    const std::int64_t B = p.batch, C = p.channels, D = plan.depth;
    const std::int64_t rows = plan.rows, columns = plan.columns;
    Arena arena(p.resources.workspace);
    w_k2 = arena.take<T>(rows * columns);
    w_k = arena.take<T>(rows * columns);
    wv_t = arena.take<T>(C * D);
    part_m = arena.take<T>(B * plan.chunks * columns * columns);
    part_b = arena.take<T>(B * plan.chunks * columns);
    ds = arena.take<T>(B * rows * columns);
    r = arena.take<T>(B * rows);
    shift = arena.take<T>(B * rows);
    part_k = arena.take<T>(B * plan.chunks * rows * columns);
    m = arena.take<T>(B * columns * columns);
    context = arena.take<T>(p.heads * p.width * p.width);
    mixed = arena.take<T>(D * C);
    dm = arena.take<T>(C * C);
    wo_t = arena.take<T>(D * C);
    dmixed = arena.take<T>(D * C);
    transposed = arena.take<T>(D * C);
    dctx = arena.take<T>(p.width * p.width);
    dctx_t = arena.take<T>(p.width * p.width);
    worker_values =
        round_up((3 * columns + 2 * kRowTile) * plan.block + plan.scratch, kVoxelPad);
    worker = arena.take<T>(plan.threads * worker_values);
    bytes = arena.bytes();
    x = view(p.x, p.dtype, p.x_strides, C, p.voxels);
    gy = view(p.grad_y, p.dtype, p.grad_y_strides, C, p.voxels);
    gx = view(p.grad_x, p.dtype, p.grad_x_strides, C, p.voxels);
  }

  void pack() {
    const std::int64_t C = p.channels, D = plan.depth, columns = plan.columns;
    const T* w = static_cast<const T*>(p.w_qkv);
    pad_matrix<T>(w + D * C, D, C, T(1), w_k, plan.rows, columns);
    pad_matrix<T>(w + D * C, D, C, static_cast<T>(kLog2E), w_k2, plan.rows, columns);
    transpose(w + 2 * D * C, D, C, wv_t);
    transpose(static_cast<const T*>(p.w_out), C, D, wo_t);
    for (std::int64_t b = 0; b < p.batch; ++b)
      pad_matrix<T>(static_cast<const T*>(p.m) + b * C * C, C, C, T(1), m + b * columns * columns,
                    columns, columns);
  }

  // dM = G X^T and db of one chunk.
  void correlate(std::int64_t task, int id) const {
    const std::int64_t b = task / plan.chunks, columns = plan.columns;
    T* product = part_m + task * columns * columns;
    T* sums = part_b + task * columns;
    std::memset(product, 0, columns * columns * sizeof(T));
    std::memset(sums, 0, columns * sizeof(T));
    T* values = worker + id * worker_values;
    T* grads = values + columns * plan.block;
    T* scratch = grads + columns * plan.block;
    Span span;
    for (std::int64_t i = 0; next_block(p, plan, task % plan.chunks, i, span); ++i) {
      load_block(x, b, span.first, span.count, span.padded, values, plan.block, scratch);
      load_block(gy, b, span.first, span.count, span.padded, grads, plan.block, scratch);
      reduce<T>(grads, plan.block, values, plan.block, columns, columns, span.padded, product);
      for (std::int64_t c = 0; c < columns; ++c) {
        Vec<T> total = {};
        for (std::int64_t n = 0; n < span.padded; n += kLanes<T>)
          total += load(grads + c * plan.block + n);
        sums[c] += sum_lanes<T>(total);
      }
    }
  }

  // dM of a sample from its chunks, in order; db is added to grad_bias.
  void merge_products(std::int64_t b) const {
    const std::int64_t C = p.channels, columns = plan.columns;
    T* db = static_cast<T*>(p.grad_bias);
    const std::int64_t first = b * plan.chunks, values = columns * columns;
    for (std::int64_t k = first; k < first + plan.chunks; ++k)
      for (std::int64_t i = 0; i < C; ++i) db[i] += part_b[k * columns + i];
    sum_tiles<T>(part_m + first * values, plan.chunks, values, 0, C, C, columns, dm, C);
  }

  // From dM of sample b: adds dWo, dWq, dWv to their sums and leaves, for the last pass,
  // ds = dS / row_sum, r = <dS, S> / row_sum and the exponents' shift.
  void small_products(std::int64_t b) const {
    const std::int64_t C = p.channels, D = plan.depth, E = p.width, columns = plan.columns;
    const T* w = static_cast<const T*>(p.w_qkv);
    const T* s = static_cast<const T*>(p.s) + b * D * C;
    T* dw = static_cast<T*>(p.grad_w_qkv);
    mix_values<T>(p, s, w, wv_t, context, mixed);
    transpose(mixed, D, C, transposed);
    small_product<T>({dm, C, 1}, {transposed, D, 1}, C, C, D, static_cast<T*>(p.grad_w_out), D,
                     true);  // dWo [C, D] = dM A^T
    small_product<T>({wo_t, C, 1}, {dm, C, 1}, D, C, C, dmixed, C, false);
    transpose(dmixed, D, C, transposed);
    T* d_s = ds + b * plan.rows * columns;
    std::memset(d_s, 0, plan.rows * columns * sizeof(T));
    for (std::int64_t h = 0; h < p.heads; ++h) {
      const std::int64_t at = h * E * C;
      small_product<T>({w + at, C, 1}, {transposed + h * E, D, 1}, E, C, E, dctx, E, false);
      transpose(dctx, E, E, dctx_t);
      small_product<T>({context + h * E * E, E, 1}, {dmixed + at, C, 1}, E, E, C, dw + at, C, true);
      small_product<T>({dctx_t, E, 1}, {s + at, C, 1}, E, E, C, dw + 2 * D * C + at, C, true);
      small_product<T>({dctx, E, 1}, {w + 2 * D * C + at, C, 1}, E, E, C, d_s + h * E * columns,
                       columns, false);
    }
    for (std::int64_t d = 0; d < plan.rows; ++d) {
      const T sum = d < D ? static_cast<const T*>(p.row_sum)[b * D + d] : T(1);
      const T dot = d < D ? product(d_s + d * columns, s + d * C, C) : T(0);
      for (std::int64_t c = 0; c < C; ++c) d_s[d * columns + c] /= sum;
      r[b * plan.rows + d] = dot / sum;
      shift[b * plan.rows + d] = d < D ? static_cast<const T*>(p.row_max)[b * D + d] : T(0);
    }
  }

  static T product(const T* a, const T* b, std::int64_t count) {
    Vec<T> sum = {};
    std::int64_t i = 0;
    for (; i + kLanes<T> <= count; i += kLanes<T>) sum += load(a + i) * load(b + i);
    T total = sum_lanes<T>(sum);
    for (; i < count; ++i) total += a[i] * b[i];
    return total;
  }

  // Row d of a block: keys to exp2(keys - shift), slopes (<dS_d, x_n> / row_sum) to dK.
  void differentiate(T* keys, T* slopes, std::int64_t n, T key_shift, T mean) const {
    for (std::int64_t i = 0; i < n; i += kLanes<T>) {
      const Vec<T> e = exp2(load(keys + i) - key_shift);
      store(keys + i, e);
      store(slopes + i, e * (load(slopes + i) - mean));
    }
  }

  void propagate(std::int64_t task, int id) const {
    const std::int64_t b = task / plan.chunks, columns = plan.columns, row = plan.block;
    T* dwk = part_k + task * plan.rows * columns;
    std::memset(dwk, 0, plan.rows * columns * sizeof(T));
    T* values = worker + id * worker_values;
    T* grads = values + columns * row;
    T* out = grads + columns * row;
    T* keys = out + columns * row;
    T* slopes = keys + kRowTile * row;
    T* scratch = slopes + kRowTile * row;
    const T* d_s = ds + b * plan.rows * columns;
    Span span;
    for (std::int64_t i = 0; next_block(p, plan, task % plan.chunks, i, span); ++i) {
      const std::int64_t n = span.padded;
      load_block(x, b, span.first, span.count, n, values, row, scratch);
      load_block(gy, b, span.first, span.count, n, grads, row, scratch);
      expand<T>(m + b * columns * columns, 1, columns, grads, row, columns, columns, n, out, row,
                false);
      for (std::int64_t d = 0; d < plan.rows; d += kRowTile) {
        const T* k2 = w_k2 + d * columns;
        expand<T>(k2, columns, 1, values, row, kRowTile, columns, n, keys, row, false);
        expand<T>(d_s + d * columns, columns, 1, values, row, kRowTile, columns, n, slopes, row,
                  false);
        for (std::int64_t k = 0; k < kRowTile; ++k)
          differentiate(keys + k * row, slopes + k * row, n, shift[b * plan.rows + d + k],
                        r[b * plan.rows + d + k]);
        expand<T>(d_s + d * columns, 1, columns, keys, row, columns, kRowTile, n, out, row, true);
        expand<T>(w_k + d * columns, 1, columns, slopes, row, columns, kRowTile, n, out, row,
                  true);
        reduce<T>(slopes, row, values, row, kRowTile, columns, n, dwk + d * columns);
      }
      store_block(out, row, gx, b, span.first, span.count, scratch);
    }
  }

  // dWk of kRowTile rows: the chunks of all samples, in order.
  void merge_keys(std::int64_t task) const {
    const std::int64_t C = p.channels, D = plan.depth, first = task * kRowTile;
    sum_tiles<T>(part_k, p.batch * plan.chunks, plan.rows * plan.columns, first,
                 smaller(kRowTile, D - first), C, plan.columns,
                 static_cast<T*>(p.grad_w_qkv) + (D + first) * C, C);
  }

  void run() {
    const int threads = plan.threads;
    const std::int64_t C = p.channels, D = plan.depth;
    const auto self = static_cast<void*>(this);
    pack();
    std::memset(p.grad_w_qkv, 0, 3 * D * C * sizeof(T));
    std::memset(p.grad_w_out, 0, D * C * sizeof(T));
    std::memset(p.grad_bias, 0, C * sizeof(T));
    parallel_for(
        threads, p.batch * plan.chunks,
        [](void* f, std::int64_t task, int id) { static_cast<Backward*>(f)->correlate(task, id); },
        self);
    for (std::int64_t b = 0; b < p.batch; ++b) {
      merge_products(b);
      small_products(b);
    }
    parallel_for(
        threads, p.batch * plan.chunks,
        [](void* f, std::int64_t task, int id) { static_cast<Backward*>(f)->propagate(task, id); },
        self);
    parallel_for(
        threads, plan.rows / kRowTile,
        [](void* f, std::int64_t task, int) { static_cast<Backward*>(f)->merge_keys(task); },
        self);
  }
};

}  // namespace

std::int64_t linear_attention_backward_bytes(const LinearAttentionBackward& p) {
  return accumulates_in_f64(p.dtype) ? Backward<double>(p).bytes : Backward<float>(p).bytes;
}

void linear_attention_backward_kernel(const LinearAttentionBackward& p) {
  if (accumulates_in_f64(p.dtype)) {
    Backward<double>(p).run();
  } else {
    Backward<float>(p).run();
  }
}

}  // namespace mri2pet::cpu::MRI2PET_BUILD
