/* mica train: a network from a folder of pictures to a model file. */
#include "cli/cli.h"

#include <mica/feature.h>
#include <mica/training_report.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/json.h"
#include "base/progress.h"
#include "cli/catalogue.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const cli_flag flags[] = {
    {"--data", NULL, "DIR", NULL,
     "folder of pictures, DIR/CLASS/picture, or of MNIST's four IDX files"},
    {"--out", "-o", "FILE", "model.mica", "the model file to write"},
    {"--epochs", NULL, "N", "10", "passes over the training part"},
    {"--batch-size", NULL, "N", "128", "examples of a step"},
    {"--lr", NULL, "X", NULL, "learning rate; the optimiser's own default when not given"},
    {"--optimiser", NULL, "SPEC", "adamw:weight_decay=0.05", "see `mica list optimiser`"},
    {"--schedule", NULL, "SPEC", "cosine:warmup=0.05", "see `mica list schedule`"},
    {"--loss", NULL, "SPEC", "ce", "see `mica list loss`; a sum with weights is fine"},
    {"--size", NULL, "N", "0", "side of the pictures; 0: 32, or what IDX files have"},
    {"--channels", NULL, "N", "0", "1 or 3; 0: 3, or what IDX files have"},
    {"--classes", NULL, "A,B", NULL, "only these classes"},
    {"--val-split", NULL, "X", "0.1", "share held out where there is no validation part"},
    {"--crop", NULL, "N", "2", "random shifts of up to N pixels"},
    {"--flip", NULL, NULL, NULL, "mirror every other picture"},
    {"--init", NULL, "FILE", NULL, "start from a checkpoint or model file"},
    {"--partial", NULL, NULL, NULL, "accept a checkpoint that fits in part"},
    {"--strip", NULL, "TEXT", NULL, "prefix to drop from the checkpoint's names"},
    {"--freeze", NULL, "PATTERN", NULL, "parameters not to train: 'layer[1-3].*'"},
    {"--average", NULL, "X", "0", "decay of a moving average of the weights"},
    {"--clip", NULL, "X", "0", "largest norm of the gradients; 0: no bound"},
    {"--patience", NULL, "N", "0", "stop after N epochs without a better validation; 0: never"},
    {"--run", NULL, "DIR", NULL, "folder for checkpoints (OUT.run)"},
    {"--resume", NULL, NULL, NULL, "continue the run in that folder"},
    {"--report", NULL, "DIR", NULL, "write DIR/report.html and DIR/summary.json"},
    {"--seed", NULL, "N", "0", "of everything random"},
    {"--bf16", NULL, NULL, NULL, "products in bfloat16, sums in float32"},
    {"--strict", NULL, NULL, NULL, "stop at a picture that cannot be read"},
    {"--dry-run", NULL, NULL, NULL, "say what would be done, and stop"},
    CLI_COMMON_FLAGS};

typedef struct watcher {
  bool json, terminal;
  mica_time_left left;
  mica_epoch *epoch; /* of this run; a resumed run knows only its own */
  int64_t epochs;
  double seconds;
} watcher;

