/* See landmark_files.h. */
#include "cli/landmark_files.h"

#include "data/delimited.h"

#include <stdlib.h>
#include <string.h>

void landmark_answers_free(landmark_answers *a) {
  for (int64_t i = 0; i < a->n; i++) mica_free(a->entry[i].id);
  mica_free(a->entry);
}

static mica_status add(landmark_answers *a, const char *const *field, int64_t fields) {
  const char *const usage = fields > 2 ? field[2] : "";
  const size_t id = strlen(field[0]) + 1, list = strlen(field[1]) + 1, use = strlen(usage) + 1;
  if (a->n == a->room) {
    const int64_t room = a->room ? 2 * a->room : 1024;
    landmark_entry *more = mica_realloc_array(a->entry, (size_t)room, sizeof *more);
    if (!more) return MICA_ERR_MEMORY;
    a->entry = more;
    a->room = room;
  }
  char *block = mica_malloc(id + list + use);
  if (!block) return MICA_ERR_MEMORY;
  memcpy(block, field[0], id);
  memcpy(block + id, field[1], list);
  memcpy(block + id + list, usage, use);
  a->entry[a->n++] = (landmark_entry){block, block + id, block + id + list};
  return MICA_OK;
}

int landmark_by_id(const void *a, const void *b) {
  return strcmp(((const landmark_entry *)a)->id, ((const landmark_entry *)b)->id);
}

static mica_status read_records(mica_delimited *r, const char *path, landmark_answers *out) {
  const char *const *field;
  int64_t n;
  mica_status status = mica_delimited_next(r, &field, &n);
  const bool landmarks = status == MICA_OK && n > 1 && strcmp(field[1], "landmarks") == 0;
  if (status == MICA_OK &&
      (n < 2 || strcmp(field[0], "id") != 0 || (!landmarks && strcmp(field[1], "images") != 0)))
    status =
        mica_fail(MICA_ERR_FORMAT, "%s: expected a first line id,landmarks or id,images", path);
  out->recognition = landmarks;
  while (status == MICA_OK) {
    status = mica_delimited_next(r, &field, &n);
    if (status != MICA_OK || !n) break;
    if (n < 2)
      status = mica_fail(MICA_ERR_FORMAT, "%s, line %lld: expected two columns or more", path,
                         (long long)mica_delimited_line(r));
    else
      status = add(out, field, n);
  }
  if (status != MICA_OK) return status;
  qsort(out->entry, (size_t)out->n, sizeof *out->entry, landmark_by_id);
  for (int64_t i = 1; i < out->n; i++)
    if (strcmp(out->entry[i - 1].id, out->entry[i].id) == 0)
      return mica_fail(MICA_ERR_FORMAT, "%s: '%.100s' is there twice", path, out->entry[i].id);
  return MICA_OK;
}

mica_status landmark_answers_read(const char *path, landmark_answers *out) {
  mica_input *input = NULL;
  mica_delimited *r = NULL;
  *out = (landmark_answers){0};
  mica_status status = mica_input_open(path, &input);
  if (status == MICA_OK) status = mica_delimited_create(input, ',', 0, &r);
  if (status == MICA_OK) status = read_records(r, path, out);
  mica_delimited_free(r);
  mica_input_close(input);
  return status;
}
