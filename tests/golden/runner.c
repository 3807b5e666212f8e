/* golden DIR [SLUG...]: the golden vectors of papers, DIR/SLUG/CASE.safetensors.
 *
 * Prints `pass|fail SLUG/CASE LARGEST_ERROR` for each case, its reason below where it failed; cases
 * that an answer of nothing but zeros would pass; slugs without an adapter, which are skipped; and
 * at last `N passed, N failed, N skipped`. The exit status is 1 when a case failed, 2 for wrong
 * usage. Each case runs in a process of its own: a crash is a failure of that case alone.
 */
#include "adapter.h"

#include <dirent.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ADAPTER(name) extern const golden_adapter golden_adapter_##name;
#include "golden_adapters.def"
#undef ADAPTER
#define ADAPTER(name) &golden_adapter_##name,
static const golden_adapter *const adapters[] = {
#include "golden_adapters.def"
    NULL};
#undef ADAPTER

#define HELD 4096

/* What a case tells its parent. */
typedef struct outcome {
  int passed, zeros; /* zeros: an answer of zeros would have passed too */
  double error;      /* the largest, over max(1, largest |expected|) */
  char reason[900];
} outcome;

struct golden {
  const golden_adapter *adapter;
  const mica_archive *archive;
  mica_engine *engine;
  bool *checked; /* [tensors] */
  outcome out;
  int report; /* the pipe to the parent */
};

/* ---- ending ---- */

static _Noreturn void finish(golden *g) {
  const ssize_t n = write(g->report, &g->out, sizeof g->out);
  _exit(n == (ssize_t)sizeof g->out ? 0 : 1);
}

void golden_fail(golden *g, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  vsnprintf(g->out.reason, sizeof g->out.reason, fmt, args);
  va_end(args);
  g->out.passed = 0;
  finish(g);
}

void golden_need(golden *g, mica_status status) {
  if (status != MICA_OK) golden_fail(g, "%s", mica_last_error());
}

void golden_need_tape(golden *g, mica_tape *t) {
  if (!mica_ok(t)) golden_fail(g, "%s", mica_last_error());
}

static void *need_memory(golden *g, size_t n, size_t size) {
  void *p = calloc(n ? n : 1, size);
  if (!p) golden_fail(g, "out of memory");
  return p;
}

/* ---- what the file has ---- */

mica_engine *golden_engine(golden *g) {
  if (!g->engine) golden_need(g, mica_engine_create(NULL, &g->engine));
  return g->engine;
}

bool golden_has(const golden *g, const char *name) {
  return mica_archive_find(g->archive, name) >= 0;
}

int64_t golden_count(const golden *g) {
  return mica_archive_count(g->archive);
}

const char *golden_name(const golden *g, int64_t i) {
  return mica_archive_name(g->archive, i);
}

mica_tensor *golden_tensor(golden *g, const char *name, mica_dtype dtype) {
  mica_tensor *stored = NULL, *out = NULL;
  const int64_t i = mica_archive_find(g->archive, name);
  if (i < 0) golden_fail(g, "the file has no %s", name);
  golden_need(g, mica_archive_read(g->archive, i, &stored));
  if (dtype == MICA_DTYPE_COUNT || dtype == mica_tensor_dtype(stored)) return stored;
  const mica_view v = mica_tensor_view(stored);
  golden_need(g, mica_tensor_from_view(&v, dtype, &out));
  return out;
}

mica_view golden_view(golden *g, const char *name, mica_dtype dtype) {
  return mica_tensor_view(golden_tensor(g, name, dtype));
}

const double *golden_doubles(golden *g, const char *name, int64_t *n) {
  const mica_tensor *t = golden_tensor(g, name, MICA_F64);
  if (n) *n = mica_tensor_count(t);
  return mica_tensor_data(t);
}

const int64_t *golden_integers(golden *g, const char *name, int64_t *n) {
  const mica_tensor *t = golden_tensor(g, name, MICA_I64);
  if (n) *n = mica_tensor_count(t);
  return mica_tensor_data(t);
}

