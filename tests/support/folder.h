/* A temporary folder for a test program's files, emptied and removed at its end:
 *
 *     return cmocka_run_group_tests(tests, folder_setup, folder_teardown);
 */
#ifndef MICA_TESTS_FOLDER_H
#define MICA_TESTS_FOLDER_H

#include "support/test.h"

extern char folder_dir[]; /* its path */
int folder_setup(void **state);
int folder_teardown(void **state);
/* FOLDER/NAME, good for the next seven calls. */
const char *folder_path(const char *name);
/* Write a file there; its path as above. */
const char *folder_put(const char *name, const char *text);

#endif
