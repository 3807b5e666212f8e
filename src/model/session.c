/* Sessions: one a thread, each with its own tape over the shared model.
 *
 * Examples go through the network in pieces, so memory does not grow with their number, and a call
 * uses one head from its first piece to its last.
 */
#include "model/session.h"
#include "model/head.h"
#include "model/parts.h"

#include <mica/ops.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#define PIECE       64   /* examples at once */
#define ANSWERS_MAX 4096 /* more than these answers are not kept room for */

struct mica_session {
  mica_model *model;
  mica_tape *tape;
  bool features; /* examples are features */
  bool pictures; /* of pictures and texts, pictures alone */
  double *wide;  /* one piece's outputs; kept, so that a call that repeats allocates nothing */
  size_t wide_room;
  double *answer; /* a call's labels, probabilities and anomaly scores */
  size_t answer_room;
};

/* `block` with room for n numbers; what is in it is not kept. */
static double *reserve(double **block, size_t *room, size_t n) {
  if (*block && n <= *room) return *block;
  mica_free(*block);
  *room = 0;
  *block = mica_realloc_array(NULL, n, sizeof **block);
  if (*block) *room = n;
  return *block;
}

mica_status mica_session_create(mica_model *model, mica_session **out) {
  *out = NULL;
  mica_session *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  s->model = model;
  mica_engine *engine = mica_params_engine(mica_net_params(mica_model_net(model)));
  mica_status status = mica_tape_create(engine, NULL, &s->tape);
  if (status != MICA_OK) {
    mica_free(s);
    return status;
  }
  *out = s;
  return MICA_OK;
}

mica_tape *mica_session_tape(mica_session *s) {
  return s->tape;
}

mica_model *mica_session_model(const mica_session *s) {
  return s->model;
}

void mica_session_free(mica_session *s) {
  if (!s) return;
  mica_tape_free(s->tape);
  mica_free(s->wide);
  mica_free(s->answer);
  mica_free(s);
}

void mica_session_take_features(mica_session *s, bool features) {
  s->features = features;
}

void mica_session_take_pictures(mica_session *s, bool pictures) {
  s->pictures = pictures;
}

/* ---- examples ---- */

/* One thing that the model reads: the form of its view. */
typedef struct part {
  const char *what;
  mica_dtype dtype;
  mica_shape shape; /* of one example behind a leading dimension that is not looked at; -1: any */
} part;

#define PARTS_MAX 3

/* What the model reads, in the order of a caller's views. */
static int parts_of(const mica_model *m, part out[PARTS_MAX]) {
  const mica_preprocess *p = mica_model_preprocess(m);
  const mica_problem *problem = mica_net_problem(mica_model_net(m));
  int n = 0;
  if (p->height)
    out[n++] = (part){"pictures", MICA_U8, MICA_SHAPE(0, p->height, p->width, p->channels)};
  else if (p->channels)
    out[n++] = (part){"rows", MICA_F32, MICA_SHAPE(0, p->channels)};
  if (problem->vocabulary) out[n++] = (part){"tokens", MICA_I64, MICA_SHAPE(0, -1)};
  if (problem->fields) out[n++] = (part){"fields", MICA_I64, MICA_SHAPE(0, problem->fields)};
  return n;
}

static mica_status check_part(const part *p, const mica_view *x, int64_t n) {
  const mica_shape *d = &x->shape;
  bool fits = x->dtype == p->dtype && d->rank == p->shape.rank && d->dim[0] >= 0 && d->dim[0] == n;
  for (int i = 1; i < p->shape.rank && fits; i++)
    fits = p->shape.dim[i] < 0 ? d->dim[i] > 0 : d->dim[i] == p->shape.dim[i];
  if (fits && mica_view_contiguous(x) && (x->data || n == 0)) return MICA_OK;
  char text[128], sizes[128] = "";
  size_t used = 0;
  for (int i = 1; i < p->shape.rank; i++) {
    const long long size = (long long)p->shape.dim[i];
    const int more = size < 0 ? snprintf(sizes + used, sizeof sizes - used, ",L")
                              : snprintf(sizes + used, sizeof sizes - used, ",%lld", size);
    used += (size_t)more;
  }
  return mica_fail(MICA_ERR_SHAPE, "the model reads %s, contiguous %s [n%s], not %s %s", p->what,
                   mica_dtype_name(p->dtype), sizes, mica_dtype_name(x->dtype),
                   mica_shape_text(d, text, sizeof text));
}

