/* mica fit: estimators on the features of a network, made into a model file. */
#include "cli/align.h"
#include "cli/anomaly.h"
#include "cli/compress.h"
#include "cli/curve.h"
#include "cli/describe.h"
#include "cli/features.h"
#include "cli/table.h"
#include "cli/taps.h"

#include "base/buffer.h"
#include "base/json.h"
#include "base/progress.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ESTIMATORS_MAX 32

static const cli_flag flags[] = {
    {"--encoder", NULL, "MODEL", NULL,
     "model file whose features are used, or the name of a fetched one; not for feature files"},
    {"--data", NULL, "PATH", NULL,
     "pictures with labels (as for train), a file of features (.npy, .npz, .safetensors), or with "
     "--label a table"},
    {"--labels", NULL, "FILE", NULL, ".npy file of labels for a file of features"},
    {"--out", "-o", "FILE", NULL, "the model file to write; without it only the comparison"},
    {"--classes", NULL, "A,B", NULL, "only these classes"},
    {"--head", NULL, "NAME", NULL, "name of the head in the file (the estimator's name)"},
    {"--keep-all", NULL, NULL, NULL, "put every estimator into the file; the best one answers"},
    {"--folds", NULL, "N", "5", "of the cross-validation that compares several estimators"},
    {"--reject", NULL, "X", NULL, "share of known examples that may be answered \"none of these\""},
    {"--val-split", NULL, "X", "0",
     "share held out to calibrate \"none of these\" where there is no validation part"},
    {"--add-class", NULL, "NAME", NULL,
     "add a class to the model --encoder from the pictures that are the operands"},
    {"--seed", NULL, "N", "0", "of folds and held-out shares"},
    {"--strict", NULL, NULL, NULL, "stop at a picture or row that cannot be read"},
    CLI_CURVE_FLAGS,
    CLI_TAPS_FLAGS,
    CLI_VIEWS_FLAGS,
    {"--augment-passes", NULL, "N", "0",
     "fit on N passes over the training pictures, shifted (--crop) and mirrored (--flip) at "
     "random"},
    CLI_ALIGN_FLAGS,
    CLI_DESCRIBE_FLAGS,
    {"--control", NULL, NULL, NULL,
     "compare with what must do worse: of pictures with defects a network of random weights, of "
     "zero_shot names and other phrases"},
    {"--crop", NULL, "N", "2", "with --augment-passes: random shifts of up to N pixels"},
    {"--flip", NULL, NULL, NULL, "with --augment-passes: mirror every other picture"},
    CLI_COMPRESS_FLAGS,
    CLI_TABLE_FLAGS,
    CLI_COMMON_FLAGS};

typedef struct job {
  const cli_args *a;
  mica_engine *engine;
  mica_model *model; /* the encoder, which the heads join */
  mica_dataset *ds;
  features f;
  int64_t seed;
  char *spec[ESTIMATORS_MAX]; /* the operands, with the levels of the features */
  mica_contender contender[ESTIMATORS_MAX];
  int best;
  int64_t *predicted; /* of the test part, by the best; NULL: none */
} job;

/* ---- a class more ---- */

static int add_class(job *j) {
  const cli_args *a = j->a;
  const char *name = cli_text(a, "--add-class"), *from = cli_text(a, "--encoder");
  const char *out = cli_text(a, "--out") ? cli_text(a, "--out") : from;
  mica_tensor *pictures = NULL;
  if (!from) return cli_usage(a, "--add-class needs --encoder, the model that learns");
  if (!a->n_operands) return cli_usage(a, "--add-class %s: from which pictures?", name);
  mica_status status = open_model(j->engine, from, &j->model);
  if (status == MICA_OK) status = mica_model_read(j->model, a->n_operands, a->operand, &pictures);
  const double begin = mica_seconds();
  if (status == MICA_OK) {
    const mica_view x = mica_tensor_view(pictures);
    status = mica_head_add_class(j->model, name, &x);
  }
  const double seconds = mica_seconds() - begin;
  mica_tensor_free(pictures);
  if (status == MICA_OK) status = mica_model_save(j->model, out);
  if (status != MICA_OK) return cli_failed(a);
  if (!cli_on(a, "--json"))
    printf("%s: learnt from %d pictures in %.3f s; %lld classes\n", name, a->n_operands, seconds,
           (long long)mica_model_classes(j->model));
  cli_result(a, "model", out);
  return EXIT_OK;
}

