// The loops of Elman, GRU and LSTM for CPUs, and products of many rows.
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

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <string_view>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

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

// Memory of a thread that calls reuse; kinds are apart.
enum Kind { kWeights, kSums, kState, kKinds };
template <class T>
T* scratch(Kind kind, size_t n) {
  struct Block {
    void* data = nullptr;
    size_t size = 0;
    ~Block() { std::free(data); }
  };
  static thread_local Block blocks[kKinds];
  Block& block = blocks[kind];
  size_t size = (n * sizeof(T) + 4095) / 4096 * 4096;
  if (block.size < size) {
    std::free(block.data);
    block.size = 0;
    block.data = std::aligned_alloc(4096, size);
    if (block.data == nullptr) throw std::bad_alloc();
    block.size = size;
  }
  return static_cast<T*>(block.data);
}

// Runs `task(i)` for i < n on this thread and on those of the pool that come in time.
// Whoever comes takes the next share, so this never waits for a thread that is not there.
template <class F>
void share(ffi::ThreadPool& pool, long n, F task) {
  if (n == 1) return task(0);
  struct State {
    std::atomic<long> next{0}, done{0};
    std::mutex mutex;
    std::condition_variable all;
  };
  auto state = std::make_shared<State>();
  F* shared = &task;  // alive until all shares are done
  auto work = [state, shared, n] {
    for (long i; (i = state->next.fetch_add(1)) < n;) {
      (*shared)(i);
      if (state->done.fetch_add(1) + 1 == n) {
        std::lock_guard<std::mutex> lock(state->mutex);
        state->all.notify_all();
      }
    }
  };
  for (long i = 1; i < n; ++i) pool.Schedule(std::function<void()>(work));
  work();
  std::unique_lock<std::mutex> lock(state->mutex);
  state->all.wait(lock, [&] { return state->done.load() == n; });
}

// z [M, ...] += a [M, K] w [K, NV vectors]. With kApart the last vector of w is added to
// the vector after its own, as for the candidate of a GRU.
template <class T, int M, int NV, bool kApart>
INLINE void tile(const T* a, long row, long col, const T* w, long depth, T* z, long zs) {
  constexpr int L = kLanes<T>;
  auto at = [](int v) { return (kApart && v == NV - 1 ? v + 1 : v) * L; };
  Vec<T> sum[M][NV];
  UNROLL for (int m = 0; m < M; ++m) {
    UNROLL for (int v = 0; v < NV; ++v) sum[m][v] = load(z + m * zs + at(v));
  }
  for (long k = 0; k < depth; ++k, w += NV * L) {
    Vec<T> of_w[NV];
    UNROLL for (int v = 0; v < NV; ++v) {
      of_w[v] = load(w + v * L);
      __builtin_prefetch(w + (8 * NV + v) * L);
    }
    UNROLL for (int m = 0; m < M; ++m) {
      const T one = a[m * row + k * col];
      UNROLL for (int v = 0; v < NV; ++v) sum[m][v] += one * of_w[v];
    }
  }
  UNROLL for (int m = 0; m < M; ++m) {
    UNROLL for (int v = 0; v < NV; ++v) store(z + m * zs + at(v), sum[m][v]);
  }
}

template <class T, int NV, bool kApart>
void tiles(const T* a, long row, long col, const T* w, long depth, T* z, long zs, long rows) {
  long count = (rows + kRows - 1) / kRows;
  for (long i = 0; i < count; ++i) {
    long left = (rows + count - i - 1) / (count - i);  // of nearly equal height
    const auto run = [&](auto m) {
      tile<T, decltype(m)::value, NV, kApart>(a, row, col, w, depth, z, zs);
    };
    switch (left) {
      case 1: run(std::integral_constant<int, 1>()); break;
      case 2: run(std::integral_constant<int, 2>()); break;
      case 3: run(std::integral_constant<int, 3>()); break;
#if !defined(__AVX__) || defined(__AVX512F__)
      case 4: run(std::integral_constant<int, 4>()); break;
      case 5: run(std::integral_constant<int, 5>()); break;
      case 6: run(std::integral_constant<int, 6>()); break;
#endif
    }
    a += left * row, z += left * zs, rows -= left;
  }
}

