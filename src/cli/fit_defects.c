/* mica fit on folders of pictures with and without defects: detectors compared as published, mean
 * over folds, then over categories, beside the same network with random weights. */
#include "cli/anomaly.h"
#include "cli/taps.h"

#include "base/buffer.h"
#include "base/json.h"
#include "base/progress.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE     16
#define FOLDS_MAX 100

/* One category through one network. */
typedef struct rows {
  mica_tensor *normal, *test;
  bool *anomalous;
  int64_t n, tests, defects;
} rows;

static void rows_free(rows *r) {
  mica_tensor_free(r->normal);
  mica_tensor_free(r->test);
  mica_free(r->anomalous);
}

/* What came out of one detector on one network: sums over categories. */
typedef struct outcome {
  double *auroc; /* [categories] means over folds */
  double fold_error;
  double beyond[MICA_SIGMAS], kept;
} outcome;

typedef struct job {
  const cli_args *a;
  mica_engine *engine;
  mica_model *model, *control; /* control NULL: not wanted */
  mica_defects *defects;
  int64_t categories, folds, seed;
  outcome *found; /* [2 networks, detectors] */
  char *spec[64];
} job;

/* ---- features ---- */

static mica_status embed(mica_session *session, const mica_model *model, int64_t n,
                         const char *const *paths, float *out) {
  mica_tensor *pictures = NULL;
  mica_status status = mica_model_read(model, n, paths, &pictures);
  if (status == MICA_OK) {
    const mica_view x = mica_tensor_view(pictures);
    status = mica_embed(session, &x, out);
  }
  mica_tensor_free(pictures);
  return status;
}

static mica_status embed_category(const job *j, mica_model *model, int64_t c, rows *out) {
  const int64_t all = mica_defects_count(j->defects, c);
  const int64_t width = mica_model_features(model);
  const char *path[PIECE];
  mica_session *session = NULL;
  *out = (rows){0};
  for (int64_t i = 0; i < all; i++) {
    const mica_defect_picture *p = mica_defects_at(j->defects, c, i);
    *(p->part == MICA_PART_TRAIN ? &out->n : &out->tests) += 1;
    out->defects += p->defect;
  }
  if (!out->defects || out->defects == out->tests)
    return mica_fail(
        MICA_ERR_INVALID, "%s: %lld test pictures, %lld with a defect; expected some of each",
        mica_defects_category(j->defects, c), (long long)out->tests, (long long)out->defects);
  out->anomalous = mica_calloc((size_t)out->tests, sizeof *out->anomalous);
  mica_status status = out->anomalous ? mica_session_create(model, &session) : MICA_ERR_MEMORY;
  if (status == MICA_OK) mica_session_take_pictures(session, true);
  if (status == MICA_OK)
    status = mica_tensor_create(MICA_F32, MICA_SHAPE(out->n, width), &out->normal);
  if (status == MICA_OK)
    status = mica_tensor_create(MICA_F32, MICA_SHAPE(out->tests, width), &out->test);
  /* Training pictures stand before the others. */
  for (int64_t from = 0; from < all && status == MICA_OK;) {
    const bool training = from < out->n;
    const int64_t end = training ? out->n : all, at = training ? from : from - out->n;
    int64_t m = 0;
    for (; m < PIECE && from + m < end; m++) {
      const mica_defect_picture *p = mica_defects_at(j->defects, c, from + m);
      path[m] = p->path;
      if (!training) out->anomalous[at + m] = p->defect;
    }
    mica_tensor *to = training ? out->normal : out->test;
    status = embed(session, model, m, path, (float *)mica_tensor_data(to) + at * width);
    from += m;
    if (status == MICA_OK && cli_interrupted()) status = mica_fail(MICA_ERR_CANCELLED, "stopped");
  }
  mica_session_free(session);
  return status;
}

/* The same architecture, taps and pictures with weights drawn at random. */
static mica_status make_control(job *j) {
  const mica_net *net = mica_model_net(j->model);
  const char *name[MICA_TAPS_MAX];
  mica_net *random = NULL;
  char *text = mica_net_text(net);
  mica_problem problem = *mica_net_problem(net);
  problem.classes = 0;
  mica_status status =
      text ? mica_net_create(j->engine, text, &problem, (uint64_t)j->seed + 1, &random)
           : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < mica_net_taps(net); i++) name[i] = mica_net_tap(net, i, NULL);
  if (status == MICA_OK) status = mica_net_set_taps(random, mica_net_taps(net), name);
  if (status == MICA_OK)
    status = mica_model_create(random, mica_model_preprocess(j->model), NULL, NULL, &j->control);
  if (status != MICA_OK) mica_net_free(random);
  mica_free(text);
  return status;
}

