/* mica/training_report.h: sections of a report about a trained classifier: its curves, what it
 * takes for what, its hardest examples, a map of its features.
 */
#ifndef MICA_TRAINING_REPORT_H
#define MICA_TRAINING_REPORT_H

#include <mica/report.h>
#include <mica/train.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One epoch of a run, as mica_train_metrics tells it at the epoch's end. */
typedef struct mica_epoch {
  double train_loss, val_loss, val_accuracy; /* NaN: not measured */
} mica_epoch;

/* Add a section of this title with the losses and the validation accuracy of n epochs. */
MICA_API mica_status mica_report_curves(mica_report *report, const char *title,
                                        const mica_epoch *epoch, int64_t n);

/* What a classifier says about items of a data set. Arrays hold one value for each answer. */
typedef struct mica_answers {
  int64_t n, classes;
  const char *const *names; /* [classes] */
  const mica_dataset *data; /* NULL: they are no pictures, and none are shown */
  int64_t *item;            /* [n] items of the data set */
  int64_t *truth;     /* [n] class, or MICA_CLASS_NONE for one that the classifier does not know */
  int64_t *predicted; /* [n] class, or MICA_CLASS_NONE for "none of these" */
  double *difficulty; /* [n] the larger the harder, such as the loss; NULL: not known */
} mica_answers;

/* The answers of a network, from an evaluation of one part of a data set (NULL: of what has no
 * pictures, whose items are numbered from 0) that kept its logits, with
 * the cross-entropy as difficulty. The names are borrowed. Release with mica_answers_free. */
MICA_API mica_status mica_answers_of(const mica_dataset *data, mica_part part,
                                     const char *const *names, const mica_evaluation *e,
                                     mica_answers *out);
/* Release the four arrays of answers from mica_answers_of. */
MICA_API void mica_answers_free(mica_answers *answers);

/* Add a section with the confusion matrix of up to 199 classes; "none of these" gets a row and a
 * column when it occurs. */
MICA_API mica_status mica_report_confusion(mica_report *report, const char *title,
                                           const mica_answers *answers);
/* A picture of a data set with two lines of text under it. */
typedef struct mica_shown_item {
  int64_t item;
  const char *caption, *detail; /* NULL: none */
  mica_mark mark;
} mica_shown_item;
/* Add a section with a grid of n pictures (at most 2000), and a caption below it. */
MICA_API mica_status mica_report_pictures(mica_report *report, const char *title,
                                          const mica_dataset *data, int64_t n,
                                          const mica_shown_item *shown, const char *caption);
/* Add a section with pictures of the hardest examples, at most `count` (1 to 2000) of them. */
MICA_API mica_status mica_report_hardest(mica_report *report, const char *title,
                                         const mica_answers *answers, int64_t count);
/* Add a section with a map of features [n, D], one row for each answer, coloured by truth, with
 * pictures (mica_map_points). At most `count` (2 to 2000) of the answers are shown, evenly spaced;
 * a thousand take about a second. */
MICA_API mica_status mica_report_map(mica_report *report, const char *title,
                                     const mica_engine *engine, const mica_view *features,
                                     const mica_answers *answers, int64_t count);

#ifdef __cplusplus
}
#endif
#endif
