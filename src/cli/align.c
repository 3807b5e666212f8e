/* Pairs of rows from two files of features: learnt from, matched, mapped. */
#include "cli/align.h"

#include "base/buffer.h"
#include "base/json.h"
#include "cli/features.h"
#include "cli/row_source.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SPECS_MAX   32
#define QUERIES_MAX 20000

/* ---- pairs ---- */

typedef struct pairs {
  mica_tensor *x, *y; /* [n, P], [n, Q] float32 */
  int64_t n, anchors, others;
  int64_t *order; /* [n] anchors first, then those that may be asked for */
} pairs;

static void pairs_free(pairs *p) {
  mica_tensor_free(p->x);
  mica_tensor_free(p->y);
  mica_free(p->order);
}

/* All rows of a file as float32 [n, D]. */
static mica_status read_rows(const char *path, mica_tensor **out) {
  row_source s;
  mica_tensor *raw = NULL;
  int64_t cursor = 0, m = 0;
  *out = NULL;
  mica_status status = row_source_features(path, NULL, NULL, &s);
  if (status != MICA_OK) return status;
  int64_t *which = mica_calloc((size_t)s.n + 1, sizeof *which);
  status = which ? mica_tensor_create(s.dtype, MICA_SHAPE(s.n, s.width), &raw) : MICA_ERR_MEMORY;
  if (status == MICA_OK)
    status = row_source_next(&s, &cursor, s.n, mica_tensor_data(raw), which, &m);
  if (status == MICA_OK) {
    const mica_view view = mica_tensor_view(raw);
    status = mica_tensor_from_view(&view, MICA_F32, out);
  }
  mica_tensor_free(raw);
  mica_free(which);
  row_source_close(&s);
  return status;
}

/* The part of each row, where the file tells: *out [n], or NULL. */
static mica_status read_parts(const char *path, int64_t n, mica_tensor **out) {
  mica_archive *archive;
  mica_tensor *raw = NULL;
  *out = NULL;
  mica_status status = mica_archive_open(path, &archive);
  if (status != MICA_OK) return status;
  const int64_t at = mica_archive_find(archive, "part");
  if (at >= 0) status = mica_archive_read(archive, at, &raw);
  if (status == MICA_OK && raw && mica_tensor_count(raw) != n)
    status = mica_fail(MICA_ERR_FORMAT, "%s: %lld parts for %lld rows", path,
                       (long long)mica_tensor_count(raw), (long long)n);
  if (status == MICA_OK && raw) {
    const mica_view view = mica_tensor_view(raw);
    status = mica_tensor_from_view(&view, MICA_I64, out);
  }
  mica_tensor_free(raw);
  mica_archive_close(archive);
  return status;
}

/* Anchors are the training part and the test part is asked for, or both are drawn. */
static mica_status choose(const cli_args *a, mica_tensor *part, int64_t seed, int64_t queries,
                          bool fits, pairs *p) {
  p->order = mica_calloc((size_t)p->n + 1, sizeof *p->order);
  if (!p->order) return MICA_ERR_MEMORY;
  if (part) {
    const int64_t *v = mica_tensor_data(part);
    for (int64_t i = 0; i < p->n; i++)
      if (v[i] == MICA_PART_TRAIN) p->order[p->anchors++] = i;
    for (int64_t i = 0; i < p->n; i++)
      if (v[i] == MICA_PART_TEST) p->order[p->anchors + p->others++] = i;
    return MICA_OK;
  }
  const int64_t held = queries < p->n / 5 ? queries : p->n / 5;
  int64_t wanted = fits ? p->n - held : 0;
  if (fits && cli_text(a, "--anchors") && !cli_int(a, "--anchors", 2, p->n, &wanted))
    return MICA_ERR_INVALID;
  mica_random_permutation(mica_key_fold_name(mica_key_seed((uint64_t)seed), "anchors"), p->n,
                          p->order);
  p->anchors = wanted;
  p->others = p->n - wanted;
  return MICA_OK;
}

static mica_status open_pairs(const cli_args *a, int64_t seed, int64_t queries, bool fits,
                              pairs *p) {
  const char *data = cli_text(a, "--data"), *targets = cli_text(a, "--targets");
  mica_tensor *part = NULL;
  if (!is_feature_file(data) || !is_feature_file(targets))
    return mica_fail(MICA_ERR_INVALID,
                     "--data and --targets: expected files of features (.npy, .npz, .safetensors)");
  mica_status status = read_rows(data, &p->x);
  if (status == MICA_OK) status = read_rows(targets, &p->y);
  if (status == MICA_OK) p->n = mica_tensor_dim(p->x, 0);
  if (status == MICA_OK && mica_tensor_dim(p->y, 0) != p->n)
    status = mica_fail(MICA_ERR_SHAPE, "%s: %lld rows, and %s %lld: they are no pairs", data,
                       (long long)p->n, targets, (long long)mica_tensor_dim(p->y, 0));
  if (status == MICA_OK) status = read_parts(data, p->n, &part);
  if (status == MICA_OK) status = choose(a, part, seed, queries, fits, p);
  mica_tensor_free(part);
  return status;
}

