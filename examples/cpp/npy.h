// Arrays in NumPy's .npy format: little-endian, C order.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mri2pet::example {

using Shape = std::vector<std::int64_t>;

template <typename T>
struct Array {
  Shape shape;
  std::vector<T> values;
};

std::int64_t count(const Shape& shape);
std::string text(const Shape& shape);  // (1, 2, 3)

// T: float, double or std::int64_t. Throws when the file is missing, cut, or of another type.
template <typename T>
Array<T> read_npy(const std::string& file);

// The file has its name only once it is complete.
void write_npy(const std::string& file, const Array<float>& array);

std::string read_file(const std::string& file);

}  // namespace mri2pet::example
