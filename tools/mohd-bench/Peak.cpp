// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The two loops that show a core's limits: independent chains of multiply-adds in registers, and a plain sum over memory.
// Built with contraction of multiplications and additions.
#include "Machine.h"
#include "Statistics.h"

#include <algorithm>
#include <chrono>
#include <vector>

namespace mohdbench {
namespace {

template <int Lanes> struct VectorOf {
  typedef float Type __attribute__((vector_size(Lanes * sizeof(float))));
};

constexpr int kSteps = 4096;                   // between looks at the clock
constexpr size_t kReadBytes = size_t(4) << 20; // the same

/// `kSteps` multiply-adds in each of `Chains` chains: latency times throughput needs 8 to 10 on today's cores.
template <int Lanes, int Chains>
__attribute__((always_inline)) inline float runChains(float factor, float summand) {
  using Vector = typename VectorOf<Lanes>::Type;
  Vector chains[Chains], factors = Vector{} + factor, summands = Vector{} + summand;
  for (int i = 0; i < Chains; ++i)
    chains[i] = Vector{} + static_cast<float>(i);
  for (int step = 0; step < kSteps; ++step)
    for (int i = 0; i < Chains; ++i)
      chains[i] = chains[i] * factors + summands;
  Vector sum{};
  for (int i = 0; i < Chains; ++i)
    sum += chains[i];
  float total = 0;
  for (int i = 0; i < Lanes; ++i)
    total += sum[i];
  return total;
}

template <int Lanes>
__attribute__((always_inline)) inline float sumVectors(const void *data, size_t bytes) {
  using Vector = typename VectorOf<Lanes>::Type;
  constexpr int unroll = 8;
  Vector sums[unroll] = {};
  const Vector *vectors = static_cast<const Vector *>(data);
  size_t count = bytes / sizeof(Vector) / unroll * unroll;
  for (size_t i = 0; i < count; i += unroll)
    for (int j = 0; j < unroll; ++j)
      sums[j] += vectors[i + static_cast<size_t>(j)];
  for (int j = 1; j < unroll; ++j)
    sums[0] += sums[j];
  float total = 0;
  for (int i = 0; i < Lanes; ++i)
    total += sums[0][i];
  return total;
}

/// A core's loops for one width of vectors.
struct Loops {
  double flops; // of one call of `chains`
  float (*chains)(float factor, float summand);
  float (*sum)(const void *data, size_t bytes);
};

#if defined(__x86_64__)
__attribute__((target("avx512f"))) float chains512(float factor, float summand) {
  return runChains<16, 24>(factor, summand);
}
__attribute__((target("avx512f"))) float sum512(const void *data, size_t bytes) {
  return sumVectors<16>(data, bytes);
}
__attribute__((target("avx2,fma"))) float chains256(float factor, float summand) {
  return runChains<8, 12>(factor, summand);
}
__attribute__((target("avx2,fma"))) float sum256(const void *data, size_t bytes) {
  return sumVectors<8>(data, bytes);
}
#endif

float chains128(float factor, float summand) { return runChains<4, 12>(factor, summand); }
float sum128(const void *data, size_t bytes) { return sumVectors<4>(data, bytes); }

const Loops &nativeLoops() {
#if defined(__x86_64__)
  static const Loops wide{2.0 * kSteps * 24 * 16, chains512, sum512};
  static const Loops middle{2.0 * kSteps * 12 * 8, chains256, sum256};
  if (__builtin_cpu_supports("avx512f"))
    return wide;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    return middle;
#endif
  static const Loops narrow{2.0 * kSteps * 12 * 4, chains128, sum128};
  return narrow;
}

} // namespace

double measurePeak(double seconds) {
  using Clock = std::chrono::steady_clock;
  const Loops &loops = nativeLoops();
  volatile float factor = 0.5f, keep = 0;
  std::vector<double> times; // of single calls: some end later, as another thread had the core
  Clock::time_point begin = Clock::now(), start = begin, end = begin;
  while (times.empty() || std::chrono::duration<double>(end - begin).count() < seconds) {
    start = Clock::now();
    keep = loops.chains(factor, 1.0f);
    end = Clock::now();
    times.push_back(std::chrono::duration<double>(end - start).count());
  }
  (void)keep;
  return loops.flops / quantile(std::move(times), 0.5);
}

double measureBandwidth(const void *data, size_t bytes) {
  using Clock = std::chrono::steady_clock;
  const Loops &loops = nativeLoops();
  size_t piece = std::min(bytes, kReadBytes);
  volatile float keep = 0;
  std::vector<double> times; // of pieces, for the same reason
  for (size_t at = 0; at + piece <= bytes && piece > 0; at += piece) {
    Clock::time_point start = Clock::now();
    keep = loops.sum(static_cast<const char *>(data) + at, piece);
    times.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  }
  (void)keep;
  return times.empty() ? 0 : static_cast<double>(piece) / quantile(std::move(times), 0.5);
}

} // namespace mohdbench
