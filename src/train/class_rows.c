/* See class_rows.h. */
#include "train/class_rows.h"

void mica_class_rows_free(class_rows *r) {
  mica_free(r->at);
  mica_free(r->row);
  *r = (class_rows){0};
}

mica_status mica_class_rows(int64_t n, const int64_t *label, const bool *keep, int64_t classes,
                            class_rows *r) {
  r->at = mica_calloc((size_t)classes + 2, sizeof *r->at);
  r->row = mica_calloc((size_t)n + 1, sizeof *r->row);
  if (!r->at || !r->row) {
    mica_class_rows_free(r);
    return MICA_ERR_MEMORY;
  }
  /* Counted one place on, so that filling leaves each class's beginning where it belongs. */
  for (int64_t i = 0; i < n; i++)
    if (label[i] >= 0 && (!keep || keep[i])) r->at[label[i] + 2]++;
  for (int64_t c = 0; c < classes; c++) r->at[c + 2] += r->at[c + 1];
  for (int64_t i = 0; i < n; i++)
    if (label[i] >= 0 && (!keep || keep[i])) r->row[r->at[label[i] + 1]++] = i;
  return MICA_OK;
}
