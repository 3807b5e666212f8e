/* What columns learn from the training part: mean and deviation, values by frequency, classes. */
#include "data/table.h"

#include "base/number.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Mean and deviation (over n) of every `stride`-th number of the training part that is there;
 * updated value by value, so that a large mean costs no digits. A constant has deviation 1. */
static int64_t scale_of(const mica_data_table *t, const double *x, int64_t stride, double *mean,
                        double *deviation) {
  double m = 0, squares = 0;
  int64_t n = 0;
  for (int64_t i = 0; i < t->n; i++) {
    const double v = x[i * stride];
    if (t->part[i] != MICA_PART_TRAIN || isnan(v)) continue;
    const double d = v - m;
    m += d / (double)++n;
    squares += d * (v - m);
  }
  const double s = n ? sqrt(squares / (double)n) : 0;
  *mean = m;
  *deviation = s > 1e-12 * fabs(m) && s > 0 ? s : 1;
  return n;
}

/* ---- values in another order ---- */

typedef struct counted {
  const char *text;
  int64_t count, was;
} counted;

static int by_count(const void *a, const void *b) {
  const counted *x = a, *y = b;
  if (x->count != y->count) return x->count > y->count ? -1 : 1;
  return strcmp(x->text, y->text);
}

/* Numbers by value, then texts. */
static int by_text(const void *a, const void *b) {
  const counted *x = a, *y = b;
  double p, q;
  const size_t n = strlen(x->text), m = strlen(y->text);
  const bool first = mica_parse_double(x->text, n, false, &p) == n;
  const bool second = mica_parse_double(y->text, m, false, &q) == m;
  if (first != second) return first ? -1 : 1;
  if (first && p != q) return p < q ? -1 : 1;
  return strcmp(x->text, y->text);
}

/* Put the first `most` values that the training part has `least` times in the order `cmp`;
 * becomes[old] is the new number, -1 for one that is dropped. Sets *others when one that has a
 * count is dropped. */
static mica_status reorder(mica_dictionary *d, const int64_t *count, int64_t most, int64_t least,
                           int (*cmp)(const void *, const void *), int64_t *becomes, bool *others) {
  counted *c = mica_malloc((size_t)(d->n ? d->n : 1) * sizeof *c);
  if (!c) return MICA_ERR_MEMORY;
  int64_t n = 0;
  for (int64_t v = 0; v < d->n; v++) {
    becomes[v] = -1;
    if (count[v] >= least) c[n++] = (counted){d->text[v], count[v], v};
  }
  qsort(c, (size_t)n, sizeof *c, cmp);
  mica_dictionary fresh = {0};
  mica_status status = MICA_OK;
  for (int64_t k = 0; k < n && k < most && status == MICA_OK; k++) {
    becomes[c[k].was] = k;
    if (mica_dictionary_add(&fresh, c[k].text) < 0) status = MICA_ERR_MEMORY;
  }
  *others = n > most;
  mica_free(c);
  if (status != MICA_OK) {
    mica_dictionary_free(&fresh);
    return status;
  }
  mica_dictionary_free(d);
  *d = fresh;
  return MICA_OK;
}

/* While rows are read, a categorical cell is the number of its value in order of arrival, -1 when
 * missing. */
static mica_status learn_values(mica_data_table *t, mica_columns *c, int64_t i,
                                const mica_data_table_options *o) {
  mica_column *k = &c->column[i];
  int64_t most = o->max_categories, least = 1;
  if (k->field) {
    most = o->max_ids;
    if (o->min_count > 1) least = o->min_count;
  }
  int64_t *count = mica_calloc((size_t)k->values.n + 1, 2 * sizeof *count);
  if (!count) return MICA_ERR_MEMORY;
  int64_t *becomes = count + k->values.n + 1;
  for (int64_t r = 0; r < t->n; r++) {
    const int64_t value = (int64_t)t->cell[r * c->n + i];
    if (t->part[r] != MICA_PART_TRAIN) continue;
    if (value < 0)
      k->missing = true;
    else
      count[value]++;
  }
  bool others;
  mica_status status = reorder(&k->values, count, most, least, by_count, becomes, &others);
  k->other = others || k->field;
  const double missing = k->missing ? (double)k->values.n : -1;
  const double other = k->other ? (double)(k->values.n + k->missing) : -1;
  for (int64_t r = 0; r < t->n && status == MICA_OK; r++) {
    double *cell = &t->cell[r * c->n + i];
    if (*cell < 0) {
      *cell = missing;
      continue;
    }
    const int64_t now = becomes[(int64_t)*cell];
    *cell = now < 0 ? other : (double)now;
  }
  mica_free(count);
  return status;
}

/* Classes in the order of their names, so that it does not depend on that of the rows. */
static mica_status order_classes(mica_data_table *t, mica_columns *c) {
  int64_t *count = mica_calloc((size_t)c->classes.n + 1, 2 * sizeof *count);
  if (!count) return MICA_ERR_MEMORY;
  int64_t *becomes = count + c->classes.n + 1;
  bool others;
  for (int64_t r = 0; r < t->n; r++) count[t->label[r]]++;
  const mica_status status = reorder(&c->classes, count, INT64_MAX, 1, by_text, becomes, &others);
  for (int64_t r = 0; r < t->n && status == MICA_OK; r++) t->label[r] = becomes[t->label[r]];
  mica_free(count);
  return status;
}

mica_status mica_table_learn(mica_data_table *t, mica_columns *c,
                             const mica_data_table_options *o) {
  mica_status status = t->label ? order_classes(t, c) : MICA_OK;
  if (t->target) scale_of(t, t->target, 1, &c->target_mean, &c->target_deviation);
  for (int64_t i = 0; i < c->n && status == MICA_OK; i++) {
    mica_column *k = &c->column[i];
    if (k->buckets) continue;
    if (k->field || k->kind == MICA_COLUMN_CATEGORICAL) {
      status = learn_values(t, c, i, o);
      continue;
    }
    const int64_t there = scale_of(t, t->cell + i, c->n, &k->mean, &k->deviation);
    k->missing = there < mica_data_table_part_count(t, MICA_PART_TRAIN);
  }
  return status == MICA_OK ? mica_columns_arrange(c) : status;
}