static int on_report(void *ctx, const mica_train_metrics *m) {
  watcher *w = ctx;
  const double left = mica_time_left_update(&w->left, mica_seconds(), m->step, m->steps_total);
  w->seconds = m->seconds;
  if (m->end_of_epoch) {
    mica_epoch *more = realloc(w->epoch, ((size_t)w->epochs + 1) * sizeof *more);
    if (more) {
      w->epoch = more;
      more[w->epochs++] = (mica_epoch){m->loss, m->val_loss, m->val_accuracy};
    }
  }
  if (w->json) {
    printf("{\"epoch\": %lld, \"step\": %lld, \"steps\": %lld, \"loss\": %.9g, \"lr\": %.9g",
           (long long)m->epoch, (long long)m->step, (long long)m->steps_total, m->loss, m->lr);
    if (m->end_of_epoch && isfinite(m->val_accuracy))
      printf(", \"val_loss\": %.9g, \"val_accuracy\": %.9g, \"best\": %s", m->val_loss,
             m->val_accuracy, m->best ? "true" : "false");
    printf(", \"seconds\": %.3f}\n", m->seconds);
    fflush(stdout);
  } else if (m->end_of_epoch) {
    if (w->terminal) fprintf(stderr, "\r\033[K");
    fprintf(stderr, "epoch %lld  loss %.4f", (long long)m->epoch + 1, m->loss);
    if (isfinite(m->val_accuracy))
      fprintf(stderr, "  validation %.2f%%%s", 100 * m->val_accuracy, m->best ? " *" : "");
    fprintf(stderr, "  %.0f s, %.0f s left\n", m->seconds, left > 0 ? left : 0);
  } else if (w->terminal) {
    fprintf(stderr, "\r\033[Kstep %lld of %lld  loss %.4f  %.0f s left", (long long)m->step,
            (long long)m->steps_total, m->loss, left > 0 ? left : 0);
  }
  return cli_interrupted();
}

typedef struct job {
  const cli_args *a;
  watcher watch;
  mica_engine *engine;
  mica_dataset *ds;
  mica_net *net;
  mica_preprocess p;
  mica_stream train, validation, test;
  const char **classes;
} job;

static mica_status open_data(job *j) {
  const cli_args *a = j->a;
  mica_dataset_options o = MICA_DATASET_OPTIONS;
  int64_t size;
  if (!cli_int(a, "--size", 0, 4096, &size) || !cli_int(a, "--channels", 0, 3, &o.channels) ||
      !cli_double(a, "--val-split", 0, 0.9, &o.validation))
    return MICA_ERR_INVALID;
  o.height = o.width = size;
  o.classes = cli_text(a, "--classes");
  o.strict = cli_on(a, "--strict");
  mica_status status = catalogue_open_dataset(cli_text(a, "--data"), &o, &j->ds);
  if (status != MICA_OK) return status;
  const mica_shape s = mica_dataset_shape(j->ds);
  j->p = (mica_preprocess)MICA_PREPROCESS(s.dim[0], s.dim[1], s.dim[2]);
  status = mica_dataset_statistics(j->ds, j->p.mean, j->p.deviation);
  if (status != MICA_OK) return status;
  if (mica_dataset_skipped(j->ds))
    fprintf(stderr, "skipped %lld files that could not be read:\n%s",
            (long long)mica_dataset_skipped(j->ds), mica_dataset_skipped_text(j->ds));
  j->classes = calloc((size_t)mica_dataset_classes(j->ds), sizeof *j->classes);
  if (!j->classes) return mica_fail(MICA_ERR_MEMORY, "out of memory");
  for (int64_t i = 0; i < mica_dataset_classes(j->ds); i++)
    j->classes[i] = mica_dataset_class(j->ds, i);
  return MICA_OK;
}

static mica_status make_net(job *j, int64_t seed) {
  const cli_args *a = j->a;
  const mica_problem problem = {j->p.height, j->p.width, j->p.channels,
                                mica_dataset_classes(j->ds)};
  mica_status status = mica_net_create(j->engine, a->operand[0], &problem, (uint64_t)seed, &j->net);
  const char *from = cli_text(a, "--init");
  if (status == MICA_OK && from) {
    mica_load_options o = MICA_LOAD_OPTIONS;
    mica_load_report r;
    o.strip = cli_text(a, "--strip");
    o.partial = cli_on(a, "--partial");
    status = mica_params_load(mica_net_params(j->net), from, &o, &r);
    fprintf(stderr,
            "%s: %lld tensors loaded (%.1f%% of the parameters), %lld missing, %lld unexpected, "
            "%lld of "
            "another shape\n%s",
            from, (long long)r.loaded, 100 * r.share, (long long)r.missing, (long long)r.unexpected,
            (long long)r.reshaped, r.text ? r.text : "");
    mica_free(r.text);
  }
  const char *freeze = cli_text(a, "--freeze");
  if (status == MICA_OK && freeze &&
      !mica_params_flag(mica_net_params(j->net), freeze, 0, MICA_PARAM_TRAINABLE))
    status = mica_fail(MICA_ERR_NOT_FOUND, "--freeze '%s' matches no parameter", freeze);
  return status;
}

