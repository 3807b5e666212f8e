/* saliency: what a map points at, method by method and layer by layer.
 *
 * Scenes of four garments; a map for one of them must have its maximum in that garment's cell. The
 * paper's reason: Grad-CAM takes the mean gradient, which is the gradient only right before global
 * average pooling; the norms of positions' own contributions work at any depth.
 *
 * pointing  the pointing game at every layer
 * meta      the same after one step of training on the class that is asked for
 */
#include <mica/explain.h>
#include <mica/paper.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct settings {
  uint32_t size;
  int64_t seeds, train_scenes, epochs, scenes, meta_scenes, meta_layer;
  mica_ints layers;
} settings;

enum { CELL = 28, SIDE = 3 * CELL, GARMENTS = 4, CLASSES = 10, BATCH = 32 };

/* ---- scenes ---- */

typedef struct scenes {
  int64_t n;
  mica_tensor *x;          /* [n, 84, 84, 1] */
  mica_tensor *present;    /* [n, 10] 1 where the class is there */
  int64_t *first, *second; /* [n] two of its classes: the one asked for, and another */
  int64_t *cell;           /* [n] of the first */
} scenes;

static void scenes_end(scenes *s) {
  mica_tensor_free(s->x);
  mica_tensor_free(s->present);
  mica_free(s->first);
  mica_free(s->second);
  mica_free(s->cell);
}

static void put(const mica_claim_images *m, int64_t item, int64_t cell, float *scene) {
  const uint8_t *from = m->pixels + item * CELL * CELL;
  float *to = scene + cell / 3 * CELL * SIDE + cell % 3 * CELL;
  for (int64_t r = 0; r < CELL; r++)
    for (int64_t c = 0; c < CELL; c++) to[r * SIDE + c] = (float)from[r * CELL + c] / 255.0f;
}

/* One scene with `garments` of different classes in different cells. */
static void compose(const mica_claim_images *m, mica_key key, int64_t garments, int64_t i,
                    scenes *s) {
  int64_t order[9], placed = 0;
  float *scene = (float *)mica_tensor_data(s->x) + i * SIDE * SIDE;
  float *present = (float *)mica_tensor_data(s->present) + i * CLASSES;
  mica_random_permutation(mica_key_fold_name(key, "cells"), 9, order);
  for (uint64_t k = 0; placed < garments; k++) {
    const int64_t item = (int64_t)mica_random_below(key, k, (uint64_t)m->n), c = m->labels[item];
    if (present[c] > 0) continue;
    present[c] = 1;
    put(m, item, order[placed], scene);
    if (placed == 0) s->first[i] = c, s->cell[i] = order[0];
    if (placed == 1) s->second[i] = c;
    placed++;
  }
}

/* Test scenes have all four garments, training scenes one to four. */
static mica_status draw_scenes(mica_claim_cell *cell, mica_part part, int64_t n, scenes *s) {
  const mica_claim_images *m;
  const mica_key key = mica_key_fold_name(cell->key, part == MICA_PART_TRAIN ? "train" : "test");
  *s = (scenes){.n = n};
  mica_status status = mica_claim_data(cell, "fashion-mnist", part, &m);
  if (status == MICA_OK) status = mica_tensor_create(MICA_F32, MICA_SHAPE(n, SIDE, SIDE, 1), &s->x);
  if (status == MICA_OK) status = mica_tensor_create(MICA_F32, MICA_SHAPE(n, CLASSES), &s->present);
  s->first = mica_calloc((size_t)n, sizeof *s->first);
  s->second = mica_calloc((size_t)n, sizeof *s->second);
  s->cell = mica_calloc((size_t)n, sizeof *s->cell);
  if (status == MICA_OK && (!s->first || !s->second || !s->cell)) status = MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    const mica_key own = mica_key_fold(key, (uint64_t)i);
    const int64_t garments = part == MICA_PART_TRAIN
                                 ? 1 + (int64_t)mica_random_below(own, UINT64_MAX, GARMENTS)
                                 : GARMENTS;
    compose(m, own, garments, i, s);
  }
  return status;
}

