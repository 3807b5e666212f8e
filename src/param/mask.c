/* Masks of elements: which of an entry's elements are trained. */
#include "param/rules.h"
#include "param/tree.h"

#include <string.h>

mica_status mica_param_set_mask(mica_param *q, const mica_view *mask) {
  mica_tensor *fresh = NULL;
  int64_t n = 0;
  if (mask) {
    if ((mask->dtype != MICA_BOOL && mask->dtype != MICA_U8) || !mask->data ||
        !mica_view_contiguous(mask) ||
        !mica_shape_equal(&mask->shape, mica_tensor_shape(q->value))) {
      char is[128], want[128];
      return mica_fail(MICA_ERR_SHAPE,
                       "the mask of '%s' is %s %s, expected bool or uint8 %s, contiguous", q->path,
                       mica_dtype_name(mask->dtype), mica_shape_text(&mask->shape, is, sizeof is),
                       mica_shape_text(mica_tensor_shape(q->value), want, sizeof want));
    }
    const mica_status status = mica_tensor_create(MICA_BOOL, mask->shape, &fresh);
    if (status != MICA_OK) return status;
    const uint8_t *from = mask->data;
    uint8_t *to = mica_tensor_data(fresh);
    for (int64_t i = 0; i < mica_tensor_count(fresh); i++) n += to[i] = from[i] != 0;
  }
  mica_tensor_free(q->mask);
  q->mask = fresh;
  q->unmasked = n;
  return MICA_OK;
}

const mica_tensor *mica_param_mask(const mica_param *q) {
  return q->mask;
}

/* ---- gradients ---- */

static void clear_f32(float *g, const uint8_t *mask, int64_t n) {
  for (int64_t i = 0; i < n; i++) g[i] = mask[i] ? g[i] : 0;
}
static void clear_f64(double *g, const uint8_t *mask, int64_t n) {
  for (int64_t i = 0; i < n; i++) g[i] = mask[i] ? g[i] : 0;
}
static void clear(const mica_param *q, void *gradient, int64_t at, int64_t from, int64_t n) {
  const uint8_t *mask = (const uint8_t *)mica_tensor_data(q->mask) + from;
  if (mica_tensor_dtype(q->value) == MICA_F32)
    clear_f32((float *)gradient + at, mask, n);
  else
    clear_f64((double *)gradient + at, mask, n);
}

void mica_param_mask_grad(mica_param *q) {
  if (!q->mask) return;
  const int64_t n = mica_tensor_count(q->value);
  if (q->grad_kind == MICA_GRAD_DENSE) clear(q, q->dense, 0, 0, n);
  if (q->grad_kind != MICA_GRAD_ROWS || !q->n_rows) return;
  const int64_t width = n / mica_tensor_dim(q->value, 0);
  for (int64_t i = 0; i < q->n_rows; i++) clear(q, q->rows, i * width, q->ids[i] * width, width);
}

/* ---- masks by rules ---- */

static mica_status make(mica_param *q, const mica_rule *rule, mica_key key) {
  const mica_mask_functions *f = rule->functions;
  mica_tensor *mask;
  mica_status status = mica_tensor_create(MICA_BOOL, *mica_tensor_shape(q->value), &mask);
  if (status != MICA_OK) return status;
  memset(mica_tensor_data(mask), 0, (size_t)mica_tensor_count(mask));
  status = f->make(rule->options, q, mica_key_fold_name(key, q->path), mica_tensor_data(mask));
  const mica_view view = mica_tensor_view(mask);
  if (status == MICA_OK) status = mica_param_set_mask(q, &view);
  mica_tensor_free(mask);
  return status;
}

mica_status mica_params_mask(mica_params *p, const char *text, uint64_t seed, int64_t *elements) {
  mica_rules rules;
  mica_status status = mica_rules_parse(p, MICA_KIND_MASK, text, &rules);
  if (status != MICA_OK) return status;
  const mica_key key = mica_key_fold_name(mica_key_seed(seed), "mask");
  int64_t n = 0, entries = 0;
  for (int64_t i = 0; i < p->n && status == MICA_OK; i++) {
    mica_param *q = p->param[i];
    const mica_rule *rule = mica_rules_find(&rules, q);
    if (!rule || !(q->flags & MICA_PARAM_TRAINABLE) || q->flags & MICA_PARAM_BUFFER) continue;
    status = make(q, rule, key);
    n += q->unmasked;
    entries++;
  }
  mica_rules_free(&rules);
  if (status == MICA_OK && !entries)
    status =
        mica_fail(MICA_ERR_NOT_FOUND, "mask: '%.200s' is for no parameter that is trained", text);
  if (elements) *elements = n;
  return status;
}

/* ---- pruning ---- */

/* What is outside the mask becomes zero, of either sign and of what was no number. */
static void clear_value(mica_param *q) {
  const uint8_t *mask = mica_tensor_data(q->mask);
  void *value = mica_param_write(q);
  const int64_t n = mica_tensor_count(q->value);
  if (mica_tensor_dtype(q->value) == MICA_F32)
    clear_f32(value, mask, n);
  else
    clear_f64(value, mask, n);
}

mica_status mica_params_prune(mica_params *p, const char *text, uint64_t seed, int64_t *kept,
                              int64_t *of) {
  mica_rules rules;
  mica_status status = mica_rules_parse(p, MICA_KIND_MASK, text, &rules);
  if (status != MICA_OK) return status;
  const mica_key key = mica_key_fold_name(mica_key_seed(seed), "mask");
  int64_t n = 0, all = 0;
  for (int64_t i = 0; i < p->n && status == MICA_OK; i++) {
    mica_param *q = p->param[i];
    const mica_rule *rule = mica_rules_find(&rules, q);
    if (!rule || q->flags & MICA_PARAM_BUFFER || mica_tensor_shape(q->value)->rank < 2) continue;
    status = make(q, rule, key);
    if (status == MICA_OK) clear_value(q);
    n += q->unmasked;
    all += mica_tensor_count(q->value);
  }
  mica_rules_free(&rules);
  if (status == MICA_OK && !all)
    status = mica_fail(MICA_ERR_NOT_FOUND, "prune: '%.200s' is for no matrix and no kernel", text);
  if (kept) *kept = n;
  if (of) *of = all;
  return status;
}

mica_status mica_params_unmask(mica_params *p, const char *selection) {
  mica_status status = mica_params_select(p, selection, NULL, NULL);
  for (int64_t i = 0; i < p->n && status == MICA_OK; i++)
    if (mica_param_selected(p->param[i], selection))
      status = mica_param_set_mask(p->param[i], NULL);
  return status;
}
