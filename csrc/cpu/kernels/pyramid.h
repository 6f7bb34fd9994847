// One level of the Laplacian pyramid of a slice: pooling D, upsampling U, and their transposes.
#pragma once

#include "blocks.h"
#include "workspace.h"

namespace mri2pet::cpu::MRI2PET_BUILD {

// Row buffers of a worker. Of the rows that a level works on in turn, two coarse ones and four fine
// ones are alive at a time.
constexpr int kPyramidRows = 9;

template <typename T>
struct Rows {
  T *wide[2], *sums[2], *lines[4], *narrow;
};

// Where value `to` of the fine axis lies on the coarse one: between `low` and the next, torch's rule
// for bilinear interpolation with align_corners = false. At the far end there is no next one: its
// share is 0.
template <typename T>
struct Between {
  std::int64_t low, high;
  T low_share, high_share;

  static Between of(std::int64_t to, std::int64_t fine, std::int64_t coarse) {
    const double at = (static_cast<double>(to) + 0.5) * static_cast<double>(coarse) /
                          static_cast<double>(fine) - 0.5;
    const double clamped = at < 0 ? 0 : at;
    const std::int64_t low = smaller(static_cast<std::int64_t>(clamped), coarse - 1);
    const T share = low + 1 < coarse ? static_cast<T>(clamped - static_cast<double>(low)) : T(0);
    return {low, smaller(low + 1, coarse - 1), T(1) - share, share};
  }
};

// Images of a level have rows of `stride` values, zero from `columns` on.
template <typename T>
struct Level {
  std::int64_t rows, columns, stride;  // half of rows and columns, rounded down, is the next level
  Between<T>*along_rows, *along_columns;  // [rows], [columns]
  static constexpr int W = kLanes<T>;

  std::int64_t next_rows() const { return rows / 2; }
  std::int64_t next_columns() const { return columns / 2; }
  std::int64_t next_stride() const { return round_up(next_columns(), 2 * W); }
  std::int64_t values() const { return rows * stride; }

  static Level of(std::int64_t rows, std::int64_t columns, Arena& arena) {
    Level level = {rows, columns, round_up(columns, 2 * W), arena.take<Between<T>>(rows),
                   arena.take<Between<T>>(columns)};
    if (arena.counts_only() || rows / 2 == 0 || columns / 2 == 0) return level;
    for (std::int64_t i = 0; i < rows; ++i) level.along_rows[i] = Between<T>::of(i, rows, rows / 2);
    for (std::int64_t j = 0; j < columns; ++j)
      level.along_columns[j] = Between<T>::of(j, columns, columns / 2);
    return level;
  }

  static void clear(T* row, std::int64_t from, std::int64_t to) {
    for (std::int64_t j = from; j < to; ++j) row[j] = 0;
  }

  // D: means of 2 x 2.
  void pool(const T* fine, T* coarse) const {
    for (std::int64_t i = 0; i < next_rows(); ++i) pool_rows(fine, i, coarse);
  }

  // Row i of D, from two rows.
  void pool_rows(const T* fine, std::int64_t i, T* coarse) const {
    const T* a = fine + 2 * i * stride;
    const T* b = a + stride;
    T* out = coarse + i * next_stride();
    for (std::int64_t j = 0; j < next_columns(); j += W) {
      const Vec<T> left = load(a + 2 * j) + load(b + 2 * j);
      const Vec<T> right = load(a + 2 * j + W) + load(b + 2 * j + W);
      store(out + j, (evens<T>(left, right) + odds<T>(left, right)) * T(0.25));
    }
    clear(out, next_columns(), next_stride());
  }

