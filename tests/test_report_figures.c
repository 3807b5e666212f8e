/* Figures: well-formed whatever they are given, and drawn where the numbers say. */
#include "support/failing_alloc.h"
#include "support/markup_check.h"
#include "support/sample_report.h"

#include <float.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report/number.h"

/* Markup, quotes, controls, cut and overlong UTF-8, a surrogate, noncharacters, a right-to-left
 * mark. */
static const char hostile[] =
    "</svg><script>alert(1)</script> & \"q\" 'a' ]]> <!-- \x01\x1b[31m\x7f \xff\xc3( "
    "\xe2\x82 \xc0\xaf \xed\xa0\x80 \xef\xbf\xbf \xe2\x80\xae \xf0\x9f\x98\x80 %s%n{x}";

/* The figure is read after the call that makes it, whatever the order of arguments. */
static void check_figure(mica_status status, mica_figure *const *made) {
  if (status) fail_msg("%s", mica_last_error());
  const mica_figure *figure = *made;
  size_t length = 0;
  const char *svg = mica_figure_svg(figure, &length);
  assert_int_equal(strlen(svg), length);
  const char *problem = markup_problem(svg, false);
  if (problem) fail_msg("%s", problem);
  assert_null(strstr(svg, "<script"));
  assert_int_equal(markup_count(svg, " id=\""), 0);
  assert_int_equal(markup_count(svg, "http"), 1); /* the name space */
}

/* Check and free. */
static void check(mica_status status, mica_figure *const *made) {
  check_figure(status, made);
  mica_figure_free(*made);
}

static mica_figure *lines(const double *x, const double *y, int64_t n, mica_line_chart_options o) {
  const mica_series s = {"a series", x, y, NULL, NULL, n};
  mica_figure *figure = NULL;
  check_figure(mica_figure_line_chart(&s, 1, &o, &figure), &figure);
  return figure;
}

/* The data of the first path of class "l ...". */
static const char *line_data(const mica_figure *figure) {
  const char *inner = strstr(strstr(mica_figure_svg(figure, NULL), "</style>"), "<svg ");
  assert_non_null(inner);
  const char *at = strstr(inner, "<path class=\"l l0");
  assert_non_null(at);
  at = strstr(at, " d=\"");
  return at + 4;
}

/* Numbers of the path data up to its end into `out`; returns how many. */
static int path_numbers(const char *data, double *out, int room) {
  int n = 0;
  while (*data && *data != '"' && n < room) {
    if (strchr("MLhHVz ", *data)) {
      data++;
      continue;
    }
    char *end;
    out[n++] = strtod(data, &end);
    assert_true(end != data);
    data = end;
  }
  return n;
}

static void a_line_runs_between_the_ends_of_its_axes(void **state) {
  (void)state;
  const double x[] = {0, 5, 10}, y[] = {2, 3, 4};
  mica_line_chart_options o = MICA_LINE_CHART_OPTIONS;
  o.x = (mica_axis){NULL, MICA_AXIS_LINEAR, 0, 10};
  o.y = (mica_axis){NULL, MICA_AXIS_LINEAR, 2, 4};
  mica_figure *figure = lines(x, y, 3, o);
  double at[6];
  assert_int_equal(path_numbers(line_data(figure), at, 6), 6);
  assert_true(fabs(at[2] - (at[0] + at[4]) / 2) <= 0.06); /* a tenth of a pixel, rounded */
  assert_true(fabs(at[3] - (at[1] + at[5]) / 2) <= 0.06);
  assert_true(at[4] == o.width - 14 && at[0] > 20 && at[0] < 60);
  assert_true(at[1] == o.height - 24 && at[5] < 40);
  mica_figure_free(figure);

  const double powers[] = {1, 100, 10000};
  o.y = (mica_axis){NULL, MICA_AXIS_LOG, 1, 10000};
  figure = lines(x, powers, 3, o);
  assert_int_equal(path_numbers(line_data(figure), at, 6), 6);
  assert_true(fabs(at[3] - (at[1] + at[5]) / 2) <= 0.06);
  assert_non_null(strstr(mica_figure_svg(figure, NULL), ">100</text>"));
  assert_non_null(strstr(mica_figure_svg(figure, NULL), ">10\u2074</text>"));
  mica_figure_free(figure);
}