/* ---- data ---- */

/* A model of rows, for heads on features that came from elsewhere. */
static mica_status identity_model(job *j) {
  const mica_problem problem = MICA_PROBLEM_ROWS(j->f.width, 0);
  const mica_preprocess p = MICA_PREPROCESS(0, 0, j->f.width);
  mica_net *net = NULL;
  mica_status status = mica_net_create(j->engine, "identity", &problem, 0, &net);
  if (status == MICA_OK) status = mica_model_create(net, &p, NULL, NULL, &j->model);
  if (status != MICA_OK) mica_net_free(net);
  return status;
}

/* Rows of a table: through the encoder where it reads such rows, else as they are. */
static mica_status open_rows(job *j) {
  mica_data_table_options o;
  char *columns = NULL;
  if (!cli_table_options(j->a, &o)) return MICA_ERR_INVALID;
  mica_status status = features_rows(&o, j->model, cli_text(j->a, "--data"), &j->f, &columns);
  if (status == MICA_OK && !j->model) {
    status = identity_model(j);
    if (status == MICA_OK) status = mica_model_set_columns(j->model, columns);
  }
  mica_free(columns);
  return status;
}

/* Features of pictures: from the taps that the flags name, of random versions where they say so. */
static mica_status embed_pictures(job *j) {
  const cli_args *a = j->a;
  int64_t passes, crop;
  if (!cli_int(a, "--augment-passes", 0, 100000, &passes) || !cli_int(a, "--crop", 0, 64, &crop))
    return MICA_ERR_INVALID;
  if (passes && mica_model_parts(j->model) > 1)
    return mica_fail(MICA_ERR_INVALID, "--augment-passes and parts of pictures: one of the two");
  mica_status status = features_embed(a, j->model, j->ds, &j->f);
  if (status == MICA_OK && passes)
    status = features_augment(a, j->model, j->ds, passes, crop, cli_on(a, "--flip"),
                              (uint64_t)j->seed, &j->f);
  return status;
}

static mica_status open_encoder(job *j) {
  const mica_status status = open_model(j->engine, cli_text(j->a, "--encoder"), &j->model);
  return status == MICA_OK ? cli_taps(j->a, j->model) : status;
}

static mica_status open_data(job *j, double validation) {
  const cli_args *a = j->a;
  const char *data = cli_text(a, "--data"), *encoder = cli_text(a, "--encoder");
  mica_status status = MICA_OK;
  if (encoder) status = open_encoder(j);
  if (status != MICA_OK) return status;
  if (is_feature_file(data)) {
    status = features_read(data, cli_text(a, "--labels"), validation, (uint64_t)j->seed, &j->f);
    if (status == MICA_OK && !j->model) status = identity_model(j);
    if (status == MICA_OK && mica_model_features(j->model) != j->f.width)
      status = mica_fail(MICA_ERR_SHAPE, "%s: rows of %lld features, the encoder gives %lld", data,
                         (long long)j->f.width, (long long)mica_model_features(j->model));
    return status;
  }
  if (cli_text(a, "--label") || cli_text(a, "--format") ||
      (j->model && mica_model_columns(j->model)))
    return open_rows(j);
  if (!encoder)
    return mica_fail(MICA_ERR_INVALID,
                     "--encoder is missing: the model whose features are used (of a table, --label "
                     "COLUMN names what to predict)");
  status = open_pictures(a, j->model, data, cli_text(a, "--classes"), validation, &j->ds);
  return status == MICA_OK ? embed_pictures(j) : status;
}

/* What an estimator is given: the training part, and the validation part to calibrate with. */
static mica_fit_data fit_data(const job *j, const mica_view *held_out, bool labels) {
  mica_fit_data d = MICA_FIT_DATA;
  const feature_part *train = &j->f.part[MICA_PART_TRAIN];
  d.x = mica_tensor_view(train->x);
  d.label = labels ? train->label : NULL;
  d.classes = labels && train->label ? j->f.classes : 0;
  if (j->f.part[MICA_PART_VALIDATION].n) d.held_out = held_out;
  return d;
}

