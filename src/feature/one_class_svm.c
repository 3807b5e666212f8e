/* One-class support vector machine with a radial kernel (Scholkopf et al. 2001): the smallest
 * region that holds all but a share nu of the rows.
 *
 *     minimise 1/2 sum_ij a_i a_j K(x_i, x_j),  0 <= a_i <= 1 / (nu n),  sum_i a_i = 1,
 *     K(x, y) = exp(-gamma |x - y|^2);  score(x) = rho - sum_i a_i K(x_i, x), above 0 outside.
 *
 * Solved by sequential minimal optimisation: two multipliers at a time, the pair chosen by the
 * second-order rule of Fan, Chen and Lin (2005), until no pair violates the optimality conditions
 * by more than `tol` (inside, the multipliers are nu n times as large, as libraries have them, and
 * so is what tol bounds). Rows of the kernel are kept while they fit in 256 MB. Every level, a
 * range of columns, is a machine of its own; a row's score is the mean over levels. Memory: 8 n D
 * bytes and the kernel's rows.
 *
 * Scores of rows that the machine had not seen, which thresholds come from, are those of machines
 * fitted on four fifths of the rows.
 */
#include "feature/levels.h"
#include "feature/record.h"
#include "numeric/chunks.h"
#include "numeric/rows.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { calibration_folds = 5, rows_per_chunk = 512, cache_bytes = 256 << 20 };

typedef struct options {
  uint32_t size;
  mica_ints levels;
  double nu, gamma, tol, reject;
  int64_t max_iter;
  bool boundary;
} options;

static const mica_option option_table[] = {
    {"levels", MICA_OPTION_INTS, "", 1, 1e9, NULL,
     "columns of each level, in order; empty: all columns are one level",
     offsetof(options, levels)},
    {"nu", MICA_OPTION_FLOAT, "0.5", 1e-9, 1, NULL,
     "share of the rows that may lie outside, and least share of support vectors",
     offsetof(options, nu)},
    {"gamma", MICA_OPTION_FLOAT, "0", 0, 1e12, NULL,
     "of the kernel; 0: scale, 1 / (columns times the variance of all numbers)",
     offsetof(options, gamma)},
    {"tol", MICA_OPTION_FLOAT, "0.001", 1e-12, 1, NULL,
     "largest violation of the optimality conditions", offsetof(options, tol)},
    {"max_iter", MICA_OPTION_INT, "10000000", 1, 1e15, NULL, "steps at most, of each level",
     offsetof(options, max_iter)},
    {"boundary", MICA_OPTION_BOOL, "false", 0, 0, NULL,
     "refuse what lies outside the machine's own boundary, whatever share that is",
     offsetof(options, boundary)},
    {"reject", MICA_OPTION_FLOAT, "0.05", 0, 0.999, NULL,
     "share of normal rows that may be called anomalous", offsetof(options, reject)},
    {NULL, MICA_OPTION_BOOL, NULL, 0, 0, NULL, NULL, 0}};

static double rejection(const void *o) {
  return ((const options *)o)->reject;
}

typedef struct machine {
  int64_t begin, d; /* columns */
  int64_t n;        /* support vectors */
  double *mean;     /* [d], subtracted first: distances keep their digits */
  double *vector;   /* [n, d] centred */
  double *square;   /* [n] their squared lengths */
  double *alpha;    /* [n] */
  double gamma, rho;
} machine;

typedef struct svm {
  int64_t levels;
  machine *level;
} svm;

static void machine_end(machine *m) {
  mica_free(m->mean);
  mica_free(m->vector);
  mica_free(m->square);
  mica_free(m->alpha);
  m->mean = m->vector = m->square = m->alpha = NULL;
}

static void free_state(void *state) {
  svm *s = state;
  if (!s) return;
  for (int64_t l = 0; s->level && l < s->levels; l++) machine_end(&s->level[l]);
  mica_free(s->level);
  mica_free(s);
}

static mica_status create(const options *o, int64_t d, svm **out) {
  int64_t begin = 0;
  const mica_status status = mica_levels_check(&o->levels, d, "one_class_svm");
  if (status) return status;
  svm *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  s->levels = mica_levels_count(&o->levels);
  s->level = mica_calloc((size_t)s->levels, sizeof *s->level);
  if (!s->level) {
    mica_free(s);
    return MICA_ERR_MEMORY;
  }
  for (int64_t l = 0; l < s->levels; l++) {
    s->level[l].begin = begin;
    s->level[l].d = mica_levels_width(&o->levels, l, d);
    begin += s->level[l].d;
  }
  *out = s;
  return MICA_OK;
}

