/* Checkpoints: parameters to and from files of named tensors in the reference (PyTorch) layout.
 *
 * Here a convolution's weight is [O, k, k, I], there [O, I, k, k]: both are permutations of the
 * same numbers, done on the way in and out. Names that wrappers put in front ("module.") are
 * dropped when that makes more names match.
 */
#include "model/checkpoint.h"

#include "base/buffer.h"
#include "data/archive.h"

#include <math.h>
#include <string.h>

/* ---- layouts ---- */

/* Every layout is a batch of transposed matrices: the same elements, [batch, rows, columns] here
 * and [batch, columns, rows] in the reference. With one row, or one column, both are the same. */
typedef struct order {
  int64_t batch, rows, columns;
} order;

static order order_of(const mica_param *q) {
  const mica_layout l = mica_param_layout(q);
  const mica_shape *s = mica_tensor_shape(mica_param_value(q));
  const int64_t n = mica_shape_count(s);
  order o = {1, 1, n};
  if (!n) return o;
  if (l.kind == MICA_LAYOUT_FLATTEN)
    o = (order){n / (l.h * l.w * l.c), l.h * l.w, l.c};
  else if (l.kind == MICA_LAYOUT_TRANSPOSED && s->rank == 2)
    o = (order){1, s->dim[0], s->dim[1]};
  else if (l.kind != MICA_LAYOUT_PLAIN && l.kind != MICA_LAYOUT_STACKED &&
           s->rank > 2) /* [O, k..., I] to [O, I, k...] */
    o = (order){s->dim[0], n / (s->dim[0] * s->dim[s->rank - 1]), s->dim[s->rank - 1]};
  return o;
}

static bool same_order(const mica_param *q) {
  const order o = order_of(q);
  return o.rows == 1 || o.columns == 1;
}

mica_shape mica_param_reference_shape(const mica_param *q) {
  const mica_layout l = mica_param_layout(q);
  mica_shape s = *mica_tensor_shape(mica_param_value(q));
  if (l.kind == MICA_LAYOUT_TRANSPOSED && s.rank == 2) {
    s = MICA_SHAPE(s.dim[1], s.dim[0]);
  } else if (l.kind == MICA_LAYOUT_STACKED && s.rank == 3) {
    s = MICA_SHAPE(s.dim[0] * s.dim[1], s.dim[2]);
  } else if (l.kind != MICA_LAYOUT_PLAIN && l.kind != MICA_LAYOUT_FLATTEN && s.rank > 2) {
    const int64_t last = s.dim[s.rank - 1];
    for (int i = s.rank - 1; i > 1; i--) s.dim[i] = s.dim[i - 1];
    s.dim[1] = last;
  }
  return s;
}

#define TURN(type)                                                                                 \
  for (int64_t r = 0; r < o.rows; r++)                                                             \
    for (int64_t c = 0; c < o.columns; c++)                                                        \
      if (out)                                                                                     \
        ((type *)there)[c * o.rows + r] = ((const type *)here)[r * o.columns + c];                 \
      else                                                                                         \
        ((type *)here)[r * o.columns + c] = ((const type *)there)[c * o.rows + r];

static void permute(const mica_param *q, char *here, char *there, bool out) {
  const order o = order_of(q);
  const size_t size = mica_dtype_size(mica_tensor_dtype(mica_param_value(q)));
  const size_t matrix = (size_t)(o.rows * o.columns) * size;
  if (same_order(q)) {
    memcpy(out ? there : here, out ? here : there, (size_t)o.batch * matrix);
    return;
  }
  for (int64_t b = 0; b < o.batch; b++, here += matrix, there += matrix) switch (size) {
    case 1: TURN(uint8_t) break;
    case 2: TURN(uint16_t) break;
    case 4: TURN(uint32_t) break;
    default: TURN(uint64_t)
    }
}
#undef TURN

