// The three matrix products that the attention is made of. Pointers are 64-byte aligned or not; all
// sizes marked "padded" are multiples of kRowPad (rows) or W (voxels).
#pragma once

#include "blocks.h"
#include "vec.h"

namespace mri2pet::cpu::MRI2PET_BUILD {

// ---- expand: out[i, n] (+)= sum_j a[i, j] x[j, n], vectors over n.

template <typename T, int R, int U>
inline void expand_tile(const T* a, std::int64_t a_row, std::int64_t a_column, const T* x,
                        std::int64_t x_row, std::int64_t inner, T* out, std::int64_t out_row,
                        bool add) {
  Vec<T> sum[R][U];
  for (int r = 0; r < R; ++r)
    for (int u = 0; u < U; ++u)
      sum[r][u] = add ? load(out + r * out_row + u * kLanes<T>) : Vec<T>{};
  for (std::int64_t j = 0; j < inner; ++j) {
    Vec<T> value[U];
    for (int u = 0; u < U; ++u) value[u] = load(x + j * x_row + u * kLanes<T>);
    for (int r = 0; r < R; ++r) {
      const Vec<T> factor = splat(a[r * a_row + j * a_column]);
      for (int u = 0; u < U; ++u) sum[r][u] += factor * value[u];
    }
  }
  for (int r = 0; r < R; ++r)
    for (int u = 0; u < U; ++u) store(out + r * out_row + u * kLanes<T>, sum[r][u]);
}

// a[i, j] = a[i * a_row + j * a_column]; rows and n are padded.
template <typename T>
inline void expand(const T* a, std::int64_t a_row, std::int64_t a_column, const T* x,
                   std::int64_t x_row, std::int64_t rows, std::int64_t inner, std::int64_t n,
                   T* out, std::int64_t out_row, bool add) {
  constexpr int R = 4, U = MRI2PET_VECTOR_BYTES == 64 ? 4 : 2, W = kLanes<T>;
  std::int64_t i = 0;
  for (; i + U * W <= n; i += U * W)
    for (std::int64_t r = 0; r < rows; r += R)
      expand_tile<T, R, U>(a + r * a_row, a_row, a_column, x + i, x_row, inner,
                           out + r * out_row + i, out_row, add);
  for (; i < n; i += W)
    for (std::int64_t r = 0; r < rows; r += R)
      expand_tile<T, R, 1>(a + r * a_row, a_row, a_column, x + i, x_row, inner,
                           out + r * out_row + i, out_row, add);
}

// ---- reduce: out[i, j] += sum_n a[i, n] x[j, n]. out is in tiles of kTileRows x kTileColumns, so
// that a tile is one vector: tile_index says where an element is.

template <typename T>
constexpr int kTileRows = kLanes<T> >= 16 ? 4 : kLanes<T> >= 8 ? 4 : 2;
template <typename T>
constexpr int kTileColumns = kLanes<T> / kTileRows<T>;

template <typename T>
inline std::int64_t tile_index(std::int64_t i, std::int64_t j, std::int64_t columns) {
  constexpr int R = kTileRows<T>, S = kTileColumns<T>;
  return ((i / R) * (columns / S) + j / S) * kLanes<T> + (i % R) * S + j % S;
}

// The part of a tile that lies within rows x columns values, to `to` with rows `row` apart.
template <typename T>
inline void store_tile(Vec<T> tile, std::int64_t rows, std::int64_t columns, T* to,
                       std::int64_t row) {
  constexpr int R = kTileRows<T>, S = kTileColumns<T>;
  T values[kLanes<T>];
  store(values, tile);
  if (rows >= R && columns >= S) {
    for (int r = 0; r < R; ++r) std::memcpy(to + r * row, values + r * S, S * sizeof(T));
    return;
  }
  for (int r = 0; r < smaller(R, rows); ++r)
    for (int s = 0; s < smaller(S, columns); ++s) to[r * row + s] = values[r * S + s];
}

// The sum of `parts` matrices in tiles, `distance` apart, in order: rows x columns values of it,
// from row `first` on. `padded` are the columns of a part.
template <typename T>
inline void sum_tiles(const T* from, std::int64_t parts, std::int64_t distance, std::int64_t first,
                      std::int64_t rows, std::int64_t columns, std::int64_t padded, T* to,
                      std::int64_t row) {
  for (std::int64_t i = 0; i < rows; i += kTileRows<T>) {
    for (std::int64_t j = 0; j < columns; j += kTileColumns<T>) {
      const T* tile = from + tile_index<T>(first + i, j, padded);
      Vec<T> sum = {};
      for (std::int64_t k = 0; k < parts; ++k) sum += load(tile + k * distance);
      store_tile<T>(sum, rows - i, columns - j, to + i * row + j, row);
    }
  }
}

// rows and columns and n are padded; row 0 of `out` is row 0 of a tile.
template <typename T>
inline void reduce(const T* a, std::int64_t a_row, const T* x, std::int64_t x_row,
                   std::int64_t rows, std::int64_t columns, std::int64_t n, T* out) {
  constexpr int R = kTileRows<T>, S = kTileColumns<T>, W = kLanes<T>;
  for (std::int64_t i = 0; i < rows; i += R) {
    for (std::int64_t j = 0; j < columns; j += S) {
      Vec<T> sum[W] = {};
      const T* p = a + i * a_row;
      const T* q = x + j * x_row;
      for (std::int64_t k = 0; k < n; k += W) {
        Vec<T> right[S];
        for (int s = 0; s < S; ++s) right[s] = load(q + s * x_row + k);
        for (int r = 0; r < R; ++r) {
          const Vec<T> left = load(p + r * a_row + k);
          for (int s = 0; s < S; ++s) sum[r * S + s] += left * right[s];
        }
      }
      T* tile = out + tile_index<T>(i, j, columns);
      store(tile, load(tile) + sum_each<T>(sum));
    }
  }
}

// ---- small: out[i, j] (+)= sum_k a[i, k] b[k, j] for matrices of any size. The sum of a tile of out
// stays in registers; sums run over k in order.

template <typename T>
struct Matrix {
  const T* data;
  std::int64_t row, column;  // strides
  Matrix transposed() const { return {data, column, row}; }
};

// R rows of out; the last columns, fewer than a vector, one by one.
template <typename T, int R>
inline void small_rows(Matrix<T> a, Matrix<T> b, std::int64_t inner, std::int64_t columns, T* out,
                       std::int64_t out_row, bool add) {
  constexpr int U = MRI2PET_VECTOR_BYTES == 64 ? 4 : 2, W = kLanes<T>;
  std::int64_t j = 0;
  for (; j + U * W <= columns; j += U * W)
    expand_tile<T, R, U>(a.data, a.row, a.column, b.data + j, b.row, inner, out + j, out_row, add);
  for (; j + 2 * W <= columns; j += 2 * W)
    expand_tile<T, R, 2>(a.data, a.row, a.column, b.data + j, b.row, inner, out + j, out_row, add);
  for (; j + W <= columns; j += W)
    expand_tile<T, R, 1>(a.data, a.row, a.column, b.data + j, b.row, inner, out + j, out_row, add);
  for (; j < columns; ++j) {
    for (int r = 0; r < R; ++r) {
      T sum = add ? out[r * out_row + j] : T(0);
      for (std::int64_t k = 0; k < inner; ++k)
        sum += a.data[r * a.row + k * a.column] * b.data[k * b.row + j];
      out[r * out_row + j] = sum;
    }
  }
}

// The columns of b are contiguous: b.column is 1.
template <typename T>
inline void small_product(Matrix<T> a, Matrix<T> b, std::int64_t rows, std::int64_t inner,
                          std::int64_t columns, T* out, std::int64_t out_row, bool add) {
  constexpr int R = 4;
  std::int64_t i = 0;
  for (; i + R <= rows; i += R)
    small_rows<T, R>({a.data + i * a.row, a.row, a.column}, b, inner, columns, out + i * out_row,
                     out_row, add);
  for (; i < rows; ++i)
    small_rows<T, 1>({a.data + i * a.row, a.row, a.column}, b, inner, columns, out + i * out_row,
                     out_row, add);
}

}  // namespace mri2pet::cpu::MRI2PET_BUILD
