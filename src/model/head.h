/* Heads inside a model: immutable once published, replaced as a whole, freed by their last user. */
#ifndef MICA_MODEL_HEAD_H
#define MICA_MODEL_HEAD_H

#include <mica/model.h>

#include <pthread.h>

typedef struct mica_head {
  char name[65];
  mica_estimator *estimator;
  const char **classes; /* mica_estimator_classes of them; the texts are the model's */
  int64_t *examples;    /* [classes] rows of the fit; NULL: not known */
  int owners;           /* under the model's lock */
} mica_head;

struct mica_model {
  mica_net *net;
  mica_preprocess preprocess;
  char *training, *columns, *tokenizer;
  bool int8;            /* weights are written as int8 */
  const char **classes; /* of the network's own classifier */
  int64_t n_classes;
  double scale[MICA_SCALES_MAX]; /* of pictures whose features are averaged */
  int n_scales;                  /* 0: one, as they are */
  mica_model_views parts;        /* of a picture, each described; neither: the whole */
  mica_preprocess reading;       /* of pictures that have parts; `preprocess` is the network's */
  /* Every class name ever given, so that a name read from an answer stays good. */
  char **texts;
  int64_t n_texts, room_texts;
  pthread_mutex_t adding; /* one class is added after the other: held while features are made */
  pthread_mutex_t lock;   /* of what follows, held for moments only */
  mica_head *head[MICA_HEADS_MAX];
  int n_heads, answering; /* -1: the network */
};

/* A model of nothing, whose locks work. */
mica_status mica_model_new(mica_model **out);
/* A copy of a class name that lives as long as the model; NULL when memory is short. Not while
 * others use the model, but under `adding`. */
const char *mica_model_keep_text(mica_model *model, const char *text, size_t n);

/* The answering head, or NULL; give it back with mica_head_release. */
mica_head *mica_head_hold(const mica_model *model);
/* The answering head when it gives anomaly scores, else the first that does, else NULL. */
mica_head *mica_head_hold_detector(const mica_model *model);
mica_head *mica_head_hold_at(const mica_model *model, int64_t i, bool *answers);
void mica_head_release(const mica_model *model, mica_head *head);

/* Take all heads out of a model that nobody else uses yet. */
void mica_model_drop_heads(mica_model *model);

bool mica_head_detects(const mica_head *head);
bool mica_head_gives_probabilities(const mica_head *head);

#endif
