/* Any bytes to the JSON reader; what it accepts is written and must read back the same. */
#include "base/json.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write(mica_json_writer *w, const mica_json *v) {
  mica_json_type type = mica_json_type_of(v);
  bool truth = false;
  int64_t i;
  uint64_t u;
  double d = 0;
  switch (type) {
  case MICA_JSON_NULL: mica_json_write_null(w); return;
  case MICA_JSON_BOOL:
    mica_json_bool(v, &truth);
    mica_json_write_bool(w, truth);
    return;
  case MICA_JSON_INT:
    if (mica_json_int64(v, &i))
      mica_json_write_int(w, i);
    else if (mica_json_uint64(v, &u))
      mica_json_write_uint(w, u);
    else
      abort();
    return;
  case MICA_JSON_FLOAT:
    mica_json_double(v, &d);
    mica_json_write_double(w, d);
    return;
  case MICA_JSON_STRING: mica_json_write_string(w, mica_json_string(v)); return;
  case MICA_JSON_ARRAY:
    mica_json_begin_array(w);
    for (int64_t k = 0; k < mica_json_count(v); k++) write(w, mica_json_item(v, k));
    mica_json_end_array(w);
    return;
  case MICA_JSON_OBJECT:
    mica_json_begin_object(w);
    for (int64_t k = 0; k < mica_json_count(v); k++) {
      const char *name = mica_json_name(v, k);
      if (mica_json_get(v, name) != mica_json_item(v, k)) abort();
      mica_json_write_name(w, name);
      write(w, mica_json_item(v, k));
    }
    mica_json_end_object(w);
    return;
  }
}

static char *text_of(const mica_json_doc *doc, size_t *n) {
  mica_bytes b = {0};
  mica_json_writer w = {.out = &b};
  write(&w, mica_json_root(doc));
  *n = b.n;
  char *text = mica_bytes_take(&b);
  if (!text) abort();
  return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  mica_json_doc *doc, *again;
  if (mica_json_parse((const char *)data, size, &doc)) {
    if (doc || !*mica_last_error()) abort();
    return 0;
  }
  size_t n, m;
  char *text = text_of(doc, &n);
  if (mica_json_parse(text, n, &again)) abort();
  char *twice = text_of(again, &m);
  if (n != m || memcmp(text, twice, n) != 0) abort();
  mica_free(text);
  mica_free(twice);
  mica_json_free(doc);
  mica_json_free(again);
  return 0;
}
