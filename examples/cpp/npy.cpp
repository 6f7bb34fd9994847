#include "npy.h"

#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <numeric>
#include <regex>

#include "checks.h"

namespace mri2pet::example {
namespace {

constexpr char kMagic[] = "\x93NUMPY";
constexpr std::size_t kMagicSize = 6;

template <typename T>
const char* description();
template <>
const char* description<float>() { return "<f4"; }
template <>
const char* description<double>() { return "<f8"; }
template <>
const char* description<std::int64_t>() { return "<i8"; }

std::size_t little_endian(const std::string& bytes, std::size_t at, std::size_t size) {
  std::size_t value = 0;
  for (std::size_t i = 0; i < size; ++i)
    value |= std::size_t{static_cast<unsigned char>(bytes[at + i])} << (8 * i);
  return value;
}

// The header's text and where the values start.
std::string header(const std::string& file, const std::string& bytes, std::size_t& start) {
  const bool is_npy = bytes.size() > 12 && bytes.compare(0, kMagicSize, kMagic, kMagicSize) == 0;
  if (!is_npy) fail(file + ": not a .npy file");
  const std::size_t size = bytes[6] == 1 ? 2 : 4;
  const std::size_t length = little_endian(bytes, 8, size);
  start = 8 + size + length;
  if (start > bytes.size()) fail(file + ": cut within its header");
  return bytes.substr(8 + size, length);
}

Shape shape_of(const std::string& file, const std::string& head) {
  std::smatch found;
  if (!std::regex_search(head, found, std::regex(R"('shape':\s*\(([0-9, ]*)\))")))
    fail(file + ": its header names no shape");
  const std::string inside = found[1];
  const std::regex number("[0-9]{1,12}");
  Shape shape;
  for (std::sregex_iterator i(inside.begin(), inside.end(), number), end; i != end; ++i)
    shape.push_back(std::stoll(i->str()));
  return shape;
}

}  // namespace

std::int64_t count(const Shape& shape) {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

std::string text(const Shape& shape) {
  std::string all;
  for (const std::int64_t size : shape) all += (all.empty() ? "" : ", ") + std::to_string(size);
  return "(" + all + ")";
}

std::string read_file(const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) fail(file + ": cannot be opened");
  std::string bytes((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
  if (stream.bad()) fail(file + ": cannot be read");
  return bytes;
}

template <typename T>
Array<T> read_npy(const std::string& file) {
  const std::string bytes = read_file(file);
  std::size_t start = 0;
  const std::string head = header(file, bytes, start);
  if (head.find(std::string("'") + description<T>() + "'") == std::string::npos)
    fail(file + ": not of the type " + description<T>());
  if (head.find("'fortran_order': False") == std::string::npos) fail(file + ": not in C order");
  Array<T> array{shape_of(file, head), {}};
  const std::size_t size = static_cast<std::size_t>(count(array.shape)) * sizeof(T);
  if (bytes.size() != start + size)
    fail(file + ": holds " + std::to_string(bytes.size() - start) + " bytes of values, not the " +
         std::to_string(size) + " of its shape " + text(array.shape));
  array.values.resize(size / sizeof(T));
  std::memcpy(array.values.data(), bytes.data() + start, size);
  return array;
}

template Array<float> read_npy<float>(const std::string&);
template Array<double> read_npy<double>(const std::string&);
template Array<std::int64_t> read_npy<std::int64_t>(const std::string&);

void write_npy(const std::string& file, const Array<float>& array) {
  const char* comma = array.shape.size() == 1 ? ",)" : ")";
  const std::string shape = text(array.shape);
  std::string head = "{'descr': '<f4', 'fortran_order': False, 'shape': " +
                     shape.substr(0, shape.size() - 1) + comma + ", }";
  head.append(63 - (10 + head.size()) % 64, ' ');
  head += '\n';
  const std::string part = file + ".part";
  std::ofstream stream(part, std::ios::binary | std::ios::trunc);
  stream.write(kMagic, kMagicSize).put(1).put(0);
  stream.put(static_cast<char>(head.size() & 0xff)).put(static_cast<char>(head.size() >> 8));
  stream << head;
  stream.write(reinterpret_cast<const char*>(array.values.data()),
               static_cast<std::streamsize>(array.values.size() * sizeof(float)));
  stream.close();
  if (!stream || std::rename(part.c_str(), file.c_str()) != 0) {
    std::remove(part.c_str());
    fail(file + ": cannot be written");
  }
}

}  // namespace mri2pet::example
