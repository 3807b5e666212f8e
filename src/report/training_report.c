/* Sections about a trained classifier. Pictures are scaled down to thumbnails, and figures draw
 * everything at once, so nothing is kept of what is given here. */
#include <mica/feature.h>
#include <mica/numeric.h>
#include <mica/training_report.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THUMBNAIL  96   /* longest side of a picture on the page */
#define MAP_POINTS 2000 /* exact t-SNE grows with the square */
#define PICTURES   2000
#define NONE_NAME  "none of these"

/* ---- curves ---- */

/* A section's figure, given away. */
static mica_status place(mica_report *report, mica_figure *figure, const char *caption) {
  mica_status status = mica_report_figure(report, figure, caption);
  mica_figure_free(figure);
  return status;
}

mica_status mica_report_curves(mica_report *report, const char *title, const mica_epoch *epoch,
                               int64_t n) {
  if (n < 1) return mica_fail(MICA_ERR_INVALID, "report: no epochs to draw");
  double *x = mica_calloc((size_t)n, 4 * sizeof *x);
  if (!x) return MICA_ERR_MEMORY;
  double *train = x + n, *val = train + n, *accuracy = val + n;
  bool validated = false;
  for (int64_t i = 0; i < n; i++) {
    x[i] = (double)i + 1;
    train[i] = epoch[i].train_loss;
    val[i] = epoch[i].val_loss;
    accuracy[i] = 100 * epoch[i].val_accuracy;
    validated |= isfinite(val[i]);
  }
  const mica_series losses[] = {{"training", x, train, NULL, NULL, n},
                                {"validation", x, val, NULL, NULL, n}};
  const mica_series shares[] = {{"validation", x, accuracy, NULL, NULL, n}};
  mica_line_chart_options o = MICA_LINE_CHART_OPTIONS;
  mica_figure *figure = NULL;
  o.x.label = "epoch";
  o.y.label = "loss";
  mica_status status = mica_report_section(report, title);
  if (status == MICA_OK) status = mica_figure_line_chart(losses, validated ? 2 : 1, &o, &figure);
  if (status == MICA_OK)
    status = place(report, figure,
                   "Mean loss of each epoch. The training loss is taken while the weights move, "
                   "with augmentation.");
  o.y.label = "accuracy, %";
  if (status == MICA_OK && validated) status = mica_figure_line_chart(shares, 1, &o, &figure);
  if (status == MICA_OK && validated)
    status = place(report, figure, "Accuracy on the validation part.");
  mica_free(x);
  return status;
}

/* ---- answers ---- */

void mica_answers_free(mica_answers *a) {
  mica_free(a->item);
  mica_free(a->truth);
  mica_free(a->predicted);
  mica_free(a->difficulty);
  memset(a, 0, sizeof *a);
}

mica_status mica_answers_of(const mica_dataset *data, mica_part part, const char *const *names,
                            const mica_evaluation *e, mica_answers *out) {
  memset(out, 0, sizeof *out);
  if (!e->logits || !e->labels || (data && mica_dataset_part_count(data, part) != e->n))
    return mica_fail(MICA_ERR_INVALID,
                     "answers: expected an evaluation of this part with logits and labels");
  const float *logits = mica_tensor_data(e->logits);
  const int64_t *labels = mica_tensor_data(e->labels), c = mica_tensor_dim(e->logits, 1);
  const size_t n = (size_t)(e->n ? e->n : 1);
  mica_answers a = {.n = e->n, .classes = c, .names = names, .data = data};
  a.item = mica_calloc(n, sizeof *a.item);
  a.truth = mica_calloc(n, sizeof *a.truth);
  a.predicted = mica_calloc(n, sizeof *a.predicted);
  a.difficulty = mica_calloc(n, sizeof *a.difficulty);
  if (!a.item || !a.truth || !a.predicted || !a.difficulty) {
    mica_answers_free(&a);
    return MICA_ERR_MEMORY;
  }
  int64_t k = 0;
  for (int64_t i = 0; data && i < mica_dataset_count(data); i++)
    if (mica_dataset_part_of(data, i) == part) a.item[k++] = i;
  for (; k < e->n; k++) a.item[k] = k;
  for (int64_t i = 0; i < e->n; i++) {
    const float *x = logits + i * c;
    int64_t best = 0;
    double sum = 0;
    for (int64_t j = 1; j < c; j++)
      if (x[j] > x[best]) best = j;
    for (int64_t j = 0; j < c; j++) sum += exp((double)x[j] - (double)x[best]);
    a.truth[i] = labels[i];
    a.predicted[i] = best;
    if (labels[i] >= 0 && labels[i] < c)
      a.difficulty[i] = log(sum) + (double)x[best] - (double)x[labels[i]];
  }
  *out = a;
  return MICA_OK;
}

