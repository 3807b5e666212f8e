/* mica explain: saliency maps of pictures, as overlays, arrays and a contact sheet. */
#include "cli/features.h"

#include "base/file.h"
#include "base/progress.h"
#include "report/png.h"

#include <mica/explain.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define METHODS 16
#define LAYERS  16
#define SIDE    224 /* overlays of smaller pictures are enlarged to about this */

static const cli_flag flags[] = {
    {"--method", NULL, "SPEC", NULL,
     "norm_grad, grad_cam ...; may be given several times (norm_grad)"},
    {"--layer", NULL, "NAME", NULL,
     "layer of the map, may be given several times (the last there is)"},
    {"--layers", NULL, NULL, NULL, "tell the layers that can be named, and stop"},
    {"--class", NULL, "CLASS", "predicted",
     "predicted, true (with --data), a class's name or number"},
    {"--meta", NULL, "X", "0", "take a step of training on the class with this rate first"},
    {"--data", NULL, "PATH", NULL, "pictures with labels, as for train, in place of operands"},
    {"--part", NULL, "NAME", NULL, "train, val or test of --data (test where there is one)"},
    {"--limit", NULL, "N", "16", "so many pictures of --data, evenly spaced"},
    {"--alpha", NULL, "X", "0.6", "how much the map covers the picture, 0 to 1"},
    {"--out", "-o", "PATH", "maps", "folder; or FILE.png for one map"},
    {"--strict", NULL, NULL, NULL, "stop at a picture that cannot be read"},
    CLI_COMMON_FLAGS};

typedef struct job {
  const cli_args *a;
  mica_engine *engine;
  mica_model *model;
  const mica_net *net;
  mica_dataset *ds;
  int64_t n, height, width, channels;
  uint8_t *pixels; /* [n, height, width, channels] */
  char **name;     /* [n] */
  int64_t *label;  /* [n] true classes; -1: not known */
  mica_tensor *x;  /* [n, height, width, channels] as the network reads them */
  int64_t *target; /* [n] */
  const char *method[METHODS], *layer[LAYERS];
  int methods, layers;
  double alpha, meta;
} job;

/* ---- pictures ---- */

static mica_status make_room(job *j, int64_t n) {
  const mica_preprocess *p = mica_model_preprocess(j->model);
  j->height = p->height;
  j->width = p->width;
  j->channels = p->channels;
  if (!p->height || mica_net_problem(j->net)->vocabulary)
    return mica_fail(MICA_ERR_UNSUPPORTED, "the model does not read pictures alone");
  j->n = n;
  j->pixels = mica_calloc((size_t)n, (size_t)(p->height * p->width * p->channels));
  j->name = mica_calloc((size_t)n, sizeof *j->name);
  j->label = mica_calloc((size_t)n, sizeof *j->label);
  j->target = mica_calloc((size_t)n, sizeof *j->target);
  return j->pixels && j->name && j->label && j->target ? MICA_OK : MICA_ERR_MEMORY;
}

static mica_status read_operands(job *j, int n, const char *const *paths) {
  mica_tensor *read = NULL;
  mica_status status = make_room(j, n);
  if (status == MICA_OK) status = mica_model_read(j->model, n, paths, &read);
  if (status != MICA_OK) return status;
  memcpy(j->pixels, mica_tensor_data(read), (size_t)mica_tensor_count(read));
  mica_tensor_free(read);
  for (int i = 0; i < n; i++) {
    j->label[i] = -1;
    if (!(j->name[i] = mica_strdup(paths[i]))) return MICA_ERR_MEMORY;
  }
  return MICA_OK;
}

/* The part asked for; else the test part, or the first there is. */
static bool part_of(const job *j, mica_part *out) {
  static const char *const names[] = {"train", "val", "test"};
  const char *wanted = cli_text(j->a, "--part");
  static const mica_part order[] = {MICA_PART_TEST, MICA_PART_VALIDATION, MICA_PART_TRAIN};
  for (int k = 0; k < 3 && wanted; k++)
    if (strcmp(names[k], wanted) == 0) {
      *out = (mica_part)k;
      return true;
    }
  if (wanted) {
    cli_usage(j->a, "--part %s: expected train, val or test", wanted);
    return false;
  }
  for (int k = 0; k < 3; k++)
    if (mica_dataset_part_count(j->ds, order[k])) {
      *out = order[k];
      return true;
    }
  *out = MICA_PART_TRAIN;
  return true;
}

