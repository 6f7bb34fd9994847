// Memory on the GPU and the stream that fills it.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <vector>

#include "checks.h"

namespace mri2pet::example {

// Its own stream: what is captured into a graph may not be on the default one.
class Stream {
 public:
  Stream() {
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  cudaStream_t get() const { return stream_; }
  void wait() const { check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize"); }

 private:
  cudaStream_t stream_ = nullptr;
};

// `count` values at a multiple of 256 bytes, as cudaMalloc gives them; all zero at first.
template <typename T>
class DeviceArray {
 public:
  DeviceArray(const Stream& stream, std::int64_t count) : stream_(stream), count_(count) {
    check(cudaMalloc(reinterpret_cast<void**>(&data_), bytes()), "cudaMalloc");
    clear();
  }
  DeviceArray(const Stream& stream, const std::vector<T>& values)
      : DeviceArray(stream, static_cast<std::int64_t>(values.size())) {
    upload(values);
  }
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() const { return data_; }
  std::int64_t count() const { return count_; }

  void clear() { check(cudaMemsetAsync(data_, 0, bytes(), stream_.get()), "cudaMemsetAsync"); }

  void upload(const std::vector<T>& values) {
    check(static_cast<std::int64_t>(values.size()) == count_, "upload of another size");
    check(cudaMemcpyAsync(data_, values.data(), bytes(), cudaMemcpyHostToDevice, stream_.get()),
          "cudaMemcpyAsync to the device");
    stream_.wait();
  }

  std::vector<T> download() const {
    std::vector<T> values(static_cast<std::size_t>(count_));
    check(cudaMemcpyAsync(values.data(), data_, bytes(), cudaMemcpyDeviceToHost, stream_.get()),
          "cudaMemcpyAsync to the host");
    stream_.wait();
    return values;
  }

 private:
  std::size_t bytes() const { return static_cast<std::size_t>(count_) * sizeof(T); }

  const Stream& stream_;
  std::int64_t count_ = 0;
  T* data_ = nullptr;
};

}  // namespace mri2pet::example
