/* mica/feature.h: estimators on feature matrices, and the measures of what they predict.
 *
 * An estimator is chosen by a specification ("logistic:C=10", "prototypes:metric=euclidean"),
 * fitted on features [N, D] and labels, and then predicts: a class, scores, probabilities, how
 * unlike the training data a row is, or real values. A fitted estimator is saved as a record, a set
 * of named tensors and one JSON text, which is what model files hold.
 *
 * Features are views of rank 2, float32 or float64, any row stride; arithmetic is float64. A
 * feature that is not finite is MICA_ERR_NUMERIC and the message names its row and column. Results
 * are the same bits for every thread count. A fitted estimator may be read by many threads at once;
 * fit, add_class and set_rejection need it alone.
 */
#ifndef MICA_FEATURE_H
#define MICA_FEATURE_H

#include <mica/component.h>
#include <mica/engine.h>
#include <mica/numeric.h>
#include <mica/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The label of a row that belongs to none of the known classes. */
#define MICA_CLASS_NONE (-1)

/* ---- records: what a fitted estimator is on disk ---- */

typedef struct mica_record mica_record;

/* An empty record; the caller frees it. */
MICA_API mica_status mica_record_create(mica_record **out);
/* Gives up its share of the tensors; NULL does nothing. */
MICA_API void mica_record_free(mica_record *record);
/* Add a tensor under a new name (letters, digits, '_' and '.'); the record becomes one more owner.
 */
MICA_API mica_status mica_record_put(mica_record *record, const char *name, mica_tensor *tensor);
/* The named tensor, borrowed from the record; NULL with MICA_ERR_NOT_FOUND when there is none. */
MICA_API const mica_tensor *mica_record_get(const mica_record *record, const char *name);
/* The number of tensors. */
MICA_API int64_t mica_record_count(const mica_record *record);
/* Tensor number i in the order of insertion, its name in *name; NULL past the last. */
MICA_API mica_tensor *mica_record_at(const mica_record *record, int64_t i, const char **name);
/* The JSON text (a copy is kept), "{}" before it is set. */
MICA_API mica_status mica_record_set_json(mica_record *record, const char *json);
MICA_API const char *mica_record_json(const mica_record *record);

/* ---- estimators ---- */

enum {
  MICA_ESTIMATOR_CLASSIFIES =
      1u << 0, /* fit takes labels; predict gives label, score, probability */
  MICA_ESTIMATOR_REGRESSES = 1u << 1,     /* fit takes targets; predict gives score */
  MICA_ESTIMATOR_DETECTS = 1u << 2,       /* predict gives anomaly and can answer "none of these" */
  MICA_ESTIMATOR_ADDS_CLASSES = 1u << 3,  /* a class can be added after the fit */
  MICA_ESTIMATOR_NO_LABELS = 1u << 4,     /* fit accepts features alone */
  MICA_ESTIMATOR_PROBABILITIES = 1u << 5, /* predict gives probability */
  MICA_ESTIMATOR_UPDATES = 1u << 6        /* more data can be added after the fit */
};

typedef enum mica_task {
  MICA_TASK_CLASSIFICATION,
  MICA_TASK_REGRESSION,
  MICA_TASK_ANOMALY
} mica_task;

typedef struct mica_fit_data {
  uint32_t size;
  mica_view x;             /* [N, D] */
  const int64_t *label;    /* [N], 0..classes-1; NULL: none */
  int64_t classes;         /* 0: the largest label + 1 */
  const mica_view *target; /* [N, T] or [N] for regression; NULL: none. Not together with labels */
  /* Rows of the known classes kept out of the fit, [M, D], to calibrate refusal; NULL:
   * leave-one-out scores of the training rows, where the estimator has them (all but logistic and
   * ridge). */
  const mica_view *held_out;
  mica_progress_fn progress;
  void *progress_ctx;
  /* [N]: rows of one number (views of a picture, words of one writer) stay in one fold
   * wherever rows are cross-validated; NULL: each row by itself. */
  const int64_t *group;
} mica_fit_data;
#define MICA_FIT_DATA                                                                              \
  { sizeof(mica_fit_data), {0}, NULL, 0, NULL, NULL, NULL, NULL, NULL }

/* What to compute for N rows: a NULL pointer is not computed; one that the fitted estimator cannot
 * fill is MICA_ERR_UNSUPPORTED. All are the caller's. */