static void gaps_lift_the_pen(void **state) {
  (void)state;
  const double y[] = {1, 2, NAN, 3, 4, INFINITY, 5, -INFINITY, 6, 7};
  mica_figure *figure = lines(NULL, y, 10, (mica_line_chart_options)MICA_LINE_CHART_OPTIONS);
  const char *data = line_data(figure);
  int moves = 0;
  for (const char *p = data; *p != '"'; p++) moves += *p == 'M';
  assert_int_equal(moves, 4);
  assert_non_null(strstr(data, "h.1")); /* the 5, alone between gaps, is still seen */
  mica_figure_free(figure);
  /* what is not positive is a gap on a logarithmic axis */
  const double z[] = {1, 0, 2, -3, 4};
  mica_line_chart_options o = MICA_LINE_CHART_OPTIONS;
  o.y.scale = MICA_AXIS_LOG;
  figure = lines(NULL, z, 5, o);
  moves = 0;
  for (const char *p = line_data(figure); *p != '"'; p++) moves += *p == 'M';
  assert_int_equal(moves, 3);
  mica_figure_free(figure);
}

static void a_long_series_is_thinned_and_keeps_its_peaks(void **state) {
  (void)state;
  enum { N = 200000 };
  double *y = malloc(N * sizeof *y);
  assert_non_null(y);
  for (int i = 0; i < N; i++) y[i] = 0.5 + 0.1 * (i % 7);
  y[77777] = 9;
  y[123456] = -9;
  mica_line_chart_options o = MICA_LINE_CHART_OPTIONS;
  o.y = (mica_axis){NULL, MICA_AXIS_LINEAR, -9, 9};
  mica_figure *figure = lines(NULL, y, N, o);
  size_t length;
  mica_figure_svg(figure, &length);
  assert_true(length < 60000);
  static double at[20000];
  const int n = path_numbers(line_data(figure), at, 20000);
  double least = 1e9, greatest = -1e9;
  for (int i = 1; i < n; i += 2) {
    least = fmin(least, at[i]);
    greatest = fmax(greatest, at[i]);
  }
  assert_true(greatest == o.height - 24); /* -9 is at the bottom, 9 at the top */
  assert_true(least < 40);
  mica_figure_free(figure);
  free(y);
}

static void text_is_escaped_everywhere(void **state) {
  (void)state;
  const double v[] = {0.2, NAN, 0.4, 0.1};
  const int32_t group[] = {0, 1, -1, 1};
  const int64_t counts[] = {3, 1, 0, 2};
  const char *const names[] = {hostile, hostile, hostile, hostile};
  const uint8_t positive[] = {1, 0, 1, 0};
  mica_figure *f = NULL;

  const mica_series s = {hostile, NULL, v, v, v, 4};
  mica_line_chart_options lo = MICA_LINE_CHART_OPTIONS;
  lo.title = lo.x.label = lo.y.label = hostile;
  check(mica_figure_line_chart(&s, 1, &lo, &f), &f);

  uint8_t pixels[784];
  const mica_picture pictures[] = {
      sample_picture(pixels, 1, 2), {0}, {0}, sample_picture(pixels, 1, 2)};
  mica_scatter_options so = MICA_SCATTER_OPTIONS;
  so.title = so.x.label = so.y.label = hostile;
  so.class_names = so.labels = names;
  so.pictures = pictures;
  for (so.axes = 0; so.axes < 2; so.axes++)
    check(mica_figure_scatter(v, v, group, 4, 2, &so, &f), &f);

  mica_bar_chart_options bo = MICA_BAR_CHART_OPTIONS;
  bo.title = bo.value.label = bo.reference_name = hostile;
  bo.reference = 0.3;
  bo.bar_names = names;
  check(mica_figure_bar_chart(names, v, v, v, 2, 2, &bo, &f), &f);

  const mica_sample samples[] = {{hostile, v, 4}, {NULL, v, 4}};
  mica_histogram_options ho = MICA_HISTOGRAM_OPTIONS;
  ho.title = ho.x.label = ho.threshold_name = hostile;
  ho.threshold = 0.2;
  check(mica_figure_histogram(samples, 2, &ho, &f), &f);

  mica_heat_map_options eo = MICA_HEAT_MAP_OPTIONS;
  eo.title = eo.row_label = eo.column_label = hostile;
  eo.row_names = eo.column_names = names;
  for (eo.diverging = 0; eo.diverging < 2; eo.diverging++)
    check(mica_figure_heat_map(v, 2, 2, &eo, &f), &f);

  mica_confusion_options co = MICA_CONFUSION_OPTIONS;
  co.title = hostile;
  check(mica_figure_confusion(counts, names, 2, &co, &f), &f);

  const mica_roc curve = {hostile, v, positive, 4};
  mica_roc_options ro = MICA_ROC_OPTIONS;
  ro.title = hostile;
  check(mica_figure_roc(&curve, 1, &ro, NULL, &f), &f);

  const mica_tile tiles[] = {{pictures[0], hostile, hostile, MICA_MARK_RIGHT},
                             {{0}, hostile, NULL, MICA_MARK_WRONG}};
  mica_image_grid_options io = MICA_IMAGE_GRID_OPTIONS;
  io.title = hostile;
  check(mica_figure_image_grid(tiles, 2, &io, &f), &f);
}

