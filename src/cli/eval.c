/* mica eval: a model on labelled pictures; rows of tables are measured in predict_table.c. */
#include "cli/anomaly.h"
#include "cli/features.h"
#include "cli/table.h"
#include "cli/train.h"

#include "base/buffer.h"
#include "base/json.h"
#include "base/progress.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE 64

typedef struct job {
  const cli_args *a;
  mica_engine *engine;
  mica_model *model;
  mica_dataset *ds;
  int64_t classes, known, unknown; /* of the model; examples of classes that it knows, and others */
  int64_t n, *truth, *predicted;   /* truth MICA_CLASS_NONE: a class that the model does not know */
  double *probability, *anomaly;   /* [n, classes], [n]; NaN where the model gives none */
} job;

/* The model's class for each of the data set's, by name. */
static int64_t *match_classes(const job *j) {
  const int64_t n = mica_dataset_classes(j->ds);
  int64_t *match = mica_calloc((size_t)n + 1, sizeof *match);
  for (int64_t i = 0; match && i < n; i++) {
    match[i] = MICA_CLASS_NONE;
    for (int64_t c = 0; c < j->classes && match[i] < 0; c++)
      if (strcmp(mica_model_class(j->model, c), mica_dataset_class(j->ds, i)) == 0) match[i] = c;
  }
  return match;
}

/* The items to measure: of the test part, or of all where there is none; those of known classes
 * first. */
static int64_t *choose_items(job *j, const int64_t *match) {
  const int64_t all = mica_dataset_count(j->ds);
  const bool test = mica_dataset_part_count(j->ds, MICA_PART_TEST) > 0;
  const int64_t *labels = mica_tensor_data(mica_dataset_labels(j->ds));
  int64_t *item = mica_calloc((size_t)all + 1, sizeof *item);
  j->truth = mica_calloc((size_t)all + 1, sizeof *j->truth);
  if (!item || !j->truth) {
    mica_free(item);
    return NULL;
  }
  for (int unknown = 0; unknown <= cli_on(j->a, "--unknown"); unknown++)
    for (int64_t i = 0; i < all; i++) {
      const int64_t truth = match[labels[i]];
      const mica_part part = mica_dataset_part_of(j->ds, i);
      if (part == MICA_PART_COUNT || (test && part != MICA_PART_TEST) || (truth < 0) != unknown)
        continue;
      j->truth[j->n] = truth;
      item[j->n++] = i;
      *(unknown ? &j->unknown : &j->known) += 1;
    }
  return item;
}

static mica_status answer_piece(job *j, mica_session *session, const mica_view *x, int64_t from,
                                mica_answer *answer) {
  const int64_t m = x->shape.dim[0];
  mica_status status = mica_predict(session, x, answer);
  for (int64_t i = 0; i < m && status == MICA_OK; i++) {
    j->predicted[from + i] = answer[i].label;
    j->anomaly[from + i] = answer[i].anomaly;
  }
  if (status == MICA_OK && !isnan(answer[0].probability))
    status = mica_predict_probabilities(session, x, j->classes, j->probability + from * j->classes);
  return status;
}

/* Item k turned out unreadable: it leaves the list. */
static void leave_out(job *j, int64_t *item, int64_t k) {
  *(j->truth[k] < 0 ? &j->unknown : &j->known) -= 1;
  j->n--;
  memmove(item + k, item + k + 1, (size_t)(j->n - k) * sizeof *item);
  memmove(j->truth + k, j->truth + k + 1, (size_t)(j->n - k) * sizeof *j->truth);
}

/* The pixels of up to PIECE items from number `from` on; how many there are. */
static mica_status read_piece(job *j, int64_t *item, int64_t from, uint8_t *pixels, int64_t size,
                              int64_t *m) {
  for (*m = 0; *m < PIECE && from + *m < j->n;) {
    const int64_t k = from + *m;
    const mica_status status = mica_dataset_read(j->ds, item[k], pixels + *m * size);
    if (status == MICA_OK)
      ++*m;
    else if (mica_dataset_part_of(j->ds, item[k]) == MICA_PART_COUNT)
      leave_out(j, item, k);
    else
      return status;
  }
  return MICA_OK;
}

