/* Samplers by class: several examples side by side, and classes drawn by a power of their size. */
#include "train/class_rows.h"

#include <mica/train.h>

#include <math.h>

/* Shuffle the rows of each class by a key. */
static void shuffle(class_rows *r, int64_t classes, mica_key key) {
  for (int64_t c = 0; c < classes; c++) {
    const mica_key own = mica_key_fold(key, (uint64_t)c);
    int64_t *row = r->row + r->at[c];
    for (int64_t i = mica_class_rows_of(r, c) - 1; i > 0; i--) {
      const int64_t j = (int64_t)mica_random_below(own, (uint64_t)i, (uint64_t)i + 1);
      const int64_t other = row[j];
      row[j] = row[i];
      row[i] = other;
    }
  }
}

/* ---- examples of a class side by side ---- */

typedef struct classes_options {
  uint32_t size;
  int64_t examples;
} classes_options;

/* Rounds over the classes in an order of their own; each takes its next `examples`, going round. */
static mica_status by_classes(const void *given, const mica_sampler_data *d, mica_key key,
                              int64_t *order) {
  const classes_options *o = given;
  class_rows r;
  mica_status status = mica_class_rows(d->n, d->label, NULL, d->classes, &r);
  if (status != MICA_OK) return status;
  int64_t *turn = mica_calloc((size_t)d->classes, sizeof *turn);
  int64_t *next = mica_calloc((size_t)d->classes, sizeof *next);
  if (!turn || !next) status = MICA_ERR_MEMORY;
  if (status == MICA_OK) shuffle(&r, d->classes, mica_key_fold_name(key, "within"));
  int64_t n = 0;
  for (uint64_t round = 0; status == MICA_OK && n < d->n; round++) {
    mica_random_permutation(mica_key_fold(key, round), d->classes, turn);
    for (int64_t i = 0; i < d->classes && n < d->n; i++) {
      const int64_t c = turn[i], of = mica_class_rows_of(&r, c);
      for (int64_t k = 0; k < o->examples && of && n < d->n; k++)
        order[n++] = r.row[r.at[c] + next[c]++ % of];
    }
  }
  mica_free(turn);
  mica_free(next);
  mica_class_rows_free(&r);
  return status;
}

static const mica_option classes_table[] = {{"examples", MICA_OPTION_INT, "4", 1, 1 << 20, NULL,
                                             "of a class, side by side",
                                             offsetof(classes_options, examples)},
                                            {0}};

/* ---- long tails ---- */

typedef struct power_options {
  uint32_t size;
  double power;
  int64_t cap;
} power_options;

/* Classes by their size to a power, then one of the class; as many as there are. The cap takes the
 * same examples in each epoch of a key's stream only where it is folded so: here it is the first of
 * a shuffle that depends on the class alone. */
static mica_status by_power(const void *given, const mica_sampler_data *d, mica_key key,
                            int64_t *order) {
  const power_options *o = given;
  class_rows r;
  mica_status status = mica_class_rows(d->n, d->label, NULL, d->classes, &r);
  if (status != MICA_OK) return status;
  double *below = mica_calloc((size_t)d->classes + 1, sizeof *below);
  int64_t *of = mica_calloc((size_t)d->classes, sizeof *of);
  if (!below || !of) status = MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    shuffle(&r, d->classes, mica_key_fold_name(mica_key_seed(0), "cap"));
    for (int64_t c = 0; c < d->classes; c++) {
      of[c] = mica_class_rows_of(&r, c);
      if (o->cap && of[c] > o->cap) of[c] = o->cap;
      below[c + 1] = below[c] + (of[c] ? pow((double)of[c], o->power) : 0);
    }
  }
  for (int64_t i = 0; i < d->n && status == MICA_OK; i++) {
    const double at = mica_random_uniform(key, (uint64_t)(2 * i)) * below[d->classes];
    int64_t lo = 0, hi = d->classes - 1;
    while (lo < hi) {
      const int64_t middle = lo + (hi - lo) / 2;
      if (below[middle + 1] > at)
        hi = middle;
      else
        lo = middle + 1;
    }
    while (lo && !of[lo]) lo--;
    order[i] =
        r.row[r.at[lo] + (int64_t)mica_random_below(key, (uint64_t)(2 * i + 1), (uint64_t)of[lo])];
  }
  mica_free(below);
  mica_free(of);
  mica_class_rows_free(&r);
  return status;
}

static const mica_option power_table[] = {
    {"power", MICA_OPTION_FLOAT, "0.5", 0, 10, NULL,
     "of a class's size: 0 all classes alike, 0.5 by roots, 1 all examples alike",
     offsetof(power_options, power)},
    {"cap", MICA_OPTION_INT, "0", 0, 1 << 30, NULL,
     "take at most so many examples of a class, always the same; 0: all",
     offsetof(power_options, cap)},
    {0}};

/* ---- components ---- */

static const mica_sampler_functions classes_functions = {sizeof classes_functions, by_classes},
                                    power_functions = {sizeof power_functions, by_power};

extern const mica_component mica_component_sampler_classes, mica_component_sampler_power;
const mica_component mica_component_sampler_classes = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_SAMPLER,
    "classes",
    "several examples of a class side by side, for losses of pairs",
    "hyperspherical",
    classes_table,
    sizeof(classes_options),
    MICA_NEED_LABELS,
    0,
    &classes_functions};
const mica_component mica_component_sampler_power = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_SAMPLER,
    "power",
    "classes drawn by a power of their size, for long tails",
    "landmarks-retrieval",
    power_table,
    sizeof(power_options),
    MICA_NEED_LABELS,
    0,
    &power_functions};
