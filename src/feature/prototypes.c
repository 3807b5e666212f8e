/* Nearest class mean, with classes added at run time and a calibrated "none of these".
 *
 * A class is its mean: of the rows themselves (Euclidean), or of the rows centred on the mean of
 * the class means and scaled to length 1 (cosine; the centring of Wang et al. 2019, which spreads
 * features that all point one way). The squared distance to a mean of n examples is larger than
 * that to the true mean by the variance over n: it is taken off (`debias`), or a class of five
 * examples would lose rows to a class of thousands.
 *
 * How far is too far differs by class and must be known from few examples. Each class has a spread,
 * the mean squared distance of its examples to the mean of the others (leave-one-out, so that it
 * does not flatter itself). Spreads are shrunk towards the pooled one with the strength that
 * empirical Bayes finds in the classes of the fit: with n examples, weight n to n + k. A new class
 * thus starts near the pooled spread and earns its own.
 *
 * The anomaly score of a row is its squared distance to the nearest class over spread (1 + 1/n): 1
 * is ordinary, whatever the class. Its threshold comes from leave-one-out scores of the fit. With
 * `doubt` the score is the mean of that and of -log(probability of that class) in units of its mean
 * on known rows, so that lying between two classes is strange too: unknown classes that resemble
 * known ones are ranked better, but so are refused more rows of an added class that resembles an
 * old one. Adding a class costs O(k D), without earlier examples.
 *
 * The probability is a softmax of -distance^2 whose temperature minimises the leave-one-out
 * log-loss. Memory: 16 C D bytes; fitting needs 8 bytes a row and at most 16 partial sums besides.
 */
#include "feature/class_scores.h"
#include "feature/record.h"
#include "numeric/chunks.h"
#include "numeric/moments.h"
#include "numeric/rows.h"
#include "tensor/kernel/gemm.h"

#include <float.h>
#include <math.h>
#include <string.h>

typedef struct {
  uint32_t size;
  int32_t metric;
  bool centre, debias, doubt;
  double prior, reject;
} options;

enum { COSINE, EUCLIDEAN };
enum { block_rows = 128, calibration_rows = 8192 };

static const mica_option option_table[] = {
    {"metric", MICA_OPTION_CHOICE, "cosine", 0, 0, "cosine|euclidean",
     "distance to the class means", offsetof(options, metric)},
    {"centre", MICA_OPTION_BOOL, "true", 0, 0, NULL,
     "cosine: subtract the mean of the class means first", offsetof(options, centre)},
    {"debias", MICA_OPTION_BOOL, "true", 0, 0, NULL,
     "take the variance of a mean of few examples off its distances", offsetof(options, debias)},
    {"doubt", MICA_OPTION_BOOL, "false", 0, 0, NULL,
     "a row between two classes is strange too, not only one far from all",
     offsetof(options, doubt)},
    {"prior", MICA_OPTION_FLOAT, "-1", -1, 1e6, NULL,
     "examples that the pooled spread counts for; negative: estimated", offsetof(options, prior)},
    {"reject", MICA_OPTION_FLOAT, "0.05", 0, 0.999, NULL,
     "share of known rows that may be answered \"none of these\"", offsetof(options, reject)},
    {NULL, MICA_OPTION_BOOL, NULL, 0, 0, NULL, NULL, 0}};

static double rejection(const void *o) {
  return ((const options *)o)->reject;
}

typedef struct {
  int64_t classes, room, d;
  bool unit;
  double *centre;   /* [D] subtracted from rows */
  double *mean;     /* [room, D] of the rows in their form */
  double *count;    /* [room] examples */
  double *spread;   /* [room] leave-one-out, -1 when a class has one example or none */
  double pooled;    /* spread of all classes, -1 while unknown */
  double strength;  /* of the pooled spread, in examples */
  double sharpness; /* inverse temperature */
  double doubt;     /* mean -log(probability of the best class) of known rows; 0: not used */
} prototypes;

static void free_state(void *state) {
  prototypes *s = state;
  if (!s) return;
  mica_free(s->centre);
  mica_free(s->mean);
  mica_free(s->count);
  mica_free(s->spread);
  mica_free(s);
}

