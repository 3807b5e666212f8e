/* mica/zero_shot.h: classes that are known by texts alone.
 *
 * A *phrase list* gives each class its phrases, in an order; as JSON {"class": ["phrase", ...]}. A
 * prompt is the text that is made of a class's name and a phrase. The estimator `zero_shot` holds
 * the embeddings of prompts and scores a row by its cosines to those of each class, so every answer
 * comes with the phrases that it rests on. A model of pictures and texts makes one from a phrase
 * list (mica_model_zero_shot) and takes new phrases while other threads predict.
 *
 * Descriptions instead of names, the forms of prompts: Menon and Vondrick 2023, whose rule for
 * joining name and phrase is `rule=original`. Templates: Radford et al. 2021.
 */
#ifndef MICA_ZERO_SHOT_H
#define MICA_ZERO_SHOT_H

#include <mica/feature.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- phrase lists ---- */

typedef struct mica_phrases mica_phrases;

/* No classes yet; the caller frees it. */
MICA_API mica_status mica_phrases_create(mica_phrases **out);
/* NULL does nothing. */
MICA_API void mica_phrases_free(mica_phrases *phrases);
/* From JSON text of n bytes, an object of arrays of texts; classes keep its order. MICA_ERR_FORMAT
 * names the class that is not as expected. */
MICA_API mica_status mica_phrases_parse(const char *json, size_t n, mica_phrases **out);
/* The same of a file of at most 64 MB, and back: written under a temporary name, then renamed. */
MICA_API mica_status mica_phrases_read(const char *path, mica_phrases **out);
MICA_API mica_status mica_phrases_write(const mica_phrases *phrases, const char *path);
/* As JSON text; release with mica_free. */
MICA_API mica_status mica_phrases_text(const mica_phrases *phrases, char **json);

/* The number of classes; the name of class i, NULL out of range; the number of its phrases, 0 out
 * of range; phrase j of class i, NULL out of range. Texts are borrowed until the list changes. */
MICA_API int64_t mica_phrases_classes(const mica_phrases *phrases);
MICA_API const char *mica_phrases_class(const mica_phrases *phrases, int64_t i);
MICA_API int64_t mica_phrases_count(const mica_phrases *phrases, int64_t i);
MICA_API const char *mica_phrases_phrase(const mica_phrases *phrases, int64_t i, int64_t j);
/* The class of that name, -1 when there is none. */
MICA_API int64_t mica_phrases_find(const mica_phrases *phrases, const char *name);

/* Give a class these n phrases, in place of those it has; a name that is new becomes the last
 * class. On error nothing has changed. */
MICA_API mica_status mica_phrases_set(mica_phrases *phrases, const char *name, int64_t n,
                                      const char *const *phrase);
/* One more phrase of a class, which may be new. */
MICA_API mica_status mica_phrases_add(mica_phrases *phrases, const char *name, const char *phrase);
/* Every class of `edits` with its phrases, as mica_phrases_set. */
MICA_API mica_status mica_phrases_override(mica_phrases *phrases, const mica_phrases *edits);
/* The phrases in a language model's answer, which become those of the class: lines that begin with
 * "- ", without it; other lines are passed over. *found (may be NULL): how many. */
MICA_API mica_status mica_phrases_answer(mica_phrases *phrases, const char *name,
                                         const char *answer, int64_t *found);
/* What to ask a language model about a class so that it answers in that form; release with
 * mica_free. The library itself never asks one. */
MICA_API mica_status mica_phrases_question(const char *name, char **out);

/* What a gain must be compared with. */
typedef enum mica_phrase_control {
  MICA_PHRASES_SHUFFLED, /* each class has another one's phrases (from two classes on) */
  MICA_PHRASES_RANDOM,   /* as many as it had, drawn from all phrases */
  MICA_PHRASES_WORDS,    /* as many, each of as many words, drawn from all words */
  MICA_PHRASES_NONE      /* no phrases: the name alone */
} mica_phrase_control;
/* A list of the same classes, drawn by the key; the caller frees it. */
MICA_API mica_status mica_phrases_control_list(const mica_phrases *phrases,
                                               mica_phrase_control control, mica_key key,
                                               mica_phrases **out);
/* The first `most` phrases of each class; the caller frees it. */
MICA_API mica_status mica_phrases_first(const mica_phrases *phrases, int64_t most,
                                        mica_phrases **out);

/* ---- prompts ---- */

/* Options of the estimator `zero_shot`. `mode`: what a class's texts are. name: the name alone.
 * templates: 80 sentences around the name (CLIP's), whose vectors are averaged and scaled to length
 * 1. descriptions: a text for each phrase, whose scores are aggregated; a class without phrases has
 * one, the empty one. */
typedef struct mica_zero_shot_options {
  uint32_t size;
  int32_t mode;       /* descriptions | name | templates */
  int32_t aggregate;  /* mean | max | sum of a class's scores */
  int32_t form;       /* prepend (name, phrase) | append (phrase, name) | none (the phrase) */
  int32_t rule;       /* original: by the phrase's first letters, "a" too | word: by whole words */
  bool modify;        /* put "which is", "which" or "which has" before a phrase */
  const char *before; /* texts before and after all, and between name and phrase */
  const char *between, *after;
  double scale; /* of scores in the softmax that gives probabilities */
} mica_zero_shot_options;
#define MICA_ZERO_SHOT_OPTIONS                                                                     \
  { sizeof(mica_zero_shot_options), 0, 0, 0, 0, true, NULL, ", ", NULL, 100.0 }

/* The prompt of a class and a phrase (NULL: of the name alone), '_' in the name a blank; release
 * with mica_free. `o` may be NULL. */
MICA_API mica_status mica_zero_shot_prompt(const mica_zero_shot_options *o, const char *name,
                                           const char *phrase, char **out);

/* All prompts of a list by the mode, class by class. */
typedef struct mica_prompts {
  int64_t n;
  char **text;    /* [n] */
  int64_t *label; /* [n] the class of each */
} mica_prompts;   /* begin with {0} */
MICA_API mica_status mica_zero_shot_prompts(const mica_zero_shot_options *o,
                                            const mica_phrases *phrases, mica_prompts *out);
MICA_API void mica_prompts_free(mica_prompts *prompts);

/* ---- the estimator ---- */

/* `zero_shot` is fitted on the embeddings of prompts [T, D] and their classes. The phrases that
 * they were made of, kept with it so that answers can tell them: as many prompts and classes as the
 * fit had, by the estimator's options. MICA_ERR_INVALID where they do not fit. */
MICA_API mica_status mica_estimator_set_phrases(mica_estimator *estimator,
                                                const mica_phrases *phrases);
/* Those phrases, borrowed; NULL when none were set. */
MICA_API const mica_phrases *mica_estimator_phrases(const mica_estimator *estimator);
/* Cosines of x [N, D] and each text: out [N, T] in the order of the fit; T is
 * mica_estimator_texts, 0 for other estimators. */
MICA_API int64_t mica_estimator_texts(const mica_estimator *estimator);
MICA_API mica_status mica_estimator_text_scores(const mica_estimator *estimator, const mica_view *x,
                                                double *out);

/* Give class `label` (the number of classes: a new one) of this name these phrases, whose prompts
 * have the embeddings x [n, D], n >= 1, in place of what it has. On error nothing has changed. */
MICA_API mica_status mica_estimator_describe(mica_estimator *estimator, int64_t label,
                                             const char *name, int64_t n_phrases,
                                             const char *const *phrases, const mica_view *x);

#ifdef __cplusplus
}
#endif
#endif
