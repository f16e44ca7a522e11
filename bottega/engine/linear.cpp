// Linear layers y = x Wᵀ + b with packed weights: fp32, bf16, int8, int4.
//
// Weights lie in panels of 64 output channels, [panel][step][channel], four bytes a channel and step: one float,
// two bf16, four int8 or eight int4 inputs. So a thread reads its weights as one stream, and a vector holds the sums
// of 16 channels: nothing is folded at the end, and the order of a row's sums is the same among any other rows.

#include "rows.h"

namespace {

enum Kind { FP32, BF16, INT8, INT4 };

constexpr long GROUP = 32;  // inputs that share a scale: of the activations, and of int4 weights

// What the rows of x become, once a call: floats, pairs of bf16 (floats again where pairs are not multiplied at once),
// or int8 with a scale for each group.
struct Inputs {
  const int32_t *words;  // `stride` a row
  const float *scales;   // int8, int4: `groups` a row
  const int32_t *offsets;  // int4, likewise: what the weights' offset adds to the group's sum, negated
  const float *shifts;  // int8: the same for a row's whole sum, as its weights have one scale in all groups
  long stride, groups;
};

struct Weights {
  const int32_t *words;
  const uint16_t *group_scales;  // int4: bf16, [panel][group][channel]
  long steps, groups;
};

// acc + Σ of four unsigned bytes below 128 times the four signed bytes of x, exact in 32 bits.
INLINE I dot_small(I acc, I w, int32_t x) {
#if defined(__AVX512VNNI__)
  return (I)_mm512_dpbusd_epi32((__m512i)acc, (__m512i)w, _mm512_set1_epi32(x));
#elif defined(__AVX512BW__)
  const __m512i pairs = _mm512_maddubs_epi16((__m512i)w, _mm512_set1_epi32(x));
  return acc + (I)_mm512_madd_epi16(pairs, _mm512_set1_epi16(1));
#elif defined(__AVXVNNI__)
  return (I)_mm256_dpbusd_avx_epi32((__m256i)acc, (__m256i)w, _mm256_set1_epi32(x));
#elif defined(__AVX2__)
  const __m256i pairs = _mm256_maddubs_epi16((__m256i)w, _mm256_set1_epi32(x));
  return acc + (I)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
#elif defined(__ARM_FEATURE_DOTPROD)
  return (I)vdotq_s32((int32x4_t)acc, (int8x16_t)w, vreinterpretq_s8_s32(vdupq_n_s32(x)));
#else
  for (int byte = 0; byte < 4; byte++) acc += (I)(((U)w >> (8 * byte)) & 255) * int32_t(int8_t(x >> (8 * byte)));
  return acc;
#endif
}

// acc + Σ of four weights times the four signed bytes of x, exact in 32 bits. The weights' bytes have 128 added, which
// stays in where the processor multiplies unsigned bytes: UNSIGNED is what there is to take off.
#if defined(__AVX512VNNI__) || (defined(__AVXVNNI__) && !defined(__AVX512BW__))
constexpr int UNSIGNED = 128;
INLINE I dot_bytes(I acc, I w, int32_t x) { return dot_small(acc, w, x); }
#else
constexpr int UNSIGNED = 0;
INLINE I dot_bytes(I acc, I w, int32_t x) {
  w ^= splat(int32_t(0x80808080));
#if defined(__AVX512BW__)
  // Sums of pairs must fit 16 bits: the weights without their signs, and x with them.
  const __m512i four = _mm512_set1_epi32(x), size = _mm512_abs_epi8((__m512i)w);
  const __m512i signs = _mm512_mask_sub_epi8(four, _mm512_movepi8_mask((__m512i)w), _mm512_setzero_si512(), four);
  return acc + (I)_mm512_madd_epi16(_mm512_maddubs_epi16(size, signs), _mm512_set1_epi16(1));
#elif defined(__AVX2__)
  const __m256i signs = _mm256_sign_epi8(_mm256_set1_epi32(x), (__m256i)w);
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8((__m256i)w), signs);
  return acc + (I)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
#elif defined(__ARM_FEATURE_DOTPROD)
  return dot_small(acc, w, x);
#else
  for (int byte = 0; byte < 4; byte++)
    acc += ((I)((U)w << (24 - 8 * byte)) >> 24) * int32_t(int8_t(x >> (8 * byte)));
  return acc;
#endif
}
#endif