static void nothing_to_draw_is_said(void **state) {
  (void)state;
  const double nans[] = {NAN, NAN};
  const char *const names[] = {"a", "b"};
  const uint8_t positive[] = {1, 1};
  const mica_series s[] = {{NULL, NULL, NULL, NULL, NULL, 0}, {NULL, nans, nans, NULL, NULL, 2}};
  const mica_sample samples[] = {{"a", NULL, 0}, {"b", nans, 2}};
  const mica_roc curve = {NULL, nans, positive, 2};
  double area = 0;
  mica_figure *f[12] = {NULL};
  int n = 0;
  check_figure(mica_figure_line_chart(NULL, 0, NULL, &f[n]), &f[n]), n++;
  check_figure(mica_figure_line_chart(s, 2, NULL, &f[n]), &f[n]), n++;
  check_figure(mica_figure_scatter(NULL, NULL, NULL, 0, 0, NULL, &f[n]), &f[n]), n++;
  check_figure(mica_figure_scatter(nans, nans, NULL, 2, 0, NULL, &f[n]), &f[n]), n++;
  check_figure(mica_figure_bar_chart(NULL, NULL, NULL, NULL, 0, 1, NULL, &f[n]), &f[n]), n++;
  check_figure(mica_figure_bar_chart(names, nans, nans, nans, 2, 1, NULL, &f[n]), &f[n]), n++;
  check_figure(mica_figure_histogram(NULL, 0, NULL, &f[n]), &f[n]), n++;
  check_figure(mica_figure_histogram(samples, 2, NULL, &f[n]), &f[n]), n++;
  check_figure(mica_figure_roc(&curve, 1, NULL, &area, &f[n]), &f[n]), n++;
  assert_true(isnan(area));
  check_figure(mica_figure_image_grid(NULL, 0, NULL, &f[n]), &f[n]), n++;
  for (int i = 0; i < n; i++) {
    const char *svg = mica_figure_svg(f[i], NULL);
    assert_true(strstr(svg, "no data") || strstr(svg, "no images"));
    mica_figure_free(f[i]);
  }
  mica_figure *heat = NULL;
  check(mica_figure_heat_map(nans, 1, 2, NULL, &heat), &heat);
}

