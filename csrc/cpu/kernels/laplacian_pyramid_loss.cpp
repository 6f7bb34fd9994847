// The loss and its gradient, one slice a task: the pyramid of a slice stays in the second cache.
#include "../parallel.h"
#include "mri2pet/laplacian_pyramid_loss.h"
#include "pyramid.h"
#include "workspace.h"

namespace mri2pet::cpu::MRI2PET_BUILD {
namespace {

// One slice's sums: of e^2, and of the pyramid's means times the sample's weight.
struct SliceTerms {
  double mse, laplacian;
};

template <typename T>
struct Loss {
  const LaplacianPyramidLossForward& p;
  Level<T> levels[kPyramidLevels + 1];
  std::int64_t slice;       // values of one
  std::int64_t row_values;  // of a row buffer
  SliceTerms* parts;   // [B, K]
  T* worker;
  std::int64_t worker_values, bytes;

  explicit Loss(const LaplacianPyramidLossForward& params) : p(params) {
    slice = p.rows * p.columns;
    Arena arena(p.resources.workspace);
    parts = arena.take<SliceTerms>(p.batch * p.slices);
    std::int64_t rows = p.rows, columns = p.columns, pyramid = 0;
    for (Level<T>& level : levels) {
      level = Level<T>::of(rows, columns, arena);
      pyramid += 2 * level.values();
      rows /= 2;
      columns /= 2;
    }
    row_values = round_up(p.columns, 64) + 128;
    worker_values = round_up(pyramid + kPyramidRows * row_values, 64);
    worker = arena.take<T>(p.resources.threads * worker_values);
    bytes = arena.bytes();
  }

  void slice_terms(std::int64_t task, int id) const {
    const std::int64_t b = task / p.slices;
    const bool wants_gradient = p.grad != nullptr;
    T* next = worker + id * worker_values;
    const auto take = [&next](std::int64_t count) {
      T* taken = next;
      next += count;
      return taken;
    };
    T* image[kPyramidLevels + 1];
    T* gradient[kPyramidLevels + 1];  // of a level below the finest, all that reaches it
    for (int l = 0; l <= kPyramidLevels; ++l) {
      image[l] = take(levels[l].values());
      gradient[l] = l > 0 ? take(levels[l].values()) : nullptr;
    }
    Rows<T> rows;
    for (T** row : {&rows.wide[0], &rows.wide[1], &rows.sums[0], &rows.sums[1], &rows.lines[0],
                    &rows.lines[1], &rows.lines[2], &rows.lines[3], &rows.narrow})
      *row = take(row_values);

    parts[task].mse = errors(task * slice, image[0], image[1], rows);
    for (int l = 1; l < kPyramidLevels; ++l) levels[l].pool(image[l], image[l + 1]);
    const auto kept = static_cast<T>(2.0 / static_cast<double>(p.batch * p.slices * slice));
    const double weight = static_cast<double>(static_cast<const T*>(p.weight)[b]);
    double laplacian = 0;
    // From the coarsest level: A_l = r_l + D^T (A_{l+1} - U^T r_l), and 2 e / n in the finest.
    for (int l = kPyramidLevels - 1; l >= 0; --l) {
      const auto count = static_cast<double>(p.slices * levels[l].rows * levels[l].columns);
      const double factor = 2 * p.laplacian_weight * weight / (count * p.batch);
      T* out = l > 0 ? gradient[l] : static_cast<T*>(p.grad) + task * slice;
      laplacian += levels[l].ascend(image[l], image[l + 1],
                                    l + 1 < kPyramidLevels ? gradient[l + 1] : nullptr,
                                    static_cast<T>(factor), l == 0 ? kept : T(0),
                                    wants_gradient ? out : nullptr,
                                    l > 0 ? levels[l].stride : p.columns, rows) /
                   count;
    }
    parts[task].laplacian = laplacian * weight;
  }

  // e = output - target of a slice, row by row, and its means of 2 x 2; the sum of e^2.
  double errors(std::int64_t start, T* e, T* coarse, const Rows<T>& buffers) const {
    double total = 0;
    for (std::int64_t i = 0; i < p.rows; ++i) {
      const std::int64_t at = start + i * p.columns;
      T* line = e + i * levels[0].stride;
      const T* output = row(p.output, p.output_dtype, at, buffers.lines[0]);
      const T* target = row(p.target, p.target_dtype, at, buffers.lines[1]);
      total += subtract(output, target, p.columns, line);
      Level<T>::clear(line, p.columns, levels[0].stride);
      if (i % 2 != 0) levels[0].pool_rows(e, i / 2, coarse);
    }
    return total;
  }

