/* The run's state in one file, in the layout it has in memory: it is this program that reads it
 * back. */
#include "train/run_state.h"

#include <mica/data.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define COUNTERS 11
#define TREES    (3 + RUN_SNAPSHOTS)

typedef struct tree {
  const char *prefix;
  mica_params *params;
  char text[40];
} tree;

static int trees_of(const run_state *s, tree out[TREES]) {
  int n = 0;
  out[n++] = (tree){"model.", s->params, ""};
  out[n++] = (tree){"optimiser.", mica_optimiser_state(s->optimiser), ""};
  if (s->average) out[n++] = (tree){"average.", s->average, ""};
  for (int i = 0; i < s->snapshots; i++) {
    tree *t = &out[n++];
    snprintf(t->text, sizeof t->text, "snapshot.%lld.", (long long)s->snapshot[i].step);
    t->prefix = t->text;
    t->params = s->snapshot[i].values;
  }
  return n;
}

static char *named(const char *prefix, const mica_param *q) {
  const size_t n = strlen(prefix) + strlen(mica_param_path(q)) + 1;
  char *name = mica_malloc(n);
  if (name) snprintf(name, n, "%s%s", prefix, mica_param_path(q));
  return name;
}

mica_status mica_run_state_keep(run_state *s, int64_t step) {
  if (s->snapshots == RUN_SNAPSHOTS)
    return mica_fail(MICA_ERR_STATE, "more than %d earlier values", RUN_SNAPSHOTS);
  run_snapshot *one = &s->snapshot[s->snapshots];
  const mica_status status = mica_params_clone(s->params, &one->values);
  if (status != MICA_OK) return status;
  one->step = step;
  s->snapshots++;
  return MICA_OK;
}

void mica_run_state_drop(run_state *s, int index) {
  mica_params_free(s->snapshot[index].values);
  for (int i = index; i + 1 < s->snapshots; i++) s->snapshot[i] = s->snapshot[i + 1];
  s->snapshots--;
}

/* ---- masks ---- */

#define MASK "mask."

static int64_t masks_of(const mica_params *p) {
  int64_t n = 0;
  for (int64_t i = 0; i < mica_params_count(p); i++)
    n += mica_param_mask(mica_params_at(p, i)) != NULL;
  return n;
}

static mica_status read_mask(const mica_archive *a, int64_t i, mica_tensor **out) {
  const mica_dtype dtype = mica_archive_dtype(a, i);
  if (dtype != MICA_BOOL)
    return mica_fail(MICA_ERR_FORMAT, "%s: '%s' is %s, expected bool", mica_archive_path(a),
                     mica_archive_name(a, i), mica_dtype_name(dtype));
  return mica_archive_read(a, i, out);
}

/* A mask that the run has now must be the one it was started with; one that is in the file alone is
 * taken from there when `put`. */
static mica_status check_mask(const mica_archive *a, int64_t i, mica_param *q, bool put) {
  const mica_tensor *own = mica_param_mask(q);
  mica_tensor *mask;
  mica_status status = read_mask(a, i, &mask);
  if (status != MICA_OK) return status;
  const mica_view view = mica_tensor_view(mask);
  if (own && (!mica_shape_equal(&view.shape, mica_tensor_shape(own)) ||
              memcmp(view.data, mica_tensor_data(own), (size_t)mica_view_count(&view)) != 0))
    status = mica_fail(MICA_ERR_FORMAT, "%s: the run was started with another mask of '%s'",
                       mica_archive_path(a), mica_param_path(q));
  else if (!mica_shape_equal(&view.shape, mica_tensor_shape(mica_param_value(q))))
    status = mica_fail(MICA_ERR_FORMAT, "%s: '%s' is of another shape than the parameter",
                       mica_archive_path(a), mica_archive_name(a, i));
  else if (put && !own)
    status = mica_param_set_mask(q, &view);
  mica_tensor_free(mask);
  return status;
}

