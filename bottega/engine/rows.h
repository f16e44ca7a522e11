// What the kernels share: the descriptions of a layer, and what is done to a row before it is multiplied.
#pragma once

#include <vector>

#include "vectors.h"

// What happens to a row before it is multiplied: nothing, a norm, or the activation of the layer before.
enum Step { NOTHING, LAYERNORM, RMSNORM, GELU_TANH, GELU, SWIGLU };

struct Before {
  const float *weight, *bias;  // of the norms; the bias may be null
  float epsilon;
  int step;
};

// `words`: [panel][step][channel]. `scales`: int8: float, a channel each (whole panels); int4: bf16,
// [panel][group][channel]. `bias`: whole panels, or null.
struct Linear {
  const int32_t *words;
  const void *scales;
  const float *bias;
  long n_in, n_out;
  Before before;
  int kind;
};

// y = x Wᵀ + b, and + residual unless it is null. x: (rows, n_in) contiguous, for SwiGLU (rows, 2 n_in);
// y, residual: (rows, n_out), which may be the same.
extern "C" void linear(const Linear *layer, const float *x, const float *residual, float *y, long rows, int threads);

extern "C" void attend(const float *q, const void *keys, const void *values, const int32_t *tables,
                       const int32_t *rows, const int32_t *positions, float *out, long tokens, long heads,
                       long kv_heads, long dim, long q_token, long q_head, long block_stride,
                       long table_stride, long band, int bf16, int threads);

extern "C" void store_kv(const float *k, const float *v, void *keys, void *values, const int32_t *tables,
                         const int32_t *rows, const int32_t *positions, long tokens, long kv_heads, long dim,
                         long token_stride, long head_stride, long block_stride, long table_stride, int bf16,
                         int threads);

// Room for n elements, whatever is in them: a vector that shrank and grew again would be zeroed each time.
template <class T> static inline void reserve(std::vector<T> &room, long n) {
  if (long(room.size()) < n) room.resize(n);
}

static INLINE F sigmoid(F x) { return splat(1.0f) / (splat(1.0f) + exponential(-x)); }

static INLINE F gelu_tanh(F x) {
  const F cubic = x * fused(x * x, splat(0.044715f), splat(1.0f));
  return x * sigmoid(cubic * 1.5957691216f);
}

// x · Φ(x), with erf by Abramowitz & Stegun (1964), 7.1.26: its error is 1.5e-7.
static INLINE F gelu(F x) {
  const F z = x * 0.70710678f, size = larger(z, -z);
  const F t = splat(1.0f) / fused(size, splat(0.3275911f), splat(1.0f));
  F p = splat(1.061405429f);
  for (float coefficient : {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f})
    p = fused(p, t, splat(coefficient));
  const F tail = p * t * exponential(-(z * z));  // erfc(size)
  return x * 0.5f * (z > splat(0.0f) ? splat(2.0f) - tail : tail);
}

// `out` has room for whole groups; what lies behind n becomes zero. SwiGLU reads 2n inputs: gate, then values.
static inline void prepare(const Before &before, const float *x, long n, long padded, float *out) {
  F first = {}, second = {};
  float mean = 0, factor = 1;
  if (before.step == LAYERNORM || before.step == RMSNORM) {
    if (before.step == LAYERNORM) {
      for (long k = 0; k < n; k += LANES) first += load_part(x + k, n - k);
      mean = sum(first) / float(n);
    }
    for (long k = 0; k < n; k += LANES) {
      const F v = load_part(x + k, n - k) - mean;
      second = fused(v, v, second);
    }
    float square = sum(second);
    square -= float(-n & (LANES - 1)) * mean * mean;  // the lanes behind the end
    factor = 1.0f / __builtin_sqrtf(square / float(n) + before.epsilon);
  }
  for (long k = 0; k < padded; k += LANES) {
    const long left = n - k;
    if (left <= 0) {
      store(out + k, splat(0.0f));
      continue;
    }
    F v = load_part(x + k, left);
    switch (before.step) {
      case LAYERNORM:
      case RMSNORM:
        v = (v - mean) * factor * load_part(before.weight + k, left);
        if (before.bias) v += load_part(before.bias + k, left);
        break;
      case GELU_TANH: v = gelu_tanh(v); break;
      case GELU: v = gelu(v); break;
      case SWIGLU: v = v * sigmoid(v) * load_part(x + n + k, left); break;
    }
    store(out + k, v);
  }
}