/* ---- comparison ---- */

static mica_status print_comparison(const job *j) {
  const int n = j->a->n_operands;
  mica_table *table = NULL;
  char *text = NULL;
  mica_table_options o = MICA_TABLE_OPTIONS;
  static const char *const heads[] = {"accuracy", "95 % interval", "behind the best",
                                      "macro F1", "log loss",      "fit, s"};
  mica_status status = mica_table_create(&table);
  if (status == MICA_OK) status = mica_table_column(table, "estimator", MICA_ALIGN_LEFT);
  for (size_t i = 0; i < sizeof heads / sizeof *heads && status == MICA_OK; i++)
    status = mica_table_column(table, heads[i], MICA_ALIGN_RIGHT);
  for (int i = 0; i < n && status == MICA_OK; i++) {
    const mica_contender *c = &j->contender[i];
    char cell[96];
    status = mica_table_text(table, c->spec);
    snprintf(cell, sizeof cell, "%.2f %%", 100 * c->accuracy.value);
    if (status == MICA_OK)
      status = mica_table_shown(table, c->accuracy.value, c->status ? "failed" : cell);
    snprintf(cell, sizeof cell, "%.2f to %.2f", 100 * c->accuracy.interval.lo,
             100 * c->accuracy.interval.hi);
    if (status == MICA_OK) status = mica_table_text(table, c->status ? "" : cell);
    snprintf(cell, sizeof cell, "%.2f (%.2f to %.2f)", 100 * (0 - c->difference.value),
             100 * (0 - c->difference.interval.hi), 100 * (0 - c->difference.interval.lo));
    if (status == MICA_OK) status = mica_table_text(table, c->status || i == j->best ? "" : cell);
    if (status == MICA_OK) status = mica_table_number(table, c->macro_f1, 4);
    if (status == MICA_OK) status = mica_table_number(table, c->log_loss, 4);
    if (status == MICA_OK) status = mica_table_number(table, c->fit_seconds, 2);
  }
  if (status == MICA_OK) status = mica_table_render(table, &o, &text);
  if (status == MICA_OK) printf("%s", text);
  for (int i = 0; i < n && status == MICA_OK; i++)
    if (j->contender[i].status) printf("%s: %s\n", j->contender[i].spec, j->contender[i].error);
  mica_free(text);
  mica_table_free(table);
  return status;
}

static void print_comparison_json(const job *j) {
  for (int i = 0; i < j->a->n_operands; i++) {
    const mica_contender *c = &j->contender[i];
    mica_bytes b = {0};
    mica_json_writer w = {.out = &b};
    mica_json_begin_object(&w);
    mica_json_put_text(&w, "estimator", c->spec);
    mica_json_put_text(&w, "error", c->status ? c->error : NULL);
    const struct {
      const char *name;
      double value;
    } numbers[] = {{"accuracy", c->accuracy.value},
                   {"accuracy_low", c->accuracy.interval.lo},
                   {"accuracy_high", c->accuracy.interval.hi},
                   {"difference", c->difference.value},
                   {"difference_low", c->difference.interval.lo},
                   {"difference_high", c->difference.interval.hi},
                   {"p_value", c->p_value},
                   {"macro_f1", c->macro_f1},
                   {"log_loss", c->log_loss},
                   {"fit_seconds", c->fit_seconds}};
    for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++) {
      mica_json_put_double(&w, numbers[k].name, c->status ? NAN : numbers[k].value);
    }
    mica_json_write_name(&w, "best");
    mica_json_write_bool(&w, i == j->best);
    mica_json_end_object(&w);
    mica_bytes_byte(&b, 0);
    if (b.data) printf("%s\n", b.data);
    mica_bytes_free(&b);
  }
}