mica_status mica_param_to_reference(const mica_param *q, mica_tensor **out) {
  const mica_tensor *value = mica_param_value(q);
  mica_status status =
      mica_tensor_create(mica_tensor_dtype(value), mica_param_reference_shape(q), out);
  if (status == MICA_OK) permute(q, mica_tensor_data(value), mica_tensor_data(*out), true);
  return status;
}

mica_status mica_param_from_reference(mica_param *q, const mica_tensor *value) {
  const mica_shape want = mica_param_reference_shape(q);
  if (!mica_shape_equal(&want, mica_tensor_shape(value))) {
    char a[128], b[128];
    return mica_fail(MICA_ERR_SHAPE, "'%s' has shape %s, expected %s", mica_param_path(q),
                     mica_shape_text(mica_tensor_shape(value), a, sizeof a),
                     mica_shape_text(&want, b, sizeof b));
  }
  mica_tensor *same;
  const mica_view view = mica_tensor_view(value);
  mica_status status = mica_tensor_from_view(&view, mica_tensor_dtype(mica_param_value(q)), &same);
  if (status != MICA_OK) return status;
  permute(q, mica_param_write(q), mica_tensor_data(same), false);
  mica_tensor_free(same);
  return MICA_OK;
}

/* ---- int8 ---- */

#define SMALLEST 256 /* fewer elements are not worth a scale */

static bool worth_int8(const mica_param *q) {
  const mica_tensor *value = mica_param_value(q);
  return !(mica_param_flags(q) & MICA_PARAM_BUFFER) && mica_tensor_dtype(value) == MICA_F32 &&
         mica_tensor_shape(value)->rank > 1 && mica_tensor_count(value) >= SMALLEST;
}

/* q = round(w / scale), scale = the row's largest |w| / 127; *scale in a tensor of its own. */
static mica_status to_int8(mica_tensor **value, mica_tensor **scale) {
  const mica_shape shape = *mica_tensor_shape(*value);
  const int64_t rows = shape.dim[0], row = mica_shape_count(&shape) / rows;
  mica_tensor *small = NULL;
  mica_status status = mica_tensor_create(MICA_I8, shape, &small);
  if (status == MICA_OK) status = mica_tensor_create(MICA_F32, MICA_SHAPE(rows), scale);
  for (int64_t r = 0; r < rows && status == MICA_OK; r++) {
    const float *w = (const float *)mica_tensor_data(*value) + r * row;
    float most = 0;
    for (int64_t i = 0; i < row; i++) most = fmaxf(most, fabsf(w[i]));
    const float unit = most > 0 ? most / 127 : 1;
    ((float *)mica_tensor_data(*scale))[r] = unit;
    for (int64_t i = 0; i < row; i++)
      ((int8_t *)mica_tensor_data(small))[r * row + i] = (int8_t)lrintf(w[i] / unit);
  }
  if (status != MICA_OK) {
    mica_tensor_free(small);
    return status;
  }
  mica_tensor_free(*value);
  *value = small;
  return MICA_OK;
}

static const char scale_of[] = ".scale";

/* Is it the name of the scales of an entry? */
static bool is_scale(const mica_params *params, const char *name) {
  const size_t n = strlen(name), end = sizeof scale_of - 1;
  char stem[512];
  if (n <= end || n - end >= sizeof stem || strcmp(name + n - end, scale_of) != 0) return false;
  memcpy(stem, name, n - end);
  stem[n - end] = 0;
  return mica_params_find(params, stem) != NULL;
}

