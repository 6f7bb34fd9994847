#include "mri2pet/resample.h"

#include <algorithm>

#include "bind.h"

namespace mri2pet::bindings {
namespace {

using Shape = std::array<std::int64_t, 3>;

std::string describe(const Resample& p) {
  std::ostringstream text;
  text << "order " << p.order << ", source " << p.source[0] << " x " << p.source[1] << " x "
       << p.source[2] << ", target " << p.target[0] << " x " << p.target[1] << " x "
       << p.target[2];
  return text.str();
}

Resample make(const Shape& source, const Shape& strides, const Shape& target, std::int64_t first,
              int order, const std::array<double, 12>& index_map, Pointer values, Pointer needed,
              Pointer out) {
  Resample p;
  std::copy(source.begin(), source.end(), p.source);
  std::copy(strides.begin(), strides.end(), p.strides);
  std::copy(target.begin(), target.end(), p.target);
  std::copy(index_map.begin(), index_map.end(), p.index_map);
  p.first = first;
  p.order = order;
  p.values = static_cast<const float*>(pointer(values));
  p.needed = static_cast<const std::uint8_t*>(pointer(needed));
  p.out = static_cast<float*>(pointer(out));
  return p;
}

}  // namespace

void bind_resample(py::module_& m) {
  using py::arg;
  py::class_<Resample> params(m, "Resample");
  params.def(py::init(&make), arg("source"), arg("strides"), arg("target"), arg("first"),
             arg("order"), arg("index_map"), arg("values"), arg("needed"), arg("out"));
  bind_launcher<Resample>(m, "resample", &cpu::resample, nullptr, nullptr, nullptr, &describe);
}

}  // namespace mri2pet::bindings