static mica_status create(int64_t d, int64_t classes, bool unit, prototypes **out) {
  prototypes *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  *s = (prototypes){.classes = classes, .room = classes, .d = d, .unit = unit, .pooled = -1};
  s->centre = mica_calloc((size_t)d, sizeof *s->centre);
  s->mean = mica_calloc((size_t)classes * (size_t)d, sizeof *s->mean);
  s->count = mica_calloc((size_t)classes, sizeof *s->count);
  s->spread = mica_calloc((size_t)classes, sizeof *s->spread);
  if (s->centre && s->mean && s->count && s->spread) {
    *out = s;
    return MICA_OK;
  }
  free_state(s);
  return MICA_ERR_MEMORY;
}

static mica_row_form form_of(const prototypes *s) {
  return (mica_row_form){s->centre, s->unit};
}

/* ---- distances ---- */

/* The spread that a class is taken to have, and the same for its squared distances. */
static double class_spread(const prototypes *s, int64_t c) {
  if (s->pooled < 0) return 1;
  double spread = s->pooled;
  if (s->spread[c] >= 0)
    spread = (s->count[c] * s->spread[c] + s->strength * s->pooled) / (s->count[c] + s->strength);
  /* Identical examples have no spread; a hair of the means' own size keeps ratios finite. */
  double floor_ = 1e-12 * (s->unit ? 1 : mica_sum_squares(s->mean + c * s->d, s->d)) + DBL_MIN;
  return fmax(spread, floor_);
}

/* Squared distance of a row z to the mean m of n rows, from z.m, |m|^2 and |z|^2; with `without`,
 * to the mean of the n - 1 others (n >= 2). */
static double squared(const prototypes *s, double zm, double mm, double zz, double n,
                      bool without) {
  if (!s->unit) {
    double plain = fmax(0, zz - 2 * zm + mm), ratio = without ? n / (n - 1) : 1;
    return plain * ratio * ratio;
  }
  if (without) {
    mm = (n * n * mm - 2 * n * zm + zz) / ((n - 1) * (n - 1));
    zm = (n * zm - zz) / (n - 1);
  }
  double length = sqrt(fmax(mm, 0) * zz);
  return length > 0 ? fmax(0, 2 - 2 * fmin(1, zm / length)) : 2;
}

/* What a decision needs of each class, computed once a call. */
typedef struct {
  double *mm;      /* |mean|^2 */
  double *bias;    /* taken off the squared distance */
  double *unit_of; /* spread (1 + 1/n) */
} tables;

static mica_status make_tables(const prototypes *s, const options *o, tables *t) {
  t->mm = mica_malloc((size_t)s->classes * 3 * sizeof *t->mm);
  if (!t->mm) return MICA_ERR_MEMORY;
  t->bias = t->mm + s->classes;
  t->unit_of = t->bias + s->classes;
  for (int64_t c = 0; c < s->classes; c++) {
    double spread = class_spread(s, c), share = s->count[c] > 0 ? 1 / s->count[c] : 0;
    t->mm[c] = mica_sum_squares(s->mean + c * s->d, s->d);
    t->bias[c] = o->debias && s->pooled >= 0 ? spread * share : 0;
    t->unit_of[c] = s->pooled >= 0 ? spread * (1 + share) : 1;
  }
  return MICA_OK;
}

typedef struct {
  const mica_engine *engine;
  const prototypes *s;
  const tables *t;
  const mica_view *x;
  const int64_t *row;   /* rows of x to take (calibration), NULL: all in order */
  const int64_t *label; /* their classes, for leave-one-out; NULL: none */
  double *score;        /* [N, classes] minus the debiased squared distance */
  double *anomaly;      /* [N] squared distance in units of the class, or NULL */
  int64_t n;
} distance_job;

static mica_status distance_chunk(void *ctx, int64_t chunk, void *scratch) {
  const distance_job *j = ctx;
  const prototypes *s = j->s;
  int64_t begin = chunk * block_rows, end = begin + block_rows < j->n ? begin + block_rows : j->n;
  int64_t d = s->d, classes = s->classes;
  double *rows = scratch, *score = j->score + begin * classes;
  mica_row_form form = form_of(s);
  if (j->row)
    for (int64_t i = begin; i < end; i++)
      mica_rows_load_form(j->x, j->row[i], j->row[i] + 1, &form, rows + (i - begin) * d);
  else
    mica_rows_load_form(j->x, begin, end, &form, rows);
  mica_status status = mica_gemm(j->engine, MICA_F64, false, true, end - begin, classes, d, 1, rows,
                                 d, s->mean, d, 0, score, classes);
  if (status) return status;
  for (int64_t i = begin; i < end; i++, score += classes) {
    double zz = mica_sum_squares(rows + (i - begin) * d, d), best_anomaly = NAN, best = -INFINITY;
    int64_t own = j->label ? j->label[i] : -1;
    for (int64_t c = 0; c < classes; c++) {
      bool without = c == own;
      double n = s->count[c], square = squared(s, score[c], j->t->mm[c], zz, n, without);
      double bias = j->t->bias[c], unit = j->t->unit_of[c];
      if (without) { /* a mean of one example fewer */
        bias *= n / (n - 1);
        unit *= (1 + 1 / (n - 1)) / (1 + 1 / n);
      }
      score[c] = n > 0 ? bias - square : -INFINITY;
      if (score[c] > best) {
        best = score[c];
        best_anomaly = square / unit;
      }
    }
    if (j->anomaly) j->anomaly[i] = best_anomaly;
  }
  return MICA_OK;
}

