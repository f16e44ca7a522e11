// Packs a matrix as int8 or int4: every row by itself, on as many threads as there are, in one pass.

#include "vectors.h"

namespace {

constexpr long GROUP = 32;  // inputs that share a scale of int4
constexpr float CANDIDATES[] = {1.0f, 0.95f, 0.9f, 0.85f};  // steps of int4: a smaller one clips the largest weight

typedef uint8_t Bytes __attribute__((vector_size(LANES)));

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
  F top = {}, bottom = {};
  for (int k = 0; k < GROUP; k += LANES) top = larger(top, load(group + k)), bottom = smaller(bottom, load(group + k));
  const float high = maximum(top), low = -maximum(-bottom), farthest = high > -low ? high : low;
  float least = __builtin_inff();
  uint16_t scale = 0;
  uint8_t levels[GROUP] = {}, tried[GROUP];
  for (float candidate : CANDIDATES) {
    // The farthest weight becomes -8, the end that reaches one step farther than 7.
    const uint16_t kept = to_bf16(farthest * (-candidate / 8));
    const float step = scalar(kept);
    const F divisor = splat(step == 0 ? 1.0f : step);
    F error = {};
    for (int k = 0; k < GROUP; k += LANES) {
      const F v = load(group + k), level = smaller(larger(nearest(v / divisor), splat(-8.0f)), splat(7.0f));
      const F missed = level * step - v;
      error = fused(missed, missed, error);
      const Bytes eights = bytes(level + 8.0f);
      memcpy(tried + k, &eights, sizeof eights);
    }
    const float total = sum(error);
    if (total < least) least = total, scale = kept, memcpy(levels, tried, GROUP);
  }
  for (int word = 0; word < GROUP / 8; word++)
    for (int j = 0; j < 4; j++) out[4 * word + j] = levels[8 * word + j] | levels[8 * word + 4 + j] << 4;
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
