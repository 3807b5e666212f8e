/* Classes from texts on a model of pictures and texts: embeddings of texts, heads made of them, and
 * the reasons for an answer. */
#include "model/zero_shot.h"

#include "model/head.h"
#include "model/session.h"

#include <mica/tokenizer.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PIECE 64 /* texts at once */

/* ---- embeddings of texts ---- */

static mica_status embed_piece(mica_session *session, const mica_tokenizer *tokenizer, int64_t n,
                               const char *const *texts, int64_t length, int64_t *ids, float *out) {
  const mica_net *net = mica_model_net(mica_session_model(session));
  mica_tape *t = mica_session_tape(session);
  mica_status status = mica_tokenizer_encode_rows(tokenizer, n, texts, length, ids, NULL);
  if (status != MICA_OK) return status;
  mica_outputs y;
  mica_tape_reset(t);
  mica_no_grad_begin(t);
  const mica_var tokens = mica_full(t, MICA_I64, MICA_SHAPE(n, length), 0);
  const mica_view v = mica_read(t, tokens);
  if (mica_ok(t)) memcpy(v.data, ids, (size_t)(n * length) * sizeof *ids);
  const mica_inputs in = {MICA_NONE, tokens, MICA_NONE};
  mica_net_forward_inputs(t, net, &in, &y);
  const bool towers = mica_net_problem(net)->height > 0;
  const mica_view got = mica_read(t, mica_l2_normalise(t, towers ? y.text : y.features, 1e-12));
  if (mica_ok(t)) memcpy(out, got.data, (size_t)(n * mica_net_features(net)) * sizeof *out);
  status = mica_tape_status(t);
  mica_no_grad_end(t);
  return status;
}

static mica_status embed_all(mica_session *session, const mica_tokenizer *tokenizer, int64_t n,
                             const char *const *texts, float *out) {
  const mica_net *net = mica_model_net(mica_session_model(session));
  const mica_problem *problem = mica_net_problem(net);
  int64_t *ids = mica_calloc(PIECE, (size_t)problem->length * sizeof *ids);
  mica_status status = ids ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK && mica_tokenizer_size(tokenizer) > problem->vocabulary)
    status = mica_fail(MICA_ERR_FORMAT, "a tokenizer of %lld tokens, and a network of %lld",
                       (long long)mica_tokenizer_size(tokenizer), (long long)problem->vocabulary);
  for (int64_t from = 0; from < n && status == MICA_OK; from += PIECE)
    status = embed_piece(session, tokenizer, n - from < PIECE ? n - from : PIECE, texts + from,
                         problem->length, ids, out + from * mica_net_features(net));
  mica_free(ids);
  return status;
}

mica_status mica_embed_texts(mica_session *session, int64_t n, const char *const *texts,
                             float *out) {
  const mica_model *m = mica_session_model(session);
  const mica_net *net = mica_model_net(m);
  mica_tokenizer *tokenizer = NULL;
  if (!mica_net_problem(net)->vocabulary || !mica_model_tokenizer(m))
    return mica_fail(MICA_ERR_UNSUPPORTED, "the model has no %s: it reads no texts",
                     mica_net_problem(net)->vocabulary ? "tokenizer" : "text tower");
  if (mica_net_problem(net)->height && !(mica_net_component(net)->provides & MICA_NEED_PAIRS))
    return mica_fail(MICA_ERR_UNSUPPORTED, "the model's texts have no space with its pictures");
  mica_status status = mica_tokenizer_parse(mica_model_tokenizer(m), &tokenizer);
  if (status == MICA_OK) status = embed_all(session, tokenizer, n, texts, out);
  mica_tokenizer_free(tokenizer);
  return status;
}

/* ---- heads ---- */

/* Prompts to embeddings [n, D], by a session of their own. */
static mica_status embed_prompts(mica_model *m, const mica_prompts *prompts, mica_tensor **x) {
  mica_session *session = NULL;
  mica_status status =
      mica_tensor_create(MICA_F32, MICA_SHAPE(prompts->n, mica_net_features(mica_model_net(m))), x);
  if (status == MICA_OK) status = mica_session_create(m, &session);
  if (status == MICA_OK)
    status = mica_embed_texts(session, prompts->n, (const char *const *)prompts->text,
                              mica_tensor_data(*x));
  mica_session_free(session);
  if (status != MICA_OK) {
    mica_tensor_free(*x);
    *x = NULL;
  }
  return status;
}

