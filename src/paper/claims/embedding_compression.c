/* embedding-compression: what a click model loses where its table of vectors gets fewer bytes.
 *
 * Every method under one accounting: a share of the full table's bytes, with codes, indices, masks,
 * codebooks and projections counted. No method is the best at every share.
 *
 * clicks    MovieLens 100K with what is known of users and items: likes (ratings above 3) against
 *           dislikes (below 3); a deep and cross network on vectors of 16 numbers
 */
#include "train/item_stream.h"

#include <mica/paper.h>
#include <mica/train_embedding.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct settings {
  uint32_t size;
  int64_t seeds, rows, epochs, batch, generations;
  mica_floats rates;
} settings;

/* ---- data: eight parts of ten to train on, one to validate, one to test, drawn for each seed ----
 */

typedef struct shared {
  mica_data_table *table;
  int64_t *item[3], n[3]; /* rows of each part, rising */
  mica_stream stream[3];
  int64_t *count;   /* of each id in the training part */
  int64_t *clicked; /* and how often with a click */
  int64_t fields, rows;
  const int64_t *size;
  int64_t clicks, trained;
} shared;

static void release(void *given) {
  shared *s = given;
  if (!s) return;
  for (int k = 0; k < 3; k++) {
    if (s->stream[k].ctx) mica_item_stream_free(&s->stream[k]);
    mica_free(s->item[k]);
  }
  mica_data_table_free(s->table);
  mica_free(s->count);
  mica_free(s->clicked);
  mica_free(s);
}

static mica_status open_table(const char *path, mica_data_table **out) {
  mica_data_table_options o = MICA_DATA_TABLE_OPTIONS;
  o.fields = true;
  o.validation = 0;
  return mica_data_table_open(path, &o, out);
}

/* Count ids, and ids with a click, over the training rows. */
static mica_status count_ids(shared *s) {
  const mica_data_table *t = s->table;
  const mica_columns *c = mica_data_table_columns(t);
  const int64_t *label = mica_data_table_labels(t);
  int64_t ids[64], offset[65] = {0};
  s->fields = mica_columns_fields(c);
  s->size = mica_columns_field_size(c);
  if (s->fields > 64 || !label)
    return mica_fail(MICA_ERR_INVALID, "expected labels, and few fields");
  for (int64_t f = 0; f < s->fields; f++) offset[f + 1] = offset[f] + s->size[f];
  s->rows = offset[s->fields];
  s->count = mica_calloc((size_t)s->rows, sizeof *s->count);
  s->clicked = mica_calloc((size_t)s->rows, sizeof *s->clicked);
  if (!s->count || !s->clicked) return MICA_ERR_MEMORY;
  s->trained = s->n[0];
  for (int64_t k = 0; k < s->n[0]; k++) {
    const int64_t i = s->item[0][k];
    mica_data_table_row_fields(t, i, NULL, ids);
    s->clicks += label[i];
    for (int64_t f = 0; f < s->fields; f++) {
      s->count[offset[f] + ids[f]]++;
      s->clicked[offset[f] + ids[f]] += label[i];
    }
  }
  return MICA_OK;
}

static void fill(void *ctx, int64_t item, float *x, int64_t *fields, float *target) {
  (void)target;
  mica_data_table_row_fields(ctx, item, x, fields);
}

static void keep_table(void *ctx) {
  (void)ctx; /* it is the unit's */
}

/* Rows of the part whose mark is k, as a stream. */
static mica_status make_part(shared *s, int k, const uint8_t *mark, int64_t all, int64_t batch,
                             uint64_t seed) {
  s->item[k] = mica_malloc((size_t)(all + 1) * sizeof *s->item[k]);
  if (!s->item[k]) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < all; i++)
    if (mark[i] == k) s->item[k][s->n[k]++] = i;
  const mica_columns *c = mica_data_table_columns(s->table);
  const mica_item_stream_options o = {.n = s->n[k],
                                      .item = s->item[k],
                                      .example = MICA_SHAPE(mica_columns_width(c)),
                                      .fields = mica_columns_fields(c),
                                      .batch = k ? 2000 : batch,
                                      .shuffle = k == 0,
                                      .seed = seed,
                                      .labels = mica_data_table_labels(s->table),
                                      .fill = fill,
                                      .free = keep_table,
                                      .ctx = s->table};
  return mica_item_stream_create(&o, &s->stream[k]);
}

