/* Values in a new order: see value_order.h. */
#include "data/value_order.h"

#include "base/number.h"

#include <stdlib.h>
#include <string.h>

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

mica_status mica_values_reorder(mica_dictionary *d, const int64_t *count, int64_t most,
                                int64_t least, mica_value_order order, int64_t *becomes,
                                bool *others) {
  counted *c = mica_malloc((size_t)(d->n ? d->n : 1) * sizeof *c);
  if (!c) return MICA_ERR_MEMORY;
  int64_t n = 0, seen = 0;
  for (int64_t v = 0; v < d->n; v++) {
    if (becomes) becomes[v] = -1;
    seen += count[v] > 0;
    if (count[v] > 0 && count[v] >= least) c[n++] = (counted){d->text[v], count[v], v};
  }
  qsort(c, (size_t)n, sizeof *c, order == MICA_ORDER_COUNT ? by_count : by_text);
  if (n > most) n = most;
  *others = n < seen;
  mica_dictionary fresh = {0};
  mica_status status = MICA_OK;
  for (int64_t k = 0; k < n && status == MICA_OK; k++) {
    if (becomes) becomes[c[k].was] = k;
    if (mica_dictionary_add(&fresh, c[k].text) < 0) status = MICA_ERR_MEMORY;
  }
  mica_free(c);
  if (status != MICA_OK) {
    mica_dictionary_free(&fresh);
    return status;
  }
  mica_dictionary_free(d);
  *d = fresh;
  return MICA_OK;
}