static mica_status answer_all(job *j, int64_t *item) {
  const mica_preprocess *p = mica_model_preprocess(j->model);
  const int64_t size = p->height * p->width * p->channels;
  const bool shown = isatty(2) && !cli_on(j->a, "--json");
  mica_time_left left = {0};
  mica_session *session = NULL;
  mica_answer answer[PIECE];
  uint8_t *pixels = mica_malloc((size_t)(PIECE * size));
  j->predicted = mica_calloc((size_t)j->n + 1, sizeof *j->predicted);
  j->anomaly = mica_calloc((size_t)j->n + 1, sizeof *j->anomaly);
  j->probability = mica_calloc((size_t)(j->n * j->classes) + 1, sizeof *j->probability);
  mica_status status =
      pixels && j->predicted && j->anomaly && j->probability ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < j->n * j->classes && status == MICA_OK; i++) j->probability[i] = NAN;
  if (status == MICA_OK) status = mica_session_create(j->model, &session);
  for (int64_t from = 0, m = 0; from < j->n && status == MICA_OK; from += m) {
    status = read_piece(j, item, from, pixels, size, &m);
    const mica_view x =
        mica_view_of(pixels, MICA_U8, MICA_SHAPE(m, p->height, p->width, p->channels));
    if (status == MICA_OK && m) status = answer_piece(j, session, &x, from, answer);
    const double rest = mica_time_left_update(&left, mica_seconds(), from + m, j->n);
    if (shown)
      fprintf(stderr, "\r\033[K%lld of %lld pictures, %.0f s left", (long long)(from + m),
              (long long)j->n, rest > 0 ? rest : 0);
    if (status == MICA_OK && cli_interrupted()) status = mica_fail(MICA_ERR_CANCELLED, "stopped");
  }
  if (shown) fprintf(stderr, "\r\033[K");
  mica_session_free(session);
  mica_free(pixels);
  return status;
}

/* What is told of the answers. */
typedef struct measures {
  mica_estimate accuracy, auroc;
  double log_loss, refused, recognised; /* "none of these" among known and among unknown */
  double macro_f1, balanced_accuracy;
  mica_class_measures *by_class;
} measures;

static mica_status measure(job *j, measures *m) {
  int64_t *counts = mica_calloc((size_t)(j->classes * (j->classes + 1)) + 1, sizeof *counts);
  bool *positive = mica_calloc((size_t)j->n + 1, sizeof *positive);
  *m = (measures){.log_loss = NAN, .refused = NAN, .recognised = NAN};
  m->auroc = (mica_estimate){NAN, {NAN, NAN}};
  m->by_class = mica_calloc((size_t)j->classes + 1, sizeof *m->by_class);
  mica_status status = counts && positive && m->by_class ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK)
    status = mica_accuracy(j->known, j->truth, j->predicted, 0.95, &m->accuracy);
  if (status == MICA_OK)
    status = mica_confusion(j->known, j->truth, j->predicted, j->classes, counts);
  if (status == MICA_OK)
    status =
        mica_by_class(counts, j->classes, 0.95, m->by_class, &m->macro_f1, &m->balanced_accuracy);
  if (status == MICA_OK && !isnan(j->probability[0]))
    status = mica_log_loss(j->known, j->classes, j->probability, j->truth, &m->log_loss);
  int64_t none[2] = {0};
  for (int64_t i = 0; i < j->n && status == MICA_OK; i++) {
    positive[i] = j->truth[i] < 0;
    none[positive[i]] += j->predicted[i] < 0;
  }
  if (j->known) m->refused = (double)none[0] / (double)j->known;
  if (j->unknown) m->recognised = (double)none[1] / (double)j->unknown;
  if (status == MICA_OK && j->known && j->unknown && !isnan(j->anomaly[0]))
    status = mica_auroc(j->n, j->anomaly, positive, 0.95, &m->auroc);
  mica_free(counts);
  mica_free(positive);
  return status;
}

static void print_json(const job *j, const measures *m) {
  const struct {
    const char *name;
    double value;
  } numbers[] = {{"accuracy", m->accuracy.value},
                 {"accuracy_low", m->accuracy.interval.lo},
                 {"accuracy_high", m->accuracy.interval.hi},
                 {"balanced_accuracy", m->balanced_accuracy},
                 {"macro_f1", m->macro_f1},
                 {"loss", m->log_loss},
                 {"none_of_known", m->refused},
                 {"none_of_unknown", m->recognised},
                 {"unknown_auroc", m->auroc.value},
                 {"unknown_auroc_low", m->auroc.interval.lo},
                 {"unknown_auroc_high", m->auroc.interval.hi}};
  mica_bytes b = {0};
  mica_json_writer w = {.out = &b};
  mica_json_begin_object(&w);
  mica_json_put_int(&w, "examples", j->known);
  mica_json_put_int(&w, "unknown_examples", j->unknown);
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    mica_json_put_double(&w, numbers[i].name, numbers[i].value);
  }
  mica_json_write_name(&w, "recall");
  mica_json_begin_object(&w);
  for (int64_t c = 0; c < j->classes; c++) {
    if (!m->by_class[c].support) continue;
    mica_json_put_double(&w, mica_model_class(j->model, c), m->by_class[c].recall.value);
  }
  mica_json_end_object(&w);
  mica_json_end_object(&w);
  mica_bytes_byte(&b, 0);
  if (b.data) printf("%s\n", b.data);
  mica_bytes_free(&b);
}

