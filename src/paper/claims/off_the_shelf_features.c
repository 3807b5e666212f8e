/* off-the-shelf-features: what a network has learnt about some classes describes pictures of others
 * better than pixels, gradients or a network that has learnt nothing, with a linear machine on top
 * and twenty pictures of each class.
 *
 * The network is trained on six classes of clothes, and asked about the other four and about
 * digits. All pictures are moved, turned and shrunk at random: as they come, clothes are so well
 * aligned that pixels are as good as anything.
 */
#include "paper/claims/shelf_pictures.h"

#include <mica/image.h>
#include <mica/paper.h>

#include <stdio.h>
#include <string.h>

typedef struct settings {
  uint32_t size;
  int64_t seeds, images, epochs, shots, tests, cifar_images, cifar_epochs, coil_epochs, questions;
  mica_ints tasks;
} settings;

#define MODEL "convnet:widths=12,24,48:convolutions=1:hidden=128"
enum { GARMENTS = 1, DIGITS = 2, TASKS = 2, FOLDS = 5 };
static const char known[] = "0,1,3,5,8,9", fresh[] = "2,4,6,7", every[] = "0,1,2,3,4,5,6,7,8,9";
static const char cifar_known[] = "0,1,2,3,4,5", cifar_fresh[] = "6,7,8,9";

/* ---- descriptions of a task's pictures, made when an arm first asks ---- */

typedef enum kind {
  PIXELS,
  GRID,
  BLOCKS,
  SMALL_BLOCKS,
  HOG_VIEWS,
  UNTRAINED,
  TRAINED,
  VIEWS,
  LAYER1,
  LAYER2,
  LAYER3,
  KINDS
} kind;

typedef struct task {
  mica_shelf_set train, test;
  mica_tensor *x[KINDS], *tests[KINDS];
} task;

typedef struct shared {
  mica_net *trained, *untrained;
  task task[TASKS];
} shared;

static void release(void *given) {
  shared *s = given;
  mica_net_free(s->trained);
  mica_net_free(s->untrained);
  for (int t = 0; t < TASKS; t++) {
    mica_shelf_free(&s->task[t].train);
    mica_shelf_free(&s->task[t].test);
    for (int k = 0; k < KINDS; k++) {
      mica_tensor_free(s->task[t].x[k]);
      mica_tensor_free(s->task[t].tests[k]);
    }
  }
  mica_free(s);
}

static mica_status describe(mica_claim_cell *cell, kind k, task *t) {
  static const char *const layer[] = {"pyramid.0:all", "pyramid.1:all", "pyramid.2:all"};
  shared *s = cell->shared;
  /* Sixteen cells, or smaller ones; of length 1 all together, or by blocks of four. */
  const int64_t quarter = mica_tensor_dim(t->train.pictures, 1) / 4;
  mica_shelf_look look = {.cell = quarter, .block = 2, .views = k == VIEWS || k == HOG_VIEWS};
  if (k == PIXELS) look.cell = 0;
  if (k == SMALL_BLOCKS) look.cell = 4;
  if (k == GRID) look.block = 4;
  if (k >= UNTRAINED) look.net = k == UNTRAINED ? s->untrained : s->trained;
  if (t->tests[k]) return MICA_OK;
  mica_status status =
      mica_net_set_taps(s->trained, k >= LAYER1, layer + (k >= LAYER1 ? k - LAYER1 : 0));
  if (status == MICA_OK) status = mica_shelf_describe(cell->engine, &look, &t->train, &t->x[k]);
  return status == MICA_OK ? mica_shelf_describe(cell->engine, &look, &t->test, &t->tests[k])
                           : status;
}

/* ---- the networks ---- */

