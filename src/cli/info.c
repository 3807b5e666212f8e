/* mica info: what is in a file of tensors, what network it is of, and what of it would load. */
#include "cli/cli.h"
#include "cli/guess.h"

#include "base/buffer.h"
#include "base/json.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

/* A network is made to see what loads: up to this many elements in the file. */
#define TRY_MOST ((int64_t)1 << 30)

typedef struct statistics {
  double low, high, mean;
  int64_t nan, infinite;
} statistics;

typedef struct account {
  bool tried;
  mica_load_report report;
  char trouble[512];                    /* why it does not load */
  mica_head_facts head[MICA_HEADS_MAX]; /* of a model file */
  int64_t heads;
  mica_adapter_facts adapter[16]; /* likewise */
  int64_t adapters, adapters_shown;
  int64_t parts; /* of a picture that are described, 0 or 1: it as a whole */
} account;

/* Names and texts come from outside: what is no printing character must not reach a terminal. */
static void put_text(const char *text, size_t most) {
  size_t n = 0;
  for (; *text && n < most; text++, n++)
    putchar(iscntrl((unsigned char)*text) ? '?' : (unsigned char)*text);
  if (*text) printf("... (%zu bytes more)", strlen(text));
}

static mica_status measure(const mica_archive *f, int64_t i, statistics *s) {
  mica_tensor *raw = NULL, *wide = NULL;
  mica_status status = mica_archive_read(f, i, &raw);
  if (status == MICA_OK) {
    const mica_view view = mica_tensor_view(raw);
    status = mica_tensor_from_view(&view, MICA_F64, &wide);
  }
  if (status == MICA_OK) {
    const double *x = mica_tensor_data(wide);
    const int64_t n = mica_tensor_count(wide);
    double sum = 0;
    int64_t finite = 0;
    *s = (statistics){NAN, NAN, NAN, 0, 0};
    for (int64_t k = 0; k < n; k++) {
      s->nan += isnan(x[k]) != 0;
      s->infinite += isinf(x[k]) != 0;
      if (!isfinite(x[k])) continue;
      if (!finite || x[k] < s->low) s->low = x[k];
      if (!finite || x[k] > s->high) s->high = x[k];
      sum += x[k];
      finite++;
    }
    if (finite) s->mean = sum / (double)finite;
  }
  mica_tensor_free(wide);
  mica_tensor_free(raw);
  return status;
}

static int64_t bytes_of(const mica_archive *f, int64_t i) {
  return mica_shape_count(mica_archive_shape(f, i)) *
         (int64_t)mica_dtype_size(mica_archive_dtype(f, i));
}

/* The architecture: of a model file what it says itself, of others what names and shapes tell. */
static void look_at(const mica_archive *f, architecture_guess *g) {
  const char *text = mica_archive_metadata(f, "mica");
  mica_json_doc *doc = NULL;
  guess_architecture(f, g);
  if (!text || mica_json_parse(text, strlen(text), &doc) != MICA_OK) return;
  const mica_json *root = mica_json_root(doc), *input = mica_json_get(root, "input");
  const char *spec = mica_json_string(mica_json_get(root, "architecture"));
  mica_problem p = MICA_PROBLEM_ROWS(0, mica_json_count(mica_json_get(root, "classes")));
  if (spec && strlen(spec) < sizeof g->spec &&
      mica_json_int64(mica_json_get(input, "height"), &p.height) &&
      mica_json_int64(mica_json_get(input, "width"), &p.width) &&
      mica_json_int64(mica_json_get(input, "channels"), &p.channels)) {
    (void)mica_json_int64(mica_json_get(input, "vocabulary"), &p.vocabulary);
    (void)mica_json_int64(mica_json_get(input, "length"), &p.length);
    p.fields = mica_json_count(mica_json_get(input, "fields"));
    *g = (architecture_guess){.problem = p};
    snprintf(g->spec, sizeof g->spec, "%s", spec);
    snprintf(g->names, sizeof g->names, "mica");
  }
  mica_json_free(doc);
}

