/* What composes with what: docs/composition.md is made from the components' descriptors, every pair
 * that they call legal is trained for two steps, and every pair that they call illegal is refused.
 *
 *     build/tests/test_composition --write docs/composition.md
 */
#include "support/test.h"

#include <mica/mica.h>

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DOCUMENT "docs/composition.md"
#define CLASSES  2 /* click models have no more */
#define EXAMPLES 8

static mica_engine *engine;

/* What a run can bring besides the model. A teacher is given where a loss needs one. */
#define RUN_HAS                                                                                    \
  (MICA_NEED_LABELS | MICA_NEED_IDS | MICA_NEED_TARGETS | MICA_NEED_MASK | MICA_NEED_TEACHER |     \
   MICA_NEED_CLASS_MEANS | MICA_NEED_TAPS)

static const mica_component *at(mica_kind kind, int i) {
  return mica_component_at(engine, kind, i);
}

/* Bits that the loss needs and neither the model nor a run has. */
static uint32_t lacking(const mica_component *model, const mica_component *loss) {
  return loss->needs & ~(model->provides | RUN_HAS);
}

/* ---- the document ---- */

typedef struct document {
  char text[32768];
  size_t n;
} document;

static void put(document *d, const char *fmt, ...) MICA_PRINTF(2, 3);
static void put(document *d, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  const int n = vsnprintf(d->text + d->n, sizeof d->text - d->n, fmt, args);
  va_end(args);
  assert_true(n >= 0 && d->n + (size_t)n < sizeof d->text);
  d->n += (size_t)n;
}

static void put_kind(document *d, mica_kind kind) {
  const mica_component *c;
  char needs[128], provides[128];
  for (int i = 0; (c = at(kind, i)); i++)
    put(d, "| %s | `%s` | %s | %s | %s |\n", mica_kind_name(kind), c->name, c->summary,
        mica_needs_text(c->needs, needs, sizeof needs),
        mica_needs_text(c->provides, provides, sizeof provides));
}

static void make_document(document *d) {
  const mica_component *model, *loss;
  d->n = 0;
  put(d,
      "# What composes with what\n\n"
      "Made from the components' descriptors by `build/tests/test_composition --write %s`; the "
      "tests compare it, and train each legal pair.\n\n"
      "## Losses and models\n\n"
      "A cell names what a training run must bring besides the model. Losses add up: "
      "`ce+0.5*kd:T=4` needs what both do. Every loss goes with every optimiser, schedule and "
      "adapter. Pairs are scored by a model that is made without classes.\n\n| loss |",
      DOCUMENT);
  for (int i = 0; (model = at(MICA_KIND_MODEL, i)); i++) put(d, " %s |", model->name);
  put(d, "\n| --- |");
  for (int i = 0; at(MICA_KIND_MODEL, i); i++) put(d, " --- |");
  put(d, "\n");
  for (int k = 0; (loss = at(MICA_KIND_LOSS, k)); k++) {
    put(d, "| `%s` |", loss->name);
    for (int i = 0; (model = at(MICA_KIND_MODEL, i)); i++) {
      char text[128];
      const uint32_t lacks = lacking(model, loss);
      if (lacks)
        put(d, " no: %s |", mica_needs_text(lacks, text, sizeof text));
      else
        put(d, " %s |", mica_needs_text(loss->needs & RUN_HAS, text, sizeof text));
    }
    put(d, "\n");
  }
  put(d, "\n## Needs and gives\n\n| kind | name | what it is | needs | gives |\n"
         "| --- | --- | --- | --- | --- |\n");
  static const mica_kind kinds[] = {MICA_KIND_MODEL,    MICA_KIND_LAYER,     MICA_KIND_ADAPTER,
                                    MICA_KIND_LOSS,     MICA_KIND_SCHEME,    MICA_KIND_OPTIMISER,
                                    MICA_KIND_SCHEDULE, MICA_KIND_ESTIMATOR, MICA_KIND_INITIALISER,
                                    MICA_KIND_MASK};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) put_kind(d, kinds[i]);
}

static void test_document(void **state) {
  (void)state;
  static document now;
  static char kept[sizeof now.text];
  make_document(&now);
  FILE *f = fopen(DOCUMENT, "r");
  if (!f) fail_msg("there is no %s", DOCUMENT);
  const size_t n = fread(kept, 1, sizeof kept - 1, f);
  fclose(f);
  if (n != now.n || memcmp(kept, now.text, n) != 0)
    fail_msg("%s is not what the descriptors say; write it again with\n"
             "    build/tests/test_composition --write %s",
             DOCUMENT, DOCUMENT);
}

/* ---- the pairs ---- */