/* ---- what a seed's cells share ---- */

typedef struct shared {
  mica_net *net;
  scenes test;
} shared;

static void release(void *given) {
  shared *s = given;
  mica_net_free(s->net);
  scenes_end(&s->test);
  mica_free(s);
}

static mica_status train(mica_claim_cell *cell, shared *s) {
  const settings *o = cell->options;
  const mica_problem problem = MICA_PROBLEM_IMAGES(SIDE, SIDE, 1, CLASSES);
  const uint64_t seed = mica_random_bits(mica_key_fold_name(cell->key, "net"), 0);
  scenes drawn;
  mica_train_options t = MICA_TRAIN_OPTIONS;
  mica_status status = draw_scenes(cell, MICA_PART_TRAIN, o->train_scenes, &drawn);
  if (status == MICA_OK)
    status = mica_net_create(cell->engine, "convnet:widths=8,16,32,32:convolutions=1", &problem,
                             seed, &s->net);
  t.loss = "bce";
  t.optimiser = "adam:lr=0.003";
  t.schedule = "cosine";
  t.seed = seed;
  if (status == MICA_OK)
    status = mica_claim_train_on(cell, s->net, drawn.x, drawn.present, BATCH, false,
                                 (drawn.n + BATCH - 1) / BATCH * o->epochs, &t);
  scenes_end(&drawn);
  return status;
}

static mica_status prepare(mica_claim_cell *cell, int64_t test_scenes, void **out) {
  shared *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  mica_status status = train(cell, s);
  if (status == MICA_OK) status = draw_scenes(cell, MICA_PART_TEST, test_scenes, &s->test);
  if (status == MICA_OK)
    *out = s;
  else
    release(s);
  return status;
}

static mica_status prepare_pointing(mica_claim_cell *cell, void **out) {
  return prepare(cell, ((const settings *)cell->options)->scenes, out);
}

static mica_status prepare_meta(mica_claim_cell *cell, void **out) {
  return prepare(cell, ((const settings *)cell->options)->meta_scenes, out);
}

/* ---- measuring ---- */

/* Hits by class of maps [n, 84, 84]. */
static double pointing(const scenes *s, const mica_tensor *maps) {
  int64_t hits[CLASSES] = {0}, misses[CLASSES] = {0};
  for (int64_t i = 0; i < s->n; i++) {
    uint8_t mask[SIDE * SIDE] = {0};
    for (int64_t r = 0; r < CELL; r++)
      memset(mask + (s->cell[i] / 3 * CELL + r) * SIDE + s->cell[i] % 3 * CELL, 1, CELL);
    const bool hit = mica_pointing_hit((const float *)mica_tensor_data(maps) + i * SIDE * SIDE,
                                       mask, SIDE, SIDE, 0);
    (hit ? hits : misses)[s->first[i]]++;
  }
  return mica_pointing_accuracy(hits, misses, CLASSES);
}

static double correlation(const mica_tensor *a, const mica_tensor *b) {
  const int64_t n = mica_tensor_dim(a, 0), size = SIDE * SIDE;
  double sum = 0;
  double *u = mica_calloc(2 * size, sizeof *u);
  if (!u) return NAN;
  for (int64_t i = 0; i < n; i++) {
    for (int64_t k = 0; k < size; k++) {
      u[k] = mica_tensor_get(a, i * size + k);
      u[size + k] = mica_tensor_get(b, i * size + k);
    }
    const double rho = mica_pearson(size, u, u + size);
    sum += isnan(rho) ? 0 : rho;
  }
  mica_free(u);
  return sum / (double)n;
}

