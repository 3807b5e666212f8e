/* bi-granular-retrieval: codes that are trained to tell documents apart find candidates, dense
 * vectors that are trained on what those codes confuse decide between them.
 *
 * Documents are paragraphs of English, questions eight words of one. Stage 0 trains an encoder on
 * random batches; its vectors are quantised (pq, opq), and encoder and codewords trained on
 * together (contrastive). The control fits a quantiser anew on the vectors of that further trained
 * encoder: what it does not reach is due to the codewords alone.
 */
#include "paper/claims/bi_granular_text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { COLUMNS = MICA_PARAGRAPH_COLUMNS, DEPTH = 200, FOUND = 100 };

typedef struct settings {
  uint32_t size;
  int64_t seeds, documents, tests, epochs, code_epochs;
  mica_ints parts;
} settings;

/* ---- what the arms share ---- */

/* An encoder that has been trained, and what it makes of documents and test questions. */
typedef struct model {
  mica_paragraph_encoder encoder;
  float *document, *question; /* [n, 64], [tests, 64] */
  int64_t steps;              /* of its training, with all before it */
} model;

typedef struct coded {
  model m;
  mica_quantiser *codes;
  int64_t *candidate; /* [training questions, DEPTH], or NULL while nobody asked for them */
} coded;

typedef struct shared {
  mica_paragraphs text;
  int64_t *test;  /* [n, 8] questions after all documents, of which the last are asked */
  int64_t *mined; /* the same of those that candidates are looked for */
  model global;
  int64_t parts; /* of the codes under way; 0: none */
  coded contrastive;
} shared;

static void free_model(model *m) {
  mica_paragraph_encoder_free(&m->encoder);
  mica_free(m->document);
  mica_free(m->question);
  *m = (model){0};
}

static void free_coded(coded *c) {
  free_model(&c->m);
  mica_quantiser_free(c->codes);
  mica_free(c->candidate);
  *c = (coded){0};
}

static void release(void *given) {
  shared *s = given;
  free_model(&s->global);
  free_coded(&s->contrastive);
  mica_paragraphs_free(&s->text);
  mica_free(s->test);
  mica_free(s->mined);
  mica_free(s);
}

static mica_relevance training_truth(const shared *s) {
  return (mica_relevance){s->text.n - s->text.tests, s->text.n, s->text.own, s->text.own};
}

static mica_status embed(const shared *s, model *m) {
  const int64_t n = s->text.n, tests = s->text.tests;
  m->document = mica_realloc_array(m->document, (size_t)(n * COLUMNS), sizeof *m->document);
  m->question = mica_realloc_array(m->question, (size_t)(tests * COLUMNS), sizeof *m->question);
  if (!m->document || !m->question) return MICA_ERR_MEMORY;
  mica_status status = mica_paragraph_vectors(&m->encoder, NULL, 0, n, m->document);
  return status ? status : mica_paragraph_vectors(&m->encoder, s->test, n - tests, n, m->question);
}

static mica_retriever_options training(const mica_claim_cell *cell) {
  mica_retriever_options o = MICA_RETRIEVER_OPTIONS;
  o.epochs = ((const settings *)cell->options)->epochs;
  o.optimiser = "adam:lr=2e-3";
  o.schedule = "constant";
  o.clip = 0;
  o.loss.temperature = sqrt(COLUMNS);
  o.batches.walk = MICA_WALK_RANDOM;
  o.batches.negatives = 0;
  o.batches.seed = mica_random_bits(mica_key_fold_name(cell->key, "batches"), 0);
  o.epoch = mica_paragraph_epoch;
  return o;
}

static mica_status train(const shared *s, model *m, const int64_t *candidate,
                         const mica_retriever_options *o) {
  const mica_relevance truth = training_truth(s);
  mica_retriever_result result = {0};
  mica_status status = mica_retriever_train(m->encoder.params, mica_paragraph_encode, &m->encoder,
                                            &truth, candidate, candidate ? DEPTH : 0, o, &result);
  m->steps += result.steps;
  return status ? status : embed(s, m);
}

/* A fresh encoder: the same first weights and questions for all arms of a seed. */
static mica_status fresh(mica_claim_cell *cell, const shared *s, model *m) {
  return mica_paragraph_encoder_create(
      cell->engine, &s->text, mica_random_bits(mica_key_fold_name(cell->key, "weights"), 0),
      mica_key_fold_name(cell->key, "questions"), &m->encoder);
}

