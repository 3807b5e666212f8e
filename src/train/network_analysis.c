/* What is in a trained network: gains of batch norm, dead rectifiers, what small gains are worth.
 */
#include <mica/network_analysis.h>

#include "tensor/element.h"
#include "train/batch.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- gains and shifts ---- */

/* The bias that goes with a gain, NULL where q is no gain of a batch norm. */
static mica_param *shift_of(const mica_params *params, const mica_param *q, char name[512]) {
  const char *path = mica_param_path(q), *dot = strrchr(path, '.');
  const uint32_t flags = mica_param_flags(q);
  if (!(flags & MICA_PARAM_BATCH_NORM) || flags & MICA_PARAM_BUFFER || !dot ||
      strcmp(dot, ".weight") != 0 ||
      snprintf(name, 512, "%.*s.bias", (int)(dot - path), path) >= 512)
    return NULL;
  mica_param *shift = mica_params_find(params, name);
  name[dot - path] = 0;
  return shift;
}

void mica_gains_free(mica_gains *g) {
  for (int64_t i = 0; g->name && i < g->layers; i++) mica_free(g->name[i]);
  mica_free(g->gain);
  mica_free(g->shift);
  mica_free(g->first);
  mica_free(g->name);
  *g = (mica_gains){0};
}

mica_status mica_gains_of(const mica_params *params, mica_gains *out) {
  char name[512];
  *out = (mica_gains){0};
  int64_t n = 0, layers = 0;
  for (int64_t i = 0; i < mica_params_count(params); i++) {
    const mica_param *q = mica_params_at(params, i);
    if (!shift_of(params, q, name)) continue;
    n += mica_tensor_count(mica_param_value(q));
    layers++;
  }
  if (!layers) return mica_fail(MICA_ERR_UNSUPPORTED, "the network has no batch norm");
  out->gain = mica_calloc((size_t)n + 1, sizeof *out->gain);
  out->shift = mica_calloc((size_t)n + 1, sizeof *out->shift);
  out->first = mica_calloc((size_t)layers + 1, sizeof *out->first);
  out->name = mica_calloc((size_t)layers, sizeof *out->name);
  mica_status status =
      out->gain && out->shift && out->first && out->name ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < mica_params_count(params) && status == MICA_OK; i++) {
    const mica_param *q = mica_params_at(params, i), *shift = shift_of(params, q, name);
    if (!shift) continue;
    const int64_t channels = mica_tensor_count(mica_param_value(q));
    for (int64_t c = 0; c < channels; c++) {
      out->gain[out->n + c] = mica_tensor_get(mica_param_value(q), c);
      out->shift[out->n + c] = mica_tensor_get(mica_param_value(shift), c);
    }
    out->name[out->layers] = mica_strdup(name);
    if (!out->name[out->layers]) status = MICA_ERR_MEMORY;
    out->n += channels;
    out->first[++out->layers] = out->n;
  }
  if (status != MICA_OK) mica_gains_free(out);
  return status;
}

double mica_share_below(const double *x, int64_t n, double threshold) {
  int64_t below = 0;
  for (int64_t i = 0; i < n; i++) below += fabs(x[i]) < threshold;
  return n ? (double)below / (double)n : NAN;
}

/* ---- rectifiers ---- */

/* What has been seen of one: of each channel, whether it ever was above zero. */
typedef struct seen {
  char path[256];
  int64_t channels;
  bool *fired;
  double zeros, results;
} seen;

typedef struct watch {
  seen *one;
  int64_t n, cap;
  int64_t at; /* in this forward */
  mica_status status;
} watch;