static double kernel(const double *x, double x_square, const double *y, double y_square, int64_t d,
                     double gamma) {
  return exp(-gamma * fmax(0, x_square + y_square - 2 * mica_dot(x, y, d)));
}

/* ---- rows of the kernel ---- */

typedef struct kernel_rows {
  const mica_engine *engine;
  const double *x, *square;
  int64_t n, d;
  double gamma;
  int64_t slots, next; /* the slot that is given up next */
  int64_t *slot_of;    /* [n], -1: not kept */
  int64_t *row_in;     /* [slots], -1: empty */
  double *value;       /* [slots, n] */
} kernel_rows;

static mica_status kernel_begin(kernel_rows *k) {
  const int64_t fit = cache_bytes / (int64_t)sizeof(double) / k->n;
  k->slots = fit > k->n ? k->n : fit < 2 ? 2 : fit;
  k->slot_of = mica_malloc((size_t)k->n * sizeof *k->slot_of);
  k->row_in = mica_malloc((size_t)k->slots * sizeof *k->row_in);
  k->value = mica_malloc((size_t)k->slots * (size_t)k->n * sizeof *k->value);
  if (!k->slot_of || !k->row_in || !k->value) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < k->n; i++) k->slot_of[i] = -1;
  for (int64_t i = 0; i < k->slots; i++) k->row_in[i] = -1;
  return MICA_OK;
}

static void kernel_end(kernel_rows *k) {
  mica_free(k->slot_of);
  mica_free(k->row_in);
  mica_free(k->value);
}

typedef struct {
  const kernel_rows *k;
  int64_t row;
  double *out;
} kernel_job;

static mica_status kernel_chunk(void *ctx, int64_t chunk, void *scratch) {
  (void)scratch;
  const kernel_job *j = ctx;
  const kernel_rows *k = j->k;
  const int64_t begin = chunk * rows_per_chunk;
  const int64_t end = begin + rows_per_chunk < k->n ? begin + rows_per_chunk : k->n;
  for (int64_t i = begin; i < end; i++)
    j->out[i] = kernel(k->x + j->row * k->d, k->square[j->row], k->x + i * k->d, k->square[i], k->d,
                       k->gamma);
  return MICA_OK;
}

/* Row i, valid until two others were asked for; `pinned` is not given up for it. */
static mica_status kernel_row(kernel_rows *k, int64_t i, int64_t pinned, const double **out) {
  if (k->slot_of[i] < 0) {
    if (k->row_in[k->next] == pinned && pinned >= 0) k->next = (k->next + 1) % k->slots;
    const int64_t slot = k->next;
    k->next = (k->next + 1) % k->slots;
    if (k->row_in[slot] >= 0) k->slot_of[k->row_in[slot]] = -1;
    k->row_in[slot] = -1;
    kernel_job j = {k, i, k->value + slot * k->n};
    const mica_status status =
        mica_chunks_run(k->engine, mica_chunks_of(k->n, rows_per_chunk), 0, kernel_chunk, &j);
    if (status) return status;
    k->row_in[slot] = i;
    k->slot_of[i] = slot;
  }
  *out = k->value + k->slot_of[i] * k->n;
  return MICA_OK;
}

/* ---- sequential minimal optimisation ---- */

typedef struct solution {
  double *alpha, *gradient; /* [n]; the gradient is K alpha */
  double rho;
  int64_t iterations;
  bool converged;
} solution;

/* The multipliers begin full, one after the other, until they sum to nu n. */
static mica_status start(kernel_rows *k, double nu, solution *s) {
  double left = nu * (double)k->n;
  for (int64_t i = 0; i < k->n; i++) {
    const double *row;
    s->alpha[i] = fmin(1, fmax(0, left));
    left -= s->alpha[i];
    if (s->alpha[i] <= 0) continue;
    const mica_status status = kernel_row(k, i, -1, &row);
    if (status) return status;
    for (int64_t t = 0; t < k->n; t++) s->gradient[t] += s->alpha[i] * row[t];
  }
  return MICA_OK;
}