static mica_status prepare(mica_claim_cell *cell, void **out) {
  const settings *o = cell->options;
  shared *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  mica_status status = mica_paragraphs_read(mica_key_fold_name(cell->key, "documents"),
                                            o->documents, o->tests, &s->text);
  const size_t words = (size_t)(o->documents * MICA_QUESTION_WORDS);
  s->test = mica_realloc_array(NULL, words, sizeof *s->test);
  s->mined = mica_realloc_array(NULL, words, sizeof *s->mined);
  if (!status && !(s->test && s->mined)) status = MICA_ERR_MEMORY;
  if (!status) {
    mica_paragraph_questions(&s->text, mica_key_fold_name(cell->key, "test"), s->test);
    mica_paragraph_questions(&s->text, mica_key_fold_name(cell->key, "mined"), s->mined);
    status = fresh(cell, s, &s->global);
  }
  const mica_retriever_options t = training(cell);
  if (!status) status = train(s, &s->global, NULL, &t);
  if (status)
    release(s);
  else
    *out = s;
  return status;
}

/* ---- searching ---- */

static int64_t parts_of(const mica_claim_cell *cell) {
  return cell->point > 0 ? (int64_t)cell->point : 8;
}

/* 32 words in 8 parts; 16 in 4, and 4 in 16, are rates at which codes are harder to make. */
static int64_t words_of(const mica_claim_cell *cell) {
  const int64_t parts = parts_of(cell);
  return parts == 4 ? 16 : parts == 16 ? 4 : 32;
}

static double code_bytes(const mica_claim_cell *cell) {
  return (double)parts_of(cell) * log2((double)words_of(cell)) / 8;
}

/* An index of document vectors; with codes of others where `coarse` has a quantiser. */
static mica_status build(const mica_claim_cell *cell, const shared *s, const char *spec,
                         const float *rows, const mica_quantiser *codes, const float *coarse,
                         mica_index **out) {
  const mica_shape shape = MICA_SHAPE(s->text.n, COLUMNS);
  mica_index_batch batch = MICA_INDEX_BATCH;
  mica_index_builder *b = NULL;
  batch.x = mica_view_of((float *)(uintptr_t)rows, MICA_F32, shape);
  if (coarse) batch.coarse = mica_view_of((float *)(uintptr_t)coarse, MICA_F32, shape);
  mica_status status = mica_index_builder_create(cell->engine, spec, COLUMNS, NULL, &b);
  if (!status && codes) status = mica_index_builder_set_codes(b, codes);
  if (!status) status = mica_index_builder_add(b, &batch);
  if (!status) status = mica_index_builder_finish(b, out);
  mica_index_builder_free(b);
  return status;
}

static const char *code_spec(const mica_claim_cell *cell, bool rotated, int64_t rerank,
                             char text[128]) {
  snprintf(text, 128, "pq:metric=inner:parts=%lld:words=%lld:rotations=%d:rerank=%lld:seed=%lld",
           (long long)parts_of(cell), (long long)words_of(cell), rotated ? 16 : 0,
           (long long)rerank, (long long)cell->seed);
  return text;
}

static mica_status report_ranks(mica_claim_cell *cell, int64_t tests, const int64_t *rank,
                                double bytes) {
  static const struct {
    const char *name;
    int64_t k;
  } recall[] = {{"recall@10", 10}, {"recall@5", 5},     {"recall@30", 30},
                {"recall@50", 50}, {"recall@100", 100}, {NULL, 0}};
  mica_status status = MICA_OK;
  double reciprocal = 0;
  for (int r = 0; recall[r].name && !status; r++) {
    double found = 0;
    for (int64_t i = 0; i < tests; i++) found += rank[i] < recall[r].k;
    status = mica_claim_report(cell, recall[r].name, found / (double)tests);
  }
  for (int64_t i = 0; i < tests; i++) reciprocal += rank[i] < 10 ? 1 / (double)(rank[i] + 1) : 0;
  if (!status) status = mica_claim_report(cell, "mrr@10", reciprocal / (double)tests);
  return status ? status : mica_claim_report(cell, "bytes", bytes);
}

