/* mica measure on files of features. */
#include "cli/measure.h"

#include "base/json.h"
#include "cli/features.h"
#include "cli/row_source.h"
#include "tensor/dtype.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#define MEASURES 64

bool measure_takes_features(const char *path) {
  return is_feature_file(path);
}

/* ---- reading ---- */

/* All rows of the source as float32. */
static mica_status read_rows(row_source *s, mica_tensor **out) {
  enum { block = 1024 };
  int64_t cursor = 0, at = 0, m = 0;
  void *piece = mica_realloc_array(NULL, block, (size_t)s->width * mica_dtype_size(s->dtype));
  int64_t *which = mica_realloc_array(NULL, block, sizeof *which);
  mica_status status = piece && which ? MICA_OK : MICA_ERR_MEMORY;
  *out = NULL;
  if (!status) status = mica_tensor_create(MICA_F32, MICA_SHAPE(s->n, s->width), out);
  while (!status) {
    status = row_source_next(s, &cursor, block, piece, which, &m);
    if (status || !m) break;
    mica_convert((float *)mica_tensor_data(*out) + at * s->width, MICA_F32, piece, s->dtype,
                 (size_t)(m * s->width));
    at += m;
    if (cli_interrupted()) status = mica_fail(MICA_ERR_CANCELLED, "stopped");
  }
  mica_free(which);
  mica_free(piece);
  return status;
}

/* Names of the classes: as the file says, else the labels' numbers. */
static mica_status name_classes(const row_source *s, measure_job *job) {
  mica_json_doc *doc = NULL;
  int64_t n = 0;
  for (int64_t i = 0; i < s->n; i++) {
    if (s->label[i] >= 1000000)
      return mica_fail(MICA_ERR_FORMAT, "%s: label %lld, expected 0 to 999999", job->a->operand[0],
                       (long long)s->label[i]);
    if (s->label[i] >= n) n = s->label[i] + 1;
  }
  mica_status status = s->classes ? mica_json_parse(s->classes, strlen(s->classes), &doc) : MICA_OK;
  if (status) return mica_fail_within("%s: classes", job->a->operand[0]);
  job->names = mica_calloc((size_t)n + 1, sizeof *job->names);
  if (!job->names) status = MICA_ERR_MEMORY;
  for (; job->classes < n && !status; job->classes++) {
    char number[24];
    const char *name =
        doc ? mica_json_string(mica_json_item(mica_json_root(doc), job->classes)) : NULL;
    snprintf(number, sizeof number, "%lld", (long long)job->classes);
    job->names[job->classes] = mica_strdup(name ? name : number);
    if (!job->names[job->classes]) status = MICA_ERR_MEMORY;
    if (status) break;
  }
  mica_json_free(doc);
  return status;
}

static mica_status read_files(measure_job *job) {
  const cli_args *a = job->a;
  row_source s;
  mica_status status =
      row_source_features(a->operand[0], cli_text(a, "--labels"), cli_text(a, "--part"), &s);
  if (status) return status;
  const int64_t n = s.n;
  status = read_rows(&s, &job->x);
  if (!status && s.label) status = name_classes(&s, job);
  if (!status && s.label) {
    job->label = s.label;
    s.label = NULL;
  }
  row_source_close(&s);
  if (status || a->n_operands < 2) return status;
  status = row_source_features(a->operand[1], NULL, cli_text(a, "--part"), &s);
  if (status) return status;
  if (s.n != n)
    status = mica_fail(MICA_ERR_SHAPE, "%s has %lld rows and %s %lld: they must be the same ones",
                       a->operand[0], (long long)n, a->operand[1], (long long)s.n);
  if (!status) status = read_rows(&s, &job->other);
  row_source_close(&s);
  return status;
}

/* ---- measuring ---- */

static mica_status add_spec(measure_job *job, const char *text, size_t n) {
  char *copy = n < 512 && job->n < MEASURES ? mica_calloc(n + 1, 1) : NULL;
  if (!copy)
    return mica_fail(MICA_ERR_INVALID, "--measures: expected up to %d, of up to 511 bytes each",
                     MEASURES);
  memcpy(copy, text, n);
  job->spec[job->n++] = copy;
  return MICA_OK;
}