  // A row as T, where it lies or widened into the buffer.
  const T* row(const void* from, DType dtype, std::int64_t at, T* buffer) const {
    if (dtype == (sizeof(T) == sizeof(double) ? DType::f64 : DType::f32))
      return static_cast<const T*>(from) + at;
    widen(from, dtype, at, p.columns, buffer);
    return buffer;
  }

  // difference = a - b; the sum of its squares.
  static double subtract(const T* a, const T* b, std::int64_t count, T* difference) {
    Vec<T> squares = {};
    std::int64_t i = 0;
    for (; i + kLanes<T> <= count; i += kLanes<T>) {
      const Vec<T> d = load(a + i) - load(b + i);
      store(difference + i, d);
      squares += d * d;
    }
    T rest = 0;
    for (; i < count; ++i) {
      difference[i] = a[i] - b[i];
      rest += difference[i] * difference[i];
    }
    return static_cast<double>(sum_lanes<T>(squares)) + static_cast<double>(rest);
  }

  void run() {
    parallel_for(
        p.resources.threads, p.batch * p.slices,
        [](void* f, std::int64_t task, int id) { static_cast<Loss*>(f)->slice_terms(task, id); },
        static_cast<void*>(this));
    double mse = 0, laplacian = 0;
    for (std::int64_t i = 0; i < p.batch * p.slices; ++i) {
      mse += parts[i].mse;
      laplacian += parts[i].laplacian;
    }
    mse /= static_cast<double>(p.batch * p.slices * slice);
    laplacian /= static_cast<double>(p.batch);
    T* terms = static_cast<T*>(p.terms);
    terms[0] = static_cast<T>(mse + p.laplacian_weight * laplacian);
    terms[1] = static_cast<T>(mse);
    terms[2] = static_cast<T>(laplacian);
  }
};

constexpr std::int64_t kRun = 16384;  // values of the backward pass that are one task
constexpr std::int64_t kStep = 512;

template <typename T>
void scale_run(const LaplacianPyramidLossBackward& p, std::int64_t task) {
  const T factor = *static_cast<const T*>(p.grad_loss);
  const T* grad = static_cast<const T*>(p.grad);
  const std::int64_t end = smaller(p.count, (task + 1) * kRun);
  if (p.output_dtype == (sizeof(T) == sizeof(double) ? DType::f64 : DType::f32)) {
    T* __restrict to = static_cast<T*>(p.grad_output);
    for (std::int64_t i = task * kRun; i < end; ++i) to[i] = grad[i] * factor;
    return;
  }
  T values[kStep];
  for (std::int64_t start = task * kRun; start < end; start += kStep) {
    const std::int64_t count = smaller(kStep, end - start);
    for (std::int64_t i = 0; i < count; ++i) values[i] = grad[start + i] * factor;
    narrow(values, count, p.grad_output, p.output_dtype, start);
  }
}

}  // namespace

std::int64_t laplacian_pyramid_loss_forward_bytes(const LaplacianPyramidLossForward& p) {
  return accumulates_in_f64(p.output_dtype) ? Loss<double>(p).bytes : Loss<float>(p).bytes;
}

void laplacian_pyramid_loss_forward_kernel(const LaplacianPyramidLossForward& p) {
  if (accumulates_in_f64(p.output_dtype)) {
    Loss<double>(p).run();
  } else {
    Loss<float>(p).run();
  }
}

void laplacian_pyramid_loss_backward_kernel(const LaplacianPyramidLossBackward& p) {
  LaplacianPyramidLossBackward copy = p;
  Body body = [](void* q, std::int64_t task, int) {
    scale_run<float>(*static_cast<LaplacianPyramidLossBackward*>(q), task);
  };
  if (accumulates_in_f64(p.output_dtype)) {
    body = [](void* q, std::int64_t task, int) {
      scale_run<double>(*static_cast<LaplacianPyramidLossBackward*>(q), task);
    };
  }
  parallel_for(p.resources.threads, (p.count + kRun - 1) / kRun, body, &copy);
}

}  // namespace mri2pet::cpu::MRI2PET_BUILD
