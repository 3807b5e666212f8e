/* Which interactions are for training, validation and test. */
#include "data/interactions.h"

#include <stdlib.h>
#include <string.h>

static void split_last(const mica_interactions *x, uint8_t *part) {
  for (int64_t u = 0; u < x->users.n; u++) {
    const int64_t end = x->offsets[u + 1];
    if (end - x->offsets[u] < 3) continue;
    part[end - 1] = MICA_PART_TEST;
    part[end - 2] = MICA_PART_VALIDATION;
  }
}

/* How many of n go to the test part, and to that and the validation part. */
static void shares(const mica_split_options *o, int64_t n, int64_t *test, int64_t *both) {
  /* The sum of shares such as 0.1 + 0.2 must not lose one to rounding. */
  *test = (int64_t)((double)n * o->test + 1e-9);
  *both = *test + (int64_t)((double)n * o->validation + 1e-9);
}

static void split_share(const mica_interactions *x, const mica_split_options *o, uint8_t *part) {
  for (int64_t u = 0; u < x->users.n; u++) {
    const int64_t end = x->offsets[u + 1];
    int64_t test, both;
    shares(o, end - x->offsets[u], &test, &both);
    for (int64_t k = 0; k < both; k++)
      part[end - 1 - k] = k < test ? MICA_PART_TEST : MICA_PART_VALIDATION;
  }
}

static int by_number(const void *p, const void *q) {
  const int64_t a = *(const int64_t *)p, b = *(const int64_t *)q;
  return a < b ? -1 : a > b;
}

static mica_status split_time(const mica_interactions *x, const mica_split_options *o,
                              uint8_t *part) {
  if (!x->has_time)
    return mica_fail(MICA_ERR_UNSUPPORTED, "split by time: the interactions have no times");
  int64_t *time = mica_realloc_array(NULL, (size_t)x->n, sizeof *time), test, both;
  if (!time) return MICA_ERR_MEMORY;
  memcpy(time, x->time, (size_t)x->n * sizeof *time);
  qsort(time, (size_t)x->n, sizeof *time, by_number);
  shares(o, x->n, &test, &both);
  for (int64_t i = 0; i < x->n; i++) {
    if (test && x->time[i] >= time[x->n - test])
      part[i] = MICA_PART_TEST;
    else if (both && x->time[i] >= time[x->n - both])
      part[i] = MICA_PART_VALIDATION;
  }
  mica_free(time);
  return MICA_OK;
}

static void split_random(const mica_interactions *x, const mica_split_options *o, uint8_t *part) {
  const mica_key key = mica_key_fold_name(mica_key_seed(o->seed), "split");
  for (int64_t user = 0; user < x->users.n; user++) {
    const char *name = x->users.text[user];
    const uint64_t who = mica_hash64(name, strlen(name) + 1, 0);
    for (int64_t i = x->offsets[user]; i < x->offsets[user + 1]; i++) {
      const char *item = x->items.text[x->item[i]];
      const uint64_t what = mica_hash64(item, strlen(item) + 1, who);
      const mica_key own = mica_key_fold(mica_key_fold(key, what), (uint64_t)x->time[i]);
      const double u = mica_random_uniform(own, 0);
      if (u < o->test + o->validation)
        part[i] = u < o->test ? MICA_PART_TEST : MICA_PART_VALIDATION;
    }
  }
}

mica_status mica_interactions_split(const mica_interactions *x, const mica_split_options *given,
                                    uint8_t *part) {
  mica_split_options o = MICA_SPLIT_OPTIONS;
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  if (!(o.test >= 0 && o.validation >= 0 && o.test + o.validation < 1))
    return mica_fail(MICA_ERR_INVALID,
                     "split: shares %g and %g, expected 0 or more, below 1 together", o.validation,
                     o.test);
  memset(part, MICA_PART_TRAIN, (size_t)x->n);
  switch (o.kind) {
  case MICA_SPLIT_LAST: split_last(x, part); return MICA_OK;
  case MICA_SPLIT_TIME: return split_time(x, &o, part);
  case MICA_SPLIT_SHARE: split_share(x, &o, part); return MICA_OK;
  case MICA_SPLIT_RANDOM: split_random(x, &o, part); return MICA_OK;
  case MICA_SPLIT_FILES:
    if (!x->has_part) return mica_fail(MICA_ERR_UNSUPPORTED, "split by files: there was one file");
    memcpy(part, x->part, (size_t)x->n);
    return MICA_OK;
  }
  return mica_fail(MICA_ERR_INVALID, "split: kind %d is none", (int)o.kind);
}