/* A stream of one batch that has everything. */
static mica_status seek(void *ctx, int64_t epoch, int64_t batch) {
  (void)ctx, (void)epoch, (void)batch;
  return MICA_OK;
}
static mica_status next(void *ctx, mica_batch *out) {
  *out = *(const mica_batch *)ctx;
  return MICA_OK;
}

#define COLUMNS    6
#define VOCABULARY 11
#define LENGTH     5
#define FIELDS     3
static const int64_t field_size[FIELDS] = {4, 2, 3};

/* What the model reads: images where it needs them; tokens; else rows, with fields where it needs
 * them; a head where it can have one and is not asked for pairs instead. */
static mica_problem problem_of(const mica_component *model, bool pairs) {
  const bool head = model->provides & MICA_NEED_LOGITS;
  mica_problem p = {.classes = head && !(pairs && model->provides & MICA_NEED_PAIRS) ? CLASSES : 0};
  const bool images = model->needs & MICA_NEED_IMAGES, tokens = model->needs & MICA_NEED_TOKENS;
  p.height = p.width = images ? 8 : 0;
  p.channels = images ? 1 : tokens ? 0 : COLUMNS;
  p.vocabulary = tokens ? VOCABULARY : 0;
  p.length = tokens ? LENGTH : 0;
  p.fields = model->needs & MICA_NEED_FIELDS ? FIELDS : 0;
  p.field_size = field_size;
  return p;
}

static mica_batch everything(const mica_component *model) {
  mica_batch b = {.n = EXAMPLES};
  const mica_problem p = problem_of(model, false);
  const mica_shape x = p.height ? MICA_SHAPE(EXAMPLES, 8, 8, 1) : MICA_SHAPE(EXAMPLES, COLUMNS);
  if (p.channels) assert_int_equal(mica_tensor_create(MICA_F32, x, &b.x), MICA_OK);
  if (p.vocabulary)
    assert_int_equal(mica_tensor_create(MICA_I64, MICA_SHAPE(EXAMPLES, LENGTH), &b.tokens),
                     MICA_OK);
  if (p.fields)
    assert_int_equal(mica_tensor_create(MICA_I64, MICA_SHAPE(EXAMPLES, FIELDS), &b.fields),
                     MICA_OK);
  assert_int_equal(mica_tensor_create(MICA_I64, MICA_SHAPE(EXAMPLES), &b.labels), MICA_OK);
  assert_int_equal(mica_tensor_create(MICA_I64, MICA_SHAPE(EXAMPLES), &b.ids), MICA_OK);
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(EXAMPLES, CLASSES), &b.targets),
                   MICA_OK);
  for (int64_t i = 0; b.x && i < mica_tensor_count(b.x); i++)
    mica_tensor_set(b.x, i, mica_random_normal(mica_key_seed(1), (uint64_t)i));
  for (int64_t i = 0; b.tokens && i < EXAMPLES * LENGTH; i++)
    mica_tensor_set(b.tokens, i, (double)(i * 7 % VOCABULARY));
  for (int64_t i = 0; b.fields && i < EXAMPLES * FIELDS; i++)
    mica_tensor_set(b.fields, i, (double)(i / FIELDS % field_size[i % FIELDS]));
  for (int64_t i = 0; i < EXAMPLES; i++) {
    mica_tensor_set(b.labels, i, (double)(i % CLASSES));
    mica_tensor_set(b.ids, i, (double)i);
    mica_tensor_set(b.targets, i * CLASSES + i % CLASSES, 1);
  }
  return b;
}

static void batch_free(mica_batch *b) {
  mica_tensor_free(b->x);
  mica_tensor_free(b->tokens);
  mica_tensor_free(b->fields);
  mica_tensor_free(b->labels);
  mica_tensor_free(b->ids);
  mica_tensor_free(b->targets);
}

