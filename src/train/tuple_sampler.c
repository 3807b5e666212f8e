/* Tuples of a query, a positive and negatives, around a classifier's own mistakes where its
 * predictions are known (Zhu et al. 2023, CFCD). */
#include "train/class_rows.h"

#include <mica/train.h>

typedef struct options {
  uint32_t size;
  int64_t tuple;
  bool hard;
} options;

typedef struct dealer {
  const mica_sampler_data *d;
  class_rows of, right,
      taken_for; /* by class; those predicted right; wrongly, by predicted class */
  bool *used;
  mica_key key;
  uint64_t draws;
  int64_t *tuple; /* the one being made */
  int64_t n;
} dealer;

static int64_t below(dealer *s, int64_t n) {
  return (int64_t)mica_random_below(s->key, s->draws++, (uint64_t)n);
}

static bool chance(dealer *s, double p) {
  return mica_random_uniform(s->key, s->draws++) < p;
}

static bool in_tuple(const dealer *s, int64_t row) {
  for (int64_t i = 0; i < s->n; i++)
    if (s->tuple[i] == row) return true;
  return false;
}

/* One of these rows, unlike `label` where that is 0 or more, and not in the tuple; unused ones
 * first. -1: none is left. A walk from a random place ends after one round. */
static int64_t pick(dealer *s, const int64_t *row, int64_t n, int64_t unlike) {
  int64_t found = -1;
  if (n < 1) return -1;
  const int64_t from = below(s, n);
  for (int64_t i = 0; i < n; i++) {
    const int64_t at = (from + i) % n, r = row ? row[at] : at;
    if ((unlike >= 0 && s->d->label[r] == unlike) || in_tuple(s, r)) continue;
    if (!s->used[r]) return r;
    if (found < 0) found = r;
    if (i > 64) break; /* unused ones are rare by now */
  }
  return found;
}

static int64_t pick_of(dealer *s, const class_rows *rows, int64_t c, int64_t unlike) {
  return pick(s, rows->row + rows->at[c], mica_class_rows_of(rows, c), unlike);
}

static bool known(const dealer *s, int64_t row) {
  return s->d->predicted && s->d->predicted[row] >= 0;
}

static int64_t positive_of(dealer *s, int64_t query, bool hard) {
  const int64_t c = s->d->label[query];
  int64_t row = -1;
  if (hard && known(s, query) && s->d->predicted[query] != c) row = pick_of(s, &s->right, c, -1);
  return row < 0 ? pick_of(s, &s->of, c, -1) : row;
}

static int64_t negative_of(dealer *s, int64_t query, bool hard) {
  const int64_t c = s->d->label[query], n = s->d->n;
  int64_t row = -1;
  if (hard && known(s, query)) {
    const int64_t predicted = s->d->predicted[query];
    if (predicted == c) {
      if (chance(s, 0.5)) row = pick_of(s, &s->taken_for, c, c);
    } else if (chance(s, 0.33)) {
      row = pick_of(s, &s->taken_for, c, c);
    } else if (chance(s, 0.5)) {
      row = pick_of(s, &s->of, predicted, c);
    }
  }
  return row < 0 ? pick(s, NULL, n, c) : row;
}

static void deal(dealer *s, const options *o, const int64_t *turn, int64_t *order) {
  int64_t n = 0;
  const int64_t all = s->d->n;
  for (int64_t i = 0, round = 0; n + o->tuple <= all; i++) {
    if (i == all) {
      /* All have been seen: go round again until the epoch is full. */
      if (++round > o->tuple + 1) break;
      for (int64_t k = 0; k < all; k++) s->used[k] = false;
      i = 0;
    }
    const int64_t query = turn[i];
    if (s->used[query] || mica_class_rows_of(&s->of, s->d->label[query]) < 2) continue;
    s->tuple = order + n;
    s->n = 0;
    s->tuple[s->n++] = query;
    int64_t row = positive_of(s, query, o->hard);
    while (row >= 0 && s->n < o->tuple) {
      s->tuple[s->n++] = row;
      if (s->n < o->tuple) row = negative_of(s, query, o->hard);
    }
    if (s->n < o->tuple) continue; /* too few of other classes */
    for (int64_t k = 0; k < o->tuple; k++) s->used[s->tuple[k]] = true;
    n += o->tuple;
  }
  /* What is left is no tuple. */
  for (; n < all; n++) order[n] = turn[n];
}

static mica_status order(const void *given, const mica_sampler_data *d, mica_key key,
                         int64_t *out) {
  const options *o = given;
  dealer s = {.d = d, .key = mica_key_fold_name(key, "tuples")};
  int64_t *turn = mica_calloc((size_t)d->n, sizeof *turn);
  bool *keep = mica_calloc((size_t)d->n, sizeof *keep);
  s.used = mica_calloc((size_t)d->n, sizeof *s.used);
  mica_status status = turn && keep && s.used ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK) status = mica_class_rows(d->n, d->label, NULL, d->classes, &s.of);
  for (int64_t i = 0; i < d->n && status == MICA_OK; i++)
    keep[i] = d->predicted && d->predicted[i] == d->label[i];
  if (status == MICA_OK) status = mica_class_rows(d->n, d->label, keep, d->classes, &s.right);
  for (int64_t i = 0; i < d->n && status == MICA_OK; i++)
    keep[i] = d->predicted && d->predicted[i] != d->label[i];
  if (status == MICA_OK)
    status = mica_class_rows(d->n, d->predicted ? d->predicted : d->label, keep, d->classes,
                             &s.taken_for);
  if (status == MICA_OK) {
    mica_random_permutation(key, d->n, turn);
    deal(&s, o, turn, out);
  }
  mica_class_rows_free(&s.of);
  mica_class_rows_free(&s.right);
  mica_class_rows_free(&s.taken_for);
  mica_free(s.used);
  mica_free(keep);
  mica_free(turn);
  return status;
}

static const mica_option table[] = {
    {"tuple", MICA_OPTION_INT, "8", 3, 1 << 20, NULL, "examples of a tuple; batches are tuples",
     offsetof(options, tuple)},
    {"hard", MICA_OPTION_BOOL, "true", 0, 0, NULL, "around mistakes, where predictions are known",
     offsetof(options, hard)},
    {0}};

static const mica_sampler_functions functions = {sizeof functions, order};

extern const mica_component mica_component_sampler_tuples;
const mica_component mica_component_sampler_tuples = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_SAMPLER,
    "tuples",
    "query, positive and negatives side by side, for local_triplet",
    "compact-retrieval",
    table,
    sizeof(options),
    MICA_NEED_LABELS,
    0,
    &functions};
