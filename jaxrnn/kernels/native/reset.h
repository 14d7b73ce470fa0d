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
  void add(Lines<const T> a, long from, long n, Lines<T> z, long rows) const {
    for (long p = 0; p < panels; ++p) {
      const int nv = width<T>(columns, p);
      const T* w = data + p * depth * kWide + from * nv * kLanes<T>;
      product<T>(nv, a, 1, w, n, Lines<T>{z.first + p * kWide, z.apart, z.at}, rows);
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
    const Packed<T> w_gates =
        packed_of<T>(to, gates, {io.w_x, io.w_h}, {s.D, s.H}, columns, 1);
    const Packed<T> w_n = packed_of<T>(to + Packed<T>::size(depth, gates), s.H,
                                        {io.w_x + gates, io.w_h + gates}, {s.D, s.H}, columns, 1);
    const long shares = worth(threads, s.B, s.T * s.B * depth * columns);
    const long wide = w_gates.padded();
    std::vector<Some> parts = divided(s, io.mask, shares);
    const State state = this->begin();
    share(pool, shares, [&](long i) {
      Some& some = parts[i];
      State own = state;
      const long size = some.all.size();
      T* z = scratch<T>(kSums, size * (wide + padded) + L);
      T* n = z + size * wide + L;  // a vector of r or z may reach over the last row
      for (long step = 0; step < s.T; ++step) {
        const long t = reverse ? s.T - 1 - step : step;
        this->start(own, some, t);
        const long rows = some.live.size(), *live = some.live.data();
        for (long r = 0; r < rows; ++r) {
          std::memcpy(z + r * wide, io.b, gates * sizeof(T));
          std::memcpy(n + r * padded, io.b + gates, s.H * sizeof(T));
        }
        const Lines<const T> x{io.xs + t * s.B * s.D, s.D, live}, h{own.h, padded, live};
        const Lines<const T> reset_h{own.c, padded, live};
        const Lines<T> of_z{z, wide}, of_n{n, padded};
        w_gates.add(x, 0, s.D, of_z, rows);
        w_gates.add(h, s.D, s.H, of_z, rows);
        for (long r = 0; r < rows; ++r) reset(z + r * wide, own, live[r], t);
        w_n.add(x, 0, s.D, of_n, rows);
        w_n.add(reset_h, s.D, s.H, of_n, rows);
        for (long r = 0; r < rows; ++r) finish(of_z[r], of_n[r], own, live[r], t);
        std::swap(own.h, own.next);
      }
      this->end(own, some);
    });
  }

 private:
  void keep(int i, long b, long u, Vec<T> v) {
    if (io.rows) store(io.kept.first[i] + b * io.kept.row[i] + u, v, s.H - u);
  }

  // From the sums of r to r h, which stands where an LSTM has c.
  void reset(const T* z, const State& state, long b, long t) {
    for (long u = 0; u < s.H; u += L) {
      const Vec<T> r = sigmoid_of(load(z + u));
      keep(0, t * s.B + b, u, r);
      store(state.c + b * padded + u, r * load(state.h + b * padded + u));
    }
  }

  void finish(const T* z, const T* sums, const State& state, long b, long t) {
    const long at = t * s.B + b;
    for (long u = 0; u < s.H; u += L) {
      const Vec<T> i = sigmoid_of(load(z + s.H + u)), n = tanh_of(load(sums + u));
      const Vec<T> next = n + i * (load(state.h + b * padded + u) - n);
      keep(1, at, u, i), keep(2, at, u, n);
      store(state.next + b * padded + u, next);
      store(io.hs + at * s.H + u, next, s.H - u);
    }
  }
};

// io.ct_z: of r and z, and of n.
template <class T>
void reset_backward(ffi::ThreadPool& pool, long threads, Sizes s, bool reverse, Back<T> io) {
  constexpr int L = kLanes<T>;
  const long gates = 2 * s.H, columns = 3 * s.H;
  T* to = scratch<T>(kWeights, Packed<T>::size(columns, s.H));
  const Packed<T> w_gates = packed_of<T>(to, s.H, {io.w_h}, {gates}, 1, columns);
  const Packed<T> w_n = packed_of<T>(to + Packed<T>::size(gates, s.H), s.H, {io.w_h + gates},
                                      {s.H}, 1, columns);
  const long padded = w_n.padded();
  const long shares = worth(threads, s.B, s.T * s.B * columns * s.H);
  std::vector<Some> parts = divided(s, io.mask, shares);
  const RowsBack<T, 1> rows(s, io, padded);
  share(pool, shares, [&](long i) {
    Some& some = parts[i];
    T* sums = scratch<T>(kSums, some.all.size() * padded);
    for (long step = 0; step < s.T; ++step) {
      const long t = reverse ? step : s.T - 1 - step;
      some.at(t);
      for (long b : some.all) {  // up to the product with w_h[n]
        const long at = t * s.B + b;
        T *ct_z = io.ct_z[0] + at * gates, *ct_n = io.ct_z[1] + at * s.H, *dh = rows.row(0, b);
        if (!some.valid(t, b)) {
          rows.skip(t, b);
          std::fill_n(ct_z, gates, T(0)), std::fill_n(ct_n, s.H, T(0));
          continue;
        }
        for (long u = 0; u < s.H; u += L) {
          const long left = s.H - u;
          auto of = [&](int k) { return load(io.kept.first[k] + at * io.kept.row[k] + u, left); };
          const Vec<T> ct = load(dh + u) + load(io.ct_hs + at * s.H + u, left);
          const Vec<T> i = of(1), n = of(2), h = load(io.hs + at * io.row + u, left);
          store(ct_z + s.H + u, ct * (h - n) * i * (1 - i), left);
          store(ct_n + u, ct * (1 - i) * (1 - n * n), left);
          store(dh + u, ct * i);
        }
      }
      const long count = some.live.size(), *live = some.live.data();
      const T *ct_z = io.ct_z[0] + t * s.B * gates, *ct_n = io.ct_z[1] + t * s.B * s.H;
      std::fill_n(sums, count * padded, T(0));
      w_n.add({ct_n, s.H, live}, 0, s.H, {sums, padded}, count);
      for (long r = 0; r < count; ++r) {
        const long b = live[r], at = t * s.B + b;
        T* dh = rows.row(0, b);
        for (long u = 0; u < s.H; u += L) {
          const long left = s.H - u;
          const Vec<T> reset = load(io.kept.first[0] + at * io.kept.row[0] + u, left);
          const Vec<T> ct = load(sums + r * padded + u);
          const Vec<T> h = load(io.hs + at * io.row + u, left);
          store(io.ct_z[0] + at * gates + u, ct * h * reset * (1 - reset), left);
          store(dh + u, load(dh + u) + ct * reset);
        }
      }
      w_gates.add({ct_z, gates, live}, 0, gates, {rows.row(0, 0), padded, live}, count);
      rows.start(some, t);
    }
    rows.end(some);
  });
}

}  // namespace
