/* `mica train` on questions and the texts that answer them: an encoder for retrieval, with codes of
 * the texts if wanted, on random batches or around an earlier encoder's mistakes. */
#include "cli/features.h"
#include "cli/search.h"
#include "cli/train.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE       64  /* texts that go through the network together */
#define CANDIDATES  200 /* of an earlier encoder, for each question */
#define TEMPERATURE 0.05

/* ---- data ---- */

static mica_status words(const text_pairs *p, mica_tokenizer **out) {
  const text_pairs_part *train = &p->part[MICA_PART_TRAIN];
  const char **text = mica_calloc((size_t)(p->documents + train->n) + 1, sizeof *text);
  int64_t n = 0;
  if (!text) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < p->documents; i++) text[n++] = p->text[p->document[i]];
  for (int64_t i = 0; i < train->n; i++) text[n++] = p->text[train->question[i]];
  mica_status status = mica_tokenizer_words(n, text, 2, 30000, out);
  mica_free(text);
  if (status == MICA_ERR_INVALID)
    status = mica_fail(MICA_ERR_INVALID,
                       "no two of the questions and texts have a word in common: there is nothing "
                       "to learn");
  return status;
}

mica_status train_retriever_open(const cli_args *a, train_data *d) {
  const char *from = cli_text(a, "--tokenizer");
  double validation;
  int64_t length = 64;
  if (!cli_double(a, "--val-split", 0, 0.9, &validation) ||
      (cli_text(a, "--length") && !cli_int(a, "--length", 2, 1 << 16, &length)))
    return MICA_ERR_INVALID;
  static const char *const others[] = {
      "--stage",  "--scheme",   "--compatible-with", "--sampler", "--subset", "--steps", "--resume",
      "--report", "--patience", "--average",         "--loss",    "--head",   "--bf16",  "--run"};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    const char *value;
    if (cli_all(a, others[i], &value, 1))
      return mica_fail(MICA_ERR_UNSUPPORTED, "%s is not for questions and texts", others[i]);
  }
  if (!(d->questions = mica_calloc(1, sizeof *d->questions))) return MICA_ERR_MEMORY;
  mica_status status = text_pairs_read(cli_text(a, "--data"), validation, d->questions);
  if (status == MICA_OK)
    status = from ? cli_tokenizer(from, &d->tokenizer) : words(d->questions, &d->tokenizer);
  if (status == MICA_OK) status = mica_tokenizer_text(d->tokenizer, &d->tokenizer_text);
  if (status == MICA_OK) status = text_pairs_encode(d->questions, d->tokenizer, length);
  if (status != MICA_OK) return status;
  d->problem = (mica_problem)MICA_PROBLEM_TOKENS(mica_tokenizer_size(d->tokenizer), length, 0);
  d->preprocess = (mica_preprocess)MICA_PREPROCESS(0, 0, 0);
  d->classes = calloc(1, sizeof *d->classes);
  return d->classes ? MICA_OK : mica_fail(MICA_ERR_MEMORY, "out of memory");
}

/* ---- vectors ---- */

typedef struct encoder {
  const mica_net *net;
  const text_pairs *data;
  const int64_t *question; /* numbers of the questions that are asked about */
} encoder;

/* The vectors of these texts, of length 1: [n, D]. Rows are as long as the longest of them. */
static mica_var encode_texts(mica_tape *t, const encoder *e, int64_t n, const int64_t *text) {
  const text_pairs *p = e->data;
  int64_t longest = 1;
  mica_outputs o;
  for (int64_t i = 0; i < n; i++)
    if (p->tokens[text[i]] > longest) longest = p->tokens[text[i]];
  const mica_var tokens = mica_full(t, MICA_I64, MICA_SHAPE(n, longest), 0);
  const mica_view v = mica_read(t, tokens);
  for (int64_t i = 0; i < n && mica_ok(t); i++)
    memcpy((int64_t *)v.data + i * longest, p->token + text[i] * p->length,
           (size_t)longest * sizeof(int64_t));
  const mica_inputs in = {MICA_NONE, tokens, MICA_NONE};
  mica_net_forward_inputs(t, e->net, &in, &o);
  if (mica_ok(t) && mica_is_none(o.features))
    return mica_latch(t, MICA_ERR_UNSUPPORTED, "the network gives no vector of a text");
  return mica_l2_normalise(t, o.features, 1e-12);
}

