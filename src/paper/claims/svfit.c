/* svfit: training the singular values of frozen weights adapts a network to a shifted domain better
 * than its last layer alone, and than a low-rank update of more numbers.
 *
 * rolled   clothes shifted by (4, 4) pixels, 500 of them labelled: accuracy by what is trained
 * blur     a mild shift, as a control: everything does the same
 * family   other adapters on the same vectors, and what makes them work
 * colours  CIFAR-10 with inverted colours, a convolutional network
 */
#include <mica/paper.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct settings {
  uint32_t size;
  int64_t seeds, width, images, epochs, labelled, tests, steps;
  int64_t photos, photo_epochs, photo_labelled, photo_tests;
} settings;

enum { BATCH = 64, CLASSES = 10 };

/* ---- what shifts a domain ---- */

typedef void (*shift_fn)(const float *from, float *to, int64_t side, int64_t channels);

static void roll(const float *from, float *to, int64_t side, int64_t channels) {
  for (int64_t r = 0; r < side; r++)
    for (int64_t c = 0; c < side; c++)
      memcpy(to + (((r + 4) % side) * side + (c + 4) % side) * channels,
             from + (r * side + c) * channels, (size_t)channels * sizeof *to);
}

/* Binomial weights over 3 x 3 pixels; the edge repeats. */
static void blur(const float *from, float *to, int64_t side, int64_t channels) {
  for (int64_t r = 0; r < side; r++)
    for (int64_t c = 0; c < side; c++)
      for (int64_t k = 0; k < channels; k++) {
        float sum = 0;
        for (int64_t i = -1; i <= 1; i++)
          for (int64_t j = -1; j <= 1; j++) {
            const int64_t y = r + i < 0 ? 0 : r + i >= side ? side - 1 : r + i;
            const int64_t x = c + j < 0 ? 0 : c + j >= side ? side - 1 : c + j;
            sum += (float)((2 - i * i) * (2 - j * j)) * from[(y * side + x) * channels + k];
          }
        to[(r * side + c) * channels + k] = sum / 16;
      }
}

static void invert(const float *from, float *to, int64_t side, int64_t channels) {
  for (int64_t i = 0; i < side * side * channels; i++) to[i] = 1 - from[i];
}

static void shift_all(mica_tensor *x, shift_fn shift) {
  const int64_t n = mica_tensor_dim(x, 0), side = mica_tensor_dim(x, 1),
                channels = mica_tensor_dim(x, 3), row = side * side * channels;
  float shifted[32 * 32 * 3];
  for (int64_t i = 0; i < n; i++) {
    float *at = (float *)mica_tensor_data(x) + i * row;
    shift(at, shifted, side, channels);
    memcpy(at, shifted, (size_t)row * sizeof *at);
  }
}

/* ---- what an experiment is about ---- */

typedef struct domain {
  const char *data;
  shift_fn shift;
  bool photos; /* one part only, of which the tests are drawn too; a convolutional network */
} domain;

static const domain rolled = {"fashion-mnist", roll, false};
static const domain blurred = {"fashion-mnist", blur, false};
static const domain inverted = {"cifar-10", invert, true};

static void model_of(const settings *o, const domain *d, char spec[120]) {
  const long long w = (long long)o->width;
  if (d->photos)
    snprintf(spec, 120, "convnet:widths=%lld,%lld,%lld:convolutions=1", w / 16, w / 8, w / 4);
  else
    snprintf(spec, 120, "mlp:hidden=%lld,%lld,%lld", w, w, w);
}

/* What cells of a unit share. */
typedef struct task {
  mica_net *net; /* pre-trained, for the engine of this unit */
  mica_tensor *x, *label, *tests, *truth;
} task;

static void release(void *shared) {
  task *s = shared;
  if (!s) return;
  mica_net_free(s->net);
  mica_tensor_free(s->x);
  mica_tensor_free(s->label);
  mica_tensor_free(s->tests);
  mica_tensor_free(s->truth);
  mica_free(s);
}