/* Ask for the test questions and report where their own documents stand. */
static mica_status ask(mica_claim_cell *cell, const shared *s, const mica_index *index,
                       const float *question, const float *coarse, double bytes) {
  const int64_t tests = s->text.tests, first = s->text.n - tests;
  const mica_shape shape = MICA_SHAPE(tests, COLUMNS);
  const mica_view x = mica_view_of((float *)(uintptr_t)question, MICA_F32, shape);
  const mica_view c = mica_view_of((float *)(uintptr_t)coarse, MICA_F32, shape);
  mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
  o.k = FOUND;
  if (coarse) o.coarse = &c;
  int64_t *row = mica_realloc_array(NULL, (size_t)(tests * FOUND), sizeof *row);
  int64_t *rank = mica_realloc_array(NULL, (size_t)tests, sizeof *rank);
  double *score = mica_realloc_array(NULL, (size_t)(tests * FOUND), sizeof *score);
  mica_status status =
      row && rank && score ? mica_index_query(index, &x, &o, row, score) : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < tests && !status; i++) {
    rank[i] = 0;
    while (rank[i] < FOUND && row[i * FOUND + rank[i]] != first + i) rank[i]++;
  }
  if (!status) status = report_ranks(cell, tests, rank, bytes);
  mica_free(row);
  mica_free(rank);
  mica_free(score);
  return status;
}

/* Build, ask, forget. */
static mica_status try_index(mica_claim_cell *cell, const shared *s, const char *spec,
                             const model *m, const mica_quantiser *codes, double bytes) {
  mica_index *index = NULL;
  mica_status status = build(cell, s, spec, m->document, codes, NULL, &index);
  if (!status) status = ask(cell, s, index, m->question, NULL, bytes);
  mica_index_free(index);
  return status;
}

/* ---- codes ---- */

/* The quantiser of an index that trains one. */
static mica_status fit_codes(const mica_claim_cell *cell, const shared *s, const model *m,
                             mica_quantiser **out) {
  char spec[128];
  mica_index *index = NULL;
  mica_status status =
      build(cell, s, code_spec(cell, true, 0, spec), m->document, NULL, NULL, &index);
  if (!status) {
    const mica_quantiser *q = mica_index_quantiser(index);
    status =
        mica_quantiser_of(cell->engine, COLUMNS, mica_quantiser_parts(q), mica_quantiser_words(q),
                          mica_quantiser_codewords(q), mica_quantiser_rotation(q), out);
  }
  mica_index_free(index);
  return status;
}

typedef struct objective {
  bool frozen; /* the encoder stays as it is */
  double dense, codes, squares;
} objective;

/* Train on from stage 0 and its opq: codewords, and the encoder unless it is frozen. */
static mica_status train_codes(mica_claim_cell *cell, const shared *s, const objective *by,
                               coded *out) {
  mica_retriever_options o = training(cell);
  mica_quantiser *first = NULL;
  out->m.steps = s->global.steps;
  o.epochs = ((const settings *)cell->options)->code_epochs;
  o.optimiser = "adam:lr=1e-3";
  o.batches.seed++;
  o.loss.dense = by->dense;
  o.loss.codes = by->codes;
  o.loss.squares = by->squares;
  mica_status status = mica_paragraph_encoder_clone(&s->global.encoder, &out->m.encoder);
  if (!status) status = fit_codes(cell, s, &s->global, &first);
  if (!status) {
    mica_node *root = mica_params_root(out->m.encoder.params);
    out->m.encoder.key = mica_key_fold_name(cell->key, "further questions");
    if (by->frozen) mica_node_set_flags(root, 0, MICA_PARAM_TRAINABLE);
    o.codes = mica_node_child(root, "codes");
    status = mica_contrastive_pq_init(o.codes, COLUMNS, parts_of(cell), words_of(cell), true);
  }
  if (!status) status = mica_contrastive_pq_import(o.codes, first);
  if (!status) status = train(s, &out->m, NULL, &o);
  if (!status) status = mica_contrastive_pq_export(o.codes, &out->codes);
  mica_quantiser_free(first);
  return status;
}

/* The contrastive codes of this point, trained once for all arms that build on them. */
static mica_status contrastive(mica_claim_cell *cell, shared *s, const coded **out) {
  static const objective both = {false, 1, 1, 1e-6};
  mica_status status = MICA_OK;
  if (s->parts != parts_of(cell)) {
    s->parts = 0;
    free_coded(&s->contrastive);
    status = train_codes(cell, s, &both, &s->contrastive);
    if (!status) s->parts = parts_of(cell);
  }
  *out = &s->contrastive;
  return status;
}

