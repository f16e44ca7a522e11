// Vectors as wide as the processor's registers, in the vector types of gcc and clang: one source for all of them.
// The intrinsics are where the compilers do not find the instruction; each has a portable branch beside it.
#pragma once

#include <cstdint>
#include <cstring>
#include <initializer_list>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#define INLINE inline __attribute__((always_inline))

#if defined(__AVX512F__)
constexpr int LANES = 16, REGISTERS = 32;
#elif defined(__AVX2__)
constexpr int LANES = 8, REGISTERS = 16;
#elif defined(__ARM_NEON)
constexpr int LANES = 4, REGISTERS = 32;
#else
constexpr int LANES = 4, REGISTERS = 16;
#endif

typedef float F __attribute__((vector_size(4 * LANES)));
typedef int32_t I __attribute__((vector_size(4 * LANES)));
typedef uint32_t U __attribute__((vector_size(4 * LANES)));
typedef uint16_t H __attribute__((vector_size(2 * LANES)));

constexpr int PANEL = 64;  // output channels, or positions, that lie together

// A tile of accumulators is `rows` × `columns(rows)` vectors, in three quarters of the registers.
constexpr int ROWS = 6;
constexpr int columns(int rows) {
  int n = PANEL / LANES;
  while (n > 1 && rows * n > REGISTERS * 3 / 4) n /= 2;
  return n;
}

constexpr long AHEAD = 32;  // steps that a tile narrower than a panel asks for in advance: it reads in strides

static INLINE F load(const float *p) {
  F v;
  memcpy(&v, p, sizeof v);
  return v;
}

static INLINE I load(const int32_t *p) {
  I v;
  memcpy(&v, p, sizeof v);
  return v;
}

static INLINE U widened(const uint16_t *p) {
  H v;
  memcpy(&v, p, sizeof v);
#if defined(__AVX512F__)
  return (U)_mm512_cvtepu16_epi32((__m256i)v);  // gcc takes four instructions to convert
#else
  return __builtin_convertvector(v, U);
#endif
}

// bfloat16 is the upper half of a float32.
static INLINE F load(const uint16_t *p) { return (F)(widened(p) << 16); }

static INLINE void store(float *p, F v) { memcpy(p, &v, sizeof v); }

static INLINE F splat(float x) { return x - F{}; }
static INLINE I splat(int32_t x) { return x - I{}; }

static INLINE float scalar(float x) { return x; }
static INLINE float scalar(uint16_t x) {
  uint32_t bits = uint32_t(x) << 16;
  float v;
  memcpy(&v, &bits, sizeof v);
  return v;
}

// The first n lanes; the others are zero.
static INLINE F load_part(const float *p, long n) {
  if (n >= LANES) return load(p);  // a copy of a size that is not known would be a call
  F v = {};
  memcpy(&v, p, n * sizeof(float));
  return v;
}

static INLINE void store_part(float *p, F v, long n) {
  if (n >= LANES)
    store(p, v);
  else
    memcpy(p, &v, n * sizeof(float));
}

// Ask for n elements before they are read: a block is shorter than what the processor needs to see a stream in it.
template <class T> static INLINE void prefetch(const T *p, long n) {
  for (long i = 0; i < n; i += 64 / long(sizeof(T))) __builtin_prefetch(p + i);
}

// Round to nearest, ties to even; a NaN stays one.
static INLINE H to_bf16(F x) {
  const U bits = (U)x, even = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  return __builtin_convertvector((bits & 0x7fffffff) > 0x7f800000 ? (bits >> 16 | 64) : even, H);
}
static INLINE uint16_t to_bf16(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  if ((bits & 0x7fffffff) > 0x7f800000) return uint16_t(bits >> 16 | 64);
  return uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// a · b + c, written as one instruction: a compiler that may fuse does it here and not there, and then the bits of
// a row depend on the shape of its tile.
static INLINE F fused(F a, F b, F c) {
#if defined(__AVX512F__)
  return (F)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__) && defined(__FMA__)
  return (F)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__ARM_NEON)
  return (F)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
  return a * b + c;
#endif
}

static INLINE F to_float(I v) { return __builtin_convertvector(v, F); }

static INLINE F larger(F a, F b) { return a > b ? a : b; }

