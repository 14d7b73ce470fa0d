// Products of a few rows with packed weights, of which loops and large products are made.
//
// One step of a loop multiplies a few rows (the batch) with the same weights as the step
// before. So the weights are packed once for a call, into panels of NV vectors of columns,
// of which those of one unit's gates stand side by side. A tile of at most kRows rows
// times one panel is summed up in registers: for every k, NV loads of weights and one
// broadcast for each row feed kRows x NV multiply-adds. The depth is cut into blocks of
// kDepth, so that a block of a panel stays in the first cache while all tiles read it.
// When a panel is done, the gates' non-linearities are applied to its sums, which are in
// the first cache too. Cores share the batch: each runs all steps of its own rows, so
// that no core waits for another.
#pragma once

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "threads.h"

namespace {

#if defined(__AVX512F__)
constexpr int kBytes = 64, kRows = 6;
#elif defined(__AVX__)
constexpr int kBytes = 32, kRows = 3;
#else
constexpr int kBytes = 16, kRows = 6;
#endif
constexpr long kDepth = 128;
constexpr int kPanel = 4;  // vectors of a full panel

#define INLINE inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")
#define IVDEP _Pragma("GCC ivdep")

template <class T>
struct Vector {
  typedef T type __attribute__((vector_size(kBytes)));
  typedef T loose __attribute__((vector_size(kBytes), aligned(sizeof(T)), may_alias));
};
template <class T>
using Vec = typename Vector<T>::type;
template <class T>
using Loose = typename Vector<T>::loose;
template <class T>
constexpr int kLanes = kBytes / sizeof(T);

template <class T>
INLINE Vec<T> load(const T* p) {
  return *reinterpret_cast<const Loose<T>*>(p);
}
template <class T>
INLINE void store(T* p, Vec<T> v) {
  *reinterpret_cast<Loose<T>*>(p) = v;
}
// The first n lanes.
template <class T>
INLINE Vec<T> load(const T* p, long n) {
  if (n >= kLanes<T>) return load(p);
  Vec<T> v = {};
  for (long i = 0; i < n; ++i) v[i] = p[i];
  return v;
}
template <class T>
INLINE void store(T* p, Vec<T> v, long n) {
  if (n >= kLanes<T>) return store(p, v);
  for (long i = 0; i < n; ++i) p[i] = v[i];
}

// tanh as a ratio of polynomials, within a few units in the last place (as in Eigen).
INLINE Vec<float> tanh_of(Vec<float> x) {
  constexpr float kEnd = 7.90531110763549805f;
  Vec<float> limit = Vec<float>{} + kEnd;
  Vec<float> y = x > limit ? limit : x;
  y = y < -limit ? -limit : y;
  Vec<float> s = y * y;
  Vec<float> p = s * -2.76076847742355e-16f + 2.00018790482477e-13f;
  p = p * s + -8.60467152213735e-11f;
  p = p * s + 5.12229709037114e-08f;
  p = p * s + 1.48572235717979e-05f;
  p = p * s + 6.37261928875436e-04f;
  p = p * s + 4.89352455891786e-03f;
  Vec<float> q = s * 1.19825839466702e-06f + 1.18534705686654e-04f;
  q = q * s + 2.26843463243900e-03f;
  q = q * s + 4.89352518554385e-03f;
  Vec<float> r = y * p / q;
  return x == x ? r : x;
}
INLINE Vec<double> tanh_of(Vec<double> x) {
  Vec<double> y;
  for (int i = 0; i < kLanes<double>; ++i) y[i] = std::tanh(x[i]);
  return y;
}
INLINE Vec<float> sigmoid_of(Vec<float> x) { return tanh_of(x * 0.5f) * 0.5f + 0.5f; }
INLINE Vec<double> sigmoid_of(Vec<double> x) { return tanh_of(x * 0.5) * 0.5 + 0.5; }

// Rows of an array: one after the other, or those `at` the indices.
template <class T>
struct Lines {
  T* first;
  long apart;
  const long* at = nullptr;
  T* operator[](long i) const { return first + (at ? at[i] : i) * apart; }
};

// z [M, ...] += a [M, K] w [K, NV vectors], from the i-th row on. With kApart the last
// vector of w is added to the vector after its own, as for the candidate of a GRU.
template <class T, int M, int NV, bool kApart>
INLINE void tile(Lines<const T> a, long col, const T* w, long depth, Lines<T> z, long i) {
  constexpr int L = kLanes<T>;
  auto at = [](int v) { return (kApart && v == NV - 1 ? v + 1 : v) * L; };
  const T* from[M];
  T* to[M];
  Vec<T> sum[M][NV];
  UNROLL for (int m = 0; m < M; ++m) {
    from[m] = a[i + m], to[m] = z[i + m];
    UNROLL for (int v = 0; v < NV; ++v) sum[m][v] = load(to[m] + at(v));
  }
  for (long k = 0; k < depth; ++k, w += NV * L) {
    Vec<T> of_w[NV];
    UNROLL for (int v = 0; v < NV; ++v) {
      of_w[v] = load(w + v * L);
      __builtin_prefetch(w + (8 * NV + v) * L);
    }
    UNROLL for (int m = 0; m < M; ++m) {
      const T one = from[m][k * col];
      UNROLL for (int v = 0; v < NV; ++v) sum[m][v] += one * of_w[v];
    }
  }
  UNROLL for (int m = 0; m < M; ++m) {
    UNROLL for (int v = 0; v < NV; ++v) store(to[m] + at(v), sum[m][v]);
  }
}

template <class T, int NV, bool kApart>
__attribute__((noinline)) void tiles(Lines<const T> a, long col, const T* w, long depth,
                                     Lines<T> z, long rows) {
  const long count = (rows + kRows - 1) / kRows;
  for (long i = 0, done = 0; i < count; ++i) {
    const long height = (rows - done + count - i - 1) / (count - i);  // of nearly equal height
    const auto run = [&](auto m) {
      tile<T, decltype(m)::value, NV, kApart>(a, col, w, depth, z, done);
    };
    switch (height) {
      case 1: run(std::integral_constant<int, 1>()); break;
      case 2: run(std::integral_constant<int, 2>()); break;
      case 3: run(std::integral_constant<int, 3>()); break;
#if !defined(__AVX__) || defined(__AVX512F__)
      case 4: run(std::integral_constant<int, 4>()); break;
      case 5: run(std::integral_constant<int, 5>()); break;
      case 6: run(std::integral_constant<int, 6>()); break;
#endif
    }
    done += height;
  }
}

// The same for any number of rows, in blocks of the depth.
template <class T, bool kApart = false>
void product(int nv, Lines<const T> a, long col, const T* w, long depth, Lines<T> z, long rows) {
  const long block = rows > kRows ? kDepth : depth;
  for (long k = 0; k < depth; k += block) {
    const long n = std::min(block, depth - k);
    const Lines<const T> ak{a.first + k * col, a.apart, a.at};
    const T* wk = w + k * nv * kLanes<T>;
    if constexpr (kApart) {
      tiles<T, 3, true>(ak, col, wk, n, z, rows);
    } else {
      switch (nv) {
        case 1: tiles<T, 1, false>(ak, col, wk, n, z, rows); break;
        case 2: tiles<T, 2, false>(ak, col, wk, n, z, rows); break;
        case 3: tiles<T, 3, false>(ak, col, wk, n, z, rows); break;
        default: tiles<T, 4, false>(ak, col, wk, n, z, rows);
      }
    }
  }
}

// Vectors of a panel of plain columns: fewer in the last one.
template <class T>
int width(long columns, long panel) {
  long left = columns - panel * kPanel * kLanes<T>;
  return std::min<long>(kPanel, (left + kLanes<T> - 1) / kLanes<T>);
}

// Packs `depth` rows of nv vectors; vector v begins at the column v * apart. With kGates
// each has its own `columns`, else all share them.
template <class T, bool kGates = false>
T* pack(T* to, const T* w, long ws, long cs, long depth, int nv, long apart, long columns) {
  constexpr int L = kLanes<T>;
  for (long k = 0; k < depth; ++k) {
    for (int v = 0; v < nv; ++v, to += L) {
      const T* from = w + k * ws + v * apart * cs;
      long n = std::min<long>(L, kGates ? columns : columns - v * L);
      if (cs == 1) {
        store(to, load(from, n));
      } else {
        for (int i = 0; i < L; ++i) to[i] = i < n ? from[i * cs] : T(0);
      }
    }
  }
  return to;
}

// z [columns] += a [K] w [K, columns]: for one row, of which each weight is read once.
template <class T>
void one_row(const T* a, long K, const T* w, long ws, T* z, long columns) {
  constexpr int L = kLanes<T>, N = 8;
  for (long c = 0; c < columns; c += N * L) {
    const T* from = w + c;
    if (columns - c >= N * L) {
      Vec<T> sum[N];
      UNROLL for (int v = 0; v < N; ++v) sum[v] = load(z + c + v * L);
      for (long k = 0; k < K; ++k, from += ws) {
        UNROLL for (int v = 0; v < N; ++v) sum[v] += a[k] * load(from + v * L);
      }
      UNROLL for (int v = 0; v < N; ++v) store(z + c + v * L, sum[v]);
    } else {
      for (long k = 0; k < K; ++k, from += ws) {
        for (long u = 0; u < columns - c; ++u) z[c + u] += a[k] * from[u];
      }
    }
  }
}

}  // namespace