/* Rows order[0..n) of t, together. */
static float *take(const mica_tensor *t, const int64_t *order, int64_t n) {
  const int64_t d = mica_tensor_dim(t, 1);
  float *out = mica_realloc_array(NULL, (size_t)n + 1, (size_t)d * sizeof *out);
  for (int64_t i = 0; i < n && out; i++)
    memcpy(out + i * d, (const float *)mica_tensor_data(t) + order[i] * d, (size_t)d * sizeof *out);
  return out;
}

static mica_view view_of(float *rows, int64_t n, const mica_tensor *t) {
  return mica_view_of(rows, MICA_F32, MICA_SHAPE(n, mica_tensor_dim(t, 1)));
}

/* ---- matching ---- */

#define FIGURES 7
static const char *const figure_name[FIGURES] = {"matching",  "top1",      "top5",      "top10",
                                                 "back_top1", "back_top5", "back_top10"};

typedef struct contender {
  const char *spec;
  mica_estimator *estimator; /* NULL: the model's head */
  const mica_model *model;
  double mean[FIGURES], deviation[FIGURES];
} contender;

static mica_status match_once(contender *c, const pairs *p, const int64_t *order, int64_t n,
                              double figure[FIGURES]) {
  float *x = take(p->x, order, n), *y = take(p->y, order, n);
  double *score = mica_realloc_array(NULL, (size_t)n, (size_t)n * sizeof *score);
  mica_match_result r;
  mica_status status = x && y && score ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    const mica_view left = view_of(x, n, p->x), right = view_of(y, n, p->y);
    status = c->estimator ? mica_estimator_pair_scores(c->estimator, &left, &right, score)
                          : mica_head_pair_scores(c->model, &left, &right, score);
  }
  if (status == MICA_OK) status = mica_match_evaluate(n, score, NULL, NULL, &r);
  if (status == MICA_OK) {
    const double all[FIGURES] = {r.matching,  r.top1,      r.top5,      r.top10,
                                 r.back_top1, r.back_top5, r.back_top10};
    memcpy(figure, all, sizeof all);
  }
  mica_free(score);
  mica_free(y);
  mica_free(x);
  return status;
}

/* Mean and deviation over the draws. */
static mica_status match(contender *c, const pairs *p, int64_t seed, int64_t queries,
                         int64_t draws) {
  const int64_t n = queries < p->others ? queries : p->others;
  double sum[FIGURES] = {0}, square[FIGURES] = {0}, one[FIGURES];
  int64_t *order = mica_calloc((size_t)p->others + 1, sizeof *order);
  mica_status status = order ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t d = 0; d < draws && status == MICA_OK; d++) {
    const mica_key key = mica_key_fold_name(mica_key_seed((uint64_t)seed), "queries");
    mica_random_permutation(mica_key_fold(key, (uint64_t)d), p->others, order);
    for (int64_t i = 0; i < n; i++) order[i] = p->order[p->anchors + order[i]];
    status = match_once(c, p, order, n, one);
    for (int k = 0; k < FIGURES && status == MICA_OK; k++) {
      sum[k] += one[k];
      square[k] += one[k] * one[k];
    }
    if (status == MICA_OK && cli_interrupted()) status = mica_fail(MICA_ERR_CANCELLED, "stopped");
  }
  for (int k = 0; k < FIGURES && status == MICA_OK; k++) {
    c->mean[k] = sum[k] / (double)draws;
    c->deviation[k] =
        draws > 1 ? sqrt(fmax(0, square[k] - sum[k] * c->mean[k]) / (double)(draws - 1)) : NAN;
  }
  mica_free(order);
  return status;
}

static mica_status print_text(const contender *c, int n, const pairs *p, int64_t queries,
                              int64_t draws) {
  static const char *const head[FIGURES] = {"matched",    "top 1",      "top 5",      "top 10",
                                            "back top 1", "back top 5", "back top 10"};
  mica_table *t = NULL;
  char *text = NULL;
  mica_status status = mica_table_create(&t);
  if (status == MICA_OK) status = mica_table_column(t, "head", MICA_ALIGN_LEFT);
  for (int k = 0; k < FIGURES && status == MICA_OK; k++)
    status = mica_table_column(t, head[k], MICA_ALIGN_RIGHT);
  for (int i = 0; i < n && status == MICA_OK; i++) {
    status = mica_table_text(t, c[i].spec);
    for (int k = 0; k < FIGURES && status == MICA_OK; k++) {
      char cell[48];
      if (draws > 1)
        snprintf(cell, sizeof cell, "%.1f +- %.1f %%", 100 * c[i].mean[k], 100 * c[i].deviation[k]);
      else
        snprintf(cell, sizeof cell, "%.1f %%", 100 * c[i].mean[k]);
      status = mica_table_shown(t, c[i].mean[k], cell);
    }
  }
  if (status == MICA_OK) status = mica_table_render(t, NULL, &text);
  if (status == MICA_OK) {
    if (p->anchors) printf("%lld pairs learnt from; ", (long long)p->anchors);
    printf("%lld others to match, %lld draws; chance is %.2g %% for the first\n%s",
           (long long)queries, (long long)draws, 100.0 / (double)queries, text);
  }
  mica_free(text);
  mica_table_free(t);
  return status;
}

