/* classify-by-description: a class is recognised by phrases that describe it.
 *
 * An encoder of pictures and texts is trained on captions, half of them made-up names, half of them
 * attributes, of 40 classes. Of 20 classes whose names it never read it knows nothing by name; by
 * descriptions in words that it knows it recognises them. Descriptions may be edited, and the
 * answers follow.
 *
 * unseen  classes without a picture or a caption in training
 * seen    classes that training had: what descriptions cost where names are known
 * bias    classes that were always red, now in blue, before and after an edit of the phrases
 */
#include "paper/claims/attribute_world.h"

#include <mica/paper.h>

#include <math.h>
#include <string.h>

typedef struct settings {
  uint32_t size;
  int64_t seeds, pictures, epochs, batch, test;
  double noise;
} settings;

enum { CLASSES = 60, SEEN = 40 };

/* ---- the encoder ---- */

typedef struct shared {
  world w;
  mica_net *net;
} shared;

static void release(void *given) {
  shared *s = given;
  if (!s) return;
  mica_net_free(s->net);
  mica_free(s);
}

static mica_status train(mica_claim_cell *cell, shared *s) {
  const settings *o = cell->options;
  mica_train_options t = MICA_TRAIN_OPTIONS;
  mica_stream stream;
  const mica_problem problem = {WORLD_SIDE,   WORLD_SIDE, 3,   0, mica_world_vocabulary(&s->w),
                                WORLD_LENGTH, 0,          NULL};
  mica_status status = mica_net_create(cell->engine, "dual:dim=64:widths=16,32,64", &problem,
                                       (uint64_t)cell->seed, &s->net);
  if (status != MICA_OK) return status;
  status = mica_world_stream(&s->w, mica_key_fold_name(cell->key, "train"), o->pictures, o->batch,
                             o->noise, &stream);
  if (status != MICA_OK) return status;
  t.loss = "clip";
  t.optimiser = "adam:lr=0.002";
  t.schedule = "cosine";
  t.seed = (uint64_t)cell->seed;
  status = mica_claim_train(cell, s->net, &stream, o->epochs * stream.batches, &t, NULL);
  mica_world_stream_free(&stream);
  return status;
}

static mica_status prepare(mica_claim_cell *cell, void **out) {
  shared *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  /* The same world and encoder in every experiment of a seed. */
  mica_status status = mica_world_make(mica_key_fold(mica_key_seed(2210), (uint64_t)cell->seed),
                                       CLASSES, SEEN, &s->w);
  if (status == MICA_OK) status = train(cell, s);
  if (status == MICA_OK)
    *out = s;
  else
    release(s);
  return status;
}

/* ---- embeddings ---- */

/* Of pictures [n, ...] or of tokens [n, L], the other NULL: float32 [n, D]. */
static mica_status embed(mica_claim_cell *cell, const mica_net *net, const mica_tensor *pictures,
                         const mica_tensor *tokens, mica_tensor **out) {
  const mica_tensor *in = pictures ? pictures : tokens;
  const int64_t n = mica_tensor_dim(in, 0), d = mica_net_features(net), piece = 250;
  mica_tape *t = NULL;
  mica_status status = mica_tensor_create(MICA_F32, MICA_SHAPE(n, d), out);
  if (status == MICA_OK) status = mica_tape_create(cell->engine, NULL, &t);
  for (int64_t from = 0; from < n && status == MICA_OK; from += piece) {
    const int64_t to = n - from < piece ? n : from + piece;
    mica_tensor *part = NULL;
    mica_outputs y;
    mica_inputs x = {MICA_NONE, MICA_NONE, MICA_NONE};
    status = mica_tensor_slice(in, from, to, &part);
    if (status != MICA_OK) break;
    mica_tape_reset(t);
    mica_no_grad_begin(t);
    *(pictures ? &x.x : &x.tokens) = mica_input(t, part);
    mica_net_forward_inputs(t, net, &x, &y);
    const mica_view got = mica_read(t, pictures ? y.features : y.text);
    status = mica_tape_status(t);
    if (status == MICA_OK)
      memcpy((float *)mica_tensor_data(*out) + from * d, got.data,
             (size_t)((to - from) * d) * sizeof(float));
    mica_no_grad_end(t);
    mica_tape_reset(t);
    mica_tensor_free(part);
  }
  mica_tape_free(t);
  return status;
}

static mica_status embed_prompts(mica_claim_cell *cell, const shared *s, const mica_prompts *p,
                                 mica_tensor **out) {
  mica_tensor *tokens = NULL;
  mica_status status = mica_tensor_create(MICA_I64, MICA_SHAPE(p->n, WORLD_LENGTH), &tokens);
  for (int64_t i = 0; i < p->n && status == MICA_OK; i++)
    mica_world_tokens(&s->w, p->text[i], (int64_t *)mica_tensor_data(tokens) + i * WORLD_LENGTH);
  if (status == MICA_OK) status = embed(cell, s->net, NULL, tokens, out);
  mica_tensor_free(tokens);
  return status;
}

