// Attention over keys and values in blocks, for decoding and for prompts alike.
//
// Every query goes through its blocks in order with the online softmax of Milakov & Gimelshein (2018). Queries of
// one sequence that share a key head (a prompt's tokens, a group's heads) go through them together, so that a
// block is read once for all; the arithmetic of each is the same as if it were alone.

#include "rows.h"

namespace {

constexpr int BLOCK = PANEL;
constexpr int TILE = 4 * ROWS;  // queries that share a block while it is in the first cache
constexpr float LOWEST = -1e30f;

struct Shapes {
  long heads, kv_heads, dim, block_stride, table_stride, q_token, q_head, band;
};

struct Tile {
  const float *q;
  int32_t position;
};

// How many elements of T lie in the room of n floats.
template <class T> constexpr long room(long n) { return n * long(sizeof(float) / sizeof(T)); }

// Make n floats what they are multiplied with, in place: nothing beside fp32, bf16 beside bf16.
INLINE void narrow(float *, long, float) {}
INLINE void narrow(float *x, long n, uint16_t) {
  uint16_t *to = (uint16_t *)x;
  for (long k = 0; k < n; k += LANES) {
    const H v = to_bf16(load_part(x + k, n - k));
    memcpy(to + k, &v, (n - k < LANES ? n - k : LANES) * sizeof(uint16_t));
  }
  if (n & 1) memset(to + n, 0, sizeof(uint16_t));  // the other half of the last pair
}

// dim is the row stride of `values`; C vectors from `from` on.
template <int R, int C, class T>
INLINE void add_values(const T *p, const T *values, long dim, long n, const float *keep, float *out) {
  F acc[R][C];
  for (int r = 0; r < R; r++)
    for (int c = 0; c < C; c++) acc[r][c] = load(out + r * dim + c * LANES) * keep[r];
  accumulate<R, C>(p, room<T>(BLOCK), values, dim, n, acc);
  for (int r = 0; r < R; r++)
    for (int c = 0; c < C; c++) store(out + r * dim + c * LANES, acc[r][c]);
}

template <int R, class T>
void block_of_rows(const T *q, const T *keys, const T *values, long dim, long n, const int32_t *first,
                   const int32_t *last, float *top, float *total, float *out) {
  constexpr int COLUMNS = columns(R), VECTORS = BLOCK / LANES;
  float scores[ROWS][BLOCK], keep[R];
  for (int at = 0; at < BLOCK; at += COLUMNS * LANES) {
    F acc[R][COLUMNS] = {};
    accumulate<R, COLUMNS>(q, room<T>(dim), keys + at, BLOCK, dim, acc);
    for (int r = 0; r < R; r++)
      for (int c = 0; c < COLUMNS; c++) store(scores[r] + at + c * LANES, acc[r][c]);
  }
  I lane;
  for (int i = 0; i < LANES; i++) lane[i] = i;
  for (int r = 0; r < R; r++) {
    F s[VECTORS], folds[VECTORS];
    I seen[VECTORS];
    for (int c = 0; c < VECTORS; c++) {
      I at = lane + c * LANES;
      seen[c] = (at >= splat(first[r])) & (at <= splat(last[r]));
      F score = load(scores[r] + c * LANES);
      s[c] = folds[c] = seen[c] ? score : splat(LOWEST);
    }
    for (int n = VECTORS / 2; n; n /= 2)
      for (int c = 0; c < n; c++) folds[c] = larger(folds[2 * c], folds[2 * c + 1]);
    float highest = maximum(folds[0]);
    highest = highest > top[r] ? highest : top[r];
    for (int c = 0; c < VECTORS; c++) {
      F p = exponential(s[c] - highest);
      folds[c] = seen[c] ? p : splat(0.0f);
      store(scores[r] + c * LANES, folds[c]);
    }
    for (int n = VECTORS / 2; n; n /= 2)
      for (int c = 0; c < n; c++) folds[c] = folds[2 * c] + folds[2 * c + 1];
    keep[r] = exponential(splat(top[r] - highest))[0];
    top[r] = highest;
    total[r] = total[r] * keep[r] + sum(folds[0]);
    narrow(scores[r], BLOCK, T());
  }
  const T *const chances = (const T *)scores[0];
  long d = 0;
  for (; d + COLUMNS * LANES <= dim; d += COLUMNS * LANES)
    add_values<R, COLUMNS>(chances, values + d, dim, n, keep, out + d);
  for (; d + LANES <= dim; d += LANES) add_values<R, 1>(chances, values + d, dim, n, keep, out + d);
  for (; d < dim; d++)
    for (int r = 0; r < R; r++) {
      float acc = out[r * dim + d] * keep[r];
      for (long j = 0; j < n; j++) acc += scalar(chances[r * room<T>(BLOCK) + j]) * scalar(values[j * dim + d]);
      out[r * dim + d] = acc;
    }
}

// Rows [row, row + count) of one sequence and one key head: row i is token i / group and head i % group of it.
template <class T>
void attend_tile(const Shapes &s, const float *q, const T *keys, const T *values, const int32_t *table,
                 const int32_t *positions, float *out, long token, long kv_head, long row, int count) {
  thread_local std::vector<float> scratch;
  const long dim = s.dim, group = s.heads / s.kv_heads;
  scratch.assign(2 * count * dim, 0.0f);
  float *queries = scratch.data(), *sums = queries + count * dim;
  float top[TILE], total[TILE], scale = 1.0f / __builtin_sqrtf(float(dim));
  int32_t position[TILE], low = INT32_MAX, high = 0;
  for (int i = 0; i < count; i++) {
    const long t = token + (row + i) / group, head = kv_head * group + (row + i) % group;
    position[i] = positions[t];
    const int32_t begin = s.band > 0 && position[i] >= s.band ? position[i] - int32_t(s.band) + 1 : 0;
    low = begin < low ? begin : low;
    high = position[i] > high ? position[i] : high;
    top[i] = LOWEST, total[i] = 0;
    for (long d = 0; d < dim; d++) queries[i * dim + d] = q[t * s.q_token + head * s.q_head + d] * scale;
    narrow(queries + i * dim, dim, T());
  }
  for (int32_t block = low / BLOCK; block <= high / BLOCK; block++) {
    const T *k = keys + table[block] * s.block_stride + kv_head * dim * BLOCK;
    const T *v = values + table[block] * s.block_stride + kv_head * dim * BLOCK;
    int32_t first[TILE], last[TILE];
    long n = 0;  // how many of the block's positions anyone sees: those behind may hold anything
    for (int i = 0; i < count; i++) {
      first[i] = (s.band > 0 ? position[i] - int32_t(s.band) + 1 : 0) - block * BLOCK;
      last[i] = position[i] - block * BLOCK;
      n = last[i] + 1 > n ? last[i] + 1 : n;
    }
    n = n > BLOCK ? BLOCK : n;
    prefetch(v, n * dim);
    if (block < high / BLOCK) prefetch(keys + table[block + 1] * s.block_stride + kv_head * dim * BLOCK, dim * BLOCK);
    for (int i = 0; i < count; i += ROWS) {
#define CASE(R)                                                                                            \
  case R:                                                                                                  \
    block_of_rows<R>((const T *)(queries + i * dim), k, v, dim, n, first + i, last + i, top + i, total + i,     \
                     sums + i * dim);                                                                           \
    break;
      switch (count - i < ROWS ? count - i : ROWS) { CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) }
#undef CASE
    }
  }
  for (int i = 0; i < count; i++) {
    const long t = token + (row + i) / group, head = kv_head * group + (row + i) % group;
    const float inverse = 1.0f / total[i];
    for (long d = 0; d < dim; d++) out[(t * s.heads + head) * dim + d] = sums[i * dim + d] * inverse;
  }
}

