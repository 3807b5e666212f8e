/* Any bytes as a table: learnt from, written as columns, read again row by row; and as columns in
 * JSON. What was learnt must read back its own file the same way. */
#include "data/columns.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static mica_columns *through_json(const mica_columns *c) {
  mica_bytes text = {0};
  mica_json_writer w = {.out = &text};
  mica_json_doc *doc;
  mica_columns *back;
  mica_columns_write(c, &w);
  if (text.status || mica_json_parse(text.data, text.n, &doc)) abort();
  if (mica_columns_read(mica_json_root(doc), &back)) abort();
  mica_json_free(doc);
  mica_bytes_free(&text);
  return back;
}

/* Every row that was usable gives the numbers it gave in the table. */
static void read_back(const char *path, const mica_data_table *t, const mica_columns *c,
                      const mica_data_table_options *o) {
  mica_row_reader *r;
  if (mica_row_reader_open(path, c, o, &r)) abort();
  const size_t width = (size_t)mica_columns_width(c) * sizeof(float);
  const size_t fields = (size_t)mica_columns_fields(c) * sizeof(int64_t);
  float *x = malloc(2 * width + 1), *y = x + mica_columns_width(c);
  int64_t *ids = malloc(2 * fields + 1), *id = ids + mica_columns_fields(c);
  int64_t n = 1, rows = 0;
  if (!x || !ids) abort();
  while (n) {
    if (mica_row_reader_next_fields(r, 1, x, ids, NULL, &n)) abort();
    if (n && !o->label && rows < mica_data_table_count(t)) {
      mica_data_table_row_fields(t, rows, y, id);
      if (memcmp(x, y, width) != 0 || memcmp(ids, id, fields) != 0) abort();
      for (int64_t f = 0; f < mica_columns_fields(c); f++)
        if (id[f] < 0 || id[f] >= mica_columns_field_size(c)[f]) abort();
    }
    rows += n;
  }
  if (rows < mica_data_table_count(t)) abort();
  free(x);
  free(ids);
  mica_row_reader_close(r);
}

/* Rows left in the file teach the same columns. */
static void learn_in_file(const char *path, const mica_data_table_options *given) {
  mica_data_table_options o = *given;
  mica_data_table *t[2] = {0};
  char *text[2] = {0};
  o.validation = 0;
  for (int k = 0; k < 2; k++) {
    o.in_file = k;
    if (!mica_data_table_open(path, &o, &t[k]) &&
        mica_columns_text(mica_data_table_columns(t[k]), &text[k]))
      abort();
  }
  if (!t[0] != !t[1] || (t[0] && strcmp(text[0], text[1]) != 0)) abort();
  for (int k = 0; k < 2; k++) {
    mica_free(text[k]);
    mica_data_table_free(t[k]);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (!size) return 0;
  const uint8_t how = data[0];
  data++, size--;
  mica_json_doc *doc;
  if (!mica_json_parse((const char *)data, size, &doc)) {
    mica_columns *c;
    if (!mica_columns_read(mica_json_root(doc), &c))
      mica_columns_free(through_json(c)), mica_columns_free(c);
    mica_json_free(doc);
  }
  const int fd = memfd_create("fuzz", MFD_CLOEXEC);
  if (fd < 0 || write(fd, data, size) != (ssize_t)size) abort();
  char path[40];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  mica_data_table_options o = MICA_DATA_TABLE_OPTIONS;
  o.label = how & 1 ? "c1" : how & 2 ? "y" : NULL;
  o.categorical = how & 4 ? "c2" : NULL;
  o.numeric = how & 8 ? "c3" : NULL;
  o.max_categories = how & 16 ? 2 : 100;
  o.target = how & 32 ? MICA_TARGET_NUMBER : MICA_TARGET_BY_CONTENT;
  o.header = how & 64 ? 0 : -1;
  o.fields = how & 128;
  o.numbers = (mica_number_form)(how >> 1 & (o.fields ? 3 : 1));
  o.hash_buckets = o.fields && how & 4 ? 5 : 0;
  o.min_count = o.fields && how & 16 && !o.hash_buckets ? 2 : 1;
  mica_data_table *t;
  if (!mica_data_table_open(path, &o, &t)) {
    mica_columns *c = through_json(mica_data_table_columns(t));
    if (c->width < 100000 && c->fields < 100000) {
      mica_data_table_options again = o;
      again.header = c->by_position ? 0 : 1;
      read_back(path, t, c, &again);
    }
    mica_columns_free(c);
    mica_data_table_free(t);
  }
  learn_in_file(path, &o);
  close(fd);
  return 0;
}
