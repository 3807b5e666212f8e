/* The mica command: finds the verb, reads its flags, runs it. */
#include "cli/cli.h"

#include "base/json.h"
#include "paper/claims.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* One a line. */
// clang-format off
extern const cli_verb verb_train;
extern const cli_verb verb_fit;
extern const cli_verb verb_eval;
extern const cli_verb verb_predict;
extern const cli_verb verb_embed;
extern const cli_verb verb_search;
extern const cli_verb verb_select;
extern const cli_verb verb_measure;
extern const cli_verb verb_generate;
extern const cli_verb verb_explain;
extern const cli_verb verb_export;
extern const cli_verb verb_paper;
extern const cli_verb verb_info;
extern const cli_verb verb_model;
extern const cli_verb verb_data;
extern const cli_verb verb_list;
extern const cli_verb verb_help;
extern const cli_verb verb_version;
const cli_verb *const cli_verbs[] = {
    &verb_train,
    &verb_fit,
    &verb_eval,
    &verb_predict,
    &verb_embed,
    &verb_search,
    &verb_select,
    &verb_measure,
    &verb_generate,
    &verb_explain,
    &verb_export,
    &verb_paper,
    &verb_info,
    &verb_model,
    &verb_data,
    &verb_list,
    &verb_help,
    &verb_version,
    NULL,
};
// clang-format on

/* ---- interrupts ---- */

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number) {
  interrupted = 1;
  signal(signal_number, SIG_DFL); /* a second one ends the program at once */
}

bool cli_interrupted(void) {
  return interrupted != 0;
}
void cli_catch_interrupt(void) {
  signal(SIGINT, on_interrupt);
  signal(SIGTERM, on_interrupt);
}

/* ---- messages ---- */

int cli_usage(const cli_args *a, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  fprintf(stderr, "mica %s: ", a->verb->name);
  vfprintf(stderr, fmt, args);
  fprintf(stderr, "\n`mica help %s` tells the flags.\n", a->verb->name);
  va_end(args);
  return EXIT_USAGE;
}

int cli_failed(const cli_args *a) {
  if (mica_last_status() == MICA_OK)
    return EXIT_USAGE; /* a message about a flag's value was given */
  fprintf(stderr, "mica %s: %s\n", a->verb->name, mica_last_error());
  return mica_last_status() == MICA_ERR_CANCELLED ? EXIT_STOPPED : EXIT_FAILED;
}

void cli_result(const cli_args *a, const char *what, const char *path) {
  if (!cli_on(a, "--json")) {
    printf("%s: %s\n", what, path);
    return;
  }
  mica_bytes b = {0};
  mica_json_writer w = {.out = &b};
  mica_json_begin_object(&w);
  mica_json_put_text(&w, what, path);
  mica_json_end_object(&w);
  if (b.status == MICA_OK) puts(b.data);
  mica_bytes_free(&b);
}

/* ---- flags ---- */

static int flag_index(const cli_verb *verb, const char *name) {
  for (int i = 0; i < CLI_FLAGS && verb->flags[i].name; i++)
    if (strcmp(verb->flags[i].name, name) == 0 ||
        (verb->flags[i].alias && strcmp(verb->flags[i].alias, name) == 0))
      return i;
  return -1;
}

const char *cli_text(const cli_args *a, const char *name) {
  const int i = flag_index(a->verb, name);
  return i < 0 ? NULL : a->value[i] ? a->value[i] : a->verb->flags[i].def;
}

bool cli_on(const cli_args *a, const char *name) {
  return cli_text(a, name) != NULL;
}

int cli_all(const cli_args *a, const char *name, const char **out, int most) {
  const int flag = flag_index(a->verb, name);
  int n = 0;
  for (int i = 0; i < a->n_given; i++)
    if (a->given[i].flag == flag) {
      if (n < most) out[n] = a->given[i].value;
      n++;
    }
  return n;
}

bool cli_double(const cli_args *a, const char *name, double lo, double hi, double *out) {
  const char *text = cli_text(a, name);
  char *end = NULL;
  errno = 0;
  const double v = text ? strtod(text, &end) : 0;
  if (!text || end == text || *end || errno || !(v >= lo && v <= hi)) {
    cli_usage(a, "%s is '%s', expected a number from %g to %g", name, text ? text : "", lo, hi);
    return false;
  }
  *out = v;
  return true;
}

bool cli_int(const cli_args *a, const char *name, int64_t lo, int64_t hi, int64_t *out) {
  const char *text = cli_text(a, name);
  char *end = NULL;
  errno = 0;
  const long long v = text ? strtoll(text, &end, 10) : 0;
  if (!text || end == text || *end || errno || v < lo || v > hi) {
    cli_usage(a, "%s is '%s', expected a whole number from %lld to %lld", name, text ? text : "",
              (long long)lo, (long long)hi);
    return false;
  }
  *out = v;
  return true;
}