/* Photographs of one part: pre-trained on the first, labelled and tests behind them. */
static mica_status draw_photos(mica_claim_cell *cell, const domain *d, task *s, mica_tensor **base,
                               mica_tensor **base_label) {
  const settings *o = cell->options;
  const mica_claim_images *images;
  const int64_t all = o->photos + o->photo_labelled + o->photo_tests;
  mica_status status = mica_claim_data(cell, d->data, MICA_PART_TRAIN, &images);
  if (status != MICA_OK) return status;
  int64_t *item = mica_calloc((size_t)all, sizeof *item);
  if (!item) return MICA_ERR_MEMORY;
  const mica_key key = mica_key_fold_name(cell->key, "photos");
  status = mica_claim_draw(images, key, all, NULL, item);
  if (status == MICA_OK) status = mica_claim_take(images, o->photos, item, base, base_label);
  if (status == MICA_OK)
    status = mica_claim_take(images, o->photo_labelled, item + o->photos, &s->x, &s->label);
  if (status == MICA_OK)
    status = mica_claim_take(images, o->photo_tests, item + o->photos + o->photo_labelled,
                             &s->tests, &s->truth);
  mica_free(item);
  return status;
}

/* The network before its domain shifts, trained on the unit's own photographs. It costs no arm
 * anything: all begin with it. */
static mica_status train_on_photos(mica_claim_cell *cell, const domain *d, mica_tensor *x,
                                   mica_tensor *label, mica_net **out) {
  const settings *o = cell->options;
  const mica_problem problem = MICA_PROBLEM_IMAGES(32, 32, 3, CLASSES);
  mica_stream stream = {0};
  mica_train_options t = MICA_TRAIN_OPTIONS;
  const mica_key key = mica_key_fold_name(cell->key, "pre-training");
  char spec[120];
  model_of(o, d, spec);
  t.optimiser = "adamw:lr=0.003:weight_decay=0.01";
  t.schedule = "cosine";
  t.seed = mica_random_bits(key, 0);
  mica_status status = mica_net_create(cell->engine, spec, &problem, t.seed, out);
  if (status == MICA_OK)
    status = mica_memory_stream_create(x, label, BATCH, true, false, t.seed, &stream);
  if (status == MICA_OK)
    status = mica_claim_train(cell, *out, &stream, o->photo_epochs * stream.batches, &t, NULL);
  if (stream.ctx) mica_memory_stream_free(&stream);
  return status;
}

static mica_status prepare(mica_claim_cell *cell, const domain *d, void **out) {
  const settings *o = cell->options;
  task *s = mica_calloc(1, sizeof *s);
  mica_tensor *base = NULL, *base_label = NULL;
  if (!s) return MICA_ERR_MEMORY;
  const mica_key key = mica_key_fold_name(cell->key, "images");
  mica_status status = MICA_OK;
  if (d->photos) {
    status = draw_photos(cell, d, s, &base, &base_label);
    if (status == MICA_OK) status = train_on_photos(cell, d, base, base_label, &s->net);
  } else {
    mica_pretraining recipe = MICA_PRETRAINING;
    char spec[120];
    model_of(o, d, spec);
    recipe.model = spec;
    recipe.data = d->data;
    recipe.images = o->images;
    recipe.epochs = o->epochs;
    recipe.seed = (uint64_t)cell->seed;
    status = mica_claim_encoder(cell, &recipe, &s->net);
    if (status == MICA_OK)
      status = mica_claim_pictures(cell, d->data, MICA_PART_TRAIN, key, o->labelled, NULL, &s->x,
                                   &s->label);
    if (status == MICA_OK)
      status = mica_claim_pictures(cell, d->data, MICA_PART_TEST, key, o->tests, NULL, &s->tests,
                                   &s->truth);
  }
  if (status == MICA_OK) {
    shift_all(s->x, d->shift);
    shift_all(s->tests, d->shift);
    *out = s;
  } else {
    release(s);
  }
  mica_tensor_free(base);
  mica_tensor_free(base_label);
  return status;
}

static mica_status prepare_rolled(mica_claim_cell *cell, void **out) {
  return prepare(cell, &rolled, out);
}
static mica_status prepare_blurred(mica_claim_cell *cell, void **out) {
  return prepare(cell, &blurred, out);
}
static mica_status prepare_inverted(mica_claim_cell *cell, void **out) {
  return prepare(cell, &inverted, out);
}

