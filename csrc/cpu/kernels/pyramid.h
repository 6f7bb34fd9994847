// One level of the Laplacian pyramid of a slice: pooling D, upsampling U, and their transposes.
#pragma once

#include "blocks.h"
#include "workspace.h"

namespace mri2pet::cpu::MRI2PET_BUILD {

constexpr int kPyramidRows = 5;

// Row buffers of a worker. They have room for a vector before and after a row: see kEdge.
template <typename T>
struct Rows {
  T *mixed, *fine, *even, *odd, *detail;
};
constexpr std::int64_t kEdge = 32;

// Where value `to` of the fine axis lies on the coarse one: between `low` and `high`, torch's rule
// for bilinear interpolation with align_corners = false.
template <typename T>
struct Between {
  std::int64_t low, high;
  T low_share, high_share;

  static Between of(std::int64_t to, std::int64_t fine, std::int64_t coarse) {
    const double at = (static_cast<double>(to) + 0.5) * static_cast<double>(coarse) /
                          static_cast<double>(fine) - 0.5;
    const double clamped = at < 0 ? 0 : at;
    const std::int64_t low = smaller(static_cast<std::int64_t>(clamped), coarse - 1);
    const T share = static_cast<T>(clamped - static_cast<double>(low));
    return {low, smaller(low + 1, coarse - 1), T(1) - share, share};
  }
};

template <typename T>
struct Level {
  std::int64_t rows, columns;  // of this level; half of it, rounded down, is the next
  Between<T>* along_columns;   // [columns], used where `columns` is odd
  static constexpr int W = kLanes<T>;

  std::int64_t next_rows() const { return rows / 2; }
  std::int64_t next_columns() const { return columns / 2; }

  void make_tables(Arena& arena) {
    along_columns = arena.take<Between<T>>(columns);
    if (!arena.counts_only() && next_columns() > 0)
      for (std::int64_t j = 0; j < columns; ++j)
        along_columns[j] = Between<T>::of(j, columns, next_columns());
  }

  // D: means of 2 x 2.
  void pool(const T* fine, T* coarse) const {
    for (std::int64_t i = 0; i < next_rows(); ++i) pool_rows(fine, i, coarse);
  }

  // Row i of D, from two rows.
  void pool_rows(const T* fine, std::int64_t i, T* coarse) const {
    const T* a = fine + 2 * i * columns;
    const T* b = a + columns;
    T* out = coarse + i * next_columns();
    std::int64_t j = 0;
    for (; j + W <= next_columns(); j += W) {
      const Vec<T> left = load(a + 2 * j) + load(b + 2 * j);
      const Vec<T> right = load(a + 2 * j + W) + load(b + 2 * j + W);
      store(out + j, (evens<T>(left, right) + odds<T>(left, right)) * T(0.25));
    }
    for (; j < next_columns(); ++j)
      out[j] = (a[2 * j] + b[2 * j] + a[2 * j + 1] + b[2 * j + 1]) * T(0.25);
  }

  // out = fine + D^T (above - folded); above may be null for zero, out may be fine.
  void unpool(const T* above, const T* folded, const T* fine, T* out) const {
    if (out != fine) copy_uncovered(fine, out);
    for (std::int64_t i = 0; i < next_rows(); ++i) {
      const T* a = fine + 2 * i * columns;
      const T* b = a + columns;
      T* to_a = out + 2 * i * columns;
      T* to_b = to_a + columns;
      const T* minus = folded + i * next_columns();
      const T* plus = above == nullptr ? nullptr : above + i * next_columns();
      std::int64_t j = 0;
      for (; j + W <= next_columns(); j += W) {
        Vec<T> share = load(minus + j) * T(-0.25);
        if (plus != nullptr) share += load(plus + j) * T(0.25);
        const Vec<T> low = zip_low<T>(share, share), high = zip_high<T>(share, share);
        store(to_a + 2 * j, load(a + 2 * j) + low);
        store(to_a + 2 * j + W, load(a + 2 * j + W) + high);
        store(to_b + 2 * j, load(b + 2 * j) + low);
        store(to_b + 2 * j + W, load(b + 2 * j + W) + high);
      }
      for (; j < next_columns(); ++j) {
        const T share = ((plus == nullptr ? T(0) : plus[j]) - minus[j]) * T(0.25);
        to_a[2 * j] = a[2 * j] + share;
        to_a[2 * j + 1] = a[2 * j + 1] + share;
        to_b[2 * j] = b[2 * j] + share;
        to_b[2 * j + 1] = b[2 * j + 1] + share;
      }
    }
  }