static mica_status distances(const mica_engine *engine, const options *o, const prototypes *s,
                             const mica_view *x, const int64_t *row, const int64_t *label,
                             int64_t n, double *score, double *anomaly) {
  tables t;
  mica_status status = make_tables(s, o, &t);
  if (status) return status;
  distance_job j = {engine, s, &t, x, row, label, score, anomaly, n};
  status = mica_chunks_run(engine, mica_chunks_of(n, block_rows),
                           (size_t)(block_rows * s->d) * sizeof(double), distance_chunk, &j);
  mica_free(t.mm);
  return status;
}

/* ---- spreads ---- */

typedef struct {
  const prototypes *s;
  const mica_view *x;
  const int64_t *label; /* NULL: all rows are of class `only` */
  int64_t only;
  double *own; /* [N] squared leave-one-out distance to the own class as if its mean were exact; -1:
                  none */
} own_job;

static mica_status own_chunk(void *ctx, int64_t chunk, void *scratch) {
  const own_job *j = ctx;
  const prototypes *s = j->s;
  int64_t n = mica_rows_n(j->x), begin = chunk * block_rows;
  int64_t end = begin + block_rows < n ? begin + block_rows : n;
  mica_row_form form = form_of(s);
  double *row = scratch;
  for (int64_t i = begin; i < end; i++) {
    int64_t c = j->label ? j->label[i] : j->only;
    double count = s->count[c];
    const double *mean = s->mean + c * s->d;
    j->own[i] = -1;
    if (count < 2) continue;
    mica_rows_load_form(j->x, i, i + 1, &form, row);
    double square = squared(s, mica_dot(row, mean, s->d), mica_sum_squares(mean, s->d),
                            mica_sum_squares(row, s->d), count, true);
    j->own[i] = square / (1 + 1 / (count - 1));
  }
  return MICA_OK;
}

/* Spreads of all classes from `own`; the sum of squared deviations of `own` inside the classes. */
static double set_spreads(prototypes *s, const int64_t *label, const double *own, int64_t n) {
  for (int64_t c = 0; c < s->classes; c++) s->spread[c] = s->count[c] >= 2 ? 0 : -1;
  for (int64_t i = 0; i < n; i++)
    if (own[i] >= 0) s->spread[label[i]] += own[i] / s->count[label[i]];
  double deviations = 0;
  for (int64_t i = 0; i < n; i++)
    if (own[i] >= 0) deviations += (own[i] - s->spread[label[i]]) * (own[i] - s->spread[label[i]]);
  return deviations;
}

/* The pooled spread, and how many examples it counts for: the variance of squared distances inside
 * classes over the variance of true spreads between classes (method of moments). */
static void pool(prototypes *s, double deviations, double prior) {
  double rows = 0, classes = 0, sum = 0, plain = 0, inverse = 0;
  for (int64_t c = 0; c < s->classes; c++) {
    if (s->spread[c] < 0) continue;
    rows += s->count[c];
    classes += 1;
    sum += s->count[c] * s->spread[c];
    plain += s->spread[c];
    inverse += 1 / s->count[c];
  }
  s->pooled = classes > 0 ? sum / rows : -1;
  s->strength = prior >= 0 ? prior : 10;
  if (prior >= 0 || classes < 3 || !(rows > classes)) return;
  double inside = deviations / (rows - classes), between = 0;
  for (int64_t c = 0; c < s->classes; c++)
    if (s->spread[c] >= 0)
      between +=
          (s->spread[c] - plain / classes) * (s->spread[c] - plain / classes) / (classes - 1);
  between -= inside * inverse / classes; /* what sampling alone explains */
  s->strength = between > 0 ? fmin(inside / between, 1e6) : 1e6;
}