/* Does the model read pictures and texts, each by a tower of its own? */
static bool two_towers(const mica_session *s) {
  const mica_net *net = mica_model_net(s->model);
  return mica_model_preprocess(s->model)->height && mica_net_problem(net)->vocabulary &&
         mica_net_component(net)->provides & MICA_NEED_PAIRS;
}

static mica_status check(const mica_session *s, const mica_view *x) {
  part p[PARTS_MAX];
  int n = 1;
  if (s->features)
    p[0] = (part){"features", MICA_F32, MICA_SHAPE(0, mica_model_features(s->model))};
  else
    n = parts_of(s->model, p);
  if (s->pictures && !s->features && two_towers(s)) n = 1;
  mica_status status = MICA_OK;
  const int64_t examples = x->shape.rank > 0 ? x->shape.dim[0] : 0;
  for (int i = 0; i < n && status == MICA_OK; i++) status = check_part(&p[i], &x[i], examples);
  return status;
}

/* Examples [begin, end) of a view, copied to the tape; pictures become normalised numbers. */
static mica_var put(mica_session *s, const mica_view *x, int64_t begin, int64_t end) {
  mica_tape *t = s->tape;
  const bool pictures = x->dtype == MICA_U8;
  const int64_t examples = x->shape.dim[0];
  const int64_t each = examples ? mica_view_count(x) / examples : 0;
  mica_shape shape = x->shape;
  shape.dim[0] = end - begin;
  const mica_var in = mica_full(t, pictures ? MICA_F32 : x->dtype, shape, 0);
  const mica_view v = mica_read(t, in);
  if (!mica_ok(t)) return in;
  const size_t size = mica_dtype_size(x->dtype);
  const char *from = (const char *)x->data + (size_t)(begin * each) * size;
  if (pictures)
    mica_image_normalise(&s->model->preprocess, (const uint8_t *)from, end - begin, v.data);
  else
    memcpy(v.data, from, (size_t)((end - begin) * each) * size);
  return in;
}

static mica_view read_output(mica_session *s, mica_var y, const char *what) {
  if (mica_ok(s->tape) && mica_is_none(y))
    mica_latch(s->tape, MICA_ERR_UNSUPPORTED, "the model has no %s", what);
  return mica_read(s->tape, y);
}

/* The mean of the features at each scale, all of them at length 1. */
static void forward_scales(mica_session *s, mica_inputs in, mica_outputs *out) {
  mica_tape *t = s->tape;
  const mica_model *m = s->model;
  const mica_preprocess *p = mica_model_preprocess(m);
  const mica_var x = in.x;
  mica_var sum = MICA_NONE;
  for (int i = 0; i < m->n_scales && mica_ok(t); i++) {
    const int64_t h = (int64_t)fmax(1, round((double)p->height * m->scale[i]));
    const int64_t w = (int64_t)fmax(1, round((double)p->width * m->scale[i]));
    mica_scope_begin(t, NULL);
    if (h != p->height || w != p->width)
      in.x = mica_resize(t, x, h, w, MICA_SMOOTH_BILINEAR, false);
    else
      in.x = x;
    mica_net_forward_inputs(t, mica_model_net(m), &in, out);
    const mica_view v = read_output(s, out->features, "features");
    if (mica_ok(t) && v.shape.rank != 2)
      mica_latch(t, MICA_ERR_UNSUPPORTED, "scales need features [N,D] of each picture");
    const mica_var one = mica_scope_end(t, mica_l2_normalise(t, out->features, 1e-12));
    sum = i ? mica_add(t, sum, one) : one;
  }
  *out = (mica_outputs){.features = mica_l2_normalise(t, sum, 1e-12)};
}

