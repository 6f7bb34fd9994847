// Cuts a workspace into 64-byte aligned arrays. With a null base it only counts bytes, so that one
// function both sizes and lays out a workspace.
#pragma once

#include "vec.h"

namespace mri2pet::cpu::MRI2PET_BUILD {

class Arena {
 public:
  explicit Arena(void* base) : base_(static_cast<char*>(base)) {}

  template <typename T>
  T* take(std::int64_t count) {
    char* at = base_ == nullptr ? nullptr : base_ + used_;
    used_ += (count * static_cast<std::int64_t>(sizeof(T)) + 63) / 64 * 64;
    return reinterpret_cast<T*>(at);
  }

  std::int64_t bytes() const { return used_; }
  bool counts_only() const { return base_ == nullptr; }

 private:
  char* base_;
  std::int64_t used_ = 0;
};

}  // namespace mri2pet::cpu::MRI2PET_BUILD