/* The options of a specification of zero_shot; *spec keeps their texts. */
static mica_status read_options(const mica_engine *engine, const char *text, mica_spec **spec,
                                const mica_zero_shot_options **o) {
  const mica_status status = mica_spec_parse(engine, MICA_KIND_ESTIMATOR, text, spec);
  if (status != MICA_OK) return status;
  if (strcmp(mica_spec_component(*spec)->name, "zero_shot") != 0)
    return mica_fail(MICA_ERR_UNSUPPORTED, "estimator %s does not know its classes by texts",
                     mica_spec_component(*spec)->name);
  *o = mica_spec_options(*spec);
  return MICA_OK;
}

static mica_engine *engine_of(const mica_model *m) {
  return mica_params_engine(mica_net_params(mica_model_net(m)));
}

mica_status mica_prompts_embed(mica_model *m, const mica_estimator *e, const char *name, int64_t n,
                               const char *const *phrases, mica_tensor **x) {
  const mica_zero_shot_options *o;
  mica_spec *spec = NULL;
  mica_phrases *list = NULL;
  mica_prompts prompts = {0};
  char *text = mica_estimator_spec(e);
  mica_status status = text ? read_options(engine_of(m), text, &spec, &o) : MICA_ERR_MEMORY;
  if (status == MICA_OK) status = mica_phrases_create(&list);
  if (status == MICA_OK) status = mica_phrases_set(list, name, n, phrases);
  if (status == MICA_OK) status = mica_zero_shot_prompts(o, list, &prompts);
  if (status == MICA_OK) status = embed_prompts(m, &prompts, x);
  mica_prompts_free(&prompts);
  mica_phrases_free(list);
  mica_spec_free(spec);
  mica_free(text);
  return status;
}

static mica_status fit(mica_model *m, const char *spec, const mica_phrases *phrases,
                       const mica_prompts *prompts, mica_estimator **out) {
  mica_tensor *x = NULL;
  mica_fit_data data = MICA_FIT_DATA;
  mica_status status = embed_prompts(m, prompts, &x);
  if (status == MICA_OK) status = mica_estimator_create(engine_of(m), spec, out);
  if (status == MICA_OK) {
    data.x = mica_tensor_view(x);
    data.label = prompts->label;
    data.classes = mica_phrases_classes(phrases);
    status = mica_estimator_fit(*out, &data, NULL);
  }
  if (status == MICA_OK) status = mica_estimator_set_phrases(*out, phrases);
  mica_tensor_free(x);
  return status;
}

mica_status mica_model_zero_shot(mica_model *m, const char *name, const char *text,
                                 const mica_phrases *phrases) {
  const mica_zero_shot_options *o;
  mica_spec *spec = NULL;
  mica_prompts prompts = {0};
  mica_estimator *e = NULL;
  const int64_t n = mica_phrases_classes(phrases);
  const char **classes = mica_calloc((size_t)n + 1, sizeof *classes);
  mica_status status = classes ? read_options(engine_of(m), text, &spec, &o) : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n && classes; i++) classes[i] = mica_phrases_class(phrases, i);
  if (status == MICA_OK) status = mica_zero_shot_prompts(o, phrases, &prompts);
  if (status == MICA_OK) status = fit(m, text, phrases, &prompts, &e);
  if (status == MICA_OK) status = mica_model_put_head(m, name, e, classes);
  if (status == MICA_OK) {
    e = NULL; /* the model has it */
    status = mica_model_answer_with(m, name);
  }
  mica_estimator_free(e);
  mica_prompts_free(&prompts);
  mica_spec_free(spec);
  mica_free(classes);
  return status;
}

/* ---- reasons ---- */

void mica_reasons_free(mica_reasons *r) {
  mica_free(r->reason);
  mica_free(r->texts);
  *r = (mica_reasons){0};
}

static int by_similarity(const void *a, const void *b) {
  const mica_reason *l = a, *r = b;
  if (l->similarity > r->similarity || l->similarity < r->similarity)
    return l->similarity > r->similarity ? -1 : 1;
  return l->text < r->text ? -1 : l->text > r->text; /* as they are in the list */
}

