/* Other programs, run without a shell: curl, tar, unzip.
 *
 * Arguments go to the program as they are, so nothing in a file's name or an address is ever
 * interpreted. What the program prints is kept for a message, not shown.
 */
#ifndef MICA_CLI_PROGRAM_H
#define MICA_CLI_PROGRAM_H

#include <mica/base.h>

#include <sys/types.h>

typedef struct program {
  pid_t pid;
  int pipe;        /* its standard output and error */
  char text[2048]; /* the end of what it printed, NUL-terminated */
  size_t n;
} program;

/* Start argv[0], looked for in PATH; argv ends with NULL. MICA_ERR_UNSUPPORTED when there is no
 * such program: `what` says what it is needed for. */
mica_status program_start(program *p, const char *const *argv, const char *what);
/* Wait up to `seconds`. True once the program has ended; then *code is its exit code, or 128 and
 * the number of the signal that ended it. */
bool program_ended(program *p, double seconds, int *code);
/* Ask it to end, and wait for that. */
void program_stop(program *p);
/* The last line of what it printed, without the program's own name in front. */
const char *program_complaint(program *p);

/* Run to the end. Anything but exit code 0 is MICA_ERR_IO with the program's complaint; Ctrl-C
 * stops it, MICA_ERR_CANCELLED. */
mica_status program_run(const char *const *argv, const char *what);

#endif