struct Work {
  long token;
  long row;
  int count;
};

template <class T>
void attend_all(const Shapes &s, const float *q, const T *keys, const T *values, const int32_t *tables,
                const int32_t *rows, const int32_t *positions, float *out, long tokens, int threads) {
  std::vector<Work> work;
  const long group = s.heads / s.kv_heads;
  for (long token = 0; token < tokens;) {
    long end = token + 1;
    while (end < tokens && rows[end] == rows[token]) end++;
    for (long row = 0; row < (end - token) * group; row += TILE) {
      const long left = (end - token) * group - row;
      work.push_back({token, row, int(left < TILE ? left : TILE)});
    }
    token = end;
  }
  const long n = long(work.size()) * s.kv_heads;
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (n > 1)
  for (long i = 0; i < n; i++) {
    const Work &w = work[i / s.kv_heads];
    attend_tile(s, q, keys, values, tables + rows[w.token] * s.table_stride, positions, out, w.token,
                i % s.kv_heads, w.row, w.count);
  }
}

template <class T> INLINE T stored(float x);
template <> INLINE float stored(float x) { return x; }
template <> INLINE uint16_t stored(float x) { return to_bf16(x); }

template <class T>
void store_all(const Shapes &s, const float *k, const float *v, T *keys, T *values, const int32_t *tables,
               const int32_t *rows, const int32_t *positions, long tokens, int threads) {
  const long dim = s.dim;
#pragma omp parallel for schedule(static) num_threads(threads) if (tokens > 16)
  for (long t = 0; t < tokens; t++) {
    const int32_t block = tables[rows[t] * s.table_stride + positions[t] / BLOCK], at = positions[t] % BLOCK;
    for (long h = 0; h < s.kv_heads; h++) {
      const float *from_k = k + t * s.q_token + h * s.q_head, *from_v = v + t * s.q_token + h * s.q_head;
      T *to_k = keys + block * s.block_stride + h * dim * BLOCK + at;
      T *to_v = values + block * s.block_stride + h * dim * BLOCK + at * dim;
      for (long d = 0; d < dim; d++) {
        to_k[d * BLOCK] = stored<T>(from_k[d]);
        to_v[d] = stored<T>(from_v[d]);
      }
    }
  }
}

}  // namespace

extern "C" void attend(const float *q, const void *keys, const void *values, const int32_t *tables,
                       const int32_t *rows, const int32_t *positions, float *out, long tokens, long heads,
                       long kv_heads, long dim, long q_token, long q_head, long block_stride,
                       long table_stride, long band, int bf16, int threads) {
  const Shapes s{heads, kv_heads, dim, block_stride, table_stride, q_token, q_head, band};
  if (bf16)
    attend_all(s, q, (const uint16_t *)keys, (const uint16_t *)values, tables, rows, positions, out, tokens, threads);
  else
    attend_all(s, q, (const float *)keys, (const float *)values, tables, rows, positions, out, tokens, threads);
}

extern "C" void store_kv(const float *k, const float *v, void *keys, void *values, const int32_t *tables,
                         const int32_t *rows, const int32_t *positions, long tokens, long kv_heads, long dim,
                         long token_stride, long head_stride, long block_stride, long table_stride, int bf16,
                         int threads) {
  const Shapes s{kv_heads, kv_heads, dim, block_stride, table_stride, token_stride, head_stride, 0};
  if (bf16)
    store_all(s, k, v, (uint16_t *)keys, (uint16_t *)values, tables, rows, positions, tokens, threads);
  else
    store_all(s, k, v, (float *)keys, (float *)values, tables, rows, positions, tokens, threads);
}
