/* mica predict, mica embed: a model file put to work. */
#include "cli/align.h"
#include "cli/anomaly.h"
#include "cli/describe.h"
#include "cli/features.h"
#include "cli/row_source.h"
#include "cli/row_stream.h"
#include "cli/table.h"
#include "cli/taps.h"
#include "cli/text.h"

#include "base/buffer.h"
#include "base/file.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PIECE 64 /* pictures that go through the network together */

static int by_name(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

typedef struct files {
  char **v;
  int64_t n;
} files;

static bool add_file(files *f, char *path) {
  char **more = path ? realloc(f->v, ((size_t)f->n + 1) * sizeof *more) : NULL;
  if (!more) return false;
  f->v = more;
  f->v[f->n++] = path;
  return true;
}

/* Operands: files, folders (their files, sorted), or - for names on standard input. */
static mica_status gather(const cli_args *a, int first, files *f) {
  for (int i = first; i < a->n_operands; i++) {
    const char *name = a->operand[i];
    if (strcmp(name, "-") == 0) {
      char line[4096];
      while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\r\n")] = 0;
        if (*line && !add_file(f, mica_strdup(line))) return MICA_ERR_MEMORY;
      }
    } else if (mica_is_folder(name)) {
      const int64_t from = f->n;
      DIR *d = opendir(name);
      if (!d) return mica_fail(MICA_ERR_IO, "%s: cannot be listed", name);
      for (struct dirent *e; (e = readdir(d));) {
        char *path = e->d_name[0] == '.' ? NULL : mica_path_join(name, e->d_name);
        if (path && mica_is_folder(path)) {
          mica_free(path);
          continue;
        }
        if (path && !add_file(f, path)) {
          closedir(d);
          return MICA_ERR_MEMORY;
        }
      }
      closedir(d);
      qsort(f->v + from, (size_t)(f->n - from), sizeof *f->v, by_name);
    } else if (!add_file(f, mica_strdup(name))) {
      return MICA_ERR_MEMORY;
    }
  }
  return f->n ? MICA_OK : mica_fail(MICA_ERR_NOT_FOUND, "no files given");
}

typedef struct work {
  mica_engine *engine;
  mica_model *model;
  mica_session *session;
  files files;
} work;

static void work_free(work *w) {
  for (int64_t i = 0; i < w->files.n; i++) mica_free(w->files.v[i]);
  free(w->files.v);
  mica_session_free(w->session);
  mica_model_free(w->model);
  mica_engine_free(w->engine);
}

static mica_status begin(const cli_args *a, work *w, bool gathers) {
  mica_status status = cli_engine(a, &w->engine);
  if (status == MICA_OK) status = open_model(w->engine, a->operand[0], &w->model);
  if (status == MICA_OK) status = mica_session_create(w->model, &w->session);
  if (status == MICA_OK) mica_session_take_pictures(w->session, true);
  /* Operands of a model with columns are tables, and - is one on standard input. */
  if (status == MICA_OK && gathers && !mica_model_columns(w->model))
    status = gather(a, 1, &w->files);
  return status;
}

/* One picture as the model reads it. */
static mica_status read_one(const work *w, int64_t i, mica_tensor **out) {
  const char *const path = w->files.v[i];
  return mica_model_read(w->model, 1, &path, out);
}

/* ---- files of features ---- */

static bool all_features(const cli_args *a) {
  for (int i = 1; i < a->n_operands; i++)
    if (!is_feature_file(a->operand[i])) return false;
  return a->n_operands > 1;
}

/* What is printed of a piece of rows, the first of which is number `from`. */
typedef struct printed {
  const cli_args *a;
  const char *file;
  int64_t top, classes;
  bool anomalies;
  double *probability; /* [PIECE, classes] */
  bool begun;          /* the head is printed */
} printed;

static mica_status print_rows(const work *w, printed *p, const mica_view *x, int64_t from) {
  const bool json = cli_on(p->a, "--json");
  mica_answer answer[PIECE];
  mica_status status = mica_predict(w->session, x, answer);
  if (status == MICA_OK && !json && !p->begun)
    printf("%s", p->anomalies ? "file,row,anomaly,answer\n" : "file,row,rank,class,probability\n");
  p->begun = status == MICA_OK;
  const bool probable = status == MICA_OK && !p->anomalies && !isnan(answer[0].probability);
  if (probable) status = mica_predict_probabilities(w->session, x, p->classes, p->probability);
  for (int64_t i = 0; i < x->shape.dim[0] && status == MICA_OK; i++)
    if (p->anomalies)
      cli_print_anomaly_row(p->file, from + i + 1, &answer[i], json);
    else
      cli_print_answer(w->model, p->file, from + i + 1, &answer[i],
                       probable ? p->probability + i * p->classes : NULL, p->classes, p->top, json);
  return status;
}