static mica_status read_data(job *j, const char *path, int64_t limit) {
  mica_part part;
  mica_status status = open_pictures(j->a, j->model, path, NULL, 0, &j->ds);
  if (status != MICA_OK) return status;
  if (!part_of(j, &part)) return MICA_ERR_INVALID;
  const int64_t all = mica_dataset_part_count(j->ds, part), n = limit < all ? limit : all;
  if (!n) return mica_fail(MICA_ERR_INVALID, "%s: the part has no pictures", path);
  status = make_room(j, n);
  const int64_t bytes = j->height * j->width * j->channels;
  const int64_t *label = mica_tensor_data(mica_dataset_labels(j->ds));
  for (int64_t i = 0, seen = 0, k = 0; i < mica_dataset_count(j->ds) && k < n && status == MICA_OK;
       i++) {
    char name[4096];
    if (mica_dataset_part_of(j->ds, i) != part) continue;
    if (seen++ != k * all / n) continue;
    status = mica_dataset_read(j->ds, i, j->pixels + k * bytes);
    j->label[k] = label[i];
    if (!(j->name[k++] = mica_strdup(mica_dataset_name(j->ds, i, name, sizeof name))))
      status = MICA_ERR_MEMORY;
  }
  return status;
}

static mica_status to_network(job *j) {
  const mica_status status =
      mica_tensor_create(MICA_F32, MICA_SHAPE(j->n, j->height, j->width, j->channels), &j->x);
  if (status == MICA_OK)
    mica_image_normalise(mica_model_preprocess(j->model), j->pixels, j->n, mica_tensor_data(j->x));
  return status;
}

/* ---- classes ---- */

static const char *class_name(const job *j, int64_t c, char buf[32]) {
  const char *name = mica_model_class(j->model, c);
  snprintf(buf, 32, "%lld", (long long)c);
  return name ? name : buf;
}

/* The class of that name, or number. */
static int64_t class_of(const job *j, const char *name) {
  const int64_t classes = mica_net_problem(j->net)->classes;
  char *end;
  for (int64_t c = 0; c < classes; c++) {
    const char *own = mica_model_class(j->model, c);
    if (own && strcmp(own, name) == 0) return c;
  }
  const long long number = strtoll(name, &end, 10);
  return *name && !*end && number >= 0 && number < classes ? number : -1;
}

static mica_status predicted(job *j) {
  mica_tape *t = NULL;
  mica_outputs o;
  mica_status status = mica_tape_create(j->engine, NULL, &t);
  if (status != MICA_OK) return status;
  mica_no_grad_begin(t);
  mica_net_forward(t, j->net, mica_input(t, j->x), &o);
  const mica_view l = mica_read(t, o.logits);
  status = mica_tape_status(t);
  for (int64_t i = 0; status == MICA_OK && i < j->n; i++) {
    const float *row = (const float *)l.data + i * l.shape.dim[1];
    for (int64_t c = 1; c < l.shape.dim[1]; c++)
      if (row[c] > row[j->target[i]]) j->target[i] = c;
  }
  mica_tape_free(t);
  return status;
}

static mica_status find_targets(job *j) {
  const char *wanted = cli_text(j->a, "--class");
  if (strcmp(wanted, "predicted") == 0) return predicted(j);
  const bool truth = strcmp(wanted, "true") == 0;
  if (truth && !j->ds)
    return mica_fail(MICA_ERR_INVALID, "--class true: the operands have no labels; use --data");
  for (int64_t i = 0; i < j->n; i++) {
    const char *name = truth ? mica_dataset_class(j->ds, j->label[i]) : wanted;
    j->target[i] = class_of(j, name);
    if (j->target[i] < 0)
      return mica_fail(MICA_ERR_INVALID, "class '%s': the model's own classifier has no such class",
                       name);
  }
  return MICA_OK;
}

/* ---- layers ---- */

