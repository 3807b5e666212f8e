/* RISE (Petsiuk, Das and Saenko 2018): images under random masks; a pixel's worth is the mean score
 * of the masks that show it. Needs no gradient and no layer.
 */
#include <mica/explain.h>

#include <math.h>
#include <string.h>

typedef struct options {
  uint32_t size;
  int64_t masks, grid, seed;
  double share;
} options;

/* A mask of grid + 1 squares a side, shown with probability `share`, shifted by less than one
 * square and interpolated. */
static void draw_mask(const options *o, int64_t index, int64_t height, int64_t width, float *mask) {
  const mica_key key =
      mica_key_fold(mica_key_fold_name(mica_key_seed((uint64_t)o->seed), "rise"), (uint64_t)index);
  const double dr = mica_random_uniform(key, 0), dc = mica_random_uniform(key, 1);
  const int64_t side = o->grid + 2;
  for (int64_t r = 0; r < height; r++)
    for (int64_t c = 0; c < width; c++) {
      const double y = (double)r * (double)o->grid / (double)height + dr;
      const double x = (double)c * (double)o->grid / (double)width + dc;
      const int64_t a = (int64_t)y, b = (int64_t)x;
      double v = 0;
      for (int k = 0; k < 4; k++) {
        const int64_t cell = (a + k / 2) * side + b + k % 2;
        const double w = (k / 2 ? y - (double)a : 1 - y + (double)a) *
                         (k % 2 ? x - (double)b : 1 - x + (double)b);
        v += w * (mica_random_uniform(key, (uint64_t)(2 + cell)) < o->share);
      }
      mask[r * width + c] = (float)v;
    }
}

/* Softmax probability of the targets under one mask, added to the map. */
static mica_status try_mask(mica_tape *t, const mica_net *net, const mica_tensor *x,
                            const int64_t *target, const float *mask, float *shown, double *map) {
  const mica_shape *s = mica_tensor_shape(x);
  const int64_t places = s->dim[1] * s->dim[2], n = s->dim[0];
  const float *from = mica_tensor_data(x);
  for (int64_t i = 0; i < n; i++)
    for (int64_t u = 0; u < places; u++)
      for (int64_t k = 0; k < s->dim[3]; k++) {
        const int64_t at = (i * places + u) * s->dim[3] + k;
        shown[at] = from[at] * mask[u];
      }
  const mica_view view = mica_view_of(shown, MICA_F32, *s);
  mica_outputs o;
  mica_tape_reset(t);
  mica_no_grad_begin(t);
  mica_net_forward(t, net, mica_borrow(t, &view), &o);
  const mica_view p = mica_read(t, mica_softmax(t, o.logits, -1));
  if (!mica_ok(t)) return mica_tape_status(t);
  const int64_t classes = p.shape.dim[1];
  for (int64_t i = 0; i < n; i++) {
    if (target[i] < 0 || target[i] >= classes)
      return mica_fail(MICA_ERR_INVALID, "explain: class %lld, expected 0 to %lld",
                       (long long)target[i], (long long)classes - 1);
    const double score = (double)((const float *)p.data)[i * classes + target[i]];
    for (int64_t u = 0; u < places; u++) map[i * places + u] += score * (double)mask[u];
  }
  return MICA_OK;
}

static mica_status rise(const mica_net *net, const mica_tensor *x, const int64_t *target,
                        const char *layer, const void *given, mica_tensor **out) {
  (void)layer;
  const options *o = given;
  const mica_shape *s = mica_tensor_shape(x);
  if (s->rank != 4) return mica_fail(MICA_ERR_SHAPE, "explain: expected images [N,H,W,C]");
  const int64_t places = s->dim[1] * s->dim[2], n = s->dim[0];
  float *mask = mica_calloc((size_t)places, sizeof *mask);
  float *shown = mica_calloc((size_t)mica_tensor_count(x), sizeof *shown);
  double *map = mica_calloc((size_t)(n * places), sizeof *map);
  mica_tape *t = NULL;
  mica_status status = mask && shown && map ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK)
    status = mica_tape_create(mica_params_engine(mica_net_params(net)), NULL, &t);
  for (int64_t k = 0; k < o->masks && status == MICA_OK; k++) {
    draw_mask(o, k, s->dim[1], s->dim[2], mask);
    status = try_mask(t, net, x, target, mask, shown, map);
  }
  if (status == MICA_OK)
    status = mica_tensor_create(MICA_F32, MICA_SHAPE(n, s->dim[1], s->dim[2]), out);
  for (int64_t i = 0; status == MICA_OK && i < n * places; i++)
    ((float *)mica_tensor_data(*out))[i] = (float)(map[i] / ((double)o->masks * o->share));
  mica_tape_free(t);
  mica_free(mask);
  mica_free(shown);
  mica_free(map);
  return status;
}

static const mica_option table[] = {
    {"masks", MICA_OPTION_INT, "500", 1, 1000000, NULL, "random masks", offsetof(options, masks)},
    {"grid", MICA_OPTION_INT, "7", 1, 1000, NULL, "squares of a mask's side",
     offsetof(options, grid)},
    {"share", MICA_OPTION_FLOAT, "0.5", 0.01, 0.99, NULL, "of the squares that show the image",
     offsetof(options, share)},
    {"seed", MICA_OPTION_INT, "0", 0, 9e15, NULL, "of the masks", offsetof(options, seed)},
    {0}};

static const mica_explainer_functions functions = {sizeof functions, false, rise};

extern const mica_component mica_component_explainer_rise;
const mica_component mica_component_explainer_rise = {MICA_COMPONENT_HEAD,
                                                      MICA_KIND_EXPLAINER,
                                                      "rise",
                                                      "RISE: mean score under random masks",
                                                      "saliency",
                                                      table,
                                                      sizeof(options),
                                                      MICA_NEED_IMAGES | MICA_NEED_LOGITS,
                                                      0,
                                                      &functions};