// The same for any number of rows, in blocks of the depth.
template <class T, bool kApart = false>
void product(int nv, const T* a, long row, long col, const T* w, long depth, T* z, long zs,
             long rows) {
  long block = rows > kRows ? kDepth : depth;
  for (long k = 0; k < depth; k += block) {
    long n = std::min(block, depth - k);
    const T *ak = a + k * col, *wk = w + k * nv * kLanes<T>;
    switch (nv) {
      case 1: tiles<T, 1, kApart>(ak, row, col, wk, n, z, zs, rows); break;
      case 2: tiles<T, 2, kApart>(ak, row, col, wk, n, z, zs, rows); break;
      case 3: tiles<T, 3, kApart>(ak, row, col, wk, n, z, zs, rows); break;
      default: tiles<T, 4, kApart>(ak, row, col, wk, n, z, zs, rows);
    }
  }
}

// Vectors of a panel of plain columns: fewer in the last one.
template <class T>
int width(long columns, long panel) {
  long left = columns - panel * kPanel * kLanes<T>;
  return std::min<long>(kPanel, (left + kLanes<T> - 1) / kLanes<T>);
}

// Packs `depth` rows of nv vectors; vector v begins at the column v * apart.
template <class T>
T* pack(T* to, const T* w, long ws, long cs, long depth, int nv, long apart, long columns) {
  constexpr int L = kLanes<T>;
  for (long k = 0; k < depth; ++k) {
    for (int v = 0; v < nv; ++v, to += L) {
      const T* from = w + k * ws + v * apart * cs;
      long n = std::min<long>(L, apart == L ? columns - v * L : columns);
      if (cs == 1) {
        store(to, load(from, n));
      } else {
        for (int i = 0; i < L; ++i) to[i] = i < n ? from[i * cs] : T(0);
      }
    }
  }
  return to;
}

// What the loops know of each cell. A panel is kLanes units of all gates (GRU, LSTM) or
// kPanel * kLanes units (Elman).
struct Sizes {
  long T, B, D, H;
};

template <class T>
struct Elman {
  static constexpr int kX = 1, kH = 1, kZ = 1, kCarry = 1, kResiduals = 1;
};
template <class T>
struct Gru {
  static constexpr int kX = 3, kH = 3, kZ = 4, kCarry = 1, kResiduals = 4;
};
template <class T>
struct Lstm {
  static constexpr int kX = 4, kH = 4, kZ = 4, kCarry = 2, kResiduals = 6;
};

enum class Cell { kTanh, kRelu, kGru, kLstm };

template <class T>
struct Arrays {  // of one call; null where there is none
  const T *w_x, *w_h, *b, *carry[2], *initial[2], *xs;
  const bool *mask, *starts;
  T *last[2], *hs, *rows, *residuals[6];
};

// Applies the non-linearities to one vector of units of one row.
//   z: its sums, by gate; u: the first unit; n: how many are valid.
template <class T, Cell kCell>
INLINE void point(const T* z, const T* h, T* c, T* h_new, T* const* residuals, long u, long n) {
  constexpr int L = kLanes<T>;
  using V = Vec<T>;
  auto keep = [&](int i, V v) {
    if (residuals) store(residuals[i] + u, v, n);
  };
  if constexpr (kCell == Cell::kLstm) {
    V i = sigmoid_of(load(z)), f = sigmoid_of(load(z + L));
    V g = tanh_of(load(z + 2 * L)), o = sigmoid_of(load(z + 3 * L));
    V before = load(c + u), after = f * before + i * g, t = tanh_of(after);
    keep(0, i), keep(1, f), keep(2, g), keep(3, o), keep(4, before), keep(5, t);
    store(c + u, after);
    store(h_new + u, o * t);
  } else if constexpr (kCell == Cell::kGru) {
    V r = sigmoid_of(load(z)), s = sigmoid_of(load(z + L)), n_h = load(z + 3 * L);
    V k = tanh_of(load(z + 2 * L) + r * n_h);
    keep(0, r), keep(1, s), keep(2, k), keep(3, n_h);
    store(h_new + u, k + s * (load(h + u) - k));
  } else {
    V y = load(z);
    if constexpr (kCell == Cell::kTanh) {
      y = tanh_of(y);
    } else {
      y = y > 0 ? y : (y == y ? V{} : y);
    }
    keep(0, y);
    store(h_new + u, y);
  }
}