  // Sum of (fine - U coarse)^2. With `out`, whose rows lie `out_stride` apart, also the gradient of
  // this level from that of the next, `above` (null for zero): with r = factor (fine - U coarse),
  // out = r + kept fine + D^T (above - U^T r). A row of U^T r is complete, and the two fine rows
  // under it are written, as soon as the fine rows have passed it.
  double ascend(const T* fine, const T* coarse, const T* above, T factor, T kept, T* out,
                std::int64_t out_stride, const Rows<T>& buffers) const {
    for (int k = 0; k < 2; ++k) {
      clear(buffers.wide[k], 0, stride);
      clear(buffers.sums[k], 0, stride);
    }
    double total = 0;
    std::int64_t low = 0, widened = 0;
    for (std::int64_t i = 0; i < rows; ++i) {
      const Between<T>& at = along_rows[i];
      if (at.low > low) {
        if (out != nullptr) complete(low, above, out, out_stride, buffers);
        low = at.low;
      }
      for (; widened <= at.high; ++widened)
        widen_row(coarse + widened * next_stride(), buffers.wide[widened % 2]);
      const T *a = buffers.wide[low % 2], *b = buffers.wide[(low + 1) % 2];
      const T* line = fine + i * stride;
      total += out == nullptr ? distance(line, a, b, at)
                              : difference(line, a, b, at, factor, kept, buffers.lines[i % 4],
                                           buffers.sums[low % 2], buffers.sums[(low + 1) % 2]);
    }
    if (out == nullptr) return total;
    complete(low, above, out, out_stride, buffers);
    if (rows % 2 != 0) put_row(buffers.lines[(rows - 1) % 4], out + (rows - 1) * out_stride);
    return total;
  }

 private:
  // The two fine rows of coarse row k, whose sum is complete and begins anew.
  void complete(std::int64_t k, const T* above, T* out, std::int64_t out_stride,
                const Rows<T>& buffers) const {
    T* sum = buffers.sums[k % 2];
    const T* plus = above == nullptr ? nullptr : above + k * next_stride();
    const std::int64_t at = 2 * k;
    const T *a = buffers.lines[at % 4], *b = buffers.lines[(at + 1) % 4];
    T *to_a = out + at * out_stride, *to_b = to_a + out_stride;
    narrow_row(sum, buffers.narrow, [&](std::int64_t j, Vec<T> folded) {
      Vec<T> share = folded * T(-0.25);
      if (plus != nullptr) share += load(plus + j) * T(0.25);
      // No mean of 2 x 2 covers the last column of an odd number.
      if (columns % 2 != 0) share = with_lane<T>(share, next_columns() - j, Vec<T>{});
      const Vec<T> low = zip_low<T>(share, share), high = zip_high<T>(share, share);
      const std::int64_t left = columns - 2 * j;
      put(to_a + 2 * j, load(a + 2 * j) + low, left);
      put(to_b + 2 * j, load(b + 2 * j) + low, left);
      put(to_a + 2 * j + W, load(a + 2 * j + W) + high, left - W);
      put(to_b + 2 * j + W, load(b + 2 * j + W) + high, left - W);
    });
    if (columns % (2 * W) == 1) {
      to_a[columns - 1] = a[columns - 1];
      to_b[columns - 1] = b[columns - 1];
    }
    clear(sum, 0, stride);
  }

  // The first `count` values of a vector; all of it where that is more, none where it is less than 1.
  static void put(T* to, Vec<T> v, std::int64_t count) {
    if (count >= W) {
      store(to, v);
    } else if (count > 0) {
      std::memcpy(to, &v, count * sizeof(T));
    }
  }

  void put_row(const T* from, T* to) const { std::memcpy(to, from, columns * sizeof(T)); }

