// Products of many rows: with one matrix, and for the gradient of that matrix.
#pragma once

#include "tiles.h"

namespace {

// out [K, G] = a [N, K]^T b [N, G]: the gradient of weights, summed over all rows.
template <class T>
void transposed_product(ffi::ThreadPool& pool, long threads, long N, long K, long G, const T* a,
                        const T* b, T* out) {
  constexpr int L = kLanes<T>;
  const long wide = kPanel * L, panels = (G + wide - 1) / wide;
  const long shares = worth(threads, panels, N * K * G);
  share(pool, shares, [&](long i) {
    const long begin = panels * i / shares, end = panels * (i + 1) / shares;
    T* packed = scratch<T>(kWeights, kDepth * wide);
    T* sums = scratch<T>(kSums, (end - begin) * K * wide);
    std::fill_n(sums, (end - begin) * K * wide, T(0));
    for (long n = 0; n < N; n += kDepth) {
      const long depth = std::min(kDepth, N - n);
      for (long p = begin; p < end; ++p) {
        const int nv = width<T>(G, p);
        pack(packed, b + n * G + p * wide, G, 1, depth, nv, L, G - p * wide);
        product<T>(nv, a + n * K, 1, K, packed, depth, sums + (p - begin) * K * wide, wide, K);
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

// out [N, G] = a [N, K] w [K, G], where w has strides: of many rows with one matrix.
template <class T>
void rows_product(ffi::ThreadPool& pool, long threads, long N, long K, long G, const T* a,
                  const T* w, long ws, long cs, T* out) {
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
      for (long n = 0; n < N; n += kBlock) {
        const long rows = std::min(kBlock, N - n);
        std::fill_n(sums, rows * wide, T(0));
        product<T>(nv, a + n * K, K, 1, packed, K, sums, wide, rows);
        for (long r = 0; r < rows; ++r) {
          std::memcpy(out + (n + r) * G + p * wide, sums + r * wide, columns * sizeof(T));
        }
      }
    }
  });
}

}  // namespace