static mica_status prepare(mica_claim_cell *cell, void **out) {
  const settings *o = cell->options;
  shared *s = mica_calloc(1, sizeof *s);
  char *path = s ? mica_claim_find_data("movielens-100k") : NULL;
  mica_status status = path ? open_table(path, &s->table) : mica_last_status();
  mica_free(path);
  const int64_t all = status == MICA_OK ? mica_data_table_count(s->table) : 0;
  const int64_t n = o->rows && o->rows < all ? o->rows : all;
  int64_t *order = mica_calloc((size_t)all + 1, sizeof *order);
  uint8_t *mark = mica_malloc((size_t)all + 1);
  if (status == MICA_OK && (!order || !mark)) status = MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    mica_random_permutation(mica_key_fold_name(cell->key, "parts"), all, order);
    for (int64_t i = 0; i < all; i++)
      mark[order[i]] = i < n * 8 / 10 ? 0 : i < n * 9 / 10 ? 1 : i < n ? 2 : 3;
  }
  for (int k = 0; k < 3 && status == MICA_OK; k++)
    status = make_part(s, k, mark, all, o->batch, (uint64_t)cell->seed);
  mica_free(mark);
  mica_free(order);
  if (status == MICA_OK) status = count_ids(s);
  if (status == MICA_OK)
    *out = s;
  else
    release(s);
  return status;
}

/* ---- arms ---- */

typedef struct arm_about {
  double bytes;        /* of the table where the point's share is not asked for; 0: the point's */
  double most;         /* points above are left out; 0: none */
  double slack;        /* the share asked for is so much above the point */
  const char *special; /* rules of the optimiser for single parameters */
} arm_about;

static const arm_about whole = {.bytes = 1}, usual = {0}, tenth = {.most = 0.1},
                       quarter = {.most = 0.25}, integers = {.slack = 1.01},
                       rows_too = {.slack = 1.3, .special = "*.scale=sgd:lr=2e-5"},
                       threshold = {.special = "*.threshold=sgd:lr=1e-4"};

/* How well the clicks that a user and an item had before tell: the sum of the log odds of both,
 * each drawn towards the mean by 5 further examples. */
static mica_status run_rates(mica_claim_cell *cell) {
  const shared *s = cell->shared;
  const mica_data_table *t = s->table;
  const int64_t n = s->n[2];
  const int64_t *label = mica_data_table_labels(t);
  const double mean = (double)s->clicks / (double)s->trained;
  double *score = mica_calloc((size_t)n, sizeof *score);
  bool *clicked = mica_calloc((size_t)n, sizeof *clicked);
  mica_status status = score && clicked ? MICA_OK : MICA_ERR_MEMORY;
  int64_t ids[64];
  for (int64_t k = 0; k < n && status == MICA_OK; k++) {
    const int64_t i = s->item[2][k];
    mica_data_table_row_fields(t, i, NULL, ids);
    for (int64_t f = 0, first = 0; f < 2; first += s->size[f++]) {
      const double p =
          ((double)s->clicked[first + ids[f]] + 5 * mean) / ((double)s->count[first + ids[f]] + 5);
      score[k] += log(p / (1 - p));
    }
    clicked[k] = label[i] != 0;
  }
  mica_estimate e = {0};
  if (status == MICA_OK) status = mica_auroc(n, score, clicked, 0.95, &e);
  if (status == MICA_OK) status = mica_claim_report(cell, "auc", e.value);
  mica_free(score);
  mica_free(clicked);
  return status;
}