static void print_json(const contender *c, int64_t anchors, int64_t queries, int64_t draws) {
  mica_bytes b = {0};
  mica_json_writer w = {.out = &b};
  mica_json_begin_object(&w);
  mica_json_put_text(&w, "head", c->spec);
  mica_json_put_int(&w, "anchors", anchors);
  mica_json_put_int(&w, "queries", queries);
  mica_json_put_int(&w, "draws", draws);
  for (int k = 0; k < FIGURES; k++) mica_json_put_double(&w, figure_name[k], c->mean[k]);
  mica_json_end_object(&w);
  mica_bytes_byte(&b, 0);
  if (b.data) puts(b.data);
  mica_bytes_free(&b);
}

static mica_status judge(const cli_args *a, contender *c, int n, const pairs *p, int64_t seed,
                         int64_t queries, int64_t draws) {
  mica_status status = MICA_OK;
  if (p->others < 2)
    return mica_fail(MICA_ERR_INVALID, "no pairs are left to match: give fewer --anchors");
  for (int i = 0; i < n && status == MICA_OK; i++) status = match(&c[i], p, seed, queries, draws);
  const int64_t asked = queries < p->others ? queries : p->others;
  if (status == MICA_OK && !cli_on(a, "--json")) return print_text(c, n, p, asked, draws);
  for (int i = 0; i < n && status == MICA_OK; i++) print_json(&c[i], p->anchors, asked, draws);
  return status;
}

static bool numbers(const cli_args *a, int64_t *seed, int64_t *queries, int64_t *draws) {
  return cli_int(a, "--seed", 0, INT64_MAX, seed) &&
         cli_int(a, "--queries", 2, QUERIES_MAX, queries) && cli_int(a, "--draws", 1, 1000, draws);
}

/* ---- the verbs ---- */

static mica_status learn(const mica_engine *engine, contender *c, const pairs *p, const float *x,
                         const float *y) {
  mica_fit_data data = MICA_FIT_DATA;
  mica_fit_report report = {.size = sizeof report};
  const mica_view target = view_of((float *)(uintptr_t)y, p->anchors, p->y);
  data.x = view_of((float *)(uintptr_t)x, p->anchors, p->x);
  data.target = &target;
  mica_status status = mica_estimator_create(engine, c->spec, &c->estimator);
  if (status == MICA_OK) status = mica_estimator_fit(c->estimator, &data, &report);
  if (status == MICA_OK && *report.note) fprintf(stderr, "%s: %s\n", c->spec, report.note);
  return status;
}

/* A model of rows with the best estimator as its head; takes the estimator over. */
static mica_status write_model(mica_engine *engine, contender *best, int64_t width,
                               const char *out) {
  const mica_problem problem = MICA_PROBLEM_ROWS(width, 0);
  const mica_preprocess p = MICA_PREPROCESS(0, 0, width);
  mica_net *net = NULL;
  mica_model *model = NULL;
  char name[65];
  snprintf(name, sizeof name, "%.*s", (int)strcspn(best->spec, ":"), best->spec);
  mica_status status = mica_net_create(engine, "identity", &problem, 0, &net);
  if (status == MICA_OK) status = mica_model_create(net, &p, NULL, NULL, &model);
  if (status != MICA_OK) {
    mica_net_free(net);
    return status;
  }
  status = mica_model_put_head(model, name, best->estimator, NULL);
  if (status == MICA_OK) best->estimator = NULL;
  if (status == MICA_OK) status = mica_model_answer_with(model, name);
  if (status == MICA_OK) status = mica_model_save(model, out);
  mica_model_free(model);
  return status;
}

static bool is_align(const char *spec) {
  return strncmp(spec, "align", 5) == 0 && (!spec[5] || spec[5] == ':');
}

bool cli_aligns(const cli_args *a, const mica_model *model) {
  mica_head_facts facts = {0};
  for (int i = 0; !model && i < a->n_operands; i++)
    if (is_align(a->operand[i])) return true;
  for (int64_t i = 0; model && i < mica_model_heads(model); i++)
    if (mica_model_head(model, i, &facts) == MICA_OK && facts.answers)
      return is_align(facts.estimator);
  return false;
}