typedef struct mica_prediction {
  uint32_t size;
  int64_t *label; /* [N] class, or MICA_CLASS_NONE */
  double *score;  /* [N, outputs] logits, similarities, regression values, or distances by level */
  double *probability; /* [N, classes], rows sum to 1 */
  double *anomaly; /* [N] larger: less like the training data; above the threshold: none of these */
} mica_prediction;
#define MICA_PREDICTION                                                                            \
  { sizeof(mica_prediction), NULL, NULL, NULL, NULL }

/* What a fit made of one level, a range of columns of its own. */
typedef struct mica_fit_level {
  int64_t columns;     /* of the features */
  int64_t first, kept; /* dimensions left by a reducer: components first .. first + kept - 1 */
  double shrinkage;    /* of the covariance; NaN without one */
} mica_fit_level;

/* What a fit has to tell. */
typedef struct mica_fit_report {
  uint32_t size;
  int64_t rows, iterations;
  int32_t converged;    /* 1, or 0 when an iteration limit came first */
  double objective;     /* of the final fit, where there is one; else NaN */
  double leave_one_out; /* the error that chose an option by leave-one-out (ridge), else NaN */
  double chosen;        /* the option's value chosen by it (ridge: lambda), or by cross-validation
                           (linear_svm: C), else NaN */
  char note[160];       /* one line for the user, "" when there is nothing to say */
  int32_t levels;       /* how many of `level` are filled: of estimators that have levels, 0 else */
  mica_fit_level level[MICA_LIST_MAX];
} mica_fit_report;

typedef struct mica_estimator mica_estimator;
struct mica_phrases;

/* An unfitted estimator of a specification. */
MICA_API mica_status mica_estimator_create(const mica_engine *engine, const char *spec,
                                           mica_estimator **out);
MICA_API void mica_estimator_free(mica_estimator *estimator);

/* Fit; an earlier fit is replaced, and kept when this one fails. `report` may be NULL, else its
 * size is set by the caller. */
MICA_API mica_status mica_estimator_fit(mica_estimator *estimator, const mica_fit_data *data,
                                        mica_fit_report *report);

/* Predict for x [N, D]; N = 0 does nothing. */
MICA_API mica_status mica_estimator_predict(const mica_estimator *estimator, const mica_view *x,
                                            mica_prediction *out);

/* Add a class from k >= 1 examples [k, D] without the earlier ones; its number, the former class
 * count, goes to *label (may be NULL). On error nothing has changed. */
MICA_API mica_status mica_estimator_add_class(mica_estimator *estimator, const mica_view *x,
                                              int64_t *label);

/* Add more data to the fit (data->held_out is not read): the fit is then that of all rows, up to
 * rounding. The data may lack classes and bring new ones; the first data of an estimator that is
 * not fitted are a fit. Refusal stays calibrated as it was. On error nothing has changed. */
MICA_API mica_status mica_estimator_update(mica_estimator *estimator, const mica_fit_data *data);

/* The linear form of a fitted classifier: score = x weight^T + bias up to what is the same for all
 * classes; weight [classes, D] and bias [classes] are the caller's, -infinity for a class without
 * examples. With it a fit may start a network's last layer. MICA_ERR_UNSUPPORTED where the
 * estimator is not linear. */
MICA_API mica_status mica_estimator_linear(const mica_estimator *estimator, double *weight,
                                           double *bias);

/* Set the share of known rows that may be answered "none of these" (0: never refuse). Needs no
 * data: a fit keeps up to 4,096 of its leave-one-out or held-out scores, the largest 2,048 of them
 * exactly. The threshold is the order statistic number ceil((n + 1)(1 - rate)) of n scores, at most
 * the largest. A rate of more than 0 is MICA_ERR_STATE when there are no scores. */
MICA_API mica_status mica_estimator_set_rejection(mica_estimator *estimator, double rate);
/* The threshold that predictions are refused above, infinity when never. */
MICA_API double mica_estimator_threshold(const mica_estimator *estimator);

/* Thresholds of the scores by level, out [outputs], of an estimator that was fitted to tell
 * anomalies: a share `rate` (0 < rate < 1) of normal rows lies above each. From the scores of rows
 * that the fit had not seen, or by the law that the scores follow where the data do (`gaussian`:
 * squared distances are chi-square of as many degrees as the level has dimensions). There is no law
 * for a sum of levels. MICA_ERR_UNSUPPORTED where there are no levels or no law, MICA_ERR_STATE
 * where a fit had no such rows. */