/* What a class rests on: its phrases where it has as many as texts, else its prompts. */
static mica_status tell(const mica_zero_shot_options *o, const mica_phrases *phrases, int64_t label,
                        const double *similarity, int64_t n, mica_reasons *out) {
  mica_prompts prompts = {0};
  mica_phrases *one = NULL;
  const bool own = o->mode == 0 && mica_phrases_count(phrases, label) == n;
  const char *name = mica_phrases_class(phrases, label);
  mica_status status = own ? MICA_OK : mica_phrases_create(&one);
  if (status == MICA_OK && !own) status = mica_phrases_set(one, name, 0, NULL);
  if (status == MICA_OK && !own) status = mica_zero_shot_prompts(o, one, &prompts);
  size_t bytes = 1;
  for (int64_t j = 0; j < n && status == MICA_OK; j++)
    bytes += strlen(own ? mica_phrases_phrase(phrases, label, j) : prompts.text[j]) + 1;
  if (status == MICA_OK) {
    out->reason = mica_calloc((size_t)n + 1, sizeof *out->reason);
    out->texts = mica_malloc(bytes);
    if (!out->reason || !out->texts) status = MICA_ERR_MEMORY;
  }
  char *to = out->texts;
  for (int64_t j = 0; j < n && status == MICA_OK; j++) {
    const char *text = own ? mica_phrases_phrase(phrases, label, j) : prompts.text[j];
    out->reason[out->n++] = (mica_reason){strcpy(to, text), similarity[j]};
    to += strlen(text) + 1;
  }
  if (status == MICA_OK) qsort(out->reason, (size_t)n, sizeof *out->reason, by_similarity);
  mica_prompts_free(&prompts);
  mica_phrases_free(one);
  return status;
}

/* How many texts a class has, and where they begin. */
static int64_t span(const mica_zero_shot_options *o, const mica_phrases *p, int64_t label,
                    int64_t *first) {
  int64_t n = 0;
  *first = 0;
  for (int64_t c = 0; c <= label; c++) {
    *first += n;
    n = o->mode == 2                                ? 80
        : o->mode == 1 || !mica_phrases_count(p, c) ? 1
                                                    : mica_phrases_count(p, c);
  }
  return n;
}

static mica_status explain(const mica_model *m, const mica_head *head, const mica_view *features,
                           int64_t wanted, mica_reasons *out) {
  const mica_estimator *e = head->estimator;
  const int64_t n = features->shape.dim[0], classes = mica_estimator_classes(e);
  const int64_t texts = mica_estimator_texts(e);
  const mica_phrases *phrases = mica_estimator_phrases(e);
  const mica_zero_shot_options *o = NULL;
  mica_spec *spec = NULL;
  if (!texts || !phrases)
    return mica_fail(MICA_ERR_UNSUPPORTED, "head '%s' was not made from phrases", head->name);
  char *text = mica_estimator_spec(e);
  double *score =
      mica_realloc_array(NULL, (size_t)n + 1, (size_t)(classes + texts) * sizeof *score);
  mica_status status =
      text && score ? read_options(engine_of(m), text, &spec, &o) : MICA_ERR_MEMORY;
  mica_prediction p = MICA_PREDICTION;
  p.score = score;
  if (status == MICA_OK) status = mica_estimator_predict(e, features, &p);
  if (status == MICA_OK) status = mica_estimator_text_scores(e, features, score + n * classes);
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    double *own = score + i * classes;
    for (int64_t k = 0; k < wanted && status == MICA_OK; k++) {
      mica_reasons *to = &out[i * wanted + k];
      int64_t top = 0, first;
      for (int64_t c = 1; c < classes; c++)
        if (own[c] > own[top]) top = c;
      to->label = top;
      to->name = head->classes[top];
      to->score = own[top];
      own[top] = -INFINITY;
      const int64_t count = span(o, phrases, top, &first);
      status = tell(o, phrases, top, score + n * classes + i * texts + first, count, to);
    }
  }
  mica_spec_free(spec);
  mica_free(score);
  mica_free(text);
  return status;
}

mica_status mica_predict_reasons(mica_session *session, const mica_view *examples, int64_t classes,
                                 mica_reasons *out) {
  const mica_model *m = mica_session_model(session);
  const int64_t n = examples->shape.rank ? examples->shape.dim[0] : 0;
  mica_head *head = mica_head_hold(m);
  mica_tensor *x = NULL;
  for (int64_t i = 0; i < n * (classes > 0 ? classes : 0); i++) out[i] = (mica_reasons){0};
  mica_status status = MICA_OK;
  if (!head)
    status = mica_fail(MICA_ERR_UNSUPPORTED, "no head answers for this model");
  else if (classes < 1 || classes > mica_estimator_classes(head->estimator))
    status = mica_fail(MICA_ERR_INVALID, "reasons for %lld classes of %lld", (long long)classes,
                       (long long)mica_estimator_classes(head->estimator));
  if (status == MICA_OK)
    status = mica_tensor_create(MICA_F32, MICA_SHAPE(n, mica_net_features(mica_model_net(m))), &x);
  if (status == MICA_OK) status = mica_embed(session, examples, mica_tensor_data(x));
  if (status == MICA_OK && n) {
    const mica_view view = mica_tensor_view(x);
    status = explain(m, head, &view, classes, out);
  }
  if (status != MICA_OK)
    for (int64_t i = 0; i < n * (classes > 0 ? classes : 0); i++) mica_reasons_free(&out[i]);
  mica_tensor_free(x);
  mica_head_release(m, head);
  return status;
}