/* ---- the arms ---- */

typedef struct arm {
  mica_status (*run)(mica_claim_cell *cell, shared *s, const struct arm *a);
  bool rotated;
  objective by;
  int walk;        /* mica_walk, of what decides */
  bool mined;      /* negatives are candidates; else any documents */
  bool from_dense; /* candidates of the dense index instead of the codes */
  bool global;     /* the decision is that of stage 0 */
  bool warm;       /* it begins with the weights of stage 0 */
} arm;

static mica_status run_dense(mica_claim_cell *cell, shared *s, const arm *a) {
  (void)a;
  mica_claim_spend(cell, s->global.steps);
  return try_index(cell, s, "exact:metric=inner", &s->global, NULL, COLUMNS * sizeof(float));
}

static mica_status run_codes(mica_claim_cell *cell, shared *s, const arm *a) {
  char spec[128];
  mica_claim_spend(cell, s->global.steps);
  return try_index(cell, s, code_spec(cell, a->rotated, 0, spec), &s->global, NULL,
                   code_bytes(cell));
}

static mica_status run_contrastive(mica_claim_cell *cell, shared *s, const arm *a) {
  (void)a;
  char spec[128];
  const coded *c;
  mica_status status = contrastive(cell, s, &c);
  mica_claim_spend(cell, c->m.steps);
  return status ? status
                : try_index(cell, s, code_spec(cell, false, 0, spec), &c->m, c->codes,
                            code_bytes(cell));
}

static mica_status run_refit(mica_claim_cell *cell, shared *s, const arm *a) {
  char spec[128];
  const coded *c;
  mica_status status = contrastive(cell, s, &c);
  mica_claim_spend(cell, c->m.steps);
  return status ? status
                : try_index(cell, s, code_spec(cell, a->rotated, 0, spec), &c->m, NULL,
                            code_bytes(cell));
}

static mica_status run_further(mica_claim_cell *cell, shared *s, const arm *a) {
  (void)a;
  const coded *c;
  mica_status status = contrastive(cell, s, &c);
  mica_claim_spend(cell, c->m.steps);
  return status ? status
                : try_index(cell, s, "exact:metric=inner", &c->m, NULL, COLUMNS * sizeof(float));
}

static mica_status run_objective(mica_claim_cell *cell, shared *s, const arm *a) {
  char spec[128];
  coded c = {0};
  mica_status status = train_codes(cell, s, &a->by, &c);
  mica_claim_spend(cell, c.m.steps);
  if (!status)
    status = try_index(cell, s, code_spec(cell, false, 0, spec), &c.m, c.codes, code_bytes(cell));
  free_coded(&c);
  return status;
}

/* What each training question finds, without its own document. */
static mica_status mine(mica_claim_cell *cell, const shared *s, const model *m,
                        const mica_quantiser *codes, int64_t **out) {
  char spec[128];
  const mica_relevance truth = training_truth(s);
  mica_index *index = NULL;
  float *x = mica_realloc_array(NULL, (size_t)(truth.queries * COLUMNS), sizeof *x);
  *out = mica_realloc_array(NULL, (size_t)(truth.queries * DEPTH), sizeof **out);
  mica_status status = x && *out ? MICA_OK : MICA_ERR_MEMORY;
  if (!status)
    status = build(cell, s, codes ? code_spec(cell, false, 0, spec) : "exact:metric=inner",
                   m->document, codes, NULL, &index);
  if (!status) status = mica_paragraph_vectors(&m->encoder, s->mined, 0, truth.queries, x);
  const mica_view v = mica_view_of(x, MICA_F32, MICA_SHAPE(truth.queries, COLUMNS));
  if (!status) status = mica_mine_negatives(index, &v, NULL, &truth, DEPTH, 0, *out);
  mica_index_free(index);
  mica_free(x);
  return status;
}

/* An encoder that is to decide between candidates. */
static mica_status train_local(mica_claim_cell *cell, shared *s, const arm *a, model *out) {
  mica_retriever_options o = training(cell);
  int64_t *own = NULL;
  mica_status status = MICA_OK;
  const int64_t *candidate = NULL;
  if (a->from_dense) {
    status = mine(cell, s, &s->global, NULL, &own);
    candidate = own;
  } else if (a->mined) {
    if (!s->contrastive.candidate)
      status = mine(cell, s, &s->contrastive.m, s->contrastive.codes, &s->contrastive.candidate);
    candidate = s->contrastive.candidate;
  }
  o.batches.walk = a->walk;
  o.batches.negatives = 1;
  if (!status)
    status = a->warm ? mica_paragraph_encoder_clone(&s->global.encoder, &out->encoder)
                     : fresh(cell, s, out);
  if (a->warm) out->encoder.key = mica_key_fold_name(cell->key, "further questions");
  if (!status) status = train(s, out, candidate, &o);
  mica_free(own);
  return status;
}

