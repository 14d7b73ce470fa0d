// Memory that calls reuse, and how threads share the work of a call.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

// Memory of a thread that calls reuse; kinds are apart.
enum Kind { kWeights, kSums, kState, kKinds };
template <class T>
T* scratch(Kind kind, size_t n) {
  struct Block {
    void* data = nullptr;
    size_t size = 0;
    ~Block() { std::free(data); }
  };
  static thread_local Block blocks[kKinds];
  Block& block = blocks[kind];
  size_t size = (n * sizeof(T) + 4095) / 4096 * 4096;
  if (block.size < size) {
    std::free(block.data);
    block.size = 0;
    block.data = std::aligned_alloc(4096, size);
    if (block.data == nullptr) throw std::bad_alloc();
    block.size = size;
  }
  return static_cast<T*>(block.data);
}

// Asks for large pages where a result is large, from the one in which it begins to the one
// in which it ends. The C library may map a program's memory anew at every call, and then
// each page of 4 KiB is a fault, when it is first written.
template <class T>
void large_pages(T* data, size_t n) {
#ifdef MADV_HUGEPAGE
  constexpr uintptr_t kLarge = 1 << 21;
  const uintptr_t first = reinterpret_cast<uintptr_t>(data), size = n * sizeof(T);
  const uintptr_t begin = first / kLarge * kLarge;
  const uintptr_t end = (first + size + kLarge - 1) / kLarge * kLarge;
  if (size >= kLarge) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

// Runs `task(i)` for i < n on this thread and on those of the pool that come in time.
// Whoever comes takes the next share, so this never waits for a thread that is not there.
template <class F>
void share(ffi::ThreadPool& pool, long n, F task) {
  if (n == 1) return task(0);
  struct State {
    std::atomic<long> next{0}, done{0};
    std::mutex mutex;
    std::condition_variable all;
  };
  auto state = std::make_shared<State>();
  F* shared = &task;  // alive until all shares are done
  auto work = [state, shared, n] {
    for (long i; (i = state->next.fetch_add(1)) < n;) {
      (*shared)(i);
      if (state->done.fetch_add(1) + 1 == n) {
        std::lock_guard<std::mutex> lock(state->mutex);
        state->all.notify_all();
      }
    }
  };
  for (long i = 1; i < n; ++i) pool.Schedule(std::function<void()>(work));
  work();
  std::unique_lock<std::mutex> lock(state->mutex);
  state->all.wait(lock, [&] { return state->done.load() == n; });
}

// How many threads a loop's multiply-adds are worth.
inline long worth(long threads, long rows, long multiply_adds) {
  return std::max(1L, std::min({threads, rows, multiply_adds >> 19}));
}

}  // namespace
