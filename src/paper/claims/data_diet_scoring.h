/* What the experiments of data-diet share: the training examples of a seed, networks early in their
 * training, and the examples' scores by them. */
#ifndef MICA_PAPER_CLAIMS_DATA_DIET_SCORING_H
#define MICA_PAPER_CLAIMS_DATA_DIET_SCORING_H

#include <mica/paper.h>
#include <mica/select.h>

typedef struct mica_diet_settings {
  uint32_t size;
  int64_t seeds, images, epochs, score_epochs, score_seeds, noise_epochs;
  double window, spoiled, half;
  mica_floats keep, noise, windows;
  mica_ints moments, averages;
  const char *model;
  int32_t score;
} mica_diet_settings;

/* What a seed's cells share. */
typedef struct mica_diet {
  int64_t n;
  mica_tensor *x, *label;     /* training images; labels as they are trained on */
  bool *wrong;                /* [n] the label was changed */
  mica_tensor *tests, *truth; /* test images */
  double *score;              /* [n] */
  double *second;             /* [n] pruning: forgetting; moment: GraNd */
  double *each;               /* averaging: [networks, n] */
  mica_net *net;              /* noise: trained on the changed labels */
  mica_forgetting *forgotten;
} mica_diet;

enum { MICA_DIET_CLASSES = 10 };

/* The training images of a seed, and scores of zero. */
mica_status mica_diet_begin(mica_claim_cell *cell, mica_diet **out);
void mica_diet_release(void *shared);
/* Give what is shared to the driver, or away. */
mica_status mica_diet_ready(mica_status status, mica_diet *s, void **out);
/* All test images. */
mica_status mica_diet_take_tests(mica_claim_cell *cell, mica_diet *s);
/* Another class for a share of the labels. */
void mica_diet_spoil(mica_claim_cell *cell, mica_diet *s, double share);

/* Steps of so many epochs over n examples. */
int64_t mica_diet_steps(int64_t n, int64_t epochs);
/* A network of the seed's own: `which` keeps scoring and training apart. */
mica_status mica_diet_net(mica_claim_cell *cell, const mica_diet *s, const char *model,
                          uint64_t which, mica_net **out);
/* Train as every network of the claim is; `counted` NULL: without counting what is forgotten. */
mica_status mica_diet_train(mica_claim_cell *cell, mica_net *net, mica_tensor *x,
                            mica_tensor *label, int64_t steps, uint64_t which,
                            mica_forgetting *counted);
/* A network of the number `which`, trained for so many epochs on the labels as they are. */
mica_status mica_diet_early_net(mica_claim_cell *cell, const mica_diet *s, uint64_t which,
                                int64_t epochs, mica_forgetting *counted, mica_net **out);

/* Scores of all training examples by a network in evaluation mode. */
mica_status mica_diet_score(const mica_net *net, const mica_diet *s, const char *spec, bool add,
                            double *out);
/* Add the scores of several early networks up in s->score, and by `second` in s->second (NULL:
 * not). */
mica_status mica_diet_score_early(mica_claim_cell *cell, mica_diet *s, int64_t epochs,
                                  const char *spec, const char *second);
/* The same by the score that the settings name. */
mica_status mica_diet_score_as_set(mica_claim_cell *cell, mica_diet *s);

#endif