static void extreme_numbers_are_drawn(void **state) {
  (void)state;
  const double sets[][4] = {{DBL_MAX, -DBL_MAX, 0, 1},
                            {5e-324, 1e-323, 2e-323, 5e-324},
                            {1e15, 1e15 + 1, 1e15 + 2, 1e15},
                            {7, 7, 7, 7},
                            {0, 0, 0, 0},
                            {-1e-300, 1e300, 1e-300, 3},
                            {DBL_MAX, DBL_MAX, DBL_MAX, DBL_MAX},
                            {1e-7, 2e-7, 3e-7, 4e-7}};
  const char *const names[] = {"a", "b", "c", "d"};
  const uint8_t positive[] = {1, 0, 1, 0};
  for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
    for (int log = 0; log < 2; log++) {
      const double *v = sets[i];
      mica_figure *f = NULL;
      const mica_series s = {"s", v, v, v, v, 4};
      mica_line_chart_options o = MICA_LINE_CHART_OPTIONS;
      o.x.scale = o.y.scale = log ? MICA_AXIS_LOG : MICA_AXIS_LINEAR;
      check(mica_figure_line_chart(&s, 1, &o, &f), &f);
      const mica_sample sample = {"s", v, 4};
      check(mica_figure_histogram(&sample, 1, NULL, &f), &f);
      check(mica_figure_bar_chart(names, v, v, v, 4, 1, NULL, &f), &f);
      check(mica_figure_scatter(v, v, NULL, 4, 0, NULL, &f), &f);
      mica_heat_map_options h = MICA_HEAT_MAP_OPTIONS;
      h.diverging = log;
      check(mica_figure_heat_map(v, 2, 2, &h, &f), &f);
      const mica_roc curve = {"c", v, positive, 4};
      check(mica_figure_roc(&curve, 1, NULL, NULL, &f), &f);
    }
}

static void the_roc_area_is_the_mann_whitney_statistic(void **state) {
  (void)state;
  enum { N = 400 };
  double score[N];
  uint8_t positive[N];
  for (int t = 0; t < 6; t++) {
    const mica_key key = mica_key_seed((uint64_t)t);
    for (int i = 0; i < N; i++) {
      positive[i] = mica_random_uniform(key, (uint64_t)i) < 0.3;
      score[i] = mica_random_normal(key, (uint64_t)i + N) + 0.8 * positive[i];
      if (t % 2) score[i] = floor(score[i] * 2); /* ties */
      if (t > 3 && i % 9 == 0) score[i] = i % 2 ? NAN : INFINITY;
    }
    double pairs = 0, won = 0;
    for (int i = 0; i < N; i++)
      for (int k = 0; k < N; k++) {
        if (!positive[i] || positive[k] || isnan(score[i]) || isnan(score[k])) continue;
        pairs++;
        won += score[i] > score[k] ? 1 : score[i] == score[k] ? 0.5 : 0;
      }
    const mica_roc curve = {"scores", score, positive, N};
    double area = 0;
    mica_figure *f = NULL;
    check_figure(mica_figure_roc(&curve, 1, NULL, &area, &f), &f);
    assert_true(fabs(area - won / pairs) < 1e-12);
    char number[MICA_NUMBER_TEXT], text[100];
    snprintf(text, sizeof text, "scores, area %s<",
             mica_number_fixed(number, won / pairs, 3, false));
    assert_non_null(strstr(mica_figure_svg(f, NULL), text));
    mica_figure_free(f);
  }
}

static void a_confusion_matrix_shows_its_counts(void **state) {
  (void)state;
  const int64_t counts[] = {41, 0, 9, 0, 50, 0, 25, 5, 20};
  const char *const names[] = {"ant", "bee", "cat"};
  mica_figure *f = NULL;
  check_figure(mica_figure_confusion(counts, names, 3, NULL, &f), &f);
  const char *svg = mica_figure_svg(f, NULL);
  assert_non_null(strstr(svg, "ant taken for cat: 9 (18.0 %)"));
  assert_non_null(strstr(svg, "cat taken for ant: 25 (50.0 %)"));
  assert_non_null(strstr(svg, ">82.0\u202f%<"));
  assert_non_null(strstr(svg, ">100.0\u202f%<"));
  assert_non_null(strstr(svg, ">40.0\u202f%<"));
  assert_int_equal(markup_count(svg, "<rect "), 9);
  assert_int_equal(markup_count(svg, ">0</text>"), 0);
  mica_figure_free(f);
  const int64_t negative[] = {1, -1, 0, 1};
  assert_int_equal(mica_figure_confusion(negative, NULL, 2, NULL, &f), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "-1 at row 0, column 1"));
}

