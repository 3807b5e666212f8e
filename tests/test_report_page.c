/* The whole report: one page that needs nothing, and a summary with the same numbers. */
#include "support/failing_alloc.h"
#include "support/markup_check.h"
#include "support/sample_report.h"

#include "base/file.h"
#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char hostile[] = "</title></script><script>alert(1)</script>\"'&\x01\xff";

static mica_report *empty(void) {
  mica_report *report = NULL;
  assert_int_equal(mica_report_create(NULL, &report), MICA_OK);
  return report;
}

/* The page, checked; to release with mica_free. */
static char *page_of(const mica_report *report) {
  char *html = NULL;
  if (mica_report_html(report, &html)) fail_msg("%s", mica_last_error());
  const char *problem = markup_problem(html, true);
  if (problem) fail_msg("%s", problem);
  assert_int_equal(markup_count(html, "<script>"), 1);
  /* nothing from elsewhere: addresses are data or places in the page */
  assert_int_equal(markup_count(html, "src=\""), 0);
  assert_int_equal(markup_count(html, "href=\""),
                   markup_count(html, "href=\"data:") + markup_count(html, "href=\"#"));
  assert_int_equal(markup_count(html, "http"),
                   markup_count(html, "xmlns=\"http://www.w3.org/2000/svg\""));
  assert_int_equal(markup_count(html, "@import") + markup_count(html, "url("), 0);
  return html;
}

static mica_json_doc *summary_of(const mica_report *report) {
  char *text = NULL;
  mica_json_doc *doc = NULL;
  if (mica_report_summary(report, &text)) fail_msg("%s", mica_last_error());
  if (mica_json_parse(text, strlen(text), &doc)) fail_msg("%s", mica_last_error());
  mica_free(text);
  return doc;
}

static void the_sample_is_written(void **state) {
  (void)state;
  char folder[] = "/tmp/mica_report_XXXXXX", html_path[200], json_path[200];
  const char *wanted = getenv("MICA_REPORT_SAMPLE");
  if (!wanted) assert_non_null(mkdtemp(folder));
  const char *at = wanted ? wanted : folder;
  mica_report *report = NULL;
  if (sample_report(&report)) fail_msg("%s", mica_last_error());
  for (int again = 0; again < 2; again++)
    if (mica_report_write(report, at)) fail_msg("%s", mica_last_error());
  char *html = page_of(report);
  snprintf(html_path, sizeof html_path, "%s/report.html", at);
  snprintf(json_path, sizeof json_path, "%s/summary.json", at);
  uint8_t *bytes = NULL;
  size_t n = 0;
  assert_int_equal(mica_file_read(html_path, 1 << 24, &bytes, &n), MICA_OK);
  assert_string_equal((const char *)bytes, html);
  assert_true(n < 1000000);
  mica_free(bytes);
  mica_json_doc *doc = NULL;
  assert_int_equal(mica_json_read(json_path, 1 << 20, &doc), MICA_OK);
  double value = 0;
  assert_true(mica_json_double(mica_json_get(mica_json_root(doc), "unknown_auroc"), &value));
  assert_true(value == mica_report_value(report, "unknown_auroc") && value > 0.9 && value < 1);
  mica_json_free(doc);
  mica_free(html);
  mica_report_free(report);
  if (wanted) return;
  unlink(html_path);
  unlink(json_path);
  rmdir(folder); /* fails, and leaves the folder, if there were any other file */
  struct stat about;
  assert_int_not_equal(stat(folder, &about), 0);
}