static mica_status train(mica_claim_cell *cell, mica_shelf_set *set, int64_t epochs, shared *s) {
  mica_shape shape = *mica_tensor_shape(set->pictures);
  const mica_problem problem =
      MICA_PROBLEM_IMAGES(shape.dim[1], shape.dim[2], shape.dim[3], set->classes);
  const uint64_t seed = mica_random_bits(mica_key_fold_name(cell->key, "net"), 0);
  mica_tensor *x = NULL, *label = NULL;
  mica_train_options o = MICA_TRAIN_OPTIONS;
  o.optimiser = "adam:lr=0.002";
  o.schedule = "cosine";
  o.seed = mica_random_bits(mica_key_fold_name(cell->key, "order"), 0);
  mica_status status = mica_net_create(cell->engine, MODEL, &problem, seed, &s->trained);
  if (status == MICA_OK)
    status = mica_net_create(cell->engine, MODEL, &problem, seed + 1, &s->untrained);
  if (status == MICA_OK) status = mica_shelf_input(set, &x);
  if (status == MICA_OK) status = mica_shelf_labels(set, &label);
  if (status == MICA_OK)
    status = mica_claim_train_on(cell, s->trained, x, label, 64, false,
                                 epochs * ((set->n + 63) / 64), &o);
  mica_tensor_free(x);
  mica_tensor_free(label);
  return status;
}

/* Twenty pictures of each class to learn from, others to be asked about. */
static mica_status draw_task(mica_claim_cell *cell, const mica_claim_images *from,
                             const char *classes, int64_t count, bool warped, task *t) {
  const settings *o = cell->options;
  const mica_key key = mica_key_fold_name(cell->key, "task");
  const int64_t tests = o->tests / count > 0 ? o->tests / count : 1;
  mica_status status = mica_shelf_draw(from, key, classes, o->shots, 0, &t->train);
  if (status == MICA_OK) status = mica_shelf_draw(from, key, classes, tests, o->shots, &t->test);
  if (status == MICA_OK && warped)
    status = mica_shelf_warp(mica_key_fold_name(cell->key, "train"), &t->train);
  return status == MICA_OK && warped
             ? mica_shelf_warp(mica_key_fold_name(cell->key, "test"), &t->test)
             : status;
}

static mica_status done(mica_status status, shared *s, void **out) {
  if (status == MICA_OK)
    *out = s;
  else
    release(s);
  return status;
}

static mica_status prepare(mica_claim_cell *cell, void **out) {
  const settings *o = cell->options;
  const mica_claim_images *clothes = NULL;
  mica_claim_images digits = {0};
  mica_shelf_set set = {0};
  shared *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  mica_status status = mica_claim_data(cell, "fashion-mnist", MICA_PART_TRAIN, &clothes);
  if (status == MICA_OK)
    status = mica_shelf_draw(clothes, mica_key_fold_name(cell->key, "network"), known,
                             o->images / 6, 0, &set);
  if (status == MICA_OK) status = mica_shelf_warp(mica_key_fold_name(cell->key, "network"), &set);
  if (status == MICA_OK) status = train(cell, &set, o->epochs, s);
  if (status == MICA_OK) status = draw_task(cell, clothes, fresh, 4, true, &s->task[GARMENTS - 1]);
  if (status == MICA_OK) status = mica_shelf_digits(cell, &digits);
  if (status == MICA_OK) status = draw_task(cell, &digits, every, 10, true, &s->task[DIGITS - 1]);
  mica_shelf_images_free(&digits);
  mica_shelf_free(&set);
  return done(status, s, out);
}

static mica_status prepare_cifar(mica_claim_cell *cell, void **out) {
  const settings *o = cell->options;
  const int64_t each = o->cifar_images / 6, most = each + o->shots + o->tests / 4;
  mica_claim_images photos = {0};
  mica_shelf_set set = {0};
  shared *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  mica_status status = mica_shelf_cifar(most < 2500 ? most : 2500, &photos);
  if (status == MICA_OK)
    status = mica_shelf_draw(&photos, mica_key_fold_name(cell->key, "network"), cifar_known, each,
                             0, &set);
  if (status == MICA_OK) status = train(cell, &set, o->cifar_epochs, s);
  if (status == MICA_OK) status = draw_task(cell, &photos, cifar_fresh, 4, false, &s->task[0]);
  mica_shelf_images_free(&photos);
  mica_shelf_free(&set);
  return done(status, s, out);
}

