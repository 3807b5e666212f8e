/* The contrastive loss of CLIP (Radford et al. 2021, figure 3): each image against all texts of the
 * batch, and each text against all images. */
#include <mica/loss.h>

typedef struct plain_options {
  uint32_t size;
} plain_options;

static mica_var forward(mica_tape *t, mica_node *node, const void *options,
                        const mica_loss_inputs *in) {
  (void)node, (void)options;
  char text[128];
  mica_scope_begin(t, NULL);
  const mica_view logits = mica_read(t, in->logits);
  const int64_t n = mica_ok(t) && logits.shape.rank == 2 ? logits.shape.dim[0] : -1;
  if (mica_ok(t) && (n < 0 || logits.shape.dim[1] != n))
    mica_latch(t, MICA_ERR_SHAPE, "loss clip reads similarities [N,N] of N pairs, not %s",
               mica_shape_text(&logits.shape, text, sizeof text));
  mica_var own = mica_full(t, MICA_I64, MICA_SHAPE(n < 0 ? 0 : n), 0);
  const mica_view id = mica_read(t, own);
  for (int64_t i = 0; i < n && mica_ok(t); i++) ((int64_t *)id.data)[i] = i;
  const mica_var rows = mica_cross_entropy(t, in->logits, own, MICA_NONE, NULL);
  const mica_var columns =
      mica_cross_entropy(t, mica_transpose(t, in->logits, 0, 1), own, MICA_NONE, NULL);
  return mica_scope_end(t, mica_affine(t, mica_add(t, rows, columns), 0.5, 0));
}

static const mica_option none[] = {{0}};

static const mica_loss_functions functions = {.forward = forward};

const mica_component mica_component_loss_clip = {MICA_COMPONENT_HEAD,
                                                 MICA_KIND_LOSS,
                                                 "clip",
                                                 "each image against all texts, and the reverse",
                                                 NULL,
                                                 none,
                                                 sizeof(plain_options),
                                                 MICA_NEED_LOGITS | MICA_NEED_PAIRS,
                                                 0,
                                                 &functions};