/* The one that should grow: the smallest gradient below the bound. */
static int64_t choose_up(const solution *s, int64_t n) {
  int64_t best = -1;
  for (int64_t t = 0; t < n; t++)
    if (s->alpha[t] < 1 && (best < 0 || s->gradient[t] < s->gradient[best])) best = t;
  return best;
}

/* The one that should shrink for it: the largest decrease of the objective. *violation is that of
 * the largest gradient above 0. */
static int64_t choose_down(const solution *s, int64_t n, int64_t i, const double *row,
                           double *violation) {
  int64_t best = -1;
  double gain = -1, most = -INFINITY;
  for (int64_t t = 0; t < n; t++) {
    if (s->alpha[t] <= 0) continue;
    const double difference = s->gradient[t] - s->gradient[i];
    if (difference > most) most = difference;
    if (difference <= 0) continue;
    const double curve = fmax(2 - 2 * row[t], 1e-12);
    if (difference * difference / curve > gain) gain = difference * difference / curve, best = t;
  }
  *violation = most;
  return best;
}

/* The level of the free multipliers' gradients, which all agree at the optimum. */
static double level_of(const solution *s, int64_t n) {
  double sum = 0, lo = -INFINITY, hi = INFINITY;
  int64_t free = 0;
  for (int64_t t = 0; t < n; t++) {
    if (s->alpha[t] >= 1)
      lo = fmax(lo, s->gradient[t]);
    else if (s->alpha[t] <= 0)
      hi = fmin(hi, s->gradient[t]);
    else
      sum += s->gradient[t], free++;
  }
  if (free) return sum / (double)free;
  return isinf(hi) ? lo : isinf(lo) ? hi : 0.5 * (lo + hi);
}

static mica_status solve(kernel_rows *k, const options *o, const mica_fit_data *data, solution *s) {
  mica_status status = start(k, o->nu, s);
  for (; !status && s->iterations < o->max_iter; s->iterations++) {
    const double *up, *down;
    double violation = 0;
    const int64_t i = choose_up(s, k->n);
    if (i >= 0) status = kernel_row(k, i, -1, &up);
    const int64_t j = i < 0 || status ? -1 : choose_down(s, k->n, i, up, &violation);
    if (status) break;
    if (i < 0 || j < 0 || violation < o->tol) {
      s->converged = true;
      break;
    }
    status = kernel_row(k, j, i, &down);
    if (status) break;
    const double curve = fmax(2 - 2 * up[j], 1e-12);
    double step = (s->gradient[j] - s->gradient[i]) / curve;
    /* A bound is reached exactly, or the pair would come again. */
    const double most = fmin(1 - s->alpha[i], s->alpha[j]);
    if (step >= most) {
      step = most;
      s->alpha[i] = most < 1 - s->alpha[i] ? s->alpha[i] + most : 1;
      s->alpha[j] = most < s->alpha[j] ? s->alpha[j] - most : 0;
    } else {
      s->alpha[i] += step;
      s->alpha[j] -= step;
    }
    for (int64_t t = 0; t < k->n; t++) s->gradient[t] += step * (up[t] - down[t]);
    if (data && data->progress && s->iterations % 4096 == 4095 &&
        data->progress(data->progress_ctx, "solving", s->iterations, o->max_iter))
      status = mica_fail(MICA_ERR_CANCELLED, "one_class_svm: cancelled");
  }
  s->rho = level_of(s, k->n);
  return status;
}

/* 1 / (columns times the variance of all numbers). */
static double scale_gamma(const double *x, const double *mean, int64_t n, int64_t d) {
  double total = 0, square = 0;
  for (int64_t j = 0; j < d; j++) total += mean[j];
  total /= (double)d;
  for (int64_t i = 0; i < n * d; i++) {
    const double v = x[i] + mean[i % d] - total;
    square += v * v;
  }
  const double variance = square / (double)(n * d);
  return variance > 0 ? 1 / ((double)d * variance) : 1;
}

/* Keep the rows whose multipliers are not 0. */
static mica_status keep_vectors(machine *m, const kernel_rows *k, const solution *s, double total) {
  for (int64_t i = 0; i < k->n; i++) m->n += s->alpha[i] > 0;
  m->vector = mica_malloc((size_t)(m->n * m->d) * sizeof *m->vector);
  m->square = mica_malloc((size_t)m->n * sizeof *m->square);
  m->alpha = mica_malloc((size_t)m->n * sizeof *m->alpha);
  if (!m->vector || !m->square || !m->alpha) return MICA_ERR_MEMORY;
  int64_t at = 0;
  for (int64_t i = 0; i < k->n; i++) {
    if (!(s->alpha[i] > 0)) continue;
    memcpy(m->vector + at * m->d, k->x + i * m->d, (size_t)m->d * sizeof *m->vector);
    m->square[at] = k->square[i];
    m->alpha[at++] = s->alpha[i] / total;
  }
  return MICA_OK;
}

