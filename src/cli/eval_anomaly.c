/* mica eval of a model that tells anomalies: how well the score ranks, by kind of anomaly too, what
 * the threshold does, and how many normal pictures lie beyond n sigma. */
#include "cli/anomaly.h"
#include "cli/features.h"

#include "base/buffer.h"
#include "base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PIECE 64

typedef struct job {
  const cli_args *a;
  mica_model *model;
  mica_dataset *ds;
  mica_head_facts head;
  bool *normal;       /* [classes of the data set] */
  int64_t n;          /* pictures measured */
  int64_t *label;     /* [n] classes of the data set */
  bool *anomalous;    /* [n] */
  double *score, *by; /* [n], [n, outputs]; by NULL: no scores by level */
  double sigma[MICA_SIGMAS];
} job;

static bool answering(const mica_model *model, mica_head_facts *out) {
  for (int64_t i = 0; i < mica_model_heads(model); i++)
    if (mica_model_head(model, i, out) == MICA_OK && out->answers) return true;
  return false;
}

bool cli_tells_anomalies(const mica_model *model) {
  mica_head_facts facts;
  return answering(model, &facts) && facts.task == MICA_TASK_ANOMALY;
}

void cli_print_anomaly_row(const char *file, int64_t row, const mica_answer *answer, bool json) {
  const char *what = answer->label < 0 ? "anomalous" : "normal";
  if (json) printf("{\"file\": ");
  (json ? cli_print_json : cli_print_csv)(file);
  if (row) printf(json ? ", \"row\": %lld" : ",%lld", (long long)row);
  printf(json ? ", \"anomaly\": %.6g, \"answer\": \"%s\"}\n" : ",%.6g,%s\n", answer->anomaly, what);
}

void cli_print_anomaly(const char *file, const mica_answer *answer, bool json) {
  cli_print_anomaly_row(file, 0, answer, json);
}

/* ---- which are normal ---- */

static bool in_list(const char *list, const char *name) {
  const size_t n = strlen(name);
  for (const char *at = list; *at; at += strcspn(at, ","), at += *at == ',')
    if (strcspn(at, ",") == n && strncmp(at, name, n) == 0) return true;
  return false;
}

/* Those that --normal names, else those that the training part has, else "good" or "normal". */
static mica_status choose_normal(job *j) {
  const char *list = cli_text(j->a, "--normal");
  const int64_t classes = mica_dataset_classes(j->ds), all = mica_dataset_count(j->ds);
  const int64_t *label = mica_tensor_data(mica_dataset_labels(j->ds));
  const bool parts = mica_dataset_part_count(j->ds, MICA_PART_TEST) > 0 &&
                     mica_dataset_part_count(j->ds, MICA_PART_TRAIN) > 0;
  int64_t found = 0;
  for (int64_t i = 0; i < all && parts && !list; i++)
    if (mica_dataset_part_of(j->ds, i) == MICA_PART_TRAIN) j->normal[label[i]] = true;
  for (int64_t c = 0; c < classes; c++) {
    const char *name = mica_dataset_class(j->ds, c);
    if (list || !parts) j->normal[c] = in_list(list ? list : "good,normal", name);
    found += j->normal[c];
  }
  if (found) return MICA_OK;
  return mica_fail(MICA_ERR_NOT_FOUND,
                   "which pictures are normal? --normal names their classes (the first here is %s)",
                   classes ? mica_dataset_class(j->ds, 0) : "none");
}

/* ---- scores ---- */

static mica_status score_piece(job *j, mica_session *session, const mica_view *x) {
  mica_status status = mica_anomaly_score(session, x, j->score + j->n);
  if (status == MICA_OK && j->by)
    status = mica_predict_scores(session, x, j->head.outputs, j->by + j->n * j->head.outputs);
  j->n += x->shape.dim[0];
  return status;
}