typedef enum mica_threshold_from {
  MICA_THRESHOLD_QUANTILE,
  MICA_THRESHOLD_LAW
} mica_threshold_from;
MICA_API mica_status mica_estimator_level_thresholds(const mica_estimator *estimator, double rate,
                                                     mica_threshold_from from, double *out);

/* A fitted `cosine` from given class vectors [C, D] (any length but 0): what a network trained on
 * cosines knows, to which classes can then be added. */
MICA_API mica_status mica_cosine_estimator(const mica_engine *engine, const mica_view *vectors,
                                           double scale, mica_estimator **out);

/* The component that the specification named. */
MICA_API const mica_component *mica_estimator_component(const mica_estimator *estimator);
/* Whether a fit or a load has succeeded. */
MICA_API bool mica_estimator_fitted(const mica_estimator *estimator);
/* What it was fitted for; MICA_TASK_CLASSIFICATION before a fit. */
MICA_API mica_task mica_estimator_task(const mica_estimator *estimator);
MICA_API int64_t mica_estimator_features(const mica_estimator *estimator); /* D, 0 before a fit */
MICA_API int64_t mica_estimator_classes(const mica_estimator *estimator);  /* 0 when it has none */
MICA_API int64_t mica_estimator_outputs(const mica_estimator *estimator);  /* columns of `score` */
/* The specification as canonical text; release with mica_free, NULL when memory is short. */
MICA_API char *mica_estimator_spec(const mica_estimator *estimator);

/* Put the fitted estimator into a fresh record (create one with mica_record_create); loading gives
 * an estimator whose predictions are the same bits. A record from a newer version is
 * MICA_ERR_UNSUPPORTED, one that does not fit together MICA_ERR_FORMAT. */
MICA_API mica_status mica_estimator_save(const mica_estimator *estimator, mica_record *record);
MICA_API mica_status mica_estimator_load(const mica_engine *engine, const mica_record *record,
                                         mica_estimator **out);

/* ---- for those who write an estimator ---- */

/* What a fit tells about its outcome, and what load is told. */
typedef struct mica_fitted {
  int64_t features, classes, outputs;
  mica_task task;
  /* Anomaly scores of known rows that the scoring state had not seen (leave-one-out), from
   * mica_malloc; given away to the caller of fit and add_class. NULL: none. */
  double *calibration;
  int64_t calibration_count;
  /* The same rows' scores by level [calibration_count, outputs]; NULL: none. */
  double *level_calibration;
} mica_fitted;

/* The functions of a component of kind MICA_KIND_ESTIMATOR; those it lacks are NULL. Arguments have
 * been checked: shapes, finite features, labels inside 0..classes-1, at least one row, and for load
 * that the task is among the abilities (anomaly: DETECTS and NO_LABELS). `predict` fills the fields
 * that are not NULL and knows nothing of refusal. `fitted` comes zeroed. */