static void a_histogram_counts_shares(void **state) {
  (void)state;
  const double v[] = {0, 0.1, 0.2, 0.9, NAN, 7}; /* 7 is outside the axis but counts in the total */
  const mica_sample sample = {"s", v, 6};
  mica_histogram_options o = MICA_HISTOGRAM_OPTIONS;
  o.bins = 2;
  o.x = (mica_axis){NULL, MICA_AXIS_LINEAR, 0, 1};
  mica_figure *f = NULL;
  check_figure(mica_figure_histogram(&sample, 1, &o, &f), &f);
  const char *path = strstr(strstr(mica_figure_svg(f, NULL), "</style>"), "<path class=\"b\" d=\"");
  assert_non_null(path);
  double at[8]; /* M x y V first H middle V second H right V bottom */
  assert_int_equal(path_numbers(strstr(path, "d=\"") + 3, at, 8), 7);
  const double first = at[1] - at[2], second = at[1] - at[4];
  assert_true(fabs(first / second - 3) < 0.02); /* 3 of 5 and 1 of 5 */
  assert_true(fabs(at[3] - (at[0] + at[5]) / 2) <= 0.06);
  mica_figure_free(f);
}

static void bad_requests_are_refused(void **state) {
  (void)state;
  const double v[] = {1, 2};
  const char *const names[] = {"a", NULL};
  const int32_t group[] = {0, 5};
  mica_figure *f = NULL;
  mica_line_chart_options lo = MICA_LINE_CHART_OPTIONS;
  const mica_series half = {NULL, NULL, v, v, NULL, 2}, none = {NULL, NULL, NULL, NULL, NULL, 2};
  assert_int_equal(mica_figure_line_chart(&half, 1, NULL, &f), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "one side of a band"));
  assert_int_equal(mica_figure_line_chart(&none, 1, NULL, &f), MICA_ERR_INVALID);
  assert_int_equal(mica_figure_line_chart(NULL, 1, NULL, &f), MICA_ERR_INVALID);
  lo.width = 5;
  assert_int_equal(mica_figure_line_chart(NULL, 0, &lo, &f), MICA_ERR_INVALID);
  assert_string_equal(mica_last_error(), "a figure's width is 5 pixels, expected 120 to 4000");
  lo = (mica_line_chart_options)MICA_LINE_CHART_OPTIONS;
  lo.y = (mica_axis){NULL, MICA_AXIS_LOG, 0, 1};
  assert_int_equal(mica_figure_line_chart(NULL, 0, &lo, &f), MICA_ERR_INVALID);
  lo.y = (mica_axis){NULL, MICA_AXIS_LINEAR, 2, 1};
  assert_int_equal(mica_figure_line_chart(NULL, 0, &lo, &f), MICA_ERR_INVALID);
  assert_string_equal(mica_last_error(), "the y axis goes from 2 to 1, expected low < high");
  lo.size = 0;
  assert_int_equal(mica_figure_line_chart(NULL, 0, &lo, &f), MICA_ERR_INVALID);
  assert_int_equal(mica_figure_scatter(v, v, group, 2, 2, NULL, &f), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "is of class 5, expected -1 to 1"));
  assert_int_equal(mica_figure_heat_map(v, 0, 2, NULL, &f), MICA_ERR_INVALID);
  assert_int_equal(mica_figure_heat_map(v, 1, 1000000, NULL, &f), MICA_ERR_INVALID);
  mica_heat_map_options h = MICA_HEAT_MAP_OPTIONS;
  h.column_names = names;
  assert_int_equal(mica_figure_heat_map(v, 1, 2, &h, &f), MICA_ERR_INVALID);
  mica_bar_chart_options b = MICA_BAR_CHART_OPTIONS;
  b.value.scale = MICA_AXIS_LOG;
  assert_int_equal(mica_figure_bar_chart(names, v, NULL, NULL, 1, 1, &b, &f), MICA_ERR_UNSUPPORTED);
  assert_int_equal(mica_figure_bar_chart(names, v, v, NULL, 1, 1, NULL, &f), MICA_ERR_INVALID);
  uint8_t pixel[4] = {0};
  const mica_tile tile = {{pixel, 1, 1, 2}, NULL, NULL, MICA_MARK_NONE};
  assert_int_equal(mica_figure_image_grid(&tile, 1, NULL, &f), MICA_ERR_INVALID);
  assert_string_equal(mica_last_error(),
                      "tile 0 of an image grid: a picture of 2 channels, expected 1, 3 or 4");
  const mica_tile huge = {{pixel, 100000, 1, 1}, NULL, NULL, MICA_MARK_NONE};
  assert_int_equal(mica_figure_image_grid(&huge, 1, NULL, &f), MICA_ERR_INVALID);
}

