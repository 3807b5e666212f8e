/* What columns learn from the training part: mean and deviation, values by frequency, classes. */
#include "data/table.h"

#include "data/value_order.h"

#include <math.h>

/* A column of numbers on the way to its mean and deviation (over n), updated value by value, so
 * that a large mean costs no digits. */
typedef struct scale {
  const double *x;
  double mean, squares;
  int64_t n;
} scale;

/* Several columns at once, every `stride`-th number of each, over the training part: a value waits
 * for the division of the one before it, but not for other columns. */
static void measure(const mica_data_table *t, int64_t stride, int columns, scale *s) {
  for (int64_t i = 0; i < t->n; i++) {
    if (t->part[i] != MICA_PART_TRAIN) continue;
    for (int k = 0; k < columns; k++) {
      const double v = s[k].x[i * stride];
      if (isnan(v)) continue;
      const double d = v - s[k].mean;
      s[k].mean += d / (double)++s[k].n;
      s[k].squares += d * (v - s[k].mean);
    }
  }
}

/* A constant has deviation 1. */
static double deviation_of(const scale *s) {
  const double deviation = s->n ? sqrt(s->squares / (double)s->n) : 0;
  return deviation > 1e-12 * fabs(s->mean) && deviation > 0 ? deviation : 1;
}

/* The numeric columns, a few at a time. */
static void learn_numbers(const mica_data_table *t, mica_columns *c) {
  enum { TOGETHER = 8 };
  const int64_t rows = mica_data_table_part_count(t, MICA_PART_TRAIN);
  for (int64_t i = 0; i < c->n;) {
    mica_column *of[TOGETHER];
    scale s[TOGETHER];
    int n = 0;
    for (; i < c->n && n < TOGETHER; i++) {
      mica_column *k = &c->column[i];
      if (k->buckets || k->field || k->kind == MICA_COLUMN_CATEGORICAL) continue;
      of[n] = k;
      s[n++] = (scale){t->cell + i, 0, 0, 0};
    }
    measure(t, c->n, n, s);
    for (int k = 0; k < n; k++) {
      of[k]->mean = s[k].mean;
      of[k]->deviation = deviation_of(&s[k]);
      of[k]->missing = s[k].n < rows;
    }
  }
}

/* While rows are read, a categorical cell is the number of its value in order of arrival, -1 when
 * missing. */
static mica_status learn_values(mica_data_table *t, mica_columns *c, int64_t i,
                                const mica_data_table_options *o) {
  mica_column *k = &c->column[i];
  int64_t most = o->max_categories, least = 1;
  if (k->field) {
    most = o->max_ids;
    least = mica_min_count(c, o);
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
  bool others = false;
  mica_status status =
      mica_values_reorder(&k->values, count, most, least, MICA_ORDER_COUNT, becomes, &others);
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
  bool others = false;
  for (int64_t r = 0; r < t->n; r++) count[t->label[r]]++;
  const mica_status status =
      mica_values_reorder(&c->classes, count, INT64_MAX, 1, MICA_ORDER_TEXT, becomes, &others);
  for (int64_t r = 0; r < t->n && status == MICA_OK; r++) t->label[r] = becomes[t->label[r]];
  mica_free(count);
  return status;
}

int64_t mica_min_count(const mica_columns *c, const mica_data_table_options *o) {
  return o->min_count ? o->min_count : c->format ? 2 : 1;
}

mica_status mica_table_learn(mica_data_table *t, mica_columns *c,
                             const mica_data_table_options *o) {
  mica_status status = t->label ? order_classes(t, c) : MICA_OK;
  if (t->target) {
    scale s = {t->target, 0, 0, 0};
    measure(t, 1, 1, &s);
    c->target_mean = s.mean;
    c->target_deviation = deviation_of(&s);
  }
  if (status == MICA_OK) learn_numbers(t, c);
  for (int64_t i = 0; i < c->n && status == MICA_OK; i++) {
    const mica_column *k = &c->column[i];
    if (!k->buckets && (k->field || k->kind == MICA_COLUMN_CATEGORICAL))
      status = learn_values(t, c, i, o);
  }
  return status == MICA_OK ? mica_columns_arrange(c) : status;
}
