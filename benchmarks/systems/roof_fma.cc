// The peak of a core: chains of multiply-adds that need no memory.
//
// A multiply-add takes about four cycles and two start in each, so eight chains and more
// keep both units busy; twelve chains, x and y fit into sixteen registers.

#if defined(__AVX512F__)
constexpr int kBytes = 64;
#elif defined(__AVX__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif
constexpr int kChains = 12;
typedef float Vector __attribute__((vector_size(kBytes)));

// Returns the floating-point operations of all rounds; `sum` keeps the work alive.
extern "C" double multiply_adds(long rounds, float x, float* sum) {
  Vector chains[kChains], xs = Vector{} + x, ys = Vector{} + 1.0f;
  for (int i = 0; i < kChains; ++i) chains[i] = Vector{} + float(i);
  for (long round = 0; round < rounds; ++round)
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) chains[i] = chains[i] * xs + ys;
  Vector total = Vector{};
  for (int i = 0; i < kChains; ++i) total += chains[i];
  *sum = total[0];
  return 2.0 * rounds * kChains * (kBytes / sizeof(float));
}