static int tell_layers(job *j) {
  mica_layer_list list;
  if (mica_layers(j->net, j->x, &list) != MICA_OK) return cli_failed(j->a);
  for (int64_t i = 0; i < list.n; i++) {
    const mica_shape *s = &list.shape[i];
    if (cli_on(j->a, "--json"))
      printf("{\"layer\": \"%s\", \"height\": %lld, \"width\": %lld, \"channels\": %lld}\n",
             list.path[i], (long long)s->dim[1], (long long)s->dim[2], (long long)s->dim[3]);
    else
      printf("%-32s %lld x %lld, %lld channels\n", list.path[i], (long long)s->dim[1],
             (long long)s->dim[2], (long long)s->dim[3]);
  }
  mica_layers_free(&list);
  return EXIT_OK;
}

/* ---- writing ---- */

/* An overlay, enlarged by a whole factor so that it can be looked at. */
static mica_status overlay(const job *j, const float *map, int64_t i, uint8_t **rgb,
                           mica_picture *out) {
  const int64_t h = j->height, w = j->width;
  const int64_t longer = h > w ? h : w, k = longer < SIDE ? SIDE / longer : 1;
  uint8_t *small = mica_calloc((size_t)(h * w), 3),
          *large = mica_calloc((size_t)(h * w * k * k), 3);
  mica_status status = small && large ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK)
    status = mica_map_overlay(map, j->pixels + i * h * w * j->channels, h, w, j->channels, j->alpha,
                              small);
  for (int64_t r = 0; r < h * k && status == MICA_OK; r++)
    for (int64_t c = 0; c < w * k; c++)
      memcpy(large + 3 * (r * w * k + c), small + 3 * (r / k * w + c / k), 3);
  mica_free(small);
  *rgb = large;
  *out = (mica_picture){large, (int32_t)(w * k), (int32_t)(h * k), 3};
  return status;
}

static mica_status write_png(const char *path, const mica_picture *picture) {
  uint8_t *png = NULL;
  size_t length = 0;
  if (picture->width > 1024 || picture->height > 1024)
    return mica_fail(MICA_ERR_UNSUPPORTED, "%s: pictures of more than 1024 pixels a side", path);
  mica_status status = mica_png_thumbnail(picture, &png, &length);
  if (status == MICA_OK) status = mica_make_parent(path);
  if (status == MICA_OK) status = mica_file_write_atomic(path, png, length);
  mica_free(png);
  return status;
}

/* A text as a part of a file's name. */
static void plain_name(const char *from, char *out, size_t n) {
  const char *slash = strrchr(from, '/');
  snprintf(out, n, "%s", slash ? slash + 1 : from);
  for (char *c = out; *c; c++)
    if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') ||
          *c == '.' || *c == '-' || *c == '_'))
      *c = '-';
}

/* Overlays of a batch of maps into the folder, and their section of the sheet. */
static mica_status write_maps(const job *j, const char *folder, const char *title,
                              const mica_tensor *maps, mica_report *report) {
  const int64_t size = j->height * j->width;
  uint8_t **rgb = mica_calloc((size_t)j->n, sizeof *rgb);
  mica_tile *tile = mica_calloc((size_t)j->n, sizeof *tile);
  mica_image_grid_options o = MICA_IMAGE_GRID_OPTIONS;
  mica_figure *figure = NULL;
  char part[160], stem[80], buf[32];
  plain_name(title, part, sizeof part);
  mica_status status = rgb && tile ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < j->n && status == MICA_OK; i++) {
    char path[8192];
    status =
        overlay(j, (const float *)mica_tensor_data(maps) + i * size, i, &rgb[i], &tile[i].picture);
    tile[i].caption = class_name(j, j->target[i], buf);
    if (tile[i].caption == buf) tile[i].caption = NULL;
    tile[i].detail = j->name[i];
    plain_name(j->name[i], stem, sizeof stem);
    snprintf(path, sizeof path, "%s/%03lld-%s-%s.png", folder, (long long)i, stem, part);
    if (status == MICA_OK) status = write_png(path, &tile[i].picture);
  }
  o.tile = 160;
  o.columns = 6;
  if (status == MICA_OK) status = mica_figure_image_grid(tile, j->n, &o, &figure);
  if (status == MICA_OK) status = mica_report_section(report, title);
  if (status == MICA_OK) status = mica_report_figure(report, figure, NULL);
  mica_figure_free(figure);
  for (int64_t i = 0; rgb && i < j->n; i++) mica_free(rgb[i]);
  mica_free(rgb);
  mica_free(tile);
  return status;
}