/* Several estimators on the same folds; the best is the first of the most accurate. */
static mica_status compare(job *j) {
  const cli_args *a = j->a;
  int64_t folds;
  if (a->n_operands < 2) return MICA_OK;
  if (!cli_int(a, "--folds", 2, 1000, &folds)) return MICA_ERR_INVALID;
  if (!j->f.part[MICA_PART_TRAIN].label)
    return mica_fail(MICA_ERR_INVALID, "a comparison needs labels");
  for (int i = 0; i < a->n_operands; i++)
    j->contender[i] = (mica_contender)MICA_CONTENDER(j->spec[i]);
  const mica_fit_data d = fit_data(j, NULL, true);
  mica_status status = mica_cross_validate(j->engine, &d, (int32_t)folds, (uint64_t)j->seed, 0.95,
                                           a->n_operands, j->contender, NULL);
  if (status != MICA_OK) return status;
  j->best = -1;
  for (int i = 0; i < a->n_operands; i++)
    if (j->contender[i].best && j->contender[i].status == MICA_OK && j->best < 0) j->best = i;
  if (j->best < 0)
    return mica_fail(MICA_ERR_INVALID, "no estimator could be fitted; the first: %s",
                     j->contender[0].error);
  if (!cli_on(a, "--json")) return print_comparison(j);
  print_comparison_json(j);
  return MICA_OK;
}

/* ---- the heads ---- */

/* Letters, digits and underlines of a specification's first word. */
static void head_name(const job *j, int i, char out[65]) {
  const char *wanted = cli_text(j->a, "--head");
  size_t n = 0;
  for (const char *s = wanted && i == j->best ? wanted : j->a->operand[i];
       *s && *s != ':' && n < 60; s++)
    out[n++] = *s;
  out[n] = 0;
}

/* How many rows of each class the head has seen, for `mica eval`. */
static mica_status keep_examples(const job *j, const char *name) {
  const feature_part *train = &j->f.part[MICA_PART_TRAIN];
  int64_t *count = mica_calloc((size_t)j->f.classes + 1, sizeof *count);
  if (!count) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < train->n; i++) count[train->label[i]]++;
  const mica_status status = mica_model_set_examples(j->model, name, count);
  mica_free(count);
  return status;
}

static mica_status fit_head(job *j, int i) {
  const feature_part *held = &j->f.part[MICA_PART_VALIDATION];
  const feature_part *train = &j->f.part[MICA_PART_TRAIN];
  const char *reject = cli_text(j->a, "--reject");
  mica_view held_out = {0};
  mica_estimator *e = NULL;
  mica_fit_report report = {.size = sizeof report};
  char name[65];
  double rate = 0;
  if (held->n) held_out = mica_tensor_view(held->x);
  if (reject && !cli_double(j->a, "--reject", 0, 0.999, &rate)) return MICA_ERR_INVALID;
  mica_status status = mica_estimator_create(j->engine, j->spec[i], &e);
  if (status == MICA_OK) {
    const mica_estimator_functions *fn = mica_estimator_component(e)->functions;
    const mica_fit_data d =
        fit_data(j, &held_out, (fn->abilities & MICA_ESTIMATOR_CLASSIFIES) != 0);
    status = mica_estimator_fit(e, &d, &report);
  }
  if (status == MICA_OK && reject) status = mica_estimator_set_rejection(e, rate);
  const feature_part *test = &j->f.part[MICA_PART_TEST];
  if (status == MICA_OK && i == j->best && test->n &&
      mica_estimator_task(e) == MICA_TASK_CLASSIFICATION) {
    const mica_view x = mica_tensor_view(test->x);
    mica_prediction p = MICA_PREDICTION;
    j->predicted = mica_calloc((size_t)test->n, sizeof *j->predicted);
    p.label = j->predicted;
    status = j->predicted ? mica_estimator_predict(e, &x, &p) : MICA_ERR_MEMORY;
  }
  if (status == MICA_OK && *report.note) fprintf(stderr, "%s: %s\n", j->a->operand[i], report.note);
  if (status == MICA_OK) {
    const bool classes = mica_estimator_task(e) == MICA_TASK_CLASSIFICATION;
    head_name(j, i, name);
    status =
        mica_model_put_head(j->model, name, e, classes ? (const char *const *)j->f.names : NULL);
    if (status == MICA_OK) { /* the model has it */
      if (classes && train->label) status = keep_examples(j, name);
      if (status == MICA_OK && i == j->best) status = mica_model_answer_with(j->model, name);
      return status;
    }
  }
  mica_estimator_free(e);
  return status;
}