static seen *next_rectifier(watch *w, const char *path, int64_t channels) {
  if (w->at < w->n) {
    seen *s = &w->one[w->at++];
    if (s->channels == channels && strcmp(s->path, path) == 0) return s;
    w->status =
        mica_fail(MICA_ERR_UNSUPPORTED,
                  "the network runs other rectifiers for another batch: %s, not %s", path, s->path);
    return NULL;
  }
  if (w->n == w->cap) {
    const int64_t cap = w->cap ? 2 * w->cap : 32;
    seen *more = mica_realloc_array(w->one, (size_t)cap, sizeof *more);
    if (more) {
      w->one = more;
      w->cap = cap;
    }
  }
  bool *fired = w->n < w->cap ? mica_calloc((size_t)channels, sizeof *fired) : NULL;
  if (!fired) {
    w->status = MICA_ERR_MEMORY;
    return NULL;
  }
  seen *s = &w->one[w->n++];
  *s = (seen){.channels = channels, .fired = fired};
  snprintf(s->path, sizeof s->path, "%s", path);
  w->at = w->n;
  return s;
}

static void look(mica_tape *t, void *ctx, const char *path, mica_var y) {
  watch *w = ctx;
  mica_view v = mica_read(t, y);
  if (!v.data || !v.shape.rank || w->status != MICA_OK) return;
  const int64_t channels = v.shape.dim[v.shape.rank - 1];
  seen *s = channels ? next_rectifier(w, path, channels) : NULL;
  if (!s) return;
  const int64_t rows = mica_view_rows(&v);
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < channels; c++) {
      const double x = mica_view_element(&v, r * channels + c);
      if (x > 0)
        s->fired[c] = true;
      else
        s->zeros++;
    }
  s->results += (double)(rows * channels);
}

/* The whole report; names of paths that come again are numbered. */
static mica_status summarise(const watch *w, mica_rectifiers *out) {
  double zeros = 0, results = 0;
  out->rectifier = mica_calloc((size_t)w->n + 1, sizeof *out->rectifier);
  if (!out->rectifier) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < w->n; i++) {
    const seen *s = &w->one[i];
    mica_rectifier *r = &out->rectifier[out->n++];
    char name[300];
    int before = 1;
    for (int64_t k = 0; k < i; k++) before += strcmp(w->one[k].path, s->path) == 0;
    snprintf(name, sizeof name, before > 1 ? "%s#%d" : "%s", s->path, before);
    *r = (mica_rectifier){mica_strdup(name), s->channels, s->channels,
                          s->results > 0 ? s->zeros / s->results : NAN};
    if (!r->name) return MICA_ERR_MEMORY;
    for (int64_t c = 0; c < s->channels; c++) r->dead -= s->fired[c];
    out->channels += r->channels;
    out->dead += r->dead;
    zeros += s->zeros;
    results += s->results;
  }
  out->zeros = results > 0 ? zeros / results : NAN;
  return MICA_OK;
}

void mica_rectifiers_free(mica_rectifiers *r) {
  for (int64_t i = 0; i < r->n; i++) mica_free(r->rectifier[i].name);
  mica_free(r->rectifier);
  *r = (mica_rectifiers){0};
}

mica_status mica_rectifiers_of(const mica_net *net, const mica_stream *stream,
                               mica_rectifiers *out) {
  watch w = {0};
  mica_tape *t = NULL;
  *out = (mica_rectifiers){0};
  mica_status status = mica_tape_create(mica_params_engine(mica_net_params(net)), NULL, &t);
  if (status == MICA_OK) mica_watch_relu(t, look, &w);
  if (status == MICA_OK) status = stream->seek(stream->ctx, 0, 0);
  for (int64_t b = 0; b < stream->batches && status == MICA_OK; b++) {
    mica_batch batch = {0};
    mica_outputs o;
    status = stream->next(stream->ctx, &batch);
    if (status == MICA_OK && batch.parts)
      status = mica_fail(MICA_ERR_INVALID, "rectifiers: the stream is zipped; take one of its own");
    if (status != MICA_OK) break;
    w.at = 0;
    mica_tape_reset(t);
    mica_no_grad_begin(t);
    const mica_inputs in = mica_batch_inputs(t, &batch);
    mica_net_forward_inputs(t, net, &in, &o);
    status = mica_tape_status(t);
    if (status == MICA_OK) status = w.status;
    out->examples += batch.n;
  }
  if (status == MICA_OK) status = summarise(&w, out);
  for (int64_t i = 0; i < w.n; i++) mica_free(w.one[i].fired);
  mica_free(w.one);
  mica_tape_free(t);
  if (status != MICA_OK) mica_rectifiers_free(out);
  return status;
}

