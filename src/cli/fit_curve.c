/* mica fit --sizes: learning curves of estimators on the same draws, and where they cross. */
#include "cli/curve.h"

#include "base/buffer.h"
#include "base/json.h"
#include "base/number.h"

#include <mica/report.h>

#include <math.h>
#include <string.h>
#include <unistd.h>

#define SIZES_MAX 64

typedef struct job {
  const cli_args *a;
  int32_t n, repeats; /* estimators */
  mica_learning_curve_options o;
  int64_t sizes[SIZES_MAX];
  double *error; /* [n, sizes, repeats] */
  double *mean, *low, *high;
} job;

static bool read_sizes(job *j) {
  const char *text = cli_text(j->a, "--sizes");
  for (const char *at = text; *at; at += *at == ',') {
    int64_t size;
    const size_t used = mica_parse_int64(at, strlen(at), &size);
    const bool ends = used && (at[used] == ',' || !at[used]);
    if (!ends || size < 1 || j->o.n_sizes == SIZES_MAX ||
        (j->o.n_sizes && size <= j->sizes[j->o.n_sizes - 1])) {
      cli_usage(j->a, "--sizes %s: expected up to %d ascending numbers", text, SIZES_MAX);
      return false;
    }
    j->sizes[j->o.n_sizes++] = size;
    at += used;
  }
  return true;
}

static bool read_scaling(job *j) {
  static const char *const name[] = {"none", "minmax", "standard"};
  const char *text = cli_text(j->a, "--scale");
  for (int k = 0; k < 3; k++)
    if (strcmp(text, name[k]) == 0) {
      j->o.scaling = (mica_scaling)k;
      return true;
    }
  cli_usage(j->a, "--scale %s: expected none, minmax or standard", text);
  return false;
}

/* Mean errors with Student's intervals over the repeats. */
static void summarise(job *j) {
  const double n = j->repeats, t = mica_student_quantile(0.975, n - 1);
  for (int32_t k = 0; k < j->n * j->o.n_sizes; k++) {
    const double *e = j->error + (int64_t)k * j->repeats;
    double sum = 0, square = 0;
    for (int32_t r = 0; r < j->repeats; r++) sum += e[r] / n;
    for (int32_t r = 0; r < j->repeats; r++) square += (e[r] - sum) * (e[r] - sum);
    const double half = n > 1 ? t * sqrt(square / (n - 1) / n) : NAN;
    j->mean[k] = sum;
    j->low[k] = fmax(0, sum - half);
    j->high[k] = fmin(1, sum + half);
    if (isnan(half)) j->low[k] = j->high[k] = NAN;
  }
}

static double crossover(const job *j, int32_t k) {
  return mica_crossover(j->o.n_sizes, j->sizes, j->mean, j->mean + k * j->o.n_sizes);
}

static mica_status draw_figure(const job *j, const char *path) {
  mica_line_chart_options o = MICA_LINE_CHART_OPTIONS;
  mica_series series[32];
  double x[SIZES_MAX];
  mica_figure *figure = NULL;
  for (int32_t s = 0; s < j->o.n_sizes; s++) x[s] = (double)j->sizes[s];
  for (int32_t k = 0; k < j->n; k++) {
    const int64_t at = (int64_t)k * j->o.n_sizes;
    series[k] = (mica_series){j->a->operand[k],
                              x,
                              j->mean + at,
                              j->repeats > 1 ? j->low + at : NULL,
                              j->repeats > 1 ? j->high + at : NULL,
                              j->o.n_sizes};
  }
  o.title = "Learning curves";
  o.x.label = "training examples";
  o.x.scale = MICA_AXIS_LOG;
  o.y.label = "test error";
  mica_status status = mica_figure_line_chart(series, j->n, &o, &figure);
  if (status == MICA_OK) status = mica_figure_save(figure, path);
  mica_figure_free(figure);
  return status;
}

static mica_status print_table(const job *j) {
  mica_table_options o = MICA_TABLE_OPTIONS;
  mica_table *t = NULL;
  char *text = NULL, cell[96];
  mica_status status = mica_table_create(&t);
  if (status == MICA_OK) status = mica_table_column(t, "examples", MICA_ALIGN_RIGHT);
  for (int32_t k = 0; k < j->n && status == MICA_OK; k++)
    status = mica_table_column(t, j->a->operand[k], MICA_ALIGN_RIGHT);
  for (int32_t s = 0; s < j->o.n_sizes && status == MICA_OK; s++) {
    status = mica_table_integer(t, j->sizes[s]);
    for (int32_t k = 0; k < j->n && status == MICA_OK; k++) {
      const int32_t at = k * j->o.n_sizes + s;
      int used = snprintf(cell, sizeof cell, "%.4f", j->mean[at]);
      if (j->repeats > 1)
        snprintf(cell + used, sizeof cell - (size_t)used, " (%.4f to %.4f)", j->low[at],
                 j->high[at]);
      status = mica_table_shown(t, j->mean[at], cell);
    }
  }
  if (status == MICA_OK) status = mica_table_render(t, &o, &text);
  if (status == MICA_OK)
    printf("test error, mean of %d draws%s\n%s", j->repeats,
           j->repeats > 1 ? " and its 95 % interval" : "", text);
  for (int32_t k = 1; k < j->n && status == MICA_OK; k++) {
    const double at = crossover(j, k);
    if (isnan(at))
      printf("%s and %s do not cross\n", j->a->operand[0], j->a->operand[k]);
    else
      printf("%s and %s cross at %.0f examples\n", j->a->operand[0], j->a->operand[k], at);
  }
  mica_free(text);
  mica_table_free(t);
  return status;
}

