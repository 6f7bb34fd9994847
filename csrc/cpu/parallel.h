// Runs tasks on several threads: OpenMP where CMake found it, else a small pool of its own.
#pragma once

#include <cstdint>

namespace mri2pet::cpu {

// body(context, task, worker) once for each task in [0, tasks), worker in [0, threads).
// Which worker takes a task is not fixed: a result may not depend on it. With one thread or one
// task all runs on the calling thread.
using Body = void (*)(void* context, std::int64_t task, int worker);
void parallel_for(int threads, std::int64_t tasks, Body body, void* context);

// "OpenMP" or "std::thread".
const char* threading();

}  // namespace mri2pet::cpu
