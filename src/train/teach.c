#include "train/teach.h"

#include "model/head.h"
#include "train/batch.h"

#include <stdio.h>
#include <string.h>

/* ---- a forward ---- */

void mica_teach(mica_tape *t, const mica_net *teacher, const mica_inputs *inputs,
                const mica_net_taps_list *taps, mica_loss_inputs *in) {
  const int n = taps ? taps->n : 0;
  const bool training = mica_is_training(t);
  mica_outputs out;
  mica_tapping gathered;
  mica_no_grad_begin(t);
  mica_set_training(t, false);
  mica_scope_begin(t, "teacher");
  if (n) mica_tapping_begin_whole(t, taps, &gathered);
  mica_net_forward_inputs(t, teacher, inputs, &out);
  if (n) mica_tapping_end_whole(t, &gathered, &out);
  mica_var keep[2 + MICA_TAPS_MAX] = {out.logits, out.features};
  for (int i = 0; i < n; i++) keep[2 + i] = gathered.mean[i];
  mica_scope_end_n(t, 2 + n, keep);
  mica_set_training(t, training);
  mica_no_grad_end(t);
  in->teacher_logits = keep[0];
  in->teacher_features = keep[1];
  for (int i = 0; i < n; i++) in->teacher_tap[i] = keep[2 + i];
  in->teacher = mica_net_params(teacher);
  in->teacher_head = mica_net_head(teacher);
}

/* ---- what it reads ---- */

/* "pictures of 12x12x1", "rows of 5 columns and 3 fields". */
static const char *reading(const mica_problem *p, char *to, size_t n) {
  char tokens[48] = "", fields[48] = "";
  if (p->vocabulary) snprintf(tokens, sizeof tokens, ", %lld tokens", (long long)p->vocabulary);
  if (p->fields) snprintf(fields, sizeof fields, ", %lld fields", (long long)p->fields);
  if (p->height)
    snprintf(to, n, "pictures of %lldx%lldx%lld%s%s", (long long)p->height, (long long)p->width,
             (long long)p->channels, tokens, fields);
  else
    snprintf(to, n, "rows of %lld columns%s%s", (long long)p->channels, tokens, fields);
  return to;
}

static mica_status check_reads(const mica_net *net, const mica_net *teacher) {
  const mica_problem *a = mica_net_problem(net), *b = mica_net_problem(teacher);
  const bool same_kind = (a->height > 0) == (b->height > 0) && a->channels == b->channels &&
                         a->vocabulary == b->vocabulary && a->fields == b->fields;
  for (int64_t f = 0; same_kind && f < a->fields; f++)
    if (a->field_size[f] != b->field_size[f])
      return mica_fail(MICA_ERR_INVALID, "the teacher's field %lld has %lld values, not %lld",
                       (long long)f, (long long)b->field_size[f], (long long)a->field_size[f]);
  if (same_kind) return MICA_OK;
  char teaches[192], learns[192];
  return mica_fail(MICA_ERR_INVALID, "the teacher reads %s, the network %s",
                   reading(b, teaches, sizeof teaches), reading(a, learns, sizeof learns));
}

/* Answers are compared by number, so the names must be the same. */
static mica_status check_classes(const mica_scheme_setting *s, const mica_model *model) {
  const int64_t n = model->n_classes;
  if (!s->classes || n != mica_net_problem(s->net)->classes) return MICA_OK;
  for (int64_t i = 0; i < n; i++) {
    const char *name = model->classes[i];
    if (strcmp(name, s->classes[i]) != 0)
      return mica_fail(MICA_ERR_INVALID, "class %lld is '%.80s' of the teacher and '%.80s' here",
                       (long long)i, name, s->classes[i]);
  }
  return MICA_OK;
}