int64_t golden_dim(golden *g, const char *name, int axis) {
  return mica_tensor_dim(golden_tensor(g, name, MICA_DTYPE_COUNT), axis);
}

/* ---- options ---- */

const char *golden_text(const golden *g, const char *key, const char *otherwise) {
  const char *text = mica_archive_metadata(g->archive, key);
  return text ? text : otherwise;
}

double golden_number(golden *g, const char *key, double otherwise) {
  const char *text = golden_text(g, key, NULL);
  char *end;
  if (!text) return otherwise;
  const double v = strtod(text, &end);
  if (end == text || *end) golden_fail(g, "option %s is '%s', expected a number", key, text);
  return v;
}

int64_t golden_integer(golden *g, const char *key, int64_t otherwise) {
  const double v = golden_number(g, key, (double)otherwise);
  if (v != floor(v) || fabs(v) > 0x1p53) golden_fail(g, "option %s is no whole number", key);
  return (int64_t)v;
}

bool golden_flag(golden *g, const char *key, bool otherwise) {
  const char *text = golden_text(g, key, NULL);
  if (!text) return otherwise;
  if (strcmp(text, "true") == 0 || strcmp(text, "True") == 0 || strcmp(text, "1") == 0) return true;
  if (strcmp(text, "false") == 0 || strcmp(text, "False") == 0 || strcmp(text, "0") == 0)
    return false;
  golden_fail(g, "option %s is '%s', expected true or false", key, text);
}

int golden_list(golden *g, const char *key, double *out, int most) {
  const char *text = golden_text(g, key, NULL);
  int n = 0;
  if (!text) golden_fail(g, "the file has no option %s", key);
  for (const char *at = text + strspn(text, "[( "); *at && !strchr("])", *at);) {
    char *end;
    const double v = strtod(at, &end);
    if (end == at || n == most)
      golden_fail(g, "option %s is '%s', expected at most %d numbers", key, text, most);
    out[n++] = v;
    at = end + strspn(end, ", ");
  }
  return n;
}

/* ---- comparing ---- */

/* Are they the same but for dimensions of 1? */
static bool alike(const mica_shape *a, const mica_shape *b) {
  int i = 0, k = 0;
  for (;;) {
    while (i < a->rank && a->dim[i] == 1) i++;
    while (k < b->rank && b->dim[k] == 1) k++;
    if (i == a->rank || k == b->rank) return i == a->rank && k == b->rank;
    if (a->dim[i++] != b->dim[k++]) return false;
  }
}

/* Compare n elements; sign is +1, or -1 for the reverse of what was got. Returns the largest error
 * over max(1, largest expected), infinity where one is not a number and the other is. */
static double error_of(const double *got, const double *want, int64_t n, int64_t stride,
                       double sign, double scale, double floor_) {
  double worst = 0;
  for (int64_t i = 0; i < n; i++) {
    const double w = want[i * stride], v = sign * got[i * stride];
    if (v == w || (isnan(v) && isnan(w))) continue;
    const double d = fabs(v - w);
    if (!isfinite(d)) return INFINITY;
    if (d > floor_ && d / scale > worst) worst = d / scale;
  }
  return worst;
}

static double largest(const double *v, int64_t n) {
  double m = 1;
  for (int64_t i = 0; i < n; i++)
    if (isfinite(v[i]) && fabs(v[i]) > m) m = fabs(v[i]);
  return m;
}

static void verdict(golden *g, const char *name, int64_t index, double error, double zero_error,
                    double tolerance) {
  g->checked[index] = true;
  if (error > g->out.error || isnan(error)) g->out.error = error;
  if (!(zero_error <= tolerance)) g->out.zeros = 0;
  if (!(error <= tolerance))
    golden_fail(g, "%s differs by %.3g, at most %.3g is allowed", name, error, tolerance);
}

