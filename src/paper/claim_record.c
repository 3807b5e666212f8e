/* Finished units as files, DIR/units/EXPERIMENT-SEED[-POINT][-ARM].json: what they measured, spent
 * and drew, so that a run that was stopped goes on where it was.
 */
#include "paper/claim.h"

#include "base/file.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define UNIT_LIMIT ((size_t)256 << 20)

static char *path_of(const mica_claim_run *r, const mica_claim_unit_of *u) {
  const mica_claim_table *t = &r->table[u->experiment];
  mica_bytes b = {0};
  if (!r->o->dir) return NULL;
  mica_bytes_printf(&b, "%s/units/%s-%lld", r->o->dir, t->x->name, (long long)u->seed);
  if (u->point >= 0 && t->x->sweep) mica_bytes_printf(&b, "-%g", t->point[u->point]);
  if (u->arm >= 0) mica_bytes_printf(&b, "-%s", t->x->arms[u->arm].name);
  mica_bytes_text(&b, ".json");
  return mica_bytes_take(&b);
}

mica_status mica_claim_forget(const mica_claim_run *r) {
  for (int64_t i = 0; i < r->units && r->o->dir; i++) {
    char *path = path_of(r, &r->unit[i]);
    if (!path) return MICA_ERR_MEMORY;
    unlink(path);
    mica_free(path);
  }
  return MICA_OK;
}

/* ---- writing ---- */

static void write_cell(mica_json_writer *w, const mica_claim_table *t, int arm, int point,
                       int64_t seed) {
  const int64_t at = mica_claim_at(t, arm, point, seed);
  const mica_claim_cost *cost = &t->cost[at];
  mica_json_begin_object(w);
  mica_json_put_text(w, "arm", t->x->arms[arm].name);
  mica_json_put_int(w, "point", point);
  mica_json_put_int(w, "steps", cost->steps);
  mica_json_put_int(w, "examples", cost->examples);
  mica_json_put_int(w, "rows", cost->rows);
  mica_json_put_int(w, "other", cost->other);
  mica_json_write_name(w, "measures");
  mica_json_begin_object(w);
  for (int m = 0; m < t->measures; m++)
    if (isfinite(t->value[at * t->measures + m]))
      mica_json_put_double(w, t->x->measures[m].name, t->value[at * t->measures + m]);
  mica_json_end_object(w);
  mica_json_end_object(w);
}

mica_status mica_claim_keep(const mica_claim_run *r, const mica_claim_unit_of *u, double seconds) {
  const mica_claim_table *t = &r->table[u->experiment];
  if (!r->o->dir) return MICA_OK;
  char *path = path_of(r, u);
  if (!path) return MICA_ERR_MEMORY;
  mica_bytes b = {0};
  mica_json_writer w = {.out = &b, .indent = 1};
  mica_json_begin_object(&w);
  mica_json_put_text(&w, "of", r->identity);
  mica_json_put_double(&w, "seconds", seconds);
  mica_json_put_text(&w, "remarks", u->notes.remarks.data ? u->notes.remarks.data : "");
  mica_json_write_name(&w, "cells");
  mica_json_begin_array(&w);
  for (int p = 0; p < t->points; p++)
    for (int a = 0; a < t->arms; a++)
      if ((u->arm < 0 || u->arm == a) && (u->point < 0 || u->point == p))
        write_cell(&w, t, a, p, u->seed);
  mica_json_end_array(&w);
  mica_json_write_name(&w, "figures");
  mica_json_begin_array(&w);
  for (int i = 0; i < u->notes.figures; i++) {
    mica_json_begin_object(&w);
    mica_json_put_text(&w, "name", u->notes.figure[i].name);
    mica_json_put_text(&w, "caption", u->notes.figure[i].caption);
    mica_json_put_text(&w, "svg", u->notes.figure[i].svg);
    mica_json_end_object(&w);
  }
  mica_json_end_array(&w);
  mica_json_end_object(&w);
  mica_status status = b.status;
  if (status == MICA_OK) status = mica_make_parent(path);
  if (status == MICA_OK) status = mica_file_write_atomic(path, b.data, b.n);
  mica_bytes_free(&b);
  mica_free(path);
  return status;
}

/* ---- reading ---- */

