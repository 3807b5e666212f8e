/* Flags that say where features are taken, for the verbs that take them. */
#include "cli/taps.h"

#include "base/progress.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static mica_status set_taps(mica_model *model, const char *taps) {
  const char *name[MICA_TAPS_MAX];
  int64_t n = 0;
  mica_status status = MICA_OK;
  char *list = mica_strdup(taps), *rest = list;
  if (!list) return MICA_ERR_MEMORY;
  for (char *item; status == MICA_OK && (item = strsep(&rest, ","));) {
    if (n == MICA_TAPS_MAX)
      status = mica_fail(MICA_ERR_INVALID, "--taps: at most %d names", MICA_TAPS_MAX);
    else if (*item)
      name[n++] = item;
  }
  if (status == MICA_OK) status = mica_model_set_taps(model, n, name);
  mica_free(list);
  return status;
}

static mica_status set_parts(const cli_args *a, mica_model *model) {
  mica_model_views v = MICA_MODEL_VIEWS;
  const char *angle;
  if (!cli_text(a, "--views") && cli_all(a, "--angle", &angle, 1))
    return mica_fail(MICA_ERR_INVALID, "--angle goes with --views");
  if (!cli_text(a, "--views") && !cli_text(a, "--regions")) return MICA_OK;
  if (cli_text(a, "--views") && cli_text(a, "--regions"))
    return mica_fail(MICA_ERR_INVALID, "--views and --regions: one of the two");
  if (!cli_double(a, "--angle", -180, 180, &v.angle)) return MICA_ERR_INVALID;
  if (cli_text(a, "--regions")) v.views = 0;
  if (cli_text(a, "--views") ? !cli_int(a, "--views", 8, 16, &v.views)
                             : !cli_int(a, "--regions", 1, 8, &v.regions))
    return MICA_ERR_INVALID;
  return mica_model_set_views(model, &v);
}

mica_status cli_taps(const cli_args *a, mica_model *model) {
  const char *taps = cli_text(a, "--taps"), *resize = cli_text(a, "--resize");
  mica_status status = MICA_OK;
  if (resize && strcmp(resize, "whole") != 0 && strcmp(resize, "cover") != 0)
    return mica_fail(MICA_ERR_INVALID, "--resize is '%s', expected whole or cover", resize);
  if (resize) status = mica_model_set_fit(model, *resize == 'w' ? MICA_FIT_WHOLE : MICA_FIT_COVER);
  const int64_t heads = mica_model_heads(model);
  if (status == MICA_OK && taps) status = set_taps(model, taps);
  if (status == MICA_OK) status = set_parts(a, model);
  if (status == MICA_OK && mica_model_heads(model) < heads)
    fprintf(stderr, "the model's %lld heads read other features and are left out\n",
            (long long)heads);
  return status;
}

/* ---- specifications ---- */

mica_status cli_with_parts(const mica_engine *engine, const char *spec, int64_t parts, char **out) {
  mica_spec *s = NULL;
  char number[24];
  *out = NULL;
  mica_status status = mica_spec_parse(engine, MICA_KIND_ESTIMATOR, spec, &s);
  if (status != MICA_OK) return status;
  const mica_component *c = mica_spec_component(s);
  snprintf(number, sizeof number, "%lld", (long long)parts);
  if (strcmp(c->name, "transformed") == 0) {
    status = mica_options_set(s, c->options, mica_spec_options_mut(s), "views", number);
    if (status == MICA_OK && !(*out = mica_spec_text(s))) status = MICA_ERR_MEMORY;
  } else {
    const size_t room = strlen(spec) + 80;
    if ((*out = mica_malloc(room)))
      snprintf(*out, room, "transformed:views=%s:with=(%s)", number, spec);
    else
      status = MICA_ERR_MEMORY;
  }
  mica_spec_free(s);
  return status;
}