/* All rows of one file, a piece in memory at a time. */
static mica_status predict_rows(const work *w, printed *p) {
  const int64_t width = mica_model_features(w->model);
  row_source s;
  void *rows = NULL;
  int64_t which[PIECE], cursor = 0, m = 1;
  mica_status status = row_source_features(p->file, NULL, NULL, &s);
  if (status == MICA_OK && s.width != width)
    status = mica_fail(MICA_ERR_SHAPE, "%s: rows of %lld features, the model's network gives %lld",
                       p->file, (long long)s.width, (long long)width);
  if (status == MICA_OK &&
      !(rows = mica_malloc((size_t)(PIECE * width) * mica_dtype_size(s.dtype))))
    status = MICA_ERR_MEMORY;
  for (int64_t from = 0; status == MICA_OK && m > 0; from += m) {
    mica_tensor *x = NULL;
    status = row_source_next(&s, &cursor, PIECE, rows, which, &m);
    if (status != MICA_OK || !m) break;
    const mica_view raw = mica_view_of(rows, s.dtype, MICA_SHAPE(m, width));
    status = mica_tensor_from_view(&raw, MICA_F32, &x);
    if (status == MICA_OK) {
      const mica_view view = mica_tensor_view(x);
      status = print_rows(w, p, &view, from);
    }
    mica_tensor_free(x);
    if (status == MICA_OK && cli_interrupted()) status = mica_fail(MICA_ERR_CANCELLED, "stopped");
  }
  mica_free(rows);
  row_source_close(&s);
  return status;
}

static int predict_features(const cli_args *a, work *w, int64_t top) {
  printed p = {.a = a, .classes = mica_model_classes(w->model)};
  p.anomalies = cli_tells_anomalies(w->model);
  p.top = top < p.classes ? top : p.classes;
  p.probability = mica_malloc((size_t)(PIECE * p.classes + 1) * sizeof *p.probability);
  mica_status status = p.probability ? MICA_OK : MICA_ERR_MEMORY;
  mica_session_take_features(w->session, true);
  for (int i = 1; i < a->n_operands && status == MICA_OK; i++) {
    p.file = a->operand[i];
    status = predict_rows(w, &p);
  }
  mica_free(p.probability);
  return status == MICA_OK ? EXIT_OK : cli_failed(a);
}

/* Each picture's classes and the phrases that they rest on. */
static int explain(const cli_args *a, work *w, int64_t top) {
  const char *folder = cli_text(a, "--report");
  const int64_t classes = mica_model_classes(w->model);
  const bool json = cli_on(a, "--json");
  reasons_page *page = NULL;
  int64_t most, failed = 0;
  bool told = false;
  if (!cli_int(a, "--explain", 1, 10000, &most)) return EXIT_USAGE;
  if (top > classes) top = classes;
  mica_status status = folder ? reasons_page_create(&page) : MICA_OK;
  for (int64_t i = 0; i < w->files.n && status == MICA_OK && !cli_interrupted(); i++) {
    mica_tensor *image = NULL;
    if (read_one(w, i, &image) == MICA_OK) {
      const mica_view x = mica_tensor_view(image);
      status = cli_print_reasons(w->session, &x, w->files.v[i], top, most, json, !told);
      told = true;
      if (status == MICA_OK && page)
        status = reasons_page_add(page, w->session, &x, w->files.v[i], top, most);
    } else {
      failed++;
      fprintf(stderr, "skipped: %s\n", mica_last_error());
      if (cli_on(a, "--strict")) status = mica_last_status();
    }
    mica_tensor_free(image);
  }
  if (status == MICA_OK && page) status = reasons_page_write(page, folder);
  reasons_page_free(page);
  if (status != MICA_OK) return cli_failed(a);
  return failed == w->files.n && w->files.n ? EXIT_FAILED : EXIT_OK;
}

/* No head, and a network without classes. */
static bool says_nothing(const mica_model *m) {
  return !mica_model_heads(m) && !mica_model_columns(m) &&
         !mica_net_problem(mica_model_net(m))->classes;
}