static void numbers_are_the_same_everywhere(void **state) {
  (void)state;
  mica_report *r = empty();
  assert_int_equal(mica_report_interval(r, "accuracy", 0.92341, 0.9, 0.94, "fraction", "accuracy"),
                   MICA_OK);
  assert_int_equal(mica_report_number(r, "hidden", 1.0 / 3, NULL, NULL), MICA_OK);
  assert_int_equal(mica_report_number(r, "diverged", INFINITY, "seconds", "time"), MICA_OK);
  assert_int_equal(mica_report_section(r, "Later"), MICA_OK);
  assert_int_equal(mica_report_number(r, "speed", 3.25, "GFLOP/s", "speed"), MICA_OK);
  assert_int_equal(mica_report_number(r, "images", 60000, "count", "images"), MICA_OK);
  assert_int_equal(
      mica_report_paragraph(r, "{accuracy} of {images} at {speed}; {{not a key}} & {hidden}"),
      MICA_OK);
  assert_true(mica_report_value(r, "accuracy") == 0.92341);
  assert_true(isnan(mica_report_value(r, "nothing")));
  char *html = page_of(r);
  assert_non_null(strstr(
      html, "<dt>accuracy</dt><dd>92.3\u202f%<small>90.0\u202f% to 94.0\u202f%</small></dd>"));
  assert_non_null(strstr(html, "<dt>time</dt><dd>n/a</dd>"));
  assert_non_null(
      strstr(html, "<p>92.3\u202f% of 60,000 at 3.25&#8239;GFLOP/s; {not a key} &amp; 0.3333</p>"));
  assert_int_equal(markup_count(html, "class=\"cards"), 2);
  assert_null(strstr(html, "<dt>hidden"));
  mica_free(html);
  mica_json_doc *doc = summary_of(r);
  const mica_json *root = mica_json_root(doc);
  double value = 0;
  assert_true(mica_json_double(mica_json_get(root, "accuracy"), &value) && value == 0.92341);
  assert_true(mica_json_double(mica_json_get(root, "accuracy_low"), &value) && value == 0.9);
  assert_true(mica_json_double(mica_json_get(root, "accuracy_high"), &value) && value == 0.94);
  assert_true(mica_json_double(mica_json_get(root, "hidden"), &value) && value == 1.0 / 3);
  assert_non_null(mica_json_get(root, "diverged"));
  assert_int_equal(mica_json_type_of(mica_json_get(root, "diverged")), MICA_JSON_NULL);
  assert_string_equal(mica_json_string(mica_json_get(mica_json_get(root, "units"), "speed")),
                      "GFLOP/s");
  mica_json_free(doc);
  mica_report_free(r);
}

static void bad_keys_and_texts_are_refused(void **state) {
  (void)state;
  static const char *const bad[] = {"",       "Accuracy", "a b",    "1st",  "_a",      "units",
                                    "tables", "record",   "report", "a\"b", "\xc3\xa4"};
  mica_report *r = empty();
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_int_equal(mica_report_number(r, bad[i], 1, NULL, NULL), MICA_ERR_INVALID);
  assert_int_equal(mica_report_number(r, NULL, 1, NULL, NULL), MICA_ERR_INVALID);
  assert_int_equal(mica_report_interval(r, "a", 1, 0, 2, NULL, "a"), MICA_OK);
  assert_int_equal(mica_report_number(r, "a", 1, NULL, NULL), MICA_ERR_INVALID);
  assert_string_equal(mica_last_error(), "the number \"a\" was added before");
  assert_int_equal(mica_report_number(r, "a_low", 1, NULL, NULL), MICA_ERR_INVALID);
  assert_int_equal(mica_report_number(r, "b_high", 1, NULL, NULL), MICA_OK);
  assert_int_equal(mica_report_interval(r, "b", 1, 0, 2, NULL, NULL), MICA_ERR_INVALID);
  assert_int_equal(mica_report_paragraph(r, "{nothing}"), MICA_ERR_NOT_FOUND);
  assert_non_null(strstr(mica_last_error(), "\"nothing\""));
  static const char *const lone[] = {"{", "}", "a } b", "{a", "{{}", "{}}"};
  for (size_t i = 0; i < sizeof lone / sizeof *lone; i++)
    assert_true(mica_report_paragraph(r, lone[i]) != MICA_OK);
  mica_table *t = NULL;
  assert_int_equal(mica_table_create(&t), MICA_OK);
  assert_int_equal(mica_report_table(r, "t", t, NULL), MICA_ERR_STATE);
  assert_int_equal(mica_table_column(t, "x", MICA_ALIGN_LEFT), MICA_OK);
  assert_int_equal(mica_table_column(t, "y", MICA_ALIGN_LEFT), MICA_OK);
  assert_int_equal(mica_table_text(t, "1"), MICA_OK);
  assert_int_equal(mica_report_table(r, "t", t, NULL), MICA_ERR_STATE); /* half a row */
  assert_int_equal(mica_table_text(t, "2"), MICA_OK);
  assert_int_equal(mica_report_table(r, "t", t, NULL), MICA_OK);
  assert_int_equal(mica_report_table(r, "t", t, NULL), MICA_ERR_INVALID);
  mica_table_free(t);
  assert_true(mica_report_write(r, "/proc/nowhere/here") != MICA_OK);
  assert_non_null(strstr(mica_last_error(), "/proc/nowhere"));
  char *html = page_of(r); /* what was refused left no trace */
  assert_int_equal(markup_count(html, "<p>"), 0);
  assert_int_equal(markup_count(html, "<figure"), 1);
  mica_free(html);
  mica_report_free(r);
}

