/* The inside of an index: the rows with what belongs to each, whoever owns the memory. */
#ifndef MICA_INDEX_INDEX_H
#define MICA_INDEX_INDEX_H

#include "base/file.h"
#include "numeric/top_k.h"

#include <mica/data.h>
#include <mica/index.h>

struct mica_index {
  const mica_engine *engine;
  mica_spec *spec;
  const mica_index_functions *fn;
  void *state;
  mica_index_rows rows;
  int64_t zero_rows;
  const int64_t *id, *label; /* label NULL: none has one */
  const int64_t *name_at;    /* [n + 1] into names; NULL: no names */
  const char *names;
  /* Where ids do not ascend with the rows: the place of each row in the order of ids, and the row
   * at each place; else NULL. Ties are settled by place. */
  int64_t *place, *at_place;
  mica_text_pair *text; /* both strings owned */
  int64_t texts;
  mica_record *tensors; /* NULL: none */
  /* The owner of the arrays: an opened file, or these blocks (NULL where there are none). */
  mica_mapping map;
  mica_archive *archive;
  void *own_x;
  double *own_norm;
  int64_t *own_id, *own_label, *own_name_at;
  char *own_names;
  /* What was given to the builder, which the state takes over or copies. */
  struct mica_quantiser *own_quantiser;
  uint8_t *own_code; /* [n, parts] */
};

/* An index without rows for this specification and width; complete it with
 * mica_index_complete. */
mica_status mica_index_begin(const mica_engine *engine, const char *spec, int64_t width,
                             mica_index **out);
/* Set or replace a text. */
mica_status mica_index_put_text(mica_index *index, const char *key, const char *value);
/* All arrays are there: derive what follows from them. */
mica_status mica_index_complete(mica_index *index);

static inline const void *mica_index_options_of(const mica_index *index) {
  return mica_spec_options(index->spec);
}

/* ---- the file ---- */

/* Begin a file: leaves room for a header, whose size goes to *reserve. */
mica_status mica_index_file_begin(const mica_index *index, const char *path, mica_writer **out,
                                  size_t *reserve);
/* The rows have been written behind that room: write what belongs to them, the component's record
 * (NULL where it has none) and the header, and give the file its name. */
mica_status mica_index_file_end(const mica_index *index, const mica_record *record,
                                mica_writer *writer, size_t reserve);
/* What the component keeps, NULL where it keeps nothing; the caller frees it. */
mica_status mica_index_state(const mica_index *index, mica_record **record);

/* The builder's index is loaded from this record, which the builder takes over also when it fails,
 * instead of being built of its rows. */
void mica_index_builder_adopt(mica_index_builder *builder, mica_record *record);

/* mica_index_work for an fn without matrix products: few questions wake no thread. */
mica_status mica_index_work_light(const mica_engine *engine, mica_index_question *question,
                                  int64_t block, int64_t parts, size_t scratch_bytes,
                                  mica_index_work_fn fn, void *ctx);

/* Every row is compared: what mica_index_functions.query is to an exact index. */
mica_status mica_exact_query(const mica_engine *engine, const mica_index_rows *rows,
                             mica_index_question *question);

#endif
