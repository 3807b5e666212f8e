/* norm-direction-distillation: a student whose features are turned to the teacher's class means,
 * and made longer, learns more from distillation.
 *
 * clothes   2,000 pictures of Fashion-MNIST, a student a fifth as wide as its teacher
 * terms     the same with other distillation losses, and the term's parts alone
 * photos    CIFAR-10, a student half as wide
 */
#include <mica/paper.h>
#include <mica/scheme.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct settings {
  uint32_t size;
  int64_t seeds, images, epochs, tests, teacher_images, teacher_epochs, teacher_width, width;
  int64_t term_epochs, photos, photo_tests, photo_epochs, photo_width;
  double lr;
} settings;

enum { BATCH = 64, CLASSES = 10 };

/* ---- data and teacher ---- */

typedef struct task {
  mica_net *teacher;
  mica_tensor *x, *label, *tests, *truth;
  mica_problem problem;
  int64_t epochs, width; /* of the student */
} task;

static void release(void *shared) {
  task *s = shared;
  if (!s) return;
  mica_net_free(s->teacher);
  mica_tensor_free(s->x);
  mica_tensor_free(s->label);
  mica_tensor_free(s->tests);
  mica_tensor_free(s->truth);
  mica_free(s);
}

static void model_of(int64_t width, char spec[80]) {
  const long long w = (long long)width;
  snprintf(spec, 80, "convnet:widths=%lld,%lld,%lld:convolutions=1", w, 2 * w, 4 * w);
}

static mica_status prepare(mica_claim_cell *cell, int64_t epochs, void **out) {
  const settings *o = cell->options;
  task *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  const mica_key key = mica_key_fold_name(cell->key, "images");
  mica_pretraining recipe = MICA_PRETRAINING;
  char spec[80];
  model_of(o->teacher_width, spec);
  recipe.model = spec;
  recipe.data = "fashion-mnist";
  recipe.optimiser = "adamw:lr=0.01:weight_decay=0.05";
  recipe.schedule = "cosine";
  recipe.images = o->teacher_images;
  recipe.epochs = o->teacher_epochs;
  s->problem = (mica_problem)MICA_PROBLEM_IMAGES(28, 28, 1, CLASSES);
  s->epochs = epochs;
  s->width = o->width;
  mica_status status = mica_claim_encoder(cell, &recipe, &s->teacher);
  if (status == MICA_OK)
    status = mica_claim_pictures(cell, recipe.data, MICA_PART_TRAIN, key, o->images, NULL, &s->x,
                                 &s->label);
  if (status == MICA_OK)
    status = mica_claim_pictures(cell, recipe.data, MICA_PART_TEST, key, o->tests, NULL, &s->tests,
                                 &s->truth);
  if (status == MICA_OK)
    *out = s;
  else
    release(s);
  return status;
}

static mica_status prepare_clothes(mica_claim_cell *cell, void **out) {
  return prepare(cell, ((const settings *)cell->options)->epochs, out);
}

static mica_status prepare_terms(mica_claim_cell *cell, void **out) {
  return prepare(cell, ((const settings *)cell->options)->term_epochs, out);
}

/* 4,000 photographs in their original form: tests are drawn behind those that are trained on. */
static mica_status draw_photos(mica_claim_cell *cell, task *s) {
  const settings *o = cell->options;
  const mica_claim_images *images;
  mica_status status = mica_claim_data(cell, "cifar-10", MICA_PART_TRAIN, &images);
  if (status != MICA_OK) return status;
  int64_t *item = mica_calloc((size_t)(o->photos + o->photo_tests), sizeof *item);
  if (!item) return MICA_ERR_MEMORY;
  status = mica_claim_draw(images, mica_key_fold_name(cell->key, "photos"),
                           o->photos + o->photo_tests, NULL, item);
  if (status == MICA_OK) status = mica_claim_take(images, o->photos, item, &s->x, &s->label);
  if (status == MICA_OK)
    status = mica_claim_take(images, o->photo_tests, item + o->photos, &s->tests, &s->truth);
  mica_free(item);
  return status;
}