/* ---- calibration ---- */

/* The inverse temperature that minimises the log-loss of softmax(b * score): convex in b, so
 * Newton's method inside [lo, hi]. */
static double fit_sharpness(int64_t n, int64_t classes, const double *score, const int64_t *label,
                            double lo, double hi) {
  double b = sqrt(lo * hi), floor_ = lo, roof = hi;
  for (int round = 0; round < 60; round++) {
    double slope = 0, bend = 0;
    for (int64_t i = 0; i < n; i++) {
      const double *row = score + i * classes;
      double top = -INFINITY, sum = 0, first = 0, second = 0;
      for (int64_t c = 0; c < classes; c++) top = fmax(top, row[c]);
      for (int64_t c = 0; c < classes; c++) {
        if (isinf(row[c])) continue;
        double p = exp(b * (row[c] - top));
        sum += p;
        first += p * row[c];
        second += p * row[c] * row[c];
      }
      double mean = first / sum;
      slope += mean - row[label[i]];
      bend += fmax(0, second / sum - mean * mean);
    }
    if (slope > 0)
      roof = b;
    else
      floor_ = b;
    double next = bend > 0 ? b - slope / bend : -1;
    if (!(next > floor_ && next < roof)) next = sqrt(floor_ * roof);
    if (fabs(next - b) <= 1e-9 * b) return next;
    b = next;
  }
  return b;
}

/* -log(probability of the best class). */
static double doubt_of(const prototypes *s, const double *score) {
  double top = -INFINITY, sum = 0;
  for (int64_t c = 0; c < s->classes; c++) top = fmax(top, score[c]);
  for (int64_t c = 0; c < s->classes; c++) sum += exp(s->sharpness * (score[c] - top));
  return log(sum);
}

static void add_doubt(const options *o, const prototypes *s, int64_t n, const double *score,
                      double *anomaly) {
  if (!o->doubt || !(s->doubt > 0)) return;
  for (int64_t i = 0; i < n; i++)
    anomaly[i] = 0.5 * (anomaly[i] + doubt_of(s, score + i * s->classes) / s->doubt);
}

/* Leave-one-out scores of evenly spaced rows whose class has another example: sharpness and
 * anomaly. */
static mica_status calibrate(const mica_engine *engine, const options *o, prototypes *s,
                             const mica_view *x, const int64_t *label, mica_fitted *fitted) {
  int64_t n = mica_rows_n(x), usable = 0, m = 0;
  s->sharpness = s->pooled > 0 ? 1 / s->pooled : 1;
  for (int64_t i = 0; i < n; i++) usable += s->count[label[i]] >= 2;
  int64_t most = usable < calibration_rows ? usable : calibration_rows;
  while (most > 256 && most * s->classes > (256 << 20) / 8) most /= 2;
  if (most == 0) return MICA_OK;
  int64_t *row = mica_malloc((size_t)(2 * most) * sizeof *row);
  double *score = mica_malloc((size_t)(most * s->classes) * sizeof *score);
  double *anomaly = mica_malloc((size_t)most * sizeof *anomaly);
  mica_status status = row && score && anomaly ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) {
    int64_t *truth = row + most, seen = 0;
    for (int64_t i = 0; i < n; i++) {
      if (s->count[label[i]] < 2) continue;
      if (m < most && (double)seen >= (double)m * (double)usable / (double)most) {
        row[m] = i;
        truth[m++] = label[i];
      }
      seen++;
    }
    status = distances(engine, o, s, x, row, truth, m, score, anomaly);
    if (!status && s->classes > 1 && s->pooled > 0) {
      s->sharpness = fit_sharpness(m, s->classes, score, truth, 0.01 / s->pooled, 50 / s->pooled);
      for (int64_t i = 0; i < m; i++) s->doubt += doubt_of(s, score + i * s->classes) / (double)m;
    }
    if (!status) add_doubt(o, s, m, score, anomaly);
  }
  mica_free(row);
  mica_free(score);
  if (status)
    mica_free(anomaly);
  else
    fitted->calibration = anomaly, fitted->calibration_count = m;
  return status;
}

/* ---- fit ---- */