/* Pixels are (x - mean) / deviation of each network's own. */
static mica_status make_scale(const mica_preprocess *from, const mica_preprocess *to,
                              mica_teacher *out) {
  if (!from || !to->height) return MICA_OK;
  mica_status status = mica_tensor_create(MICA_F32, MICA_SHAPE(to->channels), &out->scale);
  if (status == MICA_OK)
    status = mica_tensor_create(MICA_F32, MICA_SHAPE(to->channels), &out->shift);
  for (int64_t c = 0; c < to->channels && status == MICA_OK; c++) {
    const double scale = from->deviation[c] / to->deviation[c];
    const double shift = (from->mean[c] - to->mean[c]) / to->deviation[c];
    mica_tensor_set(out->scale, c, scale);
    mica_tensor_set(out->shift, c, shift);
    out->scaled |= scale != 1 || shift != 0;
  }
  return status;
}

mica_status mica_teacher_open(const mica_scheme_setting *s, const char *path, mica_teacher *out) {
  *out = (mica_teacher){.net = s->teacher};
  mica_status status = MICA_OK;
  if (!s->teacher) {
    if (!path) return mica_fail(MICA_ERR_INVALID, "which teacher? teacher=FILE names its model");
    status = mica_model_open(mica_params_engine(mica_net_params(s->net)), path, &out->model);
    if (status == MICA_OK) {
      out->net = mica_model_net(out->model);
      if (mica_model_parts(out->model) > 1)
        status = mica_fail(MICA_ERR_UNSUPPORTED, "%s describes parts of pictures", path);
    }
    if (status == MICA_OK) {
      status = make_scale(s->preprocess, mica_model_preprocess(out->model), out);
    }
    if (status == MICA_OK) status = check_classes(s, out->model);
  }
  if (status == MICA_OK) status = check_reads(s->net, out->net);
  if (status != MICA_OK) mica_teacher_close(out);
  return status;
}

void mica_teacher_close(mica_teacher *teacher) {
  mica_model_free(teacher->model);
  mica_tensor_free(teacher->scale);
  mica_tensor_free(teacher->shift);
  *teacher = (mica_teacher){0};
}

mica_inputs mica_teacher_inputs(mica_tape *t, const mica_teacher *teacher,
                                const mica_inputs *inputs) {
  const mica_problem *p = mica_net_problem(teacher->net);
  mica_inputs in = *inputs;
  if (!p->height || !mica_ok(t)) return in;
  if (teacher->scaled)
    in.x = mica_add(t, mica_mul(t, in.x, mica_input(t, teacher->scale)),
                    mica_input(t, teacher->shift));
  if (mica_dim(t, in.x, 1) != p->height || mica_dim(t, in.x, 2) != p->width)
    in.x = mica_resize(t, in.x, p->height, p->width, MICA_SMOOTH_BILINEAR, false);
  return in;
}

/* ---- class means ---- */

typedef struct means {
  double *sum;    /* [classes, D] */
  int64_t *count; /* [classes] */
  int64_t classes, width;
  bool grows; /* as many classes as the labels name */
} means;

#define CLASSES_MOST ((int64_t)1 << 24)

/* Room for classes up to `label`. */
static mica_status grow(means *m, int64_t label) {
  const int64_t classes = label + 1;
  double *sum = mica_calloc((size_t)(classes * m->width) + 1, sizeof *sum);
  int64_t *count = mica_calloc((size_t)classes, sizeof *count);
  if (!sum || !count) {
    mica_free(sum);
    mica_free(count);
    return MICA_ERR_MEMORY;
  }
  if (m->sum) {
    memcpy(sum, m->sum, (size_t)(m->classes * m->width) * sizeof *sum);
    memcpy(count, m->count, (size_t)m->classes * sizeof *count);
  }
  mica_free(m->sum);
  mica_free(m->count);
  m->sum = sum;
  m->count = count;
  m->classes = classes;
  return MICA_OK;
}

