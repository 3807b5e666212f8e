/* norm-direction-distillation: the losses nd, kd and dkd on given features and logits, with the
 * gradients of the student's.
 */
#include "adapter.h"

#include <stdio.h>

typedef struct given {
  golden *g;
  mica_params *params;
  mica_tape *tape;
} given;

/* weight times the loss `spec` in *out, and its gradient with respect to a student's input. */
static void check(given *c, const char *spec, const char *input, const char *value,
                  const char *gradient) {
  golden *g = c->g;
  mica_tape *t = c->tape;
  mica_loss *loss;
  const mica_loss_shapes shapes = {.size = sizeof shapes,
                                   .classes = golden_dim(g, "in.student_logits", 1),
                                   .features = golden_dim(g, "in.student_features", 1),
                                   .teacher_features = golden_dim(g, "in.teacher_features", 1)};
  golden_need(g, mica_loss_create_with(golden_engine(g), spec, mica_params_root(c->params), &shapes,
                                       &loss));
  mica_tape_reset(t);
  mica_set_training(t, true);
  mica_loss_inputs in = {
      .features = mica_leaf(t, golden_tensor(g, "in.student_features", MICA_F64)),
      .logits = mica_leaf(t, golden_tensor(g, "in.student_logits", MICA_F64)),
      .teacher_features = mica_input(t, golden_tensor(g, "in.teacher_features", MICA_F64)),
      .teacher_logits = mica_input(t, golden_tensor(g, "in.teacher_logits", MICA_F64)),
      .class_means = mica_input(t, golden_tensor(g, "in.class_means", MICA_F64)),
      .labels = mica_input(t, golden_tensor(g, "in.labels", MICA_I64))};
  const mica_var y = mica_loss_forward(t, loss, &in);
  golden_need_tape(g, t);
  golden_check_var(g, value, t, y);
  golden_need(g, mica_backward(t, y));
  golden_check_var(g, gradient, t,
                   mica_gradient(t, input[0] == 'f' ? in.features : in.logits));
  mica_loss_free(loss);
}

static void run(golden *g) {
  given c = {.g = g};
  char spec[160];
  const double t = golden_number(g, "temperature", 4);
  golden_need(g, mica_params_create(golden_engine(g), 0, &c.params));
  golden_need(g, mica_tape_create(golden_engine(g), NULL, &c.tape));
  snprintf(spec, sizeof spec, "%.17g*nd", golden_number(g, "nd_weight", 1));
  check(&c, spec, "features", "out.nd_loss", "grad.student_features");
  snprintf(spec, sizeof spec, "%.17g*kd:T=%.17g", golden_number(g, "kd_weight", 1), t);
  check(&c, spec, "logits", "out.kd_loss", "grad.student_logits_kd");
  snprintf(spec, sizeof spec, "dkd:T=%.17g:alpha=%.17g:beta=%.17g", t,
           golden_number(g, "dkd_alpha", 1), golden_number(g, "dkd_beta", 1));
  check(&c, spec, "logits", "out.dkd_loss", "grad.student_logits_dkd");
}

const golden_adapter golden_adapter_norm_direction_distillation = {"norm-direction-distillation",
                                                                   1e-5, run};