/* Codes find a hundred, dense vectors order them. */
static mica_status run_two_stages(mica_claim_cell *cell, shared *s, const arm *a) {
  char spec[128];
  const coded *c;
  model local = {0};
  mica_index *index = NULL;
  mica_status status = contrastive(cell, s, &c);
  if (!status && !a->global) status = train_local(cell, s, a, &local);
  const model *decides = a->global ? &s->global : &local;
  if (!status)
    status = build(cell, s, code_spec(cell, false, FOUND, spec), decides->document, c->codes,
                   c->m.document, &index);
  if (!status) status = ask(cell, s, index, decides->question, c->m.question, code_bytes(cell));
  mica_claim_spend(cell, c->m.steps + local.steps);
  mica_index_free(index);
  free_model(&local);
  return status;
}

/* Needs no learning: the sum over the words of a question that a document has of their squared
 * idf, over the length of the document's vector of them. */
static mica_status run_words(mica_claim_cell *cell, shared *s, const arm *a) {
  (void)a;
  const mica_paragraphs *p = &s->text;
  const int64_t tests = p->tests, first = p->n - tests;
  int64_t *rank = mica_calloc((size_t)tests, sizeof *rank);
  double *score = mica_calloc((size_t)p->n, sizeof *score);
  int64_t *count = mica_calloc((size_t)p->words, sizeof *count), different = 0;
  mica_status status = rank && score && count ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < tests && !status; i++) {
    const int64_t *q = s->test + (first + i) * MICA_QUESTION_WORDS;
    for (int64_t d = 0; d < p->n; d++) {
      double sum = 0, square = 0;
      for (int64_t j = p->at[d]; j < p->at[d + 1]; j++) count[p->word[j]]++;
      for (int64_t j = p->at[d]; j < p->at[d + 1]; j++) {
        const int64_t w = p->word[j];
        different += i == 0 && count[w] > 0;
        square += pow((double)count[w] * p->idf[w], 2);
        for (int k = 0; k < MICA_QUESTION_WORDS && count[w]; k++)
          if (q[k] == w) sum += (double)count[w] * p->idf[w] * p->idf[w];
        count[w] = 0;
      }
      score[d] = sum / sqrt(square);
    }
    for (int64_t d = 0; d < p->n; d++)
      rank[i] += d != first + i &&
                 (score[d] > score[first + i] || (score[d] == score[first + i] && d < first + i));
  }
  /* A posting is the number of a document, two bytes. */
  if (!status) status = report_ranks(cell, tests, rank, 2 * (double)different / (double)p->n);
  mica_free(rank);
  mica_free(score);
  mica_free(count);
  return status;
}

static mica_status run(mica_claim_cell *cell) {
  const arm *a = cell->arm->own;
  return a->run(cell, cell->shared, a);
}

static const arm dense = {.run = run_dense}, pq = {.run = run_codes};
static const arm opq = {.run = run_codes, .rotated = true};
static const arm trained = {.run = run_contrastive};
static const arm refit_pq = {.run = run_refit}, refit_opq = {.run = run_refit, .rotated = true};
static const arm further = {.run = run_further};
static const arm codebook = {.run = run_objective, .by = {true, 0, 1, 1e-6}};
static const arm reconstruction = {.run = run_objective, .by = {true, 0, 0, 1}};
static const arm words = {.run = run_words};
static const arm by_global = {.run = run_two_stages, .global = true};
static const arm by_walk = {.run = run_two_stages, .walk = MICA_WALK_DEPTH, .mined = true};
static const arm by_snow = {.run = run_two_stages, .walk = MICA_WALK_BREADTH, .mined = true};
static const arm by_hard = {.run = run_two_stages, .walk = MICA_WALK_RANDOM, .mined = true};
static const arm by_random = {.run = run_two_stages, .walk = MICA_WALK_RANDOM};
static const arm by_dense = {
    .run = run_two_stages, .walk = MICA_WALK_DEPTH, .mined = true, .from_dense = true};