/* axis -1: no free signs. */
static void compare(golden *g, const char *name, mica_view got, double tolerance, int axis) {
  char a[80], b[80];
  const int64_t index = mica_archive_find(g->archive, name);
  if (index < 0) golden_fail(g, "the file has no %s to compare with", name);
  const mica_dtype stored = mica_archive_dtype(g->archive, index);
  const mica_shape *shape = mica_archive_shape(g->archive, index);
  if (!got.data && mica_view_count(&got) != 0) golden_fail(g, "%s: nothing was computed", name);
  if (!alike(&got.shape, shape))
    golden_fail(g, "%s: shape %s, expected %s", name, mica_shape_text(&got.shape, a, sizeof a),
                mica_shape_text(shape, b, sizeof b));
  mica_tensor *copy;
  golden_need(g, mica_tensor_from_view(&got, MICA_F64, &copy));
  const double *v = mica_tensor_data(copy), *want = golden_doubles(g, name, NULL);
  const int64_t n = mica_tensor_count(copy);
  double *zeros = need_memory(g, (size_t)n, sizeof *zeros);
  const double scale = largest(want, n);
  const bool whole = !mica_dtype_is_float(stored);
  const double floor_ = stored == MICA_F32 && strncmp(name, "grad.", 5) == 0 ? 1e-5 : 0;
  double worst = 0;
  if (axis < 0) {
    worst = error_of(v, want, n, 1, 1, scale, floor_);
  } else {
    const int64_t columns = shape->dim[shape->rank - 1], rows = columns ? n / columns : 0;
    for (int64_t i = 0; i < (axis ? columns : rows); i++) {
      const int64_t at = axis ? i : i * columns, m = axis ? rows : columns;
      const int64_t stride = axis ? columns : 1;
      worst = fmax(worst, fmin(error_of(v + at, want + at, m, stride, 1, scale, floor_),
                               error_of(v + at, want + at, m, stride, -1, scale, floor_)));
    }
  }
  verdict(g, name, index, worst, error_of(zeros, want, n, 1, 1, scale, floor_),
          whole ? 0 : tolerance);
  free(zeros);
  mica_tensor_free(copy);
}

void golden_check(golden *g, const char *name, mica_view got) {
  compare(g, name, got, g->adapter->tolerance, -1);
}

void golden_check_within(golden *g, const char *name, mica_view got, double tolerance) {
  compare(g, name, got, tolerance, -1);
}

void golden_check_up_to_sign(golden *g, const char *name, mica_view got, int axis) {
  compare(g, name, got, g->adapter->tolerance, axis);
}

/* A view with the shape that the file has, for plain arrays. */
static mica_view as_stored(golden *g, const char *name, const void *got, mica_dtype dtype,
                           int64_t n) {
  const int64_t index = mica_archive_find(g->archive, name);
  if (index < 0) golden_fail(g, "the file has no %s to compare with", name);
  const mica_shape *shape = mica_archive_shape(g->archive, index);
  if (mica_shape_count(shape) != n)
    golden_fail(g, "%s: %lld elements, expected %lld", name, (long long)n,
                (long long)mica_shape_count(shape));
  return mica_view_of((void *)got, dtype, *shape);
}

void golden_check_doubles(golden *g, const char *name, const double *got, int64_t n) {
  golden_check(g, name, as_stored(g, name, got, MICA_F64, n));
}

void golden_check_integers(golden *g, const char *name, const int64_t *got, int64_t n) {
  golden_check(g, name, as_stored(g, name, got, MICA_I64, n));
}

void golden_check_var(golden *g, const char *name, mica_tape *t, mica_var got) {
  golden_need_tape(g, t);
  golden_check(g, name, mica_read(t, got));
}