/* Examples [begin, end) to the network's outputs on the session's tape. */
static void forward(mica_session *s, const mica_view *x, int64_t begin, int64_t end,
                    mica_outputs *out) {
  mica_tape *t = s->tape;
  const mica_problem *problem = mica_net_problem(mica_model_net(s->model));
  mica_inputs in = {MICA_NONE, MICA_NONE, MICA_NONE};
  mica_tape_reset(t);
  mica_no_grad_begin(t);
  if (problem->channels) in.x = put(s, x++, begin, end);
  if (problem->vocabulary && !(s->pictures && two_towers(s))) in.tokens = put(s, x++, begin, end);
  if (problem->fields) in.fields = put(s, x, begin, end);
  if (s->model->n_scales)
    forward_scales(s, in, out);
  else
    mica_net_forward_inputs(t, mica_model_net(s->model), &in, out);
}

/* ---- what is made of them ---- */

/* Everything that one call wants of its examples; NULL is not wanted. Rows of `probability` and
 * `score` are `columns` wide. */
typedef struct request {
  mica_head *head; /* NULL: the network's own classifier */
  int64_t *label;
  double *best, *probability, *score, *anomaly;
  int64_t columns;
  float *features;
} request;

/* The most likely class of each row of probabilities, where one is wanted. */
static void take_best(const request *r, int64_t begin, int64_t n, const double *p, int64_t width,
                      bool label) {
  for (int64_t i = 0; i < n; i++, p += width) {
    int64_t top = 0;
    for (int64_t c = 1; c < width; c++)
      if (p[c] > p[top]) top = c;
    if (label) r->label[begin + i] = top;
    if (r->best) r->best[begin + i] = p[top];
    if (r->probability)
      memcpy(r->probability + (begin + i) * r->columns, p, (size_t)r->columns * sizeof *p);
  }
}

static mica_status by_head(mica_session *s, const request *r, const mica_view *features,
                           int64_t begin) {
  const mica_estimator *e = r->head->estimator;
  const int64_t n = features->shape.dim[0], classes = mica_estimator_classes(e);
  const int64_t outputs = mica_estimator_outputs(e);
  const bool probable =
      (r->best || r->probability) && (r->probability || mica_head_gives_probabilities(r->head));
  const size_t most = probable ? (size_t)(n * classes) : 0;
  mica_prediction p = MICA_PREDICTION;
  p.label = r->label ? r->label + begin : NULL;
  p.anomaly = r->anomaly && mica_head_detects(r->head) ? r->anomaly + begin : NULL;
  double *wide = reserve(&s->wide, &s->wide_room, most + (r->score ? (size_t)(n * outputs) : 0));
  if (!wide) return MICA_ERR_MEMORY;
  if (probable) p.probability = wide;
  if (r->score) p.score = wide + most;
  mica_status status = mica_estimator_predict(e, features, &p);
  if (status == MICA_OK && probable) take_best(r, begin, n, p.probability, classes, false);
  for (int64_t i = 0; i < n && status == MICA_OK && r->score; i++)
    memcpy(r->score + (begin + i) * r->columns, p.score + i * outputs,
           (size_t)r->columns * sizeof(double));
  return status;
}