static void print_line(mica_bytes *b) {
  mica_bytes_byte(b, 0);
  if (b->data) printf("%s\n", b->data);
  mica_bytes_free(b);
}

static void print_json(const job *j) {
  for (int32_t k = 0; k < j->n; k++)
    for (int32_t s = 0; s < j->o.n_sizes; s++) {
      const int32_t at = k * j->o.n_sizes + s;
      mica_bytes b = {0};
      mica_json_writer w = {.out = &b};
      mica_json_begin_object(&w);
      mica_json_put_text(&w, "estimator", j->a->operand[k]);
      mica_json_put_int(&w, "examples", j->sizes[s]);
      mica_json_put_double(&w, "error", j->mean[at]);
      mica_json_put_double(&w, "error_low", j->low[at]);
      mica_json_put_double(&w, "error_high", j->high[at]);
      mica_json_write_name(&w, "errors");
      mica_json_begin_array(&w);
      for (int32_t r = 0; r < j->repeats; r++)
        mica_json_write_double(&w, j->error[(int64_t)at * j->repeats + r]);
      mica_json_end_array(&w);
      mica_json_end_object(&w);
      print_line(&b);
    }
  for (int32_t k = 1; k < j->n; k++) {
    mica_bytes b = {0};
    mica_json_writer w = {.out = &b};
    mica_json_begin_object(&w);
    mica_json_put_text(&w, "first", j->a->operand[0]);
    mica_json_put_text(&w, "second", j->a->operand[k]);
    mica_json_put_double(&w, "crossover", crossover(j, k));
    mica_json_end_object(&w);
    print_line(&b);
  }
}

static int progress(void *ctx, const char *what, int64_t done, int64_t all) {
  const job *j = ctx;
  if (isatty(2) && !cli_on(j->a, "--json"))
    fprintf(stderr, "\r\033[K%s: %lld of %lld fits", what, (long long)done, (long long)all);
  return cli_interrupted();
}

static mica_status measure(job *j, const mica_engine *engine, const features *f,
                           const char *const *spec) {
  const feature_part *pool = &f->part[MICA_PART_TRAIN], *test = &f->part[MICA_PART_TEST];
  if (!test->n) test = &f->part[MICA_PART_VALIDATION];
  if (!test->n)
    return mica_fail(MICA_ERR_INVALID,
                     "%s: no test part to measure on; --val-split 0.25 holds a share back",
                     cli_text(j->a, "--data"));
  if (!pool->label || !test->label)
    return mica_fail(MICA_ERR_INVALID, "learning curves need labels");
  const mica_view x = mica_tensor_view(test->x);
  const size_t points = (size_t)j->n * (size_t)j->o.n_sizes;
  mica_fit_data data = MICA_FIT_DATA;
  data.x = mica_tensor_view(pool->x);
  data.label = pool->label;
  data.classes = f->classes;
  j->error = mica_calloc(points * (size_t)j->repeats, sizeof *j->error);
  j->mean = mica_calloc(3 * points, sizeof *j->mean);
  if (!j->error || !j->mean) return MICA_ERR_MEMORY;
  j->low = j->mean + points;
  j->high = j->low + points;
  j->o.sizes = j->sizes;
  j->o.progress = progress;
  j->o.progress_ctx = j;
  const mica_status status =
      mica_learning_curve(engine, &data, &x, test->label, &j->o, j->n, spec, j->error);
  if (isatty(2) && !cli_on(j->a, "--json")) fprintf(stderr, "\r\033[K");
  if (status == MICA_OK) summarise(j);
  return status;
}

int cli_fit_curve(const cli_args *a, const mica_engine *engine, const features *f,
                  const char *const *spec) {
  job j = {.a = a, .n = a->n_operands, .o = MICA_LEARNING_CURVE_OPTIONS};
  const char *figure = cli_text(a, "--figure");
  int64_t repeats, seed;
  if (cli_text(a, "--out"))
    return cli_usage(a, "--sizes measures and makes no model: leave --out away");
  if (!read_sizes(&j) || !read_scaling(&j) || !cli_int(a, "--repeats", 1, 10000, &repeats) ||
      !cli_int(a, "--seed", 0, INT64_MAX, &seed))
    return EXIT_USAGE;
  j.repeats = j.o.repeats = (int32_t)repeats;
  j.o.seed = (uint64_t)seed;
  mica_status status = measure(&j, engine, f, spec);
  if (status == MICA_OK && figure) status = draw_figure(&j, figure);
  if (status == MICA_OK && cli_on(a, "--json"))
    print_json(&j);
  else if (status == MICA_OK)
    status = print_table(&j);
  if (status == MICA_OK && figure) cli_result(a, "figure", figure);
  mica_free(j.error);
  mica_free(j.mean);
  return status == MICA_OK ? EXIT_OK : cli_failed(a);
}
