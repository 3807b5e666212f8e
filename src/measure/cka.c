/* Centred kernel alignment of two sets of features of the same rows (Kornblith et al. 2019):
 *
 *   CKA = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))
 *
 * with K and L the rows' kernels. The linear kernel never makes them: with centred X and Y,
 * tr(KL) = |X^T Y|^2 over the features, whatever N is, and so is the unbiased estimate of HSIC
 * (Song et al. 2012), which is centred by itself and takes the diagonals k_i = |x_i|^2, l_i =
 * |y_i|^2:
 *
 *   |X^T Y|^2 - N / (N - 2) sum k_i l_i + sum k_i sum l_i / ((N - 1) (N - 2)).
 */
#include <mica/measure.h>

#include "measure/pairs.h"
#include "measure/spectrum.h"
#include "numeric/rows.h"
#include "numeric/sort.h"

#include <mica/numeric.h>

#include <math.h>
#include <string.h>

typedef struct options {
  uint32_t size;
  int32_t kernel;
  bool debiased;
  double bandwidth;
  int64_t rows;
} options;

enum { linear, rbf };

static const mica_option option_table[] = {
    {"kernel", MICA_OPTION_CHOICE, "linear", 0, 0, "linear|rbf", "similarity of two rows",
     offsetof(options, kernel)},
    {"debiased", MICA_OPTION_BOOL, "false", 0, 0, NULL,
     "the unbiased estimate, for few rows and many columns", offsetof(options, debiased)},
    {"bandwidth", MICA_OPTION_FLOAT, "0.5", 0.001, 1000, NULL,
     "of rbf, as a share of the median distance", offsetof(options, bandwidth)},
    {"rows", MICA_OPTION_INT, "3000", 4, 20000, NULL, "the most rows that rbf looks at",
     offsetof(options, rows)},
    {NULL, MICA_OPTION_BOOL, NULL, 0, 0, NULL, NULL, 0}};

static double squares(const double *v, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += v[i] * v[i];
  return sum;
}

/* ---- linear ---- */

/* |row - mean|^2 of each row. */
static mica_status lengths(const mica_view *x, const double *mean, double *out) {
  const int64_t d = mica_rows_d(x);
  double *row = mica_realloc_array(NULL, (size_t)d, sizeof *row);
  if (!row) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < mica_rows_n(x); i++) {
    mica_rows_load(x, i, i + 1, mean, row);
    out[i] = mica_sum_squares(row, d);
  }
  mica_free(row);
  return MICA_OK;
}

static double linear_hsic(double cross, const double *k, const double *l, int64_t n,
                          bool debiased) {
  double both = 0, sk = 0, sl = 0;
  const double m = (double)n;
  if (!debiased) return cross;
  for (int64_t i = 0; i < n; i++) {
    both += k[i] * l[i];
    sk += k[i];
    sl += l[i];
  }
  return cross - m / (m - 2) * both + sk * sl / ((m - 1) * (m - 2));
}

static mica_status linear_cka(const mica_engine *engine, const options *o,
                              const mica_measure_data *data, double hsic[3]) {
  const mica_view *x = &data->x, *y = data->other;
  const int64_t n = mica_rows_n(x), d = mica_rows_d(x), e = mica_rows_d(y), most = d > e ? d : e;
  double *mx = mica_realloc_array(NULL, (size_t)(d + e), sizeof *mx), *my = mx + d;
  double *k = mica_realloc_array(NULL, (size_t)n, 2 * sizeof *k), *l = k + n;
  double *cross = mica_realloc_array(NULL, (size_t)most, (size_t)most * sizeof *cross);
  mica_status status = mx && k && cross ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) status = mica_column_means(engine, x, mx);
  if (!status) status = mica_column_means(engine, y, my);
  if (!status) status = lengths(x, mx, k);
  if (!status) status = lengths(y, my, l);
  if (!status) status = mica_cross_scatter(engine, x, mx, y, my, cross);
  if (!status) hsic[0] = linear_hsic(squares(cross, d * e), k, l, n, o->debiased);
  if (!status) status = mica_cross_scatter(engine, x, mx, x, mx, cross);
  if (!status) hsic[1] = linear_hsic(squares(cross, d * d), k, k, n, o->debiased);
  if (!status) status = mica_cross_scatter(engine, y, my, y, my, cross);
  if (!status) hsic[2] = linear_hsic(squares(cross, e * e), l, l, n, o->debiased);
  mica_free(cross);
  mica_free(k);
  mica_free(mx);
  return status;
}

/* ---- kernels of a sample ---- */

typedef struct gram {
  int64_t n;
  double *k;
} gram;

static void keep_row(void *ctx, int64_t i, const double *square) {
  gram *g = ctx;
  memcpy(g->k + i * g->n, square, (size_t)g->n * sizeof *square);
}

