/* The whole report: one page that needs nothing, and a summary with the same numbers. */
#include "support/failing_alloc.h"
#include "support/sample_report.h"

#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void the_sample_is_written(void **state) {
  (void)state;
  char folder[] = "/tmp/mica_report_XXXXXX";
  const char *wanted = getenv("MICA_REPORT_SAMPLE");
  if (!wanted) assert_non_null(mkdtemp(folder));
  const char *at = wanted ? wanted : folder;
  mica_report *report = NULL;
  if (sample_report(&report)) fail_msg("%s", mica_last_error());
  if (mica_report_write(report, at)) fail_msg("%s", mica_last_error());
  mica_report_free(report);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(the_sample_is_written)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