/* The teacher of photographs learns from the same ones. It costs no arm anything. */
static mica_status prepare_photos(mica_claim_cell *cell, void **out) {
  const settings *o = cell->options;
  task *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  const uint64_t seed = mica_random_bits(mica_key_fold_name(cell->key, "teacher"), 0);
  mica_stream stream = {0};
  mica_train_options t = MICA_TRAIN_OPTIONS;
  char spec[80];
  model_of(o->teacher_width, spec);
  t.optimiser = "adamw:lr=0.01:weight_decay=0.05";
  t.schedule = "cosine";
  t.seed = seed;
  s->problem = (mica_problem)MICA_PROBLEM_IMAGES(32, 32, 3, CLASSES);
  s->epochs = o->photo_epochs;
  s->width = o->photo_width;
  mica_status status = draw_photos(cell, s);
  if (status == MICA_OK)
    status = mica_net_create(cell->engine, spec, &s->problem, seed, &s->teacher);
  if (status == MICA_OK)
    status = mica_memory_stream_create(s->x, s->label, BATCH, true, false, seed, &stream);
  if (status == MICA_OK)
    status =
        mica_claim_train(cell, s->teacher, &stream, o->photo_epochs * stream.batches, &t, NULL);
  if (stream.ctx) mica_memory_stream_free(&stream);
  if (status == MICA_OK)
    *out = s;
  else
    release(s);
  return status;
}

/* ---- what the features of the tests are like ---- */

/* Norm and cosine to the teacher's class mean, means over the tests, of the student's features
 * where the term sees them: behind its adapter, which it has where the widths differ. */
static mica_status look(mica_claim_cell *cell, const mica_net *net) {
  const task *s = cell->shared;
  mica_node *loss = mica_node_find(mica_params_root(mica_net_params(net)), "loss.2");
  mica_node *linear = loss ? mica_node_find(loss, "linear") : NULL;
  mica_stream stream;
  mica_evaluation e = {0};
  mica_tensor *means = NULL;
  mica_tape *t = NULL;
  double norm = 0, cosine = 0, bare = 0;
  mica_status status = mica_memory_stream_create(s->x, s->label, 250, false, false, 0, &stream);
  if (status != MICA_OK) return status;
  status = mica_class_means(s->teacher, &stream, CLASSES, &means);
  mica_memory_stream_free(&stream);
  if (status == MICA_OK)
    status = mica_memory_stream_create(s->tests, s->truth, 250, false, false, 0, &stream);
  if (status == MICA_OK) {
    status = mica_evaluate(net, &stream, false, true, &e);
    mica_memory_stream_free(&stream);
  }
  if (status == MICA_OK) status = mica_tape_create(cell->engine, NULL, &t);
  if (status == MICA_OK) {
    mica_no_grad_begin(t);
    mica_var x = mica_input(t, e.features);
    bare = mica_item(t, mica_mean(t, mica_norm(t, x, -1, false), 0, NULL, false));
    if (linear) {
      x = mica_nn_batch_norm(t, mica_node_find(loss, "norm"), MICA_IDENTITY, x);
      x = mica_nn_linear(t, linear, x);
      const mica_var mean = mica_gather_rows(t, mica_input(t, means), mica_input(t, s->truth));
      norm = mica_item(t, mica_mean(t, mica_norm(t, x, -1, false), 0, NULL, false));
      cosine =
          mica_item(t, mica_mean(t, mica_cosine_similarity(t, x, mean, 1e-12), 0, NULL, false));
    }
    status = mica_tape_status(t);
  }
  if (status == MICA_OK) status = mica_claim_report(cell, "bare_norm", bare);
  if (status == MICA_OK && linear) status = mica_claim_report(cell, "norm", norm);
  if (status == MICA_OK && linear) status = mica_claim_report(cell, "cosine", cosine);
  mica_tape_free(t);
  mica_tensor_free(means);
  mica_evaluation_clear(&e);
  return status;
}

/* ---- one arm ---- */

static mica_status train_student(mica_claim_cell *cell, mica_net *net) {
  const task *s = cell->shared;
  const uint64_t seed = mica_random_bits(mica_key_fold_name(cell->key, "order"), 0);
  mica_stream stream;
  mica_scheme *scheme = NULL;
  mica_train_options t = MICA_TRAIN_OPTIONS;
  char optimiser[64];
  snprintf(optimiser, sizeof optimiser, "adamw:lr=%g:weight_decay=0.01",
           ((const settings *)cell->options)->lr);
  t.optimiser = optimiser;
  t.schedule = "cosine";
  t.seed = seed;
  mica_status status = mica_memory_stream_create(s->x, s->label, BATCH, true, false, seed, &stream);
  if (status != MICA_OK) return status;
  const mica_scheme_setting setting = {
      .size = sizeof setting, .net = net, .train = &stream, .teacher = s->teacher};
  status =
      mica_scheme_create(cell->engine, "distil:taps=pyramid", &setting, cell->arm->spec, &scheme);
  if (status == MICA_OK) {
    t.scheme = scheme;
    t.loss = mica_scheme_loss(scheme);
    status = mica_claim_train(cell, net, &stream, s->epochs * stream.batches, &t, NULL);
  }
  mica_scheme_free(scheme);
  mica_memory_stream_free(&stream);
  return status;
}