/* Maps of all scenes for the given classes, in pieces that fit the memory of a small machine. */
static mica_status explain(mica_claim_cell *cell, const char *layer, double meta,
                           const int64_t *target, mica_tensor **out) {
  const shared *s = cell->shared;
  mica_explain_options o = MICA_EXPLAIN_OPTIONS;
  mica_status status = mica_tensor_create(MICA_F32, MICA_SHAPE(s->test.n, SIDE, SIDE), out);
  o.layer = layer;
  o.meta = meta;
  for (int64_t from = 0; from < s->test.n && status == MICA_OK; from += 50) {
    const int64_t to = from + 50 < s->test.n ? from + 50 : s->test.n;
    mica_tensor *x = NULL, *map = NULL;
    status = mica_tensor_slice(s->test.x, from, to, &x);
    if (status == MICA_OK)
      status = mica_explain(s->net, cell->arm->spec, x, target + from, &o, &map);
    if (status == MICA_OK)
      memcpy((float *)mica_tensor_data(*out) + from * SIDE * SIDE, mica_tensor_data(map),
             (size_t)((to - from) * SIDE * SIDE) * sizeof(float));
    mica_tensor_free(map);
    mica_tensor_free(x);
  }
  if (status != MICA_OK) {
    mica_tensor_free(*out);
    *out = NULL;
  }
  return status;
}

static mica_status report(mica_claim_cell *cell, const mica_tensor *maps,
                          const mica_tensor *other) {
  const shared *s = cell->shared;
  mica_status status = mica_claim_report(cell, "pointing", pointing(&s->test, maps));
  if (status == MICA_OK && other)
    status = mica_claim_report(cell, "correlation", correlation(maps, other));
  return status;
}

static const char of_pixels; /* marks the arm whose maps are the scenes */

/* Maps that no network makes: a bump in the middle, or where the scene is brightest. */
static mica_status trivial_maps(mica_claim_cell *cell, mica_tensor **out) {
  const shared *s = cell->shared;
  const mica_status status = mica_tensor_create(MICA_F32, MICA_SHAPE(s->test.n, SIDE, SIDE), out);
  if (status != MICA_OK) return status;
  float *map = mica_tensor_data(*out);
  for (int64_t i = 0; i < s->test.n; i++)
    if (cell->arm->own == &of_pixels)
      memcpy(map + i * SIDE * SIDE, (const float *)mica_tensor_data(s->test.x) + i * SIDE * SIDE,
             SIDE * SIDE * sizeof *map);
    else
      map[i * SIDE * SIDE + SIDE * (SIDE / 2) + SIDE / 2] = 1;
  return MICA_OK;
}

/* Three scenes under the arm's maps. */
static mica_status show(mica_claim_cell *cell, const mica_tensor *maps) {
  const shared *s = cell->shared;
  enum { SHOWN = 3 };
  uint8_t grey[SIDE * SIDE], *rgb = mica_calloc(SHOWN * SIDE * SIDE, 3);
  mica_tile tile[SHOWN];
  char name[80], caption[SHOWN][32], title[160];
  mica_image_grid_options o = MICA_IMAGE_GRID_OPTIONS;
  mica_figure *figure = NULL;
  mica_status status = rgb ? MICA_OK : MICA_ERR_MEMORY;
  for (int i = 0; i < SHOWN && status == MICA_OK; i++) {
    const int64_t at = (int64_t)i * SIDE * SIDE;
    for (int64_t k = 0; k < SIDE * SIDE; k++)
      grey[k] = (uint8_t)lround(255 * mica_tensor_get(s->test.x, at + k));
    status = mica_map_overlay((const float *)mica_tensor_data(maps) + at, grey, SIDE, SIDE, 1, 0.7,
                              rgb + 3 * at);
    snprintf(caption[i], sizeof caption[i], "class %lld", (long long)s->test.first[i]);
    tile[i] = (mica_tile){{rgb + 3 * at, SIDE, SIDE, 3}, caption[i], NULL, MICA_MARK_NONE};
  }
  o.columns = SHOWN;
  o.tile = 168;
  snprintf(title, sizeof title, "%s at layer %g", cell->arm->name, cell->point);
  o.title = title;
  if (status == MICA_OK) status = mica_figure_image_grid(tile, SHOWN, &o, &figure);
  snprintf(name, sizeof name, "maps-%s-%g", cell->arm->name, cell->point);
  if (status == MICA_OK) status = mica_claim_figure(cell, name, title, figure);
  mica_free(rgb);
  return status;
}