static mica_status by_network(mica_session *s, const request *r, mica_var logits, int64_t begin) {
  const mica_var soft =
      r->label || r->best || r->probability ? mica_softmax(s->tape, logits, -1) : logits;
  const mica_view p = mica_read(s->tape, soft), l = mica_read(s->tape, logits);
  if (!mica_ok(s->tape)) return mica_tape_status(s->tape);
  const int64_t n = l.shape.dim[0], classes = l.shape.dim[1];
  double *wide = reserve(&s->wide, &s->wide_room, (size_t)(n * classes));
  if (!wide) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n * classes; i++) wide[i] = (double)((const float *)p.data)[i];
  if (r->label || r->best || r->probability)
    take_best(r, begin, n, wide, classes, r->label != NULL);
  for (int64_t i = 0; r->score && i < n; i++)
    for (int64_t c = 0; c < r->columns; c++)
      r->score[(begin + i) * r->columns + c] = (double)((const float *)l.data)[i * classes + c];
  return MICA_OK;
}

/* Features that are given: only heads read them. */
static mica_status work_features(mica_session *s, const mica_view *x, const request *r) {
  const int64_t width = mica_model_features(s->model);
  mica_status status = check(s, x);
  const int64_t n = status == MICA_OK ? x->shape.dim[0] : 0;
  if (status == MICA_OK && !r->head && !r->features)
    status = mica_fail(MICA_ERR_UNSUPPORTED,
                       "the network's own classifier answers and reads no features; a head does");
  if (status == MICA_OK && r->features && n)
    memcpy(r->features, x->data, (size_t)(n * width) * sizeof(float));
  for (int64_t begin = 0; begin < n && r->head && status == MICA_OK; begin += PIECE) {
    const int64_t m = begin + PIECE < n ? PIECE : n - begin;
    const mica_view v =
        mica_view_of((float *)x->data + begin * width, MICA_F32, MICA_SHAPE(m, width));
    status = by_head(s, r, &v, begin);
  }
  return status;
}

/* A piece of pictures: parts of all of them through the network, side by side in a row each. */
static mica_status describe_parts(mica_session *s, const mica_view *x, int64_t begin, int64_t end,
                                  uint8_t *room, mica_view *out) {
  const mica_model *m = s->model;
  const mica_preprocess *to = &m->preprocess, *from = &m->reading;
  const int64_t n = end - begin, parts = mica_model_parts(m);
  const int64_t size = from->height * from->width * from->channels;
  mica_outputs o;
  mica_status status = mica_model_cut(m, (const uint8_t *)x->data + begin * size, n, room);
  if (status != MICA_OK) return status;
  const mica_view v =
      mica_view_of(room, MICA_U8, MICA_SHAPE(n * parts, to->height, to->width, to->channels));
  forward(s, &v, 0, n * parts, &o);
  const mica_view f = read_output(s, o.features, "features");
  if (mica_ok(s->tape) && (f.shape.rank != 2 || !mica_view_contiguous(&f)))
    mica_latch(s->tape, MICA_ERR_UNSUPPORTED, "parts need features [N,D] of each");
  status = mica_tape_status(s->tape);
  if (status == MICA_OK)
    *out = mica_view_of(f.data, f.dtype, MICA_SHAPE(n, parts * f.shape.dim[1]));
  return status;
}

/* Models that describe parts: heads read them, or the caller has them. */
static mica_status work_parts(mica_session *s, const mica_view *x, const request *r) {
  const mica_preprocess *to = &s->model->preprocess;
  const int64_t width = mica_model_features(s->model), parts = mica_model_parts(s->model);
  const int64_t piece = parts < PIECE ? PIECE / parts : 1;
  mica_status status = check(s, x);
  if (status == MICA_OK && !r->head && !r->features)
    status = mica_fail(MICA_ERR_UNSUPPORTED,
                       "the network's own classifier does not answer for parts of pictures; a head "
                       "does");
  const mica_problem *problem = mica_net_problem(mica_model_net(s->model));
  if (status == MICA_OK && problem->vocabulary && !(s->pictures && two_towers(s)))
    status = mica_fail(MICA_ERR_UNSUPPORTED, "parts are described of pictures alone");
  const int64_t n = status == MICA_OK ? x->shape.dim[0] : 0;
  uint8_t *room =
      n ? mica_malloc((size_t)(piece * parts * to->height * to->width * to->channels)) : NULL;
  if (n && !room) status = MICA_ERR_MEMORY;
  for (int64_t begin = 0; begin < n && status == MICA_OK; begin += piece) {
    const int64_t end = begin + piece < n ? begin + piece : n;
    mica_view v;
    status = describe_parts(s, x, begin, end, room, &v);
    if (status == MICA_OK && r->head) status = by_head(s, r, &v, begin);
    if (status == MICA_OK && r->features) {
      const mica_view out =
          mica_view_of(r->features + begin * width, MICA_F32, MICA_SHAPE(end - begin, width));
      status = mica_view_copy(&out, &v);
    }
  }
  mica_free(room);
  return status;
}