/* Small forms; another component is tried as it is. */
static const char *small(const char *name) {
  static const char *const specs[][2] = {{"lora", "lora:rank=1"},
                                         {"lora-xs", "lora-xs:rank=2"},
                                         {"pissa", "pissa:rank=1"},
                                         {"bottleneck", "bottleneck:rank=1"},
                                         {"psrp", "psrp:rank=1"},
                                         {"mlp", "mlp:hidden=5"},
                                         {"convnet", "convnet:widths=3,4"},
                                         {"resnet", "resnet:depth=8:width=4"},
                                         {"vgg", "vgg:depth=11:width=2:hidden=4"},
                                         {"vit", "vit:patch=4:dim=8:depth=1:heads=2"},
                                         {"clip",
                                          "clip:dim=6:patch=4:vision_dim=8:vision_depth=1:"
                                          "vision_heads=2:text_dim=4:text_depth=1:text_heads=2"},
                                         {"bert", "bert:dim=8:depth=1:heads=2:hidden=12"},
                                         {"gpt", "gpt:dim=8:depth=1:heads=2"},
                                         {"dual", "dual:dim=6:widths=3,4:words=4:hidden=5"},
                                         {"pointnet", "pointnet:widths=4,6:hidden=5"},
                                         {"efficientnet", "efficientnet:width=0.1:depth=0.1"},
                                         {"mobilenet", "mobilenet:width=0.1"},
                                         {"deepfm", "deepfm:dim=3:hidden=5"},
                                         {"dcn", "dcn:dim=3:layers=2:hidden=5"},
                                         {"dcnv2", "dcnv2:dim=3:hidden=5:rank=2:experts=2"},
                                         {"dlrm", "dlrm:dim=3:bottom=5:top=5"}};
  for (size_t i = 0; i < sizeof specs / sizeof *specs; i++)
    if (strcmp(specs[i][0], name) == 0) return specs[i][1];
  return name;
}

static mica_net *create(const mica_component *model, bool pairs, uint64_t seed) {
  const mica_problem problem = problem_of(model, pairs);
  mica_net *net = NULL;
  if (mica_net_create(engine, small(model->name), &problem, seed, &net) != MICA_OK)
    fail_msg("%s: %s", model->name, mica_last_error());
  return net;
}

static mica_status train(const mica_component *model, const char *loss, const char *optimiser,
                         const char *schedule, bool teach) {
  mica_batch b = everything(model);
  const mica_stream stream = {&b, 2, seek, next};
  const mica_component *c = mica_component_find(engine, MICA_KIND_LOSS, loss);
  const bool pairs = c && c->needs & MICA_NEED_PAIRS; /* a sum of losses has a head */
  mica_net *net = create(model, pairs, 1), *teacher = teach ? create(model, pairs, 2) : NULL;
  mica_train_options o = MICA_TRAIN_OPTIONS;
  mica_train_result result = {0};
  mica_scheme *scheme = NULL;
  o.loss = loss;
  o.optimiser = optimiser;
  o.schedule = schedule;
  o.epochs = 1;
  mica_status status = MICA_OK;
  if (teach) {
    const mica_scheme_setting setting = {
        .size = sizeof setting, .net = net, .train = &stream, .teacher = teacher};
    status = mica_scheme_create(engine, "distil:taps=features", &setting, loss, &scheme);
  }
  o.scheme = scheme;
  if (status == MICA_OK) status = mica_train(net, &stream, NULL, &o, &result);
  if (status == MICA_OK) assert_true(result.steps == 2 && isfinite(result.loss));
  mica_scheme_free(scheme);
  mica_net_free(net);
  mica_net_free(teacher);
  batch_free(&b);
  return status;
}

static void test_losses_with_models(void **state) {
  (void)state;
  const mica_component *model, *loss;
  int legal = 0;
  for (int i = 0; (model = at(MICA_KIND_MODEL, i)); i++)
    for (int k = 0; (loss = at(MICA_KIND_LOSS, k)); k++) {
      /* Without parameters nothing is trained. */
      if (strcmp(model->name, "identity") == 0 && !lacking(model, loss)) continue;
      const bool teach = loss->needs & MICA_NEED_TEACHER;
      const bool fits = !lacking(model, loss) && !(loss->needs & MICA_NEED_MASK);
      const mica_status status = train(model, loss->name, "sgd:lr=0.01", "constant", teach);
      if ((status == MICA_OK) != fits)
        fail_msg("%s with %s: %s", model->name, loss->name,
                 status == MICA_OK ? "trained, but is not called legal" : mica_last_error());
      legal += fits;
      /* Without the teacher it is refused by name. */
      if (teach && fits) {
        assert_int_equal(train(model, loss->name, "sgd:lr=0.01", "constant", false),
                         MICA_ERR_INVALID);
        assert_non_null(strstr(mica_last_error(), "teacher"));
      }
    }
  assert_true(legal >= 24);
}

/* A model that scores the pairs of a batch does so without classes only; with them the loss is
 * refused before the first step. */
static void test_pairs(void **state) {
  (void)state;
  const mica_component *model;
  int seen = 0;
  for (int i = 0; (model = at(MICA_KIND_MODEL, i)); i++) {
    if (!(model->provides & MICA_NEED_PAIRS)) continue;
    assert_int_equal(train(model, "clip", "sgd:lr=0.01", "constant", false), MICA_OK);
    assert_int_equal(train(model, "ce+0.5*clip", "sgd:lr=0.01", "constant", false),
                     MICA_ERR_INVALID);
    assert_non_null(strstr(mica_last_error(), "loss clip needs pairs"));
    seen++;
  }
  assert_true(seen > 0);
}