/* A small report that has one of everything, with `text` wherever text goes. */
static mica_status small_report(const char *text, mica_report **out) {
  mica_report_options o = MICA_REPORT_OPTIONS;
  o.title = o.subtitle = text;
  mica_report *r = NULL;
  mica_figure *figure = NULL;
  mica_table *table = NULL;
  mica_run_record *record = NULL;
  const char *const argv[] = {"mica", text};
  const mica_series series = {text, NULL, (const double[]){1, 2, 3}, NULL, NULL, 3};
  mica_status status = mica_report_create(&o, &r);
  if (!status) status = mica_report_interval(r, "x", 1, 0, 2, text, text);
  for (int i = 0; !status && i < 3; i++) status = mica_report_section(r, text);
  if (!status) status = mica_report_number(r, "y", 1, text, text);
  if (!status) status = mica_report_verbatim(r, text);
  if (!status) status = mica_report_paragraph(r, "{x}, {y}");
  if (!status) status = mica_figure_line_chart(&series, 1, NULL, &figure);
  if (!status) status = mica_report_figure(r, figure, text);
  if (!status) status = mica_table_create(&table);
  if (!status) status = mica_table_column(table, text, MICA_ALIGN_RIGHT);
  if (!status) status = mica_table_text(table, text);
  if (!status) status = mica_report_table(r, "t", table, text);
  if (!status) status = mica_run_record_create(&record);
  if (!status) status = mica_run_record_text(record, text, text);
  if (!status) status = mica_run_record_command(record, 2, argv);
  if (!status) status = mica_run_record_environment(record);
  if (!status) status = mica_report_record(r, record);
  mica_run_record_free(record);
  mica_table_free(table);
  mica_figure_free(figure);
  if (status)
    mica_report_free(r);
  else
    *out = r;
  return status;
}

static void text_is_escaped_everywhere(void **state) {
  (void)state;
  mica_report *r = NULL;
  if (small_report(hostile, &r)) fail_msg("%s", mica_last_error());
  char *html = page_of(r);
  assert_null(strstr(html, "alert(1)</script>"));
  assert_true(markup_count(html, "alert(1)") > 10);
  mica_free(html);
  mica_json_free(summary_of(r));
  mica_report_free(r);
}

static mica_status write_small(void *ctx) {
  mica_report *r = NULL;
  char *html = NULL, *summary = NULL;
  mica_status status = small_report("text", &r);
  if (status) return status;
  status = mica_report_html(r, &html);
  if (!status) status = mica_report_summary(r, &summary);
  if (!status && ctx) status = mica_report_write(r, ctx);
  mica_free(html);
  mica_free(summary);
  mica_report_free(r);
  return status;
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  char folder[] = "/tmp/mica_report_XXXXXX", path[64];
  assert_non_null(mkdtemp(folder));
  assert_true(fail_each(write_small, folder) > 60);
  static const char *const names[] = {"report.html", "summary.json"};
  for (int i = 0; i < 2; i++) {
    snprintf(path, sizeof path, "%s/%s", folder, names[i]);
    assert_int_equal(unlink(path), 0);
  }
  assert_int_equal(rmdir(folder), 0); /* no temporary file was left */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_sample_is_written),
      cmocka_unit_test(numbers_are_the_same_everywhere),
      cmocka_unit_test(bad_keys_and_texts_are_refused),
      cmocka_unit_test(text_is_escaped_everywhere),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
