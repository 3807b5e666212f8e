/* mica fit zero_shot: classes from texts, and how they do beside what they must be compared with.
 */
#include "cli/describe.h"

#include "base/buffer.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/features.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

bool cli_describes(const cli_args *a) {
  bool named = false;
  for (int i = 0; i < a->n_operands; i++)
    named |= strncmp(a->operand[i], "zero_shot", 9) == 0 && strchr(":", a->operand[i][9]);
  return cli_text(a, "--descriptions") || (named && cli_text(a, "--encoder"));
}

/* ---- phrases ---- */

static int by_name(const struct dirent **a, const struct dirent **b) {
  return strcmp((*a)->d_name, (*b)->d_name);
}

static mica_status read_answer(const char *folder, const char *file, mica_phrases *p) {
  char name[256];
  const size_t n = strlen(file);
  uint8_t *bytes = NULL;
  size_t size = 0;
  if (n < 5 || strcmp(file + n - 4, ".txt") != 0 || n > sizeof name) return MICA_OK;
  snprintf(name, sizeof name, "%.*s", (int)(n - 4), file);
  char *path = mica_path_join(folder, file);
  mica_status status = path ? mica_file_read(path, 1 << 20, &bytes, &size) : MICA_ERR_MEMORY;
  char *text = status == MICA_OK ? mica_malloc(size + 1) : NULL;
  if (status == MICA_OK && !text) status = MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    memcpy(text, bytes, size);
    text[size] = 0;
    status = mica_phrases_answer(p, name, text, NULL);
  }
  mica_free(text);
  mica_free(bytes);
  mica_free(path);
  return status;
}

/* A folder of a language model's answers, one a class. */
static mica_status read_answers(const char *folder, mica_phrases **out) {
  struct dirent **entry = NULL;
  const int n = scandir(folder, &entry, NULL, by_name);
  if (n < 0) return mica_fail(MICA_ERR_IO, "%s: cannot be listed", folder);
  mica_status status = mica_phrases_create(out);
  for (int i = 0; i < n; i++) {
    if (status == MICA_OK) status = read_answer(folder, entry[i]->d_name, *out);
    free(entry[i]);
  }
  free(entry);
  if (status == MICA_OK && !mica_phrases_classes(*out))
    status = mica_fail(MICA_ERR_FORMAT, "%s: no answers CLASS.txt in it", folder);
  return status;
}

/* Classes without phrases, from their names between commas. */
static mica_status read_names(const char *names, mica_phrases **out) {
  mica_status status = mica_phrases_create(out);
  while (*names && status == MICA_OK) {
    const size_t n = strcspn(names, ",");
    char *name = mica_malloc(n + 1);
    if (!name) return MICA_ERR_MEMORY;
    memcpy(name, names, n);
    name[n] = 0;
    status = mica_phrases_set(*out, name, 0, NULL);
    mica_free(name);
    names += n + (names[n] == ',');
  }
  return status;
}

static mica_status read_phrases(const cli_args *a, mica_phrases **out) {
  const char *from = cli_text(a, "--descriptions"), *names = cli_text(a, "--classes");
  const char *edits = cli_text(a, "--edits");
  mica_phrases *e = NULL;
  mica_status status;
  if (from)
    status = mica_is_folder(from) ? read_answers(from, out) : mica_phrases_read(from, out);
  else if (names)
    status = read_names(names, out);
  else
    status =
        mica_fail(MICA_ERR_INVALID,
                  "zero_shot needs --descriptions FILE.json, or --classes A,B for their names");
  if (status == MICA_OK && edits) status = mica_phrases_read(edits, &e);
  if (status == MICA_OK && e) status = mica_phrases_override(*out, e);
  mica_phrases_free(e);
  return status;
}

/* ---- how well it does ---- */

/* The class of each of the data's classes, by name, '_' and blank alike; MICA_CLASS_NONE: none. */
static int64_t class_of(const mica_phrases *p, const char *name) {
  for (int64_t c = 0; c < mica_phrases_classes(p); c++) {
    const char *a = mica_phrases_class(p, c), *b = name;
    for (; *a && (*a == *b || ((*a == '_' || *a == ' ') && (*b == '_' || *b == ' '))); a++) b++;
    if (!*a && !*b) return c;
  }
  return MICA_CLASS_NONE;
}

typedef struct trial {
  const char *what, *spec;
  const mica_phrases *phrases;
  int32_t control; /* a mica_phrase_control; -1: as they are */
  int64_t first;   /* phrases of each class; 0: all */
} trial;

typedef struct data {
  features f;
  float *x; /* [n, width] of the classes that are known */
  int64_t *truth, n, others;
} data;

static void data_free(data *d) {
  features_free(&d->f);
  mica_free(d->x);
  mica_free(d->truth);
}