/* ---- folds ---- */

static mica_status measure(job *j, const rows *r, int64_t c, int network) {
  const mica_view normal = mica_tensor_view(r->normal), test = mica_tensor_view(r->test);
  mica_anomaly_fold fold[FOLDS_MAX];
  double auroc[FOLDS_MAX], error;
  mica_status status = MICA_OK;
  for (int k = 0; k < j->a->n_operands && status == MICA_OK; k++) {
    outcome *o = &j->found[network * j->a->n_operands + k];
    status = mica_anomaly_folds(j->engine, j->spec[k], &normal, &test, r->anomalous,
                                (int32_t)j->folds, (uint64_t)j->seed, fold);
    for (int64_t f = 0; f < j->folds && status == MICA_OK; f++) {
      const double share = 1 / (double)(j->folds * j->categories);
      auroc[f] = fold[f].auroc;
      for (int s = 0; s < MICA_SIGMAS; s++) o->beyond[s] += fold[f].beyond[s] * share;
      o->kept += (double)fold[f].kept * share;
    }
    if (status == MICA_OK) o->auroc[c] = mica_mean_error(auroc, j->folds, &error);
    if (status == MICA_OK) o->fold_error = error;
    if (status != MICA_OK)
      status = mica_fail_within("%s, %s", mica_defects_category(j->defects, c), j->spec[k]);
  }
  return status;
}

static mica_status run_all(job *j) {
  const bool shown = isatty(2) && !cli_on(j->a, "--json");
  mica_time_left left = {0};
  mica_status status = MICA_OK;
  const int networks = j->control ? 2 : 1;
  for (int64_t c = 0; c < j->categories && status == MICA_OK; c++)
    for (int network = 0; network < networks && status == MICA_OK; network++) {
      rows r;
      status = embed_category(j, network ? j->control : j->model, c, &r);
      if (status == MICA_OK) status = measure(j, &r, c, network);
      rows_free(&r);
      const double rest = mica_time_left_update(&left, mica_seconds(), c * networks + network + 1,
                                                j->categories * networks);
      if (shown)
        fprintf(stderr, "\r\033[K%lld of %lld categories, %.0f s left", (long long)c + 1,
                (long long)j->categories, rest > 0 ? rest : 0);
    }
  if (shown) fprintf(stderr, "\r\033[K");
  return status;
}

/* ---- telling ---- */

/* Mean over categories and its error; of one category, over its folds. */
static double mean_of(const job *j, const outcome *o, double *error) {
  const double mean = mica_mean_error(o->auroc, j->categories, error);
  if (j->categories == 1) *error = o->fold_error;
  return mean;
}

static mica_status add_row(const job *j, mica_table *table, int network, int k) {
  const outcome *o = &j->found[network * j->a->n_operands + k];
  char cell[64];
  double error, mean = mean_of(j, o, &error);
  mica_status status = mica_table_text(table, network ? "random" : "given");
  if (status == MICA_OK) status = mica_table_text(table, j->a->operand[k]);
  snprintf(cell, sizeof cell, "%.2f +- %.2f %%", 100 * mean, 100 * error);
  if (status == MICA_OK) status = mica_table_shown(table, mean, cell);
  snprintf(cell, sizeof cell, "%.0f", o->kept);
  if (status == MICA_OK) status = mica_table_shown(table, o->kept, cell);
  for (int s = 0; s < 3 && status == MICA_OK; s++) {
    snprintf(cell, sizeof cell, "%.2f %%", 100 * o->beyond[s]);
    status = mica_table_shown(table, o->beyond[s], isnan(o->beyond[s]) ? "" : cell);
  }
  return status;
}