typedef struct mica_estimator_functions {
  uint32_t size;
  uint32_t abilities;                       /* MICA_ESTIMATOR_* */
  double (*rejection)(const void *options); /* the rate in the options; NULL: 0 */
  mica_status (*fit)(const mica_engine *engine, const void *options, const mica_fit_data *data,
                     mica_fitted *fitted, mica_fit_report *report, void **state);
  void (*free)(void *state);
  mica_status (*predict)(const mica_engine *engine, const void *options, const void *state,
                         const mica_view *x, mica_prediction *out);
  /* Changes nothing when it fails; may give calibration scores of the new rows. */
  mica_status (*add_class)(const mica_engine *engine, const void *options, void *state,
                           const mica_view *x, mica_fitted *fitted);
  mica_status (*save)(const void *state, mica_record *record);
  mica_status (*load)(const mica_engine *engine, const void *options, const mica_fitted *fitted,
                      const mica_record *record, void **state);
  /* The threshold that the law of the scores gives for a rate; NULL or NaN: none. */
  double (*threshold)(const void *options, const void *state, double rate);
  /* mica_estimator_update: data has been checked; changes nothing when it fails. NULL: cannot. */
  mica_status (*update)(const mica_engine *engine, const void *options, void *state,
                        const mica_fit_data *data, mica_fitted *fitted);
  /* mica_estimator_linear; NULL: not linear. */
  mica_status (*linear)(const void *options, const void *state, double *weight, double *bias);
  /* The same of the score of one level. */
  double (*level_threshold)(const void *options, const void *state, int64_t level, double rate);
  /* Of those that align (mica/alignment.h), the three together; `correlations` returns how many. */
  mica_status (*targets)(const mica_engine *engine, const void *options, const void *state,
                         const mica_view *y, double *out);
  mica_status (*pair_scores)(const mica_engine *engine, const void *options, const void *state,
                             const mica_view *x, const mica_view *y, double *out);
  int64_t (*correlations)(const void *state, double *out);
  /* Of those that know classes by texts (mica/zero_shot.h), all five together; set_phrases takes a
   * copy. */
  mica_status (*set_phrases)(const void *options, void *state, const struct mica_phrases *phrases);
  const struct mica_phrases *(*phrases)(const void *state);
  int64_t (*texts)(const void *state);
  mica_status (*text_scores)(const mica_engine *engine, const void *state, const mica_view *x,
                             double *out);
  /* Class `label` (the number of classes: a new one) gets texts x, and the whole list is `phrases`
   * then; changes nothing when it fails. */
  mica_status (*set_texts)(const mica_engine *engine, const void *options, void *state,
                           int64_t label, const mica_view *x, const struct mica_phrases *phrases,
                           mica_fitted *fitted);
} mica_estimator_functions;

/* ---- splits ---- */

/* Assign each of n rows to one of `folds` folds (2..n), as evenly as can be inside each class
 * (label NULL: inside the whole). */
MICA_API mica_status mica_folds(mica_key key, int64_t n, const int64_t *label, int64_t classes,
                                int32_t folds, int32_t *fold);

/* The same of rows in groups (any numbers), none of which is in two folds: groups are dealt by the
 * labels of their first rows. As many folds as groups at most. */
MICA_API mica_status mica_group_folds(mica_key key, int64_t n, const int64_t *label,
                                      int64_t classes, const int64_t *group, int32_t folds,
                                      int32_t *fold);

/* Mark a share (0..1) of the rows of each class as held out: at least one row of a class with two
 * or more, none of a class with one. */
MICA_API mica_status mica_hold_out(mica_key key, int64_t n, const int64_t *label, int64_t classes,
                                   double share, bool *held_out);

/* ---- measures of classification ---- */

typedef struct mica_estimate {
  double value;
  mica_interval interval; /* at the level asked for */
} mica_estimate;

/* counts [classes, classes + 1]: rows are the truth, columns the prediction, the last column "none
 * of these". */
MICA_API mica_status mica_confusion(int64_t n, const int64_t *truth, const int64_t *predicted,
                                    int64_t classes, int64_t *counts);

/* Share of right answers with Wilson's interval; "none of these" is a wrong answer. */
MICA_API mica_status mica_accuracy(int64_t n, const int64_t *truth, const int64_t *predicted,
                                   double level, mica_estimate *out);

typedef struct mica_class_measures {
  int64_t support, predicted, right;
  mica_estimate recall; /* the accuracy on the rows of this class */
  double precision;     /* NaN when never predicted */
  double f1;            /* NaN when neither present nor predicted */
} mica_class_measures;

/* By class [classes] from a confusion matrix, and the mean F1 and recall over the classes that
 * occur in truth or prediction (F1) or in truth (recall); the last two may be NULL. */
MICA_API mica_status mica_by_class(const int64_t *counts, int64_t classes, double level,
                                   mica_class_measures *by_class, double *macro_f1,
                                   double *balanced_accuracy);

/* Classes by how many training rows they had: few (fewer than `few`), many (more than `many`) and
 * medium between them; 20 and 100 are usual (Liu et al. 2019). */
enum { MICA_BAND_FEW, MICA_BAND_MEDIUM, MICA_BAND_MANY, MICA_BANDS };
typedef struct mica_band {
  int64_t classes, rows;  /* classes of the band that occur in the truth, and their rows */
  mica_estimate accuracy; /* over the rows, with Wilson's interval; NaN without rows */
  double mean_recall;     /* mean over the classes; NaN without classes */
} mica_band;

/* By band, out [MICA_BANDS], from a confusion matrix and the training rows of each class [classes];
 * few at most many. */
MICA_API mica_status mica_by_band(const int64_t *counts, int64_t classes, const int64_t *trained,
                                  int64_t few, int64_t many, double level, mica_band *out);