/* A network of texts that tells what they are, not how they go on. */
static bool is_encoder(const char *spec) {
  return strncmp(spec, "bert", 4) == 0 && (!spec[4] || spec[4] == ':' || spec[4] == ' ');
}

/* The architecture that the user names, with what the file tells about the pictures. */
static void take_as(const cli_args *a, architecture_guess *g) {
  const char *spec = cli_text(a, "--as");
  if (!spec) return;
  if (!*g->names) g->problem = (mica_problem)MICA_PROBLEM_IMAGES(224, 224, 3, 0);
  if (!g->problem.height && strncmp(spec, "mlp", 3) != 0)
    g->problem = (mica_problem)MICA_PROBLEM_IMAGES(224, 224, 3, 0);
  snprintf(g->spec, sizeof g->spec, "%s", spec);
  snprintf(g->names, sizeof g->names, "--as");
  *g->note = 0;
}

/* Make the network and load the file into it. A model file that lies about its sizes is refused by
 * mica_model_open, so that is what opens one. */
static void try_to_load(const cli_args *a, const mica_archive *f, const architecture_guess *g,
                        account *out) {
  int64_t elements = 0;
  for (int64_t i = 0; i < mica_archive_count(f); i++)
    elements += mica_shape_count(mica_archive_shape(f, i));
  memset(out, 0, sizeof *out);
  if (!*g->spec || elements > TRY_MOST) return;
  mica_engine *engine = NULL;
  mica_net *net = NULL;
  mica_model *model = NULL;
  mica_status status = cli_engine(a, &engine);
  if (status == MICA_OK && strcmp(g->names, "mica") == 0) {
    status = mica_model_open(engine, mica_archive_path(f), &model);
    if (status == MICA_OK) {
      out->report.loaded = mica_params_count(mica_net_params(mica_model_net(model)));
      out->report.share = 1;
      out->parts = mica_model_parts(model);
      for (; out->heads < mica_model_heads(model) && out->heads < MICA_HEADS_MAX; out->heads++)
        mica_model_head(model, out->heads, &out->head[out->heads]);
      const mica_params *params = mica_net_params(mica_model_net(model));
      out->adapters = mica_adapters(params);
      while (out->adapters_shown < 16 &&
             mica_adapter_at(params, out->adapters_shown, &out->adapter[out->adapters_shown]))
        out->adapters_shown++;
    }
  } else if (status == MICA_OK) {
    const mica_load_options o = {sizeof o, NULL, true, true};
    status = mica_net_create(engine, g->spec, &g->problem, 0, &net);
    if (status == MICA_OK)
      status = mica_params_load(mica_net_params(net), mica_archive_path(f), &o, &out->report);
  }
  if (status != MICA_OK) snprintf(out->trouble, sizeof out->trouble, "%s", mica_last_error());
  out->tried = true;
  mica_model_free(model);
  mica_net_free(net);
  mica_engine_free(engine);
}

/* ---- for a person ---- */