constexpr int gates_of(Cell cell) { return cell == Cell::kLstm ? 4 : cell == Cell::kGru ? 3 : 1; }
constexpr int carries_of(Cell cell) { return cell == Cell::kLstm ? 2 : 1; }
constexpr int residuals_of(Cell cell) {
  return cell == Cell::kLstm ? 6 : cell == Cell::kGru ? 4 : 1;
}

template <class T, Cell kCell>
void forward(ffi::ThreadPool& pool, long threads, Sizes s, bool reverse, Arrays<T> io) {
  constexpr int L = kLanes<T>, G = gates_of(kCell), C = carries_of(kCell);
  constexpr bool kUnits = G == 1;               // panels of plain units
  constexpr int Z = kCell == Cell::kGru ? 4 : kUnits ? kPanel : G;  // vectors of sums
  const long wide = kUnits ? kPanel * L : L;    // units of a panel
  const long panels = (s.H + wide - 1) / wide, padded = panels * wide;
  const long depth = s.D + s.H;

  T* packed = scratch<T>(kWeights, panels * depth * (kUnits ? kPanel : G) * L);
  auto vectors = [&](long p) { return kUnits ? width<T>(s.H, p) : G; };
  auto at = [&](long p) { return packed + p * depth * (kUnits ? kPanel : G) * L; };
  for (long p = 0; p < panels; ++p) {
    long apart = kUnits ? L : s.H, left = s.H - p * wide;
    T* to = pack(at(p), io.w_x + p * wide, G * s.H, 1, s.D, vectors(p), apart, left);
    pack(to, io.w_h + p * wide, G * s.H, 1, s.H, vectors(p), apart, left);
  }

  long shares = std::min(threads, s.B);
  share(pool, shares, [&](long i) {
    const long from = s.B * i / shares, rows = s.B * (i + 1) / shares - from;
    T* z = scratch<T>(kSums, rows * Z * L);
    T* state = scratch<T>(kState, rows * padded * 3);
    T *h = state, *next = state + rows * padded, *c = state + 2 * rows * padded;
    auto begin = [&](long r, const T* const* carry) {
      std::memcpy(h + r * padded, carry[0] + (from + r) * s.H, s.H * sizeof(T));
      if (C == 2) std::memcpy(c + r * padded, carry[1] + (from + r) * s.H, s.H * sizeof(T));
    };
    std::fill_n(state, rows * padded * 3, T(0));
    for (long r = 0; r < rows; ++r) begin(r, io.carry);

    for (long step = 0; step < s.T; ++step) {
      const long t = reverse ? s.T - 1 - step : step, first = t * s.B + from;
      if (io.starts) {
        for (long r = 0; r < rows; ++r) {
          if (io.starts[first + r]) begin(r, io.initial);
        }
      }
      const T* x = io.xs + first * s.D;
      if (io.rows) {
        for (long r = 0; r < rows; ++r) {
          T* row = io.rows + (first + r) * (s.H + 1 + s.D);
          std::memcpy(row, h + r * padded, s.H * sizeof(T));
          row[s.H] = 1;
          std::memcpy(row + s.H + 1, x + r * s.D, s.D * sizeof(T));
        }
      }
      for (long p = 0; p < panels; ++p) {
        const int nv = vectors(p);
        const long unit = p * wide;
        for (long r = 0; r < rows; ++r) {
          for (int v = 0; v < (kUnits ? nv : Z); ++v) {
            const T* b = io.b + (kUnits ? unit + v * L : v * s.H + unit);
            store(z + (r * Z + v) * L, load(b, s.H - unit - (kUnits ? v * L : 0)));
          }
        }
        product<T>(nv, x, s.D, 1, at(p), s.D, z, Z * L, rows);
        const T* of_h = at(p) + s.D * nv * L;
        product<T, kCell == Cell::kGru>(nv, h, padded, 1, of_h, s.H, z, Z * L, rows);
        for (long r = 0; r < rows; ++r) {
          const long b = first + r;
          const bool valid = !io.mask || io.mask[b];
          T* kept[6];
          if (io.rows) {
            for (int k = 0; k < residuals_of(kCell); ++k) kept[k] = io.residuals[k] + b * s.H;
          }
          T* c_row = c + r * padded;
          for (int v = 0; v < (kUnits ? nv : 1); ++v) {
            const long u = unit + v * L, n = s.H - u;
            Vec<T> c_old = load(c_row + u), h_old = load(h + r * padded + u);
            point<T, kCell>(z + (r * Z + v) * L, h + r * padded, c_row, next + r * padded,
                            io.rows ? kept : nullptr, u, n);
            if (!valid) {
              store(next + r * padded + u, h_old);
              store(c_row + u, c_old);
            }
            store(io.hs + b * s.H + u, load(next + r * padded + u), n);
          }
        }
      }
      std::swap(h, next);
    }
    for (long r = 0; r < rows; ++r) {
      std::memcpy(io.last[0] + (from + r) * s.H, h + r * padded, s.H * sizeof(T));
      if (C == 2) std::memcpy(io.last[1] + (from + r) * s.H, c + r * padded, s.H * sizeof(T));
    }
  });
}