  // U along a row. An even row has the shares 1/4 and 3/4; its edges are repeated.
  void widen_row(const T* coarse, T* fine) const {
    const std::int64_t n = next_columns();
    if (columns % 2 != 0) {
      for (std::int64_t j = 0; j < columns; ++j) {
        const Between<T>& at = along_columns[j];
        fine[j] = at.low_share * coarse[at.low] + at.high_share * coarse[at.high];
      }
      return;
    }
    // Neighbours come from vectors, not from memory: a load across two stores that are on their way
    // waits for both, and for all stores before them.
    Vec<T> here = load(coarse), before = splat(coarse[0]);
    for (std::int64_t j = 0; j < n; j += W) {
      const Vec<T> next = j + W < n ? load(coarse + j + W) : here;
      const Vec<T> after = with_lane<T>(second_on<T>(here, next), n - 1 - j, here);
      const Vec<T> middle = here * T(0.75);
      const Vec<T> even = last_first<T>(before, here) * T(0.25) + middle;
      const Vec<T> odd = after * T(0.25) + middle;
      store(fine + 2 * j, zip_low<T>(even, odd));
      store(fine + 2 * j + W, zip_high<T>(even, odd));
      before = here;
      here = next;
    }
    clear(fine, columns, stride);
  }

  // U^T along a row, a vector from value j on at a time: use(j, values).
  template <typename Use>
  void narrow_row(const T* fine, T* buffer, Use use) const {
    const std::int64_t n = next_columns();
    if (columns % 2 != 0) {
      clear(buffer, 0, next_stride());
      for (std::int64_t j = 0; j < columns; ++j) {
        const Between<T>& at = along_columns[j];
        buffer[at.low] += at.low_share * fine[j];
        buffer[at.high] += at.high_share * fine[j];
      }
      for (std::int64_t j = 0; j < n; j += W) use(j, load(buffer + j));
      return;
    }
    const auto pair = [fine](std::int64_t j, Vec<T>& even, Vec<T>& odd) {
      const Vec<T> a = load(fine + 2 * j), b = load(fine + 2 * j + W);
      even = evens<T>(a, b);
      odd = odds<T>(a, b);
    };
    Vec<T> even, odd, next_even = {}, next_odd = {};
    pair(0, even, odd);
    Vec<T> odd_before = splat(fine[0]);
    for (std::int64_t j = 0; j < n; j += W) {
      if (j + W < n) pair(j + W, next_even, next_odd);
      const Vec<T> after = with_lane<T>(second_on<T>(even, next_even), n - 1 - j, odd);
      use(j, T(0.75) * (even + odd) + T(0.25) * (last_first<T>(odd_before, odd) + after));
      odd_before = odd;
      even = next_even;
      odd = next_odd;
    }
  }

  // Sum of (line - up)^2, with `up` between the wide rows a and b.
  double distance(const T* line, const T* a, const T* b, const Between<T>& at) const {
    Vec<T> squares[2] = {};
    for (std::int64_t j = 0; j < stride; j += 2 * W) {
      for (int k = 0; k < 2; ++k) {
        const std::int64_t i = j + k * W;
        const Vec<T> d = load(line + i) - at.low_share * load(a + i) - at.high_share * load(b + i);
        squares[k] += d * d;
      }
    }
    return static_cast<double>(sum_lanes<T>(squares[0] + squares[1]));
  }

  // The same; out becomes r + kept line with r = factor (line - up), and r goes to the sums of the
  // two coarse rows by their shares.
  double difference(const T* line, const T* a, const T* b, const Between<T>& at, T factor, T kept,
                    T* out, T* sum_a, T* sum_b) const {
    Vec<T> squares[2] = {};
    for (std::int64_t j = 0; j < stride; j += 2 * W) {
      for (int k = 0; k < 2; ++k) {
        const std::int64_t i = j + k * W;
        const Vec<T> e = load(line + i);
        const Vec<T> d = e - at.low_share * load(a + i) - at.high_share * load(b + i);
        const Vec<T> r = factor * d;
        squares[k] += d * d;
        store(out + i, r + kept * e);
        store(sum_a + i, load(sum_a + i) + at.low_share * r);
        store(sum_b + i, load(sum_b + i) + at.high_share * r);
      }
    }
    return static_cast<double>(sum_lanes<T>(squares[0] + squares[1]));
  }
};

}  // namespace mri2pet::cpu::MRI2PET_BUILD