static void a_shorter_options_struct_gets_the_defaults(void **state) {
  (void)state;
  mica_line_chart_options o = MICA_LINE_CHART_OPTIONS;
  o.size = offsetof(mica_line_chart_options, width);
  o.width = o.height = -7; /* beyond size: not read */
  mica_figure *f = NULL;
  check_figure(mica_figure_line_chart(NULL, 0, &o, &f), &f);
  assert_non_null(strstr(mica_figure_svg(f, NULL), "viewBox=\"0 0 640 340\""));
  mica_figure_free(f);
}

static void a_figure_is_saved_as_a_whole(void **state) {
  (void)state;
  char folder[] = "/tmp/mica_figure_XXXXXX", path[64];
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/a.svg", folder);
  mica_figure *f = NULL;
  check_figure(mica_figure_line_chart(NULL, 0, NULL, &f), &f);
  for (int again = 0; again < 2; again++) assert_int_equal(mica_figure_save(f, path), MICA_OK);
  static char text[100000];
  FILE *file = fopen(path, "rb");
  assert_non_null(file);
  const size_t n = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[n] = 0;
  assert_string_equal(text, mica_figure_svg(f, NULL));
  assert_int_equal(mica_figure_save(f, "/nonexistent/folder/a.svg"), MICA_ERR_NOT_FOUND);
  mica_figure_free(f);
  unlink(path);
  rmdir(folder);
}

/* ---- numbers ---- */

static void numbers_are_written_for_people(void **state) {
  (void)state;
  char t[MICA_NUMBER_TEXT];
  const char *suffix;
  assert_string_equal(mica_number_significant(t, 0.92, 3, false), "0.920");
  assert_string_equal(mica_number_significant(t, 0.92, 3, true), "0.92");
  assert_string_equal(mica_number_significant(t, 999.96, 4, false), "1000");
  assert_string_equal(mica_number_significant(t, 1234567, 3, true), "1234567");
  assert_string_equal(mica_number_significant(t, 1.5e-7, 3, true), "1.5e-07");
  assert_string_equal(mica_number_significant(t, -0.0, 3, true), "0");
  assert_string_equal(mica_number_significant(t, NAN, 3, true), "n/a");
  assert_string_equal(mica_number_fixed(t, -0.001, 2, false), "0.00");
  assert_string_equal(mica_number_scientific(t, -2.5e-12, 3), "-2.5\u00d710\u207b\u00b9\u00b2");
  assert_string_equal(mica_number_grouped(t, -1234567), "-1,234,567");
  assert_string_equal(mica_number_grouped(t, 999), "999");
  assert_string_equal(mica_number_grouped(t, INT64_MIN), "-9,223,372,036,854,775,808");
  assert_string_equal(mica_number_unit(t, 0.9234, "fraction", &suffix), "92.3\u202f%");
  assert_string_equal(mica_number_unit(t, 0.99961, "fraction", &suffix), "99.96\u202f%");
  assert_string_equal(mica_number_unit(t, 192.4, "seconds", &suffix), "3\u202fmin 12\u202fs");
  assert_string_equal(mica_number_unit(t, 59.99, "seconds", &suffix), "1\u202fmin 0\u202fs");
  assert_string_equal(mica_number_unit(t, 7325, "seconds", &suffix), "2\u202fh 2\u202fmin");
  assert_string_equal(mica_number_unit(t, 0.0123, "seconds", &suffix), "12.3\u202fms");
  assert_string_equal(mica_number_unit(t, 4.2e6, "bytes", &suffix), "4.2\u202fMB");
  assert_string_equal(mica_number_unit(t, 60000, "count", &suffix), "60,000");
  assert_string_equal(mica_number_unit(t, 3.25, "GFLOP/s", &suffix), "3.25");
  assert_string_equal(suffix, "GFLOP/s");
}