static mica_status score_all(job *j) {
  const mica_preprocess *p = mica_model_preprocess(j->model);
  const int64_t size = p->height * p->width * p->channels, all = mica_dataset_count(j->ds);
  const bool test = mica_dataset_part_count(j->ds, MICA_PART_TEST) > 0;
  const int64_t *label = mica_tensor_data(mica_dataset_labels(j->ds));
  mica_session *session = NULL;
  uint8_t *pixels = mica_malloc((size_t)(PIECE * size));
  mica_status status = pixels ? mica_session_create(j->model, &session) : MICA_ERR_MEMORY;
  if (status == MICA_OK) mica_session_take_pictures(session, true);
  int64_t m = 0;
  for (int64_t i = 0; i < all && status == MICA_OK; i++) {
    const mica_part part = mica_dataset_part_of(j->ds, i);
    if (part == MICA_PART_COUNT || (test && part != MICA_PART_TEST)) continue;
    status = mica_dataset_read(j->ds, i, pixels + m * size);
    if (status != MICA_OK && mica_dataset_part_of(j->ds, i) == MICA_PART_COUNT) {
      status = MICA_OK; /* it turned out unreadable */
      continue;
    }
    j->label[j->n + m] = label[i];
    j->anomalous[j->n + m] = !j->normal[label[i]];
    if (++m < PIECE || status != MICA_OK) continue;
    const mica_view x =
        mica_view_of(pixels, MICA_U8, MICA_SHAPE(m, p->height, p->width, p->channels));
    status = score_piece(j, session, &x);
    m = 0;
    if (status == MICA_OK && cli_interrupted()) status = mica_fail(MICA_ERR_CANCELLED, "stopped");
  }
  if (m && status == MICA_OK) {
    const mica_view x =
        mica_view_of(pixels, MICA_U8, MICA_SHAPE(m, p->height, p->width, p->channels));
    status = score_piece(j, session, &x);
  }
  mica_session_free(session);
  mica_free(pixels);
  return status;
}

/* Normal pictures beyond n sigma of a level, the mean over levels; NaN where there is no law. */
static void beyond_sigma(job *j) {
  const int64_t outputs = j->head.outputs;
  double *limit = mica_malloc((size_t)outputs * sizeof *limit);
  for (int s = 0; s < MICA_SIGMAS; s++) {
    double above = 0, normal = 0;
    j->sigma[s] = NAN;
    if (!limit || !j->by ||
        mica_anomaly_thresholds(j->model, mica_sigma_share(s + 1), MICA_THRESHOLD_LAW, outputs,
                                limit) != MICA_OK)
      continue;
    for (int64_t i = 0; i < j->n; i++) {
      if (j->anomalous[i]) continue;
      normal += (double)outputs;
      for (int64_t l = 0; l < outputs; l++) above += j->by[i * outputs + l] > limit[l];
    }
    j->sigma[s] = normal > 0 ? above / normal : NAN;
  }
  mica_free(limit);
}

/* ---- telling ---- */

typedef struct measures {
  int64_t normal, anomalous;
  mica_estimate auroc, precision;
  double false_alarms, found;
} measures;

/* The AUROC of one kind of anomaly against all normal pictures; how many there are. */
static mica_status by_kind(const job *j, int64_t kind, int64_t *count, mica_estimate *out) {
  double *score = mica_malloc((size_t)(j->n + 1) * sizeof *score);
  bool *positive = mica_malloc((size_t)(j->n + 1) * sizeof *positive);
  mica_status status = score && positive ? MICA_OK : MICA_ERR_MEMORY;
  int64_t n = 0;
  *count = 0;
  for (int64_t i = 0; i < j->n && status == MICA_OK; i++) {
    if (j->anomalous[i] && j->label[i] != kind) continue;
    *count += j->anomalous[i];
    positive[n] = j->anomalous[i];
    score[n++] = j->score[i];
  }
  if (status == MICA_OK && *count) status = mica_auroc(n, score, positive, 0.95, out);
  mica_free(score);
  mica_free(positive);
  return status;
}

static mica_status measure(const job *j, measures *m) {
  const mica_engine *engine = mica_params_engine(mica_net_params(mica_model_net(j->model)));
  *m = (measures){0};
  for (int64_t i = 0; i < j->n; i++) {
    const bool above = j->score[i] > j->head.threshold;
    *(j->anomalous[i] ? &m->anomalous : &m->normal) += 1;
    *(j->anomalous[i] ? &m->found : &m->false_alarms) += above;
  }
  if (!m->normal || !m->anomalous)
    return mica_fail(
        MICA_ERR_INVALID,
        "%s: %lld normal and %lld anomalous pictures to measure, expected some of each",
        cli_text(j->a, "--data"), (long long)m->normal, (long long)m->anomalous);
  m->found /= (double)m->anomalous;
  m->false_alarms /= (double)m->normal;
  const mica_status status = mica_auroc(j->n, j->score, j->anomalous, 0.95, &m->auroc);
  return status == MICA_OK ? mica_average_precision(engine, mica_key_seed(0), j->n, j->score,
                                                    j->anomalous, 0.95, 0, &m->precision)
                           : status;
}