static mica_status fit_heads(job *j) {
  mica_status status = MICA_OK;
  for (int i = 0; i < j->a->n_operands && status == MICA_OK; i++)
    if (i != j->best && cli_on(j->a, "--keep-all")) status = fit_head(j, i);
  return status == MICA_OK ? fit_head(j, j->best) : status;
}

/* ---- telling ---- */

/* The head that answers, and its accuracy on the test part where there is one. */
static mica_status tell(const job *j) {
  const feature_part *test = &j->f.part[MICA_PART_TEST];
  mica_head_facts facts = {0};
  mica_estimate accuracy;
  int64_t refused = 0;
  const bool json = cli_on(j->a, "--json");
  for (int64_t i = 0; i < mica_model_heads(j->model) && !facts.answers; i++) {
    const mica_status status = mica_model_head(j->model, i, &facts);
    if (status != MICA_OK) return status;
  }
  if (!json) {
    printf("head %s: %s, %lld classes, fitted on %lld rows of %lld features\n", facts.name,
           facts.estimator, (long long)facts.classes, (long long)j->f.part[MICA_PART_TRAIN].n,
           (long long)j->f.width);
    if (isfinite(facts.threshold))
      printf("\"none of these\" above an anomaly score of %.4g\n", facts.threshold);
  }
  if (!j->predicted) return MICA_OK;
  mica_status status = mica_accuracy(test->n, test->label, j->predicted, 0.95, &accuracy);
  if (status != MICA_OK) return status;
  for (int64_t i = 0; i < test->n; i++) refused += j->predicted[i] == MICA_CLASS_NONE;
  const double share = (double)refused / (double)test->n;
  if (json)
    printf("{\"test_accuracy\": %.9g, \"test_accuracy_low\": %.9g, \"test_accuracy_high\": %.9g, "
           "\"test_examples\": %lld, \"refused\": %.9g}\n",
           accuracy.value, accuracy.interval.lo, accuracy.interval.hi, (long long)test->n, share);
  else
    printf("test accuracy %.2f%% (%.2f to %.2f), %lld examples, %.2f%% of them \"none of these\"\n",
           100 * accuracy.value, 100 * accuracy.interval.lo, 100 * accuracy.interval.hi,
           (long long)test->n, 100 * share);
  return MICA_OK;
}

/* Pictures with defects, several detectors or several categories: not one model, but a comparison.
 */
static bool compares_defects(const job *j) {
  const char *data = cli_text(j->a, "--data");
  mica_defects *d = NULL;
  if (!cli_text(j->a, "--encoder") || !mica_defects_here(data) ||
      mica_defects_open(data, &d) != MICA_OK)
    return false;
  const bool several = j->a->n_operands > 1 || mica_defects_categories(d) > 1;
  mica_defects_free(d);
  return several;
}

/* What the operand says, and what the features say further. */
static mica_status specify(job *j, int i) {
  const int64_t parts = j->model ? mica_model_parts(j->model) : 1;
  if (parts > 1) return cli_with_parts(j->engine, j->a->operand[i], parts, &j->spec[i]);
  return cli_with_levels(j->engine, j->a->operand[i], &j->f.levels, &j->spec[i]);
}