static mica_status print_table(const job *j) {
  static const char *const heads[] = {"AUROC", "kept", "beyond 1 sigma", "2", "3"};
  mica_table *table = NULL;
  char *text = NULL;
  mica_table_options o = MICA_TABLE_OPTIONS;
  mica_status status = mica_table_create(&table);
  if (status == MICA_OK) status = mica_table_column(table, "weights", MICA_ALIGN_LEFT);
  if (status == MICA_OK) status = mica_table_column(table, "detector", MICA_ALIGN_LEFT);
  for (size_t i = 0; i < sizeof heads / sizeof *heads && status == MICA_OK; i++)
    status = mica_table_column(table, heads[i], MICA_ALIGN_RIGHT);
  for (int network = 0; network <= (j->control != NULL) && status == MICA_OK; network++)
    for (int k = 0; k < j->a->n_operands && status == MICA_OK; k++)
      status = add_row(j, table, network, k);
  if (status == MICA_OK) status = mica_table_render(table, &o, &text);
  if (status == MICA_OK)
    printf("%s%lld categories, %lld folds of the training pictures: mean over folds%s, +- its "
           "standard error\nbeyond n sigma: of the left-out training pictures, the mean over "
           "levels; by the law %.2f, %.2f and %.2f %%\n",
           text, (long long)j->categories, (long long)j->folds,
           j->categories > 1 ? ", then categories" : "", 100 * mica_sigma_share(1),
           100 * mica_sigma_share(2), 100 * mica_sigma_share(3));
  mica_free(text);
  mica_table_free(table);
  return status;
}

static void print_json(const job *j) {
  for (int network = 0; network <= (j->control != NULL); network++)
    for (int k = 0; k < j->a->n_operands; k++) {
      const outcome *o = &j->found[network * j->a->n_operands + k];
      mica_bytes b = {0};
      mica_json_writer w = {.out = &b};
      double error, mean = mean_of(j, o, &error);
      mica_json_begin_object(&w);
      mica_json_put_text(&w, "weights", network ? "random" : "given");
      mica_json_put_text(&w, "estimator", j->a->operand[k]);
      mica_json_put_double(&w, "auroc", mean);
      mica_json_put_double(&w, "auroc_error", error);
      mica_json_put_double(&w, "kept", o->kept);
      mica_json_write_name(&w, "categories");
      mica_json_begin_object(&w);
      for (int64_t c = 0; c < j->categories; c++)
        mica_json_put_double(&w, mica_defects_category(j->defects, c), o->auroc[c]);
      mica_json_end_object(&w);
      mica_json_write_name(&w, "beyond_sigma");
      mica_json_begin_array(&w);
      for (int s = 0; s < MICA_SIGMAS; s++) mica_json_write_double(&w, o->beyond[s]);
      mica_json_end_array(&w);
      mica_json_end_object(&w);
      mica_bytes_byte(&b, 0);
      if (b.data) printf("%s\n", b.data);
      mica_bytes_free(&b);
    }
}

static mica_status compare(job *j) {
  mica_ints levels = {0};
  const mica_net *net = mica_model_net(j->model);
  if (!cli_int(j->a, "--folds", 2, FOLDS_MAX, &j->folds) ||
      !cli_int(j->a, "--seed", 0, INT64_MAX, &j->seed))
    return MICA_ERR_INVALID;
  mica_status status = mica_defects_open(cli_text(j->a, "--data"), &j->defects);
  if (status == MICA_OK && cli_text(j->a, "--out"))
    status =
        mica_fail(MICA_ERR_INVALID, "--out is for one detector and the folder of one category");
  if (status == MICA_OK && cli_on(j->a, "--control")) status = make_control(j);
  for (; levels.n < mica_net_taps(net); levels.n++)
    mica_net_tap(net, levels.n, &levels.v[levels.n]);
  for (int k = 0; k < j->a->n_operands && status == MICA_OK; k++)
    status = cli_with_levels(j->engine, j->a->operand[k], &levels, &j->spec[k]);
  if (status != MICA_OK) return status;
  const int64_t outcomes = 2 * j->a->n_operands;
  j->categories = mica_defects_categories(j->defects);
  j->found = mica_calloc((size_t)outcomes, sizeof *j->found);
  if (!j->found) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < outcomes; i++)
    if (!(j->found[i].auroc = mica_calloc((size_t)j->categories, sizeof(double))))
      return MICA_ERR_MEMORY;
  status = run_all(j);
  if (status != MICA_OK || !cli_on(j->a, "--json")) return status ? status : print_table(j);
  print_json(j);
  return MICA_OK;
}

int cli_defects_compare(const cli_args *a, mica_engine *engine, mica_model *model) {
  job j = {.a = a, .engine = engine, .model = model};
  const mica_status status = compare(&j);
  for (int64_t i = 0; j.found && i < 2 * a->n_operands; i++) mica_free(j.found[i].auroc);
  for (int k = 0; k < a->n_operands; k++) mica_free(j.spec[k]);
  mica_free(j.found);
  mica_defects_free(j.defects);
  mica_model_free(j.control);
  return status == MICA_OK ? EXIT_OK : cli_failed(a);
}