/* The accuracy of a zero_shot specification with these phrases on pictures with labels. */
static mica_status accuracy_of(mica_claim_cell *cell, const char *spec, const mica_phrases *phrases,
                               const mica_tensor *pictures, const int64_t *label,
                               double *accuracy) {
  const shared *s = cell->shared;
  const int64_t n = mica_tensor_dim(pictures, 0);
  mica_spec *parsed = NULL;
  mica_prompts prompts = {0};
  mica_tensor *texts = NULL, *x = NULL;
  int64_t right = 0;
  mica_status status = mica_spec_parse(cell->engine, MICA_KIND_ESTIMATOR, spec, &parsed);
  if (status == MICA_OK)
    status = mica_zero_shot_prompts(mica_spec_options(parsed), phrases, &prompts);
  if (status == MICA_OK) status = embed_prompts(cell, s, &prompts, &texts);
  if (status == MICA_OK) status = embed(cell, s->net, pictures, NULL, &x);
  if (status == MICA_OK) {
    const mica_view rows = mica_tensor_view(texts), tests = mica_tensor_view(x);
    status = mica_claim_fit_and_count(cell, spec, &rows, prompts.label,
                                      mica_phrases_classes(phrases), &tests, label, &right);
  }
  *accuracy = (double)right / (double)n;
  mica_tensor_free(x);
  mica_tensor_free(texts);
  mica_prompts_free(&prompts);
  mica_spec_free(parsed);
  return status;
}

/* ---- classes seen and not seen ---- */

/* What is done to the phrases before they are used. */
typedef struct change {
  int32_t control; /* a mica_phrase_control; -1: none */
  int64_t first;   /* phrases that are kept; 0: all */
} change;
static const change shuffled = {MICA_PHRASES_SHUFFLED, 0}, words = {MICA_PHRASES_WORDS, 0},
                    two = {-1, 2};

static mica_status changed(const change *c, mica_key key, mica_phrases **phrases) {
  mica_phrases *next = NULL;
  if (!c) return MICA_OK;
  const mica_status status =
      c->first ? mica_phrases_first(*phrases, c->first, &next)
               : mica_phrases_control_list(*phrases, (mica_phrase_control)c->control, key, &next);
  if (status != MICA_OK) return status;
  mica_phrases_free(*phrases);
  *phrases = next;
  return MICA_OK;
}

static mica_status run_classes(mica_claim_cell *cell, int64_t from, int64_t many) {
  const settings *o = cell->options;
  const shared *s = cell->shared;
  mica_phrases *phrases = NULL;
  mica_tensor *pictures = NULL;
  double accuracy = 1 / (double)many; /* of a guess */
  int64_t *label = mica_calloc((size_t)o->test, sizeof *label);
  mica_status status = label ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK && cell->arm->spec) {
    status = mica_world_pictures(&s->w, mica_key_fold_name(cell->key, "test"), from, many, o->test,
                                 -1, &pictures, label);
    if (status == MICA_OK) status = mica_world_phrases(&s->w, from, many, &phrases);
    if (status == MICA_OK)
      status = changed(cell->arm->own, mica_key_fold_name(cell->key, cell->arm->name), &phrases);
    if (status == MICA_OK)
      status = accuracy_of(cell, cell->arm->spec, phrases, pictures, label, &accuracy);
  }
  mica_phrases_free(phrases);
  mica_tensor_free(pictures);
  mica_free(label);
  return status == MICA_OK ? mica_claim_report(cell, "accuracy", accuracy) : status;
}

static mica_status run_unseen(mica_claim_cell *cell) {
  return run_classes(cell, SEEN, CLASSES - SEEN);
}

static mica_status run_seen(mica_claim_cell *cell) {
  return run_classes(cell, 0, SEEN);
}

/* ---- an edit ---- */

/* Pictures of the classes that were always red, in a colour; their labels among the seen. */
static mica_status red_pictures(mica_claim_cell *cell, int32_t colour, mica_tensor **x,
                                int64_t *label) {
  const settings *o = cell->options;
  const shared *s = cell->shared;
  world red = {0};
  int64_t which[WORLD_CLASSES];
  for (int64_t c = 0; c < SEEN; c++)
    if (s->w.thing[c].attribute[WORLD_COLOUR] == WORLD_RED) {
      red.thing[red.classes] = s->w.thing[c];
      which[red.classes++] = c;
    }
  const mica_status status = mica_world_pictures(&red, mica_key_fold_name(cell->key, "test"), 0,
                                                 red.classes, o->test, colour, x, label);
  for (int64_t i = 0; i < o->test && status == MICA_OK; i++) label[i] = which[label[i]];
  return status;
}

