# Adds csrc/cpu/kernels to <module>, compiled once for each instruction set; the module chooses at run
# time. On other processors than x86-64 there is the generic build alone.
function(mri2pet_add_cpu_kernels module)
  file(GLOB kernels CONFIGURE_DEPENDS csrc/cpu/kernels/*.cpp)
  set(generic_flags "")
  set(avx2_flags -mavx2 -mfma -mf16c)
  set(avx512_flags ${avx2_flags} -mavx512f -mavx512bw -mavx512dq -mavx512vl
                   -mprefer-vector-width=512)
  set(builds generic)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
    list(APPEND builds avx2 avx512)
    target_compile_definitions(${module} PRIVATE MRI2PET_X86_KERNELS)
  endif()
  foreach(build IN LISTS builds)
    set(library mri2pet_kernels_${build})
    add_library(${library} OBJECT ${kernels})
    target_include_directories(${library} PRIVATE csrc/include)
    # A multiply and an add may become one instruction; nothing else of -ffast-math.
    target_compile_options(${library} PRIVATE -O3 -fno-math-errno -ffp-contract=fast
                                              ${${build}_flags})
    target_link_libraries(${module} PRIVATE ${library})
  endforeach()

  # Linked dynamically: torch's wheel brings a libgomp of the same SONAME, so that a process which
  # has imported torch has one OpenMP runtime and one set of threads.
  find_package(OpenMP COMPONENTS CXX)
  if(OpenMP_CXX_FOUND)
    target_link_libraries(${module} PRIVATE OpenMP::OpenMP_CXX)
  else()
    find_package(Threads REQUIRED)
    target_link_libraries(${module} PRIVATE Threads::Threads)
  endif()
endfunction()
