/* What click models share: the problem they are for, first-order weights, and one score as logits.
 */
#ifndef MICA_MODEL_CLICK_H
#define MICA_MODEL_CLICK_H

#include <mica/embedding.h>
#include <mica/model.h>

/* Two classes, one output, or none (features only); and fields. */
mica_status mica_click_check(const mica_problem *task, const char *model);
/* The bias of each output, "bias"; a network for features only has none. */
mica_status mica_click_bias_init(mica_node *root, const mica_problem *task);
/* Logits of a score z [N,1]: z, or 0 and z for two classes, plus the biases. MICA_NONE where there
 * are none. */
mica_var mica_click_logits(mica_tape *t, mica_node *root, mica_var z);

/* First-order weights "linear": each value's, and each column's times its number. */
mica_status mica_click_linear_init(mica_node *root, const mica_problem *task);
mica_var mica_click_linear(mica_tape *t, mica_node *root, const mica_inputs *in); /* [N,1] */

/* Vectors "embedding", [N, fields + columns, dim]; those of the fields from a table of this text
 * (mica/embedding.h), NULL: a row for each value. */
mica_status mica_click_embedding_init(mica_node *root, const mica_problem *task, int64_t dim,
                                      const char *table);
mica_var mica_click_embedding(mica_tape *t, mica_node *root, const mica_inputs *in);

/* The scalar on top of features [N, width]: linear layer "head" without bias. */
mica_status mica_click_head_init(mica_node *root, int64_t width);
mica_var mica_click_head(mica_tape *t, mica_node *root, mica_var features);

static inline int64_t mica_click_width(const mica_ints *widths, int64_t otherwise) {
  return widths->n ? widths->v[widths->n - 1] : otherwise;
}

/* No layer that another class count could replace. */
const char *mica_click_no_head(const void *options);

#define MICA_CLICK_TABLE(type)                                                                     \
  {                                                                                                \
    "table", MICA_OPTION_SPEC, NULL, 0, 0, NULL,                                                   \
        "how the fields' vectors are kept (mica list embedding); a row for each value where it "   \
        "is not given",                                                                            \
        offsetof(type, table)                                                                      \
  }
#define MICA_CLICK_COMPONENT(symbol, name, summary, options)                                       \
  const mica_component mica_component_model_##symbol = {MICA_COMPONENT_HEAD,                       \
                                                        MICA_KIND_MODEL,                           \
                                                        name,                                      \
                                                        summary,                                   \
                                                        NULL,                                      \
                                                        options,                                   \
                                                        sizeof(mica_##symbol##_options),           \
                                                        MICA_NEED_FIELDS,                          \
                                                        MICA_NEED_LOGITS | MICA_NEED_FEATURES,     \
                                                        &functions}

#endif