static void print_architecture(const architecture_guess *g, const account *k, const char *path) {
  const mica_problem *p = &g->problem;
  if (!*g->names) {
    printf("no architecture of mica's is recognised in the names\n");
    return;
  }
  if (!*g->spec) {
    printf("looks like %s (%s)\n", g->note, g->names);
    return;
  }
  if (strcmp(g->names, "mica") == 0)
    printf("a model file: ");
  else
    printf(strcmp(g->names, "--as") == 0 ? "taken as " : "looks like ");
  put_text(g->spec, 400);
  if (strcmp(g->names, "mica") != 0 && strcmp(g->names, "--as") != 0) printf(" in %s", g->names);
  if (p->height)
    printf(", pictures of %" PRId64 "x%" PRId64 "x%" PRId64, p->height, p->width, p->channels);
  if (p->height && p->vocabulary) printf(" and");
  if (p->vocabulary)
    printf("%s texts of %" PRId64 " tokens of %" PRId64, p->height ? "" : ",", p->length,
           p->vocabulary);
  if (!p->height && !p->vocabulary) printf(", rows of %" PRId64 " columns", p->channels);
  if (p->fields) printf(" and %" PRId64 " fields", p->fields);
  if (p->classes)
    printf(", %" PRId64 " classes\n", p->classes);
  else if (p->vocabulary && p->height)
    printf(" in one space\n");
  else if (p->vocabulary)
    printf(is_encoder(g->spec) ? ", a vector of each\n" : ", the token that follows\n");
  else
    printf(", no head\n");
  if (*g->note) printf("  %s\n", g->note);
  if (!k->tried) {
    printf("  too large to try whether it loads\n");
  } else if (*k->trouble) {
    printf("  does not load: %s\n", k->trouble);
  } else {
    const mica_load_report *r = &k->report;
    printf("  loads: %" PRId64 " tensors, %.1f%% of the parameters; %" PRId64 " missing, %" PRId64
           " unexpected, %" PRId64 " of another shape\n",
           r->loaded, 100 * r->share, r->missing, r->unexpected, r->reshaped);
    for (const char *line = r->text; line && *line;) {
      const size_t n = strcspn(line, "\n");
      printf("    ");
      for (size_t i = 0; i < n; i++)
        putchar(iscntrl((unsigned char)line[i]) ? '?' : (unsigned char)line[i]);
      putchar('\n');
      line += n + (line[n] == '\n');
    }
    if (k->parts > 1) printf("  describes %" PRId64 " parts of a picture\n", k->parts);
    for (int64_t i = 0; i < k->heads; i++) {
      const mica_head_facts *h = &k->head[i];
      printf("  head %s: %s, %" PRId64 " classes%s\n", h->name, h->estimator, h->classes,
             h->answers ? ", which answers" : "");
    }
    for (int64_t i = 0; i < k->adapters_shown; i++) {
      const mica_adapter_facts *f = &k->adapter[i];
      printf("  adapter %s: %s on %" PRId64 " modules, %" PRId64 " trained, %" PRId64 " stored%s\n",
             f->name, f->spec, f->modules, f->trained, f->stored,
             f->merged ? ", merged"
             : f->on   ? ""
                       : ", off");
    }
    if (strcmp(g->names, "mica") == 0 && p->vocabulary && p->height && !k->heads)
      printf("  mica fit zero_shot --encoder %s --descriptions FILE.json\n", path);
    else if (strcmp(g->names, "mica") == 0 && is_encoder(g->spec) && !p->classes)
      printf("  mica embed %s --text lines.txt\n", path);
    else if (strcmp(g->names, "mica") == 0 && p->vocabulary && !p->height && !p->classes)
      printf("  mica generate %s --prompt TEXT\n", path);
    else if (strcmp(g->names, "mica") == 0)
      printf("  mica predict %s %s\n", path, p->height ? "picture.png" : "rows.csv");
    else
      printf("  mica train %s --init %s --data FOLDER\n", g->spec, path);
  }
}