/* Those asked for, or all whose needs are met. */
static mica_status choose(measure_job *job) {
  const char *text = cli_text(job->a, "--measures");
  const mica_component *c;
  mica_status status = MICA_OK;
  job->spec = mica_calloc(MEASURES, sizeof *job->spec);
  job->findings = mica_calloc(MEASURES, sizeof *job->findings);
  if (!job->spec || !job->findings) return MICA_ERR_MEMORY;
  while (text && !status) {
    const size_t n = strcspn(text, ",");
    status = add_spec(job, text, n);
    text = text[n] ? text + n + 1 : NULL;
  }
  if (job->n || status) return status;
  for (int i = 0; (c = mica_component_at(job->engine, MICA_KIND_MEASURE, i)) && !status; i++) {
    if ((c->needs & MICA_NEED_LABELS) && !job->label) continue;
    if ((c->needs & MICA_NEED_TWO_VIEWS) && !job->other) continue;
    if (strcmp(c->name, "alignment") == 0 && !job->label &&
        (!job->other || mica_tensor_dim(job->x, 1) != mica_tensor_dim(job->other, 1)))
      continue;
    status = add_spec(job, c->name, strlen(c->name));
  }
  return status;
}

static mica_status measure(measure_job *job, uint64_t seed) {
  const bool shown = isatty(2) && !cli_on(job->a, "--json");
  const mica_view x = mica_tensor_view(job->x);
  const mica_view other = job->other ? mica_tensor_view(job->other) : x;
  mica_status status = MICA_OK;
  for (int i = 0; i < job->n && !status; i++) {
    mica_measure_data d = MICA_MEASURE_DATA;
    d.x = x;
    d.label = job->label;
    d.classes = job->classes;
    d.other = job->other ? &other : NULL;
    d.seed = seed;
    /* Views of other widths are compared by measures that can; alignment then is of classes. */
    if (job->other && strncmp(job->spec[i], "alignment", 9) == 0 && job->label &&
        mica_tensor_dim(job->x, 1) != mica_tensor_dim(job->other, 1))
      d.other = NULL;
    if (shown) fprintf(stderr, "\r\033[K%s (%d of %d)", job->spec[i], i + 1, job->n);
    status = mica_findings_create(&job->findings[i]);
    if (!status) status = mica_measure(job->engine, job->spec[i], &d, job->findings[i]);
    if (!status && cli_interrupted()) status = mica_fail(MICA_ERR_CANCELLED, "stopped");
  }
  if (shown) fprintf(stderr, "\r\033[K");
  return status;
}

/* ---- what is told ---- */

static bool is_whole(double v) {
  return fabs(v) < 1e15 && !(v < floor(v)) && !(v > floor(v));
}

static mica_status print_text(const measure_job *job) {
  mica_table *t = NULL;
  char *text = NULL, previous[512] = "";
  mica_status status = mica_table_create(&t);
  if (!status) status = mica_table_column(t, "measure", MICA_ALIGN_LEFT);
  if (!status) status = mica_table_column(t, "finding", MICA_ALIGN_LEFT);
  if (!status) status = mica_table_column(t, "value", MICA_ALIGN_RIGHT);
  if (!status) status = mica_table_column(t, "meaning", MICA_ALIGN_LEFT);
  for (int i = 0; i < job->n; i++)
    for (int64_t k = 0; k < mica_findings_count(job->findings[i]) && !status; k++) {
      const mica_finding *f = mica_findings_at(job->findings[i], k);
      if (f->form != MICA_FINDING_NUMBER) continue;
      status = mica_table_text(t, strcmp(previous, job->spec[i]) ? job->spec[i] : "");
      snprintf(previous, sizeof previous, "%s", job->spec[i]);
      if (!status) status = mica_table_text(t, f->name);
      if (!status)
        status = is_whole(f->values[0]) ? mica_table_integer(t, (int64_t)f->values[0])
                                        : mica_table_number(t, f->values[0], 5);
      if (!status) status = mica_table_text(t, f->meaning);
    }
  if (!status) status = mica_table_render(t, NULL, &text);
  if (!status) {
    printf("%lld rows of %lld columns", (long long)mica_tensor_dim(job->x, 0),
           (long long)mica_tensor_dim(job->x, 1));
    if (job->other) printf(", and of %lld", (long long)mica_tensor_dim(job->other, 1));
    if (job->label) printf("; %lld classes", (long long)job->classes);
    printf("\n%s", text);
  }
  mica_free(text);
  mica_table_free(t);
  return status;
}

