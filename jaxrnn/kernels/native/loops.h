// What all loops share: their operands, and the states of the rows that a thread runs.
#pragma once

#include <numeric>
#include <vector>

#include "tiles.h"

namespace {

struct Sizes {
  long T, B, D, H;
};

// What the forward loop keeps for the derivative: of each value where it is of the first
// row and how far it is to the next row. Values that the gradient of z takes the place of
// are in one array.
template <class T>
struct Kept {
  T* first[5];
  long row[5];
};

// Of `together` values in one array, and `rest` more in an array each.
template <class T, class Next>
Kept<T> kept_of(long H, int together, int rest, Next next) {
  Kept<T> kept = {};
  T* first = next();
  for (int k = 0; k < together; ++k) {
    kept.first[k] = first + k * H, kept.row[k] = together * H;
  }
  for (int k = together; k < together + rest; ++k) kept.first[k] = next(), kept.row[k] = H;
  return kept;
}

template <class T>
struct Arrays {  // of one call; null where there is none
  const T *w_x, *w_h, *b, *carry[2], *initial[2], *xs;
  const bool *mask, *starts;
  T *last[2], *hs, *rows;
  Kept<T> kept;
};

template <class T>
struct Back {
  const T *w_h, *hs;  // hs: the state before a step, in the rows
  Kept<T> kept;
  long row;  // from one row of hs to the next
  const bool *mask, *starts;
  const T *ct_carry[2], *ct_hs;
  // ct_z: apart from it, that of the candidate. Both may stand where `kept` does.
  T *ct_z[2], *ct_first[2], *ct_initial[2];
};

// Rows of the batch that a thread runs, and those of them that are valid at a step.
class Some {
 public:
  Some(std::vector<long> rows, Sizes s, const bool* mask)
      : all(std::move(rows)), live(all), batch_(s.B), mask_(mask) {}

  void at(long t) {
    if (!mask_) return;
    live.clear();
    for (long b : all) {
      if (valid(t, b)) live.push_back(b);
    }
  }
  bool valid(long t, long b) const { return !mask_ || mask_[t * batch_ + b]; }

  std::vector<long> all, live;