/* Move the axis of channels: [N,C,rest] to [N,rest,C], or back. */
static mica_tensor *moved(golden *g, const mica_tensor *from, bool to_last) {
  const mica_shape *s = mica_tensor_shape(from);
  mica_tensor *to;
  if (s->rank < 3) golden_fail(g, "a tensor of rank %d has no axis of channels", (int)s->rank);
  mica_shape shape = *s;
  const int64_t c = to_last ? s->dim[1] : s->dim[s->rank - 1];
  int64_t rest = 1;
  for (int i = 1; i + 1 < s->rank; i++) {
    shape.dim[to_last ? i : i + 1] = s->dim[to_last ? i + 1 : i];
    rest *= s->dim[to_last ? i + 1 : i];
  }
  shape.dim[to_last ? s->rank - 1 : 1] = c;
  golden_need(g, mica_tensor_create(mica_tensor_dtype(from), shape, &to));
  for (int64_t n = 0; n < s->dim[0]; n++)
    for (int64_t k = 0; k < c; k++)
      for (int64_t r = 0; r < rest; r++) {
        const int64_t first = (n * c + k) * rest + r, last = (n * rest + r) * c + k;
        mica_tensor_set(to, to_last ? last : first,
                        mica_tensor_get(from, to_last ? first : last));
      }
  return to;
}

mica_tensor *golden_channels_last(golden *g, const char *name, mica_dtype dtype) {
  return moved(g, golden_tensor(g, name, dtype), true);
}

void golden_check_channels_last(golden *g, const char *name, mica_view got) {
  mica_tensor *copy;
  golden_need(g, mica_tensor_from_view(&got, MICA_F64, &copy));
  golden_check(g, name, mica_tensor_view(moved(g, copy, false)));
}

/* ---- one case ---- */

static bool expected(const char *name) {
  return strncmp(name, "in.", 3) != 0 && strncmp(name, "param.", 6) != 0;
}

static _Noreturn void run_case(const golden_adapter *adapter, const char *path, int report) {
  mica_archive *archive;
  golden g = {.adapter = adapter, .report = report, .out = {.zeros = 1}};
  golden_need(&g, mica_archive_open(path, &archive));
  g.archive = archive;
  const int64_t n = mica_archive_count(archive);
  g.checked = need_memory(&g, (size_t)n, sizeof *g.checked);
  adapter->run(&g);
  int64_t compared = 0;
  for (int64_t i = 0; i < n; i++) {
    const char *name = mica_archive_name(archive, i);
    if (expected(name) && !g.checked[i]) golden_fail(&g, "%s was compared with nothing", name);
    compared += g.checked[i];
  }
  if (!compared) golden_fail(&g, "the file expects nothing");
  g.out.passed = 1;
  finish(&g);
}

/* In a process of its own; how it ended is part of the outcome. */
static outcome try_case(const golden_adapter *adapter, const char *path) {
  outcome out = {0, 0, NAN, "the runner could not start a process"};
  int ends[2], status = 0;
  fflush(NULL);
  if (pipe(ends) != 0) return out;
  const pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    run_case(adapter, path, ends[1]);
  }
  close(ends[1]);
  outcome told;
  const ssize_t n = child > 0 ? read(ends[0], &told, sizeof told) : 0;
  close(ends[0]);
  if (child > 0) waitpid(child, &status, 0);
  if (n == (ssize_t)sizeof told && WIFEXITED(status)) return told;
  if (child > 0)
    snprintf(out.reason, sizeof out.reason, "it ended by signal %d",
             WIFSIGNALED(status) ? WTERMSIG(status) : 0);
  return out;
}

/* ---- folders ---- */