static mica_status work(mica_session *s, const mica_view *x, const request *r) {
  if (s->features) return work_features(s, x, r);
  if (mica_model_parts(s->model) > 1) return work_parts(s, x, r);
  const int64_t width = mica_model_features(s->model);
  const bool own = r->label || r->best || r->probability || r->score;
  mica_status status = check(s, x);
  const int64_t n = status == MICA_OK ? x->shape.dim[0] : 0;
  for (int64_t begin = 0; begin < n && status == MICA_OK; begin += PIECE) {
    const int64_t end = begin + PIECE < n ? begin + PIECE : n;
    mica_outputs o;
    forward(s, x, begin, end, &o);
    if (r->head || r->features) {
      const mica_view v = read_output(s, o.features, "features");
      status = mica_tape_status(s->tape);
      if (status == MICA_OK && r->head) status = by_head(s, r, &v, begin);
      if (status == MICA_OK && r->features) {
        const mica_view to =
            mica_view_of(r->features + begin * width, MICA_F32, MICA_SHAPE(end - begin, width));
        status = mica_view_copy(&to, &v);
      }
    }
    if (!r->head && own && status == MICA_OK) {
      const mica_view l = read_output(s, o.logits, "classes");
      const int64_t classes = mica_net_problem(mica_model_net(s->model))->classes;
      if (mica_ok(s->tape) && (l.shape.rank != 2 || l.shape.dim[1] != classes))
        mica_latch(s->tape, MICA_ERR_UNSUPPORTED, "the model answers for %s, not for an example",
                   l.shape.rank != 2 ? "each token" : "each pair of a batch");
      status = mica_tape_status(s->tape);
      if (status == MICA_OK) status = by_network(s, r, o.logits, begin);
    }
  }
  return status;
}

/* ---- the public forms ---- */

static mica_status answers(mica_session *s, const mica_view *x, mica_head *head, mica_answer *out) {
  const int64_t n = x->shape.rank > 0 ? x->shape.dim[0] : 0;
  const int64_t room = n > 0 ? n : 0;
  double *best = reserve(&s->answer, &s->answer_room, 3 * (size_t)room);
  mica_status status = best ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    double *anomaly = best + room;
    int64_t *label = (int64_t *)(void *)(anomaly + room);
    memset(label, 0, (size_t)room * sizeof *label);
    for (int64_t i = 0; i < room; i++) best[i] = anomaly[i] = NAN;
    const request r = {.head = head, .label = label, .best = best, .anomaly = anomaly};
    status = work(s, x, &r);
    for (int64_t i = 0; i < n && status == MICA_OK; i++) {
      const char *const *names = head ? head->classes : s->model->classes;
      out[i] = (mica_answer){label[i], "none of these", best[i], anomaly[i]};
      if (label[i] >= 0) out[i].name = names[label[i]] ? names[label[i]] : "";
    }
  }
  if (room > ANSWERS_MAX) {
    mica_free(s->answer);
    s->answer = NULL;
    s->answer_room = 0;
  }
  return status;
}

mica_status mica_predict(mica_session *s, const mica_view *x, mica_answer *out) {
  mica_head *head = mica_head_hold(s->model);
  const mica_status status = answers(s, x, head, out);
  mica_head_release(s->model, head);
  return status;
}

