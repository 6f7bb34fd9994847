// Which build of the kernels this processor runs. Every file of csrc/cpu/kernels is compiled once
// for each instruction set, in a namespace of its own; the public launchers choose at run time.
#pragma once

namespace mri2pet::cpu {

enum class Isa { generic, avx2, avx512 };

// The best that the processor has. MRI2PET_ISA=generic|avx2|avx512 in the environment asks for
// less; asking for more than there is changes nothing. Read once.
Isa isa();
const char* name(Isa isa);

}  // namespace mri2pet::cpu

#if defined(MRI2PET_X86_KERNELS)
// The value of `call` made in the namespace of the chosen build; inside namespace mri2pet::cpu.
#define MRI2PET_DISPATCH(call)                               \
  (::mri2pet::cpu::isa() == ::mri2pet::cpu::Isa::avx512      \
       ? ::mri2pet::cpu::avx512::call                        \
       : ::mri2pet::cpu::isa() == ::mri2pet::cpu::Isa::avx2  \
             ? ::mri2pet::cpu::avx2::call                    \
             : ::mri2pet::cpu::generic::call)
#define MRI2PET_DECLARE_KERNEL(declaration)  \
  namespace generic { declaration }          \
  namespace avx2 { declaration }             \
  namespace avx512 { declaration }
#else
#define MRI2PET_DISPATCH(call) ::mri2pet::cpu::generic::call
#define MRI2PET_DECLARE_KERNEL(declaration) \
  namespace generic { declaration }
#endif
