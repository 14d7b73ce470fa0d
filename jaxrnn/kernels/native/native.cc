// What JAX calls: the loops and the products, for float32 and float64.

#include <string>
#include <string_view>

#include "gated.h"
#include "linear.h"
#include "products.h"
#include "reset.h"

namespace {

// The operands, or results, of one group, in the order in which JAX flattens them. Each
// has a leading axis for the groups, sets of weights with sequences of their own; it is 1
// where they share an operand.
template <class Buffers>
class Flat {
 public:
  Flat(Buffers buffers, long group) : buffers_(buffers), group_(group) {}
  template <class T>
  T* next() {
    const ffi::AnyBuffer buffer = get(at_++);
    const long groups = buffer.dimensions()[0];
    const long skipped = groups > 1 ? buffer.element_count() / groups * group_ : 0;
    return static_cast<T*>(buffer.untyped_data()) + skipped;
  }
  // The size of an axis of the i-th, the groups' own left out.
  long size(size_t i, size_t axis) { return get(i).dimensions()[axis + 1]; }
  size_t rank(size_t i) { return get(i).dimensions().size() - 1; }
  size_t at() const { return at_; }

 private:
  ffi::AnyBuffer get(size_t i) {
    if constexpr (std::is_same_v<Buffers, ffi::RemainingArgs>) {
      return buffers_.template get<ffi::AnyBuffer>(i).value();
    } else {
      return *buffers_.template get<ffi::AnyBuffer>(i).value();
    }
  }
  Buffers buffers_;
  long group_;
  size_t at_ = 0;
};
using In = Flat<ffi::RemainingArgs>;
using Out = Flat<ffi::RemainingRets>;

// Runs `task(in, out, threads)` for each group: side by side where there are enough.
template <class F>
ffi::Error each_group(ffi::ThreadPool& pool, long threads, ffi::RemainingArgs args,
                      ffi::RemainingRets rets, F task) {
  const long groups = (*rets.get<ffi::AnyBuffer>(0).value()).dimensions()[0];
  const bool apart = groups >= threads;
  auto run = [&](long g) { task(In(args, g), Out(rets, g), apart ? 1 : threads); };
  try {
    if (apart) {
      share(pool, groups, run);
    } else {
      for (long g = 0; g < groups; ++g) run(g);
    }
  } catch (const std::bad_alloc&) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, "no memory for the loop");
  }
  return ffi::Error::Success();
}

template <class F>
ffi::Error with_cell(std::string_view name, F run) {
  if (name == "lstm") return run(std::integral_constant<Cell, Cell::kLstm>());
  if (name == "gru") return run(std::integral_constant<Cell, Cell::kGru>());
  if (name == "gru reset before") return run(std::integral_constant<Cell, Cell::kReset>());
  if (name == "elman tanh") return run(std::integral_constant<Cell, Cell::kTanh>());
  if (name == "elman relu") return run(std::integral_constant<Cell, Cell::kRelu>());
  return ffi::Error::InvalidArgument("no loop of " + std::string(name));
}

template <class T>
ffi::Error forward_call(ffi::ThreadPool pool, int64_t threads, std::string_view cell,
                        bool reverse, bool keep, bool masked, bool started,
                        ffi::RemainingArgs args, ffi::RemainingRets rets) {
  return with_cell(cell, [&](auto kind) {
    constexpr Cell kCell = decltype(kind)::value;
    constexpr int C = carries_of(kCell);
    return each_group(pool, threads, args, rets, [&](In in, Out out, long threads) {
      Arrays<T> io = {};
      io.w_x = in.next<T>(), io.w_h = in.next<T>(), io.b = in.next<T>();
      for (int k = 0; k < C; ++k) io.carry[k] = in.next<T>();
      for (int k = 0; started && k < C; ++k) io.initial[k] = in.next<T>();
      const size_t xs = in.at();
      const Sizes sizes{in.size(xs, 0), in.size(xs, 1), in.size(xs, 2), out.size(0, 1)};
      io.xs = in.next<T>();
      if (masked) io.mask = in.next<bool>();
      if (started) io.starts = in.next<bool>();
      for (int k = 0; k < C; ++k) io.last[k] = out.next<T>();
      io.hs = out.next<T>();
      if (keep) {
        io.rows = out.next<T>();
        auto next = [&] { return out.next<T>(); };
        io.kept = kept_of<T>(sizes.H, gates_of(kCell), rest_of(kCell), next);
        const size_t steps = sizes.T * sizes.B;
        large_pages(io.rows, steps * (sizes.H + 1 + sizes.D));
        for (int k = 0; k < gates_of(kCell) + rest_of(kCell); k += gates_of(kCell)) {
          large_pages(io.kept.first[k], steps * io.kept.row[k]);
        }
        large_pages(io.hs, steps * sizes.H);
      }
      if constexpr (kCell == Cell::kReset) {
        ResetForward<T>(sizes, reverse, io).run(pool, threads);
      } else {
        Forward<T, kCell>(sizes, reverse, io).run(pool, threads);
      }
    });
  });
}

