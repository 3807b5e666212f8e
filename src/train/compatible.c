/* The scheme "compatible": an older model, whose index is to be asked by the new one, and if wanted
 * an independently trained new one, frozen beside the network.
 *
 * Their features have length 1, as they lie in an index. Where pictures stay the same from epoch to
 * epoch, each is looked at once (`cache`).
 */
#include "train/teach.h"

#include <mica/compatible.h>

#include <string.h>

typedef struct compatible {
  mica_teacher old, guide;
  bool guided;
  mica_tensor *means; /* [classes, D] of the older features */
  mica_feature_cache *old_seen, *guide_seen;
} compatible;

static void end(void *state) {
  compatible *c = state;
  mica_teacher_close(&c->old);
  mica_teacher_close(&c->guide);
  mica_tensor_free(c->means);
  mica_feature_cache_free(c->old_seen);
  mica_feature_cache_free(c->guide_seen);
  mica_free(c);
}

static mica_status begin(const void *options, const mica_scheme_setting *s, uint32_t needs,
                         void **state) {
  const mica_compatible_options *o = options;
  compatible *c = mica_calloc(1, sizeof *c);
  if (!c) return MICA_ERR_MEMORY;
  mica_status status = MICA_OK;
  if (!s->teacher && !o->old)
    status = mica_fail(MICA_ERR_INVALID, "compatible with what? old=FILE names the older model");
  if (status == MICA_OK) status = mica_teacher_open(s, o->old, &c->old);
  if (status == MICA_OK && (s->guide || o->new_)) {
    mica_scheme_setting second = *s;
    second.teacher = s->guide;
    c->guided = true;
    status = mica_teacher_open(&second, o->new_, &c->guide);
  }
  if (status == MICA_OK && needs & MICA_NEED_CLASS_MEANS) {
    c->old.unit = true;
    status = mica_teacher_means(&c->old, s->train, mica_net_problem(s->net)->classes, &c->means);
  }
  if (status == MICA_OK && o->cache)
    status = mica_feature_cache_create(mica_net_features(c->old.net), &c->old_seen);
  if (status == MICA_OK && o->cache && c->guided)
    status = mica_feature_cache_create(mica_net_features(c->guide.net), &c->guide_seen);
  if (status == MICA_OK)
    *state = c;
  else
    end(c);
  return status;
}

static const char *loss(const void *options) {
  const mica_compatible_options *o = options;
  return o->new_ ? "ce+10*influence+5*align+align:to=new" : "ce+10*influence";
}

static void describe(const void *state, mica_loss_shapes *shapes) {
  const compatible *c = state;
  shapes->teacher_features = mica_net_features(c->old.net);
  shapes->teacher = mica_net_params(c->old.net);
}

/* Unit features of a teacher; of examples that were seen, what they were then. */
static mica_var features_of(mica_tape *t, const mica_teacher *teacher, mica_feature_cache *seen,
                            const mica_inputs *inputs, mica_var ids) {
  mica_loss_inputs in = {0};
  const mica_view id = seen && !mica_is_none(ids) ? mica_read(t, ids) : (mica_view){0};
  const int64_t n = id.data ? mica_view_count(&id) : 0;
  if (n) {
    const mica_var known = mica_full(t, MICA_F32, MICA_SHAPE(n, mica_feature_cache_width(seen)), 0);
    const mica_view v = mica_read(t, known);
    if (mica_ok(t) && mica_feature_cache_get(seen, n, id.data, v.data)) return known;
  }
  const mica_inputs own = mica_teacher_inputs(t, teacher, inputs);
  mica_teach(t, teacher->net, &own, NULL, &in);
  const mica_var y = mica_l2_normalise(t, in.teacher_features, 1e-12);
  const mica_view v = mica_read(t, y);
  if (n && mica_ok(t) && mica_view_contiguous(&v) &&
      mica_feature_cache_put(seen, n, id.data, v.data) != MICA_OK)
    mica_latch(t, mica_last_status(), "%s", mica_last_error());
  return y;
}

static void forward(mica_tape *t, void *state, const mica_net *net, const mica_inputs *inputs,
                    mica_outputs *out, mica_loss_inputs *in) {
  compatible *c = state;
  in->teacher_features = features_of(t, &c->old, c->old_seen, inputs, in->ids);
  if (c->guided) in->guide_features = features_of(t, &c->guide, c->guide_seen, inputs, in->ids);
  in->teacher = mica_net_params(c->old.net);
  if (c->means) in->class_means = mica_input(t, c->means);
  mica_net_forward_inputs(t, net, inputs, out);
}

#define ROW(field, name, type, def, help)                                                          \
  { name, MICA_OPTION_##type, def, 0, 0, NULL, help, offsetof(mica_compatible_options, field) }
static const mica_option table[] = {
    ROW(old, "old", STRING, NULL, "model file of the older embedding, whose index is to be asked"),
    ROW(new_, "new", STRING, NULL, "model file of a new embedding that was trained by itself"),
    ROW(cache, "cache", BOOL, "false",
        "look at each example once: for pictures that are not changed from epoch to epoch"),
    {0}};

static const mica_scheme_functions functions = {begin, end, loss, describe, forward};

const mica_component mica_component_scheme_compatible = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_SCHEME,
    "compatible",
    "an older model beside the network, whose index the new one is to answer from",
    "backward-compatible",
    table,
    sizeof(mica_compatible_options),
    0,
    MICA_NEED_TEACHER | MICA_NEED_CLASS_MEANS,
    &functions};