/* ---- one arm ---- */

typedef struct arm_settings {
  kind of;
  double power;
  const char *more; /* of the machine; NULL: the nearest neighbour, no machine */
  const char *form; /* of the views' decision values */
} arm_settings;

/* The machine with the better C, by cross-validation inside the training pictures: all views of a
 * picture are in one row, and so in one fold. */
static mica_status best_machine(mica_claim_cell *cell, const arm_settings *a,
                                const mica_fit_data *data, char *spec, size_t room) {
  char each[2][300];
  mica_contender c[2];
  for (int i = 0; i < 2; i++) {
    snprintf(each[i], sizeof each[i],
             "transformed:views=%d:power=%g:form=%s:"
             "with=(linear_svm:C=%d:loss=hinge:tol=0.1:max_iter=200%s)",
             a->of == VIEWS || a->of == HOG_VIEWS ? MICA_PICTURE_VIEWS : 1, a->power, a->form,
             i ? 10 : 1, a->more);
    c[i] = (mica_contender)MICA_CONTENDER(each[i]);
  }
  mica_status status =
      mica_cross_validate(cell->engine, data, FOLDS, (uint64_t)cell->seed, 0.95, 2, c, NULL);
  for (int i = 0; i < 2 && status == MICA_OK; i++)
    if (c[i].status != MICA_OK) status = mica_fail(c[i].status, "%s", c[i].error);
  if (status == MICA_OK) snprintf(spec, room, "%s", each[c[1].best]);
  return status;
}

static mica_status run(mica_claim_cell *cell) {
  shared *s = cell->shared;
  const arm_settings *a = cell->arm->own;
  task *t = &s->task[cell->point > 0 ? (int)cell->point - 1 : 0];
  char spec[300] = "knn:k=1";
  int64_t right = 0;
  mica_fit_data data = MICA_FIT_DATA;
  mica_status status = describe(cell, a->of, t);
  if (status != MICA_OK) return status;
  const mica_view tests = mica_tensor_view(t->tests[a->of]);
  data.x = mica_tensor_view(t->x[a->of]);
  data.label = t->train.label;
  data.classes = t->train.classes;
  if (a->more) status = best_machine(cell, a, &data, spec, sizeof spec);
  if (status == MICA_OK)
    status = mica_claim_fit_and_count(cell, spec, &data.x, data.label, data.classes, &tests,
                                      t->test.label, &right);
  return status == MICA_OK ? mica_claim_report(cell, "accuracy", (double)right / (double)t->test.n)
                           : status;
}

/* ---- retrieval of objects ---- */

enum { OBJECTS = 20, ANGLES = 36, SIDE = 128, SMALL = 32, KNOWN_ANGLES = 4 };

typedef struct turntable {
  uint8_t *pixels; /* [OBJECTS, ANGLES, SIDE, SIDE] */
  mica_net *trained, *untrained;
  mica_shelf_set known, asked;
} turntable;

static void release_turntable(void *given) {
  turntable *s = given;
  mica_free(s->pixels);
  mica_net_free(s->trained);
  mica_net_free(s->untrained);
  mica_shelf_free(&s->known);
  mica_shelf_free(&s->asked);
  mica_free(s);
}

/* Every second of 72 angles is there. */
static mica_status take_object(void *ctx, const char *name, const mica_tensor *picture) {
  uint8_t *pixels = ctx;
  const char *file = strrchr(name, '/');
  int object, angle;
  if (!file || sscanf(file, "/obj%d__%d.png", &object, &angle) != 2 || object < 1 ||
      object > OBJECTS || angle < 0 || angle >= 2 * ANGLES || angle % 2)
    return mica_fail(MICA_ERR_FORMAT, "%s: not named as in COIL-20", name);
  if (mica_tensor_dim(picture, 0) != SIDE || mica_tensor_count(picture) != SIDE * SIDE)
    return mica_fail(MICA_ERR_FORMAT, "%s: expected a grey picture of 128x128", name);
  memcpy(pixels + ((object - 1) * ANGLES + angle / 2) * SIDE * SIDE, mica_tensor_data(picture),
         SIDE * SIDE);
  return MICA_OK;
}