static void the_locale_does_not_matter(void **state) {
  (void)state;
  static const char *const commas[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE",
                                       "fr_FR"};
  const char *set = NULL;
  for (size_t i = 0; !set && i < sizeof commas / sizeof *commas; i++)
    set = setlocale(LC_NUMERIC, commas[i]);
  if (!set) {
    print_message("no locale with a decimal comma is installed\n");
    skip();
  }
  char t[MICA_NUMBER_TEXT];
  assert_string_equal(mica_number_significant(t, 0.92, 3, false), "0.920");
  assert_string_equal(mica_number_significant(t, 1.5e-7, 3, true), "1.5e-07");
  assert_string_equal(mica_number_fixed(t, -12.25, 2, false), "-12.25");
  setlocale(LC_NUMERIC, "C");
}

/* ---- allocation failures ---- */

static mica_status every_figure(void *ctx) {
  (void)ctx;
  static const double v[] = {0.2, 0.7, 0.4, 0.1};
  static const char *const names[] = {"a", "b", "c", "d"};
  static const int64_t counts[] = {3, 1, 0, 2};
  static const uint8_t positive[] = {1, 0, 1, 0};
  static uint8_t pixels[784];
  const mica_picture pictures[] = {sample_picture(pixels, 1, 2), {0}, {0}, {0}};
  const mica_series s = {"s", NULL, v, v, v, 4};
  const mica_sample sample = {"s", v, 4};
  const mica_roc curve = {"c", v, positive, 4};
  const mica_tile tile = {pictures[0], "a", "b", MICA_MARK_NONE};
  mica_scatter_options so = MICA_SCATTER_OPTIONS;
  so.class_names = so.labels = names;
  so.pictures = pictures;
  for (int kind = 0; kind < 8; kind++) {
    mica_figure *f = NULL;
    const mica_status status = kind == 0   ? mica_figure_line_chart(&s, 1, NULL, &f)
                               : kind == 1 ? mica_figure_histogram(&sample, 1, NULL, &f)
                               : kind == 2 ? mica_figure_roc(&curve, 1, NULL, NULL, &f)
                               : kind == 3 ? mica_figure_image_grid(&tile, 1, NULL, &f)
                               : kind == 4 ? mica_figure_scatter(v, v, NULL, 4, 1, &so, &f)
                               : kind == 5 ? mica_figure_confusion(counts, names, 2, NULL, &f)
                               : kind == 6 ? mica_figure_heat_map(v, 2, 2, NULL, &f)
                                           : mica_figure_bar_chart(names, v, v, v, 4, 1, NULL, &f);
    mica_figure_free(f);
    if (status) return status;
  }
  return MICA_OK;
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  assert_true(fail_each(every_figure, NULL) > 20);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_line_runs_between_the_ends_of_its_axes),
      cmocka_unit_test(gaps_lift_the_pen),
      cmocka_unit_test(a_long_series_is_thinned_and_keeps_its_peaks),
      cmocka_unit_test(text_is_escaped_everywhere),
      cmocka_unit_test(nothing_to_draw_is_said),
      cmocka_unit_test(extreme_numbers_are_drawn),
      cmocka_unit_test(the_roc_area_is_the_mann_whitney_statistic),
      cmocka_unit_test(a_confusion_matrix_shows_its_counts),
      cmocka_unit_test(a_histogram_counts_shares),
      cmocka_unit_test(bad_requests_are_refused),
      cmocka_unit_test(a_shorter_options_struct_gets_the_defaults),
      cmocka_unit_test(a_figure_is_saved_as_a_whole),
      cmocka_unit_test(numbers_are_written_for_people),
      cmocka_unit_test(the_locale_does_not_matter),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
