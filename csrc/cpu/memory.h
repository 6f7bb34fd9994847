// Fresh memory of an output: asks the system for large pages.
#pragma once

#include <cstdint>

namespace mri2pet::cpu {

// Where large pages are given on request only (Linux: transparent_hugepage=madvise), the first
// write to a fresh 50 MB tensor costs ten times the write itself in page faults. A hint: nothing
// depends on it, and memory below 4 MB is left alone.
void expect_to_fill(void* memory, std::int64_t bytes);

}  // namespace mri2pet::cpu