/* Share of rows whose true class is among the k best scores [N, classes]. A tie counts against the
 * truth. */
MICA_API mica_status mica_top_k_accuracy(int64_t n, int64_t classes, const double *score,
                                         const int64_t *truth, int64_t k, double level,
                                         mica_estimate *out);

/* Mean negative log-probability of the truth (nats); probabilities are bounded below by 2^-52. */
MICA_API mica_status mica_log_loss(int64_t n, int64_t classes, const double *probability,
                                   const int64_t *truth, double *out);

/* Expected calibration error (Naeini et al. 2015) of the largest probability over `bins` bins of
 * equal width, and the mean squared (Brier) error over classes; either may be NULL. With
 * `confidence`, `right` and `count` ([bins] each, may be NULL) it is a reliability diagram. */
MICA_API mica_status mica_calibration(int64_t n, int64_t classes, const double *probability,
                                      const int64_t *truth, int32_t bins, double *ece,
                                      double *brier, double *confidence, double *right,
                                      int64_t *count);

/* Area under the ROC curve of score against positive (ties count half), with DeLong's variance
 * (1988) on the logit scale; perfect separation gets a one-sided bound from the smaller group.
 * MICA_ERR_INVALID when one of the groups is empty. */
MICA_API mica_status mica_auroc(int64_t n, const double *score, const bool *positive, double level,
                                mica_estimate *out);

/* The same area with a bootstrap interval of `resamples` resamples inside positives and negatives
 * (0: none, NaN), which assumes nothing of the scores. */
MICA_API mica_status mica_auroc_bootstrap(const mica_engine *engine, mica_key key, int64_t n,
                                          const double *score, const bool *positive, double level,
                                          int32_t resamples, mica_estimate *out);

/* Average precision: sum over thresholds of precision times the gain of recall, tied scores as one
 * threshold; a bootstrap interval of `resamples` resamples inside positives and negatives (0: none,
 * NaN). */
MICA_API mica_status mica_average_precision(const mica_engine *engine, mica_key key, int64_t n,
                                            const double *score, const bool *positive, double level,
                                            int32_t resamples, mica_estimate *out);

/* Each class against the rest by its column of score [n, classes]: areas under the ROC curve with
 * DeLong's intervals and average precisions, [classes] each, and their means over the classes that
 * can be measured (those with some of the rows but not all; NaN for others). Intervals of the
 * average precisions and means are of a bootstrap with `resamples` resamples inside the classes (0:
 * none, NaN), whose memory is 4 n bytes a class. */
MICA_API mica_status mica_one_vs_rest(const mica_engine *engine, mica_key key, int64_t n,
                                      int64_t classes, const double *score, const int64_t *truth,
                                      double level, int32_t resamples, mica_estimate *auroc,
                                      mica_estimate *precision, mica_estimate *mean_auroc,
                                      mica_estimate *mean_precision);

/* The largest F1 over all thresholds ("score >= threshold is positive") and that threshold. */
MICA_API mica_status mica_best_f1(int64_t n, const double *score, const bool *positive, double *f1,
                                  double *threshold);

/* The share of positives above the threshold that lets a share `fpr` of the negatives through (the
 * usual "TPR at 5% FPR"), and that threshold (may be NULL). */
MICA_API mica_status mica_tpr_at_fpr(int64_t n, const double *score, const bool *positive,
                                     double fpr, double level, mica_estimate *tpr,
                                     double *threshold);

/* Points of the ROC curve, one for each distinct score and the origin: at most n + 1 go to fpr and
 * tpr, their number to *points. */
MICA_API mica_status mica_roc_curve(int64_t n, const double *score, const bool *positive,
                                    double *fpr, double *tpr, int64_t *points);

/* Two classifiers on the same rows. */
typedef struct mica_comparison {
  int64_t both, first, second, none; /* rows that both got right, only the first, ... */
  mica_estimate difference; /* accuracy of the first minus the second, Newcombe's interval */
  double p_value;           /* exact McNemar test */
} mica_comparison;
MICA_API mica_status mica_compare(int64_t n, const int64_t *truth, const int64_t *first,
                                  const int64_t *second, double level, mica_comparison *out);

/* ---- detectors of anomalies ---- */

#define MICA_SIGMAS 5