/* ---- one arm ---- */

/* A copy of the shared network. */
static mica_status copy_net(mica_claim_cell *cell, const task *s, mica_net **out) {
  char *text = mica_net_text(s->net);
  if (!text) return MICA_ERR_MEMORY;
  mica_status status = mica_net_create(cell->engine, text, mica_net_problem(s->net), 0, out);
  mica_free(text);
  return status == MICA_OK ? mica_params_copy(mica_net_params(*out), mica_net_params(s->net))
                           : status;
}

static mica_status logits_of(const mica_net *net, const task *s, mica_tensor **out) {
  mica_stream stream;
  mica_evaluation e = {0};
  mica_status status = mica_memory_stream_create(s->tests, s->truth, 250, false, false, 0, &stream);
  if (status != MICA_OK) return status;
  status = mica_evaluate(net, &stream, true, false, &e);
  if (status == MICA_OK) *out = mica_tensor_retain(e.logits);
  mica_evaluation_clear(&e);
  mica_memory_stream_free(&stream);
  return status;
}

/* The largest difference, relative to the largest logit above 1. */
static double gap(const mica_tensor *a, const mica_tensor *b) {
  double most = 0, largest = 1;
  for (int64_t i = 0; i < mica_tensor_count(a); i++) {
    most = fmax(most, fabs(mica_tensor_get(a, i) - mica_tensor_get(b, i)));
    largest = fmax(largest, fabs(mica_tensor_get(b, i)));
  }
  return most / largest;
}

static mica_status report_gap(mica_claim_cell *cell, const char *measure, const mica_net *net,
                              mica_tensor *before) {
  const task *s = cell->shared;
  mica_tensor *now = NULL;
  mica_status status = logits_of(net, s, &now);
  if (status == MICA_OK) status = mica_claim_report(cell, measure, gap(now, before));
  mica_tensor_free(now);
  return status;
}

/* How an arm is trained; `spec` of the arm is the adapter, NULL: the head alone. */
typedef struct rate {
  double lr;
} rate;

static mica_status adapt(mica_claim_cell *cell, mica_net *net) {
  const settings *o = cell->options;
  const task *s = cell->shared;
  const rate *r = cell->arm->own;
  mica_params *p = mica_net_params(net);
  mica_train_options t = MICA_TRAIN_OPTIONS;
  char optimiser[80];
  mica_tensor *before = NULL, *after = NULL;
  snprintf(optimiser, sizeof optimiser, "adamw:lr=%g:weight_decay=0.01", r->lr);
  t.optimiser = optimiser;
  t.schedule = "constant";
  t.seed = mica_random_bits(mica_key_fold_name(cell->key, "order"), 0);
  mica_params_set_seed(p, t.seed);
  mica_status status = logits_of(net, s, &before);
  if (status == MICA_OK) status = mica_params_train_only(p, "output");
  if (status == MICA_OK && cell->arm->spec) status = mica_adapt(p, NULL, cell->arm->spec, NULL);
  const int64_t own = mica_params_trained(p) - mica_params_elements(p, MICA_PARAM_OUTPUT);
  if (status == MICA_OK) status = mica_claim_report(cell, "trained", (double)own);
  if (status == MICA_OK) status = report_gap(cell, "start", net, before);
  if (status == MICA_OK)
    status = mica_claim_train_on(cell, net, s->x, s->label, BATCH, true, o->steps, &t);
  if (status == MICA_OK) status = logits_of(net, s, &after);
  if (status == MICA_OK) status = mica_adapters_merge(p);
  if (status == MICA_OK) status = report_gap(cell, "merged", net, after);
  mica_tensor_free(before);
  mica_tensor_free(after);
  return status;
}