static mica_status print_text(const cli_args *a, const mica_archive *f, const architecture_guess *g,
                              const account *k) {
  const int64_t n = mica_archive_count(f);
  int64_t elements = 0, bytes = 0;
  for (int64_t i = 0; i < n; i++) {
    elements += mica_shape_count(mica_archive_shape(f, i));
    bytes += bytes_of(f, i);
  }
  printf("%s: %s, %" PRId64 " tensors, %" PRId64 " elements, %" PRId64 " bytes\n", a->operand[0],
         mica_archive_format(f), n, elements, bytes);
  print_architecture(g, k, a->operand[0]);
  for (int64_t i = 0; i < mica_archive_metadata_count(f); i++) {
    printf(i ? "  " : "metadata:\n  ");
    put_text(mica_archive_metadata_key(f, i), 100);
    printf(": ");
    put_text(mica_archive_metadata_value(f, i), cli_on(a, "--all") ? SIZE_MAX : 500);
    putchar('\n');
  }
  if (n) printf("tensors:\n");
  for (int64_t i = 0; i < n; i++) {
    char shape[128];
    const char *name = mica_archive_name(f, i);
    printf("  ");
    put_text(name, 200);
    printf("%*s %-8s %-16s %" PRId64, strlen(name) < 48 ? 48 - (int)strlen(name) : 0, "",
           mica_dtype_name(mica_archive_dtype(f, i)),
           mica_shape_text(mica_archive_shape(f, i), shape, sizeof shape), bytes_of(f, i));
    if (cli_on(a, "--stats")) {
      statistics s;
      const mica_status status = measure(f, i, &s);
      if (status != MICA_OK) {
        putchar('\n');
        return status;
      }
      printf("  min %.6g max %.6g mean %.6g", s.low, s.high, s.mean);
      if (s.nan || s.infinite) printf(" NaN %" PRId64 " infinite %" PRId64, s.nan, s.infinite);
    }
    putchar('\n');
  }
  return MICA_OK;
}

/* ---- for a program ---- */

static void write_architecture(mica_json_writer *w, const architecture_guess *g, const account *k) {
  mica_json_write_name(w, "architecture");
  if (!*g->spec) {
    mica_json_write_null(w);
    return;
  }
  mica_json_begin_object(w);
  mica_json_put_text(w, "spec", g->spec);
  mica_json_put_text(w, "names", g->names);
  mica_json_put_text(w, "note", g->note);
  mica_json_put_int(w, "height", g->problem.height);
  mica_json_put_int(w, "width", g->problem.width);
  mica_json_put_int(w, "channels", g->problem.channels);
  mica_json_put_int(w, "classes", g->problem.classes);
  if (g->problem.vocabulary) {
    mica_json_put_int(w, "vocabulary", g->problem.vocabulary);
    mica_json_put_int(w, "length", g->problem.length);
  }
  mica_json_end_object(w);
  mica_json_write_name(w, "heads");
  mica_json_begin_array(w);
  for (int64_t i = 0; i < k->heads; i++) {
    mica_json_begin_object(w);
    mica_json_put_text(w, "name", k->head[i].name);
    mica_json_put_text(w, "estimator", k->head[i].estimator);
    mica_json_put_int(w, "classes", k->head[i].classes);
    mica_json_write_name(w, "answers");
    mica_json_write_bool(w, k->head[i].answers);
    mica_json_end_object(w);
  }
  mica_json_end_array(w);
  mica_json_write_name(w, "adapters");
  mica_json_begin_array(w);
  for (int64_t i = 0; i < k->adapters_shown; i++) {
    const mica_adapter_facts *f = &k->adapter[i];
    mica_json_begin_object(w);
    mica_json_put_text(w, "name", f->name);
    mica_json_put_text(w, "spec", f->spec);
    mica_json_put_int(w, "modules", f->modules);
    mica_json_put_int(w, "trained", f->trained);
    mica_json_put_int(w, "stored", f->stored);
    mica_json_write_name(w, "on");
    mica_json_write_bool(w, f->on);
    mica_json_write_name(w, "merged");
    mica_json_write_bool(w, f->merged);
    mica_json_end_object(w);
  }
  mica_json_end_array(w);
  mica_json_write_name(w, "load");
  if (!k->tried) {
    mica_json_write_null(w);
    return;
  }
  mica_json_begin_object(w);
  mica_json_put_int(w, "loaded", k->report.loaded);
  mica_json_put_int(w, "missing", k->report.missing);
  mica_json_put_int(w, "unexpected", k->report.unexpected);
  mica_json_put_int(w, "reshaped", k->report.reshaped);
  mica_json_put_double(w, "share", k->report.share);
  mica_json_put_text(w, "account", k->report.text ? k->report.text : "");
  mica_json_put_text(w, "error", *k->trouble ? k->trouble : NULL);
  mica_json_end_object(w);
}