/* One fold: of the test rows, and of the normal rows that were left out. */
typedef struct mica_anomaly_fold {
  double auroc;
  double beyond[MICA_SIGMAS]; /* share of left-out rows beyond 1, 2, ... sigma of a level, the mean
                                 over levels; NaN for a detector without a law */
  int64_t kept;               /* dimensions, over all levels */
} mica_anomaly_fold;

/* Fit a detector on all but one of `folds` (2..N) parts of the normal rows [N, D], in turn, and let
 * each rank the test rows [M, D], of which `anomalous` [M] says which are; out [folds]. */
MICA_API mica_status mica_anomaly_folds(const mica_engine *engine, const char *spec,
                                        const mica_view *normal, const mica_view *test,
                                        const bool *anomalous, int32_t folds, uint64_t seed,
                                        mica_anomaly_fold *out);

/* ---- measures of regression ---- */

typedef struct mica_regression_measures {
  double mse, mae;
  double
      r2; /* 1 - residual / total sum of squares, mean over outputs that vary; NaN when none does */
} mica_regression_measures;
/* truth and predicted are [N, T]. */
MICA_API mica_status mica_regression(int64_t n, int64_t outputs, const double *truth,
                                     const double *predicted, mica_regression_measures *out);

/* ---- several estimators side by side ---- */

typedef struct mica_contender {
  uint32_t size;
  const char *spec;   /* in */
  mica_status status; /* MICA_OK, or why it could not be fitted; the other fields are NaN then */
  char error[160];
  mica_estimate accuracy;    /* classification, over all rows predicted out of fold */
  mica_estimate difference;  /* to the best contender, same rows; 0 for the best itself */
  double p_value;            /* of that difference; 1 for the best */
  double macro_f1, log_loss; /* log_loss NaN without probabilities */
  double mse, r2;            /* regression */
  double fit_seconds, predict_seconds;
  int32_t best;
} mica_contender;
#define MICA_CONTENDER(spec_)                                                                      \
  { .size = sizeof(mica_contender), .spec = (spec_) }

/* Cross-validate n contenders on the same `folds` stratified folds (of groups where there are some)
 * and compare each with the best. One that fails is reported in its status and does not stop the
 * others. `predicted` (may be NULL) receives [n, N] labels out of fold. */
MICA_API mica_status mica_cross_validate(const mica_engine *engine, const mica_fit_data *data,
                                         int32_t folds, uint64_t seed, double level, int32_t n,
                                         mica_contender *contenders, int64_t *predicted);

/* ---- learning curves ---- */

/* What is done to each column, as the drawn training rows have it: to [0, 1], or to mean 0 and
 * standard deviation 1. A constant column is shifted only. Test rows may leave [0, 1]. */
typedef enum mica_scaling { MICA_SCALE_NONE, MICA_SCALE_MINMAX, MICA_SCALE_STANDARD } mica_scaling;

typedef struct mica_learning_curve_options {
  uint32_t size;
  const int64_t *sizes; /* [n_sizes] numbers of training rows: at least the classes of the data */
  int32_t n_sizes;
  int32_t repeats; /* draws of each size */
  mica_scaling scaling;
  uint64_t seed;
  mica_progress_fn progress;
  void *progress_ctx;
} mica_learning_curve_options;
#define MICA_LEARNING_CURVE_OPTIONS                                                                \
  { sizeof(mica_learning_curve_options), NULL, 0, 5, MICA_SCALE_NONE, 0, NULL, NULL }

/* Fit each of n estimators (specifications) on `repeats` random draws of each size from data, the
 * same draws for all, and test on `test` [M, D] with labels [M]: error [n, n_sizes, repeats],
 * shares of wrong answers. A draw that lacks a class of the data is drawn again, up to 100 times,
 * then one row of each class is drawn first. Memory: 8 D (largest size + M) bytes. */
MICA_API mica_status mica_learning_curve(const mica_engine *engine, const mica_fit_data *data,
                                         const mica_view *test, const int64_t *test_label,
                                         const mica_learning_curve_options *options, int32_t n,
                                         const char *const *spec, double *error);

/* The size (not whole) at which two curves of n points cross, on a line through the logarithms of
 * the ascending sizes; where they cross several times the last, NaN where never. */
MICA_API double mica_crossover(int32_t n, const int64_t *sizes, const double *first,
                               const double *second);

#ifdef __cplusplus
}
#endif
#endif