static mica_status read_cell(const mica_json *v, const mica_claim_unit_of *u, mica_claim_table *t,
                             const char *path) {
  const char *arm;
  int64_t point;
  const mica_json *measures;
  mica_claim_cost cost;
  mica_status status = mica_json_need_string(v, "arm", &arm);
  if (status == MICA_OK) status = mica_json_need_int64(v, "point", &point);
  if (status == MICA_OK) status = mica_json_need_int64(v, "steps", &cost.steps);
  if (status == MICA_OK) status = mica_json_need_int64(v, "examples", &cost.examples);
  if (status == MICA_OK) status = mica_json_need_int64(v, "rows", &cost.rows);
  if (status == MICA_OK) status = mica_json_need_int64(v, "other", &cost.other);
  if (status == MICA_OK) status = mica_json_need(v, "measures", MICA_JSON_OBJECT, &measures);
  if (status != MICA_OK) return status;
  const int a = mica_claim_arm_index(t, arm);
  if (a < 0 || (u->arm >= 0 && a != u->arm) || point < 0 || point >= t->points ||
      (u->point >= 0 && point != u->point))
    return mica_fail(MICA_ERR_FORMAT, "%s: a cell of arm '%s' at point %lld, which the unit lacks",
                     path, arm, (long long)point);
  const int64_t at = mica_claim_at(t, a, (int)point, u->seed);
  t->cost[at] = cost;
  for (int64_t i = 0; i < mica_json_count(measures); i++) {
    const char *name = mica_json_name(measures, i);
    const int m = mica_claim_measure_index(t, name);
    double value;
    if (m < 0 || !mica_json_double(mica_json_item(measures, i), &value))
      return mica_fail(MICA_ERR_FORMAT,
                       "%s: measure '%s' of arm '%s', expected a number of one "
                       "that the experiment has",
                       path, name, arm);
    t->value[at * t->measures + m] = value;
  }
  return MICA_OK;
}

static mica_status read_figure(const mica_json *v, mica_claim_unit_notes *notes) {
  const char *name, *caption, *svg;
  mica_status status = mica_json_need_string(v, "name", &name);
  if (status == MICA_OK) status = mica_json_need_string(v, "caption", &caption);
  if (status == MICA_OK) status = mica_json_need_string(v, "svg", &svg);
  if (status != MICA_OK) return status;
  mica_claim_extra *list =
      mica_realloc_array(notes->figure, (size_t)notes->figures + 1, sizeof *list);
  if (!list) return MICA_ERR_MEMORY;
  notes->figure = list;
  const mica_claim_extra e = {mica_strdup(name), mica_strdup(caption), mica_strdup(svg)};
  list[notes->figures++] = e;
  return e.name && e.caption && e.svg ? MICA_OK : MICA_ERR_MEMORY;
}

static mica_status read_unit(const mica_claim_run *r, const mica_json *root, const char *path,
                             mica_claim_unit_of *u, double *seconds) {
  mica_claim_table *t = &r->table[u->experiment];
  const char *of, *remarks;
  const mica_json *cells, *figures;
  mica_status status = mica_json_need_string(root, "of", &of);
  if (status == MICA_OK && strcmp(of, r->identity) != 0)
    return mica_fail(MICA_ERR_STATE,
                     "%s: is of another setting (%.300s) than this run (%.300s); take another "
                     "folder, or begin afresh",
                     path, of, r->identity);
  if (status == MICA_OK) status = mica_json_need_double(root, "seconds", seconds);
  if (status == MICA_OK) status = mica_json_need_string(root, "remarks", &remarks);
  if (status == MICA_OK) status = mica_json_need(root, "cells", MICA_JSON_ARRAY, &cells);
  if (status == MICA_OK) status = mica_json_need(root, "figures", MICA_JSON_ARRAY, &figures);
  if (status != MICA_OK) return status;
  for (int64_t i = 0; i < mica_json_count(cells) && status == MICA_OK; i++)
    status = read_cell(mica_json_item(cells, i), u, t, path);
  for (int64_t i = 0; i < mica_json_count(figures) && status == MICA_OK; i++)
    status = read_figure(mica_json_item(figures, i), &u->notes);
  mica_bytes_text(&u->notes.remarks, remarks);
  return status == MICA_OK ? u->notes.remarks.status : status;
}

mica_status mica_claim_recall(mica_claim_run *r, mica_claim_unit_of *u) {
  char *path = path_of(r, u);
  if (!path) return r->o->dir ? MICA_ERR_MEMORY : MICA_OK;
  mica_json_doc *doc = NULL;
  double seconds = 0;
  mica_status status = MICA_OK;
  if (mica_file_exists(path)) {
    status = mica_json_read(path, UNIT_LIMIT, &doc);
    if (status == MICA_OK) status = read_unit(r, mica_json_root(doc), path, u, &seconds);
    if (status == MICA_ERR_FORMAT && !strstr(mica_last_error(), path))
      status = mica_fail(MICA_ERR_FORMAT, "%s: %.400s", path, mica_last_error());
    u->done = status == MICA_OK;
    r->seconds += seconds;
    mica_json_free(doc);
  }
  mica_free(path);
  return status;
}