/* The numbers behind int8, in float32. */
static mica_status from_int8(const mica_archive *archive, const char *name, mica_tensor **value) {
  mica_bytes full = {0};
  mica_tensor *scale = NULL, *wide = NULL;
  mica_bytes_printf(&full, "%s%s", name, scale_of);
  mica_status status = full.status;
  const int64_t at = status == MICA_OK ? mica_archive_find(archive, full.data) : -1;
  const mica_shape *shape = mica_tensor_shape(*value);
  if (status == MICA_OK && at < 0) {
    mica_bytes_free(&full); /* plain integers */
    return MICA_OK;
  }
  if (status == MICA_OK) status = mica_archive_read(archive, at, &scale);
  if (status == MICA_OK && (mica_tensor_dtype(scale) != MICA_F32 || shape->rank < 1 ||
                            mica_tensor_count(scale) != shape->dim[0]))
    status = mica_fail(MICA_ERR_FORMAT, "tensor '%s': no scale for each of %lld rows", full.data,
                       (long long)(shape->rank ? shape->dim[0] : 0));
  const mica_view view = mica_tensor_view(*value);
  if (status == MICA_OK) status = mica_tensor_from_view(&view, MICA_F32, &wide);
  if (status == MICA_OK) {
    const int64_t n = mica_tensor_count(wide), rows = shape->dim[0];
    const float *s = mica_tensor_data(scale);
    for (int64_t i = 0; i < n; i++) ((float *)mica_tensor_data(wide))[i] *= s[i / (n / rows)];
    mica_tensor_free(*value);
    *value = wide;
  }
  mica_tensor_free(scale);
  mica_bytes_free(&full);
  return status;
}

/* ---- saving ---- */

static mica_status save(const mica_params *params, bool int8, const mica_named_view *more,
                        int64_t n_more, const char *path, const mica_text_pair *metadata,
                        int64_t m) {
  const int64_t n = mica_params_count(params);
  mica_named_view *views = mica_calloc((size_t)(2 * n + n_more) + 1, sizeof *views);
  mica_tensor **copies = mica_calloc((size_t)n + 1, 2 * sizeof *copies);
  mica_bytes *names = mica_calloc((size_t)n + 1, sizeof *names);
  mica_status status = views && copies && names ? MICA_OK : MICA_ERR_MEMORY;
  int64_t k = 0;
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    const mica_param *q = mica_params_at(params, i);
    status = mica_param_to_reference(q, &copies[2 * i]);
    if (status == MICA_OK && int8 && worth_int8(q)) {
      status = to_int8(&copies[2 * i], &copies[2 * i + 1]);
      mica_bytes_printf(&names[i], "%s%s", mica_param_path(q), scale_of);
      if (status == MICA_OK) status = names[i].status;
      if (status == MICA_OK)
        views[k++] = (mica_named_view){names[i].data, mica_tensor_view(copies[2 * i + 1])};
    }
    if (status == MICA_OK)
      views[k++] = (mica_named_view){mica_param_path(q), mica_tensor_view(copies[2 * i])};
  }
  for (int64_t i = 0; i < n_more && status == MICA_OK; i++) views[k++] = more[i];
  if (status == MICA_OK) status = mica_safetensors_write(path, views, k, metadata, m);
  for (int64_t i = 0; copies && i < 2 * n; i++) mica_tensor_free(copies[i]);
  for (int64_t i = 0; names && i < n; i++) mica_bytes_free(&names[i]);
  mica_free(names);
  mica_free(copies);
  mica_free(views);
  return status;
}

mica_status mica_params_save_with(const mica_params *params, const mica_named_view *more,
                                  int64_t n_more, const char *path, const mica_text_pair *metadata,
                                  int64_t m) {
  return save(params, false, more, n_more, path, metadata, m);
}

mica_status mica_params_save_int8(const mica_params *params, const mica_named_view *more,
                                  int64_t n_more, const char *path, const mica_text_pair *metadata,
                                  int64_t m) {
  return save(params, true, more, n_more, path, metadata, m);
}

mica_status mica_params_save(const mica_params *params, const char *path,
                             const mica_text_pair *metadata, int64_t m) {
  return mica_params_save_with(params, NULL, 0, path, metadata, m);
}

/* ---- loading ---- */

/* What wrappers of training programs put before names. */
static const char *const wrappers[] = {"",
                                       "module.",
                                       "state_dict.",
                                       "state_dict.module.",
                                       "model.",
                                       "model.module.",
                                       "model_state_dict.",
                                       "net.",
                                       "transformer.",
                                       "bert."};