static const char *class_name(const mica_answers *a, int64_t c) {
  return c >= 0 && c < a->classes ? a->names[c] : NONE_NAME;
}

mica_status mica_report_confusion(mica_report *report, const char *title, const mica_answers *a) {
  const int64_t side = a->classes + 1;
  int64_t *counts = mica_calloc((size_t)(side * side), sizeof *counts);
  const char **names = mica_calloc((size_t)side, sizeof *names);
  mica_figure *figure = NULL;
  mica_status status = counts && names ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    bool none = false;
    for (int64_t i = 0; i < a->n; i++) none |= a->truth[i] < 0 || a->predicted[i] < 0;
    const int64_t shown = a->classes + none;
    for (int64_t c = 0; c < side; c++) names[c] = class_name(a, c);
    for (int64_t i = 0; i < a->n; i++) {
      const int64_t row = a->truth[i] < 0 ? a->classes : a->truth[i];
      const int64_t column = a->predicted[i] < 0 ? a->classes : a->predicted[i];
      if (row < side && column < side) counts[row * shown + column]++;
    }
    mica_confusion_options o = MICA_CONFUSION_OPTIONS;
    status = mica_figure_confusion(counts, names, (int32_t)shown, &o, &figure);
  }
  if (status == MICA_OK) status = mica_report_section(report, title);
  if (status == MICA_OK)
    status = place(report, figure, "Rows are the true classes, columns the answers.");
  else
    mica_figure_free(figure);
  mica_free(counts);
  mica_free(names);
  return status;
}

/* ---- pictures ---- */

/* Thumbnails of k items, all of one size, in one block. */
typedef struct thumbnails {
  uint8_t *pixels;
  int32_t width, height, channels;
} thumbnails;

/* A side scaled so that the longest is THUMBNAIL. */
static int64_t shrunk(int64_t side, int64_t longest) {
  if (longest <= THUMBNAIL) return side;
  return side * THUMBNAIL / longest > 0 ? side * THUMBNAIL / longest : 1;
}

static mica_status thumbnails_make(const mica_dataset *data, const int64_t *item, int64_t k,
                                   thumbnails *out) {
  const mica_shape shape = mica_dataset_shape(data);
  const int64_t h = shape.dim[0], w = shape.dim[1], c = shape.dim[2], longest = h > w ? h : w;
  const int64_t H = shrunk(h, longest), W = shrunk(w, longest);
  *out = (thumbnails){mica_calloc((size_t)(k ? k : 1), (size_t)(H * W * c)), (int32_t)W, (int32_t)H,
                      (int32_t)c};
  mica_tensor *image = NULL;
  mica_status status = out->pixels ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK) status = mica_tensor_create(MICA_U8, shape, &image);
  for (int64_t i = 0; i < k && status == MICA_OK; i++) {
    status = mica_dataset_read(data, item[i], mica_tensor_data(image));
    if (status == MICA_OK) status = mica_image_cover(image, H, W, c, out->pixels + i * H * W * c);
  }
  mica_tensor_free(image);
  return status;
}

static mica_picture thumbnail(const thumbnails *t, int64_t i) {
  return (mica_picture){t->pixels + i * t->height * t->width * t->channels, t->width, t->height,
                        t->channels};
}

mica_status mica_report_pictures(mica_report *report, const char *title, const mica_dataset *data,
                                 int64_t n, const mica_shown_item *shown, const char *caption) {
  if (!data || n < 0 || n > PICTURES)
    return mica_fail(MICA_ERR_INVALID, "report: pictures need a data set, and 0 to %d places",
                     PICTURES);
  int64_t *item = mica_calloc((size_t)n + 1, sizeof *item);
  mica_tile *tile = mica_calloc((size_t)n + 1, sizeof *tile);
  thumbnails t = {0};
  mica_figure *figure = NULL;
  mica_status status = item && tile ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n && status == MICA_OK; i++) item[i] = shown[i].item;
  if (status == MICA_OK) status = thumbnails_make(data, item, n, &t);
  for (int64_t i = 0; i < n && status == MICA_OK; i++)
    tile[i] = (mica_tile){thumbnail(&t, i), shown[i].caption, shown[i].detail, shown[i].mark};
  if (status == MICA_OK) status = mica_figure_image_grid(tile, n, NULL, &figure);
  if (status == MICA_OK) status = mica_report_section(report, title);
  if (status == MICA_OK)
    status = place(report, figure, caption);
  else
    mica_figure_free(figure);
  mica_free(t.pixels);
  mica_free(tile);
  mica_free(item);
  return status;
}

typedef struct ranked {
  double difficulty;
  int64_t i;
} ranked;

static int harder(const void *a, const void *b) {
  const ranked *x = a, *y = b;
  if (x->difficulty != y->difficulty) return x->difficulty > y->difficulty ? -1 : 1;
  return x->i < y->i ? -1 : x->i > y->i;
}