static int fit(job *j) {
  const cli_args *a = j->a;
  const char *out = cli_text(a, "--out");
  double validation;
  if (!cli_int(a, "--seed", 0, INT64_MAX, &j->seed) ||
      !cli_double(a, "--val-split", 0, 0.9, &validation))
    return EXIT_USAGE;
  if (cli_engine(a, &j->engine) != MICA_OK) return cli_failed(a);
  if (cli_text(a, "--add-class")) return add_class(j);
  if (cli_text(a, "--describe")) return cli_describe_class(a, j->engine);
  if (!a->n_operands) return cli_usage(a, "expected ESTIMATOR...");
  if (!cli_text(a, "--data") && !cli_describes(a)) return cli_usage(a, "--data is missing");
  if (a->n_operands > ESTIMATORS_MAX)
    return cli_usage(a, "%d estimators, at most %d", a->n_operands, ESTIMATORS_MAX);
  for (int i = 0; i < a->n_operands; i++) { /* a wrong name is told before the long work */
    mica_estimator *e;
    if (mica_estimator_create(j->engine, a->operand[i], &e) != MICA_OK) return cli_failed(a);
    mica_estimator_free(e);
  }
  if (cli_describes(a)) return cli_describe_fit(a, j->engine);
  if (cli_text(a, "--targets")) return cli_align_fit(a, j->engine);
  if (cli_aligns(a, NULL))
    return cli_usage(a, "align learns from pairs: --targets FILE has what belongs to --data");
  if (compares_defects(j)) {
    if (open_encoder(j) != MICA_OK) return cli_failed(a);
    return cli_defects_compare(a, j->engine, j->model);
  }
  mica_status status = open_data(j, validation);
  for (int i = 0; i < a->n_operands && status == MICA_OK; i++) status = specify(j, i);
  if (status == MICA_OK && !j->f.part[MICA_PART_TRAIN].n)
    status = mica_fail(MICA_ERR_INVALID, "%s: no training examples", cli_text(a, "--data"));
  if (status == MICA_OK && cli_text(a, "--sizes"))
    return cli_fit_curve(a, j->engine, &j->f, (const char *const *)j->spec);
  if (status == MICA_OK) status = compare(j);
  if (status == MICA_OK) status = fit_heads(j);
  if (status == MICA_OK && out) status = mica_model_save(j->model, out);
  if (status == MICA_OK) status = tell(j);
  if (status != MICA_OK) return cli_failed(a);
  if (out) cli_result(a, "model", out);
  return EXIT_OK;
}

static int run(const cli_args *a) {
  job j = {.a = a};
  cli_catch_interrupt();
  if (a->n_operands && strcmp(a->operand[0], "compress") == 0 && !cli_on(a, "--add-class"))
    return cli_fit_compress(a);
  const int code = fit(&j);
  mica_free(j.predicted);
  for (int i = 0; i < ESTIMATORS_MAX; i++) mica_free(j.spec[i]);
  features_free(&j.f);
  mica_dataset_free(j.ds);
  mica_model_free(j.model);
  mica_engine_free(j.engine);
  return code;
}

const cli_verb verb_fit = {
    "fit",
    "ESTIMATOR...",
    "fit estimators on a network's features and write a model file",
    flags,
    0,
    -1,
    run,
    "Several estimators are compared by cross-validation; the best one goes into the file.\n"
    "examples:\n"
    "  mica fit prototypes --encoder resnet18 --data photos/ -o parts.mica\n"
    "  mica fit logistic ridge knn prototypes --encoder net.mica --data photos/\n"
    "  mica fit logistic --data features.npz -o probe.mica\n"
    "  mica fit transformed:power=2 --views 16 --encoder resnet18 --data photos/ -o views.mica\n"
    "  mica fit naive_bayes logistic --data features.npz --sizes 20,50,100,500 --scale minmax "
    "--figure "
    "curves.svg\n"
    "  mica fit gaussian --encoder resnet18 --taps layer1,layer2,layer3 --data normal/ -o "
    "part.mica\n"
    "  mica fit gaussian one_class_svm --encoder resnet18 --taps pyramid --data mvtec/ --control\n"
    "  mica fit align align:reduce=cca:k=50 --data images.safetensors --targets texts.safetensors\n"
    "  mica fit zero_shot --encoder clip.mica --descriptions birds.json --data birds/ --control -o "
    "birds.mica\n"
    "  mica fit --describe kite --encoder birds.mica 'a forked tail' 'reddish back'\n"
    "  mica fit compress pq svd int --bytes 0.25 --data vectors.npy -o vectors.table\n"
    "  mica fit compress --bytes 0.1 --encoder clicks.mica --data log.csv\n"
    "  mica fit --add-class bolt --encoder parts.mica bolt1.jpg bolt2.jpg bolt3.jpg\n"
    "`mica list estimator` tells the estimators and their options. With `compress` the operands "
    "are\n"
    "ways to keep a finished matrix in fewer bytes (`mica list embedding`), compared by the true\n"
    "neighbours that they keep; with --encoder those of a click model, whose answers to a log "
    "tell\n"
    "what they are worth."};
