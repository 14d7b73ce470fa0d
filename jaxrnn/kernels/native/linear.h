// The linear recurrence s = a s + b, element by element, or s = a (s + b): see linear_loop.
//
// Nothing is read twice, so memory sets the pace: a thread takes a block of elements of one
// sequence through all steps, with their s in the first cache. Sequences come one after the
// other, as programs have them, since a copy with the steps first would take as long.
#pragma once

#include "tiles.h"

namespace {

template <class T>
struct Linear {  // null where there is none; of complex numbers the parts side by side
  long batch, steps, units;  // the axes; units: real numbers of one sequence at one step
  bool constant;             // one a for all steps
  const T *a, *b, *h;
  const bool *mask, *starts;
  T *last, *out;
};

// n elements of one step: out = s = a s + b, or out = s + b and then s = a out. `out` may
// stand where a or b does: no element depends on another one, which ivdep tells.
template <class T, bool kComplex, bool kAfter>
INLINE void linear_step(long n, const T* a, const T* b, T* s, T* out) {
  if constexpr (kComplex) {
    IVDEP for (long i = 0; i < n; i += 2) {
      const T re = kAfter ? s[i] + b[i] : s[i], im = kAfter ? s[i + 1] + b[i + 1] : s[i + 1];
      const T new_re = a[i] * re - a[i + 1] * im, new_im = a[i] * im + a[i + 1] * re;
      out[i] = kAfter ? re : new_re + b[i];
      out[i + 1] = kAfter ? im : new_im + b[i + 1];
      s[i] = kAfter ? new_re : out[i];
      s[i + 1] = kAfter ? new_im : out[i + 1];
    }
  } else {
    IVDEP for (long i = 0; i < n; ++i) {
      out[i] = kAfter ? s[i] + b[i] : a[i] * s[i] + b[i];
      s[i] = kAfter ? a[i] * out[i] : out[i];
    }
  }
}

// The elements [begin, end) of one sequence.
template <class T, bool kComplex, bool kAfter>
void linear_block(const Linear<T>& io, bool reverse, long row, long begin, long end) {
  const long n = end - begin, units = io.units;
  const T *a = io.a + row * (io.constant ? 1 : io.steps) * units + begin;
  const T *b = io.b + row * io.steps * units + begin;
  T *out = io.out + row * io.steps * units + begin, *s = scratch<T>(kState, n);
  std::memcpy(s, io.h + row * units + begin, n * sizeof(T));
  for (long step = 0; step < io.steps; ++step) {
    const long t = reverse ? io.steps - 1 - step : step, at = t * units;
    const bool starts = io.starts && io.starts[row * io.steps + t];
    const bool valid = !io.mask || io.mask[row * io.steps + t];
    if (valid && !starts) {
      linear_step<T, kComplex, kAfter>(n, a + (io.constant ? 0 : at), b + at, s, out + at);
    } else if (kAfter) {
      for (long i = 0; i < n; ++i) out[at + i] = s[i] + b[at + i];
      for (long i = 0; i < n; ++i) s[i] = starts ? T(0) : out[at + i];
    } else {
      for (long i = 0; i < n; ++i) out[at + i] = s[i] = starts ? b[at + i] : s[i];
    }
  }
  std::memcpy(io.last + row * units + begin, s, n * sizeof(T));
}

template <class T, bool kComplex>
void linear(ffi::ThreadPool& pool, long threads, bool reverse, bool after, Linear<T> io) {
  constexpr long kBlock = 4096;  // numbers whose s stay in the first cache
  const long pairs = (io.units + 1) / 2, work = io.batch * io.units * io.steps * 8;
  long blocks = (io.units + kBlock - 1) / kBlock;  // of a sequence
  if (io.batch < threads) blocks = std::max(blocks, std::min(pairs, threads));
  const long shares = worth(threads, io.batch * blocks, work);
  large_pages(io.out, io.batch * io.steps * io.units);
  share(pool, shares, [&](long i) {
    const long tasks = io.batch * blocks;
    for (long k = tasks * i / shares; k < tasks * (i + 1) / shares; ++k) {
      const long row = k / blocks, block = k % blocks;
      const long begin = pairs * block / blocks * 2;
      const long end = std::min(io.units, pairs * (block + 1) / blocks * 2);
      if (after) {
        linear_block<T, kComplex, true>(io, reverse, row, begin, end);
      } else {
        linear_block<T, kComplex, false>(io, reverse, row, begin, end);
      }
    }
  });
}

}  // namespace