static int predict(const cli_args *a, work *w) {
  int64_t top;
  const bool given = all_features(a);
  if (!cli_int(a, "--top", 1, 1000, &top)) return EXIT_USAGE;
  if (cli_text(a, "--report") && !cli_text(a, "--explain"))
    return cli_usage(a, "--report shows phrases: --explain K says how many");
  if (begin(a, w, !given) != MICA_OK) return cli_failed(a);
  if (says_nothing(w->model)) {
    mica_fail(MICA_ERR_UNSUPPORTED, "%s: the model tells no classes; mica fit gives it some",
              a->operand[0]);
    return cli_failed(a);
  }
  if (cli_aligns(a, w->model))
    return cli_usage(a, "the model aligns two spaces: mica embed maps features by it");
  if (given) return predict_features(a, w, top);
  if (cli_text(a, "--explain")) return explain(a, w, top);
  if (mica_model_columns(w->model)) return cli_table_predict(a, w->model, w->session);
  const int64_t classes = mica_model_classes(w->model);
  double *probability = malloc((size_t)(classes + 1) * sizeof *probability);
  int64_t failed = 0;
  int code = EXIT_OK;
  if (!probability) {
    mica_fail(MICA_ERR_MEMORY, "out of memory");
    code = cli_failed(a);
  }
  if (top > classes) top = classes;
  const bool json = cli_on(a, "--json"), anomalies = cli_tells_anomalies(w->model);
  if (!json && code == EXIT_OK)
    printf("%s", anomalies ? "file,anomaly,answer\n" : "file,rank,class,probability\n");
  for (int64_t i = 0; i < w->files.n && code == EXIT_OK && !cli_interrupted(); i++) {
    mica_tensor *image = NULL;
    mica_answer answer;
    mica_status status = read_one(w, i, &image);
    if (status == MICA_OK) {
      const mica_view x = mica_tensor_view(image);
      status = mica_predict(w->session, &x, &answer);
      if (status == MICA_OK && !isnan(answer.probability))
        status = mica_predict_probabilities(w->session, &x, classes, probability);
    }
    mica_tensor_free(image);
    if (status == MICA_OK && anomalies) {
      cli_print_anomaly(w->files.v[i], &answer, json);
      continue;
    }
    if (status == MICA_OK) {
      cli_print_answer(w->model, w->files.v[i], 0, &answer,
                       isnan(answer.probability) ? NULL : probability, classes, top, json);
      continue;
    }
    failed++;
    fprintf(stderr, "skipped: %s\n", mica_last_error());
    if (cli_on(a, "--strict")) code = EXIT_FAILED;
  }
  free(probability);
  if (failed)
    fprintf(stderr, "%lld of %lld files could not be read\n", (long long)failed,
            (long long)w->files.n);
  return failed == w->files.n && w->files.n ? EXIT_FAILED : code;
}

/* Every picture of a data set with its label and part, for `mica fit` and other programs. */
static mica_status embed_data(const cli_args *a, work *w, const char *out, int64_t *rows) {
  features f = {0};
  mica_dataset *ds = NULL;
  mica_status status;
  if (mica_model_columns(w->model)) {
    mica_data_table_options o = MICA_DATA_TABLE_OPTIONS;
    o.strict = cli_on(a, "--strict");
    status = features_rows(&o, w->model, cli_text(a, "--data"), &f, NULL);
  } else {
    status = open_pictures(a, w->model, cli_text(a, "--data"), NULL, 0, &ds);
    if (status == MICA_OK) status = features_embed_to(a, w->model, ds, out, rows);
    mica_dataset_free(ds);
    return status;
  }
  if (status == MICA_OK && !f.names)
    status = mica_fail(MICA_ERR_NOT_FOUND, "%s: the rows have no labels", cli_text(a, "--data"));
  if (status == MICA_OK) status = features_write(&f, out);
  for (int k = 0; k < MICA_PART_COUNT; k++) *rows += f.part[k].n;
  features_free(&f);
  return status;
}

static mica_status embed_files(work *w, const char *out) {
  const int64_t width = mica_model_features(w->model);
  row_stream stream = {0};
  mica_view view;
  float *rows = malloc((size_t)(PIECE * width) * sizeof *rows);
  mica_status status =
      rows ? row_stream_open(out, width, &stream) : mica_fail(MICA_ERR_MEMORY, "out of memory");
  for (int64_t from = 0; from < w->files.n && status == MICA_OK; from += PIECE) {
    const int64_t n = from + PIECE < w->files.n ? PIECE : w->files.n - from;
    mica_tensor *images = NULL;
    status = mica_model_read(w->model, n, (const char *const *)w->files.v + from, &images);
    if (status == MICA_OK) {
      const mica_view x = mica_tensor_view(images);
      status = mica_embed(w->session, &x, rows);
      if (status == MICA_OK) status = row_stream_add(&stream, rows, n);
    }
    mica_tensor_free(images);
    if (status == MICA_OK && cli_interrupted()) status = mica_fail(MICA_ERR_CANCELLED, "stopped");
  }
  if (status == MICA_OK) status = row_stream_view(&stream, &view);
  if (status == MICA_OK) status = mica_npy_write(out, &view);
  row_stream_close(&stream);
  free(rows);
  return status;
}

