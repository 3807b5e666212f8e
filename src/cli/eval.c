/* mica eval: a model, or two on the same examples, on labelled pictures or files of features; rows
 * of tables are measured in predict_table.c. */
#include "cli/align.h"
#include "cli/anomaly.h"
#include "cli/classes.h"
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
  double *score, *anomaly;         /* [n, classes], [n]; NaN where the model gives none */
  bool scored, probable;           /* there are scores, and they are probabilities */
  features f;                      /* where the data are a file of features */
  int64_t *trained;                /* [classes] training examples in the data; NULL: not known */
} job;

/* Examples in a file of features rather than pictures. */
static bool of_features(const job *j) {
  return is_feature_file(cli_text(j->a, "--data"));
}

static const char *what(const job *j) {
  return of_features(j) ? "rows" : "pictures";
}

static int64_t data_classes(const job *j) {
  return of_features(j) ? j->f.classes : mica_dataset_classes(j->ds);
}

static const char *data_class(const job *j, int64_t i) {
  return of_features(j) ? j->f.names[i] : mica_dataset_class(j->ds, i);
}

/* The model's class for each of the data set's, by name. */
static int64_t *match_classes(const job *j) {
  const int64_t n = data_classes(j);
  int64_t *match = mica_calloc((size_t)n + 1, sizeof *match);
  for (int64_t i = 0; match && i < n; i++) {
    match[i] = MICA_CLASS_NONE;
    for (int64_t c = 0; c < j->classes && match[i] < 0; c++)
      if (strcmp(mica_model_class(j->model, c), data_class(j, i)) == 0) match[i] = c;
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

/* What the model's answers can be ranked by: probabilities, or as many scores as classes. */
static void find_scores(job *j, const mica_answer *answer) {
  mica_head_facts facts = {0};
  j->probable = j->scored = !isnan(answer->probability);
  for (int64_t i = 0; i < mica_model_heads(j->model) && !j->scored; i++)
    j->scored = mica_model_head(j->model, i, &facts) == MICA_OK && facts.answers &&
                facts.outputs == j->classes;
}

static mica_status answer_piece(job *j, mica_session *session, const mica_view *x, int64_t from,
                                mica_answer *answer) {
  const int64_t m = x->shape.dim[0];
  double *score = j->score + from * j->classes;
  mica_status status = mica_predict(session, x, answer);
  for (int64_t i = 0; i < m && status == MICA_OK; i++) {
    j->predicted[from + i] = answer[i].label;
    j->anomaly[from + i] = answer[i].anomaly;
  }
  if (status == MICA_OK && !from) find_scores(j, answer);
  if (status == MICA_OK && j->scored)
    status = j->probable ? mica_predict_probabilities(session, x, j->classes, score)
                         : mica_predict_scores(session, x, j->classes, score);
  return status;
}

static mica_status make_room(job *j) {
  j->predicted = mica_calloc((size_t)j->n + 1, sizeof *j->predicted);
  j->anomaly = mica_calloc((size_t)j->n + 1, sizeof *j->anomaly);
  j->score = mica_calloc((size_t)(j->n * j->classes) + 1, sizeof *j->score);
  return j->predicted && j->anomaly && j->score ? MICA_OK : MICA_ERR_MEMORY;
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

static mica_status answer_pictures(job *j, int64_t *item) {
  const mica_preprocess *p = mica_model_preprocess(j->model);
  const int64_t size = p->height * p->width * p->channels;
  const bool shown = isatty(2) && !cli_on(j->a, "--json");
  mica_time_left left = {0};
  mica_session *session = NULL;
  mica_answer answer[PIECE];
  uint8_t *pixels = mica_malloc((size_t)(PIECE * size));
  mica_status status = pixels ? make_room(j) : MICA_ERR_MEMORY;
  if (status == MICA_OK) status = mica_session_create(j->model, &session);
  if (status == MICA_OK) mica_session_take_pictures(session, true);
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

/* ---- files of features ---- */

/* The rows of the test part, or all where there is none: known classes first; labels by name. */
static mica_status answer_features(job *j, const int64_t *match) {
  const int64_t width = j->f.width, net = mica_model_features(j->model);
  const bool test = j->f.part[MICA_PART_TEST].n > 0;
  int64_t all = 0;
  mica_session *session = NULL;
  mica_answer answer[PIECE];
  float *x = NULL;
  for (int k = 0; k < MICA_PART_COUNT; k++) all += j->f.part[k].n;
  if (width != net)
    return mica_fail(MICA_ERR_SHAPE, "%s: rows of %lld features, the model's network gives %lld",
                     cli_text(j->a, "--data"), (long long)width, (long long)net);
  j->truth = mica_calloc((size_t)all + 1, sizeof *j->truth);
  x = mica_malloc((size_t)(all * width + 1) * sizeof *x);
  mica_status status = j->truth && x ? MICA_OK : MICA_ERR_MEMORY;
  for (int unknown = 0; unknown <= cli_on(j->a, "--unknown") && status == MICA_OK; unknown++)
    for (int k = 0; k < MICA_PART_COUNT; k++) {
      const feature_part *part = &j->f.part[k];
      for (int64_t i = 0; i < part->n && (!test || k == MICA_PART_TEST); i++) {
        const int64_t truth = match[part->label[i]];
        if ((truth < 0) != unknown) continue;
        memcpy(x + j->n * width, (const float *)mica_tensor_data(part->x) + i * width,
               (size_t)width * sizeof *x);
        j->truth[j->n++] = truth;
        *(unknown ? &j->unknown : &j->known) += 1;
      }
    }
  if (status == MICA_OK) status = make_room(j);
  if (status == MICA_OK) status = mica_session_create(j->model, &session);
  if (status == MICA_OK) mica_session_take_features(session, true);
  for (int64_t from = 0; from < j->n && status == MICA_OK; from += PIECE) {
    const int64_t m = j->n - from < PIECE ? j->n - from : PIECE;
    const mica_view v = mica_view_of(x + from * width, MICA_F32, MICA_SHAPE(m, width));
    status = answer_piece(j, session, &v, from, answer);
  }
  mica_session_free(session);
  mica_free(x);
  return status;
}

/* Examples of each class that the model was fitted on, else those of the data's training part,
 * where they have one. */
static mica_status count_training(job *j, const int64_t *match) {
  const feature_part *part = &j->f.part[MICA_PART_TRAIN];
  const bool rows = of_features(j);
  const int64_t n = rows ? part->n : mica_dataset_count(j->ds);
  const int64_t *label = rows ? part->label : mica_tensor_data(mica_dataset_labels(j->ds));
  j->trained = mica_calloc((size_t)j->classes + 1, sizeof *j->trained);
  if (!j->trained) return MICA_ERR_MEMORY;
  if (mica_model_examples(j->model, j->classes, j->trained)) return MICA_OK;
  if (rows ? !part->n || !j->f.part[MICA_PART_TEST].n
           : !mica_dataset_part_count(j->ds, MICA_PART_TRAIN) ||
                 !mica_dataset_part_count(j->ds, MICA_PART_TEST)) {
    mica_free(j->trained);
    j->trained = NULL;
    return MICA_OK;
  }
  for (int64_t i = 0; i < n; i++)
    if (match[label[i]] >= 0 && (rows || mica_dataset_part_of(j->ds, i) == MICA_PART_TRAIN))
      j->trained[match[label[i]]]++;
  return MICA_OK;
}

/* ---- what is told of the answers ---- */

typedef struct measures {
  class_measures of;
  mica_estimate auroc;        /* of the unknown against the known */
  double refused, recognised; /* "none of these" among known and among unknown */
} measures;

static mica_status measure(job *j, const class_answers *c, measures *m) {
  bool *positive = mica_calloc((size_t)j->n + 1, sizeof *positive);
  *m = (measures){.refused = NAN, .recognised = NAN, .auroc = {NAN, {NAN, NAN}}};
  mica_status status = positive ? class_measure(j->a, j->engine, c, &m->of) : MICA_ERR_MEMORY;
  int64_t none[2] = {0};
  for (int64_t i = 0; i < j->n && status == MICA_OK; i++) {
    positive[i] = j->truth[i] < 0;
    none[positive[i]] += j->predicted[i] < 0;
  }
  if (j->known) m->refused = (double)none[0] / (double)j->known;
  if (j->unknown) m->recognised = (double)none[1] / (double)j->unknown;
  if (status == MICA_OK && j->known && j->unknown && !isnan(j->anomaly[0]))
    status = mica_auroc(j->n, j->anomaly, positive, 0.95, &m->auroc);
  mica_free(positive);
  return status;
}

/* The first model against the second on the same examples. */
static mica_status compare(const job *j, const job *other, mica_comparison *out) {
  int64_t *second = mica_malloc((size_t)(j->known + 1) * sizeof *second);
  if (!second) return MICA_ERR_MEMORY;
  mica_status status = MICA_OK;
  if (other->known != j->known)
    status = mica_fail(MICA_ERR_INVALID,
                       "the models know the classes of %lld and of %lld of the examples: two are "
                       "compared on the same",
                       (long long)j->known, (long long)other->known);
  for (int64_t i = 0; i < j->known && status == MICA_OK; i++) {
    const char *truth = mica_model_class(j->model, j->truth[i]);
    if (strcmp(truth, mica_model_class(other->model, other->truth[i])) != 0)
      status = mica_fail(MICA_ERR_INVALID, "the models know different classes of the examples");
    second[i] = other->predicted[i] == other->truth[i] ? j->truth[i] : MICA_CLASS_NONE;
  }
  if (status == MICA_OK) status = mica_compare(j->known, j->truth, j->predicted, second, 0.95, out);
  mica_free(second);
  return status;
}

static void print_json(const job *j, const class_answers *c, const measures *m,
                       const mica_comparison *pair) {
  mica_bytes b = {0};
  mica_json_writer w = {.out = &b};
  mica_json_begin_object(&w);
  mica_json_put_int(&w, "examples", j->known);
  mica_json_put_int(&w, "unknown_examples", j->unknown);
  class_write_json(&w, c, &m->of);
  mica_json_put_double(&w, "none_of_known", m->refused);
  mica_json_put_double(&w, "none_of_unknown", m->recognised);
  mica_json_put_double(&w, "unknown_auroc", m->auroc.value);
  mica_json_put_double(&w, "unknown_auroc_low", m->auroc.interval.lo);
  mica_json_put_double(&w, "unknown_auroc_high", m->auroc.interval.hi);
  if (pair) {
    mica_json_put_double(&w, "difference", pair->difference.value);
    mica_json_put_double(&w, "difference_low", pair->difference.interval.lo);
    mica_json_put_double(&w, "difference_high", pair->difference.interval.hi);
    mica_json_put_double(&w, "p_value", pair->p_value);
  }
  mica_json_end_object(&w);
  mica_bytes_byte(&b, 0);
  if (b.data) printf("%s\n", b.data);
  mica_bytes_free(&b);
}

static void print_text(const job *j, const class_answers *c, const measures *m,
                       const mica_comparison *pair) {
  const mica_estimate *a = &m->of.accuracy;
  printf("%lld %s: accuracy %.2f%% (%.2f to %.2f)", (long long)j->known, what(j), 100 * a->value,
         100 * a->interval.lo, 100 * a->interval.hi);
  if (!isnan(m->of.log_loss)) printf(", cross-entropy %.4f", m->of.log_loss);
  if (m->refused > 0) printf(", %.2f%% answered \"none of these\"", 100 * m->refused);
  printf("\n");
  class_print(c, &m->of);
  if (j->unknown) {
    printf("%lld %s of classes that it does not know: %.2f%% answered \"none of these\"",
           (long long)j->unknown, what(j), 100 * m->recognised);
    if (!isnan(m->auroc.value))
      printf(", AUROC %.4f (%.4f to %.4f)", m->auroc.value, m->auroc.interval.lo,
             m->auroc.interval.hi);
    printf("\n");
  }
  if (pair)
    printf(
        "%s is more accurate than %s by %.2f%% (%.2f to %.2f), p = %.3g: %lld right by the first "
        "alone, %lld by the second\n",
        j->a->operand[0], j->a->operand[1], 100 * pair->difference.value,
        100 * pair->difference.interval.lo, 100 * pair->difference.interval.hi, pair->p_value,
        (long long)pair->first, (long long)pair->second);
}

/* Everything that is told of the first model, and of it against the second. */
static mica_status tell(job *j, const job *other) {
  const char *folder = cli_text(j->a, "--report");
  const char **names = mica_calloc((size_t)j->classes + 1, sizeof *names);
  measures m = {0};
  mica_comparison pair;
  if (!names) return MICA_ERR_MEMORY;
  for (int64_t c = 0; c < j->classes; c++) names[c] = mica_model_class(j->model, c);
  const class_answers c = {.what = what(j),
                           .n = j->known,
                           .classes = j->classes,
                           .names = names,
                           .truth = j->truth,
                           .predicted = j->predicted,
                           .score = j->scored ? j->score : NULL,
                           .probable = j->probable,
                           .trained = j->trained};
  mica_status status = measure(j, &c, &m);
  if (status == MICA_OK && other) status = compare(j, other, &pair);
  if (status == MICA_OK && folder) status = class_report(j->a, &c, &m.of, folder);
  if (status == MICA_OK)
    (cli_on(j->a, "--json") ? print_json : print_text)(j, &c, &m, other ? &pair : NULL);
  if (status == MICA_OK && folder) cli_result(j->a, "report", folder);
  class_measures_free(&m.of);
  mica_free(names);
  return status;
}

/* The answers of the model to the examples that --data names. */
static mica_status answer(job *j) {
  const char *data = cli_text(j->a, "--data");
  int64_t *item = NULL;
  mica_status status = of_features(j) ? features_read(data, cli_text(j->a, "--labels"), 0, 0, &j->f)
                                      : open_pictures(j->a, j->model, data, NULL, 0, &j->ds);
  for (int k = 0; k < MICA_PART_COUNT && status == MICA_OK; k++)
    if (j->f.part[k].n && !j->f.part[k].label)
      status = mica_fail(MICA_ERR_NOT_FOUND, "%s: no labels; --labels names a file of them", data);
  if (status != MICA_OK) return status;
  j->classes = mica_model_classes(j->model);
  int64_t *match = match_classes(j);
  if (!match) return MICA_ERR_MEMORY;
  if (of_features(j)) {
    status = answer_features(j, match);
  } else {
    item = choose_items(j, match);
    status = !item ? MICA_ERR_MEMORY : j->known ? answer_pictures(j, item) : MICA_OK;
  }
  if (status == MICA_OK && !j->known)
    status = mica_fail(MICA_ERR_INVALID, "%s: no example of a class that the model knows", data);
  if (status == MICA_OK) status = count_training(j, match);
  mica_free(match);
  mica_free(item);
  return status;
}

static bool classifies(const mica_model *m) {
  return !mica_model_tokenizer(m) && !mica_model_columns(m) && !cli_tells_anomalies(m);
}

static int eval(job *j, job *other) {
  const cli_args *a = j->a;
  if (!cli_text(a, "--data")) return cli_usage(a, "--data is missing");
  mica_status status = cli_engine(a, &j->engine);
  if (status == MICA_OK) status = open_model(j->engine, a->operand[0], &j->model);
  if (status == MICA_OK && other) status = open_model(j->engine, a->operand[1], &other->model);
  if (status == MICA_OK && other && !(classifies(j->model) && classifies(other->model)))
    return cli_usage(a, "two models are compared where both tell classes of pictures or features");
  if (status == MICA_OK && cli_text(a, "--targets")) return cli_align_eval(a, j->model);
  if (status == MICA_OK && cli_aligns(a, j->model))
    return cli_usage(a, "the model aligns two spaces: --targets FILE has what belongs to --data");
  if (status == MICA_OK && mica_model_tokenizer(j->model) &&
      !mica_model_preprocess(j->model)->height)
    return cli_text_eval(a, j->model);
  if (status == MICA_OK && mica_model_tokenizer(j->model) && !mica_model_heads(j->model))
    return cli_pairs_eval(a, j->model);
  if (status == MICA_OK && mica_model_columns(j->model) && !of_features(j))
    return cli_table_eval(a, j->model);
  if (status == MICA_OK && cli_tells_anomalies(j->model)) return cli_anomaly_eval(a, j->model);
  if (status == MICA_OK) status = answer(j);
  if (status == MICA_OK && other) status = answer(other);
  if (status == MICA_OK) status = tell(j, other);
  return status == MICA_OK ? EXIT_OK : cli_failed(a);
}

static void job_free(job *j) {
  mica_free(j->truth);
  mica_free(j->predicted);
  mica_free(j->anomaly);
  mica_free(j->score);
  mica_free(j->trained);
  features_free(&j->f);
  mica_dataset_free(j->ds);
  mica_model_free(j->model);
}

static int run(const cli_args *a) {
  job j = {.a = a}, other = {.a = a};
  cli_catch_interrupt();
  const int code = eval(&j, a->n_operands > 1 ? &other : NULL);
  job_free(&j);
  job_free(&other);
  mica_engine_free(j.engine);
  return code;
}

static const cli_flag flags[] = {
    {"--data", NULL, "DIR", NULL,
     "pictures, rows or a file of features with labels: the test part, or all where there is none; "
     "a "
     "text for a language model"},
    {"--labels", NULL, "FILE", NULL, ".npy file of labels for a file of features"},
    {"--unknown", NULL, NULL, NULL,
     "count pictures of classes that the model does not know, which it should refuse"},
    {"--normal", NULL, "A,B", NULL,
     "anomalies: the normal classes (those of the training part, or good or normal)"},
    CLI_CLASSES_FLAGS,
    CLI_ALIGN_FLAGS,
    {"--seed", NULL, "N", "0", "of the pairs that are drawn, with --targets"},
    {"--strict", NULL, NULL, NULL, "stop at a picture or row that cannot be read"},
    CLI_COMMON_FLAGS};

const cli_verb verb_eval = {"eval",
                            "MODEL [OTHER]",
                            "measure a model on labelled pictures, rows or features, or on a text",
                            flags,
                            1,
                            2,
                            run,
                            "Two models are compared on the same examples.\n"
                            "examples:\n"
                            "  mica eval parts.mica --data photos/ --report page/\n"
                            "  mica eval parts.mica older.mica --data photos/\n"
                            "  mica eval probe.mica --data features.safetensors --bands 20,100\n"
                            "  mica eval aligned.mica --data images.npy --targets texts.npy"};
