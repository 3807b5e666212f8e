/* Prototypical networks (Snell, Swersky & Zemel 2017): in each batch some examples of a class are
 * its mean, and the others are classified by their distances to the means. */
#include <mica/loss.h>

#include <stdlib.h>

typedef mica_prototypical_options options;

/* What a batch is made into: supports, class by class, and questions with their class's number. */
typedef struct episode {
  int64_t *support, *question, *answer, n_support, n_question, classes;
} episode;

typedef struct labelled {
  int64_t label, row;
} labelled;

static int by_label(const void *a, const void *b) {
  const labelled *x = a, *y = b;
  if (x->label != y->label) return x->label < y->label ? -1 : 1;
  return x->row < y->row ? -1 : 1;
}

/* Classes that have more than `shots` examples; the first of them in the batch are the mean. */
static void deal(episode *e, labelled *all, int64_t n, int64_t shots) {
  qsort(all, (size_t)n, sizeof *all, by_label);
  for (int64_t from = 0, to; from < n; from = to) {
    for (to = from + 1; to < n && all[to].label == all[from].label; to++) {
    }
    if (to - from <= shots) continue;
    for (int64_t i = from; i < from + shots; i++) e->support[e->n_support++] = all[i].row;
    for (int64_t i = from + shots; i < to; i++) {
      e->question[e->n_question] = all[i].row;
      e->answer[e->n_question++] = e->classes;
    }
    e->classes++;
  }
}

static mica_var ids(mica_tape *t, const int64_t *values, int64_t n) {
  const mica_view v = mica_view_of((void *)(uintptr_t)values, MICA_I64, MICA_SHAPE(n));
  return mica_constant(t, &v);
}

static mica_var loss_of(mica_tape *t, const options *o, const episode *e, mica_var x) {
  static const int shots_axis[] = {1};
  const int64_t d = mica_dim(t, x, 1);
  if (e->classes < 2) return mica_affine(t, mica_sum(t, x, 0, NULL, false), 0, 0);
  const mica_var rows = mica_gather_rows(t, x, ids(t, e->support, e->n_support));
  const mica_var mean = mica_mean(t, mica_reshape(t, rows, MICA_SHAPE(e->classes, o->shots, d)), 1,
                                  shots_axis, false);
  const mica_var asked = mica_gather_rows(t, x, ids(t, e->question, e->n_question));
  const mica_var logits =
      o->metric ? mica_affine(t, mica_cosine_similarity(t, asked, mean, 1e-12), o->scale, 0)
                : mica_affine(t, mica_squared_distances(t, asked, mean), -o->scale, 0);
  return mica_cross_entropy(t, logits, ids(t, e->answer, e->n_question), MICA_NONE, NULL);
}

static mica_var forward(mica_tape *t, mica_node *node, const void *given,
                        const mica_loss_inputs *in) {
  (void)node;
  const options *o = given;
  char text[96];
  mica_scope_begin(t, NULL);
  const mica_view x = mica_read(t, in->features), y = mica_read(t, in->labels);
  if (mica_ok(t) && (x.shape.rank != 2 || y.dtype != MICA_I64 ||
                     mica_view_count(&y) != x.shape.dim[0] || !mica_view_contiguous(&y)))
    mica_latch(t, MICA_ERR_SHAPE,
               "loss prototypical reads features [N,D] and labels int64 [N], not %s",
               mica_shape_text(&y.shape, text, sizeof text));
  if (!mica_ok(t)) return mica_scope_end(t, MICA_NONE);
  const int64_t n = x.shape.dim[0];
  labelled *all = mica_calloc((size_t)n + 1, sizeof *all);
  int64_t *rows = mica_calloc(3 * (size_t)n + 1, sizeof *rows);
  mica_var y_out = MICA_NONE;
  if (all && rows) {
    episode e = {rows, rows + n, rows + 2 * n, 0, 0, 0};
    for (int64_t i = 0; i < n; i++) all[i] = (labelled){((const int64_t *)y.data)[i], i};
    deal(&e, all, n, o->shots);
    y_out = loss_of(t, o, &e, in->features);
  } else {
    mica_latch(t, MICA_ERR_MEMORY, "prototypical: out of memory");
  }
  mica_free(all);
  mica_free(rows);
  return mica_scope_end(t, y_out);
}

static const mica_option table[] = {
    {"shots", MICA_OPTION_INT, "1", 1, 1 << 20, NULL,
     "examples of a class that are its mean; the others are asked", offsetof(options, shots)},
    {"metric", MICA_OPTION_CHOICE, "euclidean", 0, 0, "euclidean|cosine",
     "minus the squared distance, or the cosine", offsetof(options, metric)},
    {"scale", MICA_OPTION_FLOAT, "1", 1e-6, 1e6, NULL, "of that", offsetof(options, scale)},
    {0}};

static const mica_loss_functions functions = {.forward = forward};

extern const mica_component mica_component_loss_prototypical;
const mica_component mica_component_loss_prototypical = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_LOSS,
    "prototypical",
    "examples against the class means of others in the batch",
    "hyperspherical",
    table,
    sizeof(options),
    MICA_NEED_FEATURES | MICA_NEED_LABELS,
    0,
    &functions};