/* One machine on n rows [n, d], which are centred in place. */
static mica_status fit_machine(const mica_engine *engine, const options *o,
                               const mica_fit_data *data, double *x, int64_t n, machine *m,
                               mica_fit_report *report) {
  const int64_t d = m->d;
  double *work = mica_calloc((size_t)(3 * n), sizeof *work);
  m->mean = mica_calloc((size_t)d, sizeof *m->mean);
  solution s = {work, work ? work + n : NULL, 0, 0, false};
  kernel_rows k = {.engine = engine, .x = x, .n = n, .d = d};
  mica_status status = work && m->mean ? kernel_begin(&k) : MICA_ERR_MEMORY;
  if (!status) {
    double *square = work + 2 * n;
    for (int64_t i = 0; i < n * d; i++) m->mean[i % d] += x[i];
    for (int64_t j = 0; j < d; j++) m->mean[j] /= (double)n;
    for (int64_t i = 0; i < n * d; i++) x[i] -= m->mean[i % d];
    for (int64_t i = 0; i < n; i++) square[i] = mica_sum_squares(x + i * d, d);
    k.square = square;
    k.gamma = m->gamma = o->gamma > 0 ? o->gamma : scale_gamma(x, m->mean, n, d);
    status = solve(&k, o, data, &s);
  }
  if (!status) {
    m->rho = s.rho / (o->nu * (double)n);
    status = keep_vectors(m, &k, &s, o->nu * (double)n);
  }
  if (!status && report) {
    report->iterations += s.iterations;
    if (!s.converged) report->converged = 0;
  }
  kernel_end(&k);
  mica_free(work);
  return status;
}

/* ---- scores ---- */

typedef struct {
  const svm *s;
  const mica_view *x;
  double *score, *anomaly; /* [N, levels], [N]; NULL: not wanted */
} score_job;

enum { score_rows = 32 };

static mica_status score_chunk(void *ctx, int64_t chunk, void *scratch) {
  const score_job *j = ctx;
  const int64_t n = mica_rows_n(j->x), levels = j->s->levels, begin = chunk * score_rows;
  const int64_t end = begin + score_rows < n ? begin + score_rows : n;
  for (int64_t i = begin; i < end; i++) {
    double mean = 0;
    for (int64_t l = 0; l < levels; l++) {
      const machine *m = &j->s->level[l];
      const mica_view columns = mica_rows_columns(j->x, m->begin, m->begin + m->d);
      mica_rows_load(&columns, i, i + 1, m->mean, scratch);
      const double square = mica_sum_squares(scratch, m->d);
      double sum = 0;
      for (int64_t v = 0; v < m->n; v++)
        sum += m->alpha[v] *
               kernel(scratch, square, m->vector + v * m->d, m->square[v], m->d, m->gamma);
      if (j->score) j->score[i * levels + l] = m->rho - sum;
      mean += (m->rho - sum) / (double)levels;
    }
    if (j->anomaly) j->anomaly[i] = mean;
  }
  return MICA_OK;
}

static mica_status score(const mica_engine *engine, const svm *s, const mica_view *x, double *by,
                         double *anomaly) {
  int64_t widest = 1;
  for (int64_t l = 0; l < s->levels; l++)
    if (s->level[l].d > widest) widest = s->level[l].d;
  score_job j = {s, x, by, anomaly};
  return mica_chunks_run(engine, mica_chunks_of(mica_rows_n(x), score_rows),
                         (size_t)widest * sizeof(double), score_chunk, &j);
}

static mica_status predict(const mica_engine *engine, const void *o, const void *state,
                           const mica_view *x, mica_prediction *out) {
  (void)o;
  for (int64_t i = 0; out->label && i < mica_rows_n(x); i++) out->label[i] = 0;
  if (!out->score && !out->anomaly) return MICA_OK;
  return score(engine, state, x, out->score, out->anomaly);
}

/* ---- fit ---- */

