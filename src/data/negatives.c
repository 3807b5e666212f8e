/* Negative items: alias tables, what a user has seen, lists for evaluation. Every draw is a
 * function of the seed and of what it is for. */
#include "data/interactions.h"

#include <math.h>
#include <string.h>

/* Popularity draws that hit what is seen are repeated; after so many the rest are drawn evenly from
 * what is unseen, so that a user who has seen nearly everything costs no more. */
#define TRIES 64

struct mica_negatives {
  const mica_interactions *x;
  mica_negative_options o;
  mica_key key;
  int64_t items;
  float *log_q;
  double *keep;   /* alias table: the chance that place i gives i itself, ... */
  int64_t *alias; /* ... else this. NULL for uniform draws */
};

/* ---- one draw ---- */

static int64_t draw_any(const mica_negatives *s, mica_key key, uint64_t index) {
  const int64_t i = (int64_t)mica_random_below(key, 2 * index, (uint64_t)s->items);
  if (!s->alias) return i;
  return mica_random_uniform(key, 2 * index + 1) < s->keep[i] ? i : s->alias[i];
}

/* Different items in order. */
typedef struct item_set {
  const int64_t *item;
  int64_t n;
} item_set;

static item_set seen_by(const mica_interactions *x, int64_t user) {
  if (user < 0 || user >= x->users.n) return (item_set){0};
  const int64_t *at = x->seen_offsets + user;
  return (item_set){x->seen + at[0], at[1] - at[0]};
}

/* The r-th item that is not in the set, r from 0: r, and one more for each k of which item k has
 * at most r others before it. */
static int64_t other_at(const item_set *set, int64_t r) {
  int64_t lo = 0, hi = set->n;
  while (lo < hi) {
    const int64_t k = (lo + hi) / 2;
    if (set->item[k] - k <= r)
      lo = k + 1;
    else
      hi = k;
  }
  return r + lo;
}

static int64_t draw_unseen(const mica_negatives *s, const item_set *seen, int64_t user,
                           mica_key key, uint64_t index) {
  for (uint64_t k = 0; s->alias && k < TRIES; k++) {
    const int64_t item = draw_any(s, key, index * (TRIES + 1) + k);
    if (!mica_interactions_seen(s->x, user, item)) return item;
  }
  const uint64_t last = index * (TRIES + 1) + TRIES;
  const uint64_t others = (uint64_t)(s->items - seen->n);
  return other_at(seen, (int64_t)mica_random_below(key, 2 * last, others));
}

static mica_status nothing_left(const mica_negatives *s, int64_t user, int64_t n) {
  return mica_fail(MICA_ERR_INVALID,
                   "negatives: user '%.40s' has seen all but %lld of %lld items, which is too few",
                   s->x->users.text[user], (long long)n, (long long)s->items);
}

mica_status mica_negatives_draw(const mica_negatives *s, uint64_t step, int64_t rows,
                                const int64_t *user, int64_t n, int64_t *out) {
  const mica_key key = mica_key_fold(s->key, step);
  for (int64_t r = 0; r < rows; r++) {
    const mica_key own = mica_key_fold(key, (uint64_t)r);
    const bool leave_out = s->o.unseen && user && user[r] >= 0 && user[r] < s->x->users.n;
    const item_set seen = leave_out ? seen_by(s->x, user[r]) : (item_set){0};
    if (leave_out && seen.n >= s->items) return nothing_left(s, user[r], 0);
    for (int64_t k = 0; k < n; k++)
      out[r * n + k] = leave_out ? draw_unseen(s, &seen, user[r], own, (uint64_t)k)
                                 : draw_any(s, own, (uint64_t)k);
  }
  return MICA_OK;
}

/* ---- lists ---- */

static bool holds(const int64_t *list, int64_t n, int64_t item) {
  for (int64_t k = 0; k < n; k++)
    if (list[k] == item) return true;
  return false;
}

/* Put `item` where it belongs in list[0..n), which is in order. */
static void insert(int64_t *list, int64_t n, int64_t item) {
  int64_t at = n;
  while (at > 0 && list[at - 1] > item) {
    list[at] = list[at - 1];
    at--;
  }
  list[at] = item;
}

mica_status mica_negatives_list(const mica_negatives *s, int64_t user, int64_t n, int64_t *out) {
  if (user < 0 || user >= s->x->users.n)
    return mica_fail(MICA_ERR_INVALID, "negatives: there is no user %lld", (long long)user);
  const item_set own = seen_by(s->x, user);
  if (s->items - own.n < n) return nothing_left(s, user, s->items - own.n);
  const char *name = s->x->users.text[user];
  const mica_key key = mica_key_fold_name(mica_key_fold_name(s->key, "list"), name);
  int64_t *taken = mica_realloc_array(NULL, (size_t)(own.n + n) + 1, sizeof *taken);
  if (!taken) return MICA_ERR_MEMORY;
  item_set seen = {taken, own.n};
  if (own.n) memcpy(taken, own.item, (size_t)own.n * sizeof *taken);
  for (int64_t k = 0; k < n; k++) {
    int64_t item = -1;
    const uint64_t first = (uint64_t)k * (TRIES + 1);
    for (uint64_t t = 0; s->alias && t < TRIES && item < 0; t++) {
      const int64_t one = draw_any(s, key, first + t);
      if (!mica_interactions_seen(s->x, user, one) && !holds(out, k, one)) item = one;
    }
    const uint64_t others = (uint64_t)(s->items - seen.n);
    if (item < 0)
      item = other_at(&seen, (int64_t)mica_random_below(key, 2 * (first + TRIES), others));
    out[k] = item;
    insert(taken, seen.n++, item);
  }
  mica_free(taken);
  return MICA_OK;
}

