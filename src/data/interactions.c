/* Interactions: gathered, thinned, put in the order of users and times, looked at. */
#include "data/interactions.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SKIPPED_LISTED 100
#define COUNT_MAX      ((int64_t)1 << 40)

void mica_interactions_free(mica_interactions *x) {
  if (!x) return;
  mica_dictionary_free(&x->users);
  mica_dictionary_free(&x->items);
  mica_free(x->user);
  mica_free(x->item);
  mica_free(x->time);
  mica_free(x->rating);
  mica_free(x->part);
  mica_free(x->offsets);
  mica_free(x->seen);
  mica_free(x->seen_offsets);
  for (int64_t i = 0; i < x->user_attributes; i++) mica_attribute_free(&x->user_attribute[i]);
  for (int64_t i = 0; i < x->item_attributes; i++) mica_attribute_free(&x->item_attribute[i]);
  mica_free(x->user_attribute);
  mica_free(x->item_attribute);
  mica_bytes_free(&x->skipped_text);
  mica_free(x);
}

/* ---- gathering ---- */

static mica_status grow(mica_interactions *x) {
  const size_t room = x->room ? (size_t)x->room * 2 : 4096;
  int64_t *user = mica_realloc_array(x->user, room, sizeof *user);
  if (!user) return MICA_ERR_MEMORY;
  x->user = user;
  int64_t *item = mica_realloc_array(x->item, room, sizeof *item);
  if (!item) return MICA_ERR_MEMORY;
  x->item = item;
  int64_t *time = mica_realloc_array(x->time, room, sizeof *time);
  if (!time) return MICA_ERR_MEMORY;
  x->time = time;
  float *rating = mica_realloc_array(x->rating, room, sizeof *rating);
  if (!rating) return MICA_ERR_MEMORY;
  x->rating = rating;
  uint8_t *part = mica_realloc_array(x->part, room, sizeof *part);
  if (!part) return MICA_ERR_MEMORY;
  x->part = part;
  x->room = (int64_t)room;
  return MICA_OK;
}

mica_status mica_interactions_add(mica_interactions *x, const char *user, const char *item,
                                  float rating, int64_t time, mica_part part) {
  if (x->n == x->room && grow(x) != MICA_OK) return MICA_ERR_MEMORY;
  const int64_t u = mica_dictionary_add(&x->users, user);
  const int64_t i = mica_dictionary_add(&x->items, item);
  if (u < 0 || i < 0) return MICA_ERR_MEMORY;
  x->user[x->n] = u;
  x->item[x->n] = i;
  x->rating[x->n] = rating;
  x->time[x->n] = time;
  x->part[x->n++] = (uint8_t)part;
  return MICA_OK;
}

mica_status mica_interactions_skip(mica_interactions *x, const char *path, int64_t line) {
  if (mica_last_status() == MICA_ERR_MEMORY) return MICA_ERR_MEMORY;
  const mica_status why = mica_fail_within("%s: line %lld", path, (long long)line);
  if (x->strict) return why;
  if (x->skipped++ < SKIPPED_LISTED) mica_bytes_printf(&x->skipped_text, "%s\n", mica_last_error());
  return x->skipped_text.status;
}

/* ---- thinning ---- */

typedef struct triple {
  int64_t a, b, i;
} triple;

static int by_triple(const void *p, const void *q) {
  const triple *x = p, *y = q;
  if (x->a != y->a) return x->a < y->a ? -1 : 1;
  if (x->b != y->b) return x->b < y->b ? -1 : 1;
  return x->i < y->i ? -1 : x->i > y->i;
}

static mica_status drop_repeats(const mica_interactions *x, bool *keep) {
  triple *t = mica_realloc_array(NULL, (size_t)x->n + 1, sizeof *t);
  if (!t) return MICA_ERR_MEMORY;
  int64_t n = 0;
  for (int64_t i = 0; i < x->n; i++)
    if (keep[i]) t[n++] = (triple){x->user[i], x->item[i], i};
  qsort(t, (size_t)n, sizeof *t, by_triple);
  for (int64_t k = 1; k < n; k++)
    if (t[k].a == t[k - 1].a && t[k].b == t[k - 1].b) keep[t[k].i] = false;
  mica_free(t);
  return MICA_OK;
}

/* Drop what belongs to one that has fewer than `least`; true when there was any. */
static bool drop_rare(const mica_interactions *x, const int64_t *of, int64_t kinds, int64_t least,
                      int64_t *count, bool *keep) {
  bool any = false;
  memset(count, 0, (size_t)kinds * sizeof *count);
  for (int64_t i = 0; i < x->n; i++) count[of[i]] += keep[i];
  for (int64_t i = 0; i < x->n; i++)
    if (keep[i] && count[of[i]] < least) {
      keep[i] = false;
      any = true;
    }
  return any;
}

