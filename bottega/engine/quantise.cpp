// Packs a matrix as int8 or int4: every row by itself, on as many threads as there are, in one pass.

#include "vectors.h"

namespace {

constexpr long GROUP = 32;  // inputs that share a scale of int4
constexpr float CANDIDATES[] = {1.0f, 0.95f, 0.9f, 0.85f};  // steps of int4: a smaller one clips the largest weight

typedef uint8_t Bytes __attribute__((vector_size(16)));

INLINE F nearest(F x) {  // of whole numbers, ties to even
  const F magic = splat(12582912.0f);
  return (x + magic) - magic;
}

INLINE F smaller(F a, F b) { return a < b ? a : b; }

INLINE Bytes bytes(F whole) { return __builtin_convertvector(__builtin_convertvector(whole, I), Bytes); }

INLINE float eight_bits(const float *row, long n, uint8_t *out) {
  F top = {};
  for (long k = 0; k < n; k += LANES) {
    const F v = load(row + k);
    top = larger(top, larger(v, -v));
  }
  const float largest = maximum(top), scale = largest > 1e-30f ? largest / 127 : 0.0f;
  const F divisor = splat(scale == 0 ? 1.0f : scale);
  for (long k = 0; k < n; k += LANES) {
    const Bytes levels = bytes(nearest(load(row + k) / divisor) + 128.0f);
    memcpy(out + k, &levels, sizeof levels);
  }
  return scale;
}

// The 32 levels of a group in 16 bytes, and its scale: of some steps the one that errs least.
INLINE uint16_t four_bits(const float *group, uint8_t *out) {
  const F first = load(group), second = load(group + LANES);
  const float high = maximum(larger(first, second)), low = -maximum(larger(-first, -second));
  const float farthest = high > -low ? high : low;
  float least = __builtin_inff();
  uint16_t scale = 0;
  F levels[2] = {};
  for (float candidate : CANDIDATES) {
    // The farthest weight becomes -8, the end that reaches one step farther than 7.
    const uint16_t kept = to_bf16(farthest * (-candidate / 8));
    const float step = scalar(kept);
    const F divisor = splat(step == 0 ? 1.0f : step);
    F tried[2] = {first / divisor, second / divisor}, error = {};
    for (int i = 0; i < 2; i++) {
      tried[i] = smaller(larger(nearest(tried[i]), splat(-8.0f)), splat(7.0f));
      const F missed = tried[i] * step - (i ? second : first);
      error = fused(missed, missed, error);
    }
    const float total = sum(error);
    if (total < least) least = total, scale = kept, levels[0] = tried[0], levels[1] = tried[1];
  }
  for (int i = 0; i < 2; i++) {
    const Bytes eights = bytes(levels[i] + 8.0f);
    for (int word = 0; word < 2; word++)
      for (int j = 0; j < 4; j++) out[8 * i + 4 * word + j] = eights[8 * word + j] | eights[8 * word + 4 + j] << 4;
  }
  return scale;
}

}  // namespace

// weight: (rows, n), n a multiple of 32. int8: words (rows, n), scales (rows,) float; int4: words (rows, n / 2),
// scales (rows, n / 32) bf16.
extern "C" void quantise(const float *weight, long rows, long n, int bits, uint8_t *words, void *scales,
                         int threads) {
#pragma omp parallel for schedule(dynamic, 16) num_threads(threads)
  for (long r = 0; r < rows; r++) {
    const float *row = weight + r * n;
    if (bits == 8) {
      ((float *)scales)[r] = eight_bits(row, n, words + r * n);
      continue;
    }
    for (long g = 0; g < n / GROUP; g++)
      ((uint16_t *)scales)[r * (n / GROUP) + g] = four_bits(row + g * GROUP, words + (r * n + g * GROUP) / 2);
  }
}