/* "red" becomes "red or blue" in every class's phrases. */
static mica_status edit(const shared *s, mica_phrases *phrases) {
  mica_status status = MICA_OK;
  for (int64_t c = 0; c < SEEN && status == MICA_OK; c++) {
    const char *phrase[WORLD_ATTRIBUTES];
    if (s->w.thing[c].attribute[WORLD_COLOUR] != WORLD_RED) continue;
    for (int k = 0; k < WORLD_ATTRIBUTES; k++)
      phrase[k] =
          k == WORLD_COLOUR ? "red or blue" : mica_world_word(k, s->w.thing[c].attribute[k]);
    status = mica_phrases_set(phrases, s->w.name[c], WORLD_ATTRIBUTES, phrase);
  }
  return status;
}

static mica_status bias_of(mica_claim_cell *cell, int32_t colour, bool edited, double *accuracy) {
  const settings *o = cell->options;
  mica_phrases *phrases = NULL;
  mica_tensor *pictures = NULL;
  int64_t *label = mica_calloc((size_t)o->test, sizeof *label);
  mica_status status = label ? red_pictures(cell, colour, &pictures, label) : MICA_ERR_MEMORY;
  if (status == MICA_OK)
    status = mica_world_phrases(&((const shared *)cell->shared)->w, 0, SEEN, &phrases);
  if (status == MICA_OK && edited) status = edit(cell->shared, phrases);
  if (status == MICA_OK)
    status =
        accuracy_of(cell, "zero_shot:form=none:modify=false", phrases, pictures, label, accuracy);
  mica_phrases_free(phrases);
  mica_tensor_free(pictures);
  mica_free(label);
  return status;
}

static mica_status run_bias(mica_claim_cell *cell) {
  const bool edited = cell->arm->own != NULL, blue = cell->arm->spec != NULL;
  double accuracy, before, red;
  mica_status status = bias_of(cell, blue ? WORLD_BLUE : WORLD_RED, edited, &accuracy);
  if (status == MICA_OK) status = mica_claim_report(cell, "accuracy", accuracy);
  if (status != MICA_OK || !edited || !blue) return status;
  status = bias_of(cell, WORLD_BLUE, false, &before);
  if (status == MICA_OK) status = bias_of(cell, WORLD_RED, false, &red);
  return status == MICA_OK
             ? mica_claim_report(cell, "recovered", (accuracy - before) / fmax(red - before, 1e-9))
             : status;
}

/* ---- the claim ---- */

static const char unequal[] =
    "a class has as many texts as it has phrases; no picture is learnt from";
static const char own[] = "zero_shot:form=none:modify=false", both[] = "zero_shot:modify=false";

static const mica_claim_arm unseen_arms[] = {
    {"descriptions", "the class's own phrases", MICA_ARM_METHOD, own, NULL},
    {"other-name", "the name, which was never read", MICA_ARM_BASELINE, "zero_shot:mode=name",
     NULL},
    {"other-shuffled", "another class's phrases", MICA_ARM_CONTROL, own, &shuffled},
    {"other-words", "random attribute words", MICA_ARM_CONTROL, own, &words},
    {"name-and-descriptions", "name and phrase in each text", MICA_ARM_CONTEXT, both, NULL},
    {"largest", "the best phrase alone counts", MICA_ARM_CONTEXT,
     "zero_shot:form=none:modify=false:aggregate=max", NULL},
    {"sum", "the sum over the phrases", MICA_ARM_CONTEXT,
     "zero_shot:form=none:modify=false:aggregate=sum", NULL},
    {"two-phrases", "shape and fill alone", MICA_ARM_CONTEXT, own, &two},
    {"guess", "one of twenty", MICA_ARM_TRIVIAL, NULL, NULL},
    {0}};
static const mica_claim_arm seen_arms[] = {
    {"descriptions", "the class's own phrases", MICA_ARM_METHOD, own, NULL},
    {"name", "the name that training had", MICA_ARM_BASELINE, "zero_shot:mode=name", NULL},
    {"name-and-descriptions", "name and phrase in each text", MICA_ARM_CONTEXT, both, NULL},
    {"shuffled", "another class's phrases", MICA_ARM_CONTROL, own, &shuffled},
    {"words", "random attribute words", MICA_ARM_CONTROL, own, &words},
    {"name-and-words", "name and random words in each text", MICA_ARM_CONTROL, both, &words},
    {"guess", "one of forty", MICA_ARM_TRIVIAL, NULL, NULL},
    {0}};