/* ---- batches ---- */

void mica_negatives_log_q(const mica_negatives *s, int64_t n, const int64_t *item, float *out) {
  for (int64_t k = 0; k < n; k++)
    out[k] = item[k] >= 0 && item[k] < s->items ? s->log_q[item[k]] : -INFINITY;
}

void mica_negatives_in_batch(const mica_negatives *s, int64_t n, const int64_t *user,
                             const int64_t *item, float *mask) {
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = 0; j < n; j++)
      mask[i * n + j] =
          i == j ||
          (item[i] != item[j] && !(s->o.unseen && mica_interactions_seen(s->x, user[i], item[j])));
}

/* ---- tables ---- */

void mica_negatives_free(mica_negatives *s) {
  if (!s) return;
  mica_free(s->log_q);
  mica_free(s->keep);
  mica_free(s->alias);
  mica_free(s);
}

/* Vose's method: places that have less than their share borrow from those that have more. */
static mica_status make_alias(mica_negatives *s, const double *share) {
  const int64_t n = s->items;
  int64_t *small = mica_realloc_array(NULL, (size_t)n, 2 * sizeof *small), *large = small + n;
  s->keep = mica_realloc_array(NULL, (size_t)n, sizeof *s->keep);
  s->alias = mica_realloc_array(NULL, (size_t)n, sizeof *s->alias);
  if (!small || !s->keep || !s->alias) {
    mica_free(small);
    return MICA_ERR_MEMORY;
  }
  int64_t smalls = 0, larges = 0;
  for (int64_t i = 0; i < n; i++) {
    s->keep[i] = share[i] * (double)n;
    s->alias[i] = i;
    if (s->keep[i] < 1)
      small[smalls++] = i;
    else
      large[larges++] = i;
  }
  while (smalls && larges) {
    const int64_t i = small[--smalls], j = large[larges - 1];
    s->alias[i] = j;
    s->keep[j] -= 1 - s->keep[i];
    if (s->keep[j] < 1) {
      larges--;
      small[smalls++] = j;
    }
  }
  /* What is left is 1 but for rounding. */
  while (larges) s->keep[large[--larges]] = 1;
  while (smalls) {
    const int64_t i = small[--smalls];
    if (share[i] > 0) s->keep[i] = 1;
  }
  mica_free(small);
  return MICA_OK;
}

/* Each item's share of the draws. */
static mica_status shares(const mica_negatives *s, const uint8_t *part, double *share) {
  const mica_interactions *x = s->x;
  memset(share, 0, (size_t)s->items * sizeof *share);
  for (int64_t k = 0; k < x->n; k++)
    if (!part || part[k] == MICA_PART_TRAIN) share[x->item[k]]++;
  double total = 0;
  for (int64_t i = 0; i < s->items; i++) {
    if (share[i] > 0) share[i] = pow(share[i], s->o.alpha);
    total += share[i];
  }
  if (!(total > 0) || !isfinite(total))
    return mica_fail(MICA_ERR_NUMERIC,
                     "negatives: the counts of the items have no finite sum above "
                     "0 with alpha %g",
                     s->o.alpha);
  for (int64_t i = 0; i < s->items; i++) share[i] /= total;
  return MICA_OK;
}

mica_status mica_negatives_create(const mica_interactions *x, const uint8_t *part,
                                  const mica_negative_options *given, mica_negatives **out) {
  *out = NULL;
  mica_negative_options o = MICA_NEGATIVE_OPTIONS;
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  if ((o.kind != MICA_NEGATIVE_UNIFORM && o.kind != MICA_NEGATIVE_POPULARITY) || !isfinite(o.alpha))
    return mica_fail(MICA_ERR_INVALID, "negatives: kind %d with alpha %g", (int)o.kind, o.alpha);
  mica_negatives *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  s->x = x;
  s->o = o;
  s->key = mica_key_fold_name(mica_key_seed(o.seed), "negatives");
  s->items = x->items.n;
  s->log_q = mica_realloc_array(NULL, (size_t)s->items, sizeof *s->log_q);
  double *share = mica_realloc_array(NULL, (size_t)s->items, sizeof *share);
  mica_status status = s->log_q && share ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK && o.kind == MICA_NEGATIVE_POPULARITY) {
    status = shares(s, part, share);
    if (status == MICA_OK) status = make_alias(s, share);
  } else if (status == MICA_OK) {
    for (int64_t i = 0; i < s->items; i++) share[i] = 1 / (double)s->items;
  }
  for (int64_t i = 0; i < s->items && status == MICA_OK; i++) s->log_q[i] = (float)log(share[i]);
  mica_free(share);
  if (status != MICA_OK) {
    mica_negatives_free(s);
    return status;
  }
  *out = s;
  return MICA_OK;
}