// Halves folded onto each other: the order of a sum is written down, so it is the same in every caller.
template <int N> struct Lanes {
  typedef float Type __attribute__((vector_size(4 * N)));
};
template <int N, class Fold> static INLINE float folded(typename Lanes<N>::Type v, Fold fold) {
  if constexpr (N == 2) {
    return fold(v[0], v[1]);
  } else {
    typename Lanes<N / 2>::Type halves[2];
    memcpy(halves, &v, sizeof v);
    return folded<N / 2>(fold(halves[0], halves[1]), fold);
  }
}
static INLINE float sum(F v) {
  return folded<LANES>(v, [](auto a, auto b) { return a + b; });
}
static INLINE float maximum(F v) {
  return folded<LANES>(v, [](auto a, auto b) { return a > b ? a : b; });
}

// e^x to 2 units in the last place; exactly 1 at 0, exactly 0 below -87.
static INLINE F exponential(F x) {
  const F magic = splat(12582912.0f);  // 1.5 · 2^23: adding it rounds to a whole number
  F clipped = x > splat(-87.0f) ? x : splat(-87.0f);
  clipped = clipped < splat(88.0f) ? clipped : splat(88.0f);
  F n = fused(clipped, splat(1.44269504f), magic);
  I shift = ((I)n - (I)magic) << 23;
  n -= magic;
  const F r = fused(n, splat(2.12194440e-4f), fused(n, splat(-0.693359375f), clipped));
  F p = splat(1.9875691500e-4f);
  for (float coefficient : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f})
    p = fused(p, r, splat(coefficient));
  p = fused(p, r * r, r) + 1.0f;
  p = (F)((I)p + shift);
  return x > splat(-87.0f) ? p : splat(0.0f);
}

// The first and the second of two bf16 in each lane.
static INLINE F even(I pair) { return (F)(pair << 16); }
static INLINE F odd(I pair) { return (F)(pair & splat(int32_t(0xffff0000))); }

// Whether the processor multiplies two bf16 at once.
#if defined(__AVX512BF16__)
constexpr bool PAIRS = true;
#else
constexpr bool PAIRS = false;
#endif

// acc + two bf16 of w times the two of x, in each lane.
static INLINE F dot_pair(F acc, I w, int32_t x) {
#if defined(__AVX512BF16__)
  return (F)_mm512_dpbf16_ps((__m512)acc, (__m512bh)w, (__m512bh)_mm512_set1_epi32(x));
#else
  acc = fused(even(w), even(splat(x)), acc);
  return fused(odd(w), odd(splat(x)), acc);
#endif
}

// acc[r][c] += Σ_k x[r][k] · w[k][c], in the order of k: what a row gets does not depend on how many rows
// there are. `w` advances `stride` elements a step.
template <int R, int C>
static INLINE void accumulate(const float *x, long x_stride, const float *w, long stride, long n, F (&acc)[R][C]) {
  for (long k = 0; k < n; k++) {
    F row[C];
    for (int c = 0; c < C; c++) row[c] = load(w + k * stride + c * LANES);
    if constexpr (C * LANES < PANEL)
      for (int c = 0; c < C * LANES; c += 16) __builtin_prefetch(w + (k + AHEAD) * stride + c);
    for (int r = 0; r < R; r++)
      for (int c = 0; c < C; c++) acc[r][c] = fused(row[c], splat(x[r * x_stride + k]), acc[r][c]);
  }
}

// The same of bf16, two steps at a time. Where n is odd, x[r][n] is any finite number.
template <int R, int C>
static INLINE void accumulate(const uint16_t *x, long x_stride, const uint16_t *w, long stride, long n, F (&acc)[R][C]) {
  for (long k = 0; k < n; k += 2) {
    I pairs[C];
    for (int c = 0; c < C; c++) {
      const uint16_t *at = w + k * stride + c * LANES;
      const U even = widened(at), odd = k + 1 < n ? widened(at + stride) : U{};
      pairs[c] = (I)(even | odd << 16);
    }
    for (int r = 0; r < R; r++) {
      int32_t pair;
      memcpy(&pair, x + r * x_stride + k, sizeof pair);
      for (int c = 0; c < C; c++) acc[r][c] = dot_pair(acc[r][c], pairs[c], pair);
    }
  }
}