static mica_status print_json(const cli_args *a, const mica_archive *f, const architecture_guess *g,
                              const account *k) {
  mica_status status = MICA_OK;
  mica_bytes b = {0};
  mica_json_writer w = {.out = &b};
  mica_json_begin_object(&w);
  mica_json_put_text(&w, "path", a->operand[0]);
  mica_json_put_text(&w, "format", mica_archive_format(f));
  write_architecture(&w, g, k);
  mica_json_write_name(&w, "metadata");
  mica_json_begin_object(&w);
  for (int64_t i = 0; i < mica_archive_metadata_count(f); i++)
    mica_json_put_text(&w, mica_archive_metadata_key(f, i), mica_archive_metadata_value(f, i));
  mica_json_end_object(&w);
  mica_json_write_name(&w, "tensors");
  mica_json_begin_array(&w);
  for (int64_t i = 0; i < mica_archive_count(f) && status == MICA_OK; i++) {
    const mica_shape *shape = mica_archive_shape(f, i);
    mica_json_begin_object(&w);
    mica_json_put_text(&w, "name", mica_archive_name(f, i));
    mica_json_put_text(&w, "dtype", mica_dtype_name(mica_archive_dtype(f, i)));
    mica_json_write_name(&w, "shape");
    mica_json_begin_array(&w);
    for (int d = 0; d < shape->rank; d++) mica_json_write_int(&w, shape->dim[d]);
    mica_json_end_array(&w);
    mica_json_put_int(&w, "bytes", bytes_of(f, i));
    if (cli_on(a, "--stats")) {
      statistics s = {NAN, NAN, NAN, 0, 0};
      status = measure(f, i, &s);
      mica_json_put_double(&w, "min", s.low);
      mica_json_put_double(&w, "max", s.high);
      mica_json_put_double(&w, "mean", s.mean);
      mica_json_put_int(&w, "nan", s.nan);
      mica_json_put_int(&w, "infinite", s.infinite);
    }
    mica_json_end_object(&w);
  }
  mica_json_end_array(&w);
  mica_json_end_object(&w);
  if (status == MICA_OK) status = b.status;
  if (status == MICA_OK) puts(b.data);
  mica_bytes_free(&b);
  return status;
}

static int run(const cli_args *a) {
  mica_archive *f;
  if (mica_archive_open(a->operand[0], &f) != MICA_OK) return cli_failed(a);
  architecture_guess guess;
  account k;
  look_at(f, &guess);
  take_as(a, &guess);
  try_to_load(a, f, &guess, &k);
  const mica_status status =
      cli_on(a, "--json") ? print_json(a, f, &guess, &k) : print_text(a, f, &guess, &k);
  mica_free(k.report.text);
  mica_archive_close(f);
  return status == MICA_OK ? EXIT_OK : cli_failed(a);
}

static const cli_flag flags[] = {
    {"--stats", NULL, NULL, NULL, "smallest, largest, mean, and how many are not finite"},
    {"--as", NULL, "SPEC", NULL, "try to load it into this architecture, not the guessed one"},
    {"--all", NULL, NULL, NULL, "metadata in full length"},
    CLI_COMMON_FLAGS};

const cli_verb verb_info = {
    "info",
    "FILE",
    "tell what a model file or checkpoint holds, and what of it would load",
    flags,
    1,
    1,
    run,
    "FILE is safetensors (model files are), .pth, .npz or .npy. The architecture is guessed from\n"
    "names and shapes, and the network made to tell what loads: loaded, missing, unexpected,\n"
    "of another shape.\n"
    "examples: mica info resnet18-f37072fd.pth --stats\n"
    "          mica info other.pth --as resnet:depth=50"};