static mica_var encode(mica_tape *t, void *ctx, bool documents, int64_t n, const int64_t *item) {
  const encoder *e = ctx;
  const int64_t *number = documents ? e->data->document : e->question;
  int64_t *text = mica_calloc((size_t)n + 1, sizeof *text);
  if (!text) return mica_latch(t, MICA_ERR_MEMORY, "out of memory");
  for (int64_t i = 0; i < n; i++) text[i] = number[item[i]];
  const mica_var y = encode_texts(t, e, n, text);
  mica_free(text);
  return y;
}

/* Of n texts, in evaluation: [n, D]. */
static mica_status vectors(mica_engine *engine, const encoder *e, int64_t n, const int64_t *text,
                           mica_tensor **out) {
  const int64_t d = mica_net_features(e->net);
  mica_tape *t = NULL;
  mica_status status = mica_tensor_create(MICA_F32, MICA_SHAPE(n, d), out);
  if (status == MICA_OK) status = mica_tape_create(engine, NULL, &t);
  for (int64_t from = 0; from < n && status == MICA_OK; from += PIECE) {
    const int64_t m = n - from < PIECE ? n - from : PIECE;
    mica_tape_reset(t);
    mica_no_grad_begin(t);
    const mica_view v = mica_read(t, encode_texts(t, e, m, text + from));
    status = mica_tape_status(t);
    if (status == MICA_OK)
      memcpy((float *)mica_tensor_data(*out) + from * d, v.data, (size_t)(m * d) * sizeof(float));
  }
  mica_tape_free(t);
  return status;
}

/* Of the vectors, or with codes of those alone. */
static mica_status index_of(mica_engine *engine, const mica_tensor *x, const mica_quantiser *codes,
                            mica_index **out) {
  mica_index_batch rows = MICA_INDEX_BATCH;
  mica_index_builder *b = NULL;
  char spec[96] = "exact";
  rows.x = mica_tensor_view(x);
  if (codes)
    snprintf(spec, sizeof spec, "pq:metric=inner:parts=%lld:words=%lld:rerank=0",
             (long long)mica_quantiser_parts(codes), (long long)mica_quantiser_words(codes));
  mica_status status = mica_index_builder_create(engine, spec, mica_tensor_dim(x, 1), NULL, &b);
  if (status == MICA_OK && codes) status = mica_index_builder_set_codes(b, codes);
  if (status == MICA_OK) status = mica_index_builder_add(b, &rows);
  if (status == MICA_OK) status = mica_index_builder_finish(b, out);
  mica_index_builder_free(b);
  return status;
}

/* ---- how well questions find their texts ---- */

static mica_status judge(mica_engine *engine, const encoder *e, const text_pairs_part *part,
                         const int64_t *place, const mica_quantiser *codes, mica_estimate out[3]) {
  mica_tensor *x = NULL, *q = NULL;
  mica_index *index = NULL;
  mica_retrieval *r = NULL;
  mica_retrieval_options o = MICA_RETRIEVAL_OPTIONS;
  mica_index_query_options k = MICA_INDEX_QUERY_OPTIONS;
  mica_index_truth truth = MICA_INDEX_TRUTH;
  const int64_t n = part->at[part->n];
  int64_t *right = mica_calloc((size_t)n + 1, sizeof *right);
  mica_status status = right ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n && right; i++) right[i] = place[part->right[i]];
  o.measures = "hr@1,hr@10,mrr@10";
  k.k = 50;
  truth.at = part->at;
  truth.id = right;
  if (status == MICA_OK) status = vectors(engine, e, e->data->documents, e->data->document, &x);
  if (status == MICA_OK) status = vectors(engine, e, part->n, part->question, &q);
  if (status == MICA_OK) status = index_of(engine, x, codes, &index);
  if (status == MICA_OK) status = mica_retrieval_create(engine, &o, &r);
  if (status == MICA_OK) {
    const mica_view v = mica_tensor_view(q);
    status = mica_retrieval_ask(r, index, &v, &truth, &k);
  }
  if (status == MICA_OK) status = mica_retrieval_result(r, out);
  mica_retrieval_free(r);
  mica_index_free(index);
  mica_tensor_free(q);
  mica_tensor_free(x);
  mica_free(right);
  return status;
}

static void tell(const cli_args *a, const char *part, int64_t questions, int64_t texts,
                 const char *by, const mica_estimate e[3]) {
  if (cli_on(a, "--json"))
    printf("{\"part\": \"%s\", \"by\": \"%s\", \"questions\": %lld, \"texts\": %lld, \"r1\": %.9g, "
           "\"r10\": %.9g, \"mrr10\": %.9g}\n",
           part, by, (long long)questions, (long long)texts, e[0].value, e[1].value, e[2].value);
  else
    printf("%s part, %lld questions on %lld texts, by %s: R@1 %.2f%% (%.2f to %.2f), R@10 %.2f%%, "
           "MRR@10 %.4f\n",
           part, (long long)questions, (long long)texts, by, 100 * e[0].value,
           100 * e[0].interval.lo, 100 * e[0].interval.hi, 100 * e[1].value, e[2].value);
}