mica_status mica_report_hardest(mica_report *report, const char *title, const mica_answers *a,
                                int64_t count) {
  if (!a->difficulty || !a->data || count < 1 || count > PICTURES)
    return mica_fail(MICA_ERR_INVALID, "report: hardest examples need pictures, a difficulty and 1 "
                                       "to 2000 places");
  if (count > a->n) count = a->n;
  ranked *r = mica_calloc((size_t)a->n + 1, sizeof *r);
  mica_shown_item *shown = mica_calloc((size_t)count + 1, sizeof *shown);
  char(*detail)[80] = mica_calloc((size_t)count + 1, sizeof *detail);
  mica_status status = r && shown && detail ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < a->n && status == MICA_OK; i++) r[i] = (ranked){a->difficulty[i], i};
  if (status == MICA_OK && a->n) qsort(r, (size_t)a->n, sizeof *r, harder);
  for (int64_t i = 0; i < count && status == MICA_OK; i++) {
    const int64_t k = r[i].i, truth = a->truth[k], said = a->predicted[k];
    snprintf(detail[i], sizeof detail[i], "as %.70s", class_name(a, said));
    shown[i] = (mica_shown_item){a->item[k], class_name(a, truth), detail[i],
                                 said == truth ? MICA_MARK_RIGHT : MICA_MARK_WRONG};
  }
  if (status == MICA_OK)
    status = mica_report_pictures(report, title, a->data, count, shown,
                                  "Each with its label, and below it the answer.");
  mica_free(detail);
  mica_free(shown);
  mica_free(r);
  return status;
}

/* ---- the map ---- */

mica_status mica_report_map(mica_report *report, const char *title, const mica_engine *engine,
                            const mica_view *features, const mica_answers *a, int64_t count) {
  if (a->n < 2 || count < 2 || count > MAP_POINTS || features->shape.rank != 2 ||
      features->shape.dim[0] != a->n)
    return mica_fail(MICA_ERR_INVALID,
                     "report: a map takes one row of features for each of 2 or "
                     "more answers, and shows 2 to %d of them",
                     MAP_POINTS);
  if (count > a->n) count = a->n;
  const size_t n = (size_t)count;
  const size_t size = mica_dtype_size(features->dtype);
  mica_view rows = {0};
  double *y = mica_calloc(n, 4 * sizeof *y); /* pairs from the map, then x and y apart */
  int64_t *which = mica_calloc(n, 2 * sizeof *which), *item = which + n;
  int32_t *group = mica_calloc(n, sizeof *group);
  const char **label = mica_calloc(n, sizeof *label);
  mica_picture *picture = mica_calloc(n, sizeof *picture);
  mica_tensor *chosen = NULL;
  thumbnails t = {0};
  mica_figure *figure = NULL;
  mica_status status = y && which && group && label && picture ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK)
    status =
        mica_tensor_create(features->dtype, MICA_SHAPE(count, features->shape.dim[1]), &chosen);
  if (status == MICA_OK) rows = mica_tensor_view(chosen);
  for (int64_t i = 0; i < count && status == MICA_OK; i++) {
    which[i] = i * a->n / count;
    item[i] = a->item[which[i]];
    memcpy((char *)rows.data + (size_t)(i * rows.row_stride) * size,
           (const char *)features->data + (size_t)(which[i] * features->row_stride) * size,
           (size_t)rows.shape.dim[1] * size);
  }
  if (status == MICA_OK) status = mica_map_points(engine, &rows, NULL, y, NULL);
  if (status == MICA_OK && a->data) status = thumbnails_make(a->data, item, count, &t);
  for (int64_t i = 0; i < count && status == MICA_OK; i++) {
    const int64_t truth = a->truth[which[i]];
    y[2 * count + i] = y[2 * i];
    y[3 * count + i] = y[2 * i + 1];
    group[i] = truth < 0 ? -1 : (int32_t)truth;
    label[i] = class_name(a, truth);
    if (a->data) picture[i] = thumbnail(&t, i);
  }
  if (status == MICA_OK) {
    mica_scatter_options o = MICA_SCATTER_OPTIONS;
    o.class_names = a->names;
    o.labels = label;
    o.pictures = a->data ? picture : NULL;
    o.axes = 0;
    status = mica_figure_scatter(y + 2 * count, y + 3 * count, group, count, (int32_t)a->classes,
                                 &o, &figure);
  }
  if (status == MICA_OK) status = mica_report_section(report, title);
  if (status == MICA_OK)
    status = place(report, figure,
                   "Examples whose features are neighbours lie close together (t-SNE); distances "
                   "between far groups mean nothing. Point at one to see it.");
  else
    mica_figure_free(figure);
  mica_tensor_free(chosen);
  mica_free(t.pixels);
  mica_free(picture);
  mica_free(label);
  mica_free(group);
  mica_free(which);
  mica_free(y);
  return status;
}