static void print_text(const job *j, const measures *m) {
  printf("%lld pictures: accuracy %.2f%% (%.2f to %.2f)", (long long)j->known,
         100 * m->accuracy.value, 100 * m->accuracy.interval.lo, 100 * m->accuracy.interval.hi);
  if (!isnan(m->log_loss)) printf(", cross-entropy %.4f", m->log_loss);
  if (m->refused > 0) printf(", %.2f%% answered \"none of these\"", 100 * m->refused);
  printf("\n");
  for (int64_t c = 0; c < j->classes; c++)
    if (m->by_class[c].support)
      printf("  %-20s %6.2f%%  of %lld\n", mica_model_class(j->model, c),
             100 * m->by_class[c].recall.value, (long long)m->by_class[c].support);
  if (!j->unknown) return;
  printf("%lld pictures of classes that it does not know: %.2f%% answered \"none of these\"",
         (long long)j->unknown, 100 * m->recognised);
  if (!isnan(m->auroc.value))
    printf(", AUROC %.4f (%.4f to %.4f)", m->auroc.value, m->auroc.interval.lo,
           m->auroc.interval.hi);
  printf("\n");
}

static int eval(job *j) {
  const cli_args *a = j->a;
  const char *data = cli_text(a, "--data");
  measures m = {0};
  if (!data) return cli_usage(a, "--data is missing");
  mica_status status = cli_engine(a, &j->engine);
  if (status == MICA_OK) status = open_model(j->engine, a->operand[0], &j->model);
  if (status == MICA_OK && mica_model_tokenizer(j->model)) return cli_text_eval(a, j->model);
  if (status == MICA_OK && mica_model_columns(j->model)) return cli_table_eval(a, j->model);
  if (status == MICA_OK && cli_tells_anomalies(j->model)) return cli_anomaly_eval(a, j->model);
  if (status == MICA_OK) status = open_pictures(a, j->model, data, NULL, 0, &j->ds);
  if (status == MICA_OK) j->classes = mica_model_classes(j->model);
  int64_t *match = status == MICA_OK ? match_classes(j) : NULL;
  int64_t *item = match ? choose_items(j, match) : NULL;
  if (status == MICA_OK && !item) status = MICA_ERR_MEMORY;
  if (status == MICA_OK && !j->known)
    status = mica_fail(MICA_ERR_INVALID, "%s: no picture of a class that the model knows", data);
  if (status == MICA_OK) status = answer_all(j, item);
  if (status == MICA_OK) status = measure(j, &m);
  if (status == MICA_OK) (cli_on(a, "--json") ? print_json : print_text)(j, &m);
  mica_free(m.by_class);
  mica_free(match);
  mica_free(item);
  return status == MICA_OK ? EXIT_OK : cli_failed(a);
}

static int run(const cli_args *a) {
  job j = {.a = a};
  cli_catch_interrupt();
  const int code = eval(&j);
  mica_free(j.truth);
  mica_free(j.predicted);
  mica_free(j.anomaly);
  mica_free(j.probability);
  mica_dataset_free(j.ds);
  mica_model_free(j.model);
  mica_engine_free(j.engine);
  return code;
}

static const cli_flag flags[] = {
    {"--data", NULL, "DIR", NULL,
     "pictures or rows with labels: the test part, or all where there is none; a text for a "
     "language model"},
    {"--unknown", NULL, NULL, NULL,
     "count pictures of classes that the model does not know, which it should refuse"},
    {"--normal", NULL, "A,B", NULL,
     "anomalies: the normal classes (those of the training part, or good or normal)"},
    {"--strict", NULL, NULL, NULL, "stop at a picture or row that cannot be read"},
    CLI_COMMON_FLAGS};

const cli_verb verb_eval = {
    "eval", "MODEL", "measure a model on labelled pictures or rows, or on a text", flags, 1, 1,
    run,    NULL};
