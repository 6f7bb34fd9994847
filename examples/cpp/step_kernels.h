// The two ends of a step, so that the same captured step serves every row of the tables.
#pragma once

#include <cstdint>

#include "mri2pet/status.h"

namespace mri2pet::example {

struct GatherRow {
  const float* table = nullptr;          // [rows, width]
  const std::int64_t* counter = nullptr; // [1], which row
  float* out = nullptr;                  // [batch, width], the row once for each volume
  std::int64_t width = 0;
  std::int64_t batch = 0;
};

Status gather_row(const GatherRow& p, void* stream);

struct Advance {
  std::int64_t* counter = nullptr;  // [1]
};

// counter += 1
Status advance(const Advance& p, void* stream);

}  // namespace mri2pet::example
