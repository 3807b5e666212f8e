/* mica select clean: keep the examples whose labels their neighbours share, by the features of a
 * model or of a file. */
#include "base/buffer.h"
#include "base/json.h"
#include "cli/features.h"
#include "cli/row_source.h"
#include "cli/select.h"

#include <string.h>

typedef struct cleaning {
  const cli_args *a;
  mica_engine *engine;
  mica_clean_options o;
  mica_dataset *ds;  /* NULL: the rows of a file */
  features features; /* of the pictures */
  row_source rows;
  mica_tensor *read; /* the rows of the file */
  mica_view x;
  int64_t n, kept;
  int64_t *item;
  const int64_t *label;
  bool *keep;
} cleaning;

static void release(cleaning *c) {
  mica_tensor_free(c->read);
  mica_free(c->item);
  mica_free(c->keep);
  features_free(&c->features);
  row_source_close(&c->rows);
  mica_dataset_free(c->ds);
  mica_engine_free(c->engine);
}

static mica_status make_room(cleaning *c, int64_t n) {
  c->item = mica_realloc_array(NULL, (size_t)n + 1, sizeof *c->item);
  c->keep = mica_realloc_array(NULL, (size_t)n + 1, sizeof *c->keep);
  return c->item && c->keep ? MICA_OK : MICA_ERR_MEMORY;
}

/* The training part of the pictures, through the model. */
static mica_status take_pictures(cleaning *c) {
  const char *data = cli_text(c->a, "--data");
  mica_model *model = NULL;
  double validation;
  if (!cli_double(c->a, "--val-split", 0, 0.9, &validation)) return MICA_ERR_INVALID;
  if (!data) return mica_fail(MICA_ERR_INVALID, "--data is missing");
  mica_status status = open_model(c->engine, c->a->operand[1], &model);
  if (status == MICA_OK)
    status = open_pictures(c->a, model, data, cli_text(c->a, "--classes"), validation, &c->ds);
  if (status == MICA_OK) status = features_embed(c->a, model, c->ds, &c->features);
  mica_model_free(model);
  if (status == MICA_OK) status = make_room(c, mica_dataset_count(c->ds));
  if (status != MICA_OK) return status;
  const feature_part *part = &c->features.part[MICA_PART_TRAIN];
  for (int64_t i = 0; i < mica_dataset_count(c->ds); i++)
    if (mica_dataset_part_of(c->ds, i) == MICA_PART_TRAIN) c->item[c->n++] = i;
  if (c->n != part->n)
    return mica_fail(MICA_ERR_FORMAT, "%s: %lld of %lld training pictures cannot be read any more",
                     data, (long long)(c->n - part->n), (long long)c->n);
  c->label = part->label;
  if (!part->x) return mica_fail(MICA_ERR_NOT_FOUND, "%s: no training part", data);
  c->x = mica_tensor_view(part->x);
  return MICA_OK;
}

/* The training rows of a file of features, or all where it tells no parts. */
static mica_status take_rows(cleaning *c) {
  const char *path = c->a->operand[1];
  row_source *s = &c->rows;
  mica_status status = row_source_features(path, NULL, "train", s);
  if (status == MICA_ERR_NOT_FOUND) status = row_source_features(path, NULL, "all", s);
  if (status == MICA_OK && !s->label)
    status = mica_fail(MICA_ERR_NOT_FOUND, "%s: no labels in it", path);
  if (status == MICA_OK) status = make_room(c, s->n);
  if (status == MICA_OK)
    status = mica_tensor_create(s->dtype, MICA_SHAPE(s->n, s->width), &c->read);
  int64_t cursor = 0;
  if (status == MICA_OK)
    status = row_source_next(s, &cursor, s->n, mica_tensor_data(c->read), c->item, &c->n);
  if (status != MICA_OK) return status;
  for (int64_t i = 0; i < c->n; i++) c->item[i] = s->id[i];
  c->label = s->label;
  c->x = mica_tensor_view(c->read);
  return MICA_OK;
}