/* The network of this arm; NULL where its table cannot be as small. */
static mica_status make_net(mica_claim_cell *cell, mica_net **out) {
  const settings *o = cell->options;
  const shared *s = cell->shared;
  const arm_about *about = cell->arm->own;
  char spec[320];
  const double bytes = about->bytes > 0   ? about->bytes
                       : about->slack > 0 ? fmin(1, cell->point * about->slack)
                                          : cell->point;
  const bool evolves = strncmp(cell->arm->spec, "optembed", 8) == 0;
  char more[64] = "";
  if (evolves) snprintf(more, sizeof more, ":generations=%lld", (long long)o->generations);
  snprintf(spec, sizeof spec, "dcnv2:dim=16:layers=1:hidden=64:table=(%s:bytes=%.6g%s)",
           cell->arm->spec, bytes, more);
  const mica_problem problem = MICA_PROBLEM_FIELDS(0, s->fields, s->size, 2);
  const mica_status status =
      mica_net_create(cell->engine, spec, &problem, (uint64_t)cell->seed, out);
  if (status != MICA_ERR_INVALID || !strstr(mica_last_error(), "is the least")) return status;
  *out = NULL;
  if (cell->seed == 0) return mica_claim_remark(cell, "%s", mica_last_error());
  return MICA_OK;
}

static mica_status train(mica_claim_cell *cell, mica_net *net,
                         mica_train_embedding_result *result) {
  const settings *o = cell->options;
  const shared *s = cell->shared;
  const arm_about *about = cell->arm->own;
  char optimiser[128];
  snprintf(optimiser, sizeof optimiser, "adam:lr=1e-3%s%s", about->special ? " | " : "",
           about->special ? about->special : "");
  mica_train_embedding_options t = MICA_TRAIN_EMBEDDING_OPTIONS;
  t.optimiser = optimiser;
  t.evaluate = s->stream[0].batches;
  t.steps = o->epochs * t.evaluate;
  t.warm_up = t.evaluate;
  t.tune = 2 * t.evaluate;
  t.seed = (uint64_t)cell->seed;
  const mica_status status = mica_train_embedding(net, &s->stream[0], &s->stream[1], &t, result);
  mica_claim_spend(cell, result->steps + result->searched);
  return status;
}

/* What the table takes when it is packed, in the place of the training form. */
static mica_status test_packed(mica_claim_cell *cell, mica_net *net) {
  const shared *s = cell->shared;
  const arm_about *about = cell->arm->own;
  mica_embedding_table *table =
      mica_embedding_at(mica_node_find(mica_params_root(mica_net_params(net)), "embedding"));
  mica_packed_embedding *packed = NULL;
  mica_evaluation e = {0};
  mica_embedding_facts facts = {0};
  mica_status status = mica_embedding_export(table, &packed);
  if (status == MICA_OK) status = mica_embedding_use(table, packed);
  if (status == MICA_OK) status = mica_evaluate(net, &s->stream[2], false, false, &e);
  if (status == MICA_OK) {
    mica_packed_embedding_describe(packed, &facts);
    status = mica_claim_report(cell, "auc", e.auroc);
  }
  if (status == MICA_OK) status = mica_claim_report(cell, "log_loss", e.loss);
  if (status == MICA_OK) status = mica_claim_report(cell, "share", facts.rate);
  if (status == MICA_OK && !(about->bytes > 0))
    status = mica_claim_report(cell, "off", fabs(facts.rate / cell->point - 1));
  mica_evaluation_clear(&e);
  mica_embedding_use(table, NULL);
  mica_packed_embedding_free(packed);
  return status;
}

static mica_status run(mica_claim_cell *cell) {
  const shared *s = cell->shared;
  mica_net *net = NULL;
  mica_train_embedding_result result;
  if (cell->arm->role == MICA_ARM_TRIVIAL) return run_rates(cell);
  const arm_about *about = cell->arm->own;
  if (about && about->most > 0 && cell->point > about->most) return MICA_OK;
  mica_status status = make_net(cell, &net);
  if (status != MICA_OK || !net) return status;
  mica_embedding_table *table =
      mica_embedding_at(mica_node_find(mica_params_root(mica_net_params(net)), "embedding"));
  status = mica_embedding_set_counts(table, s->count);
  if (status == MICA_OK) status = train(cell, net, &result);
  if (status == MICA_OK) status = test_packed(cell, net);
  mica_net_free(net);
  return status;
}

/* ---- the claim ---- */