/* ---- what is hard ---- */

/* What --predictions finds for each training question, without what is right. */
static mica_status mine(const cli_args *a, mica_engine *engine, const train_data *d,
                        const mica_relevance *truth, int64_t **out, int64_t *depth) {
  const text_pairs_part *train = &d->questions->part[MICA_PART_TRAIN];
  const char *name = cli_text(a, "--predictions");
  mica_model *model = NULL;
  mica_tensor *x = NULL, *q = NULL;
  mica_index *index = NULL;
  mica_tokenizer *tokenizer = NULL;
  text_pairs own = *d->questions;
  own.token = own.tokens = NULL;
  *depth = CANDIDATES < own.documents ? CANDIDATES : own.documents;
  mica_status status = open_model(engine, name, &model);
  if (status == MICA_OK && !mica_model_tokenizer(model))
    status =
        mica_fail(MICA_ERR_UNSUPPORTED, "%s: the model has no tokenizer: it reads no text", name);
  if (status == MICA_OK) status = mica_tokenizer_parse(mica_model_tokenizer(model), &tokenizer);
  if (status == MICA_OK)
    status = text_pairs_encode(&own, tokenizer, mica_net_problem(mica_model_net(model))->length);
  const encoder e = {model ? mica_model_net(model) : NULL, &own, train->question};
  if (status == MICA_OK) status = vectors(engine, &e, own.documents, own.document, &x);
  if (status == MICA_OK) status = vectors(engine, &e, train->n, train->question, &q);
  if (status == MICA_OK) status = index_of(engine, x, NULL, &index);
  *out = mica_realloc_array(NULL, (size_t)train->n, (size_t)*depth * sizeof **out);
  if (status == MICA_OK && !*out) status = MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    const mica_view v = mica_tensor_view(q);
    status = mica_mine_negatives(index, &v, NULL, truth, *depth, 0, *out);
  }
  mica_free(own.token);
  mica_free(own.tokens);
  mica_index_free(index);
  mica_tensor_free(q);
  mica_tensor_free(x);
  mica_tokenizer_free(tokenizer);
  mica_model_free(model);
  return status;
}

/* ---- codes ---- */

/* Before the long work: can there be such codes? */
static mica_status check_codes(const cli_args *a, const mica_engine *engine, const text_pairs *p,
                               int64_t width) {
  mica_quantiser_options o = MICA_QUANTISER_OPTIONS;
  if (!cli_text(a, "--codes")) return MICA_OK;
  const mica_status status = search_codes_options(engine, cli_text(a, "--codes"), &o);
  if (status != MICA_OK) return mica_fail_within("--codes");
  if (o.parts < 1 || width % o.parts)
    return mica_fail(MICA_ERR_INVALID, "--codes: %lld parts of vectors of %lld numbers",
                     (long long)o.parts, (long long)width);
  if (o.words > p->documents)
    return mica_fail(MICA_ERR_INVALID, "--codes: %lld codewords for %lld texts", (long long)o.words,
                     (long long)p->documents);
  return MICA_OK;
}

/* Codewords of the texts as the encoder has them now, as weights beside it. */
static mica_status begin_codes(mica_engine *engine, const encoder *e, const char *spec,
                               uint64_t seed, mica_node *node) {
  mica_quantiser_options o = MICA_QUANTISER_OPTIONS;
  mica_quantiser *q = NULL;
  mica_tensor *x = NULL;
  mica_status status = search_codes_options(engine, spec, &o);
  o.seed = seed;
  if (status == MICA_OK) status = vectors(engine, e, e->data->documents, e->data->document, &x);
  if (status == MICA_OK) {
    const mica_view v = mica_tensor_view(x);
    status = mica_quantiser_fit(engine, &v, &o, &q);
  }
  if (status == MICA_OK)
    status = mica_contrastive_pq_init(node, mica_net_features(e->net), o.parts, o.words, true);
  if (status == MICA_OK) status = mica_contrastive_pq_import(node, q);
  mica_quantiser_free(q);
  mica_tensor_free(x);
  return status;
}

/* ---- training ---- */

typedef struct training {
  encoder e; /* first: it is what is encoded with */
  const cli_args *a;
} training;

