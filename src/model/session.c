/* Sessions: one a thread, each with its own tape over the shared model. */
#include <mica/model.h>

#include <string.h>

struct mica_session {
  const mica_model *model;
  mica_tape *tape;
};

mica_status mica_session_create(const mica_model *model, mica_session **out) {
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

void mica_session_free(mica_session *s) {
  if (!s) return;
  mica_tape_free(s->tape);
  mica_free(s);
}

/* Pictures to the network's outputs on the session's tape. */
static void run(mica_session *s, const uint8_t *images, int64_t n, mica_outputs *out) {
  mica_tape *t = s->tape;
  const mica_preprocess *p = mica_model_preprocess(s->model);
  mica_tape_reset(t);
  mica_no_grad_begin(t);
  memset(out, 0, sizeof *out);
  if (n < 1 || !images || !p->height) {
    mica_latch(t, MICA_ERR_INVALID, "predict: %lld pictures for a model that reads %s",
               (long long)n, p->height ? "pictures" : "rows");
    return;
  }
  mica_var x = mica_full(t, MICA_F32, MICA_SHAPE(n, p->height, p->width, p->channels), 0);
  const mica_view v = mica_read(t, x);
  if (v.data) mica_image_normalise(p, images, n, v.data);
  mica_net_forward(t, mica_model_net(s->model), x, out);
}

static mica_status copy(mica_session *s, mica_var y, const char *what, float *to) {
  if (mica_ok(s->tape) && mica_is_none(y))
    mica_latch(s->tape, MICA_ERR_UNSUPPORTED, "the model has no %s", what);
  const mica_view v = mica_read(s->tape, y);
  if (!mica_ok(s->tape)) return mica_tape_status(s->tape);
  const mica_view out = mica_view_of(to, MICA_F32, v.shape);
  return mica_view_copy(&out, &v);
}

mica_status mica_predict(mica_session *s, const uint8_t *images, int64_t n, float *probability) {
  mica_outputs o;
  run(s, images, n, &o);
  mica_var y = o.logits;
  if (mica_ok(s->tape) && !mica_is_none(y)) y = mica_softmax(s->tape, y, -1);
  return copy(s, y, "classes", probability);
}

mica_status mica_embed(mica_session *s, const uint8_t *images, int64_t n, float *features) {
  mica_outputs o;
  run(s, images, n, &o);
  return copy(s, o.features, "features", features);
}