static const mica_claim_arm arms[] = {
    {"full", "a row for each id", MICA_ARM_BASELINE, "full", &whole},
    {"hash", "ids share rows by their remainder, field by field", MICA_ARM_BASELINE, "hash",
     &usual},
    {"compositional-mul", "quotient and remainder, multiplied", MICA_ARM_METHOD, "compositional",
     &usual},
    {"compositional-sum", "quotient and remainder, added", MICA_ARM_METHOD,
     "compositional:combine=sum", &usual},
    {"tt", "tensor train", MICA_ARM_METHOD, "tt", &usual},
    {"dhe", "hash values through a network", MICA_ARM_METHOD, "dhe", &tenth},
    {"robe", "windows of one array", MICA_ARM_METHOD, "robe", &usual},
    {"dedup", "blocks of two rows that are alike are stored once", MICA_ARM_METHOD, "dedup:block=2",
     &usual},
    {"dpq-vq", "product codes, nearest codeword", MICA_ARM_METHOD, "dpq", &quarter},
    {"dpq-sx", "product codes, softmax of products", MICA_ARM_METHOD, "dpq:form=sx", &tenth},
    {"frequency-mgqe", "product codes, fewer words for rare ids", MICA_ARM_METHOD, "mgqe",
     &quarter},
    {"frequency-adaptive", "own rows for frequent ids", MICA_ARM_METHOD, "adaptive", &usual},
    {"mde", "narrower rows for fields of many ids", MICA_ARM_METHOD, "mde", &usual},
    {"autodim", "a width for each field, by gradient", MICA_ARM_METHOD, "autodim", &usual},
    {"optembed", "rows and widths, by evolution", MICA_ARM_METHOD, "optembed", &threshold},
    {"deeplight", "pruned by magnitude", MICA_ARM_METHOD, "deeplight:period=4", &usual},
    {"autosrh", "pruned by what groups of ids matter", MICA_ARM_METHOD, "autosrh", &usual},
    {"pep", "pruned by learnt thresholds", MICA_ARM_METHOD, "pep", &usual},
    {"int16", "16 bits", MICA_ARM_METHOD, "int:bits=16", &integers},
    {"int8", "8 bits", MICA_ARM_METHOD, "int:bits=8", &integers},
    {"int8-alpt", "8 bits, a learnt scale for each row", MICA_ARM_METHOD, "int:bits=8:alpt=true",
     &rows_too},
    {"rates", "click rates of user and item, added as log odds", MICA_ARM_TRIVIAL, NULL, NULL},
    {0}};
static const mica_claim_measure measures[] = {
    {"auc", "area under the ROC curve, test part", false},
    {"log_loss", "log loss, test part", true},
    {"share", "bytes of the packed table, of the full table's", false},
    {"off", "distance of the share from what was asked for, of that", true},
    {0}};

static const char stages[] = "the methods differ in the stages that they train in";

#define OFF(arm, to)                                                                               \
  {                                                                                                \
    arm ": measured bytes are within 5 % of what was asked for", MICA_CHECK_VALUE, "off",          \
        {arm, 0.1, to}, {NULL, 0, 0}, 0.05, true, NULL, false                                      \
  }
static const mica_claim_check checks[] = {
    {"at a tenth of the bytes quotient times remainder is better than a plain hash",
     MICA_CHECK_DIFFERENCE,
     "auc",
     {"compositional-mul", 0.1, 0.1},
     {"hash", 0.1, 0.1},
     0.015,
     false,
     NULL,
     false},
    {"16 bits lose no more than 0.001",
     MICA_CHECK_DIFFERENCE,
     "auc",
     {"int16", 0.5, 0.5},
     {"full", 0.5, 0.5},
     -0.001,
     false,
     NULL,
     false},
    {"8 bits lose no more than 0.005",
     MICA_CHECK_DIFFERENCE,
     "auc",
     {"int8", 0.25, 0.25},
     {"full", 0.25, 0.25},
     -0.005,
     false,
     NULL,
     false},
    {"at a tenth of the bytes a method that minds frequency is better than a plain hash",
     MICA_CHECK_DIFFERENCE,
     "auc",
     {"frequency-*", 0.1, 0.1},
     {"hash", 0.1, 0.1},
     0,
     false,
     NULL,
     false},
    {"no 8 bits reach a tenth of the bytes",
     MICA_CHECK_VALUE,
     "share",
     {"int8", 0.25, 0.25},
     {NULL, 0, 0},
     0.1,
     false,
     NULL,
     false},
    OFF("hash", 1),
    OFF("compositional-mul", 1),
    OFF("tt", 1),
    OFF("dhe", 0.1),
    OFF("robe", 1),
    OFF("dpq-vq", 0.25),
    OFF("frequency-mgqe", 0.25),
    OFF("frequency-adaptive", 1),
    OFF("mde", 1),
    OFF("deeplight", 1),
    OFF("pep", 1),
    {"at a tenth of the bytes the best method loses no more than 0.02 against the full table",
     MICA_CHECK_DIFFERENCE,
     "auc",
     {"compositional-mul", 0.1, 0.1},
     {"full", 0.1, 0.1},
     -0.02,
     false,
     stages,
     true},
    {0}};