/* The kept ones move together and take new numbers, in the order in which they come. */
static mica_status renumber(mica_interactions *x, const bool *keep) {
  mica_dictionary users = {0}, items = {0};
  int64_t n = 0;
  mica_status status = MICA_OK;
  for (int64_t i = 0; i < x->n && status == MICA_OK; i++) {
    if (!keep[i]) continue;
    const int64_t u = mica_dictionary_add(&users, x->users.text[x->user[i]]);
    const int64_t v = mica_dictionary_add(&items, x->items.text[x->item[i]]);
    if (u < 0 || v < 0) status = MICA_ERR_MEMORY;
    x->user[n] = u;
    x->item[n] = v;
    x->rating[n] = x->rating[i];
    x->time[n] = x->time[i];
    x->part[n++] = x->part[i];
  }
  if (status != MICA_OK) {
    mica_dictionary_free(&users);
    mica_dictionary_free(&items);
    x->n = 0;
    return status;
  }
  mica_dictionary_free(&x->users);
  mica_dictionary_free(&x->items);
  x->users = users;
  x->items = items;
  x->n = n;
  return MICA_OK;
}

static mica_status thin(mica_interactions *x, const mica_interactions_options *o) {
  const int64_t most = x->users.n > x->items.n ? x->users.n : x->items.n;
  bool *keep = mica_malloc((size_t)x->n + 1);
  int64_t *count = mica_calloc((size_t)most + 1, sizeof *count);
  mica_status status = keep && count ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    for (int64_t i = 0; i < x->n; i++) keep[i] = !x->has_rating || x->rating[i] >= o->min_rating;
    if (o->unique) status = drop_repeats(x, keep);
  }
  for (bool again = true; status == MICA_OK && again;) {
    const bool items = drop_rare(x, x->item, x->items.n, o->min_item, count, keep);
    const bool users = drop_rare(x, x->user, x->users.n, o->min_user, count, keep);
    again = o->core && (items || users);
  }
  if (status == MICA_OK) status = renumber(x, keep);
  mica_free(keep);
  mica_free(count);
  return status;
}

/* ---- order ---- */

static int by_number(const void *p, const void *q) {
  const int64_t a = *(const int64_t *)p, b = *(const int64_t *)q;
  return a < b ? -1 : a > b;
}

static mica_status note_seen(mica_interactions *x) {
  x->seen = mica_realloc_array(NULL, (size_t)x->n, sizeof *x->seen);
  x->seen_offsets = mica_calloc((size_t)x->users.n + 1, sizeof *x->seen_offsets);
  if (!x->seen || !x->seen_offsets) return MICA_ERR_MEMORY;
  int64_t n = 0;
  for (int64_t u = 0; u < x->users.n; u++) {
    int64_t *own = x->seen + n, k = 0;
    const int64_t count = x->offsets[u + 1] - x->offsets[u];
    memcpy(own, x->item + x->offsets[u], (size_t)count * sizeof *own);
    qsort(own, (size_t)count, sizeof *own, by_number);
    for (int64_t i = 0; i < count; i++)
      if (!i || own[i] != own[k - 1]) own[k++] = own[i];
    x->seen_offsets[u + 1] = n += k;
  }
  return MICA_OK;
}

static mica_status put_in_order(mica_interactions *x) {
  const size_t n = (size_t)x->n;
  triple *t = mica_realloc_array(NULL, n + 1, sizeof *t);
  int64_t *item = mica_realloc_array(NULL, n + 1, sizeof *item);
  int64_t *time = mica_realloc_array(NULL, n + 1, sizeof *time);
  float *rating = mica_realloc_array(NULL, n + 1, sizeof *rating);
  uint8_t *part = mica_malloc(n + 1);
  x->offsets = mica_calloc((size_t)x->users.n + 1, sizeof *x->offsets);
  const bool room = t && item && time && rating && part && x->offsets;
  if (room) {
    for (int64_t i = 0; i < x->n; i++) t[i] = (triple){x->user[i], x->has_time ? x->time[i] : 0, i};
    qsort(t, n, sizeof *t, by_triple);
    for (int64_t k = 0; k < x->n; k++) {
      const int64_t i = t[k].i;
      item[k] = x->item[i];
      time[k] = x->time[i];
      rating[k] = x->rating[i];
      part[k] = x->part[i];
      x->offsets[t[k].a + 1] = k + 1;
    }
  }
  mica_free(t);
  mica_free(room ? x->item : item);
  mica_free(room ? x->time : time);
  mica_free(room ? x->rating : rating);
  mica_free(room ? x->part : part);
  mica_free(x->user);
  x->user = NULL;
  if (!room) return MICA_ERR_MEMORY;
  x->item = item;
  x->time = time;
  x->rating = rating;
  x->part = part;
  return note_seen(x);
}

static mica_status finish(mica_interactions *x, const mica_interactions_options *o,
                          const char *name) {
  if (!x->n)
    return mica_fail(MICA_ERR_FORMAT, "%s: no interaction%s%.*s", name,
                     x->skipped ? "; the first line that cannot be used: " : "",
                     x->skipped ? (int)strcspn(x->skipped_text.data, "\n") : 0,
                     x->skipped ? x->skipped_text.data : "");
  const mica_status status = thin(x, o);
  if (status != MICA_OK) return status;
  if (!x->n)
    return mica_fail(MICA_ERR_FORMAT,
                     "%s: nothing is left of users with %lld and items with %lld interactions of "
                     "rating %g or more",
                     name, (long long)o->min_user, (long long)o->min_item, o->min_rating);
  return put_in_order(x);
}