/* ---- setting gains to zero ---- */

static mica_status copy_net(const mica_net *net, mica_net **out) {
  char *text = mica_net_text(net);
  *out = NULL;
  if (!text) return MICA_ERR_MEMORY;
  mica_status status = mica_net_create(mica_params_engine(mica_net_params(net)), text,
                                       mica_net_problem(net), MICA_SEED_NONE, out);
  mica_free(text);
  if (status == MICA_OK) status = mica_params_copy(mica_net_params(*out), mica_net_params(net));
  return status;
}

static int by_size(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Set the gains below `bound` to zero, or of those at it as many as `ties` says; how many were. */
static int64_t zero_gains(mica_params *params, double bound, int64_t ties, bool shift) {
  char name[512];
  int64_t n = 0;
  for (int64_t i = 0; i < mica_params_count(params); i++) {
    mica_param *q = mica_params_at(params, i), *other = shift_of(params, q, name);
    if (!other) continue;
    float *gain = mica_param_write(q), *bias = mica_param_write(other);
    for (int64_t c = 0; c < mica_tensor_count(mica_param_value(q)); c++) {
      const double size = fabs((double)gain[c]);
      if (!(size < bound) && !(size == bound && ties-- > 0)) continue;
      gain[c] = 0;
      if (shift) bias[c] = 0;
      n++;
    }
  }
  return n;
}

static mica_status prune_point(const mica_net *net, mica_net *copy, const mica_stream *stream,
                               const double *sorted, int64_t channels, const mica_prune_options *o,
                               mica_prune_point *p) {
  mica_status status = mica_params_copy(mica_net_params(copy), mica_net_params(net));
  if (status != MICA_OK) return status;
  double bound = p->at;
  int64_t ties = 0, n = 0;
  if (!o->thresholds) {
    n = llround(p->at * (double)channels);
    bound = n ? sorted[n - 1] : 0;
    for (int64_t i = n; i-- > 0 && sorted[i] == bound;) ties++;
  }
  n = zero_gains(mica_net_params(copy), bound, ties, o->shift);
  mica_evaluation e;
  status = mica_evaluate(copy, stream, false, false, &e);
  if (status != MICA_OK) return status;
  p->share = (double)n / (double)channels;
  p->threshold = n ? sorted[n - 1] : 0;
  p->loss = e.loss;
  p->accuracy = e.accuracy;
  mica_evaluation_clear(&e);
  return MICA_OK;
}

mica_status mica_prune_curve(const mica_net *net, const mica_stream *stream, const double *at,
                             int64_t n, const mica_prune_options *given, mica_prune_point *out) {
  mica_prune_options o = MICA_PRUNE_OPTIONS;
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  for (int64_t i = 0; i < n; i++) {
    if (!(at[i] >= 0) || (!o.thresholds && at[i] > 1))
      return mica_fail(MICA_ERR_INVALID, "prune: %g, expected %s", at[i],
                       o.thresholds ? "a threshold of 0 or more" : "a share from 0 to 1");
    out[i] = (mica_prune_point){.at = at[i]};
  }
  mica_gains gains;
  mica_net *copy = NULL;
  mica_status status = mica_gains_of(mica_net_params(net), &gains);
  if (status != MICA_OK) return status;
  for (int64_t i = 0; i < gains.n; i++) gains.gain[i] = fabs(gains.gain[i]);
  qsort(gains.gain, (size_t)gains.n, sizeof *gains.gain, by_size);
  status = copy_net(net, &copy);
  for (int64_t i = 0; i < n && status == MICA_OK; i++)
    status = prune_point(net, copy, stream, gains.gain, gains.n, &o, &out[i]);
  mica_net_free(copy);
  mica_gains_free(&gains);
  return status;
}
