#include "isa.h"

#include <cstdlib>
#include <cstring>
#include <initializer_list>

namespace mri2pet::cpu {
namespace {

Isa best() {
#if defined(MRI2PET_X86_KERNELS)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx2 && avx512) return Isa::avx512;
  if (avx2) return Isa::avx2;
#endif
  return Isa::generic;
}

Isa choose() {
  const Isa there = best();
  const char* asked = std::getenv("MRI2PET_ISA");
  for (Isa isa : {Isa::generic, Isa::avx2, Isa::avx512}) {
    if (asked != nullptr && std::strcmp(asked, name(isa)) == 0 && isa < there) return isa;
  }
  return there;
}

}  // namespace

Isa isa() {
  static const Isa chosen = choose();
  return chosen;
}

const char* name(Isa isa) {
  return isa == Isa::avx512 ? "avx512" : isa == Isa::avx2 ? "avx2" : "generic";
}

}  // namespace mri2pet::cpu
