// Winograd's convolution. A task is a few pieces, a piece some tiles of one depth: its inputs are
// transformed, each of the 144 positions is one matrix product over all of its tiles, and the
// products are transformed back. A piece stays in the second cache. A tile's values depend neither
// on the piece that it is in nor on the thread.
#include "mri2pet/winograd.h"

#include "../parallel.h"
#include "winograd_products.h"
#include "winograd_transform.h"
#include "workspace.h"

namespace mri2pet::cpu::MRI2PET_BUILD {
namespace {

constexpr int W = kLanes<float>;
constexpr std::int64_t kLongestRun = 4;  // pieces of a task, along the depth

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Channels as products read and write them.
std::int64_t padded_in(std::int64_t channels) { return round_up(channels, 2); }
std::int64_t padded_out(std::int64_t channels) { return round_up(channels, kHalf); }

// Floats between positions: an odd number of cache lines, so that the 144 places of a tile lie in
// different sets of the first cache.
std::int64_t position_pitch(std::int64_t rows, std::int64_t channels) {
  return (divide_up(rows * channels, 16) | 1) * 16;
}

struct Forward {
  const WinogradForward& p;
  std::int64_t cin, cout;                  // padded
  std::int64_t tiles_k, tiles_i, tiles_j;  // of the volume
  std::int64_t piece_i, piece_j, pieces_i, pieces_j;
  std::int64_t run, runs_k;  // pieces of a task, tasks along the depth
  std::int64_t rows, v_pitch, m_pitch, u_pitch, worker_size, bytes;
  float* workers;

  explicit Forward(const WinogradForward& p) : p(p) {
    cin = padded_in(p.channels_in);
    cout = padded_out(p.channels_out);
    tiles_k = divide_up(p.depth, kTileDepth);
    tiles_i = divide_up(p.height, kTileSide);
    tiles_j = divide_up(p.width, kTileSide);
    piece_j = smaller(tiles_j, 8);
    piece_i = smaller(tiles_i, larger(1, most_tiles() / piece_j));
    pieces_i = divide_up(tiles_i, piece_i);
    pieces_j = divide_up(tiles_j, piece_j);
    const std::int64_t pieces = p.batch * tiles_k * pieces_i * pieces_j;
    run = larger(1, smaller(kLongestRun, pieces / (4 * larger(1, p.resources.threads))));
    runs_k = divide_up(tiles_k, run);
    rows = round_up(piece_i * piece_j, kRows);
    v_pitch = position_pitch(rows, cin);
    m_pitch = position_pitch(rows, cout);
    u_pitch = cin * cout;
    Arena arena(p.resources.workspace);
    worker_size = round_up(kPositions * (v_pitch + m_pitch), 16);
    workers = arena.take<float>(worker_size * p.resources.threads);
    bytes = arena.bytes();
  }

  // Of a piece: its inputs and outputs at all positions take a megabyte.
  std::int64_t most_tiles() const {
    const std::int64_t fit = (1 << 20) / (4 * kPositions * (cin + cout));
    return larger(kRows, smaller(32, fit / kRows * kRows));
  }

  // ---- Inputs.

  // One vector of channels of a column of tiles along the rows.
  struct Column {
    const float* x;         // where row 0 of the first depth and column would lie
    std::int64_t k, j;      // that depth and column; -1 outside
    int channels, written;  // lanes that are read; that are written, padded
  };

  // A row of inputs, transformed along depth and columns. Inside: all columns and depths lie in the
  // volume. Full: the vector has W channels.
  template <bool Inside, bool Full>
  void transform_row(const Column& column, std::int64_t i, V* to) const {
    if (i < 0 || i >= p.height) {
      for (int place = 0; place < kPlaces; ++place) to[place] = V{};
      return;
    }
    const std::int64_t plane = p.height * p.width * p.channels_in;
    const float* x = column.x + i * p.width * p.channels_in;
    V halfway[kPlaces];
    for (int j = 0; j < kFromSide; ++j) {
      V d[kFromDepth], t[kFromDepth];
      for (int k = 0; k < kFromDepth; ++k) {
        const bool inside = Inside || (column.k + k >= 0 && column.k + k < p.depth &&
                                       column.j + j >= 0 && column.j + j < p.width);
        const float* from = x + k * plane + j * p.channels_in;
        d[k] = !inside ? V{} : Full ? load(from) : load_first(from, column.channels);
      }
      forward_2(d, t);
      for (int k = 0; k < kFromDepth; ++k) halfway[k * kFromSide + j] = t[k];
    }
    for (int k = 0; k < kFromDepth; ++k) forward_4(halfway + k * kFromSide, to + k * kFromSide);
  }