static mica_status make_streams(job *j, int64_t batch, int64_t seed) {
  mica_dataset_stream_options o = MICA_DATASET_STREAM_OPTIONS;
  o.batch = batch;
  o.seed = (uint64_t)seed;
  mica_status status = MICA_OK;
  if (mica_dataset_part_count(j->ds, MICA_PART_VALIDATION))
    status = mica_dataset_stream_create(j->ds, MICA_PART_VALIDATION, &j->p, &o, &j->validation);
  if (status == MICA_OK && mica_dataset_part_count(j->ds, MICA_PART_TEST))
    status = mica_dataset_stream_create(j->ds, MICA_PART_TEST, &j->p, &o, &j->test);
  o.shuffle = true;
  o.flip = cli_on(j->a, "--flip");
  if (!cli_int(j->a, "--crop", 0, 64, &o.crop)) return MICA_ERR_INVALID;
  if (status == MICA_OK)
    status = mica_dataset_stream_create(j->ds, MICA_PART_TRAIN, &j->p, &o, &j->train);
  return status;
}

/* The optimiser's specification with --lr put in. */
static char *optimiser_text(const cli_args *a) {
  const char *spec = cli_text(a, "--optimiser"), *lr = cli_text(a, "--lr");
  mica_bytes b = {0};
  mica_bytes_text(&b, spec);
  if (lr) mica_bytes_printf(&b, ":lr=%s", lr);
  return mica_bytes_take(&b);
}

static void describe(const job *j) {
  const mica_params *params = mica_net_params(j->net);
  fprintf(stderr,
          "%s: %lld parameters, %lld trained\n%s: %lld training, %lld validation, %lld test "
          "pictures of "
          "%lldx%lldx%lld in %lld classes\n",
          j->a->operand[0],
          (long long)(mica_params_elements(params, 0) -
                      mica_params_elements(params, MICA_PARAM_BUFFER)),
          (long long)mica_params_elements(params, MICA_PARAM_TRAINABLE), cli_text(j->a, "--data"),
          (long long)mica_dataset_part_count(j->ds, MICA_PART_TRAIN),
          (long long)mica_dataset_part_count(j->ds, MICA_PART_VALIDATION),
          (long long)mica_dataset_part_count(j->ds, MICA_PART_TEST), (long long)j->p.height,
          (long long)j->p.width, (long long)j->p.channels, (long long)mica_dataset_classes(j->ds));
}

/* What the model file keeps about its training. */
static char *training_record(const job *j, const mica_train_result *r, const mica_evaluation *test,
                             int64_t seed) {
  mica_bytes text = {0};
  mica_json_writer w = {.out = &text};
  mica_json_begin_object(&w);
  mica_json_write_name(&w, "command");
  mica_json_write_string(&w, j->a->command);
  mica_json_write_name(&w, "seed");
  mica_json_write_int(&w, seed);
  mica_json_write_name(&w, "epochs");
  mica_json_write_int(&w, r->epochs);
  mica_json_write_name(&w, "loss");
  mica_json_write_double(&w, r->loss);
  mica_json_write_name(&w, "validation_accuracy");
  mica_json_write_double(&w, r->best_val_accuracy);
  mica_json_write_name(&w, "test_accuracy");
  mica_json_write_double(&w, test->n ? test->accuracy : NAN);
  mica_json_end_object(&w);
  return mica_bytes_take(&text);
}

#define HARDEST    24
#define MAP_POINTS 1000

