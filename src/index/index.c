/* An index: what it is made of, what it tells, and how it goes away. */
#include "index/index.h"

#include <mica/quantise.h>

#include <stdlib.h>
#include <string.h>

const char *mica_index_metric_name(mica_index_metric metric) {
  static const char *const names[] = {"cosine", "l2", "inner"};
  return (unsigned)metric < sizeof names / sizeof *names ? names[metric] : "?";
}

mica_status mica_index_begin(const mica_engine *engine, const char *spec, int64_t width,
                             mica_index **out) {
  static const mica_dtype storage[] = {MICA_F32, MICA_BF16, MICA_F16};
  *out = NULL;
  if (width < 1 || width > INT32_MAX)
    return mica_fail(MICA_ERR_SHAPE, "an index of rows of %lld columns", (long long)width);
  mica_index *index = mica_calloc(1, sizeof *index);
  if (!index) return MICA_ERR_MEMORY;
  index->engine = engine;
  mica_status status = mica_spec_parse(engine, MICA_KIND_INDEX, spec, &index->spec);
  if (!status) {
    const mica_component *c = mica_spec_component(index->spec);
    const mica_index_head *head = mica_spec_options(index->spec);
    index->fn = c->functions;
    if (!index->fn || index->fn->size < offsetof(mica_index_functions, quantiser) ||
        !index->fn->query || c->options_size < sizeof *head)
      status = mica_fail(MICA_ERR_UNSUPPORTED, "index %s: its functions are incomplete", c->name);
    else
      index->rows = (mica_index_rows){
          .d = width, .metric = (mica_index_metric)head->metric, .dtype = storage[head->storage]};
  }
  if (status) {
    mica_index_free(index);
    return status;
  }
  *out = index;
  return MICA_OK;
}

void mica_index_free(mica_index *index) {
  if (!index) return;
  if (index->state && index->fn->free) index->fn->free(index->state);
  mica_spec_free(index->spec);
  for (int64_t i = 0; i < index->texts; i++) {
    mica_free((char *)index->text[i].key);
    mica_free((char *)index->text[i].value);
  }
  mica_free(index->text);
  mica_record_free(index->tensors);
  mica_free(index->place);
  mica_free(index->at_place);
  mica_quantiser_free(index->own_quantiser);
  mica_free(index->own_code);
  mica_free(index->own_x);
  mica_free(index->own_norm);
  mica_free(index->own_id);
  mica_free(index->own_label);
  mica_free(index->own_name_at);
  mica_free(index->own_names);
  mica_archive_close(index->archive);
  mica_file_unmap(&index->map);
  mica_free(index);
}

/* ---- the order of ties ---- */

typedef struct numbered {
  int64_t id, row;
} numbered;

static int by_id(const void *pa, const void *pb) {
  const numbered *a = pa, *b = pb;
  if (a->id != b->id) return a->id < b->id ? -1 : 1;
  return a->row < b->row ? -1 : a->row > b->row;
}

static mica_status order_ids(mica_index *index) {
  const int64_t n = index->rows.n;
  int64_t i = 1;
  while (i < n && index->id[i - 1] <= index->id[i]) i++;
  if (i >= n) return MICA_OK;
  numbered *list = mica_realloc_array(NULL, (size_t)n, sizeof *list);
  index->place = mica_realloc_array(NULL, (size_t)n, sizeof *index->place);
  index->at_place = mica_realloc_array(NULL, (size_t)n, sizeof *index->at_place);
  mica_status status = list && index->place && index->at_place ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) {
    for (i = 0; i < n; i++) list[i] = (numbered){index->id[i], i};
    qsort(list, (size_t)n, sizeof *list, by_id);
    for (i = 0; i < n; i++) {
      index->at_place[i] = list[i].row;
      index->place[list[i].row] = i;
    }
  }
  mica_free(list);
  return status;
}

mica_status mica_index_complete(mica_index *index) {
  index->zero_rows = 0;
  for (int64_t i = 0; i < index->rows.n; i++) index->zero_rows += index->rows.norm[i] == 0;
  return order_ids(index);
}

/* ---- texts ---- */

mica_status mica_index_put_text(mica_index *index, const char *key, const char *value) {
  if (!key || !value) return mica_fail(MICA_ERR_INVALID, "index: a text without key or value");
  char *copy = mica_strdup(value);
  if (!copy) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < index->texts; i++)
    if (strcmp(index->text[i].key, key) == 0) {
      mica_free((char *)index->text[i].value);
      index->text[i].value = copy;
      return MICA_OK;
    }
  char *name = mica_strdup(key);
  mica_text_pair *grown =
      name ? mica_realloc_array(index->text, (size_t)index->texts + 1, sizeof *grown) : NULL;
  if (!grown) {
    mica_free(copy);
    mica_free(name);
    return MICA_ERR_MEMORY;
  }
  index->text = grown;
  index->text[index->texts++] = (mica_text_pair){name, copy};
  return MICA_OK;
}

const char *mica_index_text(const mica_index *index, const char *key) {
  for (int64_t i = 0; i < index->texts; i++)
    if (strcmp(index->text[i].key, key) == 0) return index->text[i].value;
  return NULL;
}

const mica_record *mica_index_tensors(const mica_index *index) {
  return index->tensors;
}

/* ---- what it holds ---- */

int64_t mica_index_count(const mica_index *index) {
  return index->rows.n;
}
int64_t mica_index_width(const mica_index *index) {
  return index->rows.d;
}
mica_index_metric mica_index_metric_of(const mica_index *index) {
  return index->rows.metric;
}
mica_dtype mica_index_storage(const mica_index *index) {
  return index->rows.dtype;
}
char *mica_index_spec(const mica_index *index) {
  return mica_spec_text(index->spec);
}
int64_t mica_index_zero_rows(const mica_index *index) {
  return index->zero_rows;
}
mica_view mica_index_view(const mica_index *index) {
  /* A view cannot say that its memory is only to be read. */
  return mica_view_of((void *)(uintptr_t)index->rows.x, index->rows.dtype,
                      MICA_SHAPE(index->rows.n, index->rows.d));
}
const mica_quantiser *mica_index_quantiser(const mica_index *index) {
  const mica_index_functions *fn = index->fn;
  if (fn->size < sizeof *fn || !fn->quantiser || !index->state) return NULL;
  return fn->quantiser(index->state);
}
const int64_t *mica_index_ids(const mica_index *index) {
  return index->id;
}
const int64_t *mica_index_labels(const mica_index *index) {
  return index->label;
}

const char *mica_index_name(const mica_index *index, int64_t row, char *buf, size_t n) {
  if (!n) return buf;
  buf[0] = 0;
  if (!index->name_at || row < 0 || row >= index->rows.n) return buf;
  size_t length = (size_t)(index->name_at[row + 1] - index->name_at[row]);
  if (length > n - 1) length = n - 1;
  memcpy(buf, index->names + index->name_at[row], length);
  buf[length] = 0;
  return buf;
}