static mica_status print_json(const job *j, const measures *m) {
  mica_bytes b = {0};
  mica_json_writer w = {.out = &b};
  mica_status status = MICA_OK;
  mica_json_begin_object(&w);
  mica_json_put_int(&w, "normal", m->normal);
  mica_json_put_int(&w, "anomalous", m->anomalous);
  mica_json_put_double(&w, "auroc", m->auroc.value);
  mica_json_put_double(&w, "auroc_low", m->auroc.interval.lo);
  mica_json_put_double(&w, "auroc_high", m->auroc.interval.hi);
  mica_json_put_double(&w, "average_precision", m->precision.value);
  mica_json_put_double(&w, "threshold", j->head.threshold);
  mica_json_put_double(&w, "false_alarms", m->false_alarms);
  mica_json_put_double(&w, "found", m->found);
  mica_json_write_name(&w, "kinds");
  mica_json_begin_object(&w);
  for (int64_t c = 0; c < mica_dataset_classes(j->ds) && status == MICA_OK; c++) {
    mica_estimate e;
    int64_t n;
    status = by_kind(j, c, &n, &e);
    if (n && status == MICA_OK) mica_json_put_double(&w, mica_dataset_class(j->ds, c), e.value);
  }
  mica_json_end_object(&w);
  mica_json_write_name(&w, "beyond_sigma");
  mica_json_begin_array(&w);
  for (int s = 0; s < MICA_SIGMAS; s++) mica_json_write_double(&w, j->sigma[s]);
  mica_json_end_array(&w);
  mica_json_end_object(&w);
  mica_bytes_byte(&b, 0);
  if (status == MICA_OK && b.data) printf("%s\n", b.data);
  mica_bytes_free(&b);
  return status;
}

static mica_status print_text(const job *j, const measures *m) {
  mica_status status = MICA_OK;
  printf("%lld normal and %lld anomalous pictures: AUROC %.4f (%.4f to %.4f), average precision "
         "%.4f\n",
         (long long)m->normal, (long long)m->anomalous, m->auroc.value, m->auroc.interval.lo,
         m->auroc.interval.hi, m->precision.value);
  if (isfinite(j->head.threshold))
    printf("above the threshold of %.4g: %.2f%% of the anomalous, %.2f%% of the normal\n",
           j->head.threshold, 100 * m->found, 100 * m->false_alarms);
  for (int64_t c = 0; c < mica_dataset_classes(j->ds) && status == MICA_OK; c++) {
    mica_estimate e;
    int64_t n;
    status = by_kind(j, c, &n, &e);
    if (n && status == MICA_OK)
      printf("  %-20s AUROC %.4f (%.4f to %.4f), %lld pictures\n", mica_dataset_class(j->ds, c),
             e.value, e.interval.lo, e.interval.hi, (long long)n);
  }
  if (isnan(j->sigma[0]) || status != MICA_OK) return status;
  printf("normal pictures beyond n sigma of a level (mean over levels), and by the law:\n");
  for (int s = 0; s < MICA_SIGMAS; s++)
    printf("  %d sigma  %8.4f%%  %10.6f%%\n", s + 1, 100 * j->sigma[s],
           100 * mica_sigma_share(s + 1));
  return MICA_OK;
}

static mica_status run(job *j) {
  measures m;
  if (!answering(j->model, &j->head))
    return mica_fail(MICA_ERR_UNSUPPORTED, "no head of the model answers");
  mica_status status = open_pictures(j->a, j->model, cli_text(j->a, "--data"), NULL, 0, &j->ds);
  if (status != MICA_OK) return status;
  const int64_t all = mica_dataset_count(j->ds);
  j->normal = mica_calloc((size_t)mica_dataset_classes(j->ds) + 1, sizeof *j->normal);
  j->label = mica_calloc((size_t)all + 1, sizeof *j->label);
  j->anomalous = mica_calloc((size_t)all + 1, sizeof *j->anomalous);
  j->score = mica_calloc((size_t)all + 1, sizeof *j->score);
  j->by = mica_calloc((size_t)(all * j->head.outputs) + 1, sizeof *j->by);
  if (!j->normal || !j->label || !j->anomalous || !j->score || !j->by) return MICA_ERR_MEMORY;
  status = choose_normal(j);
  if (status == MICA_OK) status = score_all(j);
  if (status == MICA_OK) status = measure(j, &m);
  if (status != MICA_OK) return status;
  beyond_sigma(j);
  return (cli_on(j->a, "--json") ? print_json : print_text)(j, &m);
}

int cli_anomaly_eval(const cli_args *a, mica_model *model) {
  job j = {.a = a, .model = model};
  const mica_status status = run(&j);
  mica_free(j.normal);
  mica_free(j.label);
  mica_free(j.anomalous);
  mica_free(j.score);
  mica_free(j.by);
  mica_dataset_free(j.ds);
  return status == MICA_OK ? EXIT_OK : cli_failed(a);
}
