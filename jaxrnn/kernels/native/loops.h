// What all loops share: their operands, and the states of the rows that a thread runs.
#pragma once

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

// The rows of the batch that a thread runs forward; a carry has kCarry arrays.
template <class T, int kCarry>
class Rows {
 public:
  Rows(Sizes sizes, bool reverse, Arrays<T> io, long padded)
      : s(sizes), reverse(reverse), io(io), padded(padded) {}

 protected:
  struct State {  // of some rows of the batch
    long from, rows;
    T *h, *next, *c;
  };

  State begin(long from, long rows) {
    T* all = scratch<T>(kState, rows * padded * 3);
    std::fill_n(all, rows * padded * 3, T(0));
    State state{from, rows, all, all + rows * padded, all + 2 * rows * padded};
    for (long r = 0; r < rows; ++r) set(state, r, io.carry);
    return state;
  }
  void set(State& state, long r, const T* const* carry) {
    std::memcpy(state.h + r * padded, carry[0] + (state.from + r) * s.H, s.H * sizeof(T));
    if (kCarry == 2) {
      std::memcpy(state.c + r * padded, carry[1] + (state.from + r) * s.H, s.H * sizeof(T));
    }
  }
  void end(const State& state) {
    for (long r = 0; r < state.rows; ++r) {
      const long b = (state.from + r) * s.H;
      std::memcpy(io.last[0] + b, state.h + r * padded, s.H * sizeof(T));
      if (kCarry == 2) std::memcpy(io.last[1] + b, state.c + r * padded, s.H * sizeof(T));
    }
  }

  // Begins anew where a sequence starts, and keeps the rows of the step.
  void copy_rows(State& state, long t) {
    for (long r = 0; r < state.rows; ++r) {
      const long b = t * s.B + state.from + r;
      if (io.starts && io.starts[b]) set(state, r, io.initial);
      if (io.rows) {
        T* row = io.rows + b * (s.H + 1 + s.D);
        std::memcpy(row, state.h + r * padded, s.H * sizeof(T));
        row[s.H] = 1;
        std::memcpy(row + s.H + 1, io.xs + b * s.D, s.D * sizeof(T));
      }
    }
  }

  const Sizes s;
  const bool reverse;
  const Arrays<T> io;
  const long padded;  // units of a row
};

}  // namespace