static mica_status read_turntable(uint8_t **pixels) {
  *pixels = mica_calloc(OBJECTS * ANGLES, SIDE * SIDE);
  const mica_archived each = {NULL, take_object, *pixels};
  return *pixels ? mica_shelf_archive("coil-20", "coil-20-proc-36views.tar.gz", &each)
                 : MICA_ERR_MEMORY;
}

static mica_status prepare_turntable(mica_claim_cell *cell, void **out) {
  const settings *o = cell->options;
  int64_t label[OBJECTS * ANGLES], quarter[OBJECTS * ANGLES];
  mica_pretraining recipe = MICA_PRETRAINING;
  turntable *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  recipe.model = MODEL;
  recipe.data = "cifar-10";
  recipe.epochs = o->coil_epochs;
  recipe.schedule = "cosine";
  recipe.seed = (uint64_t)cell->seed;
  mica_status status = read_turntable(&s->pixels);
  if (status == MICA_OK) status = mica_claim_encoder(cell, &recipe, &s->trained);
  if (status == MICA_OK)
    status = mica_net_create(cell->engine, MODEL, mica_net_problem(s->trained), 1000 + recipe.seed,
                             &s->untrained);
  /* Four quarters of a turn are known, others asked about. */
  const int64_t first = (int64_t)mica_random_below(mica_key_fold_name(cell->key, "first"), 0, 9);
  char objects[200] = "";
  for (int64_t i = 0; i < OBJECTS * ANGLES; i++) {
    const bool is = i % ANGLES % (ANGLES / KNOWN_ANGLES) == first;
    label[i] = is ? -1 : i / ANGLES;
    quarter[i] = is ? i / ANGLES : -1;
    if (i % ANGLES == 0)
      snprintf(objects + strlen(objects), sizeof objects - strlen(objects), "%s%d", i ? "," : "",
               (int)(i / ANGLES));
  }
  const mica_claim_images all = {OBJECTS * ANGLES, SIDE, SIDE, 1, OBJECTS, s->pixels, label};
  mica_claim_images known_ = all;
  known_.labels = quarter;
  if (status == MICA_OK)
    status = mica_shelf_draw(&known_, cell->key, objects, KNOWN_ANGLES, 0, &s->known);
  if (status == MICA_OK)
    status = mica_shelf_draw(&all, mica_key_fold_name(cell->key, "asked"), objects,
                             o->questions / OBJECTS, 0, &s->asked);
  if (status == MICA_OK)
    status = mica_shelf_warp(mica_key_fold_name(cell->key, "asked"), &s->asked);
  if (status == MICA_OK)
    *out = s;
  else
    release_turntable(s);
  return status;
}

typedef struct search_settings {
  kind of;
  int64_t asked, known; /* orders of the regions */
  int64_t pca;
} search_settings;