static mica_status write_arrays(const job *j, const char *folder, mica_tensor *const *maps,
                                char titles[][160], int n) {
  mica_named_view *views = mica_calloc((size_t)n + 1, sizeof *views);
  char *path = mica_path_join(folder, "maps.safetensors");
  mica_status status = views && path ? MICA_OK : MICA_ERR_MEMORY;
  for (int k = 0; k < n && status == MICA_OK; k++)
    views[k] = (mica_named_view){titles[k], mica_tensor_view(maps[k])};
  if (status == MICA_OK) {
    views[n] = (mica_named_view){"class", mica_view_of(j->target, MICA_I64, MICA_SHAPE(j->n))};
    status = mica_safetensors_write(path, views, n + 1, NULL, 0);
  }
  mica_free(views);
  mica_free(path);
  return status;
}

/* ---- all maps ---- */

static mica_status one_map(const job *j, int m, int l, mica_tensor **out) {
  mica_explain_options o = MICA_EXPLAIN_OPTIONS;
  o.layer = j->layers ? j->layer[l] : NULL;
  o.meta = j->meta;
  return mica_explain(j->net, j->method[m], j->x, j->target, &o, out);
}

static mica_status all_maps(job *j, const char *folder) {
  const int layers = j->layers ? j->layers : 1, n = j->methods * layers;
  const bool shown = isatty(2) && !cli_on(j->a, "--json");
  mica_tensor *maps[METHODS * LAYERS] = {NULL};
  char(*title)[160] = mica_calloc((size_t)n, sizeof *title);
  mica_report *report = NULL;
  mica_report_options o = MICA_REPORT_OPTIONS;
  mica_time_left left = {0};
  o.title = "Where the network looks";
  mica_status status = title ? mica_report_create(&o, &report) : MICA_ERR_MEMORY;
  for (int k = 0; k < n && status == MICA_OK; k++) {
    const int m = k / layers, l = k % layers;
    snprintf(title[k], sizeof title[k], "%s%s%s", j->method[m], j->layers ? " " : "",
             j->layers ? j->layer[l] : "");
    const double rest = mica_time_left_update(&left, mica_seconds(), k, n);
    if (shown) fprintf(stderr, "\r\033[K%s, %.0f s left", title[k], rest > 0 ? rest : 0);
    status = one_map(j, m, l, &maps[k]);
    if (status == MICA_OK) status = write_maps(j, folder, title[k], maps[k], report);
    if (cli_interrupted() && status == MICA_OK)
      status = mica_fail(MICA_ERR_CANCELLED, "stopped; what is done is in %s", folder);
  }
  if (shown) fprintf(stderr, "\r\033[K");
  if (status == MICA_OK) status = write_arrays(j, folder, maps, title, n);
  if (status == MICA_OK) status = mica_report_write(report, folder);
  for (int k = 0; k < n; k++) mica_tensor_free(maps[k]);
  mica_free(title);
  mica_report_free(report);
  return status;
}

static mica_status single_map(const job *j, const char *path) {
  mica_tensor *map = NULL;
  mica_picture picture;
  uint8_t *rgb = NULL;
  if (j->n != 1 || j->methods != 1 || j->layers > 1)
    return mica_fail(MICA_ERR_INVALID,
                     "%s: a file holds one map of one picture; name a folder for more", path);
  mica_status status = one_map(j, 0, 0, &map);
  if (status == MICA_OK) status = overlay(j, mica_tensor_data(map), 0, &rgb, &picture);
  if (status == MICA_OK) status = write_png(path, &picture);
  mica_free(rgb);
  mica_tensor_free(map);
  return status;
}

/* ---- the verb ---- */

static bool ends_in_png(const char *path) {
  const size_t n = strlen(path);
  return n > 4 && strcmp(path + n - 4, ".png") == 0;
}

