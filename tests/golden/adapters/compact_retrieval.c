/* compact-retrieval: MadaCos, and the triplet loss of matched local descriptors. */
#include "adapter.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void check_madacos(golden *g) {
  const mica_dtype dtype = mica_tensor_dtype(golden_tensor(g, "in.features", MICA_DTYPE_COUNT));
  mica_cosine_options o = MICA_COSINE_OPTIONS;
  o.kind = MICA_COSINE_MADACOS;
  o.alpha = golden_number(g, "alpha", 0.02);
  mica_tape *t;
  golden_need(g, mica_tape_create(golden_engine(g), NULL, &t));
  mica_set_training(t, strcmp(golden_text(g, "mode", "train"), "train") == 0);
  const mica_var x = mica_leaf(t, golden_tensor(g, "in.features", dtype));
  const mica_var w = mica_leaf(t, golden_tensor(g, "param.weight", dtype));
  const mica_var labels = mica_input(t, golden_tensor(g, "in.labels", MICA_I64));
  mica_cosine_state state = mica_cosine_state_begin(&o, golden_dim(g, "param.weight", 0));
  const mica_var logits = mica_cosine_logits(t, x, w, labels, &o, &state);
  const mica_var loss = mica_cross_entropy(t, logits, labels, MICA_NONE, NULL);
  golden_check_var(g, "out.logits", t, logits);
  golden_check_var(g, "out.loss", t, loss);
  golden_need(g, mica_backward(t, loss));
  golden_check_var(g, "grad.features", t, mica_gradient(t, x));
  golden_check_var(g, "grad.weight", t, mica_gradient(t, w));
  const double others = exp(state.log_others);
  golden_check_doubles(g, "out.scale", &state.scale, 1);
  golden_check_doubles(g, "out.margin", &state.margin, 1);
  golden_check_doubles(g, "out.median_cos", &state.median, 1);
  golden_check_doubles(g, "out.B", &others, 1);
}

static void check_local_triplet(golden *g) {
  const mica_view x = golden_view(g, "in.local_features", MICA_F32);
  const mica_view a = golden_view(g, "in.attention", MICA_F32);
  const int64_t n = x.shape.dim[0], k = x.shape.dim[1], d = x.shape.dim[2];
  mica_local_triplet_options o = MICA_LOCAL_TRIPLET_OPTIONS;
  o.tuple = n;
  o.margin = golden_number(g, "margin", 0.1);
  o.ratio = golden_number(g, "lowe_ratio", 0.9);
  mica_tape *t;
  golden_need(g, mica_tape_create(golden_engine(g), NULL, &t));
  const mica_var local = mica_leaf(t, golden_tensor(g, "in.local_features", MICA_F32));
  const mica_var attention = mica_input(t, golden_tensor(g, "in.attention", MICA_F32));
  const mica_var loss = mica_affine(t, mica_local_triplet(t, local, attention, &o),
                                    golden_number(g, "weight", 1), 0);
  golden_check_var(g, "out.loss", t, loss);
  golden_need(g, mica_backward(t, loss));
  golden_check_var(g, "grad.local_features", t, mica_gradient(t, local));
  /* The matches: the half of the positive's places with more attention than half of the others. */
  const float *attended = (const float *)a.data + k;
  bool *keep = calloc((size_t)k, sizeof *keep);
  int64_t *q = calloc((size_t)k, sizeof *q), *p = calloc((size_t)k, sizeof *p);
  if (!keep || !q || !p) golden_fail(g, "out of memory");
  for (int64_t j = 0; j < k; j++) {
    int64_t more = 0;
    for (int64_t i = 0; i < k; i++)
      more += attended[i] > attended[j] || (attended[i] == attended[j] && i < j);
    keep[j] = more < k / 2;
  }
  const mica_var unit = mica_l2_normalise(t, mica_borrow(t, &x), 1e-12);
  float *rows = mica_read(t, unit).data;
  golden_need_tape(g, t);
  const mica_view query = mica_view_of(rows, MICA_F32, MICA_SHAPE(k, d));
  const mica_view positive = mica_view_of(rows + k * d, MICA_F32, MICA_SHAPE(k, d));
  const int64_t found = mica_mutual_matches(&query, &positive, o.ratio, keep, q, p);
  golden_check_integers(g, "out.query_index", q, found);
  golden_check_integers(g, "out.positive_index", p, found);
}

static void run(golden *g) {
  if (golden_has(g, "in.local_features"))
    check_local_triplet(g);
  else
    check_madacos(g);
}

const golden_adapter golden_adapter_compact_retrieval = {"compact-retrieval", 1e-5, run};