/* Everything the page shows of one evaluated part, in the order of the page. */
static mica_status report_sections(job *j, const watcher *w, const mica_train_result *result,
                                   mica_part part, const mica_evaluation *e, mica_report *report) {
  const bool test = part == MICA_PART_TEST;
  mica_answers answers = {0};
  mica_estimate accuracy;
  mica_status status = mica_answers_of(j->ds, part, j->classes, e, &answers);
  if (status == MICA_OK)
    status = mica_accuracy(e->n, answers.truth, answers.predicted, 0.95, &accuracy);
  if (status == MICA_OK)
    status =
        mica_report_interval(report, test ? "test_accuracy" : "validation_accuracy", accuracy.value,
                             accuracy.interval.lo, accuracy.interval.hi, "fraction",
                             test ? "Accuracy, test part" : "Accuracy, validation part");
  if (status == MICA_OK)
    status = mica_report_number(report, "examples", (double)e->n, "count",
                                test ? "Test pictures" : "Validation pictures");
  if (status == MICA_OK)
    status = mica_report_number(report, "cross_entropy", e->loss, NULL, "Cross-entropy");
  if (status == MICA_OK)
    status = mica_report_number(report, "epochs", (double)result->epochs, NULL, "Epochs");
  if (status == MICA_OK)
    status = mica_report_number(report, "seconds", w->seconds, "seconds", "Time");
  if (status == MICA_OK && w->epochs)
    status = mica_report_curves(report, "Training", w->epoch, w->epochs);
  if (status == MICA_OK && answers.classes < 200)
    status = mica_report_confusion(report, "Confusion", &answers);
  if (status == MICA_OK)
    status = mica_report_hardest(report, "Hardest examples", &answers, HARDEST);
  if (status == MICA_OK && e->n > 1) {
    const mica_view features = mica_tensor_view(e->features);
    status =
        mica_report_map(report, "Map of the features", j->engine, &features, &answers, MAP_POINTS);
  }
  mica_answers_free(&answers);
  return status;
}

/* The report is of the test part, or of the validation part where there is none. */
static mica_status write_report(job *j, const watcher *w, const mica_train_result *result,
                                const mica_evaluation *test, const char *folder) {
  mica_evaluation validation = {0};
  mica_report_options o = MICA_REPORT_OPTIONS;
  mica_report *report = NULL;
  mica_run_record *record = NULL;
  if (!test->n && !j->validation.ctx)
    return mica_fail(MICA_ERR_INVALID, "--report needs a validation or test part");
  o.title = "Training report";
  o.subtitle = j->a->operand[0];
  mica_status status = mica_report_create(&o, &report);
  if (status == MICA_OK && !test->n)
    status = mica_evaluate(j->net, &j->validation, true, true, &validation);
  if (status == MICA_OK)
    status = report_sections(j, w, result, test->n ? MICA_PART_TEST : MICA_PART_VALIDATION,
                             test->n ? test : &validation, report);
  if (status == MICA_OK) status = mica_run_record_create(&record);
  if (status == MICA_OK) status = mica_run_record_text(record, "command", j->a->command);
  if (status == MICA_OK) status = mica_run_record_environment(record);
  if (status == MICA_OK) status = mica_report_record(report, record);
  if (status == MICA_OK) status = mica_report_write(report, folder);
  mica_run_record_free(record);
  mica_report_free(report);
  mica_evaluation_clear(&validation);
  return status;
}

