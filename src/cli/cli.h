/* What the tool's verbs share: arguments, the engine, messages, exit codes. */
#ifndef MICA_CLI_H
#define MICA_CLI_H

#include <mica/model.h>

#include <stdio.h>

/* Exit codes, as `mica help` lists them. */
enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_NOT_SHOWN = 3, EXIT_STOPPED = 130 };

/* A flag of a verb. `value` NULL: a switch. Tables end with a flag without a name. */
typedef struct cli_flag {
  const char *name;  /* "--epochs" */
  const char *alias; /* "-j", or NULL */
  const char *value; /* what the help calls its value: "N" */
  const char *def;   /* default, NULL for none */
  const char *help;
} cli_flag;

#define CLI_FLAGS 96  /* the most that a verb has; more are refused at its first use */
#define CLI_GIVEN 256 /* and that a command may give */

struct cli_args;

typedef struct cli_verb {
  const char *name;
  const char *operands; /* "MODEL FILE..." */
  const char *summary;
  const cli_flag *flags;
  int least, most; /* operands; most -1: any number */
  int (*run)(const struct cli_args *args);
  const char *more; /* a paragraph and examples for the help, NULL for none */
} cli_verb;

typedef struct cli_args {
  const cli_verb *verb;
  const char *operand[4096];
  int n_operands;
  const char *value[CLI_FLAGS]; /* of each flag of the table, the last given; switches "1" */
  struct {
    int flag;
    const char *value;
  } given[CLI_GIVEN]; /* all of them, in order */
  int n_given;
  char command[1024]; /* the line as it was given */
} cli_args;

extern const cli_verb *const cli_verbs[]; /* ends with NULL */

/* The value of a flag, its default when it was not given. */
const char *cli_text(const cli_args *a, const char *name);
bool cli_on(const cli_args *a, const char *name);
/* All values of a flag that may be given several times, in order; returns how many there are, also
 * where that is more than `most`. */
int cli_all(const cli_args *a, const char *name, const char **out, int most);
/* Numbers: false after a message when the value is none, or out of [lo, hi]. */
bool cli_int(const cli_args *a, const char *name, int64_t lo, int64_t hi, int64_t *out);
bool cli_double(const cli_args *a, const char *name, double lo, double hi, double *out);

/* "mica VERB: message" on standard error; returns EXIT_USAGE. */
int cli_usage(const cli_args *a, const char *fmt, ...) MICA_PRINTF(2, 3);
/* "mica VERB: " and the last error; returns EXIT_FAILED, or EXIT_STOPPED after a cancellation. */
int cli_failed(const cli_args *a);

/* The last line of a verb that made something: "WHAT: PATH", or {"WHAT": "PATH"} with --json. */
void cli_result(const cli_args *a, const char *what, const char *path);

/* A JSON string, or a CSV field, on standard output. */
void cli_print_json(const char *text);
void cli_print_csv(const char *text);
/* The `top` most likely classes of one example, or "none of these", as CSV lines of file, row (0:
 * it has none), rank, class and probability, or as one JSON line. Uses p [classes] up; NULL: there
 * are no probabilities. */
void cli_print_answer(const mica_model *model, const char *file, int64_t row,
                      const mica_answer *answer, double *p, int64_t classes, int64_t top,
                      bool json);

/* An engine with the --threads of the verb. */
mica_status cli_engine(const cli_args *a, mica_engine **out);
void cli_help_verb(FILE *to, const cli_verb *verb);
/* The manual page: troff's man macros, made of the same tables as the help. */
void cli_manual(FILE *to);

/* What the tool reads from its environment and returns, for help and manual; both end with NULL. */
typedef struct cli_term {
  const char *name, *meaning;
} cli_term;
extern const cli_term cli_environment[], cli_exit_codes[], cli_examples[];
/* Verbs that belong together; ends with a group without a title. Verbs end with NULL. */
typedef struct cli_group {
  const char *title;
  const char *verb[8];
} cli_group;
extern const cli_group cli_groups[];
const cli_verb *cli_verb_find(const char *name); /* NULL, no message, when there is none */
bool cli_grouped(const cli_verb *verb);

/* Ctrl-C was pressed (once: finish cleanly). */
bool cli_interrupted(void);
void cli_catch_interrupt(void);

#define CLI_COMMON_FLAGS                                                                           \
  {"--threads", "-j", "N", "0", "threads; 0: all cores"},                                          \
      {"--json", NULL, NULL, NULL, "print JSON lines"}, {                                          \
    NULL, NULL, NULL, NULL, NULL                                                                   \
  }

#endif
