/* Data sets with fewer items, and with labels that are wrong on purpose. */
#include "data/dataset.h"
#include "data/subset_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- subsets ---- */

mica_status mica_subset_parts(int64_t n, uint8_t *part_of, mica_part part, int64_t m,
                              const int64_t *item) {
  uint8_t *keep = mica_calloc((size_t)n + 1, 1);
  if (!keep) return MICA_ERR_MEMORY;
  mica_status status = MICA_OK;
  for (int64_t k = 0; k < m && status == MICA_OK; k++) {
    const int64_t i = item[k];
    if (i < 0 || i >= n || part_of[i] != part)
      status = mica_fail(MICA_ERR_INVALID, "subset: item %lld is not in that part", (long long)i);
    else if (keep[i]++)
      status = mica_fail(MICA_ERR_INVALID, "subset: item %lld is given twice", (long long)i);
  }
  for (int64_t i = 0; i < n && status == MICA_OK; i++)
    if (part_of[i] == part && !keep[i]) part_of[i] = MICA_PART_COUNT;
  mica_free(keep);
  return status;
}

mica_status mica_dataset_subset(mica_dataset *ds, mica_part part, int64_t n, const int64_t *item) {
  return mica_subset_parts(ds->n, ds->part, part, n, item);
}

/* ---- wrong labels ---- */

typedef struct drawn {
  uint64_t order;
  int64_t i;
} drawn;

static int by_order(const void *a, const void *b) {
  const drawn *x = a, *y = b;
  if (x->order != y->order) return x->order < y->order ? -1 : 1;
  return x->i < y->i ? -1 : x->i > y->i;
}

static mica_key key_of(const mica_dataset *ds, mica_key key, int64_t i) {
  char name[1024];
  return mica_key_fold_name(key, mica_dataset_name(ds, i, name, sizeof name));
}

/* The labels of the first m drawn, dealt anew. */
static mica_status deal(const drawn *d, int64_t m, mica_key key, int64_t *label) {
  int64_t *order = mica_calloc(2 * (size_t)m + 1, sizeof *order), *old = order + m;
  if (!order) return MICA_ERR_MEMORY;
  mica_random_permutation(mica_key_fold_name(key, "deal"), m, order);
  for (int64_t k = 0; k < m; k++) old[k] = label[d[k].i];
  for (int64_t k = 0; k < m; k++) label[d[k].i] = old[order[k]];
  mica_free(order);
  return MICA_OK;
}

static mica_status keep_truth(mica_dataset *ds) {
  if (ds->truth) return MICA_OK;
  const mica_status status = mica_tensor_create(MICA_I64, MICA_SHAPE(ds->n), &ds->truth);
  if (status == MICA_OK && ds->n)
    memcpy(mica_tensor_data(ds->truth), mica_tensor_data(ds->labels),
           (size_t)ds->n * sizeof(int64_t));
  return status;
}

mica_status mica_dataset_flip_labels(mica_dataset *ds, mica_part part, mica_label_noise kind,
                                     double share, uint64_t seed) {
  if (!(share >= 0 && share <= 1) || (unsigned)kind > MICA_LABEL_NOISE_PERMUTE)
    return mica_fail(MICA_ERR_INVALID,
                     "label noise: a share of %g and kind %d, expected 0 to 1 and one of "
                     "mica_label_noise",
                     share, (int)kind);
  if (ds->n_classes < 2)
    return mica_fail(MICA_ERR_INVALID,
                     "label noise: the data set has %lld classes, expected 2 or "
                     "more",
                     (long long)ds->n_classes);
  const mica_key key = mica_key_fold_name(mica_key_seed(seed), "label noise");
  drawn *d = mica_calloc((size_t)ds->n + 1, sizeof *d);
  if (!d) return MICA_ERR_MEMORY;
  mica_status status = keep_truth(ds);
  if (status != MICA_OK) {
    mica_free(d);
    return status;
  }
  int64_t n = 0, *label = mica_tensor_data(ds->labels);
  const int64_t *truth = mica_tensor_data(ds->truth);
  for (int64_t i = 0; i < ds->n; i++) {
    if (ds->part[i] != part) continue;
    label[i] = truth[i];
    d[n++] = (drawn){mica_random_bits(key_of(ds, key, i), 0), i};
  }
  if (n) qsort(d, (size_t)n, sizeof *d, by_order);
  const int64_t m = (int64_t)llround(share * (double)n), classes = ds->n_classes;
  for (int64_t k = 0; k < m && kind != MICA_LABEL_NOISE_PERMUTE; k++) {
    const uint64_t others = (uint64_t)classes - 1;
    const int64_t by = kind == MICA_LABEL_NOISE_NEXT
                           ? 1
                           : 1 + (int64_t)mica_random_below(key_of(ds, key, d[k].i), 1, others);
    label[d[k].i] = (label[d[k].i] + by) % classes;
  }
  if (kind == MICA_LABEL_NOISE_PERMUTE) status = deal(d, m, key, label);
  mica_free(d);
  return status;
}

const mica_tensor *mica_dataset_true_labels(const mica_dataset *ds) {
  return ds->truth ? ds->truth : ds->labels;
}
