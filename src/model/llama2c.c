/* Checkpoints of llama2.c in the form without a version: seven int32 (dim, hidden, layers, heads,
 * key/value heads, vocabulary, length; a negative vocabulary says that the classifier has weights
 * of its own), then float32 weights, each kind for all layers together. */
#include "data/source.h"
#include "model/net.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { DIM, HIDDEN, LAYERS, HEADS, KV_HEADS, VOCABULARY, LENGTH, FIELDS };

static const char *const field_name[FIELDS] = {"dim",      "hidden",     "layers", "heads",
                                               "kv heads", "vocabulary", "length"};
static const int64_t field_max[FIELDS] = {1 << 16, 1 << 20, 1000, 1024, 1024, 1 << 24, 1 << 24};

/* Where a kind of weight goes: the entry below the layer, or at the root. */
typedef struct part {
  const char *name;
  bool layers;
  int rows, columns; /* fields; -1: 1 (a vector), KV_ROWS: channels of the keys */
} part;
#define KV_ROWS (-2)

static const part parts[] = {
    {"model.embed_tokens.weight", false, VOCABULARY, DIM},
    {"input_layernorm.weight", true, -1, DIM},
    {"self_attn.q_proj.weight", true, DIM, DIM},
    {"self_attn.k_proj.weight", true, KV_ROWS, DIM},
    {"self_attn.v_proj.weight", true, KV_ROWS, DIM},
    {"self_attn.o_proj.weight", true, DIM, DIM},
    {"post_attention_layernorm.weight", true, -1, DIM},
    {"mlp.gate_proj.weight", true, HIDDEN, DIM},
    {"mlp.down_proj.weight", true, DIM, HIDDEN},
    {"mlp.up_proj.weight", true, HIDDEN, DIM},
    {"model.norm.weight", false, -1, DIM},
    {NULL, false, LENGTH, -1}, /* tables of cosines and sines, which we make ourselves */
    {"lm_head.weight", false, VOCABULARY, DIM},
};

static mica_status read_header(const mica_source *s, int64_t field[FIELDS], bool *shared) {
  uint8_t bytes[4 * FIELDS];
  mica_status status = mica_source_read(s, 0, bytes, sizeof bytes);
  if (status != MICA_OK) return status;
  for (int i = 0; i < FIELDS; i++) field[i] = (int32_t)mica_le32(bytes + 4 * i);
  *shared = field[VOCABULARY] > 0;
  if (!*shared) field[VOCABULARY] = -field[VOCABULARY];
  for (int i = 0; i < FIELDS; i++)
    if (field[i] < 1 || field[i] > field_max[i])
      return mica_fail(MICA_ERR_FORMAT, "%s: llama2.c header: %s is %lld, expected 1 to %lld",
                       s->name, field_name[i], (long long)field[i], (long long)field_max[i]);
  if (field[DIM] % field[HEADS] || field[HEADS] % field[KV_HEADS] || field[DIM] / field[HEADS] % 2)
    return mica_fail(MICA_ERR_FORMAT,
                     "%s: llama2.c header: dim %lld, %lld heads, %lld kv heads, expected each to "
                     "divide the one before, and heads of an even number of channels",
                     s->name, (long long)field[DIM], (long long)field[HEADS],
                     (long long)field[KV_HEADS]);
  return MICA_OK;
}

/* Elements of one layer's part. */
static int64_t part_count(const part *p, const int64_t field[FIELDS]) {
  const int64_t head = field[DIM] / field[HEADS];
  if (!p->name) return field[LENGTH] * head; /* cosines and sines of half a head each */
  const int64_t rows =
      p->rows == KV_ROWS ? head * field[KV_HEADS] : (p->rows < 0 ? 1 : field[p->rows]);
  return rows * field[p->columns];
}

static bool part_there(const part *p, bool shared) {
  return !(shared && p == &parts[sizeof parts / sizeof *parts - 1]);
}