template <class T>
struct Back {
  const T *w_h, *hs, *residuals[6];  // hs: the state before a step, in the rows
  long row;                          // from one row of hs to the next
  const bool *mask, *starts;
  const T *ct_carry[2], *ct_hs;
  T *ct_z[2], *ct_first[2], *ct_initial[2];  // ct_z: apart from it, that of the candidate
};

template <class T, Cell kCell>
INLINE void point_back(const T* const* res, const T* h, T* dh, T* dc, T* ct_z, T* ct_n, long H,
                       long u, long n) {
  using V = Vec<T>;
  auto of = [&](int i) { return load(res[i] + u, n); };
  const V ct = load(dh + u);
  V own = {};
  if constexpr (kCell == Cell::kLstm) {
    V i = of(0), f = of(1), g = of(2), o = of(3), before = of(4), t = of(5);
    V ct_c = load(dc + u) + ct * o * (1 - t * t);
    store(ct_z + u, ct_c * g * i * (1 - i), n);
    store(ct_z + H + u, ct_c * before * f * (1 - f), n);
    store(ct_z + 2 * H + u, ct_c * i * (1 - g * g), n);
    store(ct_z + 3 * H + u, ct * t * o * (1 - o), n);
    store(dc + u, ct_c * f);
  } else if constexpr (kCell == Cell::kGru) {
    V r = of(0), s = of(1), k = of(2), n_h = of(3);
    V ct_k = ct * (1 - s) * (1 - k * k);
    store(ct_n + u, ct_k, n);
    store(ct_z + u, ct_k * n_h * r * (1 - r), n);
    store(ct_z + H + u, ct * (load(h + u, n) - k) * s * (1 - s), n);
    store(ct_z + 2 * H + u, ct_k * r, n);
    own = ct * s;
  } else if constexpr (kCell == Cell::kTanh) {
    V y = of(0);
    store(ct_z + u, ct * (1 - y * y), n);
  } else {
    V y = of(0);
    store(ct_z + u, y > 0 ? ct : V{}, n);
  }
  store(dh + u, own);
}

