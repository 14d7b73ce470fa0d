// The linear recurrence s = a s + b, element by element, or s = a (s + b): see linear_loop.
//
// Nothing is computed twice and nothing read twice, so memory sets the pace: a thread takes
// a block of elements through all steps, with their s in the first cache.
#pragma once

#include "tiles.h"

namespace {

template <class T>
struct Linear {  // null where there is none; of complex numbers the parts side by side
  long steps, batch, units;  // units: real numbers of one sequence at one step
  bool constant;             // one a for all steps
  const T *a, *b, *h;
  const bool *mask, *starts;
  T *last, *out;
};

// n elements of one step: out = s = a s + b, or out = s + b and then s = a out.
template <class T, bool kComplex, bool kAfter>
INLINE void linear_step(long n, const T* __restrict a, const T* __restrict b, T* __restrict s,
                        T* __restrict out) {
  if constexpr (kComplex) {
    for (long i = 0; i < n; i += 2) {
      const T re = kAfter ? s[i] + b[i] : s[i], im = kAfter ? s[i + 1] + b[i + 1] : s[i + 1];
      const T new_re = a[i] * re - a[i + 1] * im, new_im = a[i] * im + a[i + 1] * re;
      out[i] = kAfter ? re : new_re + b[i];
      out[i + 1] = kAfter ? im : new_im + b[i + 1];
      s[i] = kAfter ? new_re : out[i];
      s[i + 1] = kAfter ? new_im : out[i + 1];
    }
  } else {
    for (long i = 0; i < n; ++i) {
      out[i] = kAfter ? s[i] + b[i] : a[i] * s[i] + b[i];
      s[i] = kAfter ? a[i] * out[i] : out[i];
    }
  }
}

// The elements [begin, end) of all sequences.
template <class T, bool kComplex, bool kAfter>
void linear_block(const Linear<T>& io, bool reverse, long begin, long end) {
  const long all = io.batch * io.units;
  T* s = scratch<T>(kState, end - begin) - begin;
  std::memcpy(s + begin, io.h + begin, (end - begin) * sizeof(T));
  for (long step = 0; step < io.steps; ++step) {
    const long t = reverse ? io.steps - 1 - step : step;
    const T *a = io.a + (io.constant ? 0 : t * all), *b = io.b + t * all;
    T* out = io.out + t * all;
    if (!io.mask && !io.starts) {
      linear_step<T, kComplex, kAfter>(end - begin, a + begin, b + begin, s + begin,
                                       out + begin);
      continue;
    }
    for (long from = begin; from < end;) {
      const long row = from / io.units, to = std::min(end, (row + 1) * io.units);
      const bool starts = io.starts && io.starts[t * io.batch + row];
      const bool valid = !io.mask || io.mask[t * io.batch + row];
      if (valid && !starts) {
        linear_step<T, kComplex, kAfter>(to - from, a + from, b + from, s + from, out + from);
      } else if (kAfter) {
        for (long i = from; i < to; ++i) out[i] = s[i] + b[i], s[i] = starts ? T(0) : out[i];
      } else {
        for (long i = from; i < to; ++i) out[i] = s[i] = starts ? b[i] : s[i];
      }
      from = to;
    }
  }
  std::memcpy(io.last + begin, s + begin, (end - begin) * sizeof(T));
}

template <class T, bool kComplex>
void linear(ffi::ThreadPool& pool, long threads, bool reverse, bool after, Linear<T> io) {
  constexpr long kBlock = 4096;  // numbers whose s stay in the first cache
  const long all = io.batch * io.units;
  const long shares = worth(threads, (all + 1) / 2, all * io.steps * 8);
  const long blocks = std::max(shares, (all + kBlock - 1) / kBlock);
  large_pages(io.out, all * io.steps);
  share(pool, shares, [&](long i) {
    for (long k = blocks * i / shares; k < blocks * (i + 1) / shares; ++k) {
      const long begin = all / 2 * k / blocks * 2;
      const long end = k + 1 == blocks ? all : all / 2 * (k + 1) / blocks * 2;
      if (after) {
        linear_block<T, kComplex, true>(io, reverse, begin, end);
      } else {
        linear_block<T, kComplex, false>(io, reverse, begin, end);
      }
    }
  });
}

}  // namespace