mica_status cli_with_levels(const mica_engine *engine, const char *spec, const mica_ints *levels,
                            char **out) {
  mica_spec *s = NULL;
  char text[24 * MICA_LIST_MAX] = "";
  size_t at = 0;
  *out = NULL;
  mica_status status = mica_spec_parse(engine, MICA_KIND_ESTIMATOR, spec, &s);
  if (status != MICA_OK) return status;
  const mica_option *row = mica_spec_component(s)->options;
  while (row && row->name && strcmp(row->name, "levels") != 0) row++;
  const bool has = row && row->name && row->type == MICA_OPTION_INTS;
  const mica_ints *said =
      has ? (const mica_ints *)(const void *)((const char *)mica_spec_options(s) + row->offset)
          : NULL;
  if (has && !said->n && levels->n > 1) {
    for (int i = 0; i < levels->n; i++)
      at += (size_t)snprintf(text + at, sizeof text - at, "%s%lld", i ? "," : "",
                             (long long)levels->v[i]);
    status = mica_options_set(s, mica_spec_component(s)->options, mica_spec_options_mut(s),
                              "levels", text);
    if (status == MICA_OK && !(*out = mica_spec_text(s))) status = MICA_ERR_MEMORY;
  } else if (!(*out = mica_strdup(spec))) {
    status = MICA_ERR_MEMORY;
  }
  mica_spec_free(s);
  return status;
}

/* ---- augmented passes ---- */

/* A stream of which every pass is one later epoch: evaluation always asks for the first. */
typedef struct later {
  const mica_stream *inner;
  int64_t pass;
} later;

static mica_status later_seek(void *ctx, int64_t epoch, int64_t batch) {
  const later *l = ctx;
  return l->inner->seek(l->inner->ctx, l->pass + epoch, batch);
}

static mica_status later_next(void *ctx, mica_batch *batch) {
  const later *l = ctx;
  return l->inner->next(l->inner->ctx, batch);
}

mica_status features_augment(const cli_args *a, mica_model *model, const mica_dataset *ds,
                             int64_t passes, int64_t crop, bool flip, uint64_t seed, features *f) {
  feature_part *part = &f->part[MICA_PART_TRAIN];
  const bool shown = isatty(2) && !cli_on(a, "--json");
  mica_dataset_stream_options o = MICA_DATASET_STREAM_OPTIONS;
  mica_stream inner = {0};
  mica_time_left left = {0};
  mica_tensor *x = NULL;
  int64_t at = 0;
  const int64_t room = passes * part->n, width = f->width;
  o.batch = 64;
  o.crop = crop;
  o.flip = flip;
  o.seed = seed;
  int64_t *label = mica_calloc((size_t)(room > 0 ? room : 1), sizeof *label);
  mica_status status = label ? mica_tensor_create(MICA_F32, MICA_SHAPE(room, width), &x)
                             : mica_fail(MICA_ERR_MEMORY, "out of memory");
  if (status == MICA_OK)
    status =
        mica_dataset_stream_create(ds, MICA_PART_TRAIN, mica_model_preprocess(model), &o, &inner);
  for (int64_t pass = 0; pass < passes && status == MICA_OK; pass++) {
    later l = {&inner, pass};
    mica_stream outer = inner;
    mica_evaluation e = {0};
    outer.ctx = &l;
    outer.seek = later_seek;
    outer.next = later_next;
    status = mica_evaluate(mica_model_net(model), &outer, false, true, &e);
    if (status == MICA_OK && at + e.n > room)
      status = mica_fail(MICA_ERR_STATE, "a pass of %lld pictures, expected %lld", (long long)e.n,
                         (long long)part->n);
    if (status == MICA_OK) {
      memcpy((float *)mica_tensor_data(x) + at * width, mica_tensor_data(e.features),
             (size_t)(e.n * width) * sizeof(float));
      memcpy(label + at, mica_tensor_data(e.labels), (size_t)e.n * sizeof *label);
      at += e.n;
    }
    mica_evaluation_clear(&e);
    const double rest = mica_time_left_update(&left, mica_seconds(), pass + 1, passes);
    if (shown)
      fprintf(stderr, "\r\033[Kpass %lld of %lld, %.0f s left", (long long)pass + 1,
              (long long)passes, rest > 0 ? rest : 0);
    if (status == MICA_OK && cli_interrupted()) status = mica_fail(MICA_ERR_CANCELLED, "stopped");
  }
  if (shown) fprintf(stderr, "\r\033[K");
  if (inner.ctx) mica_dataset_stream_free(&inner);
  if (status == MICA_OK) {
    mica_tensor_free(part->x);
    mica_free(part->label);
    part->x = NULL;
    part->label = label;
    part->n = at;
    label = NULL;
    status = mica_tensor_slice(x, 0, at, &part->x);
  }
  mica_free(label);
  mica_tensor_free(x);
  return status;
}