template <class T, Cell kCell>
void backward(ffi::ThreadPool& pool, long threads, Sizes s, bool reverse, Back<T> io) {
  constexpr int L = kLanes<T>, G = gates_of(kCell), C = carries_of(kCell);
  constexpr bool kGru = kCell == Cell::kGru;
  const long wide = kPanel * L, panels = (s.H + wide - 1) / wide, padded = panels * wide;
  const long depth = G * s.H;
  T* packed = scratch<T>(kWeights, panels * depth * wide);
  auto at = [&](long p) { return packed + p * depth * wide; };
  for (long p = 0; p < panels; ++p) {
    pack(at(p), io.w_h + p * wide * depth, 1, depth, depth, width<T>(s.H, p), L, s.H - p * wide);
  }

  long shares = std::min(threads, s.B);
  share(pool, shares, [&](long i) {
    const long from = s.B * i / shares, rows = s.B * (i + 1) / shares - from;
    T* state = scratch<T>(kState, rows * padded * 2);
    T *dh = state, *dc = state + rows * padded;
    std::fill_n(state, rows * padded * 2, T(0));
    for (long r = 0; r < rows; ++r) {
      const long b = (from + r) * s.H;
      std::memcpy(dh + r * padded, io.ct_carry[0] + b, s.H * sizeof(T));
      if (C == 2) std::memcpy(dc + r * padded, io.ct_carry[1] + b, s.H * sizeof(T));
      if (io.starts) {
        for (int k = 0; k < C; ++k) std::fill_n(io.ct_initial[k] + b, s.H, T(0));
      }
    }
    for (long step = 0; step < s.T; ++step) {
      const long t = reverse ? step : s.T - 1 - step, first = t * s.B + from;
      for (long r = 0; r < rows; ++r) {
        const long b = first + r;
        T *dh_row = dh + r * padded, *dc_row = dc + r * padded;
        const bool valid = !io.mask || io.mask[b];
        const T* res[6];
        for (int k = 0; k < residuals_of(kCell); ++k) res[k] = io.residuals[k] + b * s.H;
        for (long u = 0; u < s.H; u += L) {
          const long n = s.H - u;
          store(dh_row + u, load(dh_row + u) + load(io.ct_hs + b * s.H + u, n));
          if (valid) {
            point_back<T, kCell>(res, io.hs + b * io.row, dh_row, dc_row,
                                 io.ct_z[0] + b * depth, kGru ? io.ct_z[1] + b * s.H : nullptr,
                                 s.H, u, n);
          }
        }
        if (!valid) {
          std::fill_n(io.ct_z[0] + b * depth, depth, T(0));
          if (kGru) std::fill_n(io.ct_z[1] + b * s.H, s.H, T(0));
        }
      }
      for (long p = 0; p < panels; ++p) {
        product<T>(width<T>(s.H, p), io.ct_z[0] + first * depth, depth, 1, at(p), depth,
                   dh + p * wide, padded, rows);
      }
      if (io.starts) {
        for (long r = 0; r < rows; ++r) {
          if (!io.starts[first + r]) continue;
          for (int k = 0; k < C; ++k) {
            T *ct = (k ? dc : dh) + r * padded, *sum = io.ct_initial[k] + (from + r) * s.H;
            for (long u = 0; u < s.H; ++u) sum[u] += ct[u], ct[u] = 0;
          }
        }
      }
    }
    for (long r = 0; r < rows; ++r) {
      const long b = (from + r) * s.H;
      std::memcpy(io.ct_first[0] + b, dh + r * padded, s.H * sizeof(T));
      if (C == 2) std::memcpy(io.ct_first[1] + b, dc + r * padded, s.H * sizeof(T));
    }
  });
}

// out [K, G] = a [N, K]^T b [N, G]: the gradient of weights, summed over all rows.
template <class T>
void transposed_product(ffi::ThreadPool& pool, long threads, long N, long K, long G, const T* a,
                        const T* b, T* out) {
  constexpr int L = kLanes<T>;
  const long wide = kPanel * L, panels = (G + wide - 1) / wide;
  const long shares = std::min(threads, panels);
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

// The operands, in the order in which JAX flattens them.
class Reader {
 public:
  explicit Reader(ffi::RemainingArgs args) : args_(args) {}
  ffi::AnyBuffer next() { return args_.get<ffi::AnyBuffer>(at_++).value(); }
  template <class T>
  T* data() {
    return static_cast<T*>(next().untyped_data());
  }

 private:
  ffi::RemainingArgs args_;
  size_t at_ = 0;
};
class Writer {
 public:
  explicit Writer(ffi::RemainingRets rets) : rets_(rets) {}
  template <class T>
  T* data() {
    return static_cast<T*>(rets_.get<ffi::AnyBuffer>(at_++).value()->untyped_data());
  }

 private:
  ffi::RemainingRets rets_;
  size_t at_ = 0;
};

template <class F>
ffi::Error with_cell(std::string_view name, F run) {
  try {
    if (name == "lstm") {
      run(std::integral_constant<Cell, Cell::kLstm>());
    } else if (name == "gru") {
      run(std::integral_constant<Cell, Cell::kGru>());
    } else if (name == "elman tanh") {
      run(std::integral_constant<Cell, Cell::kTanh>());
    } else if (name == "elman relu") {
      run(std::integral_constant<Cell, Cell::kRelu>());
    } else {
      return ffi::Error::InvalidArgument("no loop of " + std::string(name));
    }
  } catch (const std::bad_alloc&) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, "no memory for the loop");
  }
  return ffi::Error::Success();
}