/* All levels on the rows outside of `fold`; -1: on all. */
static mica_status fit_levels(const mica_engine *engine, const options *o,
                              const mica_fit_data *data, int64_t fold, svm *s,
                              mica_fit_report *report) {
  const int64_t n = mica_rows_n(&data->x);
  mica_status status = MICA_OK;
  for (int64_t l = 0; l < s->levels && !status; l++) {
    machine *m = &s->level[l];
    const mica_view columns = mica_rows_columns(&data->x, m->begin, m->begin + m->d);
    double *x = mica_malloc((size_t)(n * m->d) * sizeof *x);
    int64_t rows = 0;
    if (!x) return MICA_ERR_MEMORY;
    for (int64_t i = 0; i < n; i++)
      if (fold < 0 || i % calibration_folds != fold)
        mica_rows_load(&columns, i, i + 1, NULL, x + rows++ * m->d);
    status = fit_machine(engine, o, data, x, rows, m, report);
    mica_free(x);
    if (data->progress && !status && fold < 0 &&
        data->progress(data->progress_ctx, "fitting levels", l + 1, s->levels))
      status = mica_fail(MICA_ERR_CANCELLED, "one_class_svm: cancelled");
  }
  return status;
}

/* The scores of a fold's rows by a machine without them, put behind those that are there. */
static mica_status score_fold(const mica_engine *engine, const options *o,
                              const mica_fit_data *data, int64_t fold, mica_fitted *fitted) {
  const int64_t d = mica_rows_d(&data->x), levels = fitted->outputs;
  svm *s = NULL;
  mica_status status = create(o, d, &s);
  if (!status) status = fit_levels(engine, o, data, fold, s, NULL);
  for (int64_t i = fold; i < mica_rows_n(&data->x) && !status; i += calibration_folds) {
    mica_view row = data->x;
    row.shape.dim[0] = 1;
    row.data = (char *)data->x.data + (size_t)(i * data->x.row_stride) * mica_dtype_size(row.dtype);
    const int64_t at = fitted->calibration_count++;
    status =
        score(engine, s, &row, fitted->level_calibration + at * levels, fitted->calibration + at);
  }
  free_state(s);
  return status;
}

static mica_status fit(const mica_engine *engine, const void *given, const mica_fit_data *data,
                       mica_fitted *fitted, mica_fit_report *report, void **state) {
  const options *o = given;
  const int64_t n = mica_rows_n(&data->x);
  svm *s;
  mica_status status = create(o, mica_rows_d(&data->x), &s);
  if (status) return status;
  fitted->task = MICA_TASK_ANOMALY;
  fitted->classes = 1;
  fitted->outputs = s->levels;
  status = fit_levels(engine, o, data, -1, s, report);
  const bool own_rows = !o->boundary && !data->held_out && n >= 2 * calibration_folds;
  if (!status && own_rows) {
    fitted->calibration = mica_malloc((size_t)n * sizeof *fitted->calibration);
    fitted->level_calibration =
        mica_malloc((size_t)(n * s->levels) * sizeof *fitted->level_calibration);
    if (!fitted->calibration || !fitted->level_calibration) status = MICA_ERR_MEMORY;
    for (int64_t k = 0; k < calibration_folds && !status; k++)
      status = score_fold(engine, o, data, k, fitted);
  }
  if (status) {
    mica_free(fitted->calibration);
    mica_free(fitted->level_calibration);
    fitted->calibration = fitted->level_calibration = NULL;
    free_state(s);
    return status;
  }
  size_t at = 0;
  for (int64_t l = 0; l < s->levels && l < MICA_LIST_MAX; l++) {
    const machine *m = &s->level[l];
    report->level[report->levels++] = (mica_fit_level){m->d, 0, m->d, NAN};
    if (at + 40 < sizeof report->note)
      at += (size_t)snprintf(report->note + at, sizeof report->note - at, "%s%lld support vectors",
                             l ? ", " : "", (long long)m->n);
  }
  *state = s;
  return MICA_OK;
}

static double threshold(const void *o, const void *state, double rate) {
  (void)state;
  (void)rate;
  return ((const options *)o)->boundary ? 0 : NAN;
}

/* ---- record ---- */