static mica_status read_masks(const mica_archive *a, mica_params *p, bool put) {
  mica_status status = MICA_OK;
  int64_t found = 0;
  for (int64_t i = 0; i < mica_archive_count(a) && status == MICA_OK; i++) {
    const char *name = mica_archive_name(a, i);
    if (strncmp(name, MASK, strlen(MASK)) != 0) continue;
    mica_param *q = mica_params_find(p, name + strlen(MASK));
    status =
        q ? check_mask(a, i, q, put)
          : mica_fail(MICA_ERR_FORMAT, "%s: '%s' is of no parameter", mica_archive_path(a), name);
    found += q && mica_param_mask(q);
  }
  if (status == MICA_OK && found < masks_of(p))
    status = mica_fail(MICA_ERR_FORMAT, "%s: the run was started without some of the masks",
                       mica_archive_path(a));
  return status;
}

/* ---- the file ---- */

mica_status mica_run_state_save(const run_state *s, const char *path) {
  tree trees[TREES];
  const int n_trees = trees_of(s, trees);
  int64_t total = 1 + masks_of(s->params), at = 0;
  for (int k = 0; k < n_trees; k++) total += mica_params_count(trees[k].params);
  mica_named_view *views = mica_calloc((size_t)total, sizeof *views);
  char **names = mica_calloc((size_t)total, sizeof *names);
  mica_status status = views && names ? MICA_OK : MICA_ERR_MEMORY;
  for (int k = 0; k < n_trees && status == MICA_OK; k++)
    for (int64_t i = 0; i < mica_params_count(trees[k].params) && status == MICA_OK; i++, at++) {
      const mica_param *q = mica_params_at(trees[k].params, i);
      names[at] = named(trees[k].prefix, q);
      if (!names[at]) {
        status = MICA_ERR_MEMORY;
        break;
      }
      views[at] = (mica_named_view){names[at], mica_tensor_view(mica_param_value(q))};
    }
  for (int64_t i = 0; i < mica_params_count(s->params) && status == MICA_OK; i++) {
    const mica_param *q = mica_params_at(s->params, i);
    if (!mica_param_mask(q)) continue;
    names[at] = named(MASK, q);
    if (!names[at]) status = MICA_ERR_MEMORY;
    if (status == MICA_OK)
      views[at] = (mica_named_view){names[at], mica_tensor_view(mica_param_mask(q))};
    at++;
  }
  double counters[COUNTERS] = {(double)s->epoch,
                               (double)s->step,
                               (double)s->step_in_epoch,
                               (double)s->best_epoch,
                               s->best_accuracy,
                               s->best_loss,
                               s->loss_sum,
                               s->last_loss,
                               (double)s->stage,
                               (double)s->stage_epoch,
                               (double)s->examples};
  if (status == MICA_OK) {
    views[at++] = (mica_named_view){"run", mica_view_of(counters, MICA_F64, MICA_SHAPE(COUNTERS))};
    const mica_text_pair about[] = {{"mica.kind", "training state"}, {"mica.layout", "native"}};
    status = mica_safetensors_write(path, views, at, about, 2);
  }
  for (int64_t i = 0; names && i < total; i++) mica_free(names[i]);
  mica_free(names);
  mica_free(views);
  return status;
}

/* Read entry q of a tree; its shape and type must be the file's. */
static mica_status read_entry(const mica_archive *a, const char *prefix, const mica_param *q,
                              mica_tensor **out) {
  char name[1024];
  snprintf(name, sizeof name, "%s%s", prefix, mica_param_path(q));
  const int64_t i = mica_archive_find(a, name);
  const mica_tensor *value = mica_param_value(q);
  if (i < 0 || mica_archive_dtype(a, i) != mica_tensor_dtype(value) ||
      !mica_shape_equal(mica_archive_shape(a, i), mica_tensor_shape(value)))
    return mica_fail(
        MICA_ERR_FORMAT,
        "%s: no tensor '%s' of the expected shape; the run was started with another model, "
        "loss or optimiser",
        mica_archive_path(a), name);
  return mica_archive_read(a, i, out);
}