static mica_status set_scales(mica_model *model, const char *text) {
  double scale[MICA_SCALES_MAX];
  int64_t n = 0;
  for (const char *at = text; *at && n < MICA_SCALES_MAX;) {
    char *end;
    scale[n++] = strtod(at, &end);
    if (end == at || (*end && *end != ','))
      return mica_fail(MICA_ERR_INVALID, "--scales '%s': expected numbers with commas between",
                       text);
    at = *end ? end + 1 : end;
  }
  return mica_model_set_scales(model, n, scale);
}

static int embed(const cli_args *a, work *w) {
  const bool data = cli_text(a, "--data") != NULL;
  const char *out = cli_text(a, "--out");
  int64_t rows = 0;
  const char *text = cli_text(a, "--text");
  if (data + (text != NULL) + (a->n_operands > 1) != 1)
    return cli_usage(a, "expected FILE..., --data or --text, one of the three");
  if (!out) out = data ? "features.safetensors" : "features.npy";
  if (!data && !text && all_features(a)) {
    if (begin(a, w, false) != MICA_OK) return cli_failed(a);
    return cli_align_embed(a, w->model, w->session, out);
  }
  mica_status status = begin(a, w, !data && !text);
  if (status == MICA_OK) status = cli_taps(a, w->model);
  if (status == MICA_OK && cli_text(a, "--scales"))
    status = set_scales(w->model, cli_text(a, "--scales"));
  if (status == MICA_OK && !data) rows = w->files.n;
  if (status == MICA_OK && text)
    status = cli_text_embed(w->model, w->session, text, out, &rows);
  else if (status == MICA_OK && !data && mica_model_columns(w->model))
    status = cli_table_embed(a, w->model, w->session, out, &rows);
  else if (status == MICA_OK)
    status = data ? embed_data(a, w, out, &rows) : embed_files(w, out);
  if (status != MICA_OK) return cli_failed(a);
  if (!cli_on(a, "--json"))
    printf("%lld rows of %lld features\n", (long long)rows,
           (long long)mica_model_features(w->model));
  cli_result(a, "features", out);
  return EXIT_OK;
}

static int with_work(const cli_args *a, int (*fn)(const cli_args *, work *)) {
  work w = {0};
  cli_catch_interrupt();
  const int code = fn(a, &w);
  work_free(&w);
  return code;
}

static int run_predict(const cli_args *a) {
  return with_work(a, predict);
}
static int run_embed(const cli_args *a) {
  return with_work(a, embed);
}

static const cli_flag predict_flags[] = {
    {"--top", NULL, "K", "1", "classes to tell for each file"},
    {"--explain", NULL, "K", NULL,
     "of a model of classes made from texts: the K phrases of each class that speak most for it"},
    {"--report", NULL, "DIR", NULL, "with --explain: DIR/report.html of the pictures and phrases"},
    {"--strict", NULL, NULL, NULL, "stop at a file or row that cannot be read"},
    CLI_COMMON_FLAGS};
static const cli_flag embed_flags[] = {
    {"--data", NULL, "DIR", NULL,
     "pictures or rows with labels, which are written beside the features"},
    {"--text", NULL, "FILE", NULL, "a text whose lines are examples; - is standard input"},
    {"--out", "-o", "FILE", NULL,
     "features.npy, or with --data features.safetensors (or an .npz file)"},
    {"--strict", NULL, NULL, NULL, "stop at a picture that cannot be read"},
    {"--scales", NULL, "A,B", NULL,
     "pictures: the mean of the features at several scales: 0.7071,1,1.4142"},
    {"--targets", NULL, NULL, NULL,
     "of features for a head that aligns two spaces: they are of the second space"},
    CLI_TAPS_FLAGS,
    CLI_VIEWS_FLAGS,
    CLI_COMMON_FLAGS};

const cli_verb verb_predict = {
    "predict",
    "MODEL FILE...",
    "tell the classes of pictures, rows or features, as CSV or JSON lines",
    predict_flags,
    2,
    -1,
    run_predict,
    "FILE may be a folder, or - for names on standard input; .npy, .npz and .safetensors files "
    "hold "
    "features, which go to the model's head. For a model of rows it is a "
    "table, or - for one on standard input. A model of clicks tells the probability of one, which "
    "is the label's second value."};
const cli_verb verb_embed = {
    "embed",
    "MODEL [FILE...]",
    "write the features of pictures, rows or lines of text",
    embed_flags,
    1,
    -1,
    run_embed,
    "With --data the file holds features [N, D], labels [N] and part [N] "
    "(0 training, 1 validation, "
    "2 test);\n`mica fit --data FILE` reads it. A file of features (.npy, .npz, "
    ".safetensors) goes through a head that aligns two spaces."};
