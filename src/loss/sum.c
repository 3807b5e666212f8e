/* A weighted sum of losses, parsed from text, each with its own parameters. */
#include <mica/loss.h>

#include <stdio.h>
#include <string.h>

struct mica_loss {
  mica_spec_sum sum;
  mica_node **node;
  uint32_t needs;
};

mica_status mica_loss_create(mica_engine *engine, const char *text, mica_node *node,
                             int64_t classes, int64_t features, mica_loss **out) {
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
    const mica_component *c = mica_spec_component(loss->sum.term[i]);
    const mica_loss_functions *f = c->functions;
    loss->needs |= c->needs;
    if (!f->init) continue;
    loss->node[i] = mica_node_childf(node, "loss.%d", i);
    status = loss->node[i]
                 ? f->init(loss->node[i], mica_spec_options(loss->sum.term[i]), classes, features)
                 : mica_last_status();
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

/* The name of the first input that a loss needs and does not get, NULL when all are there. */
static const char *missing(uint32_t needs, const mica_loss_inputs *in) {
  if (needs & MICA_NEED_LOGITS && mica_is_none(in->logits)) return "logits";
  if (needs & MICA_NEED_FEATURES && mica_is_none(in->features)) return "features";
  if (needs & MICA_NEED_LABELS && mica_is_none(in->labels)) return "labels";
  if (needs & MICA_NEED_IDS && mica_is_none(in->ids)) return "ids";
  if (needs & MICA_NEED_MASK && mica_is_none(in->mask)) return "a mask";
  if (needs & MICA_NEED_TEACHER && mica_is_none(in->teacher_logits)) return "a teacher";
  return NULL;
}

mica_var mica_loss_forward(mica_tape *t, const mica_loss *loss, const mica_loss_inputs *in) {
  mica_var total = MICA_NONE;
  mica_scope_begin(t, "loss");
  for (int i = 0; i < loss->sum.n && mica_ok(t); i++) {
    const mica_component *c = mica_spec_component(loss->sum.term[i]);
    const mica_loss_functions *f = c->functions;
    const char *what = missing(c->needs, in);
    if (what) {
      mica_latch(t, MICA_ERR_INVALID, "loss %s needs %s", c->name, what);
      break;
    }
    mica_var term = f->forward(t, loss->node[i], mica_spec_options(loss->sum.term[i]), in);
    if (loss->sum.weight[i] != 1) term = mica_affine(t, term, loss->sum.weight[i], 0);
    total = i ? mica_add(t, total, term) : term;
  }
  return mica_scope_end(t, total);
}