static mica_status begin(const mica_interactions_options *given, mica_interactions_options *o,
                         mica_interactions **out) {
  *out = NULL;
  *o = (mica_interactions_options)MICA_INTERACTIONS_OPTIONS;
  if (given) memcpy(o, given, given->size < sizeof *o ? given->size : sizeof *o);
  if (isnan(o->min_rating) || o->min_user < 0 || o->min_item < 0)
    return mica_fail(MICA_ERR_INVALID,
                     "interactions: min-rating is a number, min-user and min-item 0 or more");
  mica_interactions *x = mica_calloc(1, sizeof *x);
  if (!x) return MICA_ERR_MEMORY;
  x->strict = o->strict;
  *out = x;
  return MICA_OK;
}

mica_status mica_interactions_open(const char *path, const mica_interactions_options *given,
                                   mica_interactions **out) {
  mica_interactions_options o;
  mica_interactions *x;
  *out = NULL;
  if (!path || !*path) return mica_fail(MICA_ERR_INVALID, "interactions need a path");
  mica_status status = begin(given, &o, &x);
  if (status != MICA_OK) return status;
  status = mica_interactions_read(path, o.format, x);
  if (status == MICA_OK) status = finish(x, &o, path);
  if (status == MICA_OK && strcmp(x->format, "movielens") == 0)
    status = mica_interactions_read_attributes(path, x);
  if (status != MICA_OK) {
    mica_interactions_free(x);
    return status;
  }
  *out = x;
  return MICA_OK;
}

mica_status mica_interactions_create(int64_t n, const int64_t *user, const int64_t *item,
                                     const float *rating, const int64_t *time,
                                     const mica_interactions_options *given,
                                     mica_interactions **out) {
  mica_interactions_options o;
  mica_interactions *x;
  *out = NULL;
  if (n < 0 || n > COUNT_MAX)
    return mica_fail(MICA_ERR_INVALID, "interactions: %lld of them", (long long)n);
  mica_status status = begin(given, &o, &x);
  if (status != MICA_OK) return status;
  x->has_rating = rating != NULL;
  x->has_time = time != NULL;
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    char who[24], what[24];
    snprintf(who, sizeof who, "%lld", (long long)user[i]);
    snprintf(what, sizeof what, "%lld", (long long)item[i]);
    status =
        rating && isnan(rating[i])
            ? mica_fail(MICA_ERR_INVALID, "interactions: rating[%lld] is no number", (long long)i)
            : mica_interactions_add(x, who, what, rating ? rating[i] : 0, time ? time[i] : 0,
                                    MICA_PART_TRAIN);
  }
  if (status == MICA_OK) status = finish(x, &o, "interactions");
  if (status != MICA_OK) {
    mica_interactions_free(x);
    return status;
  }
  *out = x;
  return MICA_OK;
}

/* ---- looking ---- */

const char *mica_interactions_format(const mica_interactions *x) {
  return x->format;
}
int64_t mica_interactions_count(const mica_interactions *x) {
  return x->n;
}
int64_t mica_interactions_users(const mica_interactions *x) {
  return x->users.n;
}
int64_t mica_interactions_items(const mica_interactions *x) {
  return x->items.n;
}
const char *mica_interactions_user_name(const mica_interactions *x, int64_t user) {
  return user >= 0 && user < x->users.n ? x->users.text[user] : NULL;
}
const char *mica_interactions_item_name(const mica_interactions *x, int64_t item) {
  return item >= 0 && item < x->items.n ? x->items.text[item] : NULL;
}
int64_t mica_interactions_find_user(const mica_interactions *x, const char *name) {
  return mica_dictionary_find(&x->users, name);
}
int64_t mica_interactions_find_item(const mica_interactions *x, const char *name) {
  return mica_dictionary_find(&x->items, name);
}
const int64_t *mica_interactions_offsets(const mica_interactions *x) {
  return x->offsets;
}
const int64_t *mica_interactions_item(const mica_interactions *x) {
  return x->item;
}
const float *mica_interactions_rating(const mica_interactions *x) {
  return x->has_rating ? x->rating : NULL;
}
const int64_t *mica_interactions_time(const mica_interactions *x) {
  return x->has_time ? x->time : NULL;
}
const uint8_t *mica_interactions_file_part(const mica_interactions *x) {
  return x->has_part ? x->part : NULL;
}
bool mica_interactions_seen(const mica_interactions *x, int64_t user, int64_t item) {
  if (user < 0 || user >= x->users.n) return false;
  const int64_t *from = x->seen + x->seen_offsets[user];
  const int64_t n = x->seen_offsets[user + 1] - x->seen_offsets[user];
  return bsearch(&item, from, (size_t)n, sizeof *from, by_number) != NULL;
}
int64_t mica_interactions_skipped(const mica_interactions *x) {
  return x->skipped;
}
const char *mica_interactions_skipped_text(const mica_interactions *x) {
  return x->skipped_text.data ? x->skipped_text.data : "";
}