int cli_align_fit(const cli_args *a, mica_engine *engine) {
  const char *out = cli_text(a, "--out");
  int64_t seed, queries, draws;
  contender c[SPECS_MAX] = {{0}};
  pairs p = {0};
  float *x = NULL, *y = NULL;
  const int n = a->n_operands;
  if (!numbers(a, &seed, &queries, &draws)) return EXIT_USAGE;
  mica_status status = open_pairs(a, seed, queries, true, &p);
  if (status == MICA_OK) {
    x = take(p.x, p.order, p.anchors);
    y = take(p.y, p.order, p.anchors);
    if (!x || !y) status = MICA_ERR_MEMORY;
  }
  for (int i = 0; i < n && status == MICA_OK; i++) {
    c[i].spec = a->operand[i];
    status = learn(engine, &c[i], &p, x, y);
  }
  if (status == MICA_OK && (n > 1 || !out || p.others > 1))
    status = judge(a, c, n, &p, seed, queries, draws);
  int best = 0;
  for (int i = 1; i < n; i++)
    if (c[i].mean[0] > c[best].mean[0]) best = i;
  if (status == MICA_OK && out)
    status = write_model(engine, &c[best], mica_tensor_dim(p.x, 1), out);
  for (int i = 0; i < n; i++) mica_estimator_free(c[i].estimator);
  mica_free(x);
  mica_free(y);
  pairs_free(&p);
  if (status != MICA_OK) return cli_failed(a);
  if (out) cli_result(a, "model", out);
  return EXIT_OK;
}

int cli_align_eval(const cli_args *a, mica_model *model) {
  int64_t seed, queries, draws;
  mica_head_facts facts = {0};
  pairs p = {0};
  if (!numbers(a, &seed, &queries, &draws)) return EXIT_USAGE;
  mica_status status = open_pairs(a, seed, queries, false, &p);
  for (int64_t i = 0; i < mica_model_heads(model) && !facts.answers && status == MICA_OK; i++)
    status = mica_model_head(model, i, &facts);
  contender c = {.spec = facts.estimator, .model = model};
  if (status == MICA_OK) {
    const int64_t anchors = p.anchors; /* the training part is not asked for */
    memmove(p.order, p.order + anchors, (size_t)p.others * sizeof *p.order);
    p.anchors = 0;
    status = judge(a, &c, 1, &p, seed, queries, draws);
  }
  pairs_free(&p);
  return status == MICA_OK ? EXIT_OK : cli_failed(a);
}

int cli_align_embed(const cli_args *a, mica_model *model, mica_session *session, const char *out) {
  const bool second = cli_on(a, "--targets");
  mica_head_facts facts = {0};
  mica_status status = MICA_OK;
  double *rows = NULL;
  int64_t n = 0, k = 0;
  if (!out) out = "features.npy";
  for (int64_t i = 0; i < mica_model_heads(model) && !facts.answers && status == MICA_OK; i++)
    status = mica_model_head(model, i, &facts);
  k = facts.outputs;
  if (status == MICA_OK && (!facts.answers || facts.task != MICA_TASK_REGRESSION))
    status = mica_fail(MICA_ERR_UNSUPPORTED, "features go through heads that align two spaces, and "
                                             "no such head answers for this model");
  mica_session_take_features(session, true);
  for (int i = 1; i < a->n_operands && status == MICA_OK; i++) {
    mica_tensor *x = NULL;
    status = read_rows(a->operand[i], &x);
    const int64_t m = x ? mica_tensor_dim(x, 0) : 0;
    double *more = status == MICA_OK
                       ? mica_realloc_array(rows, (size_t)(n + m) + 1, (size_t)k * sizeof *rows)
                       : NULL;
    if (status == MICA_OK && !more) status = MICA_ERR_MEMORY;
    if (more) rows = more;
    const mica_view view = x ? mica_tensor_view(x) : (mica_view){0};
    if (status == MICA_OK)
      status = second ? mica_head_targets(model, &view, rows + n * k)
                      : mica_predict_scores(session, &view, k, rows + n * k);
    if (status != MICA_OK && more) status = mica_fail_within("%s", a->operand[i]);
    n += m;
    mica_tensor_free(x);
  }
  if (status == MICA_OK) {
    const mica_view view = mica_view_of(rows, MICA_F64, MICA_SHAPE(n, k));
    status = mica_npy_write(out, &view);
  }
  mica_free(rows);
  if (status != MICA_OK) return cli_failed(a);
  if (!cli_on(a, "--json")) printf("%lld rows of %lld columns\n", (long long)n, (long long)k);
  cli_result(a, "features", out);
  return EXIT_OK;
}