static const mica_claim_arm bias_arms[] = {
    {"edited", "in blue; the phrases say red or blue", MICA_ARM_METHOD, "blue", own},
    {"unedited", "in blue; the phrases say red", MICA_ARM_BASELINE, "blue", NULL},
    {"red", "in red, as in training", MICA_ARM_CONTEXT, NULL, NULL},
    {"red-edited", "in red; the phrases say red or blue", MICA_ARM_CONTEXT, NULL, own},
    {0}};

static const mica_claim_measure measures[] = {{"accuracy", "accuracy", false}, {0}};
static const mica_claim_measure bias_measures[] = {
    {"accuracy", "accuracy among 40 classes", false},
    {"recovered", "share of the lost accuracy that the edit brings back", false},
    {0}};

static const mica_claim_check unseen_checks[] = {
    {"own descriptions recognise classes that were never seen: 40 % of 20",
     MICA_CHECK_VALUE,
     "accuracy",
     {"descriptions", 0, 0},
     {NULL, 0, 0},
     0.4,
     false,
     NULL,
     false},
    {"four times the best of their name, other phrases and random words",
     MICA_CHECK_RATIO,
     "accuracy",
     {"descriptions", 0, 0},
     {"other-*", 0, 0},
     4,
     false,
     unequal,
     false},
    {0}};
static const mica_claim_check seen_checks[] = {
    {"where names are known, descriptions lose at most 8 points",
     MICA_CHECK_DIFFERENCE,
     "accuracy",
     {"descriptions", 0, 0},
     {"name", 0, 0},
     -0.08,
     false,
     unequal,
     false},
    {0}};
static const mica_claim_check bias_checks[] = {
    {"an edit of the phrases brings back half of what was lost",
     MICA_CHECK_VALUE,
     "recovered",
     {"edited", 0, 0},
     {NULL, 0, 0},
     0.5,
     false,
     NULL,
     false},
    {0}};

static const mica_claim_experiment experiments[] = {
    {.name = "unseen",
     .title = "Twenty classes without a picture or a caption in training",
     .arms = unseen_arms,
     .measures = measures,
     .checks = unseen_checks,
     .note = "Rendered pictures of 32x32: 8 shapes, 4 fills, 6 colours, 1 to 3 of them, with noise "
             "and clutter. 60 made-up names stand for combinations; the encoder reads 40 of them, "
             "half of its captions names, half one to three attributes, 2 % of them wrong.",
     .prepare = prepare,
     .release = release,
     .run = run_unseen},
    {.name = "seen",
     .title = "Forty classes that training had",
     .arms = seen_arms,
     .measures = measures,
     .checks = seen_checks,
     .note = "In this closed world names are learnt as well as anything; a gain over names needs "
             "an encoder that has read descriptions of far more than its classes.",
     .prepare = prepare,
     .release = release,
     .run = run_seen},
    {.name = "bias",
     .title = "Classes that were always red, in blue",
     .arms = bias_arms,
     .measures = bias_measures,
     .checks = bias_checks,
     .prepare = prepare,
     .release = release,
     .run = run_bias},
    {0}};

static const mica_option options[] = {
    {"seeds", MICA_OPTION_INT, "3", 1, 1000, NULL, "repeats", offsetof(settings, seeds)},
    {"pictures", MICA_OPTION_INT, "4000", 64, 1000000, NULL, "of training",
     offsetof(settings, pictures)},
    {"epochs", MICA_OPTION_INT, "12", 1, 1000, NULL, "of training", offsetof(settings, epochs)},
    {"batch", MICA_OPTION_INT, "64", 2, 4096, NULL, "of training", offsetof(settings, batch)},
    {"test", MICA_OPTION_INT, "1200", 20, 1000000, NULL, "pictures of each test",
     offsetof(settings, test)},
    {"noise", MICA_OPTION_FLOAT, "0.02", 0, 1, NULL, "share of captions of another class",
     offsetof(settings, noise)},
    {0}};

static const mica_paper_functions functions = {
    .size = sizeof functions,
    .title = "Visual Classification via Description from Large Language Models",
    .arxiv = "2210.07183",
    .claim = "A class that an encoder has no name for is recognised by phrases that describe it, "
             "and editing the phrases changes the answers",
    .components = "estimator:zero_shot model:dual",
    .smoke = "seeds=1:pictures=960:epochs=3:test=100",
    .recorded = MICA_VERDICT_NOT_SHOWN,
    .experiments = experiments};

extern const mica_component mica_component_paper_classify_by_description;
const mica_component mica_component_paper_classify_by_description = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_PAPER,
    "classify-by-description",
    "classes recognised by phrases that describe them",
    "classify-by-description",
    options,
    sizeof(settings),
    0,
    0,
    &functions};
