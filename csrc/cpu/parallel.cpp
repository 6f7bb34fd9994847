#include "parallel.h"

#if defined(_OPENMP)
#include <omp.h>
#else
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>
#endif

namespace mri2pet::cpu {

#if defined(_OPENMP)

void parallel_for(int threads, std::int64_t tasks, Body body, void* context) {
  if (threads > tasks) threads = static_cast<int>(tasks);
  if (threads <= 1 || omp_in_parallel()) {
    for (std::int64_t task = 0; task < tasks; ++task) body(context, task, 0);
    return;
  }
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
  for (std::int64_t task = 0; task < tasks; ++task) body(context, task, omp_get_thread_num());
}

const char* threading() { return "OpenMP"; }

#else

namespace {

// One job at a time; workers sleep between jobs. Never destroyed, so that a thread which still
// waits when the process ends finds its mutex.
class Pool {
 public:
  void run(int threads, std::int64_t tasks, Body body, void* context) {
    std::unique_lock<std::mutex> caller(one_job_);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      while (static_cast<int>(workers_.size()) < threads - 1)
        workers_.emplace_back([this, id = static_cast<int>(workers_.size()) + 1,
                               seen = job_] { work(id, seen); });
      body_ = body;
      context_ = context;
      tasks_ = tasks;
      next_ = 0;
      wanted_ = threads - 1;
      running_ = static_cast<int>(workers_.size());
      ++job_;
    }
    start_.notify_all();
    drain(0);
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return running_ == 0; });
  }

 private:
  void drain(int worker) {
    for (std::int64_t task; (task = next_.fetch_add(1)) < tasks_;) body_(context_, task, worker);
  }

  void work(int id, std::uint64_t seen) {
    for (;;) {
      bool mine = false;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        start_.wait(lock, [&] { return job_ != seen; });
        seen = job_;
        mine = id <= wanted_;
      }
      if (mine) drain(id);
      std::lock_guard<std::mutex> lock(mutex_);
      if (--running_ == 0) done_.notify_one();
    }
  }

  std::mutex one_job_, mutex_;
  std::condition_variable start_, done_;
  std::vector<std::thread> workers_;
  Body body_ = nullptr;
  void* context_ = nullptr;
  std::int64_t tasks_ = 0;
  std::atomic<std::int64_t> next_{0};
  int wanted_ = 0, running_ = 0;
  std::uint64_t job_ = 0;
};

}  // namespace

void parallel_for(int threads, std::int64_t tasks, Body body, void* context) {
  if (threads > tasks) threads = static_cast<int>(tasks);
  if (threads <= 1) {
    for (std::int64_t task = 0; task < tasks; ++task) body(context, task, 0);
    return;
  }
  static Pool* pool = new Pool;
  pool->run(threads, tasks, body, context);
}

const char* threading() { return "std::thread"; }

#endif

}  // namespace mri2pet::cpu
