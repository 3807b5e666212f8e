/* See landmark_files.h. */
#include "cli/landmark_files.h"

#include "base/json.h"
#include "data/delimited.h"
#include "data/lines.h"

#include <stdio.h>
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
  return status;
}

static mica_status sort(const char *path, landmark_answers *out) {
  qsort(out->entry, (size_t)out->n, sizeof *out->entry, landmark_by_id);
  for (int64_t i = 1; i < out->n; i++)
    if (strcmp(out->entry[i - 1].id, out->entry[i].id) == 0)
      return mica_fail(MICA_ERR_FORMAT, "%s: '%.100s' is there twice", path, out->entry[i].id);
  return MICA_OK;
}

/* ---- what `mica predict --json` says ---- */

/* A line's picture, its class, and how sure that is: how little the picture is an anomaly, where
 * that is told, else the class's probability. "none of these" is no answer. */
static mica_status add_line(landmark_answers *out, const mica_json *line, const char *where) {
  const char *file = mica_json_string(mica_json_get(line, "file")),
             *answer = mica_json_string(mica_json_get(line, "answer"));
  const mica_json *first = mica_json_item(mica_json_get(line, "classes"), 0);
  char list[300] = "", id[256];
  double score = 0;
  if (!file || !answer || strpbrk(answer, " \t"))
    answer = answer && strcmp(answer, "none of these") == 0 ? "" : NULL;
  if (mica_json_double(mica_json_get(line, "anomaly"), &score))
    score = -score;
  else if (!mica_json_double(mica_json_get(first, "probability"), &score) && answer && *answer)
    answer = NULL;
  if (!file || !answer || strlen(answer) > 200)
    return mica_fail(MICA_ERR_FORMAT, "%s: expected what `mica predict --json` prints", where);
  const char *slash = strrchr(file, '/'), *from = slash ? slash + 1 : file;
  snprintf(id, sizeof id, "%.*s", (int)strcspn(from, "."), from);
  if (*answer) snprintf(list, sizeof list, "%s %.17g", answer, score);
  return add(out, (const char *const[]){id, list}, 2);
}

static mica_status read_json(mica_lines *l, const char *path, landmark_answers *out) {
  mica_status status = MICA_OK;
  char *text, where[512];
  out->recognition = true;
  while (status == MICA_OK && (status = mica_lines_next(l, &text)) == MICA_OK && text) {
    mica_json_doc *doc = NULL;
    snprintf(where, sizeof where, "%.400s, line %lld", path, (long long)mica_lines_number(l));
    status = mica_json_parse(text, strlen(text), &doc);
    status = status == MICA_OK ? add_line(out, mica_json_root(doc), where)
                               : mica_fail_within("%s", where);
    mica_json_free(doc);
  }
  return status;
}

static bool is_json(const char *path) {
  const char *dot = strrchr(path, '.');
  return dot && (strcmp(dot, ".json") == 0 || strcmp(dot, ".jsonl") == 0);
}

mica_status landmark_answers_read(const char *path, landmark_answers *out) {
  mica_input *input = NULL;
  mica_delimited *r = NULL;
  mica_lines *l = NULL;
  *out = (landmark_answers){0};
  mica_status status = mica_input_open(path, &input);
  if (status == MICA_OK && is_json(path)) {
    status = mica_lines_create(input, &l);
    if (status == MICA_OK) status = read_json(l, path, out);
  } else if (status == MICA_OK) {
    status = mica_delimited_create(input, ',', 0, &r);
    if (status == MICA_OK) status = read_records(r, path, out);
  }
  if (status == MICA_OK) status = sort(path, out);
  mica_lines_free(l);
  mica_delimited_free(r);
  mica_input_close(input);
  return status;
}
