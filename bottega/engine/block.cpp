// All pre-norm blocks in one call: what lies between their linear layers touches few bytes, but calls cost.

#include "rows.h"

struct Block {
  const Linear *qkv, *out, *up, *down;
  Before q_norm, k_norm;
  long heads, kv_heads, dim, band;
};

namespace {

// Normalise a head and turn its pairs (x_i, x_{i + dim/2}), each where the model does.
void place_head(const Before &norm, const float *cosine, const float *signed_sine, long dim, float *head) {
  thread_local std::vector<float> buffer;
  if (norm.step != NOTHING) {
    const long padded = (dim + LANES - 1) / LANES * LANES;
    reserve(buffer, padded);
    prepare(norm, head, dim, padded, buffer.data());
    memcpy(head, buffer.data(), dim * sizeof(float));
  }
  if (cosine)
    for (long i = 0, half = dim / 2; i < half; i++) {
      const float first = head[i], second = head[i + half];
      head[i] = first * cosine[i] + second * signed_sine[i];
      head[i + half] = second * cosine[i + half] + first * signed_sine[i + half];
    }
}

// Where the tokens' keys and values lie and go; the rest as in attention.cpp.
struct Cache {
  char *keys, *values;
  const int32_t *tables, *rows, *positions;
  long block_stride, table_stride;
  int bf16;
};

// y may be x.
void block(const Block *b, const float *x, float *y, const float *cosine, const float *signed_sine, const Cache &cache,
           long tokens, int threads) {
  thread_local std::vector<float> scratch;
  const long width = b->qkv->n_out, dim = b->dim, wide = b->up->n_out, q_width = b->heads * dim;
  reserve(scratch, tokens * (width + q_width + wide));
  float *const qkv = scratch.data(), *const attended = qkv + tokens * width, *const hidden = attended + tokens * q_width;
  float *const k = qkv + q_width, *const v = k + b->kv_heads * dim;
  linear(b->qkv, x, nullptr, qkv, tokens, threads);
  if (cosine || b->q_norm.step != NOTHING) {
#pragma omp parallel for schedule(static) num_threads(threads) if (tokens > 16)
    for (long t = 0; t < tokens; t++)
      for (long h = 0; h < b->heads + b->kv_heads; h++)
        place_head(h < b->heads ? b->q_norm : b->k_norm, cosine ? cosine + t * dim : nullptr,
                   signed_sine + t * dim, dim, qkv + t * width + h * dim);
  }
  store_kv(k, v, cache.keys, cache.values, cache.tables, cache.rows, cache.positions, tokens, b->kv_heads, dim, width,
           dim, cache.block_stride, cache.table_stride, cache.bf16, threads);
  attend(qkv, cache.keys, cache.values, cache.tables, cache.rows, cache.positions, attended, tokens, b->heads,
         b->kv_heads, dim, width, dim, cache.block_stride, cache.table_stride, b->band, cache.bf16, threads);
  linear(b->out, attended, x, y, tokens, threads);
  linear(b->up, y, nullptr, hidden, tokens, threads);
  linear(b->down, hidden, y, y, tokens, threads);
}

}  // namespace

// x, y: (tokens, width). `cosine`, `signed_sine`: (tokens, dim), or null. `layer_stride`: bytes between the keys of a
// block and of the next, and between their values.
extern "C" void blocks(const Block *const *all, long n, const float *x, float *y, const float *cosine,
                       const float *signed_sine, char *keys, char *values, long layer_stride, const int32_t *tables,
                       const int32_t *rows, const int32_t *positions, long tokens, long block_stride,
                       long table_stride, int bf16, int threads) {
  for (long i = 0; i < n; i++) {
    const Cache cache{keys + i * layer_stride, values + i * layer_stride, tables, rows, positions, block_stride,
                      table_stride, bf16};
    block(all[i], i ? y : x, y, cosine, signed_sine, cache, tokens, threads);
  }
}