static mica_status check_size(const mica_source *s, const int64_t field[FIELDS], bool shared) {
  uint64_t bytes = 4 * FIELDS;
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
    if (part_there(&parts[i], shared)) /* no term is beyond 2^50 */
      bytes += 4 * (uint64_t)part_count(&parts[i], field) *
               (uint64_t)(parts[i].layers ? field[LAYERS] : 1);
  if (bytes != s->size)
    return mica_fail(MICA_ERR_FORMAT, "%s: %llu bytes, and the llama2.c header's sizes make %llu",
                     s->name, (unsigned long long)s->size, (unsigned long long)bytes);
  return MICA_OK;
}

static mica_status read_weight(const mica_source *s, uint64_t at, mica_params *params,
                               const char *name, int64_t count) {
  mica_param *q = mica_params_find(params, name);
  if (!q || mica_tensor_count(mica_param_value(q)) != count)
    return mica_fail(MICA_ERR_FORMAT, "%s: no parameter '%s' of %lld elements", s->name, name,
                     (long long)count);
  float *to = mica_param_write(q);
  mica_status status = mica_source_read(s, at, to, (size_t)count * sizeof *to);
  for (int64_t i = 0; i < count && status == MICA_OK; i++) { /* little endian on every machine */
    uint8_t bytes[4];
    memcpy(bytes, &to[i], 4);
    const uint32_t word = mica_le32(bytes);
    memcpy(&to[i], &word, 4);
  }
  return status;
}

static mica_status read_weights(const mica_source *s, const int64_t field[FIELDS], bool shared,
                                mica_params *params) {
  uint64_t at = 4 * FIELDS;
  mica_status status = MICA_OK;
  for (size_t i = 0; i < sizeof parts / sizeof *parts && status == MICA_OK; i++) {
    const part *p = &parts[i];
    const int64_t count = part_count(p, field), layers = p->layers ? field[LAYERS] : 1;
    if (!part_there(p, shared)) continue;
    for (int64_t l = 0; l < layers && status == MICA_OK; l++, at += 4 * (uint64_t)count) {
      char name[96];
      if (!p->name) continue;
      if (p->layers)
        snprintf(name, sizeof name, "model.layers.%lld.%s", (long long)l, p->name);
      else
        snprintf(name, sizeof name, "%s", p->name);
      status = read_weight(s, at, params, name, count);
    }
  }
  return status;
}

static mica_status read_net(mica_engine *engine, const mica_source *s, mica_net **out) {
  int64_t field[FIELDS];
  bool shared;
  mica_status status = read_header(s, field, &shared);
  if (status == MICA_OK) status = check_size(s, field, shared);
  if (status != MICA_OK) return status;
  char text[256];
  snprintf(text, sizeof text,
           "gpt:dim=%lld:depth=%lld:heads=%lld:kv_heads=%lld:hidden=%lld:position=rotary:norm=rms:"
           "mlp=swiglu:bias=none:rotary=pairs:tied=%s",
           (long long)field[DIM], (long long)field[LAYERS], (long long)field[HEADS],
           (long long)field[KV_HEADS], (long long)field[HIDDEN], shared ? "true" : "false");
  const mica_problem task = MICA_PROBLEM_TOKENS(field[VOCABULARY], field[LENGTH], 0);
  status = mica_net_create(engine, text, &task, MICA_SEED_NONE, out);
  if (status == MICA_OK) status = read_weights(s, field, shared, mica_net_params(*out));
  if (status != MICA_OK) {
    mica_net_free(*out);
    *out = NULL;
  }
  return status;
}

mica_status mica_net_read_llama2c(mica_engine *engine, const char *path, mica_net **out) {
  *out = NULL;
  mica_source s;
  mica_status status = mica_source_open(path, &s);
  if (status != MICA_OK) return status;
  status = read_net(engine, &s, out);
  mica_source_close(&s);
  return status;
}
