// The loops of a GRU that resets before the product, which makes two products of a step.
#pragma once

#include "loops.h"

namespace {

// Packed panels of a matrix product with `columns` columns, kPanel vectors each.
template <class T>
struct Packed {
  static constexpr long kWide = kPanel * kLanes<T>;
  const T* data;
  long depth, columns, panels;

  static long size(long depth, long columns) { return (columns + kWide - 1) / kWide * kWide * depth; }
  long padded() const { return panels * kWide; }

  // z [rows, padded] += a [rows, n] and the n rows of the matrix from `from` on.
  void add(const T* a, long row, long from, long n, T* z, long zs, long rows) const {
    for (long p = 0; p < panels; ++p) {
      const int nv = width<T>(columns, p);
      const T* w = data + p * depth * kWide + from * nv * kLanes<T>;
      product<T>(nv, a, row, 1, w, n, z + p * kWide, zs, rows);
    }
  }
};

// Packs matrices of strides (ws, cs) below each other.
template <class T>
Packed<T> packed_of(T* to, long columns, std::initializer_list<const T*> ws,
                    std::initializer_list<long> depths, long row, long column) {
  Packed<T> packed{to, 0, columns, (columns + Packed<T>::kWide - 1) / Packed<T>::kWide};
  for (long depth : depths) packed.depth += depth;
  for (long p = 0; p < packed.panels; ++p) {
    T* at = to + p * packed.depth * Packed<T>::kWide;
    const long first = p * Packed<T>::kWide;
    auto depth = depths.begin();
    for (const T* w : ws) {
      at = pack(at, w + first * column, row, column, *depth++, width<T>(columns, p), kLanes<T>,
                columns - first);
    }
  }
  return packed;
}

template <class T>
class ResetForward : Rows<T, 1> {
  using Base = Rows<T, 1>;
  using typename Base::State;
  using Base::s, Base::io, Base::reverse, Base::padded;
  static constexpr int L = kLanes<T>;

 public:
  ResetForward(Sizes sizes, bool reverse, Arrays<T> io)
      : Base(sizes, reverse, io, (sizes.H + kPanel * L - 1) / (kPanel * L) * kPanel * L) {}

  void run(ffi::ThreadPool& pool, long threads) {
    const long depth = s.D + s.H, columns = 3 * s.H, gates = 2 * s.H;
    T* to = scratch<T>(kWeights, Packed<T>::size(depth, gates) + Packed<T>::size(depth, s.H));
    const Packed<T> of_gates =
        packed_of<T>(to, gates, {io.w_x, io.w_h}, {s.D, s.H}, columns, 1);
    const Packed<T> of_n = packed_of<T>(to + Packed<T>::size(depth, gates), s.H,
                                        {io.w_x + gates, io.w_h + gates}, {s.D, s.H}, columns, 1);
    const long shares = worth(threads, s.B, s.T * s.B * depth * columns);
    share(pool, shares, [&](long i) {
      const long from = s.B * i / shares;
      State state = this->begin(from, s.B * (i + 1) / shares - from);
      const long wide = of_gates.padded();
      T* z = scratch<T>(kSums, state.rows * (wide + padded + L));
      T* n = z + state.rows * wide + L;  // a vector of r or z may reach over the last row
      for (long step = 0; step < s.T; ++step) {
        const long t = reverse ? s.T - 1 - step : step, first = t * s.B + from;
        this->copy_rows(state, t);
        for (long r = 0; r < state.rows; ++r) {
          std::memcpy(z + r * wide, io.b, gates * sizeof(T));
          std::memcpy(n + r * padded, io.b + gates, s.H * sizeof(T));
        }
        const T* x = io.xs + first * s.D;
        of_gates.add(x, s.D, 0, s.D, z, wide, state.rows);
        of_gates.add(state.h, padded, s.D, s.H, z, wide, state.rows);
        for (long r = 0; r < state.rows; ++r) reset(z + r * wide, state, r, first + r);
        of_n.add(x, s.D, 0, s.D, n, padded, state.rows);
        of_n.add(state.c, padded, s.D, s.H, n, padded, state.rows);
        for (long r = 0; r < state.rows; ++r) {
          finish(z + r * wide, n + r * padded, state, r, first + r);
        }
        std::swap(state.h, state.next);
      }
      this->end(state);
    });
  }

 private:
  void keep(int i, long b, long u, Vec<T> v) {
    if (io.rows) store(io.kept.first[i] + b * io.kept.row[i] + u, v, s.H - u);
  }

  // From the sums of r to r h, which stands where an LSTM has c.
  void reset(const T* z, const State& state, long row, long b) {
    for (long u = 0; u < s.H; u += L) {
      const Vec<T> r = sigmoid_of(load(z + u));
      keep(0, b, u, r);
      store(state.c + row * padded + u, r * load(state.h + row * padded + u));
    }
  }

