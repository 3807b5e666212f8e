/* What every test program includes: cmocka and the headers it wants before it. */
#ifndef MICA_TESTS_TEST_H
#define MICA_TESTS_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