static mica_status run(mica_claim_cell *cell) {
  const task *s = cell->shared;
  mica_net *net = NULL;
  double accuracy = 0;
  mica_status status = MICA_OK;
  if (cell->arm->role == MICA_ARM_TRIVIAL && !cell->arm->spec) {
    const int64_t n = mica_tensor_count(s->truth);
    const int64_t right =
        mica_claim_majority(mica_tensor_count(s->label), mica_tensor_data(s->label), CLASSES, n,
                            mica_tensor_data(s->truth));
    return mica_claim_report(cell, "accuracy", (double)right / (double)n);
  }
  status = copy_net(cell, s, &net);
  if (status == MICA_OK && cell->arm->own) status = adapt(cell, net);
  if (status == MICA_OK) status = mica_claim_accuracy(net, s->tests, s->truth, &accuracy);
  if (status == MICA_OK) status = mica_claim_report(cell, "accuracy", accuracy);
  mica_net_free(net);
  return status;
}

/* ---- the claim ---- */

static const rate third = {0.3}, tenth = {0.1}, thirtieth = {0.03}, hundredth = {0.01},
                  threehundredth = {0.003}, thousandth = {0.001}, slowest = {0.0003};

#define MAIN_ARMS                                                                                  \
  {"head.1", "the last layer, rate 0.01", MICA_ARM_BASELINE, NULL, &hundredth},                    \
      {"head.2", "the last layer, rate 0.003", MICA_ARM_BASELINE, NULL, &threehundredth},          \
      {"lora-1.1", "LoRA of rank 1, rate 0.01", MICA_ARM_BASELINE, "lora:rank=1:alpha=1",          \
       &hundredth},                                                                                \
      {"lora-1.2", "LoRA of rank 1, rate 0.003", MICA_ARM_BASELINE, "lora:rank=1:alpha=1",         \
       &threehundredth},                                                                           \
      {"lora-8.1", "LoRA of rank 8, rate 0.01", MICA_ARM_CONTEXT, "lora:rank=8:alpha=8",           \
       &hundredth},                                                                                \
      {"lora-8.2", "LoRA of rank 8, rate 0.003", MICA_ARM_CONTEXT, "lora:rank=8:alpha=8",          \
       &threehundredth},                                                                           \
      {"svfit-32.1", "32 singular values, rate 0.1", MICA_ARM_METHOD, "svfit:rank=32", &tenth},    \
      {"svfit-32.2", "32 singular values, rate 0.03", MICA_ARM_METHOD, "svfit:rank=32",            \
       &thirtieth},                                                                                \
      {"svfit-full.1", "all singular values, rate 0.1", MICA_ARM_METHOD, "svfit:energy=0",         \
       &tenth},                                                                                    \
      {"svfit-full.2", "all singular values, rate 0.03", MICA_ARM_METHOD, "svfit:energy=0",        \
       &thirtieth},                                                                                \
      {"full.1", "everything, rate 0.001", MICA_ARM_CONTEXT, "full", &thousandth},                 \
      {"full.2", "everything, rate 0.0003", MICA_ARM_CONTEXT, "full", &slowest},                   \
      {"unchanged", "the network as it was", MICA_ARM_TRIVIAL, "none", NULL}, {                    \
    "majority", "always the most frequent class", MICA_ARM_TRIVIAL, NULL, NULL                     \
  }

static const mica_claim_arm main_arms[] = {MAIN_ARMS, {0}};
static const mica_claim_arm blur_arms[] = {
    {"head.1", "the last layer, rate 0.01", MICA_ARM_BASELINE, NULL, &hundredth},
    {"head.2", "the last layer, rate 0.003", MICA_ARM_BASELINE, NULL, &threehundredth},
    {"lora-8.1", "LoRA of rank 8, rate 0.01", MICA_ARM_BASELINE, "lora:rank=8:alpha=8", &hundredth},
    {"lora-8.2", "LoRA of rank 8, rate 0.003", MICA_ARM_BASELINE, "lora:rank=8:alpha=8",
     &threehundredth},
    {"svfit-full.1", "all singular values, rate 0.1", MICA_ARM_METHOD, "svfit:energy=0", &tenth},
    {"svfit-full.2", "all singular values, rate 0.03", MICA_ARM_METHOD, "svfit:energy=0",
     &thirtieth},
    {"unchanged", "the network as it was", MICA_ARM_TRIVIAL, "none", NULL},
    {0}};