/* Optimisers and schedules know no layer and no loss: each pair once, on rows. Rules for subspaces
 * alone have tests of their own. */
static void test_optimisers_with_schedules(void **state) {
  (void)state;
  const mica_component *mlp = mica_component_find(engine, MICA_KIND_MODEL, "mlp");
  const mica_component *optimiser, *schedule;
  for (int i = 0; (optimiser = at(MICA_KIND_OPTIMISER, i)); i++) {
    if (((const mica_optimiser_functions *)optimiser->functions)->whole) continue;
    for (int k = 0; (schedule = at(MICA_KIND_SCHEDULE, k)); k++)
      if (train(mlp, "ce+0.5*mse", optimiser->name, schedule->name, false) != MICA_OK)
        fail_msg("%s with %s: %s", optimiser->name, schedule->name, mica_last_error());
  }
}

/* Every adapter on every model trains, and folds back into it. */
static void test_adapters_with_models(void **state) {
  (void)state;
  const mica_component *model, *adapter;
  for (int i = 0; (model = at(MICA_KIND_MODEL, i)); i++)
    for (int k = 0; (adapter = at(MICA_KIND_ADAPTER, k)); k++) {
      int64_t count = 0;
      mica_batch b = everything(model);
      const mica_stream stream = {&b, 2, seek, next};
      mica_net *net = create(model, false, 1);
      mica_params *p = mica_net_params(net);
      const int64_t entries = mica_params_count(p);
      mica_params_flag(p, "*", 0, MICA_PARAM_TRAINABLE);
      /* Weights of matrices and kernels; normalisation has vectors. */
      for (int64_t q = 0; q < entries; q++) {
        char name[160];
        const mica_param *w = mica_params_at(p, q);
        const char *path = mica_param_path(w);
        const size_t n = strlen(path);
        if (n < 8 || strcmp(path + n - 7, ".weight") != 0 ||
            mica_tensor_shape(mica_param_value(w))->rank < 2)
          continue;
        snprintf(name, sizeof name, "%.*s", (int)(n - 7), path);
        int64_t one;
        /* Adapters on outputs are for layers that have some. */
        const bool outputs = ((const mica_adapter_functions *)adapter->functions)->output;
        if (outputs && (!(mica_param_flags(w) & (MICA_PARAM_LINEAR | MICA_PARAM_CONVOLUTION)) ||
                        mica_param_layout(w).kind == MICA_LAYOUT_CONV_TRANSPOSE)) {
          assert_int_equal(mica_adapt(p, name, small(adapter->name), &one), MICA_ERR_UNSUPPORTED);
          continue;
        }
        if (mica_adapt(p, name, small(adapter->name), &one) != MICA_OK)
          fail_msg("%s on %s %s: %s", adapter->name, model->name, name, mica_last_error());
        count += one;
      }
      const bool some = count > 0 || ((const mica_adapter_functions *)adapter->functions)->output;
      assert_true(some || !entries);
      mica_train_options o = MICA_TRAIN_OPTIONS;
      o.optimiser = "sgd:lr=0.01";
      o.epochs = 1;
      /* Of biases there may be none. */
      if (entries && (mica_params_trained(p) || (count && strcmp(adapter->name, "bitfit") != 0)) &&
          mica_train(net, &stream, NULL, &o, NULL) != MICA_OK)
        fail_msg("%s on %s: %s", adapter->name, model->name, mica_last_error());
      const mica_adapter_functions *f = adapter->functions;
      if (f->output && !f->merge && count) {
        assert_int_equal(mica_adapters_merge(p), MICA_ERR_UNSUPPORTED);
        assert_int_equal(mica_adapter_remove(p, "default"), MICA_OK);
      }
      assert_int_equal(mica_adapters_merge(p), MICA_OK);
      assert_int_equal(mica_params_count(p), entries);
      mica_net_free(net);
      batch_free(&b);
    }
}

int main(int argc, char **argv) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  if (argc == 3 && strcmp(argv[1], "--write") == 0) {
    static document d;
    make_document(&d);
    FILE *f = fopen(argv[2], "w");
    const bool written = f && fwrite(d.text, 1, d.n, f) == d.n;
    if (f && fclose(f) == 0 && written) return 0;
    fprintf(stderr, "%s cannot be written\n", argv[2]);
    return 1;
  }
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_document), cmocka_unit_test(test_losses_with_models),
      cmocka_unit_test(test_pairs), cmocka_unit_test(test_optimisers_with_schedules),
      cmocka_unit_test(test_adapters_with_models)};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