static int train(job *j) {
  const cli_args *a = j->a;
  int64_t seed, batch;
  mica_train_options o = MICA_TRAIN_OPTIONS;
  watcher *w = &j->watch;
  *w = (watcher){.json = cli_on(a, "--json"), .terminal = isatty(2) != 0};
  if (!cli_text(a, "--data")) return cli_usage(a, "--data is missing");
  if (!cli_int(a, "--seed", 0, INT64_MAX, &seed) ||
      !cli_int(a, "--batch-size", 1, 1 << 20, &batch) ||
      !cli_int(a, "--epochs", 1, 1000000, &o.epochs) ||
      !cli_double(a, "--average", 0, 0.999999, &o.average) ||
      !cli_double(a, "--clip", 0, 1e9, &o.clip) ||
      !cli_int(a, "--patience", 0, 1000000, &o.patience))
    return EXIT_USAGE;
  mica_status status = cli_engine(a, &j->engine);
  if (status == MICA_OK) status = open_data(j);
  if (status == MICA_OK) status = make_net(j, seed);
  if (status == MICA_OK) status = make_streams(j, batch, seed);
  if (status != MICA_OK) return cli_failed(a);
  describe(j);
  if (cli_on(a, "--dry-run")) return EXIT_OK;
  const char *out = cli_text(a, "--out");
  char folder[4096];
  snprintf(folder, sizeof folder, "%s", cli_text(a, "--run") ? cli_text(a, "--run") : "");
  if (!*folder) snprintf(folder, sizeof folder, "%s.run", out);
  char *optimiser = optimiser_text(a);
  o.loss = cli_text(a, "--loss");
  o.optimiser = optimiser;
  o.schedule = cli_text(a, "--schedule");
  o.seed = (uint64_t)seed;
  o.compute = cli_on(a, "--bf16") ? MICA_BF16 : MICA_F32;
  o.dir = folder;
  o.resume = cli_on(a, "--resume");
  o.report_every = 10;
  o.report = on_report;
  o.report_ctx = w;
  cli_catch_interrupt();
  mica_train_result result;
  mica_evaluation test = {0};
  status = optimiser ? mica_make_folders(folder) : MICA_ERR_MEMORY;
  if (status == MICA_OK)
    status = mica_train(j->net, &j->train, j->validation.ctx ? &j->validation : NULL, &o, &result);
  mica_free(optimiser);
  if (status != MICA_OK) {
    const int code = cli_failed(a);
    if (code == EXIT_STOPPED) fprintf(stderr, "stopped; `--resume` continues from %s\n", folder);
    return code;
  }
  /* The best weights of the run are what the file holds. */
  if (j->validation.ctx && result.best_epoch >= 0) {
    char best[4200];
    snprintf(best, sizeof best, "%s/best.safetensors", folder);
    status = mica_params_load(mica_net_params(j->net), best, NULL, NULL);
  }
  const char *page = cli_text(a, "--report");
  if (status == MICA_OK && j->test.ctx)
    status = mica_evaluate(j->net, &j->test, page != NULL, page != NULL, &test);
  char *record = status == MICA_OK ? training_record(j, &result, &test, seed) : NULL;
  if (status == MICA_OK) status = mica_net_save(j->net, &j->p, j->classes, record, out);
  mica_free(record);
  if (status == MICA_OK && page) status = write_report(j, w, &result, &test, page);
  if (status != MICA_OK) {
    mica_evaluation_clear(&test);
    return cli_failed(a);
  }
  if (w->json) {
    printf("{\"model\": \"%s\", \"val_accuracy\": %.9g", out,
           isfinite(result.best_val_accuracy) ? result.best_val_accuracy : -1);
    if (test.n) printf(", \"test_accuracy\": %.9g", test.accuracy);
    printf("}\n");
  } else {
    if (isfinite(result.best_val_accuracy))
      printf("validation accuracy %.2f%% (epoch %lld)\n", 100 * result.best_val_accuracy,
             (long long)result.best_epoch + 1);
    if (test.n) printf("test accuracy %.2f%%\n", 100 * test.accuracy);
    printf("model: %s\n", out);
    if (page) printf("report: %s/report.html\n", page);
  }
  mica_evaluation_clear(&test);
  return EXIT_OK;
}

static int run(const cli_args *a) {
  job j = {.a = a};
  const int code = train(&j);
  mica_dataset_stream_free(&j.train);
  mica_dataset_stream_free(&j.validation);
  mica_dataset_stream_free(&j.test);
  mica_net_free(j.net);
  mica_dataset_free(j.ds);
  mica_engine_free(j.engine);
  free(j.classes);
  free(j.watch.epoch);
  return code;
}

const cli_verb verb_train = {
    "train",
    "ARCHITECTURE",
    "train a network on pictures and write a model file",
    flags,
    1,
    1,
    run,
    "example: mica train resnet:depth=20 --data photos/ --epochs 30 --flip -o parts.mica\n"
    "Validation decides which epoch's weights are kept. Ctrl-C stops cleanly; --resume goes on."};