static mica_status run(mica_claim_cell *cell) {
  const task *s = cell->shared;
  mica_net *net = NULL;
  char spec[80];
  double accuracy = 0;
  mica_status status = MICA_OK;
  if (cell->arm->role == MICA_ARM_TRIVIAL && !cell->arm->spec) {
    const int64_t n = mica_tensor_count(s->truth);
    const int64_t right =
        mica_claim_majority(mica_tensor_count(s->label), mica_tensor_data(s->label), CLASSES, n,
                            mica_tensor_data(s->truth));
    return mica_claim_report(cell, "accuracy", (double)right / (double)n);
  }
  if (strcmp(cell->arm->name, "teacher") == 0) {
    status = mica_claim_accuracy(s->teacher, s->tests, s->truth, &accuracy);
    return status == MICA_OK ? mica_claim_report(cell, "accuracy", accuracy) : status;
  }
  model_of(s->width, spec);
  const uint64_t seed = mica_random_bits(mica_key_fold_name(cell->key, "student"), 0);
  status = mica_net_create(cell->engine, spec, &s->problem, seed, &net);
  if (status == MICA_OK) status = train_student(cell, net);
  if (status == MICA_OK) status = mica_claim_accuracy(net, s->tests, s->truth, &accuracy);
  if (status == MICA_OK) status = mica_claim_report(cell, "accuracy", accuracy);
  if (status == MICA_OK) status = look(cell, net);
  mica_net_free(net);
  return status;
}

/* ---- the claim ---- */

#define MAIN_ARMS                                                                                  \
  {"kd-nd", "distillation with norm and direction (KD++)", MICA_ARM_METHOD, "ce+kd:T=4+2*nd",      \
   NULL},                                                                                          \
      {"kd", "distillation of the logits", MICA_ARM_BASELINE, "ce+kd:T=4", NULL},                  \
      {"kd-cosine", "with the direction alone", MICA_ARM_BASELINE,                                 \
       "ce+kd:T=4+2*nd:form=direction", NULL},                                                     \
      {"ce", "the labels alone", MICA_ARM_BASELINE, "ce", NULL},                                   \
      {"teacher", "the teacher itself", MICA_ARM_CONTEXT, NULL, NULL}, {                           \
    "majority", "always the most frequent class", MICA_ARM_TRIVIAL, NULL, NULL                     \
  }

static const mica_claim_arm main_arms[] = {MAIN_ARMS, {0}};
static const mica_claim_arm term_arms[] = {
    {"kd-norm", "KD with the norm alone", MICA_ARM_CONTEXT, "ce+kd:T=4+2*nd:form=norm", NULL},
    {"kd-mse", "KD with the distance to the class mean", MICA_ARM_CONTEXT,
     "ce+kd:T=4+2*nd:form=mse", NULL},
    {"kd-sample", "KD with norm and direction of each example's teacher feature", MICA_ARM_CONTEXT,
     "ce+kd:T=4+2*nd:target=sample", NULL},
    {"nd", "norm and direction without KD", MICA_ARM_CONTEXT, "ce+0*kd+2*nd", NULL},
    {"dkd", "decoupled distillation", MICA_ARM_BASELINE, "ce+dkd:alpha=1:beta=2", NULL},
    {"dkd-nd", "with norm and direction (DKD++)", MICA_ARM_METHOD, "ce+dkd:alpha=1:beta=2+2*nd",
     NULL},
    {"dist", "correlations", MICA_ARM_BASELINE, "ce+dist", NULL},
    {"dist-nd", "with norm and direction (DIST++)", MICA_ARM_METHOD, "ce+dist+2*nd", NULL},
    {"review", "knowledge review", MICA_ARM_BASELINE, "ce+review", NULL},
    {"review-nd", "with norm and direction (ReviewKD++)", MICA_ARM_METHOD, "ce+review+2*nd", NULL},
    {0}};

static const mica_claim_measure measures[] = {
    {"accuracy", "test accuracy", false},
    {"norm", "mean norm of the features, where the term sees them", false},
    {"cosine", "mean cosine to the teacher's class mean, likewise", false},
    {"bare_norm", "mean norm of the student's own features", false},
    {0}};

#define CHECK(what, measure, method, baseline, threshold, shown)                                   \
  {                                                                                                \
    what, MICA_CHECK_DIFFERENCE, measure, {method, 0, 0}, {baseline, 0, 0}, threshold, false,      \
        NULL, shown                                                                                \
  }

