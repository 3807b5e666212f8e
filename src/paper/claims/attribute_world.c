/* Pictures and words of the attribute world. */
#include "paper/claims/attribute_world.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const shapes[] = {"circle", "square", "triangle", "diamond",
                                     "plus",   "bar",    "bow",      "corner"};
static const char *const fills[] = {"plain", "striped", "dotted", "hollow"};
static const char *const colours[] = {"red", "green", "blue", "yellow", "purple", "cyan"};
static const char *const counts[] = {"one", "two", "three"};
static const struct {
  const char *const *word;
  int32_t n;
} attributes[WORLD_ATTRIBUTES] = {{shapes, 8}, {fills, 4}, {colours, 6}, {counts, 3}};

int32_t mica_world_values(int attribute) {
  return attributes[attribute].n;
}

const char *mica_world_word(int attribute, int32_t value) {
  return attributes[attribute].word[value];
}

/* ---- classes ---- */

static bool twins(const world_thing *a, const world_thing *b) {
  for (int k = 0; k < WORLD_ATTRIBUTES; k++)
    if (k != WORLD_COLOUR && a->attribute[k] != b->attribute[k]) return false;
  return a->attribute[WORLD_COLOUR] == b->attribute[WORLD_COLOUR] ||
         a->attribute[WORLD_COLOUR] == WORLD_RED || b->attribute[WORLD_COLOUR] == WORLD_RED;
}

/* Every value among the seen. */
static bool covered(const world *w) {
  for (int k = 0; k < WORLD_ATTRIBUTES; k++)
    for (int32_t v = 0; v < attributes[k].n; v++) {
      bool found = false;
      for (int64_t c = 0; c < w->seen; c++) found |= w->thing[c].attribute[k] == v;
      if (!found) return false;
    }
  return true;
}

/* Three syllables, of which the first two are the class's number. */
static void make_name(int64_t c, char out[12]) {
  static const char *const begin[] = {"za", "vo", "mu", "ke", "ri", "du", "pa", "to"};
  static const char *const middle[] = {"bri", "nax", "lu", "gwe", "sto", "phi", "dem", "qua"};
  snprintf(out, 12, "%s%sn", begin[c % 8], middle[c / 8 % 8]);
}

mica_status mica_world_make(mica_key key, int64_t classes, int64_t seen, world *out) {
  if (classes > WORLD_CLASSES || seen > classes || seen < 24)
    return mica_fail(MICA_ERR_INVALID, "a world of %lld classes, %lld of them seen",
                     (long long)classes, (long long)seen);
  uint64_t at = 0;
  for (int again = 0; again < 1000; again++) {
    *out = (world){.classes = classes, .seen = seen};
    for (int64_t c = 0; c < classes;) {
      world_thing *t = &out->thing[c];
      for (int k = 0; k < WORLD_ATTRIBUTES; k++)
        t->attribute[k] = (int32_t)mica_random_below(key, at++, (uint64_t)attributes[k].n);
      bool fresh = true;
      for (int64_t b = 0; b < c; b++) fresh &= !twins(t, &out->thing[b]);
      c += fresh;
    }
    for (int64_t c = 0; c < classes; c++) make_name(c, out->name[c]);
    if (covered(out)) return MICA_OK;
  }
  return mica_fail(MICA_ERR_INVALID, "no draw of %lld classes has every attribute",
                   (long long)seen);
}

/* ---- pictures ---- */

/* Is (u, v), -1..1 each, inside the shape? */
static bool inside(int32_t shape, double u, double v) {
  if (fabs(u) > 1 || fabs(v) > 1) return false;
  switch (shape) {
  case 0: return u * u + v * v < 1;
  case 1: return fabs(u) < 0.85 && fabs(v) < 0.85;
  case 2: return fabs(u) < (v + 1) / 2;
  case 3: return fabs(u) + fabs(v) < 1;
  case 4: return fabs(u) < 0.36 || fabs(v) < 0.36;
  case 5: return fabs(v) < 0.42;
  case 6: return fabs(v) < fabs(u);
  default: return u < -0.25 || v > 0.25;
  }
}

static bool painted(const world_thing *t, double u, double v, int x, int y) {
  const int32_t shape = t->attribute[0];
  if (!inside(shape, u, v)) return false;
  switch (t->attribute[1]) {
  case 0: return true;
  case 1: return (x + y) % 4 < 2;
  case 2: return x % 3 != 0 && y % 3 != 0;
  default: return !inside(shape, u / 0.62, v / 0.62);
  }
}