static mica_status run_pointing(mica_claim_cell *cell) {
  const shared *s = cell->shared;
  mica_tensor *maps = NULL, *other = NULL;
  char layer[32];
  if (cell->arm->role == MICA_ARM_TRIVIAL) {
    mica_status status = trivial_maps(cell, &maps);
    if (status == MICA_OK) status = report(cell, maps, NULL);
    mica_tensor_free(maps);
    return status;
  }
  snprintf(layer, sizeof layer, "stages.%d", (int)cell->point - 1);
  mica_status status = explain(cell, layer, 0, s->test.first, &maps);
  if (status == MICA_OK) status = explain(cell, layer, 0, s->test.second, &other);
  if (status == MICA_OK) status = report(cell, maps, other);
  if (status == MICA_OK && cell->seed == 0 && s->test.n >= 3 &&
      (cell->point == 1 || cell->point == 4) && cell->arm->role != MICA_ARM_CONTEXT)
    status = show(cell, maps);
  mica_tensor_free(maps);
  mica_tensor_free(other);
  return status;
}

static mica_status run_meta(mica_claim_cell *cell) {
  const settings *o = cell->options;
  const shared *s = cell->shared;
  mica_tensor *maps = NULL, *other = NULL;
  const double rate = cell->arm->own ? *(const double *)cell->arm->own : 0;
  char layer[32];
  snprintf(layer, sizeof layer, "stages.%d", (int)o->meta_layer - 1);
  mica_status status = explain(cell, layer, rate, s->test.first, &maps);
  if (status == MICA_OK) status = explain(cell, layer, rate, s->test.second, &other);
  if (status == MICA_OK) status = report(cell, maps, other);
  mica_tensor_free(maps);
  mica_tensor_free(other);
  return status;
}

/* ---- the claim ---- */

static const mica_claim_arm pointing_arms[] = {
    {"selective", "scaling, norm of the positive part", MICA_ARM_METHOD,
     "norm_grad:phase1=scaling:phase2=filter_norm", NULL},
    {"norm-grad", "1x1 convolution, norm: |x| |g|", MICA_ARM_METHOD, "norm_grad", NULL},
    {"grad-cam", "channels weighted by mean gradients", MICA_ARM_BASELINE, "grad_cam", NULL},
    {"linear", "the sum of activation times gradient", MICA_ARM_CONTEXT, "linear", NULL},
    {"gradient", "the largest absolute gradient", MICA_ARM_CONTEXT, "gradient", NULL},
    {"excitation", "excitation backprop", MICA_ARM_CONTEXT, "excitation", NULL},
    {"centre", "the middle of the scene", MICA_ARM_TRIVIAL, NULL, NULL},
    {"brightest", "the brightest pixel", MICA_ARM_TRIVIAL, NULL, &of_pixels},
    {0}};
static const mica_claim_measure measures[] = {
    {"pointing", "pointing accuracy", false},
    {"correlation", "correlation of the maps of two classes", true},
    {0}};
static const mica_claim_check pointing_checks[] = {
    {"at the first layer selective NormGrad points better than Grad-CAM",
     MICA_CHECK_DIFFERENCE,
     "pointing",
     {"selective", 1, 1},
     {"grad-cam", 1, 1},
     0.08,
     false,
     NULL,
     false},
    {"Grad-CAM works at the last layer only",
     MICA_CHECK_DIFFERENCE,
     "pointing",
     {"grad-cam", 4, 4},
     {"grad-cam", 1, 1},
     0.25,
     false,
     NULL,
     false},
    {"plain NormGrad tells the classes of a scene apart less",
     MICA_CHECK_DIFFERENCE,
     "correlation",
     {"selective", 1, 1},
     {"norm-grad", 1, 1},
     0,
     false,
     NULL,
     true},
    {0}};