static int on_progress(void *ctx, const char *what, int64_t done, int64_t total) {
  const double left = mica_time_left_update(ctx, mica_seconds(), done, total);
  if (isatty(2))
    fprintf(stderr, "\r\033[K%s: %lld of %lld, %.0f s left%s", what, (long long)done,
            (long long)total, left > 0 ? left : 0, done < total ? "" : "\r\033[K");
  return cli_interrupted();
}

static mica_status stage(const char *what, mica_net *net, training *t, const mica_relevance *truth,
                         const int64_t *candidates, int64_t depth,
                         const mica_retriever_options *o) {
  mica_retriever_result result;
  const mica_status status =
      mica_retriever_train(mica_net_params(net), encode, t, truth, candidates, depth, o, &result);
  if (status == MICA_OK)
    fprintf(stderr, "%s: loss %.4f in the first epoch, %.4f in the last\n", what, result.first_loss,
            result.last_loss);
  return status;
}

static mica_status train_all(const cli_args *a, mica_engine *engine, mica_net *net,
                             const train_data *d, mica_retriever_options *o, const int64_t *place,
                             mica_quantiser **trained) {
  const text_pairs_part *train = &d->questions->part[MICA_PART_TRAIN];
  const char *codes = cli_text(a, "--codes");
  const int64_t n = train->at[train->n];
  training t = {{net, d->questions, train->question}, a};
  int64_t *right = mica_calloc((size_t)n + 1, sizeof *right), *candidates = NULL, depth = 0;
  mica_node *node = mica_node_child(mica_params_root(mica_net_params(net)), "codes");
  mica_status status = right && node ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n && right; i++) right[i] = place[train->right[i]];
  const mica_relevance truth = {train->n, d->questions->documents, train->at, right};
  if (status == MICA_OK && cli_text(a, "--predictions")) {
    status = mine(a, engine, d, &truth, &candidates, &depth);
    o->batches.negatives = 1;
    o->batches.walk = MICA_WALK_DEPTH;
    o->batches.to = o->batches.link_to = depth;
  }
  if (status == MICA_OK) status = stage("vectors", net, &t, &truth, candidates, depth, o);
  if (status == MICA_OK && codes) {
    status = begin_codes(engine, &t.e, codes, o->batches.seed, node);
    o->codes = node;
    if (status == MICA_OK) status = stage("codes", net, &t, &truth, candidates, depth, o);
    if (status == MICA_OK) status = mica_contrastive_pq_export(node, trained);
    if (status == MICA_OK) status = search_codes_write(*trained, cli_text(a, "--codes-out"));
  }
  if (status == MICA_OK && codes)
    status = mica_params_remove(mica_net_params(net), "codes.*", NULL);
  mica_free(candidates);
  mica_free(right);
  return status;
}

mica_status train_retriever(const cli_args *a, mica_engine *engine, const char *optimiser,
                            const mica_train_options *given, int64_t batch, const train_data *d,
                            mica_net *net) {
  const text_pairs *p = d->questions;
  mica_retriever_options o = MICA_RETRIEVER_OPTIONS;
  mica_estimate found[3];
  int64_t *place = mica_calloc((size_t)p->n + 1, sizeof *place);
  if (!place) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < p->documents; i++) place[p->document[i]] = i;
  o.epochs = given->epochs;
  o.optimiser = optimiser;
  o.schedule = given->schedule;
  if (given->clip > 0) o.clip = given->clip;
  o.loss.temperature = TEMPERATURE;
  o.batches.walk = MICA_WALK_RANDOM;
  o.batches.batch = batch < p->part[MICA_PART_TRAIN].n ? batch : p->part[MICA_PART_TRAIN].n;
  o.batches.negatives = 0;
  o.batches.seed = given->seed;
  o.progress = on_progress;
  mica_quantiser *codes = NULL;
  mica_time_left left = {0};
  o.progress_ctx = &left;
  mica_status status = check_codes(a, engine, p, mica_net_features(net));
  if (status == MICA_OK) status = train_all(a, engine, net, d, &o, place, &codes);
  const mica_part part = p->part[MICA_PART_TEST].n ? MICA_PART_TEST : MICA_PART_VALIDATION;
  const encoder e = {net, p, NULL};
  for (int by = 0; by < (codes ? 2 : 1) && status == MICA_OK && p->part[part].n; by++) {
    status = judge(engine, &e, &p->part[part], place, by ? codes : NULL, found);
    if (status == MICA_OK)
      tell(a, part == MICA_PART_TEST ? "test" : "validation", p->part[part].n, p->documents,
           by ? "codes alone" : "vectors", found);
  }
  mica_quantiser_free(codes);
  mica_free(place);
  return status;
}