static mica_status open_all(job *j, int64_t limit) {
  const cli_args *a = j->a;
  const char *data = cli_text(a, "--data");
  mica_status status = cli_engine(a, &j->engine);
  for (int m = 0; m < j->methods && status == MICA_OK;
       m++) { /* a wrong name before the long work */
    mica_spec *spec;
    status = mica_spec_parse(j->engine, MICA_KIND_EXPLAINER, j->method[m], &spec);
    if (status == MICA_OK) mica_spec_free(spec);
  }
  if (status == MICA_OK) status = open_model(j->engine, a->operand[0], &j->model);
  if (status == MICA_OK) status = whole_pictures(j->model);
  if (status != MICA_OK) return status;
  j->net = mica_model_net(j->model);
  if (!mica_net_problem(j->net)->classes)
    return mica_fail(MICA_ERR_UNSUPPORTED,
                     "%s: the network has no classifier of its own whose scores could be explained",
                     a->operand[0]);
  /* Maps are of the network's own classes, whatever head answers. */
  status = mica_model_answer_with(j->model, NULL);
  if (status == MICA_OK)
    status = data ? read_data(j, data, limit) : read_operands(j, a->n_operands - 1, a->operand + 1);
  return status == MICA_OK ? to_network(j) : status;
}

static int explain(job *j) {
  const cli_args *a = j->a;
  const char *out = cli_text(a, "--out");
  int64_t limit;
  if (!cli_double(a, "--alpha", 0, 1, &j->alpha) || !cli_double(a, "--meta", -1e6, 1e6, &j->meta) ||
      !cli_int(a, "--limit", 1, 2000, &limit))
    return EXIT_USAGE;
  if ((a->n_operands > 1) == (cli_text(a, "--data") != NULL))
    return cli_usage(a, "give pictures, or --data");
  j->methods = cli_all(a, "--method", j->method, METHODS);
  j->layers = cli_all(a, "--layer", j->layer, LAYERS);
  if (j->methods > METHODS || j->layers > LAYERS)
    return cli_usage(a, "at most %d methods and %d layers", METHODS, LAYERS);
  if (!j->methods) j->method[j->methods++] = "norm_grad";
  mica_status status = open_all(j, limit);
  if (status == MICA_OK && cli_on(a, "--layers")) return tell_layers(j);
  if (status == MICA_OK) status = find_targets(j);
  if (status == MICA_OK) status = ends_in_png(out) ? single_map(j, out) : all_maps(j, out);
  if (status != MICA_OK) return cli_failed(a);
  if (!ends_in_png(out) && !cli_on(a, "--json"))
    printf("%lld pictures, %d maps of each; arrays in %s/maps.safetensors\n", (long long)j->n,
           j->methods * (j->layers ? j->layers : 1), out);
  if (ends_in_png(out)) {
    cli_result(a, "map", out);
  } else {
    char path[8192];
    snprintf(path, sizeof path, "%s/report.html", out);
    cli_result(a, "report", path);
  }
  return EXIT_OK;
}

static int run(const cli_args *a) {
  job j = {.a = a};
  cli_catch_interrupt();
  const int code = explain(&j);
  for (int64_t i = 0; j.name && i < j.n; i++) mica_free(j.name[i]);
  mica_free(j.name);
  mica_free(j.label);
  mica_free(j.target);
  mica_free(j.pixels);
  mica_tensor_free(j.x);
  mica_dataset_free(j.ds);
  mica_model_free(j.model);
  mica_engine_free(j.engine);
  return code;
}

const cli_verb verb_explain = {"explain",
                               "MODEL [PICTURE...]",
                               "show where a network looks: saliency maps over pictures",
                               flags,
                               1,
                               -1,
                               run,
                               "Maps are of a class of the network's own classifier. Several "
                               "methods or layers give a contact\n"
                               "sheet; the arrays go to maps.safetensors beside it.\n"
                               "examples: mica explain net.mica picture.png -o heat.png\n"
                               "          mica explain net.mica --layers picture.png\n"
                               "          mica explain net.mica --data photos/ --method grad_cam "
                               "--method norm_grad --class true\n"
                               "`mica list explainer` tells the methods and their options."};