// The weights of a step. While a tile of several rows works on them, those of the next panel are on their way.
template <int R, int C> INLINE void load_words(const int32_t *w, long next, I (&words)[C]) {
  for (int c = 0; c < C; c++) words[c] = load(w + c * LANES);
  if constexpr (R > 3)
    for (int c = 0; c < C; c++) __builtin_prefetch(w + next + c * LANES, 0, 2);
}

template <Kind kind, int R, int C>
INLINE void sums(const Inputs &in, const int32_t *x, long row, const Weights &weights, long panel, int column,
                 F (&total)[R][C]) {
  const int32_t *w = weights.words + panel * weights.steps * PANEL + column;
  if constexpr (kind == FP32) {
    accumulate<R, C>((const float *)x, in.stride, (const float *)w, PANEL, weights.steps, total);
  } else if constexpr (kind == BF16) {
    for (long k = 0; k < weights.steps; k++) {
      I words[C];
      load_words<R, C>(w + k * PANEL, weights.steps * PANEL, words);
      for (int r = 0; r < R; r++) {
        if constexpr (PAIRS) {
          for (int c = 0; c < C; c++) total[r][c] = dot_pair(total[r][c], words[c], x[r * in.stride + k]);
        } else {
          const float *two = (const float *)x + r * in.stride + 2 * k;
          for (int c = 0; c < C; c++) total[r][c] = fused(even(words[c]), splat(two[0]), total[r][c]);
          for (int c = 0; c < C; c++) total[r][c] = fused(odd(words[c]), splat(two[1]), total[r][c]);
        }
      }
    }
  } else {
    constexpr long inner = kind == INT8 ? GROUP / 4 : GROUP / 8;
    for (long g = 0; g < weights.groups; g++) {
      I acc[R][C] = {};
      for (long k = g * inner; k < (g + 1) * inner; k++) {
        I words[C];
        load_words<R, C>(w + k * PANEL, weights.steps * PANEL, words);
        if constexpr (kind == INT8) {
          for (int r = 0; r < R; r++)
            for (int c = 0; c < C; c++) acc[r][c] = dot_bytes(acc[r][c], words[c], x[r * in.stride + k]);
        } else {
          for (int half = 0; half < 2; half++)
            for (int r = 0; r < R; r++)
              for (int c = 0; c < C; c++) {
                const I nibbles = (half ? (I)((U)words[c] >> 4) : words[c]) & 0x0f0f0f0f;
                acc[r][c] = dot_small(acc[r][c], nibbles, x[r * in.stride + 2 * k + half]);
              }
        }
      }
      for (int c = 0; c < C; c++) {
        F scale = splat(1.0f);
        if constexpr (kind == INT4)
          scale = load(weights.group_scales + (panel * weights.groups + g) * PANEL + column + c * LANES);
        for (int r = 0; r < R; r++) {
          const long at = (row + r) * in.groups + g;
          if constexpr (kind == INT4) acc[r][c] += in.offsets[at];
          total[r][c] = fused(to_float(acc[r][c]), scale * in.scales[at], total[r][c]);
        }
      }
    }
  }
}

template <Kind kind, int R>
void tile(const Inputs &in, long row, const Weights &weights, long panel, const float *channel_scales,
          const float *bias, const float *residual, float *y, long n_out) {
  constexpr int COLUMNS = columns(R);
  const int32_t *x = in.words + row * in.stride;
  for (int column = 0; column < PANEL; column += COLUMNS * LANES) {
    F total[R][COLUMNS];
    for (int r = 0; r < R; r++)
      for (int c = 0; c < COLUMNS; c++) total[r][c] = splat(kind == INT8 ? in.shifts[row + r] : 0.0f);
    sums<kind, R, COLUMNS>(in, x, row, weights, panel, column, total);
    for (int c = 0; c < COLUMNS; c++) {
      const long channel = panel * PANEL + column + c * LANES, left = n_out - channel;
      if (left <= 0) break;
      const F scale = kind == INT8 ? load(channel_scales + channel) : splat(1.0f);
      const F shift = bias ? load(bias + channel) : splat(0.0f);
      for (int r = 0; r < R; r++) {
        F v = fused(total[r][c], scale, shift);
        const long at = (row + r) * n_out + channel;
        if (residual) v += load_part(residual + at, left);
        store_part(y + at, v, left);
      }
    }
  }
}

