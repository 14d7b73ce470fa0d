// The loops of cells with one product for each step: Elman, GRU (reset after), LSTM.
#pragma once

#include "loops.h"

namespace {

enum class Cell { kTanh, kRelu, kGru, kReset, kLstm };  // kReset: see reset.h

// How many values the loop keeps in one array: those of the columns of w_h, but for kReset.
constexpr int gates_of(Cell cell) {
  switch (cell) {
    case Cell::kLstm: return 4;
    case Cell::kGru: return 3;
    case Cell::kReset: return 2;
    default: return 1;
  }
}
constexpr int carries_of(Cell cell) { return cell == Cell::kLstm ? 2 : 1; }

// i, f, g, o and c before of an LSTM; r, z, n_h and n of a GRU; y of an Elman.
constexpr int rest_of(Cell cell) { return gates_of(cell) > 1 ? 1 : 0; }

// Applies the non-linearities to one vector of units of one row.
//   z: its sums, `apart` from gate to gate; b: the row in what is kept; u: the first unit;
//   n: how many are valid.
template <class T, Cell kCell>
INLINE void point(const T* z, long apart, const T* h, T* c, T* h_new, const Kept<T>* kept, long b,
                  long u, long n) {
  using V = Vec<T>;
  auto keep = [&](int i, V v) {
    if (kept) store(kept->first[i] + b * kept->row[i] + u, v, n);
  };
  auto of = [&](int gate) { return load(z + gate * apart); };
  if constexpr (kCell == Cell::kLstm) {
    V i = sigmoid_of(of(0)), f = sigmoid_of(of(1)), g = tanh_of(of(2)), o = sigmoid_of(of(3));
    V before = load(c + u), after = f * before + i * g;
    keep(0, i), keep(1, f), keep(2, g), keep(3, o), keep(4, before);
    store(c + u, after);
    store(h_new + u, o * tanh_of(after));
  } else if constexpr (kCell == Cell::kGru) {
    V r = sigmoid_of(of(0)), s = sigmoid_of(of(1)), n_h = of(3);
    V k = tanh_of(of(2) + r * n_h);
    keep(0, r), keep(1, s), keep(2, n_h), keep(3, k);
    store(h_new + u, k + s * (load(h + u) - k));
  } else {
    V y = of(0);
    if constexpr (kCell == Cell::kTanh) {
      y = tanh_of(y);
    } else {
      y = y > 0 ? y : (y == y ? V{} : y);
    }
    keep(0, y);
    store(h_new + u, y);
  }
}

template <class T, Cell kCell>
class Forward : Rows<T, carries_of(kCell)> {
  using Base = Rows<T, carries_of(kCell)>;
  using typename Base::State;
  using Base::s, Base::io, Base::reverse, Base::padded;
  static constexpr int L = kLanes<T>, G = gates_of(kCell);
  static constexpr bool kUnits = G == 1;  // panels of plain units
  static constexpr int Z = kCell == Cell::kGru ? 4 : kUnits ? kPanel : G;  // vectors of sums
  static constexpr long kWide = kUnits ? kPanel * L : L;                   // units of a panel

 public:
  Forward(Sizes sizes, bool reverse, Arrays<T> io)
      : Base(sizes, reverse, io, (sizes.H + kWide - 1) / kWide * kWide),
        panels(padded / kWide), of_panel((s.D + s.H) * (kUnits ? kPanel : G) * L) {}