  // Sum of (fine - U coarse)^2. With `folded`, which becomes U^T r with r = factor (fine - U coarse),
  // fine becomes r + kept fine.
  double detail(T* fine, const T* coarse, T factor, T kept, T* folded,
                const Rows<T>& buffers) const {
    const std::int64_t n = next_columns();
    if (folded != nullptr) std::memset(folded, 0, next_rows() * n * sizeof(T));
    double total = 0;
    for (std::int64_t i = 0; i < rows; ++i) {
      const Between<T> at = Between<T>::of(i, rows, next_rows());
      T* mixed = buffers.mixed + kEdge;
      blend(coarse + at.low * n, at.low_share, coarse + at.high * n, at.high_share, mixed);
      widen_row(mixed, buffers.fine);
      T* line = fine + i * columns;
      if (folded == nullptr) {
        total += distance(line, buffers.fine);
        continue;
      }
      total += difference(line, buffers.fine, factor, kept, buffers.detail);
      narrow_row(buffers.detail, buffers, mixed);
      add_to(folded + at.low * n, at.low_share, mixed);
      add_to(folded + at.high * n, at.high_share, mixed);
    }
    return total;
  }

 private:
  void blend(const T* a, T a_share, const T* b, T b_share, T* out) const {
    for (std::int64_t j = 0; j < next_columns(); ++j) out[j] = a_share * a[j] + b_share * b[j];
  }

  void add_to(T* __restrict sum, T share, const T* __restrict values) const {
    for (std::int64_t j = 0; j < next_columns(); ++j) sum[j] += share * values[j];
  }

  // U along a row. An even row has the shares 1/4 and 3/4; its edges are repeated in `coarse`.
  void widen_row(T* coarse, T* fine) const {
    const std::int64_t n = next_columns();
    if (columns % 2 != 0) {
      for (std::int64_t j = 0; j < columns; ++j) {
        const Between<T>& at = along_columns[j];
        fine[j] = at.low_share * coarse[at.low] + at.high_share * coarse[at.high];
      }
      return;
    }
    coarse[-1] = coarse[0];
    coarse[n] = coarse[n - 1];
    for (std::int64_t j = 0; j < n; j += W) {
      const Vec<T> middle = load(coarse + j) * T(0.75);
      const Vec<T> even = load(coarse + j - 1) * T(0.25) + middle;
      const Vec<T> odd = load(coarse + j + 1) * T(0.25) + middle;
      store(fine + 2 * j, zip_low<T>(even, odd));
      store(fine + 2 * j + W, zip_high<T>(even, odd));
    }
  }

  // U^T along a row.
  void narrow_row(const T* fine, const Rows<T>& buffers, T* coarse) const {
    const std::int64_t n = next_columns();
    if (columns % 2 != 0) {
      for (std::int64_t j = 0; j < n; ++j) coarse[j] = 0;
      for (std::int64_t j = 0; j < columns; ++j) {
        const Between<T>& at = along_columns[j];
        coarse[at.low] += at.low_share * fine[j];
        coarse[at.high] += at.high_share * fine[j];
      }
      return;
    }
    T* even = buffers.even + kEdge;
    T* odd = buffers.odd + kEdge;
    std::int64_t j = 0;
    for (; j + W <= n; j += W) {
      const Vec<T> a = load(fine + 2 * j), b = load(fine + 2 * j + W);
      store(even + j, evens<T>(a, b));
      store(odd + j, odds<T>(a, b));
    }
    for (; j < n; ++j) {
      even[j] = fine[2 * j];
      odd[j] = fine[2 * j + 1];
    }
    odd[-1] = even[0];
    even[n] = odd[n - 1];
    for (j = 0; j < n; ++j)
      coarse[j] = T(0.75) * (even[j] + odd[j]) + T(0.25) * (odd[j - 1] + even[j + 1]);
  }

  // Sum of (line - up)^2.
  double distance(const T* line, const T* up) const {
    Vec<T> squares = {};
    std::int64_t j = 0;
    for (; j + W <= columns; j += W) {
      const Vec<T> d = load(line + j) - load(up + j);
      squares += d * d;
    }
    T rest = 0;
    for (; j < columns; ++j) rest += (line[j] - up[j]) * (line[j] - up[j]);
    return static_cast<double>(sum_lanes<T>(squares)) + static_cast<double>(rest);
  }

  // The same; detail becomes r = factor (line - up), and line becomes r + kept line.
  double difference(T* line, const T* up, T factor, T kept, T* detail) const {
    Vec<T> squares = {};
    std::int64_t j = 0;
    for (; j + W <= columns; j += W) {
      const Vec<T> e = load(line + j), d = e - load(up + j), r = factor * d;
      squares += d * d;
      store(detail + j, r);
      store(line + j, r + kept * e);
    }
    T rest = 0;
    for (; j < columns; ++j) {
      const T d = line[j] - up[j];
      rest += d * d;
      detail[j] = factor * d;
      line[j] = detail[j] + kept * line[j];
    }
    return static_cast<double>(sum_lanes<T>(squares)) + static_cast<double>(rest);
  }

  // The last row and column of odd sizes, which no mean of 2 x 2 covers.
  void copy_uncovered(const T* fine, T* out) const {
    if (columns % 2 != 0)
      for (std::int64_t i = 0; i < rows; ++i)
        out[(i + 1) * columns - 1] = fine[(i + 1) * columns - 1];
    if (rows % 2 != 0)
      std::memcpy(out + (rows - 1) * columns, fine + (rows - 1) * columns, columns * sizeof(T));
  }
};

}  // namespace mri2pet::cpu::MRI2PET_BUILD