/* A request of rows, answered by the model's answering head. */
static mica_status columns(mica_session *s, const mica_view *x, const char *what, int64_t have,
                           const request *r) {
  if (r->columns < 1 || r->columns > have)
    return mica_fail(MICA_ERR_INVALID, "%lld %s asked for, the model has %lld",
                     (long long)r->columns, what, (long long)have);
  return work(s, x, r);
}

mica_status mica_predict_probabilities(mica_session *s, const mica_view *x, int64_t classes,
                                       double *out) {
  mica_head *head = mica_head_hold(s->model);
  const request r = {.head = head, .probability = out, .columns = classes};
  const int64_t have = head ? mica_estimator_classes(head->estimator) : s->model->n_classes;
  const mica_status status = columns(s, x, "classes", have, &r);
  mica_head_release(s->model, head);
  return status;
}

mica_status mica_predict_scores(mica_session *s, const mica_view *x, int64_t n, double *out) {
  mica_head *head = mica_head_hold(s->model);
  const request r = {.head = head, .score = out, .columns = n};
  const int64_t have = head ? mica_estimator_outputs(head->estimator) : s->model->n_classes;
  const mica_status status = columns(s, x, "scores", have, &r);
  mica_head_release(s->model, head);
  return status;
}

mica_status mica_anomaly_score(mica_session *s, const mica_view *x, double *out) {
  mica_head *head = mica_head_hold_detector(s->model);
  if (!head)
    return mica_fail(MICA_ERR_UNSUPPORTED,
                     "no head of the model gives anomaly scores: fit one (mica fit gaussian)");
  const request r = {.head = head, .anomaly = out};
  const mica_status status = work(s, x, &r);
  mica_head_release(s->model, head);
  return status;
}

mica_status mica_anomaly_thresholds(const mica_model *m, double rate, mica_threshold_from from,
                                    int64_t n, double *out) {
  mica_head *head = mica_head_hold_detector(m);
  if (!head) return mica_fail(MICA_ERR_UNSUPPORTED, "no head of the model gives anomaly scores");
  const int64_t outputs = mica_estimator_outputs(head->estimator);
  const mica_status status =
      n == outputs ? mica_estimator_level_thresholds(head->estimator, rate, from, out)
                   : mica_fail(MICA_ERR_INVALID, "%lld thresholds asked for, the head has %lld",
                               (long long)n, (long long)outputs);
  mica_head_release(m, head);
  return status;
}

mica_status mica_embed(mica_session *s, const mica_view *x, float *out) {
  const request r = {.features = out};
  return work(s, x, &r);
}

/* ---- pictures ---- */

mica_status mica_model_prepare(const mica_model *m, const mica_tensor *image, uint8_t *out) {
  const mica_preprocess *p = mica_model_preprocess(m);
  if (!p->height) return mica_fail(MICA_ERR_UNSUPPORTED, "the model reads rows, not pictures");
  return mica_image_prepare(image, p, out);
}

mica_status mica_model_read(const mica_model *m, int64_t n, const char *const *paths,
                            mica_tensor **out) {
  const mica_preprocess *p = mica_model_preprocess(m);
  *out = NULL;
  if (!p->height || n < 0)
    return mica_fail(MICA_ERR_UNSUPPORTED, "the model reads rows, not pictures");
  mica_tensor *all = NULL;
  mica_status status =
      mica_tensor_create(MICA_U8, MICA_SHAPE(n, p->height, p->width, p->channels), &all);
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    mica_tensor *image = NULL;
    status = mica_image_read(paths[i], &image);
    if (status == MICA_OK)
      status = mica_model_prepare(
          m, image, (uint8_t *)mica_tensor_data(all) + i * p->height * p->width * p->channels);
    mica_tensor_free(image);
  }
  if (status == MICA_OK)
    *out = all;
  else
    mica_tensor_free(all);
  return status;
}