static mica_status write_list(const cleaning *c, const char *path) {
  mica_item_list *l = NULL;
  char name[4096] = "", of[32], rule[96];
  snprintf(of, sizeof of, "%lld", (long long)c->n);
  snprintf(rule, sizeof rule, "at least %lld of the %lld nearest have the label",
           (long long)c->o.least, (long long)c->o.k);
  const mica_text_pair facts[] = {{"command", c->a->command},
                                  {"data", c->ds ? cli_text(c->a, "--data") : c->a->operand[1]},
                                  {"part", "train"},
                                  {"of", of},
                                  {"kept_where", rule}};
  mica_status status = mica_item_list_create(&l);
  for (size_t i = 0; i < sizeof facts / sizeof *facts && status == MICA_OK; i++)
    status = mica_item_list_set_fact(l, facts[i].key, facts[i].value);
  for (int64_t i = 0; i < c->n && status == MICA_OK; i++) {
    if (!c->keep[i]) continue;
    if (c->ds) mica_dataset_name(c->ds, c->item[i], name, sizeof name);
    status = mica_item_list_add(l, c->item[i], name);
  }
  if (status == MICA_OK) status = mica_item_list_write(l, path);
  mica_item_list_free(l);
  return status;
}

static void tell(const cleaning *c, const char *out) {
  if (!cli_on(c->a, "--json")) {
    printf("%lld of %lld examples kept: at least %lld of their %lld nearest have their label\n",
           (long long)c->kept, (long long)c->n, (long long)c->o.least, (long long)c->o.k);
    printf("subset: %s\n", out);
    return;
  }
  mica_bytes b = {0};
  mica_json_writer w = {.out = &b};
  mica_json_begin_object(&w);
  mica_json_put_int(&w, "examples", c->n);
  mica_json_put_int(&w, "kept", c->kept);
  mica_json_put_text(&w, "subset", out);
  mica_json_end_object(&w);
  if (b.status == MICA_OK) puts(b.data);
  mica_bytes_free(&b);
}

static mica_status clean(cleaning *c) {
  const char *out = cli_text(c->a, "--out");
  mica_status status = cli_engine(c->a, &c->engine);
  if (status == MICA_OK)
    status = is_feature_file(c->a->operand[1]) && !cli_text(c->a, "--data") ? take_rows(c)
                                                                            : take_pictures(c);
  if (status == MICA_OK)
    status = mica_clean_labels(c->engine, &c->x, c->label, &c->o, c->keep, NULL);
  for (int64_t i = 0; i < c->n && status == MICA_OK; i++) c->kept += c->keep[i];
  if (status == MICA_OK && !c->kept)
    status = mica_fail(MICA_ERR_NOT_FOUND, "nothing is kept of %lld examples", (long long)c->n);
  if (status == MICA_OK) status = write_list(c, out);
  if (status == MICA_OK) tell(c, out);
  return status;
}

/* A flag that belongs to scores would be passed over in silence. */
static const char *foreign_flag(const cli_args *a) {
  static const char *const own[] = {"--data",   "--out",       "--neighbours",
                                    "--least",  "--val-split", "--classes",
                                    "--strict", "--threads",   "--json"};
  for (int i = 0; i < a->n_given; i++) {
    const char *name = a->verb->flags[a->given[i].flag].name;
    bool known = false;
    for (size_t k = 0; k < sizeof own / sizeof *own; k++) known |= strcmp(name, own[k]) == 0;
    if (!known) return name;
  }
  return NULL;
}

int select_clean(const cli_args *a) {
  cleaning c = {.a = a, .o = MICA_CLEAN_OPTIONS};
  const char *foreign = foreign_flag(a);
  if (a->n_operands != 2) return cli_usage(a, "clean takes a model, or a file of features");
  if (foreign) return cli_usage(a, "%s has no meaning for clean", foreign);
  if (!cli_int(a, "--neighbours", 1, 100000, &c.o.k) ||
      !cli_int(a, "--least", 1, 100000, &c.o.least))
    return EXIT_USAGE;
  cli_catch_interrupt();
  const mica_status status = clean(&c);
  const int code = status == MICA_OK ? EXIT_OK : cli_failed(a);
  release(&c);
  return code;
}