/* exp(-|x - y|^2 / (2 (bandwidth median)^2)), the median that of distances between rows. */
static mica_status rbf_kernel(gram *g, double bandwidth) {
  const int64_t n = g->n, pairs = n * (n - 1) / 2;
  double *square = mica_realloc_array(NULL, (size_t)pairs, sizeof *square);
  if (!square) return MICA_ERR_MEMORY;
  for (int64_t i = 0, at = 0; i < n; i++)
    for (int64_t j = 0; j < i; j++) square[at++] = g->k[i * n + j];
  mica_sort_doubles(square, pairs);
  const double median = mica_quantile_sorted(square, pairs, 0.5);
  mica_free(square);
  if (!(median > 0))
    return mica_fail(MICA_ERR_NUMERIC, "cka: half of the pairs of rows are the same row");
  const double scale = -1 / (2 * bandwidth * bandwidth * median);
  for (int64_t i = 0; i < n * n; i++) g->k[i] = exp(scale * g->k[i]);
  return MICA_OK;
}

/* Make it ready for products: zero means of rows and columns, or for the unbiased estimate those of
 * U-centring (Szekely and Rizzo 2014) and a diagonal of zeros. */
static mica_status centre(gram *g, bool debiased) {
  const int64_t n = g->n;
  double *mean = mica_calloc((size_t)n, sizeof *mean), all = 0;
  if (!mean) return MICA_ERR_MEMORY;
  const double rows = debiased ? (double)(n - 2) : (double)n;
  for (int64_t i = 0; i < n; i++) {
    if (debiased) g->k[i * n + i] = 0;
    for (int64_t j = 0; j < n; j++) mean[i] += g->k[i * n + j];
    all += mean[i];
    mean[i] /= rows;
  }
  all /= debiased ? (double)(n - 1) * (double)(n - 2) : (double)n * (double)n;
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = 0; j < n; j++)
      g->k[i * n + j] = debiased && i == j ? 0 : g->k[i * n + j] - mean[i] - mean[j] + all;
  mica_free(mean);
  return MICA_OK;
}

static mica_status make_kernel(const mica_engine *engine, const mica_view *x, const options *o,
                               uint64_t seed, gram *g) {
  mica_row_sample sample;
  mica_status status = mica_row_sample_take(x, o->rows, seed, false, &sample);
  if (status) return status;
  g->n = sample.n;
  g->k = mica_realloc_array(NULL, (size_t)g->n, (size_t)g->n * sizeof *g->k);
  if (!g->k) status = MICA_ERR_MEMORY;
  if (!status) status = mica_pairs_walk(engine, &sample, keep_row, g);
  mica_row_sample_free(&sample);
  if (!status) status = rbf_kernel(g, o->bandwidth);
  return status ? status : centre(g, o->debiased);
}

static mica_status kernel_cka(const mica_engine *engine, const options *o,
                              const mica_measure_data *data, double hsic[3]) {
  gram k = {0, NULL}, l = {0, NULL};
  mica_status status = make_kernel(engine, &data->x, o, data->seed, &k);
  if (!status) status = make_kernel(engine, data->other, o, data->seed, &l);
  hsic[0] = 0;
  for (int64_t i = 0; i < k.n * k.n && !status; i++) hsic[0] += k.k[i] * l.k[i];
  if (!status) {
    hsic[1] = squares(k.k, k.n * k.n);
    hsic[2] = squares(l.k, k.n * k.n);
  }
  mica_free(l.k);
  mica_free(k.k);
  return status;
}

static mica_status measure(const mica_engine *engine, const void *opt,
                           const mica_measure_data *data, mica_findings *f) {
  const options *o = opt;
  const int64_t n = mica_rows_n(&data->x);
  double hsic[3] = {0, 0, 0};
  if (n < 4 && o->debiased)
    return mica_fail(MICA_ERR_SHAPE, "cka: %lld rows, the unbiased estimate needs 4", (long long)n);
  mica_status status =
      o->kernel == linear ? linear_cka(engine, o, data, hsic) : kernel_cka(engine, o, data, hsic);
  if (status) return status;
  if (!(hsic[1] > 0 && hsic[2] > 0))
    return mica_fail(MICA_ERR_NUMERIC, "cka: the rows of one of the two do not differ enough");
  status = mica_findings_number(f, "cka", hsic[0] / (sqrt(hsic[1]) * sqrt(hsic[2])),
                                "1: the same up to rotation and scale; 0: nothing in common");
  if (!status)
    status = mica_findings_number(f, "rows_compared",
                                  (double)(o->kernel == linear || n < o->rows ? n : o->rows),
                                  "rows that were looked at");
  return status;
}

static const mica_measure_functions functions = {sizeof functions, measure};

extern const mica_component mica_component_measure_cka;
const mica_component mica_component_measure_cka = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_MEASURE,
    "cka",
    "centred kernel alignment of two sets of features",
    NULL,
    option_table,
    sizeof(options),
    MICA_NEED_FEATURES | MICA_NEED_TWO_VIEWS,
    0,
    &functions};