void mica_world_draw(const world_thing *t, mica_key key, float *out) {
  static const float paint[6][3] = {{0.9f, 0.15f, 0.15f}, {0.15f, 0.8f, 0.2f},
                                    {0.2f, 0.3f, 0.95f},  {0.9f, 0.85f, 0.15f},
                                    {0.65f, 0.2f, 0.8f},  {0.15f, 0.85f, 0.85f}};
  enum { S = WORLD_SIDE };
  uint64_t at = 0;
  int64_t corner[4];
  const float ground = (float)(0.1 + 0.3 * mica_random_uniform(key, at++));
  for (int i = 0; i < S * S * 3; i++) out[i] = ground;
  for (int k = 0; k < 6; k++) { /* clutter: short grey strokes */
    const int x = (int)mica_random_below(key, at++, S), y = (int)mica_random_below(key, at++, S);
    const float grey = (float)mica_random_uniform(key, at++);
    const bool down = mica_random_below(key, at++, 2);
    for (int i = 0; i < 4; i++) {
      const int px = x + (down ? 0 : i), py = y + (down ? i : 0);
      for (int c = 0; c < 3 && px < S && py < S; c++) out[(py * S + px) * 3 + c] = grey;
    }
  }
  mica_random_permutation(mica_key_fold(key, 1), 4, corner);
  for (int32_t k = 0; k <= t->attribute[3]; k++) { /* each in a quarter of its own */
    const double r = 5 + 2.2 * mica_random_uniform(key, at++), free_room = 16 - 2 * r;
    const double cx = (double)(corner[k] % 2) * 16 + r + free_room * mica_random_uniform(key, at++);
    const double cy = (double)(corner[k] / 2) * 16 + r + free_room * mica_random_uniform(key, at++);
    for (int y = 0; y < S; y++)
      for (int x = 0; x < S; x++)
        if (painted(t, (x + 0.5 - cx) / r, (y + 0.5 - cy) / r, x, y))
          for (int c = 0; c < 3; c++)
            out[(y * S + x) * 3 + c] = paint[t->attribute[WORLD_COLOUR]][c];
  }
  for (int i = 0; i < S * S * 3; i++)
    out[i] += (float)(0.06 * mica_random_normal(mica_key_fold(key, 2), (uint64_t)i));
}

mica_status mica_world_pictures(const world *w, mica_key key, int64_t from, int64_t many, int64_t n,
                                int32_t colour, mica_tensor **x, int64_t *label) {
  enum { S = WORLD_SIDE };
  const mica_status status = mica_tensor_create(MICA_F32, MICA_SHAPE(n, S, S, 3), x);
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    world_thing t = w->thing[from + i % many];
    label[i] = i % many;
    if (colour >= 0) t.attribute[WORLD_COLOUR] = colour;
    mica_world_draw(&t, mica_key_fold(key, (uint64_t)i),
                    (float *)mica_tensor_data(*x) + i * S * S * 3);
  }
  return status;
}

/* ---- words ---- */

/* 1 .. : the attributes' words, then the names. */
static int64_t word_of(const world *w, const char *text, size_t n) {
  int64_t id = 1;
  for (int k = 0; k < WORLD_ATTRIBUTES; k++)
    for (int32_t v = 0; v < attributes[k].n; v++, id++)
      if (strlen(attributes[k].word[v]) == n && strncmp(attributes[k].word[v], text, n) == 0)
        return id;
  for (int64_t c = 0; c < w->classes; c++, id++)
    if (strlen(w->name[c]) == n && strncmp(w->name[c], text, n) == 0) return id;
  return 0;
}

int64_t mica_world_vocabulary(const world *w) {
  int64_t n = 1 + w->classes;
  for (int k = 0; k < WORLD_ATTRIBUTES; k++) n += attributes[k].n;
  return n;
}

void mica_world_tokens(const world *w, const char *text, int64_t *ids) {
  int at = 0;
  memset(ids, 0, WORLD_LENGTH * sizeof *ids);
  for (const char *s = text + strspn(text, " ,."); *s && at < WORLD_LENGTH; s += strspn(s, " ,.")) {
    const size_t n = strcspn(s, " ,.");
    const int64_t id = word_of(w, s, n);
    if (id) ids[at++] = id;
    s += n;
  }
}

mica_status mica_world_phrases(const world *w, int64_t from, int64_t many, mica_phrases **out) {
  mica_status status = mica_phrases_create(out);
  for (int64_t c = from; c < from + many && status == MICA_OK; c++) {
    const char *phrase[WORLD_ATTRIBUTES];
    for (int k = 0; k < WORLD_ATTRIBUTES; k++)
      phrase[k] = mica_world_word(k, w->thing[c].attribute[k]);
    status = mica_phrases_set(*out, w->name[c], WORLD_ATTRIBUTES, phrase);
  }
  return status;
}