static int64_t count_matches(const mica_params *params, const mica_archive *a, const char *prefix) {
  int64_t n = 0;
  const size_t skip = strlen(prefix);
  for (int64_t i = 0; i < mica_archive_count(a); i++) {
    const char *name = mica_archive_name(a, i);
    if (strncmp(name, prefix, skip) == 0 && mica_params_find(params, name + skip)) n++;
  }
  return n;
}

static const char *best_prefix(const mica_params *params, const mica_archive *a) {
  const char *best = "";
  int64_t most = -1;
  for (size_t i = 0; i < sizeof wrappers / sizeof *wrappers; i++) {
    const int64_t n = count_matches(params, a, wrappers[i]);
    if (n > most) {
      most = n;
      best = wrappers[i];
    }
  }
  return best;
}

typedef struct load_plan {
  const mica_archive *archive;
  int64_t *source; /* for each parameter: the archive's tensor, -1: none, -2: another shape */
  int64_t elements, loaded_elements;
  mica_bytes name; /* the one looked for */
} load_plan;

static int64_t find(load_plan *p, const char *prefix, const char *path) {
  p->name.n = 0;
  mica_bytes_text(&p->name, prefix);
  mica_bytes_text(&p->name, path);
  return p->name.status == MICA_OK ? mica_archive_find(p->archive, p->name.data) : -1;
}

/* Decide for each parameter; nothing is changed yet. */
static void plan_load(mica_params *params, const char *prefix, bool new_head, load_plan *p,
                      mica_load_report *r, mica_bytes *text) {
  char a[128], b[128];
  for (int64_t i = 0; i < mica_params_count(params); i++) {
    const mica_param *q = mica_params_at(params, i);
    const char *path = mica_param_path(q);
    const bool buffer = mica_param_flags(q) & MICA_PARAM_BUFFER;
    const int64_t n = mica_tensor_count(mica_param_value(q));
    if (!buffer) p->elements += n;
    const int64_t at = p->source[i] = find(p, prefix, path);
    if (at < 0) {
      /* Old checkpoints lack the counter of batches; nothing depends on it. */
      if (!strstr(path, "num_batches_tracked")) {
        r->missing++;
        mica_bytes_printf(text, "missing     %s\n", path);
      }
    } else {
      const mica_shape want = mica_param_reference_shape(q);
      const mica_shape *is = mica_archive_shape(p->archive, at);
      if (!mica_shape_equal(&want, is)) {
        p->source[i] = -2;
        r->reshaped++;
        mica_bytes_printf(text, "other shape %s: %s in the file, %s here\n", path,
                          mica_shape_text(is, a, sizeof a), mica_shape_text(&want, b, sizeof b));
        /* A head of another class count is what fine-tuning expects. */
        if (new_head && want.rank == is->rank && want.rank >= 1 &&
            (want.rank == 1 || want.dim[1] == is->dim[1]) && want.dim[0] != is->dim[0] && !buffer)
          p->elements -= n;
      } else {
        r->loaded++;
        if (!buffer) p->loaded_elements += n;
      }
    }
  }
  const size_t skip = strlen(prefix);
  for (int64_t i = 0; i < mica_archive_count(p->archive); i++) {
    const char *name = mica_archive_name(p->archive, i);
    const bool ours = strncmp(name, prefix, skip) == 0 && mica_params_find(params, name + skip);
    bool tied = false;
    for (int64_t k = 0; k < mica_params_ties(params) && !ours && !tied; k++)
      tied = strncmp(name, prefix, skip) == 0 &&
             strcmp(mica_params_tie_at(params, k, NULL), name + skip) == 0;
    if (ours || tied || (strncmp(name, prefix, skip) == 0 && is_scale(params, name + skip)))
      continue;
    r->unexpected++;
    mica_bytes_printf(text, "unexpected  %s\n", name);
  }
}