/* All regions of all pictures at the network's size, in colour where it wants that, described. */
static mica_status regions_of(mica_claim_cell *cell, const mica_shelf_set *set, int64_t order,
                              kind of, mica_tensor **out) {
  const turntable *s = cell->shared;
  const int64_t each = mica_region_count(order), channels = of == PIXELS || of == BLOCKS ? 1 : 3;
  const int64_t side = of == PIXELS ? SMALL / 2 : SMALL;
  const mica_preprocess to = MICA_PREPROCESS(side, side, channels);
  const mica_shelf_look look = {.net = of == TRAINED     ? s->trained
                                       : of == UNTRAINED ? s->untrained
                                                         : NULL,
                                .cell = of == BLOCKS ? 8 : 0,
                                .block = 2};
  mica_shelf_set small = {.n = set->n * each};
  mica_tensor *picture = NULL, *part = NULL;
  mica_region *region = mica_malloc((size_t)each * sizeof *region);
  mica_status status = region ? mica_regions(SIDE, SIDE, order, region) : MICA_ERR_MEMORY;
  if (status == MICA_OK)
    status =
        mica_tensor_create(MICA_U8, MICA_SHAPE(small.n, side, side, channels), &small.pictures);
  if (status == MICA_OK) status = mica_tensor_create(MICA_U8, MICA_SHAPE(SIDE, SIDE, 1), &picture);
  for (int64_t i = 0; i < small.n && status == MICA_OK; i++) {
    memcpy(mica_tensor_data(picture),
           (const uint8_t *)mica_tensor_data(set->pictures) + i / each * SIDE * SIDE, SIDE * SIDE);
    status = mica_picture_crop(picture, &region[i % each], &part);
    if (status == MICA_OK)
      status = mica_image_prepare(
          part, &to, (uint8_t *)mica_tensor_data(small.pictures) + i * side * side * channels);
    mica_tensor_free(part);
  }
  if (status == MICA_OK) status = mica_shelf_describe(cell->engine, &look, &small, out);
  mica_tensor_free(picture);
  mica_tensor_free(small.pictures);
  mica_free(region);
  return status;
}

static mica_status transformed(mica_claim_cell *cell, const mica_transform *t, const mica_tensor *x,
                               double **out) {
  const mica_view v = mica_tensor_view(x);
  *out = mica_malloc((size_t)(v.shape.dim[0] * mica_transform_width(t)) * sizeof **out);
  return *out ? mica_transform_apply(cell->engine, t, &v, *out) : MICA_ERR_MEMORY;
}

/* The mean average precision of the known pictures in the order of their distances. */
static mica_status judge(mica_claim_cell *cell, const turntable *s, double *distance) {
  bool positive[OBJECTS * KNOWN_ANGLES];
  double sum = 0;
  mica_status status = MICA_OK;
  for (int64_t q = 0; q < s->asked.n && status == MICA_OK; q++) {
    double *row = distance + q * s->known.n;
    mica_estimate e = {0};
    for (int64_t r = 0; r < s->known.n; r++) {
      positive[r] = s->known.label[r] == s->asked.label[q];
      row[r] = -row[r];
    }
    status =
        mica_average_precision(cell->engine, cell->key, s->known.n, row, positive, 0.95, 0, &e);
    sum += e.value;
  }
  return status == MICA_OK ? mica_claim_report(cell, "map", sum / (double)s->asked.n) : status;
}

static mica_status run_search(mica_claim_cell *cell) {
  const turntable *s = cell->shared;
  const search_settings *a = cell->arm->own;
  mica_tensor *known_ = NULL, *asked = NULL;
  mica_transform *t = NULL;
  mica_transform_options o = MICA_TRANSFORM_OPTIONS;
  double *y = NULL, *x = NULL, *distance = NULL;
  o.pca = a->pca;
  mica_status status = regions_of(cell, &s->known, a->known, a->of, &known_);
  if (status == MICA_OK) status = regions_of(cell, &s->asked, a->asked, a->of, &asked);
  if (status == MICA_OK) {
    const mica_view v = mica_tensor_view(known_);
    status = mica_transform_fit(cell->engine, &o, &v, &t);
  }
  if (status == MICA_OK) status = transformed(cell, t, known_, &y);
  if (status == MICA_OK) status = transformed(cell, t, asked, &x);
  if (status == MICA_OK) {
    const int64_t width = mica_transform_width(t);
    const int64_t each = mica_region_count(a->asked), others = mica_region_count(a->known);
    const mica_view questions = mica_view_of(x, MICA_F64, MICA_SHAPE(s->asked.n * each, width));
    const mica_view answers = mica_view_of(y, MICA_F64, MICA_SHAPE(s->known.n * others, width));
    distance = mica_malloc((size_t)(s->asked.n * s->known.n) * sizeof *distance);
    status = distance ? mica_patch_set_distances(cell->engine, &questions, each, &answers, others,
                                                 distance)
                      : MICA_ERR_MEMORY;
  }
  mica_claim_spend(cell, s->known.n);
  if (status == MICA_OK) status = judge(cell, s, distance);
  mica_tensor_free(known_);
  mica_tensor_free(asked);
  mica_transform_free(t);
  mica_free(y);
  mica_free(x);
  mica_free(distance);
  return status;
}

