/* Phrase lists to prompts, and prompts' embeddings to scores: `descriptors` and `prompts` are JSON
 * in the metadata, the rest are embeddings. */
#include "adapter.h"

#include <stdlib.h>
#include <string.h>

static double *room(golden *g, int64_t n) {
  double *v = calloc((size_t)n + 1, sizeof *v);
  if (!v) golden_fail(g, "out of memory");
  return v;
}

static mica_phrases *read(golden *g, const char *key) {
  mica_phrases *p;
  const char *text = golden_text(g, key, "{}");
  golden_need(g, mica_phrases_parse(text, strlen(text), &p));
  return p;
}

/* The prompts are those of the file, letter by letter and class by class. */
static void check_prompts(golden *g) {
  mica_phrases *given = read(g, "descriptors"), *expected = read(g, "prompts");
  mica_zero_shot_options o = MICA_ZERO_SHOT_OPTIONS;
  mica_prompts got;
  o.between = golden_text(g, "between_text", ", ");
  o.after = golden_text(g, "after_text", "");
  golden_need(g, mica_zero_shot_prompts(&o, given, &got));
  int64_t at = 0;
  for (int64_t c = 0; c < mica_phrases_classes(expected); c++) {
    if (strcmp(mica_phrases_class(given, c), mica_phrases_class(expected, c)) != 0)
      golden_fail(g, "class %lld is %s", (long long)c, mica_phrases_class(given, c));
    for (int64_t j = 0; j < mica_phrases_count(expected, c); j++, at++)
      if (at >= got.n || got.label[at] != c ||
          strcmp(got.text[at], mica_phrases_phrase(expected, c, j)) != 0)
        golden_fail(g, "prompt %lld is \"%s\", expected \"%s\"", (long long)at,
                    at < got.n ? got.text[at] : "", mica_phrases_phrase(expected, c, j));
  }
  if (at != got.n) golden_fail(g, "%lld prompts, expected %lld", (long long)got.n, (long long)at);
  mica_prompts_free(&got);
  mica_phrases_free(given);
  mica_phrases_free(expected);
}

static mica_estimator *fit(golden *g, const char *spec, mica_view x, const int64_t *label,
                           int64_t classes) {
  mica_estimator *e;
  mica_fit_data data = MICA_FIT_DATA;
  data.x = x;
  data.label = label;
  data.classes = classes;
  golden_need(g, mica_estimator_create(golden_engine(g), spec, &e));
  golden_need(g, mica_estimator_fit(e, &data, NULL));
  return e;
}

static void scores(golden *g, const mica_estimator *e, const char *score, const char *label) {
  const mica_view x = golden_view(g, "in.image_embedding", MICA_F64);
  const int64_t n = golden_dim(g, "in.image_embedding", 0), c = mica_estimator_classes(e);
  mica_prediction p = MICA_PREDICTION;
  p.score = room(g, n * c);
  p.label = calloc((size_t)n + 1, sizeof *p.label);
  golden_need(g, mica_estimator_predict(e, &x, &p));
  golden_check(g, score, mica_view_of(p.score, MICA_F64, MICA_SHAPE(n, c)));
  golden_check_integers(g, label, p.label, n);
  free(p.label);
}

static void run(golden *g) {
  int64_t classes;
  const mica_view text = golden_view(g, "in.descriptor_embedding", MICA_F64);
  const mica_view name = golden_view(g, "in.label_embedding", MICA_F64);
  const mica_view x = golden_view(g, "in.image_embedding", MICA_F64);
  const int64_t n = golden_dim(g, "in.image_embedding", 0);
  const int64_t texts = golden_dim(g, "in.descriptor_embedding", 0);
  const int64_t *first = golden_integers(g, "in.class_offset", &classes);
  check_prompts(g);
  classes--;
  int64_t *label = calloc((size_t)(texts + classes) + 1, sizeof *label), *own = label + texts;
  for (int64_t c = 0; c < classes; c++) {
    own[c] = c;
    for (int64_t i = first[c]; i < first[c + 1]; i++) label[i] = c;
  }
  const mica_estimator *e = fit(g, "zero_shot", text, label, classes);
  double *each = room(g, n * texts);
  golden_need(g, mica_estimator_text_scores(e, &x, each));
  golden_check(g, "out.descriptor_similarity",
               mica_view_of(each, MICA_F64, MICA_SHAPE(n, texts)));
  scores(g, e, "out.class_score_mean", "out.pred_mean");
  e = fit(g, "zero_shot:aggregate=max", text, label, classes);
  scores(g, e, "out.class_score_max", "out.pred_max");
  e = fit(g, "zero_shot:aggregate=sum", text, label, classes);
  scores(g, e, "out.class_score_sum", "out.pred_sum");
  scores(g, fit(g, "zero_shot:mode=name", name, own, classes), "out.label_score",
         "out.label_pred");
  free(label);
}

const golden_adapter golden_adapter_classify_by_description = {"classify-by-description", 1e-6,
                                                               run};