static const double rates[] = {1e-3, 1e-2, 1e-1};
static const mica_claim_arm meta_arms[] = {
    {"step-0.001", "after a step with rate 0.001", MICA_ARM_METHOD, "norm_grad", &rates[0]},
    {"step-0.01", "after a step with rate 0.01", MICA_ARM_METHOD, "norm_grad", &rates[1]},
    {"step-0.1", "after a step with rate 0.1", MICA_ARM_METHOD, "norm_grad", &rates[2]},
    {"no-step", "NormGrad as it is", MICA_ARM_BASELINE, "norm_grad", NULL},
    {0}};
static const mica_claim_check meta_checks[] = {{"the best step points better than none",
                                                MICA_CHECK_DIFFERENCE,
                                                "pointing",
                                                {"step-*", 0, 0},
                                                {"no-step", 0, 0},
                                                0.05,
                                                false,
                                                NULL,
                                                false},
                                               {"its maps of two classes are less alike",
                                                MICA_CHECK_DIFFERENCE,
                                                "correlation",
                                                {"step-*", 0, 0},
                                                {"no-step", 0, 0},
                                                0,
                                                false,
                                                NULL,
                                                true},
                                               {0}};

static const mica_claim_experiment experiments[] = {
    {.name = "pointing",
     .title = "Pointing accuracy by layer, on scenes of four garments",
     .arms = pointing_arms,
     .measures = measures,
     .checks = pointing_checks,
     .sweep = "layers",
     .sweep_what = "layer",
     .note = "1/9 is blind, 1/4 finds any garment. Plain NormGrad marks some garment rather than "
             "the class on such scenes: its maps of two present classes are much alike, which is "
             "the paper's own finding about class sensitivity.",
     .prepare = prepare_pointing,
     .release = release,
     .run = run_pointing},
    {.name = "meta",
     .title = "NormGrad after one step of training on the class that is asked for",
     .arms = meta_arms,
     .measures = measures,
     .checks = meta_checks,
     .prepare = prepare_meta,
     .release = release,
     .run = run_meta},
    {0}};

static const mica_option options[] = {
    {"seeds", MICA_OPTION_INT, "5", 1, 1000, NULL, "seeds", offsetof(settings, seeds)},
    {"train_scenes", MICA_OPTION_INT, "4000", 32, 1000000, NULL, "training scenes",
     offsetof(settings, train_scenes)},
    {"epochs", MICA_OPTION_INT, "12", 1, 1000, NULL, "of training", offsetof(settings, epochs)},
    {"scenes", MICA_OPTION_INT, "400", 1, 100000, NULL, "test scenes", offsetof(settings, scenes)},
    {"meta_scenes", MICA_OPTION_INT, "150", 1, 100000, NULL, "meta: test scenes",
     offsetof(settings, meta_scenes)},
    {"meta_layer", MICA_OPTION_INT, "3", 1, 4, NULL, "meta: the layer",
     offsetof(settings, meta_layer)},
    {"layers", MICA_OPTION_INTS, "1,2,3,4", 1, 4, NULL, "layers", offsetof(settings, layers)},
    {0}};

static const mica_paper_functions functions = {
    .size = sizeof functions,
    .title = "There and Back Again: Revisiting Backpropagation Saliency Methods",
    .arxiv = "2004.02866",
    .claim = "Norms of positions' contributions point at the class at any depth, where Grad-CAM "
             "works at the last layer only; a step of training makes maps more class-sensitive",
    .components = "explainer:norm_grad explainer:linear explainer:grad_cam explainer:gradient "
                  "explainer:gradient_input explainer:guided explainer:deconvnet "
                  "explainer:excitation explainer:rise",
    .smoke = "seeds=1:train_scenes=300:epochs=1:scenes=30:meta_scenes=6:layers=1,4",
    .recorded = MICA_VERDICT_NOT_SHOWN,
    .experiments = experiments};

extern const mica_component mica_component_paper_saliency;
const mica_component mica_component_paper_saliency = {MICA_COMPONENT_HEAD,
                                                      MICA_KIND_PAPER,
                                                      "saliency",
                                                      "what maps of different methods point at",
                                                      "saliency",
                                                      options,
                                                      sizeof(settings),
                                                      0,
                                                      0,
                                                      &functions};