  // `count` tiles from input row i on; tile t goes to v + t * step.
  template <bool Inside, bool Full>
  void transform_column(const Column& column, std::int64_t i, std::int64_t count, float* v,
                        std::int64_t step) const {
    V rows_of[kFromSide][kPlaces];
    V* row[kFromSide];
    for (int r = 0; r < kFromSide; ++r) row[r] = rows_of[r];
    transform_row<Inside, Full>(column, i, row[0]);
    transform_row<Inside, Full>(column, i + 1, row[1]);
    for (std::int64_t tile = 0; tile < count; ++tile) {
      for (int r = 2; r < kFromSide; ++r)
        transform_row<Inside, Full>(column, i + tile * kTileSide + r, row[r]);
      for (int place = 0; place < kPlaces; ++place) {
        V d[kFromSide], t[kFromSide];
        for (int r = 0; r < kFromSide; ++r) d[r] = row[r][place];
        forward_4(d, t);
        float* to = v + tile * step + place * kFromSide * v_pitch;
        for (int r = 0; r < kFromSide; ++r, to += v_pitch)
          Full ? store(to, t[r]) : store_first(to, t[r], column.written);
      }
      std::swap(row[0], row[4]);  // the last two rows are the first two of the next tile
      std::swap(row[1], row[5]);
    }
  }

  // ---- Outputs.

  struct Output {
    float* y;             // output (depth, row, column) 0 of the tile
    std::int64_t k, i, j;  // how many of its outputs lie in the volume
    int channels;         // lanes that are written
  };

  // Inside: all outputs lie in the volume.
  template <bool Inside, bool Full>
  void transform_back(const float* m, V bias, const Output& output) const {
    V rows_of[kTileSide][kPlaces];
    for (int place = 0; place < kPlaces; ++place) {
      V d[kFromSide], t[kTileSide];
      for (int r = 0; r < kFromSide; ++r, m += m_pitch)
        d[r] = Full ? load(m) : load_first(m, output.channels);
      back_4(d, t);
      for (int r = 0; r < kTileSide; ++r) rows_of[r][place] = t[r];
    }
    const std::int64_t plane = p.height * p.width * p.channels_out;
    for (int r = 0; r < (Inside ? kTileSide : output.i); ++r) {
      V halfway[kFromDepth][kTileSide];
      for (int k = 0; k < kFromDepth; ++k) back_4(rows_of[r] + k * kFromSide, halfway[k]);
      for (int j = 0; j < (Inside ? kTileSide : output.j); ++j) {
        V d[kFromDepth], t[kTileDepth];
        for (int k = 0; k < kFromDepth; ++k) d[k] = halfway[k][j];
        back_2(d, t);
        float* to = output.y + (r * p.width + j) * p.channels_out;
        for (int k = 0; k < (Inside ? kTileDepth : output.k); ++k, to += plane)
          Full ? store(to, t[k] + bias) : store_first(to, t[k] + bias, output.channels);
      }
    }
  }

  // ---- A piece.

  struct Piece {
    std::int64_t b, k, i, j;  // sample, and the first tile
    std::int64_t count_i, count_j;
    // As products take them.
    std::int64_t tiles() const { return round_up(count_i * count_j, kRows); }
  };

  // The first piece of a task; those that follow lie behind it along the depth, so that two of
  // their four planes of input are in the cache already.
  Piece first_piece(std::int64_t task) const {
    Piece piece;
    piece.k = task % runs_k * run;
    piece.j = task / runs_k % pieces_j * piece_j;
    piece.i = task / (runs_k * pieces_j) % pieces_i * piece_i;
    piece.b = task / (runs_k * pieces_j * pieces_i);
    piece.count_i = smaller(piece_i, tiles_i - piece.i);
    piece.count_j = smaller(piece_j, tiles_j - piece.j);
    return piece;
  }

  void transform_inputs(const Piece& piece, float* v) const {
    for (std::int64_t tile = 0; tile < piece.count_j; ++tile) {
      Column column;
      column.k = piece.k * kTileDepth - 1;
      column.j = (piece.j + tile) * kTileSide - 1;
      const bool inside = column.k >= 0 && column.k + kFromDepth <= p.depth && column.j >= 0 &&
                          column.j + kFromSide <= p.width;
      for (std::int64_t c = 0; c < p.channels_in; c += W) {
        column.x = static_cast<const float*>(p.x) + c +
                   ((piece.b * p.depth + column.k) * p.height * p.width + column.j) * p.channels_in;
        column.channels = static_cast<int>(smaller(W, p.channels_in - c));
        column.written = static_cast<int>(smaller(W, cin - c));
        const bool full = column.channels == W;
        const auto transform = inside ? full ? &Forward::transform_column<true, true>
                                             : &Forward::transform_column<true, false>
                               : full ? &Forward::transform_column<false, true>
                                      : &Forward::transform_column<false, false>;
        (this->*transform)(column, piece.i * kTileSide - 1, piece.count_i,
                           v + c * piece.tiles() + tile * column.written,
                           piece.count_j * column.written);
      }
    }
  }

  void multiply(const Piece& piece, const float* v, float* m) const {
    const float* u = static_cast<const float*>(p.transformed);
    for (int position = 0; position < kPositions; ++position)
      product_of_position(v + position * v_pitch, cin, u + position * u_pitch,
                          m + position * m_pitch, cout, piece.tiles());
  }