/* Means of the rows in their form; for cosine first the centre, the mean of the class means. */
static mica_status set_means(const mica_engine *engine, const options *o, prototypes *s,
                             const mica_fit_data *data) {
  int64_t *count = mica_malloc((size_t)s->classes * sizeof *count), present = 0;
  if (!count) return MICA_ERR_MEMORY;
  mica_status status = MICA_OK;
  for (int64_t pass = s->unit && o->centre ? 0 : 1; pass < 2 && !status; pass++) {
    mica_row_form form = form_of(s);
    status = mica_group_sums(engine, &data->x, pass ? &form : NULL, data->label, s->classes,
                             s->mean, count);
    present = 0;
    for (int64_t c = 0; c < s->classes; c++) present += count[c] > 0;
    for (int64_t c = 0; c < s->classes; c++)
      for (int64_t j = 0; j < s->d && count[c]; j++) s->mean[c * s->d + j] /= (double)count[c];
    /* One class alone would be centred on itself and lose its direction. */
    for (int64_t c = 0; pass == 0 && present > 1 && c < s->classes; c++)
      for (int64_t j = 0; j < s->d && count[c]; j++)
        s->centre[j] += s->mean[c * s->d + j] / (double)present;
  }
  for (int64_t c = 0; c < s->classes; c++) s->count[c] = (double)count[c];
  mica_free(count);
  return status;
}

static mica_status fit(const mica_engine *engine, const void *given, const mica_fit_data *data,
                       mica_fitted *fitted, mica_fit_report *report, void **state) {
  (void)report;
  const options *o = given;
  int64_t n = mica_rows_n(&data->x), d = mica_rows_d(&data->x);
  fitted->task = MICA_TASK_CLASSIFICATION;
  fitted->classes = fitted->outputs = data->classes;
  prototypes *s;
  mica_status status = create(d, data->classes, o->metric == COSINE, &s);
  if (status) return status;
  double *own = mica_malloc((size_t)n * sizeof *own);
  status = own ? set_means(engine, o, s, data) : MICA_ERR_MEMORY;
  if (!status) {
    own_job j = {s, &data->x, data->label, 0, own};
    status = mica_chunks_run(engine, mica_chunks_of(n, block_rows), (size_t)d * sizeof(double),
                             own_chunk, &j);
  }
  if (!status) {
    pool(s, set_spreads(s, data->label, own, n), o->prior);
    status = calibrate(engine, o, s, &data->x, data->label, fitted);
  }
  mica_free(own);
  if (status)
    free_state(s);
  else
    *state = s;
  return status;
}

/* ---- a new class ---- */

static mica_status make_room(prototypes *s) {
  if (s->classes < s->room) return MICA_OK;
  int64_t room = 2 * s->room;
  double *mean = mica_realloc_array(s->mean, (size_t)(room * s->d), sizeof *mean);
  if (mean) s->mean = mean;
  double *count = mean ? mica_realloc_array(s->count, (size_t)room, sizeof *count) : NULL;
  if (count) s->count = count;
  double *spread = count ? mica_realloc_array(s->spread, (size_t)room, sizeof *spread) : NULL;
  if (!spread) return MICA_ERR_MEMORY;
  s->spread = spread;
  s->room = room;
  return MICA_OK;
}

/* The new class's own leave-one-out distances give its spread; a head without any takes it as the
 * pooled spread and calibrates on these rows. */
static mica_status measure_new(const mica_engine *engine, const options *o, prototypes *s,
                               const mica_view *x, mica_fitted *fitted) {
  int64_t n = mica_rows_n(x), c = s->classes - 1;
  double *own = mica_malloc((size_t)n * sizeof *own);
  int64_t *label = mica_malloc((size_t)n * sizeof *label);
  mica_status status = own && label ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) {
    own_job j = {s, x, NULL, c, own};
    status = mica_chunks_run(engine, mica_chunks_of(n, block_rows), (size_t)s->d * sizeof(double),
                             own_chunk, &j);
  }
  if (!status && n >= 2) {
    s->spread[c] = 0;
    for (int64_t i = 0; i < n; i++) s->spread[c] += own[i] / (double)n;
  }
  if (!status && s->pooled < 0 && n >= 2) {
    for (int64_t i = 0; i < n; i++) label[i] = c;
    double sharpness = s->sharpness;
    pool(s, 0, o->prior);
    status = calibrate(engine, o, s, x, label, fitted);
    if (status) s->pooled = -1, s->sharpness = sharpness, s->doubt = 0;
  }
  mica_free(own);
  mica_free(label);
  return status;
}