template <class T>
ffi::Error forward_call(ffi::ThreadPool pool, int64_t threads, std::string_view cell,
                        bool reverse, bool keep, bool masked, bool started,
                        ffi::RemainingArgs args, ffi::RemainingRets rets) {
  return with_cell(cell, [&](auto kind) {
    constexpr Cell kCell = decltype(kind)::value;
    constexpr int C = carries_of(kCell);
    Arrays<T> io = {};
    Reader in(args);
    Writer out(rets);
    io.w_x = in.data<T>(), io.w_h = in.data<T>(), io.b = in.data<T>();
    for (int k = 0; k < C; ++k) io.carry[k] = in.data<T>();
    for (int k = 0; started && k < C; ++k) io.initial[k] = in.data<T>();
    const auto xs = in.next();
    io.xs = static_cast<T*>(xs.untyped_data());
    if (masked) io.mask = in.data<bool>();
    if (started) io.starts = in.data<bool>();
    for (int k = 0; k < C; ++k) io.last[k] = out.data<T>();
    const auto hs = rets.get<ffi::AnyBuffer>(C).value()->dimensions();
    io.hs = out.data<T>();
    if (keep) {
      io.rows = out.data<T>();
      for (int k = 0; k < residuals_of(kCell); ++k) io.residuals[k] = out.data<T>();
    }
    const auto d = xs.dimensions();
    forward<T, kCell>(pool, threads, Sizes{d[0], d[1], d[2], hs[2]}, reverse, io);
  });
}

template <class T>
ffi::Error backward_call(ffi::ThreadPool pool, int64_t threads, std::string_view cell,
                         bool reverse, bool masked, bool started, ffi::RemainingArgs args,
                         ffi::RemainingRets rets) {
  return with_cell(cell, [&](auto kind) {
    constexpr Cell kCell = decltype(kind)::value;
    constexpr int C = carries_of(kCell);
    Back<T> io = {};
    Reader in(args);
    Writer out(rets);
    in.next();
    io.w_h = in.data<T>();
    in.next();
    const auto rows = in.next();
    io.hs = static_cast<T*>(rows.untyped_data());
    io.row = rows.dimensions()[2];
    for (int k = 0; k < residuals_of(kCell); ++k) io.residuals[k] = in.data<T>();
    if (masked) io.mask = in.data<bool>();
    if (started) io.starts = in.data<bool>();
    for (int k = 0; k < C; ++k) io.ct_carry[k] = in.data<T>();
    const auto ct_hs = in.next();
    io.ct_hs = static_cast<T*>(ct_hs.untyped_data());
    if (kCell == Cell::kGru) io.ct_z[1] = out.data<T>();
    io.ct_z[0] = out.data<T>();
    for (int k = 0; k < C; ++k) io.ct_first[k] = out.data<T>();
    for (int k = 0; started && k < C; ++k) io.ct_initial[k] = out.data<T>();
    const auto d = ct_hs.dimensions();
    backward<T, kCell>(pool, threads, Sizes{d[0], d[1], 0, d[2]}, reverse, io);
  });
}

template <class T>
ffi::Error product_call(ffi::ThreadPool pool, int64_t threads, ffi::AnyBuffer a,
                        ffi::AnyBuffer b, ffi::Result<ffi::AnyBuffer> out) {
  const auto da = a.dimensions(), db = b.dimensions();
  transposed_product<T>(pool, threads, da[0], da[1], db[1], static_cast<T*>(a.untyped_data()),
                        static_cast<T*>(b.untyped_data()), static_cast<T*>(out->untyped_data()));
  return ffi::Error::Success();
}

auto forward_binding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Attr<int64_t>("threads")
      .Attr<std::string_view>("cell")
      .Attr<bool>("reverse")
      .Attr<bool>("keep")
      .Attr<bool>("masked")
      .Attr<bool>("started")
      .RemainingArgs()
      .RemainingRets();
}
auto backward_binding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Attr<int64_t>("threads")
      .Attr<std::string_view>("cell")
      .Attr<bool>("reverse")
      .Attr<bool>("masked")
      .Attr<bool>("started")
      .RemainingArgs()
      .RemainingRets();
}
auto product_binding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Attr<int64_t>("threads")
      .Arg<ffi::AnyBuffer>()
      .Arg<ffi::AnyBuffer>()
      .Ret<ffi::AnyBuffer>();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(forward_float32, forward_call<float>, forward_binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(forward_float64, forward_call<double>, forward_binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(backward_float32, backward_call<float>, backward_binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(backward_float64, backward_call<double>, backward_binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(product_float32, product_call<float>, product_binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(product_float64, product_call<double>, product_binding());