/* ---- the claim ---- */

static const arm_settings trained = {TRAINED, 1, "", "sum"}, views = {VIEWS, 2, "", "sum"},
                          pixels = {PIXELS, 1, "", "sum"}, hog = {GRID, 1, "", "sum"},
                          blocks = {BLOCKS, 1, "", "sum"},
                          small_blocks = {SMALL_BLOCKS, 1, "", "sum"},
                          untrained = {UNTRAINED, 1, "", "sum"}, nearest = {TRAINED, 1, NULL, NULL},
                          near_pixels = {PIXELS, 1, NULL, NULL}, near_hog = {BLOCKS, 1, NULL, NULL},
                          largest = {VIEWS, 2, "", "max"}, plain_views = {VIEWS, 1, "", "sum"},
                          power = {TRAINED, 2, "", "sum"}, hog_views = {HOG_VIEWS, 1, "", "sum"},
                          pairs = {TRAINED, 1, ":scheme=ovo", "sum"},
                          layer1 = {LAYER1, 1, "", "sum"}, layer2 = {LAYER2, 1, "", "sum"},
                          layer3 = {LAYER3, 1, "", "sum"};

static const mica_claim_arm arms[] = {
    {"trained", "the trained network's last hidden layer", MICA_ARM_METHOD, NULL, &trained},
    {"views", "the same of 16 views, powers of 2, decision values summed", MICA_ARM_METHOD, NULL,
     &views},
    {"hog", "gradients in 4x4 cells", MICA_ARM_BASELINE, NULL, &hog},
    {"hog-blocks", "the same, made of length 1 in blocks of 2x2 cells", MICA_ARM_BASELINE, NULL,
     &blocks},
    {"hog-small", "the same of cells of 4x4 pixels", MICA_ARM_BASELINE, NULL, &small_blocks},
    {"untrained", "the network before its training", MICA_ARM_BASELINE, NULL, &untrained},
    {"pixels", "the pixels", MICA_ARM_TRIVIAL, NULL, &pixels},
    {"nearest", "the nearest picture by the trained features", MICA_ARM_CONTEXT, NULL, &nearest},
    {"nearest-hog", "the nearest picture by gradients", MICA_ARM_CONTEXT, NULL, &near_hog},
    {"nearest-pixels", "the nearest picture by pixels", MICA_ARM_TRIVIAL, NULL, &near_pixels},
    {"pairs", "every two classes against each other, which vote", MICA_ARM_CONTEXT, NULL, &pairs},
    {"power", "powers of 2, without views", MICA_ARM_CONTEXT, NULL, &power},
    {"views-no-power", "16 views without powers", MICA_ARM_CONTEXT, NULL, &plain_views},
    {"views-max", "16 views, the largest decision value", MICA_ARM_CONTEXT, NULL, &largest},
    {"views-hog", "16 views by gradients", MICA_ARM_CONTEXT, NULL, &hog_views},
    {"layer-1", "the first map, all of it", MICA_ARM_CONTEXT, NULL, &layer1},
    {"layer-2", "the second map", MICA_ARM_CONTEXT, NULL, &layer2},
    {"layer-3", "the third map", MICA_ARM_CONTEXT, NULL, &layer3},
    {0}};
static const mica_claim_measure measures[] = {{"accuracy", "test accuracy", false}, {0}};

#define CHECK(what, measure, method, baseline, at, threshold, shown)                               \
  {                                                                                                \
    what, MICA_CHECK_DIFFERENCE, measure, {method, at, at}, {baseline, at, at}, threshold, false,  \
        NULL, shown                                                                                \
  }