  void transform_outputs(const Piece& piece, const float* m) const {
    Output output;
    const std::int64_t k = piece.k * kTileDepth;
    output.k = smaller(kTileDepth, p.depth - k);
    for (std::int64_t ti = 0; ti < piece.count_i; ++ti) {
      const std::int64_t i = (piece.i + ti) * kTileSide;
      output.i = smaller(kTileSide, p.height - i);
      for (std::int64_t tj = 0; tj < piece.count_j; ++tj) {
        const std::int64_t j = (piece.j + tj) * kTileSide;
        output.j = smaller(kTileSide, p.width - j);
        const bool inside =
            output.k == kTileDepth && output.i == kTileSide && output.j == kTileSide;
        for (std::int64_t c = 0; c < p.channels_out; c += W) {
          output.channels = static_cast<int>(smaller(W, p.channels_out - c));
          output.y = static_cast<float*>(p.y) + c +
                     (((piece.b * p.depth + k) * p.height + i) * p.width + j) * p.channels_out;
          const V bias = p.bias == nullptr
                             ? V{}
                             : load_first(static_cast<const float*>(p.bias) + c, output.channels);
          const bool full = output.channels == W;
          const auto transform = inside ? full ? &Forward::transform_back<true, true>
                                               : &Forward::transform_back<true, false>
                                 : full ? &Forward::transform_back<false, true>
                                        : &Forward::transform_back<false, false>;
          const std::int64_t width = smaller(W, cout - c), tile = ti * piece.count_j + tj;
          (this->*transform)(m + c * piece.tiles() + tile * width, bias, output);
        }
      }
    }
  }

  void compute(std::int64_t task, int worker) const {
    float* v = workers + worker * worker_size;
    float* m = v + kPositions * v_pitch;
    Piece piece = first_piece(task);
    for (const std::int64_t end = smaller(piece.k + run, tiles_k); piece.k < end; ++piece.k) {
      transform_inputs(piece, v);
      multiply(piece, v, m);
      transform_outputs(piece, m);
    }
  }

  void compute_all() {
    parallel_for(
        p.resources.threads, p.batch * runs_k * pieces_i * pieces_j,
        [](void* f, std::int64_t task, int worker) {
          static_cast<const Forward*>(f)->compute(task, worker);
        },
        this);
  }
};

// ---- Weights.

// The 144 transformed values of one pair of channels, position by position.
void transform_taps(const float* taps, double* to) {
  double deep[kFromDepth][3][3];  // depth, row, column
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) {
      double g[3], t[kFromDepth];
      for (int k = 0; k < 3; ++k) g[k] = taps[(k * 3 + i) * 3 + j];
      weights_2(g, t);
      for (int k = 0; k < kFromDepth; ++k) deep[k][i][j] = t[k];
    }
  for (int k = 0; k < kFromDepth; ++k) {
    double wide[3][kFromSide];  // row, column
    for (int i = 0; i < 3; ++i) weights_4(deep[k][i], wide[i]);
    for (int j = 0; j < kFromSide; ++j) {
      const double g[3] = {wide[0][j], wide[1][j], wide[2][j]};
      weights_4(g, to + (k * kFromSide + j) * kFromSide);
    }
  }
}

// Where the weight of input channel c and output channel o lies within a position.
std::int64_t weight_index(std::int64_t c, std::int64_t o, std::int64_t cin, std::int64_t cout) {
  std::int64_t first = 0;
  OutputBlock block = output_block(0, cout);
  while (o >= first + block.channels()) {
    first += block.channels();
    block = output_block(first, cout);
  }
  const std::int64_t j = o - first, start = first * cin + c / 2 * block.vectors() * W;
  if (j < block.full * W) return start + c % 2 * block.full * W + j;
  return start + 2 * block.full * W + (j - block.full * W) * 2 + c % 2;
}

}  // namespace

std::int64_t winograd_weights_count(std::int64_t channels_in, std::int64_t channels_out) {
  return kPositions * padded_in(channels_in) * padded_out(channels_out);
}

void winograd_weights_kernel(const WinogradWeights& p) {
  const std::int64_t cin = padded_in(p.channels_in), cout = padded_out(p.channels_out);
  const std::int64_t pitch = cin * cout;
  float* to = static_cast<float*>(p.transformed);
  for (std::int64_t i = 0; i < kPositions * pitch; ++i) to[i] = 0;
  for (std::int64_t o = 0; o < p.channels_out; ++o)
    for (std::int64_t c = 0; c < p.channels_in; ++c) {
      double values[kPositions];
      transform_taps(static_cast<const float*>(p.weight) + (o * p.channels_in + c) * 27, values);
      float* at = to + weight_index(c, o, cin, cout);
      for (int position = 0; position < kPositions; ++position)
        at[position * pitch] = static_cast<float>(values[position]);
    }
}

std::int64_t winograd_forward_bytes(const WinogradForward& p) { return Forward(p).bytes; }

void winograd_forward_kernel(const WinogradForward& p) { Forward(p).compute_all(); }

}  // namespace mri2pet::cpu::MRI2PET_BUILD
