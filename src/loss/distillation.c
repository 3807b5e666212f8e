/* Knowledge distillation (Hinton, Vinyals & Dean 2015): T^2 KL(softmax(teacher/T) ||
 * softmax(logits/T)). */
#include <mica/loss.h>

static mica_var forward(mica_tape *t, mica_node *node, const void *options,
                        const mica_loss_inputs *in) {
  (void)node;
  const mica_kd_options *o = options;
  mica_var p = mica_softmax(t, mica_affine(t, in->teacher_logits, 1 / o->t, 0), -1);
  mica_var log_q = mica_log_softmax(t, mica_affine(t, in->logits, 1 / o->t, 0), -1);
  return mica_affine(t, mica_kl(t, log_q, p), o->t * o->t, 0);
}

static const mica_option options[] = {
    {"T", MICA_OPTION_FLOAT, "4", 1e-3, 1e3, NULL, "temperature", offsetof(mica_kd_options, t)},
    {0}};

static const mica_loss_functions functions = {NULL, forward};

const mica_component mica_component_loss_kd = {MICA_COMPONENT_HEAD,
                                               MICA_KIND_LOSS,
                                               "kd",
                                               "distillation of a teacher's softened logits",
                                               NULL,
                                               options,
                                               sizeof(mica_kd_options),
                                               MICA_NEED_LOGITS | MICA_NEED_TEACHER,
                                               0,
                                               &functions};