 private:
  long batch_;
  const bool* mask_;
};

inline std::vector<long> up_to(long n) {
  std::vector<long> rows(n);
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

// Divides the batch so that all threads have about as many valid steps. Those with most
// are together, so that a thread runs as many side by side as long as it can.
inline std::vector<Some> divided(Sizes s, const bool* mask, long shares) {
  constexpr long kValid = 8;  // what a valid step costs, in units of one that is not
  std::vector<long> cost(s.B, kValid * s.T), rows = up_to(s.B);
  if (mask && shares > 1) {
    for (long b = 0; b < s.B; ++b) {
      cost[b] = s.T;
      for (long t = 0; t < s.T; ++t) cost[b] += (kValid - 1) * mask[t * s.B + b];
    }
    std::stable_sort(rows.begin(), rows.end(), [&](long a, long b) { return cost[a] > cost[b]; });
  }
  const long total = std::accumulate(cost.begin(), cost.end(), 0L);
  std::vector<Some> parts;
  for (long i = 1, from = 0, to = 0, sum = 0; i <= shares; ++i, from = to) {
    for (; to < s.B && (i == shares || sum + cost[rows[to]] / 2 < total * i / shares); ++to) {
      sum += cost[rows[to]];
    }
    parts.emplace_back(std::vector<long>(rows.begin() + from, rows.begin() + to), s, mask);
  }
  return parts;
}

// The rows of the batch that run forward; a carry has kCarry arrays.
template <class T, int kCarry>
class Rows {
 public:
  Rows(Sizes sizes, bool reverse, Arrays<T> io, long padded)
      : s(sizes), reverse(reverse), io(io), padded(padded) {}

 protected:
  struct State {  // of the batch; a thread reads and writes its own rows
    T *h, *next, *c;
  };

  State begin() {
    const long size = s.B * padded;
    T* all = scratch<T>(kState, size * 3);
    std::fill_n(all, size * 3, T(0));
    State state{all, all + size, all + 2 * size};
    for (long b = 0; b < s.B; ++b) set(state, b, io.carry);
    return state;
  }
  void set(State& state, long b, const T* const* carry) {
    copy(carry[0] + b * s.H, state.h + b * padded);
    if (kCarry == 2) copy(carry[1] + b * s.H, state.c + b * padded);
  }
  void end(const State& state, const Some& some) {
    for (long b : some.all) {
      copy(state.h + b * padded, io.last[0] + b * s.H);
      if (kCarry == 2) copy(state.c + b * padded, io.last[1] + b * s.H);
    }
  }

  // Begins anew where a sequence starts, keeps the rows of the step, and does all there
  // is to do for those that are not valid.
  void start(State& state, Some& some, long t) {
    some.at(t);
    for (long b : some.all) {
      const long at = t * s.B + b;
      const T* h = state.h + b * padded;
      if (io.starts && io.starts[at]) set(state, b, io.initial);
      if (io.rows) {
        T* row = io.rows + at * (s.H + 1 + s.D);
        copy(h, row);
        row[s.H] = 1;
        std::memcpy(row + s.H + 1, io.xs + at * s.D, s.D * sizeof(T));
      }
      if (some.valid(t, b)) continue;
      copy(h, state.next + b * padded);
      copy(h, io.hs + at * s.H);
      for (int k = 0; k < 5 && io.kept.first[k]; ++k) {
        std::fill_n(io.kept.first[k] + at * io.kept.row[k], s.H, T(0));
      }
    }
  }

  const Sizes s;
  const bool reverse;
  const Arrays<T> io;
  const long padded;  // units of a row

 private:
  void copy(const T* from, T* to) { std::memcpy(to, from, s.H * sizeof(T)); }
};

// What the rows of the batch hold on the way back.
template <class T, int kCarry>
class RowsBack {
 public:
  RowsBack(Sizes s, const Back<T>& io, long padded) : s_(s), io_(io), padded_(padded) {
    T* all = scratch<T>(kState, s.B * padded * kCarry);
    std::fill_n(all, s.B * padded * kCarry, T(0));
    for (int k = 0; k < kCarry; ++k) {
      first_[k] = all + k * s.B * padded;
      for (long b = 0; b < s.B; ++b) copy(io.ct_carry[k] + b * s.H, row(k, b));
      if (io.starts) std::fill_n(io.ct_initial[k], s.B * s.H, T(0));
    }
  }
  T* row(int k, long b) const { return first_[k] + b * padded_; }

  // What a step that is not valid adds to the state.
  void skip(long t, long b) const {
    const T* ct = io_.ct_hs + (t * s_.B + b) * s_.H;
    for (long u = 0; u < s_.H; ++u) row(0, b)[u] += ct[u];
  }
  // Where a sequence starts, the gradient goes to the initial carry.
  void start(const Some& some, long t) const {
    for (long b : some.all) {
      if (!io_.starts || !io_.starts[t * s_.B + b]) continue;
      for (int k = 0; k < kCarry; ++k) {
        T *ct = row(k, b), *sum = io_.ct_initial[k] + b * s_.H;
        for (long u = 0; u < s_.H; ++u) sum[u] += ct[u], ct[u] = 0;
      }
    }
  }
  void end(const Some& some) const {
    for (long b : some.all) {
      for (int k = 0; k < kCarry; ++k) copy(row(k, b), io_.ct_first[k] + b * s_.H);
    }
  }

 private:
  void copy(const T* from, T* to) const { std::memcpy(to, from, s_.H * sizeof(T)); }

  const Sizes s_;
  const Back<T>& io_;
  const long padded_;
  T* first_[2];
};

}  // namespace