/* Pictures of the test part, or all where there is none. */
static mica_status open_data(const cli_args *a, mica_model *model, const mica_phrases *p, data *d) {
  mica_dataset *ds = NULL;
  mica_status status = open_pictures(a, model, cli_text(a, "--data"), NULL, 0, &ds);
  if (status == MICA_OK) status = features_embed(a, model, ds, &d->f);
  mica_dataset_free(ds);
  const int64_t width = d->f.width;
  int64_t all = 0;
  for (int k = 0; k < MICA_PART_COUNT; k++) all += d->f.part[k].n;
  d->x = mica_realloc_array(NULL, (size_t)all + 1, (size_t)(width + 1) * sizeof *d->x);
  d->truth = mica_calloc((size_t)all + 1, sizeof *d->truth);
  if (status == MICA_OK && (!d->x || !d->truth)) status = MICA_ERR_MEMORY;
  const bool test = d->f.part[MICA_PART_TEST].n > 0;
  for (int k = 0; k < MICA_PART_COUNT && status == MICA_OK; k++) {
    const feature_part *part = &d->f.part[k];
    for (int64_t i = 0; i < part->n && (!test || k == MICA_PART_TEST); i++) {
      const int64_t truth = class_of(p, d->f.names[part->label[i]]);
      if (truth < 0) {
        d->others++;
        continue;
      }
      memcpy(d->x + d->n * width, (const float *)mica_tensor_data(part->x) + i * width,
             (size_t)width * sizeof *d->x);
      d->truth[d->n++] = truth;
    }
  }
  if (status == MICA_OK && !d->n)
    status = mica_fail(MICA_ERR_INVALID, "%s: no picture of a class that the phrases name",
                       cli_text(a, "--data"));
  return status;
}

/* The accuracy of a trial, whose head stays in the model under the name "trial". */
static mica_status accuracy_of(mica_model *model, const trial *t, const data *d,
                               mica_estimate *out) {
  mica_phrases *changed = NULL;
  mica_session *session = NULL;
  const mica_key key = mica_key_fold_name(mica_key_seed(0), t->what);
  mica_answer *answer = mica_calloc((size_t)d->n, sizeof *answer);
  int64_t *label = mica_calloc((size_t)d->n, sizeof *label);
  mica_status status = answer && label ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK && t->control >= 0)
    status = mica_phrases_control_list(t->phrases, (mica_phrase_control)t->control, key, &changed);
  else if (status == MICA_OK && t->first)
    status = mica_phrases_first(t->phrases, t->first, &changed);
  if (status == MICA_OK)
    status = mica_model_zero_shot(model, "trial", t->spec, changed ? changed : t->phrases);
  if (status == MICA_OK) status = mica_session_create(model, &session);
  if (status == MICA_OK) {
    const mica_view x = mica_view_of(d->x, MICA_F32, MICA_SHAPE(d->n, d->f.width));
    mica_session_take_features(session, true);
    status = mica_predict(session, &x, answer);
  }
  for (int64_t i = 0; i < d->n && status == MICA_OK; i++) label[i] = answer[i].label;
  if (status == MICA_OK) status = mica_accuracy(d->n, d->truth, label, 0.95, out);
  mica_session_free(session);
  mica_phrases_free(changed);
  mica_free(label);
  mica_free(answer);
  return status;
}

static mica_status print_trials(const trial *t, const mica_estimate *e, int n, const data *d,
                                bool json) {
  mica_table *table = NULL;
  char *text = NULL;
  for (int i = 0; i < n && json; i++)
    printf("{\"texts\": \"%s\", \"accuracy\": %.9g, \"accuracy_low\": %.9g, \"accuracy_high\": "
           "%.9g, \"examples\": %lld}\n",
           t[i].what, e[i].value, e[i].interval.lo, e[i].interval.hi, (long long)d->n);
  if (json) return MICA_OK;
  mica_status status = mica_table_create(&table);
  if (status == MICA_OK) status = mica_table_column(table, "texts", MICA_ALIGN_LEFT);
  if (status == MICA_OK) status = mica_table_column(table, "accuracy", MICA_ALIGN_RIGHT);
  if (status == MICA_OK) status = mica_table_column(table, "95 % interval", MICA_ALIGN_RIGHT);
  for (int i = 0; i < n && status == MICA_OK; i++) {
    char cell[64];
    status = mica_table_text(table, t[i].what);
    snprintf(cell, sizeof cell, "%.2f %%", 100 * e[i].value);
    if (status == MICA_OK) status = mica_table_shown(table, e[i].value, cell);
    snprintf(cell, sizeof cell, "%.2f to %.2f", 100 * e[i].interval.lo, 100 * e[i].interval.hi);
    if (status == MICA_OK) status = mica_table_text(table, cell);
  }
  if (status == MICA_OK) status = mica_table_render(table, NULL, &text);
  if (status == MICA_OK) {
    printf("%lld pictures", (long long)d->n);
    if (d->others) printf(" (%lld of other classes left out)", (long long)d->others);
    printf("\n%s", text);
  }
  mica_free(text);
  mica_table_free(table);
  return status;
}

#define TRIALS_MAX 48