static const arm warm_walk = {
    .run = run_two_stages, .walk = MICA_WALK_DEPTH, .mined = true, .warm = true};
static const arm warm_random = {.run = run_two_stages, .walk = MICA_WALK_RANDOM, .warm = true};

#define CODE_ARMS                                                                                  \
  {"contrastive", "codes trained with the encoder", MICA_ARM_METHOD, NULL, &trained},              \
      {"pq", "stage 0, product quantisation", MICA_ARM_BASELINE, NULL, &pq},                       \
      {"opq", "stage 0, with a rotation", MICA_ARM_BASELINE, NULL, &opq},                          \
      {"refit-pq", "fitted anew on the further trained encoder", MICA_ARM_CONTROL, NULL,           \
       &refit_pq},                                                                                 \
  {                                                                                                \
    "refit-opq", "the same with a rotation", MICA_ARM_CONTROL, NULL, &refit_opq                    \
  }

static const mica_claim_arm arms[] = {
    CODE_ARMS,
    {"codebook", "codewords trained, the encoder of stage 0", MICA_ARM_CONTEXT, NULL, &codebook},
    {"reconstruction", "codewords trained for the squared error", MICA_ARM_CONTEXT, NULL,
     &reconstruction},
    {"dense", "stage 0, whole vectors", MICA_ARM_CONTEXT, NULL, &dense},
    {"dense-further", "the further trained encoder, whole vectors", MICA_ARM_CONTEXT, NULL,
     &further},
    {"rerank-local", "100 of the codes by vectors of neighbouring batches (random walk)",
     MICA_ARM_METHOD, NULL, &by_walk},
    {"rerank-snow", "the same, snow sample", MICA_ARM_METHOD, NULL, &by_snow},
    {"rerank-global", "100 of the codes by stage 0", MICA_ARM_BASELINE, NULL, &by_global},
    {"rerank-hard", "by random batches with hard negatives", MICA_ARM_BASELINE, NULL, &by_hard},
    {"rerank-random", "by random batches with random negatives", MICA_ARM_BASELINE, NULL,
     &by_random},
    {"rerank-no-codes", "neighbouring batches of what stage 0 finds", MICA_ARM_CONTROL, NULL,
     &by_dense},
    {"warm-local", "neighbouring batches, begun with the weights of stage 0", MICA_ARM_CONTEXT,
     NULL, &warm_walk},
    {"warm-random", "random batches and negatives, begun likewise", MICA_ARM_CONTEXT, NULL,
     &warm_random},
    {"words", "words in common, weighted by idf", MICA_ARM_TRIVIAL, NULL, &words},
    {0}};

static const mica_claim_arm code_arms[] = {
    CODE_ARMS, {"dense", "stage 0, whole vectors", MICA_ARM_CONTEXT, NULL, &dense}, {0}};

static const mica_claim_measure measures[] = {
    {"recall@10", "test questions whose paragraph is among the first 10", false},
    {"recall@5", "the first 5", false},
    {"recall@30", "the first 30", false},
    {"recall@50", "the first 50", false},
    {"recall@100", "the first 100", false},
    {"mrr@10", "mean reciprocal rank, first 10", false},
    {"bytes", "bytes in memory for a document", true},
    {0}};

#define LONGER "trained on for more epochs, as the method is"