  void run(ffi::ThreadPool& pool, long threads) {
    const long work = s.T * s.B * (s.D + s.H) * G * s.H;
    State state = this->begin();
    if (s.T == 1) {  // what is packed is read at once, so threads share the panels
      Some some(up_to(s.B), s, io.mask);
      this->start(state, some, 0);
      if (s.B == 1) {
        if (some.live.size()) single(state);
      } else {
        const long shares = worth(threads, panels, work);
        share(pool, shares, [&](long i) {
          T *packed = scratch<T>(kWeights, of_panel), *z = scratch<T>(kSums, s.B * Z * L);
          for (long p = panels * i / shares; p < panels * (i + 1) / shares; ++p) {
            pack_panel(p, packed);
            step(p, packed, state, some, 0, z);
          }
        });
      }
      std::swap(state.h, state.next);
      return this->end(state, some);
    }
    T* packed = scratch<T>(kWeights, panels * of_panel);
    for (long p = 0; p < panels; ++p) pack_panel(p, packed + p * of_panel);
    const long shares = worth(threads, s.B, work);
    std::vector<Some> parts = divided(s, io.mask, shares);
    share(pool, shares, [&](long i) {
      Some& some = parts[i];
      State own = state;
      T* z = scratch<T>(kSums, some.all.size() * Z * L);
      for (long n = 0; n < s.T; ++n) {
        const long t = reverse ? s.T - 1 - n : n;
        this->start(own, some, t);
        for (long p = 0; p < panels; ++p) step(p, packed + p * of_panel, own, some, t, z);
        std::swap(own.h, own.next);
      }
      this->end(own, some);
    });
  }

 private:
  int vectors(long p) const { return kUnits ? width<T>(s.H, p) : G; }
  void pack_panel(long p, T* to) {
    const long apart = kUnits ? L : s.H, left = s.H - p * kWide;
    to = pack<T, !kUnits>(to, io.w_x + p * kWide, G * s.H, 1, s.D, vectors(p), apart, left);
    pack<T, !kUnits>(to, io.w_h + p * kWide, G * s.H, 1, s.H, vectors(p), apart, left);
  }

  // One step of the units of one panel.
  void step(long p, const T* packed, const State& state, const Some& some, long t, T* z) {
    const int nv = vectors(p);
    const long unit = p * kWide, rows = some.live.size(), *live = some.live.data();
    for (long r = 0; r < rows; ++r) {
      for (int v = 0; v < (kUnits ? nv : Z); ++v) {
        const T* b = io.b + (kUnits ? unit + v * L : v * s.H + unit);
        store(z + (r * Z + v) * L, load(b, s.H - unit - (kUnits ? v * L : 0)));
      }
    }
    const Lines<const T> x{io.xs + t * s.B * s.D, s.D, live}, h{state.h, padded, live};
    const Lines<T> sums{z, Z * L};
    product<T>(nv, x, 1, packed, s.D, sums, rows);
    product<T, kCell == Cell::kGru>(nv, h, 1, packed + s.D * nv * L, s.H, sums, rows);
    for (long r = 0; r < rows; ++r) {
      for (int v = 0; v < (kUnits ? nv : 1); ++v) {
        finish(z + (r * Z + v) * L, L, state, live[r], t, unit + v * L);
      }
    }
  }

  // From the sums of one row and one vector of units on.
  INLINE void finish(const T* z, long apart, const State& state, long b, long t, long u) {
    const long row = b * padded, at = t * s.B + b;
    point<T, kCell>(z, apart, state.h + row, state.c + row, state.next + row,
                    io.rows ? &io.kept : nullptr, at, u, s.H - u);
    store(io.hs + at * s.H + u, load(state.next + row + u), s.H - u);
  }

  // One step of one sequence.
  void single(const State& state) {
    T* z = scratch<T>(kSums, 4 * s.H + L);
    std::memcpy(z, io.b, (kCell == Cell::kGru ? 4 : G) * s.H * sizeof(T));
    one_row(io.xs, s.D, io.w_x, G * s.H, z, G * s.H);
    const long shared = kCell == Cell::kGru ? 2 * s.H : G * s.H;
    one_row(state.h, s.H, io.w_h, G * s.H, z, shared);
    if (kCell == Cell::kGru) one_row(state.h, s.H, io.w_h + shared, G * s.H, z + 3 * s.H, s.H);
    for (long u = 0; u < s.H; u += L) finish(z + u, s.H, state, 0, 0, u);
  }