/* A specification with form=none, whatever form it had. */
static char *without_name(const char *spec) {
  const char *form = strstr(spec, ":form=");
  const size_t kept = form ? (size_t)(form - spec) : strlen(spec);
  mica_bytes b = {0};
  mica_bytes_append(&b, spec, kept);
  mica_bytes_text(&b, ":form=none");
  if (form) mica_bytes_text(&b, form + 1 + strcspn(form + 1, ":"));
  return mica_bytes_take(&b);
}

static mica_status measure(const cli_args *a, mica_model *model, const mica_phrases *p) {
  trial t[TRIALS_MAX];
  mica_estimate e[TRIALS_MAX];
  data d = {0};
  int n = 0;
  char *alone = without_name(a->operand[0]);
  mica_status status = alone ? open_data(a, model, p, &d) : MICA_ERR_MEMORY;
  for (int i = 0; i < a->n_operands && n < 32; i++)
    t[n++] = (trial){a->operand[i], a->operand[i], p, -1, 0};
  if (cli_on(a, "--control")) {
    const char *spec = a->operand[0];
    const trial more[] = {{"the name alone", "zero_shot:mode=name", p, -1, 0},
                          {"80 templates around the name", "zero_shot:mode=templates", p, -1, 0},
                          {"phrases without the name", alone, p, -1, 0},
                          {"another class's phrases", spec, p, MICA_PHRASES_SHUFFLED, 0},
                          {"phrases drawn from all", spec, p, MICA_PHRASES_RANDOM, 0},
                          {"the name and random words", spec, p, MICA_PHRASES_WORDS, 0},
                          {"one phrase of each", spec, p, -1, 1},
                          {"two phrases of each", spec, p, -1, 2},
                          {"four phrases of each", spec, p, -1, 4}};
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) t[n++] = more[i];
  }
  for (int i = 0; i < n && status == MICA_OK; i++) status = accuracy_of(model, &t[i], &d, &e[i]);
  if (status == MICA_OK) status = print_trials(t, e, n, &d, cli_on(a, "--json"));
  mica_free(alone);
  data_free(&d);
  return status;
}

/* ---- the verb ---- */

/* Classes that were to have descriptions and have none: their text is the name with an empty one.
 */
static void tell_bare(const cli_args *a, const mica_phrases *p) {
  if (!cli_text(a, "--descriptions")) return;
  for (int64_t c = 0; c < mica_phrases_classes(p); c++)
    if (!mica_phrases_count(p, c))
      fprintf(stderr, "%s: no phrases; it is known by its name alone\n", mica_phrases_class(p, c));
}

int cli_describe_fit(const cli_args *a, mica_engine *engine) {
  const char *encoder = cli_text(a, "--encoder"), *out = cli_text(a, "--out");
  const char *head = cli_text(a, "--head") ? cli_text(a, "--head") : "zero_shot";
  mica_phrases *p = NULL;
  mica_model *model = NULL, *tried = NULL;
  if (!encoder)
    return cli_usage(a, "zero_shot needs --encoder, a model of pictures and texts (clip, dual)");
  mica_status status = read_phrases(a, &p);
  if (status == MICA_OK) status = open_model(engine, encoder, &model);
  if (status == MICA_OK) status = mica_model_zero_shot(model, head, a->operand[0], p);
  if (status == MICA_OK) tell_bare(a, p);
  if (status == MICA_OK && cli_text(a, "--data")) status = open_model(engine, encoder, &tried);
  if (status == MICA_OK && tried) status = measure(a, tried, p);
  if (status == MICA_OK && out) status = mica_model_save(model, out);
  if (status == MICA_OK && !cli_on(a, "--json")) {
    int64_t phrases = 0;
    for (int64_t c = 0; c < mica_phrases_classes(p); c++) phrases += mica_phrases_count(p, c);
    printf("head %s: %s, %lld classes, %lld phrases\n", head, a->operand[0],
           (long long)mica_phrases_classes(p), (long long)phrases);
  }
  mica_model_free(tried);
  mica_model_free(model);
  mica_phrases_free(p);
  if (status != MICA_OK) return cli_failed(a);
  if (out) cli_result(a, "model", out);
  return EXIT_OK;
}

int cli_describe_class(const cli_args *a, mica_engine *engine) {
  const char *name = cli_text(a, "--describe"), *from = cli_text(a, "--encoder");
  const char *out = cli_text(a, "--out") ? cli_text(a, "--out") : from;
  mica_model *model = NULL;
  if (!from) return cli_usage(a, "--describe needs --encoder, the model that learns");
  if (!a->n_operands) return cli_usage(a, "--describe %s: by which phrases?", name);
  mica_status status = open_model(engine, from, &model);
  if (status == MICA_OK) status = mica_head_describe(model, name, a->n_operands, a->operand);
  if (status == MICA_OK) status = mica_model_save(model, out);
  if (status == MICA_OK && !cli_on(a, "--json"))
    printf("%s: %d phrases; %lld classes\n", name, a->n_operands,
           (long long)mica_model_classes(model));
  mica_model_free(model);
  if (status != MICA_OK) return cli_failed(a);
  cli_result(a, "model", out);
  return EXIT_OK;
}