static mica_status add_class(const mica_engine *engine, const void *given, void *state,
                             const mica_view *x, mica_fitted *fitted) {
  const options *o = given;
  prototypes *s = state;
  mica_status status = make_room(s);
  if (status) return status;
  int64_t c = s->classes, count;
  double *mean = s->mean + c * s->d;
  mica_row_form form = form_of(s);
  status = mica_group_sums(engine, x, &form, NULL, 1, mean, &count);
  if (status) return status;
  for (int64_t j = 0; j < s->d; j++) mean[j] /= (double)count;
  s->count[c] = (double)count;
  s->spread[c] = -1;
  s->classes++;
  status = measure_new(engine, o, s, x, fitted);
  if (status) {
    s->classes--;
    return status;
  }
  fitted->classes = fitted->outputs = s->classes;
  return MICA_OK;
}

/* ---- prediction and record ---- */

static mica_status predict(const mica_engine *engine, const void *o, const void *state,
                           const mica_view *x, mica_prediction *out) {
  const prototypes *s = state;
  int64_t n = mica_rows_n(x);
  double *own, *score = mica_scores_begin(n, s->classes, out, &own);
  if (!score) return MICA_ERR_MEMORY;
  mica_status status = distances(engine, o, s, x, NULL, NULL, n, score, out->anomaly);
  if (!status && out->anomaly) add_doubt(o, s, n, score, out->anomaly);
  if (!status) mica_scores_answer(n, s->classes, s->sharpness, score, out);
  mica_free(own);
  return status;
}

static mica_status save(const void *state, mica_record *record) {
  const prototypes *s = state;
  double scalars[4] = {s->pooled, s->strength, s->sharpness, s->doubt};
  mica_status status = mica_record_put_f64(record, "mean", MICA_SHAPE(s->classes, s->d), s->mean);
  if (!status) status = mica_record_put_f64(record, "centre", MICA_SHAPE(s->d), s->centre);
  if (!status) status = mica_record_put_f64(record, "count", MICA_SHAPE(s->classes), s->count);
  if (!status) status = mica_record_put_f64(record, "spread", MICA_SHAPE(s->classes), s->spread);
  return status ? status : mica_record_put_f64(record, "scale", MICA_SHAPE(4), scalars);
}

static mica_status load(const mica_engine *engine, const void *given, const mica_fitted *fitted,
                        const mica_record *record, void **state) {
  (void)engine;
  const options *o = given;
  prototypes *s;
  double scalars[4];
  int64_t classes = fitted->classes, d = fitted->features;
  mica_status status = create(d, classes, o->metric == COSINE, &s);
  if (status) return status;
  status = mica_record_take_f64(record, "mean", MICA_SHAPE(classes, d), false, s->mean);
  if (!status) status = mica_record_take_f64(record, "centre", MICA_SHAPE(d), false, s->centre);
  if (!status) status = mica_record_take_counts(record, classes, s->count);
  if (!status)
    status = mica_record_take_f64(record, "spread", MICA_SHAPE(classes), false, s->spread);
  if (!status) status = mica_record_take_f64(record, "scale", MICA_SHAPE(4), false, scalars);
  if (!status && (!(scalars[1] >= 0) || !(scalars[2] > 0)))
    status = mica_fail(MICA_ERR_FORMAT,
                       "estimator record: strength %g and sharpness %g, expected positive",
                       scalars[1], scalars[2]);
  if (status) {
    free_state(s);
    return status;
  }
  s->pooled = scalars[0];
  s->strength = scalars[1];
  s->sharpness = scalars[2];
  s->doubt = scalars[3];
  *state = s;
  return MICA_OK;
}

static const mica_estimator_functions functions = {
    .size = sizeof functions,
    .abilities = MICA_ESTIMATOR_CLASSIFIES | MICA_ESTIMATOR_DETECTS | MICA_ESTIMATOR_ADDS_CLASSES |
                 MICA_ESTIMATOR_PROBABILITIES,
    .rejection = rejection,
    .fit = fit,
    .free = free_state,
    .predict = predict,
    .add_class = add_class,
    .save = save,
    .load = load,
};

extern const mica_component mica_component_estimator_prototypes;
const mica_component mica_component_estimator_prototypes = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_ESTIMATOR,
    "prototypes",
    "nearest class mean, classes added at run time, calibrated \"none of these\"",
    NULL,
    option_table,
    sizeof(options),
    MICA_NEED_FEATURES | MICA_NEED_LABELS,
    MICA_NEED_LOGITS,
    &functions};