static const mica_claim_check checks[] = {
    {"codes trained with the encoder find more than opq of stage 0",
     MICA_CHECK_RATIO,
     "recall@10",
     {"contrastive", 0, 0},
     {"opq", 0, 0},
     1.08,
     false,
     LONGER,
     false},
    {"whole vectors that order what the codes find gain",
     MICA_CHECK_RATIO,
     "recall@10",
     {"rerank-local", 0, 0},
     {"contrastive", 0, 0},
     1.4,
     false,
     "a second encoder is trained",
     false},
    {"also those of stage 0",
     MICA_CHECK_RATIO,
     "recall@10",
     {"rerank-global", 0, 0},
     {"contrastive", 0, 0},
     1.4,
     false,
     NULL,
     false},
    {"batches of neighbours do not lose against stage 0",
     MICA_CHECK_DIFFERENCE,
     "recall@10",
     {"rerank-local", 0, 0},
     {"rerank-global", 0, 0},
     -0.01,
     false,
     "a second encoder is trained; rerank-random has the same budget",
     false},
    {"(not claimed) the codewords gain beside the best quantiser of the same encoder",
     MICA_CHECK_DIFFERENCE,
     "recall@10",
     {"contrastive", 0, 0},
     {"refit-*", 0, 0},
     0,
     false,
     NULL,
     true},
    {"(not claimed) batches of neighbours gain beside hard negatives in random ones",
     MICA_CHECK_DIFFERENCE,
     "recall@10",
     {"rerank-local", 0, 0},
     {"rerank-hard", 0, 0},
     0,
     false,
     NULL,
     true},
    {"(not claimed) and beside random negatives",
     MICA_CHECK_DIFFERENCE,
     "recall@10",
     {"rerank-local", 0, 0},
     {"rerank-random", 0, 0},
     0,
     false,
     NULL,
     true},
    {"(not claimed) and also where both begin with the weights of stage 0",
     MICA_CHECK_DIFFERENCE,
     "recall@10",
     {"warm-local", 0, 0},
     {"warm-random", 0, 0},
     0,
     false,
     NULL,
     true},
    {0}};

static const mica_claim_check rate_checks[] = {
    {"(not claimed) the codewords gain beside opq of the same encoder, at each rate",
     MICA_CHECK_DIFFERENCE,
     "recall@10",
     {"contrastive", 0, 0},
     {"refit-opq", 0, 0},
     0,
     true,
     NULL,
     true},
    {0}};

static const mica_claim_experiment experiments[] = {
    {.name = "retrieval",
     .title = "Finding a paragraph by eight of its words: codes of 5 bytes, and what re-ranks them",
     .arms = arms,
     .measures = measures,
     .checks = checks,
     .unit = MICA_UNIT_SEED,
     .note = "Paragraphs of the Brown corpus of at least 40 words, cut after 100. A question is "
             "eight positions of a paragraph, drawn anew for each epoch; test paragraphs are never "
             "the right answer in training, and all paragraphs are searched. Costs are steps of "
             "128 questions, those of all stages that an arm builds on.",
     .prepare = prepare,
     .release = release,
     .run = run},
    {.name = "rates",
     .title = "Codes by their number of parts: 4 of 16 words, 8 of 32, 16 of 4",
     .arms = code_arms,
     .measures = measures,
     .checks = rate_checks,
     .sweep = "parts",
     .sweep_what = "parts of a code",
     .unit = MICA_UNIT_SEED,
     .prepare = prepare,
     .release = release,
     .run = run},
    {0}};

static const mica_option options[] = {
    {"seeds", MICA_OPTION_INT, "8", 1, 1000, NULL, "repeats", offsetof(settings, seeds)},
    {"documents", MICA_OPTION_INT, "8000", 500, 8800, NULL, "paragraphs",
     offsetof(settings, documents)},
    {"tests", MICA_OPTION_INT, "1000", 10, 4000, NULL, "of them, that only test questions are of",
     offsetof(settings, tests)},
    {"epochs", MICA_OPTION_INT, "10", 1, 1000, NULL, "of dense encoders",
     offsetof(settings, epochs)},
    {"code_epochs", MICA_OPTION_INT, "12", 1, 1000, NULL, "of encoder and codewords together",
     offsetof(settings, code_epochs)},
    {"parts", MICA_OPTION_INTS, "4,8,16", 4, 16, NULL, "of a code, in the second experiment",
     offsetof(settings, parts)},
    {0}};

static const mica_paper_functions functions = {
    .size = sizeof functions,
    .title = "Progressively Optimized Bi-Granular Document Representation for Scalable Embedding "
             "Based Retrieval",
    .arxiv = "2201.05409",
    .claim = "Codes trained to tell documents apart find more than codes trained to reconstruct "
             "them, and dense vectors trained on what the codes confuse decide best",
    .components = "index:pq index:ivf",
    .smoke = "seeds=1:documents=1000:tests=100:epochs=1:code_epochs=1:parts=8",
    .recorded = MICA_VERDICT_NOT_SHOWN,
    .experiments = experiments};

extern const mica_component mica_component_paper_bi_granular_retrieval;
const mica_component mica_component_paper_bi_granular_retrieval = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_PAPER,
    "bi-granular-retrieval",
    "short codes that find, dense vectors that decide, trained one after the other",
    "bi-granular-retrieval",
    options,
    sizeof(settings),
    0,
    0,
    &functions};