static mica_status save(const void *state, mica_record *record) {
  const svm *s = state;
  char name[48];
  mica_status status = MICA_OK;
  for (int64_t l = 0; l < s->levels && !status; l++) {
    const machine *m = &s->level[l];
    const double numbers[2] = {m->gamma, m->rho};
    status =
        mica_record_put_f64(record, mica_level_name(l, "mean", name), MICA_SHAPE(m->d), m->mean);
    if (!status)
      status = mica_record_put_f64(record, mica_level_name(l, "vectors", name),
                                   MICA_SHAPE(m->n, m->d), m->vector);
    if (!status)
      status = mica_record_put_f64(record, mica_level_name(l, "alpha", name), MICA_SHAPE(m->n),
                                   m->alpha);
    if (!status)
      status =
          mica_record_put_f64(record, mica_level_name(l, "kernel", name), MICA_SHAPE(2), numbers);
  }
  return status;
}

static mica_status load_machine(const mica_record *record, int64_t l, machine *m) {
  char name[48];
  double numbers[2];
  const mica_tensor *alpha = mica_record_get(record, mica_level_name(l, "alpha", name));
  if (!alpha || mica_tensor_shape(alpha)->rank != 1 || mica_tensor_dim(alpha, 0) < 1)
    return mica_fail(MICA_ERR_FORMAT, "estimator record: no \"%s\" of one dimension", name);
  m->n = mica_tensor_dim(alpha, 0);
  if (m->n > INT64_MAX / 16 / m->d)
    return mica_fail(MICA_ERR_FORMAT, "estimator record: %lld support vectors of %lld columns",
                     (long long)m->n, (long long)m->d);
  m->mean = mica_malloc((size_t)m->d * sizeof *m->mean);
  m->vector = mica_calloc((size_t)m->n, (size_t)m->d * sizeof *m->vector);
  m->square = mica_malloc((size_t)m->n * sizeof *m->square);
  m->alpha = mica_malloc((size_t)m->n * sizeof *m->alpha);
  if (!m->mean || !m->vector || !m->square || !m->alpha) return MICA_ERR_MEMORY;
  mica_status status = mica_record_take_f64(record, mica_level_name(l, "mean", name),
                                            MICA_SHAPE(m->d), false, m->mean);
  if (!status)
    status = mica_record_take_f64(record, mica_level_name(l, "vectors", name),
                                  MICA_SHAPE(m->n, m->d), false, m->vector);
  if (!status)
    status = mica_record_take_f64(record, mica_level_name(l, "alpha", name), MICA_SHAPE(m->n),
                                  false, m->alpha);
  if (!status)
    status = mica_record_take_f64(record, mica_level_name(l, "kernel", name), MICA_SHAPE(2), false,
                                  numbers);
  if (status) return status;
  m->gamma = numbers[0];
  m->rho = numbers[1];
  for (int64_t i = 0; i < m->n; i++) m->square[i] = mica_sum_squares(m->vector + i * m->d, m->d);
  return m->gamma > 0
             ? MICA_OK
             : mica_fail(MICA_ERR_FORMAT, "estimator record: a kernel's gamma of %g", m->gamma);
}

static mica_status load(const mica_engine *engine, const void *o, const mica_fitted *fitted,
                        const mica_record *record, void **state) {
  (void)engine;
  svm *s;
  if (fitted->classes != 1)
    return mica_fail(MICA_ERR_FORMAT, "estimator record: %lld classes of one_class_svm",
                     (long long)fitted->classes);
  mica_status status = create(o, fitted->features, &s);
  if (status) return mica_fail_within("estimator record");
  if (fitted->outputs != s->levels)
    status = mica_fail(MICA_ERR_FORMAT, "estimator record: %lld outputs of %lld levels",
                       (long long)fitted->outputs, (long long)s->levels);
  for (int64_t l = 0; l < s->levels && !status; l++) status = load_machine(record, l, &s->level[l]);
  if (status)
    free_state(s);
  else
    *state = s;
  return status;
}

static const mica_estimator_functions functions = {
    .size = sizeof functions,
    .abilities = MICA_ESTIMATOR_DETECTS | MICA_ESTIMATOR_NO_LABELS,
    .rejection = rejection,
    .fit = fit,
    .free = free_state,
    .predict = predict,
    .save = save,
    .load = load,
    .threshold = threshold,
};

extern const mica_component mica_component_estimator_one_class_svm;
const mica_component mica_component_estimator_one_class_svm = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_ESTIMATOR,
    "one_class_svm",
    "one-class support vector machine: anomaly score outside the smallest region of the data",
    NULL,
    option_table,
    sizeof(options),
    MICA_NEED_FEATURES,
    0,
    &functions};