/* ---- batches ---- */

typedef struct batches {
  const world *w;
  mica_key key;
  int64_t n, batch, epoch, at;
  double noise;
  mica_tensor *pictures;
  int64_t *label, *order;
  mica_tensor *x, *tokens; /* of a batch */
} batches;

static void caption(const batches *b, int64_t item, int64_t *ids) {
  const mica_key key = mica_key_fold(mica_key_fold(b->key, (uint64_t)b->epoch), (uint64_t)item);
  const mica_key fixed = mica_key_fold(mica_key_fold_name(b->key, "noise"), (uint64_t)item);
  int64_t c = b->label[item], order[WORLD_ATTRIBUTES];
  if (mica_random_uniform(fixed, 0) < b->noise)
    c = (int64_t)mica_random_below(fixed, 1, (uint64_t)b->w->seen);
  char text[64];
  if (mica_random_below(key, 0, 2)) {
    mica_world_tokens(b->w, b->w->name[c], ids);
    return;
  }
  const int some = 1 + (int)mica_random_below(key, 1, 3);
  size_t used = 0;
  mica_random_permutation(mica_key_fold(key, 2), WORLD_ATTRIBUTES, order);
  for (int k = 0; k < some; k++)
    used += (size_t)snprintf(text + used, sizeof text - used, " %s",
                             mica_world_word((int)order[k], b->w->thing[c].attribute[order[k]]));
  mica_world_tokens(b->w, text, ids);
}

static mica_status seek(void *ctx, int64_t epoch, int64_t batch) {
  batches *b = ctx;
  b->epoch = epoch;
  b->at = batch;
  mica_random_permutation(mica_key_fold(mica_key_fold_name(b->key, "order"), (uint64_t)epoch), b->n,
                          b->order);
  return MICA_OK;
}

static mica_status next(void *ctx, mica_batch *out) {
  batches *b = ctx;
  enum { S = WORLD_SIDE, EACH = S * S * 3 };
  const int64_t first = b->at++ * b->batch;
  for (int64_t i = 0; i < b->batch; i++) {
    const int64_t item = b->order[first + i];
    memcpy((float *)mica_tensor_data(b->x) + i * EACH,
           (const float *)mica_tensor_data(b->pictures) + item * EACH, EACH * sizeof(float));
    caption(b, item, (int64_t *)mica_tensor_data(b->tokens) + i * WORLD_LENGTH);
  }
  *out = (mica_batch){.n = b->batch, .x = b->x, .tokens = b->tokens};
  return MICA_OK;
}

void mica_world_stream_free(mica_stream *stream) {
  batches *b = stream->ctx;
  if (!b) return;
  mica_tensor_free(b->pictures);
  mica_tensor_free(b->x);
  mica_tensor_free(b->tokens);
  mica_free(b->label);
  mica_free(b->order);
  mica_free(b);
  *stream = (mica_stream){0};
}

mica_status mica_world_stream(const world *w, mica_key key, int64_t pictures, int64_t batch,
                              double noise, mica_stream *out) {
  enum { S = WORLD_SIDE };
  *out = (mica_stream){0};
  if (pictures < batch)
    return mica_fail(MICA_ERR_INVALID, "batches of %lld from %lld pictures", (long long)batch,
                     (long long)pictures);
  batches *b = mica_calloc(1, sizeof *b);
  if (!b) return MICA_ERR_MEMORY;
  *b = (batches){.w = w, .key = key, .n = pictures, .batch = batch, .noise = noise};
  *out = (mica_stream){b, pictures / batch, seek, next};
  b->label = mica_calloc((size_t)pictures, sizeof *b->label);
  b->order = mica_calloc((size_t)pictures, sizeof *b->order);
  mica_status status = b->label && b->order ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK)
    status = mica_world_pictures(w, mica_key_fold_name(key, "pictures"), 0, w->seen, pictures, -1,
                                 &b->pictures, b->label);
  if (status == MICA_OK) status = mica_tensor_create(MICA_F32, MICA_SHAPE(batch, S, S, 3), &b->x);
  if (status == MICA_OK)
    status = mica_tensor_create(MICA_I64, MICA_SHAPE(batch, WORLD_LENGTH), &b->tokens);
  if (status == MICA_OK) status = seek(b, 0, 0);
  if (status != MICA_OK) mica_world_stream_free(out);
  return status;
}