template <Kind kind>
void multiply(const Inputs &in, long rows, const Weights &weights, const float *channel_scales, const float *bias,
              const float *residual, float *y, long n_out, int threads) {
  const long panels = (n_out + PANEL - 1) / PANEL, tiles = (rows + ROWS - 1) / ROWS;
  const long height = (rows + tiles - 1) / tiles;  // 8 rows go as 4 + 4, not 6 + 2
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads)
  for (long panel = 0; panel < panels; panel++)
    for (long i = 0; i < tiles; i++) {
      const long row = i * height, left = rows - row;
#define CASE(R)                                                                    \
  case R:                                                                          \
    tile<kind, R>(in, row, weights, panel, channel_scales, bias, residual, y, n_out); \
    break;
      switch (left < height ? left : height) { CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) }
#undef CASE
    }
}

// A prepared row as int8, with a scale for each group of inputs; returns what the weights' offset adds, negated.
float quantise(const float *x, long groups, int offset, int8_t *q, float *scales, int32_t *offsets) {
  typedef int8_t Bytes __attribute__((vector_size(LANES)));
  const F magic = splat(12582912.0f);  // rounds to nearest, ties to even
  float shift = 0;
  for (long g = 0; g < groups; g++) {
    F widest = {};
    for (int k = 0; k < GROUP; k += LANES) {
      const F v = load(x + g * GROUP + k);
      widest = larger(widest, larger(v, -v));
    }
    const float top = maximum(widest), inverse = top > 0 ? 127.0f / top : 0.0f;
    I total = {};
    for (int k = 0; k < GROUP; k += LANES) {
      const I levels = (I)(fused(load(x + g * GROUP + k), splat(inverse), magic)) - (I)magic;
      const Bytes bytes = __builtin_convertvector(levels, Bytes);
      memcpy(q + g * GROUP + k, &bytes, sizeof bytes);
      total += levels;
    }
    scales[g] = top / 127.0f;
    offsets[g] = -offset * int32_t(sum(to_float(total)));
    shift += scales[g] * float(offsets[g]);
  }
  return shift;
}

}  // namespace

extern "C" void linear(const Linear *layer, const float *x, const float *residual, float *y, long rows, int threads) {
  if (rows < 1) return;
  thread_local std::vector<int32_t> buffer;
  const Before &before = layer->before;
  const int kind = layer->kind, step = before.step;
  const long n_in = layer->n_in, n_out = layer->n_out;
  const long groups = (n_in + GROUP - 1) / GROUP, padded = groups * GROUP;
  const long x_stride = step == SWIGLU ? 2 * n_in : n_in;
  const long inputs = kind == FP32 ? 1 : kind == BF16 ? 2 : kind == INT8 ? 4 : 8;  // in a word of weights
  const Weights weights{layer->words, (const uint16_t *)layer->scales, ((kind < INT8 ? n_in : padded) + inputs - 1) / inputs, groups};
  const long stride = kind == FP32 || (kind == BF16 && !PAIRS) ? padded : kind == BF16 ? padded / 2 : padded / 4;
  reserve(buffer, rows * (stride + 2 * groups + 1));
  int32_t *const q = buffer.data(), *const offsets = q + rows * stride;
  float *const factors = (float *)(offsets + rows * groups), *const shifts = factors + rows * groups;
#pragma omp parallel for schedule(static) num_threads(threads) if (rows > 8)
  for (long r = 0; r < rows; r++) {
    int32_t *to = q + r * stride;
    if (kind == FP32) {
      prepare(before, x + r * x_stride, n_in, padded, (float *)to);
      continue;
    }
    thread_local std::vector<float> row;
    reserve(row, padded);
    prepare(before, x + r * x_stride, n_in, padded, row.data());
    if (kind == BF16)
      for (long k = 0; k < padded; k += LANES) {
        const H v = to_bf16(load(row.data() + k));
        if constexpr (PAIRS)
          memcpy((uint16_t *)to + k, &v, sizeof v);
        else
          store((float *)to + k, load((const uint16_t *)&v));
      }
    else
      shifts[r] = quantise(row.data(), groups, kind == INT8 ? UNSIGNED : 8, (int8_t *)to, factors + r * groups,
                           offsets + r * groups);
  }
  const Inputs in{q, factors, offsets, shifts, stride, groups};
  const float *channel_scales = kind == INT8 ? (const float *)layer->scales : nullptr, *bias = layer->bias;
  switch (kind) {
    case FP32: return multiply<FP32>(in, rows, weights, channel_scales, bias, residual, y, n_out, threads);
    case BF16: return multiply<BF16>(in, rows, weights, channel_scales, bias, residual, y, n_out, threads);
    case INT8: return multiply<INT8>(in, rows, weights, channel_scales, bias, residual, y, n_out, threads);
    case INT4: return multiply<INT4>(in, rows, weights, channel_scales, bias, residual, y, n_out, threads);
  }
}
