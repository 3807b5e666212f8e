/* See row_stream.h. */
#include "cli/row_stream.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

mica_status row_stream_open(const char *out, int64_t width, row_stream *s) {
  *s = (row_stream){.width = width};
  struct stat info;
  const char *folder = getenv("TMPDIR");
  const bool device = stat(out, &info) == 0 && !S_ISREG(info.st_mode);
  const size_t room = strlen(out) + (folder ? strlen(folder) : 0) + 64;
  char *path = mica_malloc(room);
  if (!path) return mica_fail(MICA_ERR_MEMORY, "out of memory");
  if (device) /* a pipe has nothing beside it */
    snprintf(path, room, "%s/mica-%ld.rows", folder && *folder ? folder : "/tmp", (long)getpid());
  else
    snprintf(path, room, "%s.rows", out);
  const mica_status status = mica_writer_open(path, &s->w);
  mica_free(path);
  return status;
}

mica_status row_stream_add(row_stream *s, const float *x, int64_t m) {
  s->n += m;
  return mica_writer_write(s->w, x, (size_t)(m * s->width) * sizeof *x);
}

mica_status row_stream_view(row_stream *s, mica_view *out) {
  const mica_status status = mica_writer_map(s->w, &s->map);
  if (status == MICA_OK)
    *out = mica_view_of((void *)(uintptr_t)s->map.bytes, MICA_F32, MICA_SHAPE(s->n, s->width));
  return status;
}

void row_stream_close(row_stream *s) {
  if (s->map.bytes) mica_file_unmap(&s->map);
  mica_writer_close(s->w);
  *s = (row_stream){0};
}

/* ---- data sets ---- */

typedef struct job {
  row_stream rows;
  int64_t *label;
  uint8_t *part;
} job;

static mica_status take(void *ctx, mica_part k, int64_t m, const int64_t *label, const float *x) {
  job *j = ctx;
  memcpy(j->label + j->rows.n, label, (size_t)m * sizeof *label);
  memset(j->part + j->rows.n, (int)k, (size_t)m);
  return row_stream_add(&j->rows, x, m);
}

static mica_status finish(job *j, const mica_model *model, const mica_dataset *ds,
                          const char *path) {
  features f = {.width = j->rows.width};
  mica_view x;
  mica_status status = row_stream_view(&j->rows, &x);
  features_levels(model, &f);
  f.names = mica_calloc((size_t)mica_dataset_classes(ds) + 1, sizeof *f.names);
  if (status == MICA_OK && !f.names) status = MICA_ERR_MEMORY;
  for (; status == MICA_OK && f.classes < mica_dataset_classes(ds); f.classes++)
    if (!(f.names[f.classes] = mica_strdup(mica_dataset_class(ds, f.classes))))
      status = MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    const mica_view labels = mica_view_of(j->label, MICA_I64, MICA_SHAPE(j->rows.n));
    const mica_view parts = mica_view_of(j->part, MICA_U8, MICA_SHAPE(j->rows.n));
    status = features_write_rows(&f, &x, &labels, &parts, path);
  }
  features_free(&f);
  return status;
}

mica_status features_embed_to(const cli_args *a, mica_model *model, const mica_dataset *ds,
                              const char *path, int64_t *rows) {
  const size_t n = (size_t)mica_dataset_count(ds) + 1;
  job j = {.label = mica_malloc(n * sizeof *j.label), .part = mica_malloc(n)};
  mica_status status = j.label && j.part
                           ? row_stream_open(path, mica_model_features(model), &j.rows)
                           : mica_fail(MICA_ERR_MEMORY, "out of memory");
  if (status == MICA_OK) status = features_of_pictures(a, model, ds, take, &j);
  if (status == MICA_OK) status = finish(&j, model, ds, path);
  *rows = j.rows.n;
  row_stream_close(&j.rows);
  mica_free(j.label);
  mica_free(j.part);
  return status;
}
