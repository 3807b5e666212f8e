/* A complete report with every kind of figure, on seeded synthetic data: what the tests of reports
 * write, and what a person looks at (MICA_REPORT_SAMPLE=DIR build/tests/test_report_page).
 */
#ifndef MICA_TESTS_SAMPLE_REPORT_H
#define MICA_TESTS_SAMPLE_REPORT_H

#include <mica/report.h>

#define SAMPLE_CLASSES 10
extern const char *const sample_names[SAMPLE_CLASSES];

/* A grey picture of 28 x 28 of class `group`, into the caller's 784 bytes. */
mica_picture sample_picture(uint8_t pixels[784], int32_t group, uint64_t seed);

mica_status sample_report(mica_report **out);

#endif
