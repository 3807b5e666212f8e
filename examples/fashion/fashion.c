/* The whole life of a model on Fashion-MNIST, told in one report.
 *
 *     fashion DATA OUT          DATA: the folder of the four IDX files
 *
 * An encoder is trained on eight of the ten classes. A head of prototypes is fitted on its features
 * and written to OUT/parts.mica, with "none of these" for what is unlike all of them. A program
 * would load that file; so do we. The two classes held back are first strangers to it, then it is
 * taught them from five pictures each. Last, a network is trained on all ten classes, as a
 * measure of what full training gives. Everything is in OUT/report.html and OUT/summary.json.
 */
#include <mica/mica.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ALL = 10, KNOWN = 8, LESSON = 5, LESSONS = 10, BATCH = 128 };
static const int64_t encoder_epochs = 3, network_epochs = 4;

static const char *const names[ALL] = {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
                                       "Sandal",      "Shirt",   "Sneaker",  "Bag",   "Ankle boot"};

/* ---- progress: one clock for everything, in training steps or what takes as long ---- */

typedef struct clock_of_work {
  double started, done, total;
  char what[64];
} clock_of_work;

static double now(void) {
  struct timespec t;
  timespec_get(&t, TIME_UTC);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void tell(const clock_of_work *c, double further, const char *news) {
  const double done = c->done + further, spent = now() - c->started;
  fprintf(stderr, "%3.0f%%  %s%s", 100 * done / c->total, c->what, news);
  if (done > 0) fprintf(stderr, "  %.0f s left", spent * (c->total - done) / done);
  fprintf(stderr, "\n");
}

static void begin(clock_of_work *c, const char *what) {
  snprintf(c->what, sizeof c->what, "%s", what);
  tell(c, 0, "");
}

/* ---- training ---- */

typedef struct trained {
  mica_dataset *data;
  mica_preprocess preprocess;
  mica_net *net;
  mica_epoch epoch[64];
  int64_t epochs, all_epochs; /* done, to do */
  mica_evaluation test;       /* with logits and features */
  clock_of_work *clock;
} trained;

static int on_report(void *ctx, const mica_train_metrics *m) {
  trained *r = ctx;
  char news[96];
  snprintf(news, sizeof news, ": epoch %d of %d, loss %.3f", (int)m->epoch + 1, (int)r->all_epochs,
           m->loss);
  if (m->end_of_epoch) {
    r->epoch[r->epochs++] = (mica_epoch){m->loss, m->val_loss, m->val_accuracy};
    snprintf(news, sizeof news, ": epoch %d done, validation %.2f %%", (int)m->epoch + 1,
             100 * m->val_accuracy);
  }
  tell(r->clock, (double)m->step, news);
  return 0;
}

static mica_status open_data(const char *path, int classes, mica_dataset **out) {
  mica_dataset_options o = MICA_DATASET_OPTIONS;
  o.classes = classes == ALL ? "0,1,2,3,4,5,6,7,8,9" : "0,1,2,3,4,5,6,7";
  return mica_dataset_open(path, &o, out);
}

/* A small residual network, trained by gradient descent with momentum, and what it says about the
 * test part. */
static mica_status train(mica_engine *engine, const char *path, int classes, int64_t epochs,
                         clock_of_work *clock, trained *r) {
  mica_stream training = {0}, validation = {0}, test = {0};
  mica_dataset_stream_options s = MICA_DATASET_STREAM_OPTIONS;
  mica_train_options o = MICA_TRAIN_OPTIONS;
  *r = (trained){.clock = clock, .all_epochs = epochs};
  mica_status status = open_data(path, classes, &r->data);
  if (status) return status;
  const mica_shape shape = mica_dataset_shape(r->data);
  r->preprocess = (mica_preprocess)MICA_PREPROCESS(shape.dim[0], shape.dim[1], shape.dim[2]);
  const mica_problem problem =
      MICA_PROBLEM_IMAGES(shape.dim[0], shape.dim[1], shape.dim[2], classes);
  status = mica_dataset_statistics(r->data, r->preprocess.mean, r->preprocess.deviation);
  if (!status) status = mica_net_create(engine, "resnet:depth=8", &problem, 1, &r->net);
  s.batch = BATCH;
  if (!status)
    status =
        mica_dataset_stream_create(r->data, MICA_PART_VALIDATION, &r->preprocess, &s, &validation);
  if (!status)
    status = mica_dataset_stream_create(r->data, MICA_PART_TEST, &r->preprocess, &s, &test);
  s.shuffle = s.flip = true;
  s.crop = 1;
  s.seed = 1;
  if (!status)
    status = mica_dataset_stream_create(r->data, MICA_PART_TRAIN, &r->preprocess, &s, &training);
  o.optimiser = "sgd:lr=0.1:momentum=0.9:weight_decay=5e-4:nesterov=true";
  o.schedule = "cosine:warmup=0.05";
  o.epochs = epochs;
  o.seed = 1;
  o.report_every = 100;
  o.report = on_report;
  o.report_ctx = r;
  if (!status) status = mica_train(r->net, &training, &validation, &o, NULL);
  clock->done += (double)(epochs * training.batches);
  if (!status) status = mica_evaluate(r->net, &test, true, true, &r->test);
  mica_dataset_stream_free(&training);
  mica_dataset_stream_free(&validation);
  mica_dataset_stream_free(&test);
  return status;
}

static void trained_free(trained *r) {
  mica_evaluation_clear(&r->test);
  mica_net_free(r->net);
  mica_dataset_free(r->data);
}

/* ---- items of a data set ---- */

/* Up to `most` items of a part whose class is in [from, to), and their pictures. */
typedef struct items {
  int64_t n, *item, *label;
  uint8_t *pixels;
  mica_view view;
} items;

static void items_free(items *x) {
  free(x->item);
  free(x->label);
  free(x->pixels);
}

static mica_status items_of(const mica_dataset *ds, mica_part part, int from, int to, int64_t most,
                            items *x) {
  const int64_t all = mica_dataset_count(ds);
  const int64_t *labels = mica_tensor_data(mica_dataset_labels(ds));
  const mica_shape s = mica_dataset_shape(ds);
  const int64_t size = s.dim[0] * s.dim[1] * s.dim[2];
  *x = (items){.item = calloc((size_t)all, sizeof *x->item),
               .label = calloc((size_t)all, sizeof *x->label)};
  for (int64_t i = 0; x->item && x->label && i < all && x->n < most; i++)
    if (mica_dataset_part_of(ds, i) == part && labels[i] >= from && labels[i] < to) {
      x->label[x->n] = labels[i];
      x->item[x->n++] = i;
    }
  x->pixels = malloc((size_t)(x->n * size) + 1);
  if (!x->item || !x->label || !x->pixels) return MICA_ERR_MEMORY;
  mica_status status = MICA_OK;
  for (int64_t i = 0; i < x->n && !status; i++)
    status = mica_dataset_read(ds, x->item[i], x->pixels + i * size);
  x->view = mica_view_of(x->pixels, MICA_U8, MICA_SHAPE(x->n, s.dim[0], s.dim[1], s.dim[2]));
  return status;
}

/* ---- the head ---- */

static mica_status features_of(mica_model *model, const items *x, mica_tensor **out) {
  mica_session *session = NULL;
  mica_status status =
      mica_tensor_create(MICA_F32, MICA_SHAPE(x->n, mica_net_features(mica_model_net(model))), out);
  if (!status) status = mica_session_create(model, &session);
  if (!status) status = mica_embed(session, &x->view, mica_tensor_data(*out));
  mica_session_free(session);
  return status;
}

/* The encoder and a head on the features of its own training part, as a model file. The validation
 * part, which the encoder has not seen, tells how unlike a known picture may look. */
static mica_status fit_head(mica_engine *engine, trained *encoder, const char *path) {
  items seen, fresh;
  mica_model *model = NULL;
  mica_estimator *head = NULL;
  mica_tensor *x = NULL, *held_out = NULL;
  mica_fit_data data = MICA_FIT_DATA;
  mica_status status = items_of(encoder->data, MICA_PART_TRAIN, 0, KNOWN, INT64_MAX, &seen);
  mica_status other = items_of(encoder->data, MICA_PART_VALIDATION, 0, KNOWN, INT64_MAX, &fresh);
  if (!status) status = other;
  if (!status) status = mica_model_create(encoder->net, &encoder->preprocess, names, NULL, &model);
  if (!status) encoder->net = NULL; /* the model has it now */
  if (!status) status = features_of(model, &seen, &x);
  if (!status) status = features_of(model, &fresh, &held_out);
  if (!status) status = mica_estimator_create(engine, "prototypes:reject=0.05", &head);
  if (!status) {
    const mica_view calibration = mica_tensor_view(held_out);
    data.x = mica_tensor_view(x);
    data.label = seen.label;
    data.classes = KNOWN;
    data.held_out = &calibration;
    status = mica_estimator_fit(head, &data, NULL);
  }
  if (!status) status = mica_model_put_head(model, "parts", head, names);
  if (!status) head = NULL;
  if (!status) status = mica_model_save(model, path);
  mica_estimator_free(head);
  mica_tensor_free(x);
  mica_tensor_free(held_out);
  mica_model_free(model);
  items_free(&seen);
  items_free(&fresh);
  return status;
}

/* ---- what the program that loads the file sees ---- */

typedef struct seen {
  int64_t n, *predicted;
  double *anomaly;
} seen;

static void seen_free(seen *s) {
  free(s->predicted);
  free(s->anomaly);
}

static mica_status ask(mica_model *model, const items *x, seen *out) {
  mica_session *session = NULL;
  mica_answer *answer = calloc((size_t)x->n + 1, sizeof *answer);
  *out = (seen){x->n, calloc((size_t)x->n + 1, sizeof(int64_t)),
                calloc((size_t)x->n + 1, sizeof(double))};
  mica_status status = answer && out->predicted && out->anomaly
                           ? mica_session_create(model, &session)
                           : MICA_ERR_MEMORY;
  if (!status) status = mica_predict(session, &x->view, answer);
  for (int64_t i = 0; i < x->n && !status; i++) {
    out->predicted[i] = answer[i].label;
    out->anomaly[i] = answer[i].anomaly;
  }
  mica_session_free(session);
  free(answer);
  return status;
}

static double share(const seen *s, int64_t label) {
  int64_t n = 0;
  for (int64_t i = 0; i < s->n; i++) n += s->predicted[i] == label;
  return s->n ? (double)n / (double)s->n : NAN;
}

/* Teach both classes from the `lesson`-th five training pictures of each. */
static mica_status teach(mica_model *model, const mica_dataset *ds, int lesson, double *seconds) {
  mica_status status = MICA_OK;
  *seconds = 0;
  for (int c = KNOWN; c < ALL && !status; c++) {
    items x;
    status = items_of(ds, MICA_PART_TRAIN, c, c + 1, LESSON * (lesson + 1), &x);
    if (!status && x.n < LESSON * (lesson + 1))
      status = mica_fail(MICA_ERR_INVALID, "%d training pictures of %s, expected %d or more",
                         (int)x.n, names[c], LESSON * LESSONS);
    if (!status) {
      const mica_shape *s = &x.view.shape;
      mica_view five = x.view;
      five.shape.dim[0] = LESSON;
      five.data = x.pixels + LESSON * lesson * s->dim[1] * s->dim[2] * s->dim[3];
      const double start = now();
      status = mica_head_add_class(model, names[c], &five);
      if (now() - start > *seconds) *seconds = now() - start;
    }
    items_free(&x);
  }
  return status;
}

/* ---- the report ---- */

typedef struct figures {
  mica_estimate known_before, known_after, all_after, unknown;
  double refused_known, refused_unknown, lesson_seconds;
  mica_estimate added; /* accuracy on the classes taught: mean, least and largest of the lessons */
} figures;

/* Strangers, lessons, and what the model says afterwards; the answers after the first lesson stay
 * for the report. */
static mica_status use_model(mica_engine *engine, const char *path, const char *taught,
                             const mica_dataset *ds, clock_of_work *clock, figures *f, items *test,
                             seen *after) {
  items known, strangers;
  seen before = {0}, strange = {0};
  mica_model *model = NULL;
  mica_status status = items_of(ds, MICA_PART_TEST, 0, KNOWN, INT64_MAX, &known);
  mica_status other = items_of(ds, MICA_PART_TEST, KNOWN, ALL, INT64_MAX, &strangers);
  mica_status third = items_of(ds, MICA_PART_TEST, 0, ALL, INT64_MAX, test);
  if (!status) status = other ? other : third;
  if (!status) status = mica_model_open(engine, path, &model);
  if (!status) status = ask(model, &known, &before);
  if (!status) status = ask(model, &strangers, &strange);
  if (!status)
    status = mica_accuracy(known.n, known.label, before.predicted, 0.95, &f->known_before);
  if (!status) {
    const int64_t n = known.n + strangers.n;
    double *score = calloc((size_t)n + 1, sizeof *score);
    bool *unknown = calloc((size_t)n + 1, sizeof *unknown);
    status = score && unknown ? MICA_OK : MICA_ERR_MEMORY;
    for (int64_t i = 0; i < n && !status; i++) {
      unknown[i] = i >= known.n;
      score[i] = unknown[i] ? strange.anomaly[i - known.n] : before.anomaly[i];
    }
    if (!status) status = mica_auroc(n, score, unknown, 0.95, &f->unknown);
    free(score);
    free(unknown);
  }
  f->refused_known = share(&before, MICA_CLASS_NONE);
  f->refused_unknown = share(&strange, MICA_CLASS_NONE);
  mica_model_free(model);
  for (int lesson = 0; lesson < LESSONS && !status; lesson++) {
    seen now_known = {0};
    mica_estimate accuracy = {0};
    double seconds = 0;
    model = NULL;
    status = mica_model_open(engine, path, &model);
    if (!status) status = teach(model, ds, lesson, &seconds);
    if (!status) status = ask(model, &strangers, &now_known);
    if (!status)
      status = mica_accuracy(strangers.n, strangers.label, now_known.predicted, 0.95, &accuracy);
    f->added.value += accuracy.value / LESSONS;
    f->added.interval.lo = lesson ? fmin(f->added.interval.lo, accuracy.value) : accuracy.value;
    f->added.interval.hi = lesson ? fmax(f->added.interval.hi, accuracy.value) : accuracy.value;
    if (seconds > f->lesson_seconds) f->lesson_seconds = seconds;
    if (!status && lesson == 0) {
      status = mica_model_save(model, taught);
      if (!status) status = ask(model, test, after);
      if (!status)
        status = mica_accuracy(test->n, test->label, after->predicted, 0.95, &f->all_after);
    }
    seen_free(&now_known);
    mica_model_free(model);
    clock->done += 12;
  }
  seen_free(&before);
  seen_free(&strange);
  items_free(&known);
  items_free(&strangers);
  return status;
}

static mica_status interval(mica_report *r, const char *key, const mica_estimate *e,
                            const char *label) {
  return mica_report_interval(r, key, e->value, e->interval.lo, e->interval.hi,
                              strstr(key, "auroc") ? NULL : "fraction", label);
}

static mica_status key_figures(mica_report *r, const trained *network, const mica_answers *ten,
                               const figures *f, double seconds) {
  mica_estimate accuracy;
  mica_status status = mica_accuracy(ten->n, ten->truth, ten->predicted, 0.95, &accuracy);
  if (!status) status = interval(r, "test_accuracy", &accuracy, "Accuracy, ten classes trained");
  if (!status)
    status = mica_report_interval(r, "added_class_accuracy", f->added.value, f->added.interval.lo,
                                  f->added.interval.hi, "fraction", "Accuracy, classes taught");
  if (!status) status = interval(r, "unknown_auroc", &f->unknown, "AUROC, unknown classes");
  if (!status)
    status = mica_report_number(r, "lesson_seconds", f->lesson_seconds, "seconds",
                                "Slowest lesson of five pictures");
  if (!status) status = interval(r, "known_accuracy", &f->known_before, "Accuracy, eight classes");
  if (!status)
    status = mica_report_number(r, "none_of_known", f->refused_known, "fraction",
                                "\"None of these\" of known pictures");
  if (!status)
    status = mica_report_number(r, "none_of_unknown", f->refused_unknown, "fraction",
                                "\"None of these\" of unknown pictures");
  if (!status)
    status = interval(r, "taught_accuracy", &f->all_after, "Accuracy on all ten, two taught");
  if (!status)
    status = mica_report_number(r, "cross_entropy", network->test.loss, NULL,
                                "Cross-entropy, ten classes trained");
  if (!status) status = mica_report_number(r, "seconds", seconds, "seconds", "Time");
  return status;
}

static mica_status write_report(mica_engine *engine, const char *out, const trained *encoder,
                                const trained *network, const figures *f, const items *test,
                                const seen *after, double started) {
  mica_report_options o = MICA_REPORT_OPTIONS;
  mica_report *r = NULL;
  mica_run_record *record = NULL;
  mica_answers ten = {0};
  mica_answers taught = {.n = test->n,
                         .classes = ALL,
                         .names = names,
                         .data = network->data,
                         .item = test->item,
                         .truth = test->label,
                         .predicted = after->predicted,
                         .difficulty = after->anomaly};
  o.title = "Fashion-MNIST: eight classes trained, two taught";
  o.subtitle = "resnet:depth=8, a head of prototypes, five pictures for each new class";
  const mica_view features = mica_tensor_view(network->test.features);
  mica_status status = mica_report_create(&o, &r);
  if (!status) status = mica_answers_of(network->data, MICA_PART_TEST, names, &network->test, &ten);
  if (!status) status = key_figures(r, network, &ten, f, now() - started);
  if (!status)
    status = mica_report_curves(r, "The encoder, eight classes", encoder->epoch, encoder->epochs);
  if (!status) status = mica_report_confusion(r, "After the lesson", &taught);
  if (!status)
    status = mica_report_paragraph(
        r,
        "Bag and Ankle boot were held back from the encoder. Before the lesson, {none_of_unknown} "
        "of their pictures were answered \"none of these\", and {none_of_known} of the others. "
        "The accuracy on the classes taught is a mean over ten lessons of five pictures; the "
        "matrix is of the first.");
  if (!status) status = mica_report_hardest(r, "Least like anything known", &taught, 24);
  if (!status)
    status = mica_report_curves(r, "The network of ten classes", network->epoch, network->epochs);
  if (!status) status = mica_report_confusion(r, "Ten classes trained", &ten);
  if (!status) status = mica_report_hardest(r, "Hardest examples", &ten, 24);
  if (!status) status = mica_report_map(r, "Map of the features", engine, &features, &ten, 1000);
  if (!status) status = mica_run_record_create(&record);
  if (!status) status = mica_run_record_environment(record);
  if (!status) status = mica_report_record(r, record);
  if (!status) status = mica_report_write(r, out);
  if (!status) {
    printf("ten classes trained: test accuracy %.2f %%\n",
           100 * mica_report_value(r, "test_accuracy"));
    printf(
        "two classes taught from %d pictures each, in %.0f ms: accuracy %.2f %% (%.2f to %.2f in "
        "%d lessons)\n",
        LESSON, 1000 * f->lesson_seconds, 100 * f->added.value, 100 * f->added.interval.lo,
        100 * f->added.interval.hi, LESSONS);
    printf("before that, unknown: AUROC %.4f, %.1f %% answered \"none of these\"\n",
           f->unknown.value, 100 * f->refused_unknown);
    printf("report: %s/report.html\n", out);
  }
  mica_answers_free(&ten);
  mica_run_record_free(record);
  mica_report_free(r);
  return status;
}

static mica_status run(mica_engine *engine, const char *data, const char *out) {
  trained encoder = {0}, network = {0};
  figures f = {0};
  items test = {0};
  seen after = {0};
  char parts[4096], taught[4096];
  clock_of_work clock = {.started = now(),
                         .total = (double)(encoder_epochs * 338 + network_epochs * 422) + 450};
  snprintf(parts, sizeof parts, "%s/parts.mica", out);
  snprintf(taught, sizeof taught, "%s/taught.mica", out);
  begin(&clock, "training the encoder on eight classes");
  mica_status status = train(engine, data, KNOWN, encoder_epochs, &clock, &encoder);
  begin(&clock, "fitting the head");
  if (!status) status = fit_head(engine, &encoder, parts);
  clock.done += 130;
  begin(&clock, "training a network on all ten classes");
  if (!status) status = train(engine, data, ALL, network_epochs, &clock, &network);
  begin(&clock, "meeting strangers, then ten lessons");
  if (!status) status = use_model(engine, parts, taught, network.data, &clock, &f, &test, &after);
  begin(&clock, "drawing the report");
  if (!status)
    status = write_report(engine, out, &encoder, &network, &f, &test, &after, clock.started);
  seen_free(&after);
  items_free(&test);
  trained_free(&encoder);
  trained_free(&network);
  return status;
}

int main(int argc, char **argv) {
  mica_engine *engine = NULL;
  if (argc != 3) {
    fprintf(stderr, "usage: fashion DATA OUT\n");
    return 2;
  }
  mica_status status = mica_engine_create(NULL, &engine);
  if (!status) status = run(engine, argv[1], argv[2]);
  if (status) fprintf(stderr, "fashion: %s\n", mica_last_error());
  mica_engine_free(engine);
  return status ? 1 : 0;
}
