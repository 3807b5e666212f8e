/* mica/measure.h: what features are like: their lengths, their rank, how classes lie in them, and
 * how alike two sets of features are.
 *
 * A measure is a component of kind MICA_KIND_MEASURE, chosen by a specification ("rank",
 * "cka:kernel=rbf"). It looks at features [N, D], where its `needs` say so at labels
 * (MICA_NEED_LABELS) or at a second matrix of the same rows (MICA_NEED_TWO_VIEWS), and leaves
 * findings: named numbers, and values that a figure is drawn of. Arithmetic is float64; results are
 * the same bits for every thread count. Measures of all pairs of rows take a random sample of
 * `rows` rows where there are more, by the data's seed; all others look at every row.
 */
#ifndef MICA_MEASURE_H
#define MICA_MEASURE_H

#include <mica/component.h>
#include <mica/engine.h>
#include <mica/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- what is measured ---- */

typedef struct mica_measure_data {
  uint32_t size;
  mica_view x;            /* [N, D] float32 or float64, any row stride */
  const int64_t *label;   /* [N], 0..classes-1; NULL: none */
  int64_t classes;        /* 0: the largest label + 1 */
  const mica_view *other; /* [N, E]: the same rows seen by another encoder; NULL: none */
  uint64_t seed;          /* of samples */
} mica_measure_data;
#define MICA_MEASURE_DATA                                                                          \
  { sizeof(mica_measure_data), {0}, NULL, 0, NULL, 0 }

/* ---- findings ---- */

typedef enum mica_finding_form {
  MICA_FINDING_NUMBER,   /* [1, 1] */
  MICA_FINDING_SERIES,   /* [1, n] values in an order, such as a spectrum: a line */
  MICA_FINDING_SAMPLE,   /* [1, n] values without an order: a histogram */
  MICA_FINDING_BY_CLASS, /* [1, classes]: bars */
  MICA_FINDING_MATRIX    /* [classes, classes]: a heat map */
} mica_finding_form;

typedef struct mica_finding {
  mica_finding_form form;
  const char *name;    /* "effective_rank" */
  const char *meaning; /* one line for people */
  int64_t rows, columns;
  const double *values; /* [rows, columns] row-major; NaN where there is none */
} mica_finding;

typedef struct mica_findings mica_findings;

/* No findings yet; the caller frees them. */
MICA_API mica_status mica_findings_create(mica_findings **out);
/* NULL does nothing. */
MICA_API void mica_findings_free(mica_findings *findings);
/* How many there are. */
MICA_API int64_t mica_findings_count(const mica_findings *findings);
/* Finding i in the order of addition, owned by `findings`; NULL past the last. */
MICA_API const mica_finding *mica_findings_at(const mica_findings *findings, int64_t i);
/* The number of that name, the first that was added; NaN where there is none. */
MICA_API double mica_findings_value(const mica_findings *findings, const char *name);

/* For those who write a measure: add a number, or values, of which a copy is kept. `name` and
 * `meaning` must outlive the findings, as literals do. */
MICA_API mica_status mica_findings_number(mica_findings *findings, const char *name, double value,
                                          const char *meaning);
MICA_API mica_status mica_findings_values(mica_findings *findings, mica_finding_form form,
                                          const char *name, int64_t rows, int64_t columns,
                                          const double *values, const char *meaning);

/* ---- measuring ---- */

/* Measure by a specification; findings are added to `findings`, nothing where it fails. A feature
 * that is not finite is MICA_ERR_NUMERIC and the message names its row and column; what the measure
 * needs and the data lack is MICA_ERR_INVALID, as is a label out of range; matrices that do not fit
 * together are MICA_ERR_SHAPE. */
MICA_API mica_status mica_measure(const mica_engine *engine, const char *spec,
                                  const mica_measure_data *data, mica_findings *findings);

/* The table of a component of kind MICA_KIND_MEASURE. The data have been checked: shapes, finite
 * features, labels in their range, `classes` filled in, at least two rows, and what `needs` asks
 * for. */
typedef struct mica_measure_functions {
  uint32_t size;
  mica_status (*measure)(const mica_engine *engine, const void *options,
                         const mica_measure_data *data, mica_findings *findings);
} mica_measure_functions;

#ifdef __cplusplus
}
#endif
#endif