static const mica_claim_experiment experiments[] = {
    {.name = "clicks",
     .title = "Test AUC by the share of bytes that the table of vectors keeps",
     .arms = arms,
     .measures = measures,
     .checks = checks,
     .sweep = "rates",
     .sweep_what = "share of the full table's bytes",
     .sweep_log = true,
     .unit = MICA_UNIT_ARM,
     .note =
         "MovieLens 100K: user, item, age, gender, occupation, zip code, year and genre; ratings "
         "of 3 are left out. One cross layer beside a tower of 64, vectors of 16 numbers, Adam "
         "1e-3; the epoch that is best on the validation part counts. A method that cannot be "
         "as small has no value there. Methods whose steps take time with the numbers of the "
         "table are not run at all shares: dhe and dpq-sx up to a tenth, dpq-vq and mgqe up to "
         "a quarter. The full table and the click rates are the same at every share.",
     .prepare = prepare,
     .release = release,
     .run = run},
    {0}};

static const mica_option options[] = {
    {"seeds", MICA_OPTION_INT, "3", 1, 1000, NULL, "repeats", offsetof(settings, seeds)},
    {"rates", MICA_OPTION_FLOATS, "0.01,0.1,0.25,0.5", 1e-4, 1, NULL,
     "shares of the full table's bytes", offsetof(settings, rates)},
    {"rows", MICA_OPTION_INT, "0", 0, 100000000, NULL, "of the data set; 0: all",
     offsetof(settings, rows)},
    {"epochs", MICA_OPTION_INT, "3", 1, 1000, NULL, "of each stage that trains",
     offsetof(settings, epochs)},
    {"batch", MICA_OPTION_INT, "256", 1, 100000, NULL, "examples", offsetof(settings, batch)},
    {"generations", MICA_OPTION_INT, "5", 0, 1000, NULL, "of evolution",
     offsetof(settings, generations)},
    {0}};

static const mica_paper_functions functions = {
    .size = sizeof functions,
    .title = "Experimental Analysis of Large-scale Learnable Vector Storage Compression",
    .arxiv = "2311.15578",
    .claim = "Under one accounting of bytes no compression of embedding tables wins everywhere: "
             "small integers lose nothing down to a quarter, compositions of rows go far below",
    .components =
        "embedding:hash embedding:compositional embedding:tt embedding:dhe embedding:robe "
        "embedding:dedup embedding:dpq embedding:mgqe embedding:adaptive embedding:mde "
        "embedding:autodim embedding:optembed embedding:deeplight embedding:autosrh embedding:pep "
        "embedding:int embedding:pq embedding:grouped-pq embedding:svd embedding:grouped-svd "
        "embedding:prune",
    .smoke = "seeds=1:rates=0.1:rows=8000:epochs=1:generations=1",
    .recorded = MICA_VERDICT_MECHANISM,
    .experiments = experiments};

extern const mica_component mica_component_paper_embedding_compression;
const mica_component mica_component_paper_embedding_compression = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_PAPER,
    "embedding-compression",
    "a click model's table of vectors in fewer bytes, by seventeen methods",
    "embedding-compression",
    options,
    sizeof(settings),
    0,
    0,
    &functions};