static const mica_claim_arm family_arms[] = {
    {"top", "the first 32 singular values", MICA_ARM_METHOD, "svfit:rank=32", &tenth},
    {"bottom", "the last 32", MICA_ARM_CONTEXT, "svfit:rank=32:values=bottom", &tenth},
    {"drawn", "32 at random", MICA_ARM_CONTEXT, "svfit:rank=32:values=random", &tenth},
    {"rank-8", "the first 8", MICA_ARM_CONTEXT, "svfit:rank=8", &tenth},
    {"rank-128", "the first 128", MICA_ARM_CONTEXT, "svfit:rank=128", &tenth},
    {"all", "all 256", MICA_ARM_METHOD, "svfit:energy=0", &tenth},
    {"energy", "99 % of the energy", MICA_ARM_CONTEXT, "svfit:energy=0.99", &tenth},
    {"all-slow", "all 256, at rate 0.01, which is LoRA's", MICA_ARM_CONTEXT, "svfit:energy=0",
     &hundredth},
    {"all-fast", "all 256, at rate 0.3", MICA_ARM_CONTEXT, "svfit:energy=0", &third},
    {"random-basis", "256 random orthogonal directions", MICA_ARM_CONTROL,
     "svfit:energy=0:basis=random", &tenth},
    {"svft", "and the elements beside the diagonal", MICA_ARM_CONTEXT, "svft:band=1", &thirtieth},
    {"svft-random", "and as many drawn at random", MICA_ARM_CONTEXT, "svft:band=1:pattern=random",
     &thirtieth},
    {"lora-xs", "16 x 16 between the first vectors", MICA_ARM_CONTEXT, "lora-xs:rank=16",
     &thirtieth},
    {"pissa", "factors of the first 8", MICA_ARM_CONTEXT, "pissa:rank=8", &threehundredth},
    {"milora", "factors of the last 8", MICA_ARM_CONTEXT, "milora:rank=8", &threehundredth},
    {"bitfit", "biases", MICA_ARM_CONTEXT, "bitfit", &hundredth},
    {0}};

static const mica_claim_measure measures[] = {
    {"accuracy", "test accuracy", false},
    {"trained", "trained numbers besides the last layer", true},
    {"start", "relative difference of the outputs before training", true},
    {"merged", "relative difference of merged and unmerged outputs", true},
    {0}};

#define BETTER(what, method, baseline, threshold, shown)                                           \
  {                                                                                                \
    what, MICA_CHECK_DIFFERENCE, "accuracy", {method, 0, 0}, {baseline, 0, 0}, threshold, false,   \
        NULL, shown                                                                                \
  }
#define AT_MOST(what, measure, arm, threshold)                                                     \
  { what, MICA_CHECK_VALUE, measure, {arm, 0, 0}, {NULL, 0, 0}, threshold, false, NULL, false }

static const mica_claim_check rolled_checks[] = {
    BETTER("all singular values, 768 numbers, are better than rank 1 of LoRA, 2,064 numbers",
           "svfit-full*", "lora-1*", 0.01, false),
    BETTER("and than the last layer alone", "svfit-full*", "head*", 0.03, false),
    AT_MOST("before training the outputs are those of the network as it was", "start",
            "svfit-full.1", 1e-5),
    AT_MOST("after training merged weights give the same outputs", "merged", "svfit-full.1", 1e-5),
    BETTER("32 values of each layer are better than rank 1 of LoRA", "svfit-32*", "lora-1*", 0,
           true),
    BETTER("all singular values against rank 8 of LoRA, 16,512 numbers", "svfit-full*", "lora-8*",
           0, true),
    {0}};
static const mica_claim_check blur_checks[] = {
    BETTER("a mild shift: all singular values are no worse than rank 8 of LoRA by more than 0.01",
           "svfit-full*", "lora-8*", -0.01, true),
    {0}};
static const mica_claim_check family_checks[] = {
    BETTER("the first values are better than as many of the last", "top", "bottom", 0, true),
    BETTER("singular vectors are better than random directions", "all", "random-basis", 0, true),
    {0}};
