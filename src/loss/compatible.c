/* Losses that keep an embedding compatible with an older one's: classification by the older class
 * means, and the cosine with given features.
 */
#include <mica/loss.h>

/* What an older index is asked with: what the head says, else the first features. */
static mica_var old_part(mica_tape *t, const mica_loss_inputs *in, int64_t width) {
  const int64_t own = mica_is_none(in->part[0]) ? width : mica_dim(t, in->part[0], 1);
  if (mica_ok(t) && own != width)
    return mica_latch(t, MICA_ERR_SHAPE,
                      "the head has %lld features for the older index (old=%lld), the older "
                      "embedding has %lld",
                      (long long)own, (long long)own, (long long)width);
  if (!mica_is_none(in->part[0])) return in->part[0];
  if (mica_dim(t, in->features, 1) < width)
    return mica_latch(t, MICA_ERR_SHAPE, "%lld features are fewer than the older embedding's %lld",
                      (long long)mica_dim(t, in->features, 1), (long long)width);
  return mica_slice(t, in->features, 1, 0, width);
}

/* Cross-entropy of <b / |b|, mean of the class>: no temperature, and the means as they are (Shen et
 * al. 2020). */
static mica_var influence(mica_tape *t, mica_node *node, const void *options,
                          const mica_loss_inputs *in) {
  (void)node, (void)options;
  mica_var b = old_part(t, in, mica_dim(t, in->class_means, 1));
  b = mica_l2_normalise(t, b, 1e-12);
  const mica_var logits = mica_linear(t, b, in->class_means, MICA_NONE, MICA_IDENTITY);
  return mica_cross_entropy(t, logits, in->labels, MICA_NONE, NULL);
}

typedef struct align_options {
  uint32_t size;
  int32_t to;
} align_options;

/* 1 - the mean cosine. */
static mica_var align(mica_tape *t, mica_node *node, const void *options,
                      const mica_loss_inputs *in) {
  (void)node;
  const bool new_ = ((const align_options *)options)->to == 1;
  const mica_var given = new_ ? in->guide_features : in->teacher_features;
  if (mica_is_none(given))
    return mica_latch(t, MICA_ERR_INVALID, "loss align: there are no %s features",
                      new_ ? "independent new" : "old");
  mica_var x = new_ ? in->part[1] : old_part(t, in, mica_dim(t, given, 1));
  if (mica_is_none(x)) x = in->features;
  const int64_t own = mica_dim(t, x, 1), other = mica_dim(t, given, 1);
  if (mica_ok(t) && own != other)
    return mica_latch(t, MICA_ERR_SHAPE,
                      "loss align: %lld features beside the %s model's %lld; head bt2 compares as "
                      "many as the network has less old",
                      (long long)own, new_ ? "independent" : "older", (long long)other);
  x = mica_mul(t, mica_l2_normalise(t, x, 1e-12), mica_l2_normalise(t, given, 1e-12));
  x = mica_mean(t, mica_sum(t, x, 1, (int[]){1}, false), 0, NULL, false);
  return mica_affine(t, x, -1, 1);
}

static const mica_option none[] = {{0}};
typedef struct no_options {
  uint32_t size;
} no_options;
static const mica_option align_table[] = {
    {"to", MICA_OPTION_CHOICE, "old", 0, 0, "old|new",
     "features of the older model, or of an independent new one", offsetof(align_options, to)},
    {0}};

static const mica_loss_functions influence_functions = {NULL, influence, NULL},
                                 align_functions = {NULL, align, NULL};

const mica_component mica_component_loss_influence = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_LOSS,
    "influence",
    "classify by the class means of an older model",
    "backward-compatible",
    none,
    sizeof(no_options),
    MICA_NEED_FEATURES | MICA_NEED_LABELS | MICA_NEED_TEACHER | MICA_NEED_CLASS_MEANS,
    0,
    &influence_functions};
const mica_component mica_component_loss_align = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_LOSS,
    "align",
    "1 - the cosine with an older, or an independent, model's features",
    "backward-compatible",
    align_table,
    sizeof(align_options),
    MICA_NEED_FEATURES | MICA_NEED_TEACHER,
    0,
    &align_functions};