static const mica_claim_check checks[] = {
    CHECK("on new clothes, trained features are better than pixels", "accuracy", "trained",
          "pixels", GARMENTS, 0.05, false),
    CHECK("and than gradients", "accuracy", "trained", "hog*", GARMENTS, 0.05, false),
    CHECK("and than an untrained network", "accuracy", "trained", "untrained", GARMENTS, 0.05,
          false),
    CHECK("on digits they are better than an untrained network", "accuracy", "trained", "untrained",
          DIGITS, 0.05, false),
    CHECK("16 views help on new clothes", "accuracy", "views", "trained", GARMENTS, 0, true),
    CHECK("16 views help on digits", "accuracy", "views", "trained", DIGITS, 0, true),
    CHECK("views of gradients are no match on new clothes", "accuracy", "views", "views-hog",
          GARMENTS, 0, true),
    CHECK("(far from the source) trained features are better than gradients on digits", "accuracy",
          "trained", "hog*", DIGITS, 0, true),
    {0}};
static const mica_claim_check cifar_checks[] = {
    CHECK("on new things in photographs, trained features are better than pixels", "accuracy",
          "trained", "pixels", 0, 0.05, true),
    CHECK("and than gradients", "accuracy", "trained", "hog*", 0, 0.05, true),
    CHECK("and than an untrained network", "accuracy", "trained", "untrained", 0, 0.05, true),
    CHECK("16 views help", "accuracy", "views", "trained", 0, 0, true),
    {0}};

static const search_settings whole = {TRAINED, 1, 1, 0}, whole_pca = {TRAINED, 1, 1, 32},
                             regions = {TRAINED, 3, 4, 0}, regions_pca = {TRAINED, 3, 4, 64},
                             random_whole = {UNTRAINED, 1, 1, 0},
                             random_regions = {UNTRAINED, 3, 4, 64},
                             pixel_whole = {PIXELS, 1, 1, 0}, pixel_regions = {PIXELS, 3, 4, 64},
                             hog_whole = {BLOCKS, 1, 1, 0}, hog_regions = {BLOCKS, 3, 4, 64};

static const mica_claim_arm search_arms[] = {
    {"regions-pca", "14 regions against 30, whitened components", MICA_ARM_METHOD, NULL,
     &regions_pca},
    {"regions", "14 regions against 30, features as they are", MICA_ARM_METHOD, NULL, &regions},
    {"whole", "whole pictures", MICA_ARM_BASELINE, NULL, &whole},
    {"whole-pca", "whole pictures, whitened components", MICA_ARM_BASELINE, NULL, &whole_pca},
    {"untrained-whole", "an untrained network, whole pictures", MICA_ARM_BASELINE, NULL,
     &random_whole},
    {"untrained-regions-pca", "an untrained network, regions", MICA_ARM_BASELINE, NULL,
     &random_regions},
    {"hog-whole", "gradients, whole pictures", MICA_ARM_BASELINE, NULL, &hog_whole},
    {"hog-regions-pca", "gradients, regions", MICA_ARM_BASELINE, NULL, &hog_regions},
    {"pixels-whole", "pixels, whole pictures", MICA_ARM_TRIVIAL, NULL, &pixel_whole},
    {"pixels-regions-pca", "pixels, regions", MICA_ARM_TRIVIAL, NULL, &pixel_regions},
    {0}};
static const mica_claim_measure search_measures[] = {{"map", "mean average precision", false}, {0}};
static const mica_claim_check search_checks[] = {
    CHECK("regions find objects that whole pictures miss", "map", "regions-pca", "whole*", 0, 0,
          true),
    CHECK("trained features of regions are better than an untrained network's", "map",
          "regions-pca", "untrained*", 0, 0, true),
    CHECK("and than gradients", "map", "regions-pca", "hog*", 0, 0, true),
    CHECK("and than pixels", "map", "regions-pca", "pixels*", 0, 0, true),
    {0}};