template <class T>
ffi::Error backward_call(ffi::ThreadPool pool, int64_t threads, std::string_view cell,
                         bool reverse, bool masked, bool started, ffi::RemainingArgs args,
                         ffi::RemainingRets rets) {
  return with_cell(cell, [&](auto kind) {
    constexpr Cell kCell = decltype(kind)::value;
    constexpr int C = carries_of(kCell);
    return each_group(pool, threads, args, rets, [&](In in, Out out, long threads) {
      Back<T> io = {};
      in.next<T>();
      io.w_h = in.next<T>();
      in.next<T>();
      io.row = in.size(in.at(), 2);
      io.hs = in.next<T>();
      const Sizes sizes{in.size(in.at(), 0), in.size(in.at(), 1), 0, in.size(1, 0)};
      auto next = [&] { return in.next<T>(); };
      io.kept = kept_of<T>(sizes.H, gates_of(kCell), rest_of(kCell), next);
      if (masked) io.mask = in.next<bool>();
      if (started) io.starts = in.next<bool>();
      for (int k = 0; k < C; ++k) io.ct_carry[k] = in.next<T>();
      io.ct_hs = in.next<T>();
      if (kCell == Cell::kGru) io.ct_z[1] = out.next<T>();
      io.ct_z[0] = out.next<T>();
      if (kCell == Cell::kReset) io.ct_z[1] = out.next<T>();
      for (int k = 0; k < C; ++k) io.ct_first[k] = out.next<T>();
      for (int k = 0; started && k < C; ++k) io.ct_initial[k] = out.next<T>();
      if constexpr (kCell == Cell::kReset) {
        reset_backward<T>(pool, threads, sizes, reverse, io);
      } else {
        backward<T, kCell>(pool, threads, sizes, reverse, io);
      }
    });
  });
}

// Of two matrices: "rows", a b; "turned", a b^T; "gradient", a^T b.
template <class T>
ffi::Error product_call(ffi::ThreadPool pool, int64_t threads, std::string_view kind,
                        ffi::RemainingArgs args, ffi::RemainingRets rets) {
  return each_group(pool, threads, args, rets, [&](In in, Out out, long threads) {
    const long N = in.size(0, 0), K = in.size(0, 1);
    const long G = out.size(0, 1), rows = out.size(0, 0);
    const T *a = in.next<T>(), *b = in.next<T>();
    T* to = out.next<T>();
    large_pages(to, rows * G);
    if (kind == "gradient") {
      transposed_product<T>(pool, threads, N, K, G, a, b, to);
    } else if (kind == "rows" && N < 16) {
      few_rows_product<T>(pool, threads, N, K, G, a, b, to);
    } else {
      const bool turned = kind == "turned";
      rows_product<T>(pool, threads, N, K, G, a, b, turned ? 1 : G, turned ? K : 1, turned, to);
    }
  });
}

template <class T, bool kComplex>
ffi::Error linear_call(ffi::ThreadPool pool, int64_t threads, bool reverse, bool after,
                       bool masked, bool started, ffi::RemainingArgs args,
                       ffi::RemainingRets rets) {
  return each_group(pool, threads, args, rets, [&](In in, Out out, long threads) {
    const long batch = in.size(1, 0), steps = in.size(1, 1);
    long units = kComplex ? 2 : 1;
    for (size_t axis = 2; axis < in.rank(1); ++axis) units *= in.size(1, axis);
    Linear<T> io = {batch, steps, units, in.size(0, 1) < steps};
    io.a = in.next<T>(), io.b = in.next<T>(), io.h = in.next<T>();
    if (masked) io.mask = in.next<bool>();
    if (started) io.starts = in.next<bool>();
    io.last = out.next<T>(), io.out = out.next<T>();
    linear<T, kComplex>(pool, threads, reverse, after, io);
  });
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
auto linear_binding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Attr<int64_t>("threads")
      .Attr<bool>("reverse")
      .Attr<bool>("after")
      .Attr<bool>("masked")
      .Attr<bool>("started")
      .RemainingArgs()
      .RemainingRets();
}
auto product_binding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Attr<int64_t>("threads")
      .Attr<std::string_view>("kind")
      .RemainingArgs()
      .RemainingRets();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(forward_float32, forward_call<float>, forward_binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(forward_float64, forward_call<double>, forward_binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(backward_float32, backward_call<float>, backward_binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(backward_float64, backward_call<double>, backward_binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(product_float32, product_call<float>, product_binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(product_float64, product_call<double>, product_binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(linear_float32, (linear_call<float, false>), linear_binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(linear_float64, (linear_call<double, false>), linear_binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(linear_complex64, (linear_call<float, true>), linear_binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(linear_complex128, (linear_call<double, true>), linear_binding());