static mica_status add_rows(means *m, const mica_view *x, const mica_batch *batch) {
  if (!batch->labels) return mica_fail(MICA_ERR_INVALID, "class means: the stream has no labels");
  if (x->shape.rank != 2 || x->dtype != MICA_F32 || !mica_view_contiguous(x) ||
      mica_tensor_count(batch->labels) != x->shape.dim[0])
    return mica_fail(MICA_ERR_UNSUPPORTED, "class means: no row of features for each label");
  m->width = x->shape.dim[1];
  mica_status status = m->sum || m->grows ? MICA_OK : grow(m, m->classes - 1);
  if (status != MICA_OK) return status;
  const int64_t *label = mica_tensor_data(batch->labels);
  for (int64_t i = 0; i < x->shape.dim[0]; i++) {
    if (m->grows && label[i] >= m->classes && label[i] < CLASSES_MOST) status = grow(m, label[i]);
    if (status != MICA_OK) return status;
    if (label[i] < 0 || label[i] >= m->classes)
      return mica_fail(MICA_ERR_INVALID, "class means: label %lld of %lld classes",
                       (long long)label[i], (long long)m->classes);
    const float *row = (const float *)x->data + i * m->width;
    for (int64_t d = 0; d < m->width; d++) m->sum[label[i] * m->width + d] += (double)row[d];
    m->count[label[i]]++;
  }
  return MICA_OK;
}

static mica_status one_batch(mica_tape *t, const mica_teacher *teacher, const mica_batch *batch,
                             means *m) {
  mica_loss_inputs in = {0};
  mica_tape_reset(t);
  if (batch->parts)
    return mica_fail(MICA_ERR_UNSUPPORTED, "class means: not of a stream of several streams");
  const mica_inputs inputs = mica_batch_inputs(t, batch);
  const mica_inputs own = mica_teacher_inputs(t, teacher, &inputs);
  mica_teach(t, teacher->net, &own, NULL, &in);
  if (mica_ok(t) && mica_is_none(in.teacher_features))
    mica_latch(t, MICA_ERR_UNSUPPORTED, "class means: the network has no features");
  if (mica_ok(t) && teacher->unit)
    in.teacher_features = mica_l2_normalise(t, in.teacher_features, 1e-12);
  if (!mica_ok(t)) return mica_tape_status(t);
  const mica_view x = mica_read(t, in.teacher_features);
  return add_rows(m, &x, batch);
}

mica_status mica_teacher_means(const mica_teacher *teacher, const mica_stream *stream,
                               int64_t classes, mica_tensor **out) {
  mica_tape *t = NULL;
  *out = NULL;
  if (classes < 0)
    return mica_fail(MICA_ERR_INVALID, "class means: %lld classes", (long long)classes);
  means m = {.classes = classes, .grows = !classes};
  mica_status status =
      mica_tape_create(mica_params_engine(mica_net_params(teacher->net)), NULL, &t);
  if (status == MICA_OK) {
    mica_no_grad_begin(t);
    status = stream->seek(stream->ctx, 0, 0);
  }
  for (int64_t i = 0; i < stream->batches && status == MICA_OK; i++) {
    mica_batch batch = {0};
    status = stream->next(stream->ctx, &batch);
    if (status == MICA_OK) status = one_batch(t, teacher, &batch, &m);
  }
  if (status == MICA_OK && !m.sum)
    status = mica_fail(MICA_ERR_INVALID, "class means: the stream has no batches");
  if (status == MICA_OK) status = mica_tensor_create(MICA_F32, MICA_SHAPE(m.classes, m.width), out);
  for (int64_t i = 0; status == MICA_OK && i < m.classes * m.width; i++) {
    const int64_t n = m.count[i / m.width];
    mica_tensor_set(*out, i, n ? m.sum[i] / (double)n : 0);
  }
  mica_tape_free(t);
  mica_free(m.sum);
  mica_free(m.count);
  return status;
}

mica_status mica_class_means(const mica_net *net, const mica_stream *stream, int64_t classes,
                             mica_tensor **out) {
  const mica_teacher teacher = {.net = net};
  return mica_teacher_means(&teacher, stream, classes, out);
}