static const mica_claim_experiment experiments[] = {
    {.name = "clothes",
     .title = "Accuracy with 20 pictures of each class of a new task",
     .arms = arms,
     .measures = measures,
     .checks = checks,
     .sweep = "tasks",
     .sweep_what = "task (1: four new clothes, 2: digits)",
     .note =
         "The network was trained on six classes of Fashion-MNIST and stays as it is. All pictures "
         "are moved, turned and shrunk at random. Rows have length 1; C is 1 or 10 by "
         "cross-validation.",
     .prepare = prepare,
     .release = release,
     .run = run},
    {.name = "photographs",
     .title = "The same on CIFAR-10: trained on six classes, 20 pictures of each of the other four",
     .arms = arms,
     .measures = measures,
     .checks = cifar_checks,
     .note = "Pictures are as they come (JPEG, 2,500 a class).",
     .prepare = prepare_cifar,
     .release = release,
     .run = run},
    {.name = "objects",
     .title = "Retrieval of COIL-20's objects by a network trained on CIFAR-10",
     .arms = search_arms,
     .measures = search_measures,
     .checks = search_checks,
     .note = "Known are four views of each of 20 objects, a quarter turn apart; asked about are "
             "others, "
             "moved, turned and shrunk at random. Regions are those of the paper: order 3 of the "
             "question against order 4; the distance is the mean over a question's regions of the "
             "nearest. Components are learnt from the known pictures.",
     .prepare = prepare_turntable,
     .release = release_turntable,
     .run = run_search},
    {0}};

static const mica_option options[] = {
    {"seeds", MICA_OPTION_INT, "5", 1, 1000, NULL, "draws", offsetof(settings, seeds)},
    {"images", MICA_OPTION_INT, "12000", 60, 36000, NULL, "pictures of the network's own",
     offsetof(settings, images)},
    {"epochs", MICA_OPTION_INT, "8", 1, 1000, NULL, "epochs of its training",
     offsetof(settings, epochs)},
    {"shots", MICA_OPTION_INT, "20", 5, 100, NULL, "labelled pictures of each new class",
     offsetof(settings, shots)},
    {"tests", MICA_OPTION_INT, "1000", 10, 2000, NULL, "test pictures", offsetof(settings, tests)},
    {"cifar_images", MICA_OPTION_INT, "12000", 60, 15000, NULL,
     "photographs: pictures of the network's own", offsetof(settings, cifar_images)},
    {"cifar_epochs", MICA_OPTION_INT, "10", 1, 1000, NULL, "photographs: epochs",
     offsetof(settings, cifar_epochs)},
    {"coil_epochs", MICA_OPTION_INT, "15", 1, 1000, NULL, "objects: epochs of the network",
     offsetof(settings, coil_epochs)},
    {"questions", MICA_OPTION_INT, "200", 20, 640, NULL, "objects: pictures asked about",
     offsetof(settings, questions)},
    {"tasks", MICA_OPTION_INTS, "1,2", 1, 2, NULL, "1: new clothes, 2: digits",
     offsetof(settings, tasks)},
    {0}};

static const mica_paper_functions functions = {
    .size = sizeof functions,
    .title = "CNN Features off-the-shelf: an Astounding Baseline for Recognition",
    .arxiv = "1403.6382",
    .claim =
        "Features of a network trained for something else, with a linear machine on top, are "
        "better than pixels, gradients and an untrained network where few pictures are labelled",
    .components = "estimator:transformed estimator:linear_svm",
    .smoke = "seeds=1:images=600:epochs=1:shots=5:tests=40:cifar_images=120:cifar_epochs=1:"
             "coil_epochs=1:questions=20",
    .recorded = MICA_VERDICT_NOT_SHOWN,
    .experiments = experiments};

extern const mica_component mica_component_paper_off_the_shelf_features;
const mica_component mica_component_paper_off_the_shelf_features = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_PAPER,
    "off-the-shelf-features",
    "features of a network trained elsewhere against pixels, gradients and no training",
    "off-the-shelf-features",
    options,
    sizeof(settings),
    0,
    0,
    &functions};