static const mica_claim_check colour_checks[] = {
    BETTER("on photographs all singular values are better than the last layer alone", "svfit-full*",
           "head*", 0, false),
    BETTER("and than rank 1 of LoRA", "svfit-full*", "lora-1*", 0, true),
    BETTER("and than rank 8 of LoRA", "svfit-full*", "lora-8*", 0, true),
    AT_MOST("merged kernels give the same outputs", "merged", "svfit-full.1", 1e-5),
    {0}};

static const mica_claim_experiment experiments[] = {
    {.name = "rolled",
     .title = "Test accuracy on clothes shifted by (4, 4) pixels, after training on 500 of them",
     .arms = main_arms,
     .measures = measures,
     .checks = rolled_checks,
     .note = "The last layer is trained in every arm. Each arm has two rates; a check takes the "
             "better one of both sides. LoRA of rank 8 stays ahead here: the row and column spaces "
             "of frozen vectors cannot turn, and this shift is a large one.",
     .prepare = prepare_rolled,
     .release = release,
     .run = run},
    {.name = "colours",
     .title =
         "Test accuracy on photographs (CIFAR-10) of inverted colours, a convolutional network",
     .arms = main_arms,
     .measures = measures,
     .checks = colour_checks,
     .note = "Kernels are taken as matrices [outputs, the rest]. 4,000 photographs in the original "
             "form are drawn from: to pre-train on, to adapt with, to test on.",
     .prepare = prepare_inverted,
     .release = release,
     .run = run},
    {.name = "blur",
     .title = "The same for a mild blur, as a control",
     .arms = blur_arms,
     .measures = measures,
     .checks = blur_checks,
     .prepare = prepare_blurred,
     .release = release,
     .run = run},
    {.name = "family",
     .title = "Adapters on the vectors of the frozen weights, rolled clothes",
     .arms = family_arms,
     .measures = measures,
     .checks = family_checks,
     .note = "One rate for each: what worked for its kind in a trial with another seed.",
     .prepare = prepare_rolled,
     .release = release,
     .run = run},
    {0}};

#define ROW(name, def, lo, hi, help)                                                               \
  { #name, MICA_OPTION_INT, def, lo, hi, NULL, help, offsetof(settings, name) }
static const mica_option options[] = {
    ROW(seeds, "5", 1, 1000, "seeds"),
    ROW(width, "256", 16, 4096, "of the hidden layers; colours: a 16th, an eighth and a quarter"),
    ROW(images, "30000", 100, 60000, "images of the pre-training"),
    ROW(epochs, "3", 1, 1000, "epochs of the pre-training"),
    ROW(labelled, "500", 64, 60000, "labelled images of the shifted domain"),
    ROW(tests, "5000", 100, 10000, "test images"),
    ROW(steps, "400", 1, 100000, "steps of every arm"),
    ROW(photos, "2000", 100, 4000, "colours: photographs of the pre-training"),
    ROW(photo_epochs, "12", 1, 1000, "colours: epochs of the pre-training"),
    ROW(photo_labelled, "500", 64, 4000, "colours: labelled photographs of the shifted domain"),
    ROW(photo_tests, "1500", 100, 4000, "colours: test photographs"),
    {0}};

static const mica_paper_functions functions = {
    .size = sizeof functions,
    .title = "SVFit: Parameter-Efficient Fine-Tuning of Large Pre-Trained Models Using Singular "
             "Values",
    .arxiv = "2409.05926",
    .claim = "Training the singular values of frozen weights adapts a network better than a "
             "low-rank update of more numbers",
    .components = "adapter:svfit adapter:svf adapter:svft adapter:lora-xs adapter:pissa "
                  "adapter:milora adapter:bitfit adapter:full",
    .smoke = "seeds=1:width=128:images=500:epochs=1:labelled=64:tests=200:steps=5:photos=128:"
             "photo_epochs=1:photo_labelled=64:photo_tests=128",
    .recorded = MICA_VERDICT_NOT_SHOWN,
    .experiments = experiments};

extern const mica_component mica_component_paper_svfit;
const mica_component mica_component_paper_svfit = {MICA_COMPONENT_HEAD,
                                                   MICA_KIND_PAPER,
                                                   "svfit",
                                                   "fine-tuning the singular values of weights",
                                                   "svfit",
                                                   options,
                                                   sizeof(settings),
                                                   0,
                                                   0,
                                                   &functions};