  void finish(const T* z, const T* sums, const State& state, long row, long b) {
    const bool valid = !io.mask || io.mask[b];
    for (long u = 0; u < s.H; u += L) {
      const Vec<T> i = sigmoid_of(load(z + s.H + u)), n = tanh_of(load(sums + u));
      const Vec<T> h = load(state.h + row * padded + u);
      keep(1, b, u, i), keep(2, b, u, n);
      const Vec<T> next = valid ? n + i * (h - n) : h;
      store(state.next + row * padded + u, next);
      store(io.hs + b * s.H + u, next, s.H - u);
    }
  }
};

// io.ct_z: of r and z, and of n.
template <class T>
void reset_backward(ffi::ThreadPool& pool, long threads, Sizes s, bool reverse, Back<T> io) {
  constexpr int L = kLanes<T>;
  const long gates = 2 * s.H, columns = 3 * s.H;
  T* to = scratch<T>(kWeights, Packed<T>::size(columns, s.H));
  const Packed<T> of_gates = packed_of<T>(to, s.H, {io.w_h}, {gates}, 1, columns);
  const Packed<T> of_n = packed_of<T>(to + Packed<T>::size(gates, s.H), s.H, {io.w_h + gates},
                                      {s.H}, 1, columns);
  const long padded = of_n.padded();
  const long shares = worth(threads, s.B, s.T * s.B * columns * s.H);
  share(pool, shares, [&](long i) {
    const long from = s.B * i / shares, rows = s.B * (i + 1) / shares - from;
    T *dh = scratch<T>(kState, rows * padded), *of_reset = scratch<T>(kSums, rows * padded);
    std::fill_n(dh, rows * padded, T(0));
    for (long r = 0; r < rows; ++r) {
      const long b = (from + r) * s.H;
      std::memcpy(dh + r * padded, io.ct_carry[0] + b, s.H * sizeof(T));
      if (io.starts) std::fill_n(io.ct_initial[0] + b, s.H, T(0));
    }
    for (long step = 0; step < s.T; ++step) {
      const long t = reverse ? step : s.T - 1 - step, first = t * s.B + from;
      for (long r = 0; r < rows; ++r) {  // up to the product with w_h[n]
        const long b = first + r;
        const bool valid = !io.mask || io.mask[b];
        T *ct_z = io.ct_z[0] + b * gates, *ct_n = io.ct_z[1] + b * s.H;
        for (long u = 0; u < s.H; u += L) {
          const long left = s.H - u;
          auto of = [&](int k) { return load(io.kept.first[k] + b * io.kept.row[k] + u, left); };
          const Vec<T> ct = load(dh + r * padded + u) + load(io.ct_hs + b * s.H + u, left);
          const Vec<T> i = of(1), n = of(2), h = load(io.hs + b * io.row + u, left);
          store(ct_z + s.H + u, valid ? ct * (h - n) * i * (1 - i) : Vec<T>{}, left);
          store(ct_n + u, valid ? ct * (1 - i) * (1 - n * n) : Vec<T>{}, left);
          store(dh + r * padded + u, valid ? ct * i : ct);
        }
      }
      std::fill_n(of_reset, rows * padded, T(0));
      of_n.add(io.ct_z[1] + first * s.H, s.H, 0, s.H, of_reset, padded, rows);
      for (long row = 0; row < rows; ++row) {
        const long b = first + row;
        for (long u = 0; u < s.H; u += L) {
          const long left = s.H - u;
          const Vec<T> r = load(io.kept.first[0] + b * io.kept.row[0] + u, left);
          const Vec<T> ct = load(of_reset + row * padded + u);
          const Vec<T> h = load(io.hs + b * io.row + u, left);
          store(io.ct_z[0] + b * gates + u, ct * h * r * (1 - r), left);
          store(dh + row * padded + u, load(dh + row * padded + u) + ct * r);
        }
      }
      of_gates.add(io.ct_z[0] + first * gates, gates, 0, gates, dh, padded, rows);
      for (long r = 0; io.starts && r < rows; ++r) {
        if (!io.starts[first + r]) continue;
        T *ct = dh + r * padded, *sum = io.ct_initial[0] + (from + r) * s.H;
        for (long u = 0; u < s.H; ++u) sum[u] += ct[u], ct[u] = 0;
      }
    }
    for (long r = 0; r < rows; ++r) {
      std::memcpy(io.ct_first[0] + (from + r) * s.H, dh + r * padded, s.H * sizeof(T));
    }
  });
}

}  // namespace