static const mica_claim_check clothes_checks[] = {
    CHECK("with norm and direction distillation is no worse, by 0.003 at most", "accuracy", "kd-nd",
          "kd", -0.003, false),
    CHECK("the norm is larger than with the direction alone", "norm", "kd-nd", "kd-cosine", 0,
          false),
    CHECK("distillation is better than the labels alone", "accuracy", "kd", "ce", 0, false),
    CHECK("so it is with norm and direction", "accuracy", "kd-nd", "ce", 0, true),
    CHECK("with norm and direction distillation is better", "accuracy", "kd-nd", "kd", 0, true),
    CHECK("and better than with the direction alone", "accuracy", "kd-nd", "kd-cosine", 0, true),
    {0}};
static const mica_claim_check photo_checks[] = {
    CHECK("on photographs distillation with norm and direction is better than the labels alone",
          "accuracy", "kd-nd", "ce", 0, false),
    CHECK("and no worse than distillation, by 0.01 at most", "accuracy", "kd-nd", "kd", -0.01,
          true),
    CHECK("the norm is larger than with the direction alone", "norm", "kd-nd", "kd-cosine", 0,
          true),
    {0}};
static const mica_claim_check term_checks[] = {
    CHECK("DKD++ against DKD", "accuracy", "dkd-nd", "dkd", 0, true),
    CHECK("DIST++ against DIST", "accuracy", "dist-nd", "dist", 0, true),
    CHECK("ReviewKD++ against ReviewKD", "accuracy", "review-nd", "review", 0, true),
    {0}};

static const mica_claim_experiment experiments[] = {
    {.name = "clothes",
     .title = "Test accuracy of a student after training on 2,000 pictures of clothes",
     .arms = main_arms,
     .measures = measures,
     .checks = clothes_checks,
     .note = "All students of a seed begin with the same values and see the same batches. The "
             "teacher was trained on more pictures and is one for all seeds.",
     .prepare = prepare_clothes,
     .release = release,
     .run = run},
    {.name = "photos",
     .title = "Test accuracy of a student on photographs (CIFAR-10)",
     .arms = main_arms,
     .measures = measures,
     .checks = photo_checks,
     .note = "Teacher and student learn from the same photographs of the 4,000 in the original "
             "form; the rest are the tests.",
     .prepare = prepare_photos,
     .release = release,
     .run = run},
    {.name = "terms",
     .title = "Other distillation losses with and without the term, and its parts",
     .arms = term_arms,
     .measures = measures,
     .checks = term_checks,
     .prepare = prepare_terms,
     .release = release,
     .run = run},
    {0}};

#define ROW(name, def, lo, hi, help)                                                               \
  { #name, MICA_OPTION_INT, def, lo, hi, NULL, help, offsetof(settings, name) }
static const mica_option options[] = {
    ROW(seeds, "5", 1, 1000, "seeds"),
    ROW(images, "2000", 100, 60000, "training images"),
    ROW(epochs, "60", 1, 1000, "epochs of every student"),
    ROW(term_epochs, "30", 1, 1000, "terms: the same"),
    ROW(tests, "5000", 100, 10000, "test images"),
    ROW(teacher_images, "12000", 100, 60000, "training images of the teacher"),
    ROW(teacher_epochs, "8", 1, 1000, "its epochs"),
    ROW(teacher_width, "20", 1, 1024, "width of its first convolution"),
    ROW(width, "4", 1, 1024, "the same of the student"),
    ROW(photos, "2800", 100, 4000, "photos: training images"),
    ROW(photo_tests, "1200", 100, 4000, "photos: test images"),
    ROW(photo_epochs, "60", 1, 1000, "photos: epochs of teacher and student"),
    ROW(photo_width, "10", 1, 1024, "photos: width of the student"),
    {"lr", MICA_OPTION_FLOAT, "0.03", 1e-6, 1, NULL, "largest learning rate of the students",
     offsetof(settings, lr)},
    {0}};

static const mica_paper_functions functions = {
    .size = sizeof functions,
    .title = "Improving Knowledge Distillation via Regularizing Feature Norm and Direction",
    .arxiv = "2305.17007",
    .claim = "Turning a student's features to the teacher's class means and making them longer "
             "improves distillation",
    .components = "loss:nd loss:dkd loss:dist loss:review scheme:distil",
    .smoke =
        "seeds=1:images=128:epochs=1:term_epochs=1:tests=200:teacher_images=256:teacher_epochs=1:"
        "teacher_width=6:width=2:photos=128:photo_tests=128:photo_epochs=1:photo_width=2",
    .recorded = MICA_VERDICT_NOT_SHOWN,
    .experiments = experiments};

extern const mica_component mica_component_paper_norm_direction_distillation;
const mica_component mica_component_paper_norm_direction_distillation = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_PAPER,
    "norm-direction-distillation",
    "distillation of norm and direction",
    "norm-direction-distillation",
    options,
    sizeof(settings),
    0,
    0,
    &functions};
