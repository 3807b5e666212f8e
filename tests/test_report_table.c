/* Tables: aligned on a terminal whatever is in them, and the same in a report. */
#include "support/failing_alloc.h"
#include "support/markup_check.h"

#include "report/table.h"

#include <math.h>
#include <string.h>

static mica_table *estimators(void) {
  mica_table *t = NULL;
  assert_int_equal(mica_table_create(&t), MICA_OK);
  assert_int_equal(mica_table_column(t, "estimator", MICA_ALIGN_LEFT), MICA_OK);
  assert_int_equal(mica_table_column(t, "accuracy", MICA_ALIGN_RIGHT), MICA_OK);
  assert_int_equal(mica_table_column(t, "note", MICA_ALIGN_LEFT), MICA_OK);
  return t;
}

static void expect(const mica_table *t, const mica_table_options *o, const char *text) {
  char *made = NULL;
  assert_int_equal(mica_table_render(t, o, &made), MICA_OK);
  assert_string_equal(made, text);
  mica_free(made);
}

static void columns_are_aligned(void **state) {
  (void)state;
  mica_table *t = estimators();
  expect(t, NULL, "estimator  accuracy  note\n---------  --------  ----\n");
  assert_int_equal(mica_table_text(t, "ridge"), MICA_OK);
  assert_int_equal(mica_table_number(t, 0.92, 3), MICA_OK);
  assert_int_equal(mica_table_text(t, NULL), MICA_OK);
  assert_int_equal(mica_table_text(t, "k-nächste \u6f22\u5b57 e\u0301"),
                   MICA_OK); /* 16 columns wide */
  assert_int_equal(mica_table_integer(t, 1234567890), MICA_OK);
  assert_int_equal(mica_table_text(t, "fast"), MICA_OK);
  assert_int_equal(mica_table_rows(t), 2);
  expect(t, NULL,
         "estimator              accuracy  note\n"
         "----------------  -------------  ----\n"
         "ridge                     0.920\n"
         "k-nächste \u6f22\u5b57 e\u0301  1,234,567,890  fast\n");
  mica_table_options o = MICA_TABLE_OPTIONS;
  o.indent = 2;
  o.rule = 0;
  o.width = 34;
  expect(t, &o,
         "  estimator         accuracy  note\n"
         "  ridge                0.920\n"
         "  k-nächste \u2026  1,234,567,890  fast\n");
  assert_int_equal(mica_table_column(t, "late", MICA_ALIGN_LEFT), MICA_ERR_STATE);
  mica_table_free(t);
}

static void a_terminal_gets_no_control_characters(void **state) {
  (void)state;
  mica_table *t = NULL;
  assert_int_equal(mica_table_create(&t), MICA_OK);
  assert_int_equal(mica_table_text(t, "x"), MICA_ERR_STATE);
  assert_int_equal(mica_table_column(t, "na\tme\n", MICA_ALIGN_LEFT), MICA_OK);
  assert_int_equal(mica_table_text(t, "\x1b[31mred\x07\xff\xc2\x9b"
                                      "1m"),
                   MICA_OK);
  char *made = NULL;
  assert_int_equal(mica_table_render(t, NULL, &made), MICA_OK);
  for (const char *p = made; *p; p++) assert_true((unsigned char)*p >= 0x20 || *p == '\n');
  assert_null(strstr(made, "\xc2\x9b"));
  assert_int_equal(markup_count(made, "\n"), 3);
  mica_free(made);
  mica_table_free(t);
}

static void a_narrow_terminal_cuts_the_widest_first(void **state) {
  (void)state;
  mica_table *t = NULL;
  assert_int_equal(mica_table_create(&t), MICA_OK);
  assert_int_equal(mica_table_column(t, "a", MICA_ALIGN_LEFT), MICA_OK);
  assert_int_equal(mica_table_column(t, "b", MICA_ALIGN_LEFT), MICA_OK);
  assert_int_equal(mica_table_text(t, "abcdefghijklmnopqrstuvwxyz"), MICA_OK);
  assert_int_equal(mica_table_text(t, "0123456789"), MICA_OK);
  mica_table_options o = MICA_TABLE_OPTIONS;
  o.rule = 0;
  o.width = 30;
  expect(t, &o, "a                   b\nabcdefghijklmnopq\u2026  0123456789\n");
  o.width = 5; /* no column below 8 */
  expect(t, &o, "a         b\nabcdefg\u2026  0123456\u2026\n");
  o.width = -1;
  char *made = NULL;
  assert_int_equal(mica_table_render(t, &o, &made), MICA_ERR_INVALID);
  mica_table_free(t);
}

static void html_and_json_hold_the_full_values(void **state) {
  (void)state;
  mica_table *t = estimators();
  assert_int_equal(mica_table_text(t, "<ridge> & co"), MICA_OK);
  assert_int_equal(mica_table_shown(t, 1.0 / 3, "33 % (30-36)"), MICA_OK);
  assert_int_equal(mica_table_number(t, NAN, 3), MICA_OK);
  mica_bytes html = {0}, json = {0};
  mica_table_html(t, &html);
  assert_int_equal(html.status, MICA_OK);
  assert_null(markup_problem(html.data, true));
  assert_non_null(strstr(html.data, "<td>&lt;ridge&gt; &amp; co</td>"));
  assert_non_null(strstr(html.data, "data-value=\"0.3333333333333333\">33 % (30-36)</td>"));
  assert_non_null(strstr(html.data, "data-value=\"\">n/a</td>"));
  mica_json_writer w = {&json, 0, 0, 0, false};
  mica_table_json(t, &w);
  mica_json_doc *doc = NULL;
  assert_int_equal(mica_json_parse(json.data, json.n, &doc), MICA_OK);
  const mica_json *row = mica_json_item(mica_json_get(mica_json_root(doc), "rows"), 0);
  double value = 0;
  assert_string_equal(mica_json_string(mica_json_item(row, 0)), "<ridge> & co");
  assert_true(mica_json_double(mica_json_item(row, 1), &value) && value == 1.0 / 3);
  assert_int_equal(mica_json_type_of(mica_json_item(row, 2)), MICA_JSON_NULL);
  mica_json_free(doc);
  mica_bytes_free(&html);
  mica_bytes_free(&json);
  mica_table_free(t);
}

static mica_status fill_and_render(void *ctx) {
  (void)ctx;
  mica_table *t = NULL, *copy = NULL;
  char *text = NULL;
  mica_status status = mica_table_create(&t);
  if (!status) status = mica_table_column(t, "a", MICA_ALIGN_LEFT);
  for (int i = 0; !status && i < 40; i++) status = mica_table_number(t, i, 3);
  if (!status) status = mica_table_copy(t, &copy);
  if (!status) status = mica_table_render(copy, NULL, &text);
  mica_free(text);
  mica_table_free(t);
  mica_table_free(copy);
  return status;
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  assert_true(fail_each(fill_and_render, NULL) > 80);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(columns_are_aligned),
      cmocka_unit_test(a_terminal_gets_no_control_characters),
      cmocka_unit_test(a_narrow_terminal_cuts_the_widest_first),
      cmocka_unit_test(html_and_json_hold_the_full_values),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