/* Whole numbers, which a double holds exactly up to 2^53. */
static mica_status check_counters(const double *c, const char *path) {
  static const struct {
    int at;
    double least;
    const char *name;
  } whole[] = {{0, 0, "epoch"},
               {1, 0, "step"},
               {2, 0, "step in the epoch"},
               {3, -1, "best epoch"},
               {8, 0, "stage"},
               {9, 0, "first epoch of the stage"},
               {10, 0, "number of examples"}};
  for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
    const double v = c[whole[i].at];
    if (!(v >= whole[i].least && v <= 0x1p53 && v == floor(v)))
      return mica_fail(MICA_ERR_FORMAT, "%s: run: the %s is %g, expected a whole number", path,
                       whole[i].name, v);
  }
  return MICA_OK;
}

static mica_status read_counters(const mica_archive *a, run_state *s) {
  const int64_t i = mica_archive_find(a, "run");
  mica_tensor *run;
  if (i < 0 || mica_archive_dtype(a, i) != MICA_F64 || mica_archive_shape(a, i)->rank != 1 ||
      mica_archive_shape(a, i)->dim[0] != COUNTERS)
    return mica_fail(MICA_ERR_FORMAT, "%s: no tensor 'run' of %d float64 counters",
                     mica_archive_path(a), COUNTERS);
  mica_status status = mica_archive_read(a, i, &run);
  if (status != MICA_OK) return status;
  const double *c = mica_tensor_data(run);
  status = check_counters(c, mica_archive_path(a));
  if (status == MICA_OK) {
    s->epoch = (int64_t)c[0];
    s->step = (int64_t)c[1];
    s->step_in_epoch = (int64_t)c[2];
    s->best_epoch = (int64_t)c[3];
    s->best_accuracy = c[4];
    s->best_loss = c[5];
    s->loss_sum = c[6];
    s->last_loss = c[7];
    s->stage = (int64_t)c[8];
    s->stage_epoch = (int64_t)c[9];
    s->examples = (int64_t)c[10];
  }
  mica_tensor_free(run);
  return status;
}

mica_status mica_run_state_counters(run_state *s, const char *path, bool *found) {
  *found = false;
  if (access(path, F_OK) != 0 && errno == ENOENT) return MICA_OK;
  mica_archive *a;
  mica_status status = mica_archive_open(path, &a);
  if (status != MICA_OK) return status;
  status = read_counters(a, s);
  mica_archive_close(a);
  *found = status == MICA_OK;
  return status;
}

mica_status mica_run_state_load(run_state *s, const char *path) {
  mica_archive *a;
  mica_status status = mica_archive_open(path, &a);
  if (status != MICA_OK) return status;
  tree trees[TREES];
  const int n_trees = trees_of(s, trees);
  int64_t total = 0, at = 0;
  for (int k = 0; k < n_trees; k++) total += mica_params_count(trees[k].params);
  mica_tensor **values = mica_calloc((size_t)total + 1, sizeof *values);
  if (!values) status = MICA_ERR_MEMORY;
  for (int k = 0; k < n_trees && status == MICA_OK; k++)
    for (int64_t i = 0; i < mica_params_count(trees[k].params) && status == MICA_OK; i++)
      status = read_entry(a, trees[k].prefix, mica_params_at(trees[k].params, i), &values[at++]);
  if (status == MICA_OK) status = read_masks(a, s->params, false);
  if (status == MICA_OK) status = read_counters(a, s);
  /* Everything was read: now change the state. */
  if (status == MICA_OK) status = read_masks(a, s->params, true);
  at = 0;
  for (int k = 0; k < n_trees && status == MICA_OK; k++)
    for (int64_t i = 0; i < mica_params_count(trees[k].params); i++) {
      mica_param *q = mica_params_at(trees[k].params, i);
      memcpy(mica_param_write(q), mica_tensor_data(values[at]),
             (size_t)mica_tensor_count(values[at]) *
                 mica_dtype_size(mica_tensor_dtype(values[at])));
      at++;
    }
  if (status == MICA_OK) mica_optimiser_sync(s->optimiser);
  for (int64_t i = 0; values && i < total; i++) mica_tensor_free(values[i]);
  mica_free(values);
  mica_archive_close(a);
  return status;
}