static int by_name(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names in a folder, sorted, of folders or of safetensors files (without the ending). */
static char **names_in(const char *dir, bool folders, int *count) {
  static const char ending[] = ".safetensors";
  char **list = NULL;
  DIR *d = opendir(dir);
  *count = 0;
  for (struct dirent *e; d && (e = readdir(d));) {
    char path[4096];
    struct stat s;
    const size_t n = strlen(e->d_name), m = sizeof ending - 1;
    snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
    if (e->d_name[0] == '.' || stat(path, &s) != 0 || folders != (S_ISDIR(s.st_mode) != 0)) continue;
    if (!folders && (n <= m || strcmp(e->d_name + n - m, ending) != 0)) continue;
    char **more = realloc(list, ((size_t)*count + 1) * sizeof *list);
    char *name = strndup(e->d_name, folders ? n : n - m);
    if (!more || !name) exit(1);
    list = more;
    list[(*count)++] = name;
  }
  if (d) closedir(d);
  if (list) qsort(list, (size_t)*count, sizeof *list, by_name);
  return list;
}

static const golden_adapter *adapter_of(const char *slug) {
  for (int i = 0; adapters[i]; i++)
    if (strcmp(adapters[i]->slug, slug) == 0) return adapters[i];
  return NULL;
}

typedef struct tally {
  int passed, failed, skipped;
  char **zeros; /* "SLUG/CASE" */
  int n_zeros;
  char **unknown; /* slugs */
  int n_unknown;
} tally;

static void append(char ***list, int *n, const char *text) {
  char **more = realloc(*list, ((size_t)*n + 1) * sizeof **list);
  if (!more || !(more[*n] = strdup(text))) exit(1);
  *list = more;
  (*n)++;
}

static void run_slug(const char *dir, const char *slug, tally *t) {
  char folder[4096], label[4400];
  int n;
  const golden_adapter *adapter = adapter_of(slug);
  snprintf(folder, sizeof folder, "%s/%s", dir, slug);
  char **name = names_in(folder, false, &n);
  if (!adapter && n) append(&t->unknown, &t->n_unknown, slug);
  for (int i = 0; i < n; i++) {
    char path[4096 + 300];
    snprintf(path, sizeof path, "%s/%s.safetensors", folder, name[i]);
    snprintf(label, sizeof label, "%s/%s", slug, name[i]);
    if (!adapter) {
      t->skipped++;
    } else {
      const outcome out = try_case(adapter, path);
      printf("%s %s %.3g\n", out.passed ? "pass" : "fail", label, out.error);
      if (!out.passed) printf("  %s\n", out.reason);
      if (out.passed && out.zeros) append(&t->zeros, &t->n_zeros, label);
      t->passed += out.passed;
      t->failed += !out.passed;
    }
    free(name[i]);
  }
  free(name);
}

static void list(const char *what, char **names, int n) {
  if (n) printf("%s:", what);
  for (int i = 0; i < n; i++) {
    printf(" %s", names[i]);
    free(names[i]);
  }
  if (n) printf("\n");
  free(names);
}

int main(int argc, char **argv) {
  tally t = {0};
  struct stat s;
  if (argc < 2) {
    fprintf(stderr, "usage: golden DIR [SLUG...]\n");
    return 2;
  }
  if (stat(argv[1], &s) != 0 || !S_ISDIR(s.st_mode)) {
    fprintf(stderr, "golden: there is no folder %s\n", argv[1]);
    return 2;
  }
  for (int i = 2; i < argc; i++) {
    char folder[4096];
    snprintf(folder, sizeof folder, "%s/%s", argv[1], argv[i]);
    if (strchr(argv[i], '/') || stat(folder, &s) != 0 || !S_ISDIR(s.st_mode)) {
      fprintf(stderr, "golden: there is no folder %s\n", folder);
      return 2;
    }
    run_slug(argv[1], argv[i], &t);
  }
  if (argc == 2) {
    int n;
    char **slug = names_in(argv[1], true, &n);
    for (int i = 0; i < n; i++) {
      run_slug(argv[1], slug[i], &t);
      free(slug[i]);
    }
    free(slug);
  }
  list("an answer of zeros would pass", t.zeros, t.n_zeros);
  list("skipped, no adapter", t.unknown, t.n_unknown);
  printf("%d passed, %d failed, %d skipped\n", t.passed, t.failed, t.skipped);
  return t.failed ? 1 : 0;
}