/* Fill args from the words after the verb; 0, or an exit code after a message. */
static int parse(cli_args *a, int argc, char **argv) {
  bool only_operands = false;
  int flags = 0;
  while (a->verb->flags[flags].name) flags++;
  if (flags > CLI_FLAGS) {
    fprintf(stderr, "mica %s: its table has %d flags, room is for %d\n", a->verb->name, flags,
            CLI_FLAGS);
    return EXIT_FAILED;
  }
  for (int i = 2; i < argc; i++) {
    char *word = argv[i];
    if (only_operands || word[0] != '-' || !word[1]) {
      if (a->n_operands == (int)(sizeof a->operand / sizeof *a->operand))
        return cli_usage(a, "more than %d operands; give a folder", a->n_operands);
      a->operand[a->n_operands++] = word;
      continue;
    }
    if (strcmp(word, "--") == 0) {
      only_operands = true;
      continue;
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
      cli_help_verb(stdout, a->verb);
      exit(EXIT_OK);
    }
    char *equals = strncmp(word, "--", 2) == 0 ? strchr(word, '=') : NULL;
    if (equals) *equals = 0;
    const int k = flag_index(a->verb, word);
    if (k < 0) {
      const char *names[CLI_FLAGS];
      int n = 0;
      for (; a->verb->flags[n].name && n < CLI_FLAGS; n++) names[n] = a->verb->flags[n].name;
      const char *near = mica_nearest_name(word, names, n);
      return cli_usage(a, "unknown flag %s%s%s%s", word, near ? "; did you mean " : "",
                       near ? near : "", near ? "?" : "");
    }
    if (!a->verb->flags[k].value) {
      if (equals) return cli_usage(a, "%s takes no value", word);
      a->value[k] = "1";
    } else if (equals) {
      a->value[k] = equals + 1;
    } else if (i + 1 < argc) {
      a->value[k] = argv[++i];
    } else {
      return cli_usage(a, "%s needs a value: %s %s", word, word, a->verb->flags[k].value);
    }
    if (a->n_given == CLI_GIVEN) return cli_usage(a, "more than %d flags", CLI_GIVEN);
    a->given[a->n_given].flag = k;
    a->given[a->n_given++].value = a->value[k];
  }
  if (a->n_operands < a->verb->least || (a->verb->most >= 0 && a->n_operands > a->verb->most))
    return cli_usage(a, "expected %s", *a->verb->operands ? a->verb->operands : "no operands");
  return 0;
}

mica_status cli_engine(const cli_args *a, mica_engine **out) {
  int64_t threads = 0;
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  if (!cli_int(a, "--threads", 0, 1024, &threads))
    return mica_fail(MICA_ERR_INVALID, "bad --threads");
  o.threads = (int32_t)threads;
  mica_status status = mica_engine_create(&o, out);
  if (status == MICA_OK && (status = mica_claims_register(*out)) != MICA_OK) {
    mica_engine_free(*out);
    *out = NULL;
  }
  return status;
}

/* A standard stream that the caller closed would be given to the next file that is opened, and
 * messages would end up in it. */
static void hold_standard_streams(void) {
  for (int fd = 0; fd < 3; fd++)
    if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd ? O_RDONLY : O_WRONLY) != fd)
      exit(EXIT_FAILED);
}

/* The verb's code, or a failure when what it printed could not be written (a full disk). A reader
 * that went away, as `head` does, is none. */
static int finish(int code) {
  errno = 0;
  bool lost = fflush(stdout) != 0;
  if (!lost && ferror(stdout)) { /* it failed on the way; one byte more tells why */
    lost = true;
    putchar('\n');
    fflush(stdout);
  }
  if (lost && errno != EPIPE) {
    fprintf(stderr, "mica: standard output: %s\n", errno ? strerror(errno) : "cannot be written");
    return code ? code : EXIT_FAILED;
  }
  return code;
}

int main(int argc, char **argv) {
  static cli_args args;
  hold_standard_streams();
  /* A file that may not grow is then an error that tells its name, here and in programs we start.
   */
  signal(SIGXFSZ, SIG_IGN);
  const char *name = argc > 1 ? argv[1] : "help";
  if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) name = "help";
  if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) name = "version";
  const char *names[32];
  int n = 0;
  for (; cli_verbs[n]; n++) {
    names[n] = cli_verbs[n]->name;
    if (strcmp(name, names[n]) == 0) args.verb = cli_verbs[n];
  }
  if (!args.verb) {
    const char *near = mica_nearest_name(name, names, n);
    fprintf(stderr, "mica: no verb '%s'%s%s%s\n`mica help` lists them.\n", name,
            near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    return EXIT_USAGE;
  }
  size_t used = 0;
  for (int i = 0; i < argc && used < sizeof args.command; i++) {
    const int m = snprintf(args.command + used, sizeof args.command - used, "%s%s", i ? " " : "",
                           i ? argv[i] : "mica");
    used += m > 0 ? (size_t)m : 0;
  }
  const int bad = parse(&args, argc, argv);
  return finish(bad ? bad : args.verb->run(&args));
}
