/* A weighted sum of losses, parsed from text, each with its own parameters. */
#include <mica/loss.h>

#include <stdio.h>
#include <string.h>

struct mica_loss {
  mica_spec_sum sum;
  mica_node **node;
  uint32_t needs;
};

/* The loss's own parameters, where it has some. */
static mica_status init(mica_loss *loss, int i, mica_node *node, const mica_loss_shapes *shapes) {
  const mica_loss_functions *f = mica_spec_component(loss->sum.term[i])->functions;
  const void *options = mica_spec_options(loss->sum.term[i]);
  if (!f->init && !f->init_with) return MICA_OK;
  loss->node[i] = mica_node_childf(node, "loss.%d", i);
  if (!loss->node[i]) return mica_last_status();
  return f->init_with ? f->init_with(loss->node[i], options, shapes)
                      : f->init(loss->node[i], options, shapes->classes, shapes->features);
}

mica_status mica_loss_create(mica_engine *engine, const char *text, mica_node *node,
                             int64_t classes, int64_t features, mica_loss **out) {
  const mica_loss_shapes shapes = {.size = sizeof shapes, .classes = classes, .features = features};
  return mica_loss_create_with(engine, text, node, &shapes, out);
}

mica_status mica_loss_create_with(mica_engine *engine, const char *text, mica_node *node,
                                  const mica_loss_shapes *shapes, mica_loss **out) {
  *out = NULL;
  mica_loss *loss = mica_calloc(1, sizeof *loss);
  if (!loss) return MICA_ERR_MEMORY;
  mica_status status = mica_spec_sum_parse(engine, MICA_KIND_LOSS, text, &loss->sum);
  if (status != MICA_OK) {
    mica_free(loss);
    return status;
  }
  loss->node = mica_calloc((size_t)loss->sum.n, sizeof(mica_node *));
  if (!loss->node) status = MICA_ERR_MEMORY;
  for (int i = 0; i < loss->sum.n && status == MICA_OK; i++) {
    loss->needs |= mica_spec_component(loss->sum.term[i])->needs;
    status = init(loss, i, node, shapes);
  }
  if (status != MICA_OK) {
    mica_loss_free(loss);
    return status;
  }
  *out = loss;
  return MICA_OK;
}

void mica_loss_free(mica_loss *loss) {
  if (!loss) return;
  mica_spec_sum_free(&loss->sum);
  mica_free(loss->node);
  mica_free(loss);
}

uint32_t mica_loss_needs(const mica_loss *loss) {
  return loss->needs;
}

mica_status mica_loss_check(const mica_loss *loss, uint32_t provided) {
  for (int i = 0; i < loss->sum.n; i++) {
    const mica_component *c = mica_spec_component(loss->sum.term[i]);
    char text[128];
    if (c->needs & ~provided)
      return mica_fail(MICA_ERR_INVALID, "loss %s needs %s", c->name,
                       mica_needs_text(c->needs & ~provided, text, sizeof text));
  }
  return MICA_OK;
}

/* Those of the needs that the inputs do not meet. */
static uint32_t missing(uint32_t needs, const mica_loss_inputs *in) {
  const struct {
    uint32_t bit;
    mica_var v;
  } pairs[] = {{MICA_NEED_LOGITS, in->logits},   {MICA_NEED_FEATURES, in->features},
               {MICA_NEED_LABELS, in->labels},   {MICA_NEED_IDS, in->ids},
               {MICA_NEED_TARGETS, in->targets}, {MICA_NEED_MASK, in->mask},
               {MICA_NEED_PAIRS, in->logits},    {MICA_NEED_CLASS_MEANS, in->class_means},
               {MICA_NEED_PYRAMID, in->map}};
  uint32_t without = needs & ~(uint32_t)MICA_NEED_TEACHER;
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
    if (!mica_is_none(pairs[i].v)) without &= ~pairs[i].bit;
  /* A teacher of other classes has none to compare with. */
  if (needs & MICA_NEED_TEACHER && needs & MICA_NEED_LOGITS && mica_is_none(in->teacher_logits))
    without |= MICA_NEED_TEACHER | MICA_NEED_LOGITS;
  if (in->taps) without &= ~(uint32_t)MICA_NEED_TAPS;
  if (in->params) without &= ~(uint32_t)MICA_NEED_FACTORS; /* the loss itself looks for them */
  if (needs & MICA_NEED_TEACHER && mica_is_none(in->teacher_logits) &&
      mica_is_none(in->teacher_features))
    without |= MICA_NEED_TEACHER;
  return without;
}

mica_var mica_loss_forward(mica_tape *t, const mica_loss *loss, const mica_loss_inputs *in) {
  mica_var total = MICA_NONE;
  mica_scope_begin(t, "loss");
  for (int i = 0; i < loss->sum.n && mica_ok(t); i++) {
    const mica_component *c = mica_spec_component(loss->sum.term[i]);
    const mica_loss_functions *f = c->functions;
    const uint32_t without = missing(c->needs, in);
    if (without) {
      char text[128];
      mica_latch(t, MICA_ERR_INVALID, "loss %s needs %s", c->name,
                 mica_needs_text(without, text, sizeof text));
      break;
    }
    mica_var term = f->forward(t, loss->node[i], mica_spec_options(loss->sum.term[i]), in);
    if (loss->sum.weight[i] != 1) term = mica_affine(t, term, loss->sum.weight[i], 0);
    total = i ? mica_add(t, total, term) : term;
  }
  return mica_scope_end(t, total);
}