static void put_findings(const mica_findings *findings, mica_json_writer *w) {
  for (int64_t k = 0; k < mica_findings_count(findings); k++) {
    const mica_finding *f = mica_findings_at(findings, k);
    if (f->form == MICA_FINDING_NUMBER) {
      mica_json_put_double(w, f->name, f->values[0]);
    } else if (f->form == MICA_FINDING_BY_CLASS || f->form == MICA_FINDING_SERIES) {
      mica_json_write_name(w, f->name);
      mica_json_begin_array(w);
      for (int64_t j = 0; j < f->columns; j++) mica_json_write_double(w, f->values[j]);
      mica_json_end_array(w);
    }
  }
}

static mica_status print_json(const measure_job *job, const char *page) {
  mica_bytes b = {0};
  mica_json_writer w = {.out = &b};
  mica_json_begin_object(&w);
  mica_json_put_int(&w, "rows", mica_tensor_dim(job->x, 0));
  mica_json_put_int(&w, "columns", mica_tensor_dim(job->x, 1));
  if (job->other) mica_json_put_int(&w, "other_columns", mica_tensor_dim(job->other, 1));
  if (job->label) mica_json_put_int(&w, "classes", job->classes);
  mica_json_write_name(&w, "measures");
  mica_json_begin_object(&w);
  for (int i = 0; i < job->n; i++) {
    mica_json_write_name(&w, job->spec[i]);
    mica_json_begin_object(&w);
    put_findings(job->findings[i], &w);
    mica_json_end_object(&w);
  }
  mica_json_end_object(&w);
  if (page) mica_json_put_text(&w, "report", page);
  mica_json_end_object(&w);
  const mica_status status = b.status;
  if (!status) puts(b.data);
  mica_bytes_free(&b);
  return status;
}

static void release(measure_job *job) {
  for (int i = 0; i < job->n; i++) {
    mica_free(job->spec[i]);
    mica_findings_free(job->findings[i]);
  }
  for (int64_t c = 0; c < job->classes; c++) mica_free(job->names[c]);
  mica_free(job->names);
  mica_free(job->spec);
  mica_free(job->findings);
  mica_free(job->label);
  mica_tensor_free(job->x);
  mica_tensor_free(job->other);
  mica_engine_free(job->engine);
}

int measure_features(const cli_args *a) {
  measure_job job = {.a = a};
  const char *folder = cli_text(a, "--report");
  char page[1024];
  int64_t seed;
  if (!cli_int(a, "--seed", 0, INT64_MAX, &seed)) return EXIT_USAGE;
  if (a->n_operands > 1 && !is_feature_file(a->operand[1]))
    return cli_usage(a, "%s: expected a file of features (.npy, .npz, .safetensors)",
                     a->operand[1]);
  snprintf(page, sizeof page, "%s/report.html", folder ? folder : "");
  cli_catch_interrupt();
  mica_status status = cli_engine(a, &job.engine);
  if (!status) status = read_files(&job);
  if (!status) status = choose(&job);
  if (!status) status = measure(&job, (uint64_t)seed);
  if (!status && folder) status = measure_report(&job, folder);
  if (!status)
    status = cli_on(a, "--json") ? print_json(&job, folder ? page : NULL) : print_text(&job);
  if (!status && folder && !cli_on(a, "--json")) cli_result(a, "report", page);
  const int code = status ? cli_failed(a) : EXIT_OK;
  release(&job);
  return code;
}