  const long panels, of_panel;
};

template <class T, Cell kCell>
INLINE void point_back(const Kept<T>& kept, long b, const T* h, T* dh, T* dc, T* ct_z, T* ct_n,
                       long H, long u, long n) {
  using V = Vec<T>;
  auto of = [&](int i) { return load(kept.first[i] + b * kept.row[i] + u, n); };
  const V ct = load(dh + u);
  V own = {};
  if constexpr (kCell == Cell::kLstm) {
    V i = of(0), f = of(1), g = of(2), o = of(3), before = of(4), t = tanh_of(f * before + i * g);
    V ct_c = load(dc + u) + ct * o * (1 - t * t);
    store(ct_z + u, ct_c * g * i * (1 - i), n);
    store(ct_z + H + u, ct_c * before * f * (1 - f), n);
    store(ct_z + 2 * H + u, ct_c * i * (1 - g * g), n);
    store(ct_z + 3 * H + u, ct * t * o * (1 - o), n);
    store(dc + u, ct_c * f);
  } else if constexpr (kCell == Cell::kGru) {
    V r = of(0), s = of(1), n_h = of(2), k = of(3);
    V ct_k = ct * (1 - s) * (1 - k * k);
    store(ct_n + u, ct_k, n);
    store(ct_z + u, ct_k * n_h * r * (1 - r), n);
    store(ct_z + H + u, ct * (load(h + u, n) - k) * s * (1 - s), n);
    store(ct_z + 2 * H + u, ct_k * r, n);
    own = ct * s;
  } else {
    V y = of(0);
    store(ct_z + u, kCell == Cell::kTanh ? ct * (1 - y * y) : y > 0 ? ct : V{}, n);
  }
  store(dh + u, own);
}

template <class T, Cell kCell>
void backward(ffi::ThreadPool& pool, long threads, Sizes s, bool reverse, Back<T> io) {
  constexpr int L = kLanes<T>, G = gates_of(kCell);
  constexpr bool kGru = kCell == Cell::kGru;
  const long wide = kPanel * L, panels = (s.H + wide - 1) / wide, padded = panels * wide;
  const long depth = G * s.H;
  T* packed = scratch<T>(kWeights, panels * depth * wide);
  auto at = [&](long p) { return packed + p * depth * wide; };
  for (long p = 0; p < panels; ++p) {
    pack(at(p), io.w_h + p * wide * depth, 1, depth, depth, width<T>(s.H, p), L, s.H - p * wide);
  }

  const long shares = worth(threads, s.B, s.T * s.B * depth * s.H);
  std::vector<Some> parts = divided(s, io.mask, shares);
  const RowsBack<T, carries_of(kCell)> rows(s, io, padded);
  share(pool, shares, [&](long i) {
    Some& some = parts[i];
    for (long step = 0; step < s.T; ++step) {
      const long t = reverse ? step : s.T - 1 - step;
      some.at(t);
      for (long b : some.all) {
        const long at = t * s.B + b;
        T *dh = rows.row(0, b), *dc = carries_of(kCell) == 2 ? rows.row(1, b) : nullptr;
        T *ct_z = io.ct_z[0] + at * depth, *ct_n = kGru ? io.ct_z[1] + at * s.H : nullptr;
        if (!some.valid(t, b)) {
          rows.skip(t, b);
          std::fill_n(ct_z, depth, T(0));
          if (kGru) std::fill_n(ct_n, s.H, T(0));
          continue;
        }
        for (long u = 0; u < s.H; u += L) {
          const long n = s.H - u;
          store(dh + u, load(dh + u) + load(io.ct_hs + at * s.H + u, n));
          point_back<T, kCell>(io.kept, at, io.hs + at * io.row, dh, dc, ct_z, ct_n, s.H, u, n);
        }
      }
      const long* live = some.live.data();
      const Lines<const T> of_z{io.ct_z[0] + t * s.B * depth, depth, live};
      for (long p = 0; p < panels; ++p) {
        const Lines<T> to{rows.row(0, 0) + p * wide, padded, live};
        product<T>(width<T>(s.H, p), of_z, 1, at(p), depth, to, some.live.size());
      }
      rows.start(some, t);
    }
    rows.end(some);
  });
}

}  // namespace
