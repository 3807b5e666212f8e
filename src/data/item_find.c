/* The items of a data set, or rows of a table, that a list names. */
#include <mica/table.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME 4096

/* A data set or a table. */
typedef struct place {
  const mica_dataset *ds;
  const mica_data_table *table;
  mica_part part;
  int64_t n;
} place;

static bool is_in_part(const place *p, int64_t i) {
  if (i < 0 || i >= p->n) return false;
  return (p->ds ? mica_dataset_part_of(p->ds, i) : mica_data_table_part_of(p->table, i)) == p->part;
}

static const char *name_of(const place *p, int64_t i, char buf[NAME]) {
  return p->ds ? mica_dataset_name(p->ds, i, buf, NAME)
               : mica_data_table_name(p->table, i, buf, NAME);
}

static bool is_called(const place *p, int64_t i, const char *name) {
  char own[NAME];
  return strcmp(name_of(p, i, own), name) == 0;
}

typedef struct hashed {
  uint64_t hash;
  int64_t item;
} hashed;

static int by_hash(const void *a, const void *b) {
  const hashed *x = a, *y = b;
  if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
  return x->item < y->item ? -1 : x->item > y->item;
}

/* All items of the part by the hash of their names. */
static mica_status hash_names(const place *p, hashed **out, int64_t *m) {
  char name[NAME];
  hashed *h = mica_calloc((size_t)p->n + 1, sizeof *h);
  *out = h;
  *m = 0;
  if (!h) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < p->n; i++) {
    if (!is_in_part(p, i)) continue;
    name_of(p, i, name);
    h[(*m)++] = (hashed){mica_hash64(name, strlen(name), 0), i};
  }
  if (*m) qsort(h, (size_t)*m, sizeof *h, by_hash);
  return MICA_OK;
}

/* The first item of that name that was not found before, else the first; -1: none. */
static int64_t item_called(const place *p, const hashed *h, int64_t m, const char *name,
                           const uint8_t *seen) {
  const uint64_t hash = mica_hash64(name, strlen(name), 0);
  int64_t low = 0, high = m, first = -1;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (h[middle].hash < hash)
      low = middle + 1;
    else
      high = middle;
  }
  for (; low < m && h[low].hash == hash; low++) {
    if (!is_called(p, h[low].item, name)) continue;
    if (!seen[h[low].item]) return h[low].item;
    if (first < 0) first = h[low].item;
  }
  return first;
}

static mica_status not_there(const mica_item_list *l, int64_t k) {
  char number[40];
  const char *name = mica_item_list_name(l, k);
  snprintf(number, sizeof number, "number %lld", (long long)mica_item_list_id(l, k));
  return mica_fail(MICA_ERR_NOT_FOUND,
                   "item list: entry %lld, '%.200s', is not in that part of the data",
                   (long long)k + 1, *name ? name : number);
}

static mica_status find(const mica_item_list *l, const place *p, int64_t *item) {
  const int64_t n = mica_item_list_count(l);
  if (!n) return mica_fail(MICA_ERR_INVALID, "item list: it has no entries");
  uint8_t *seen = mica_calloc((size_t)p->n + 1, 1);
  hashed *h = NULL;
  int64_t m = 0;
  mica_status status = seen ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t k = 0; k < n && status == MICA_OK; k++) {
    const char *name = mica_item_list_name(l, k);
    int64_t i = mica_item_list_id(l, k);
    /* Where nothing was added or moved the number is right, and tells items of one name apart. */
    if (!is_in_part(p, i) || (*name && !is_called(p, i, name))) {
      if (*name && !h) status = hash_names(p, &h, &m);
      i = *name && status == MICA_OK ? item_called(p, h, m, name, seen) : -1;
    }
    if (status == MICA_OK && i < 0) status = not_there(l, k);
    if (status == MICA_OK && seen[i])
      status = mica_fail(MICA_ERR_INVALID, "item list: entry %lld, item %lld, is there twice",
                         (long long)k + 1, (long long)i);
    if (status != MICA_OK) break;
    seen[i] = 1;
    item[k] = i;
  }
  mica_free(h);
  mica_free(seen);
  return status;
}

mica_status mica_item_list_find(const mica_item_list *list, const mica_dataset *ds, mica_part part,
                                int64_t *item) {
  const place p = {.ds = ds, .part = part, .n = mica_dataset_count(ds)};
  return find(list, &p, item);
}

mica_status mica_item_list_find_rows(const mica_item_list *list, const mica_data_table *table,
                                     mica_part part, int64_t *row) {
  if (mica_data_table_in_file(table))
    return mica_fail(MICA_ERR_UNSUPPORTED,
                     "item list: the table's rows stay in their file; open it in memory");
  const place p = {.table = table, .part = part, .n = mica_data_table_count(table)};
  return find(list, &p, row);
}
