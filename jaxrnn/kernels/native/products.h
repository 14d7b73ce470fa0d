// Products of many rows: with one matrix, and for the gradient of that matrix.
#pragma once

#include "tiles.h"

namespace {

// Whether n numbers are zero, as the gradients of steps that a mask leaves out.
template <class T>
bool all_zero(const T* a, long n) {
  return a[0] == 0 && std::memcmp(a, a + 1, (n - 1) * sizeof(T)) == 0;
}

// out [K, G] = a [N, K]^T b [N, G]: the gradient of weights, summed over all rows but
// those where b is zero.
template <class T>
void transposed_product(ffi::ThreadPool& pool, long threads, long N, long K, long G, const T* a,
                        const T* b, T* out) {
  constexpr int L = kLanes<T>;
  const long wide = kPanel * L, panels = (G + wide - 1) / wide;
  const long shares = worth(threads, panels, N * K * G);
  share(pool, shares, [&](long i) {
    const long begin = panels * i / shares, end = panels * (i + 1) / shares;
    const long own = std::min(end * wide, G) - begin * wide;
    T* packed = scratch<T>(kWeights, kDepth * wide);
    T* sums = scratch<T>(kSums, (end - begin) * K * wide);
    T* together = scratch<T>(kState, kDepth * K);
    std::fill_n(sums, (end - begin) * K * wide, T(0));
    for (long n = 0; n < N;) {
      long at[kDepth], depth = 0;
      for (; n < N && depth < kDepth; ++n) {
        if (!all_zero(b + n * G + begin * wide, own)) at[depth++] = n;
      }
      if (depth == 0) break;
      const T* rows = a + at[0] * K;
      if (at[depth - 1] - at[0] >= depth) {
        for (long k = 0; k < depth; ++k) std::memcpy(together + k * K, a + at[k] * K, K * sizeof(T));
        rows = together;
      }
      for (long p = begin; p < end; ++p) {
        const int nv = width<T>(G, p);
        T* to = packed;
        for (long k = 0; k < depth; ++k) {
          to = pack(to, b + at[k] * G + p * wide, G, 1, 1, nv, L, G - p * wide);
        }
        const Lines<T> of_panel{sums + (p - begin) * K * wide, wide};
        product<T>(nv, Lines<const T>{rows, 1}, K, packed, depth, of_panel, K);
      }
    }
    for (long p = begin; p < end; ++p) {
      const long columns = std::min(wide, G - p * wide);
      for (long k = 0; k < K; ++k) {
        std::memcpy(out + k * G + p * wide, sums + ((p - begin) * K + k) * wide,
                    columns * sizeof(T));
      }
    }
  });
}

// out [N, G] = a [N, K] w [K, G] of few rows, for which packing does not pay.
template <class T>
void few_rows_product(ffi::ThreadPool& pool, long threads, long N, long K, long G, const T* a,
                      const T* w, T* out) {
  constexpr long kBlock = 8 * kLanes<T>;
  const long blocks = (G + kBlock - 1) / kBlock, shares = worth(threads, blocks, N * K * G);
  share(pool, shares, [&](long i) {
    const long begin = blocks * i / shares * kBlock;
    const long columns = std::min(blocks * (i + 1) / shares * kBlock, G) - begin;
    for (long n = 0; n < N; ++n) {
      std::fill_n(out + n * G + begin, columns, T(0));
      one_row(a + n * K, K, w + begin, G, out + n * G + begin, columns);
    }
  });
}

// out [N, G] = a [N, K] w [K, G], where w has strides: of many rows with one matrix. If
// `skip`, rows of zeros cost nothing.
template <class T>
void rows_product(ffi::ThreadPool& pool, long threads, long N, long K, long G, const T* a,
                  const T* w, long ws, long cs, bool skip, T* out) {
  constexpr int L = kLanes<T>;
  constexpr long kBlock = 16 * kRows;
  const long wide = kPanel * L, panels = (G + wide - 1) / wide;
  const long shares = worth(threads, panels, N * K * G);
  share(pool, shares, [&](long i) {
    T* packed = scratch<T>(kWeights, K * wide);
    T* sums = scratch<T>(kSums, kBlock * wide);
    for (long p = panels * i / shares; p < panels * (i + 1) / shares; ++p) {
      const int nv = width<T>(G, p);
      const long columns = std::min(wide, G - p * wide);
      pack(packed, w + p * wide * cs, ws, cs, K, nv, L, columns);
      for (long n = 0; n < N;) {
        long at[kBlock], rows = 0;
        for (; n < N && rows < kBlock; ++n) {
          if (skip && all_zero(a + n * K, K)) {
            std::fill_n(out + n * G + p * wide, columns, T(0));
          } else {
            at[rows++] = n;
          }
        }
        std::fill_n(sums, rows * wide, T(0));
        product<T>(nv, Lines<const T>{a, K, at}, 1, packed, K, Lines<T>{sums, wide}, rows);
        for (long r = 0; r < rows; ++r) {
          std::memcpy(out + at[r] * G + p * wide, sums + r * wide, columns * sizeof(T));
        }
      }
    }
  });
}

}  // namespace