static mica_status convert(mica_tensor **value, mica_dtype dtype) {
  if (mica_tensor_dtype(*value) == dtype) return MICA_OK;
  mica_tensor *same;
  const mica_view view = mica_tensor_view(*value);
  mica_status status = mica_tensor_from_view(&view, dtype, &same);
  if (status != MICA_OK) return status;
  mica_tensor_free(*value);
  *value = same;
  return MICA_OK;
}

/* The archive's tensor in place of a copy, where it has the entry's order of elements. */
static mica_status borrow(const mica_archive *archive, int64_t at, const mica_param *q,
                          mica_tensor **out) {
  mica_tensor *same = NULL;
  mica_status status = same_order(q) ? mica_archive_borrow(archive, at, &same) : MICA_OK;
  if (same) status = mica_tensor_reshape(same, *mica_tensor_shape(mica_param_value(q)), out);
  mica_tensor_free(same);
  return status;
}

mica_status mica_params_load_from(mica_params *params, const mica_archive *archive,
                                  const mica_load_options *given, mica_load_report *report) {
  mica_load_options o = MICA_LOAD_OPTIONS;
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  mica_load_report r = {0};
  if (report) *report = r;
  const int64_t n = mica_params_count(params);
  load_plan p = {archive, mica_calloc((size_t)n + 1, sizeof(int64_t)), 0, 0, {0}};
  mica_tensor **values = mica_calloc((size_t)n + 1, 2 * sizeof *values);
  mica_tensor **lent = values ? values + n : NULL; /* by a mapped archive */
  mica_bytes text = {0};
  mica_status status = p.source && values ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    plan_load(params, o.strip ? o.strip : best_prefix(params, archive), o.new_head, &p, &r, &text);
    status = p.name.status == MICA_OK ? text.status : p.name.status;
  }
  mica_bytes_free(&p.name);
  r.share = p.elements ? (double)p.loaded_elements / (double)p.elements : 1;
  if (status == MICA_OK && r.share < 0.9 && !o.partial)
    status = mica_fail(
        MICA_ERR_FORMAT,
        "%s: only %.0f%% of the parameters would be loaded (%lld tensors fit, %lld missing, "
        "%lld unexpected, %lld of another shape), expected 90%% or --partial",
        mica_archive_path(archive), 100 * r.share, (long long)r.loaded, (long long)r.missing,
        (long long)r.unexpected, (long long)r.reshaped);
  /* Read everything before anything is changed. */
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    const mica_param *q = mica_params_at(params, i);
    const mica_dtype dtype = mica_tensor_dtype(mica_param_value(q));
    if (p.source[i] < 0) continue;
    if (mica_archive_dtype(archive, p.source[i]) == dtype)
      status = borrow(archive, p.source[i], q, &lent[i]);
    if (status == MICA_OK && !lent[i]) status = mica_archive_read(archive, p.source[i], &values[i]);
    if (status == MICA_OK && values[i] && mica_tensor_dtype(values[i]) == MICA_I8)
      status = from_int8(archive, mica_archive_name(archive, p.source[i]), &values[i]);
    if (status == MICA_OK && values[i]) status = convert(&values[i], dtype);
  }
  char *words = report ? mica_bytes_take(&text) : NULL;
  if (status == MICA_OK && report && !words) status = MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    mica_param *q = mica_params_at(params, i);
    if (values[i]) permute(q, mica_param_write(q), mica_tensor_data(values[i]), false);
    if (lent[i]) status = mica_param_replace(q, lent[i]);
  }
  if (values)
    for (int64_t i = 0; i < 2 * n; i++) mica_tensor_free(values[i]);
  mica_free(values);
  mica_free(p.source);
  if (report) {
    *report = r;
    report->text = words;
  }
  mica_bytes_free(&text);
  return status;
}

mica_status mica_params_load(mica_params *params, const char *path, const mica_load_options *o,
                             mica_load_report *report) {
  if (report) *report = (mica_load_report){0};
  mica_archive *archive;
  mica_status status = mica_archive_open(path, &archive);
  if (status != MICA_OK) return status;
  status = mica_params_load_from(params, archive, o, report);
  mica_archive_close(archive);
  return status;
}
