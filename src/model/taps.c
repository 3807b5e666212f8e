/* Features from several places of a network: each map's mean over its positions, or all of them,
 * one behind the other.
 *
 * A name is a module's path as errors and taps of the tape have it, or one of the outputs:
 * "features", "tokens", "pyramid.0". Which names there are, and how wide they are, is found by one
 * forward on examples of zeros. Every forward then hangs a tap of the tape on each module for its
 * own time, behind whatever path is open around the network.
 */
#include "model/taps.h"

#include "autograd/tape.h"
#include "model/net.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the list ---- */

/* A name's length without ":all", which asks for all positions. */
static size_t place_length(const char *name) {
  const size_t n = strlen(name);
  return n > 4 && strcmp(name + n - 4, ":all") == 0 ? n - 4 : n;
}
static bool is_whole(const char *name) {
  return name[place_length(name)] != 0;
}

void mica_net_taps_end(mica_net_taps_list *taps) {
  for (int i = 0; i < taps->n; i++) mica_free(taps->tap[i].name);
  taps->n = 0;
}

mica_status mica_net_taps_add(mica_net_taps_list *taps, const char *name, int64_t width) {
  const size_t n = strlen(name);
  if (!n || n > 200 ||
      strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") !=
          place_length(name))
    return mica_fail(MICA_ERR_INVALID, "tap '%.80s' is no module's name", name);
  if (width < 1 || width > INT32_MAX)
    return mica_fail(MICA_ERR_INVALID, "tap '%s' has %lld features", name, (long long)width);
  if (taps->n == MICA_TAPS_MAX)
    return mica_fail(MICA_ERR_INVALID, "a network has at most %d taps", MICA_TAPS_MAX);
  for (int i = 0; i < taps->n; i++)
    if (strcmp(taps->tap[i].name, name) == 0)
      return mica_fail(MICA_ERR_INVALID, "tap '%s' is named twice", name);
  if (!(taps->tap[taps->n].name = mica_strdup(name))) return MICA_ERR_MEMORY;
  taps->tap[taps->n++].width = width;
  return MICA_OK;
}

int64_t mica_net_taps_width(const mica_net_taps_list *taps) {
  int64_t width = 0;
  for (int i = 0; i < taps->n; i++) width += taps->tap[i].width;
  return width;
}

/* ---- outputs as taps ---- */

static bool is_named(const char *name, const char *word) {
  const size_t n = strlen(word);
  return place_length(name) == n && strncmp(name, word, n) == 0;
}

/* The output of that name, MICA_NONE where it is none or there is none. */
static mica_var output_of(const mica_outputs *out, const char *name) {
  if (is_named(name, "features")) return out->features;
  if (is_named(name, "tokens")) return out->tokens;
  if (strncmp(name, "pyramid.", 8) == 0 && name[8] >= '0' && name[8] <= '9' &&
      place_length(name) == 9 && name[8] - '0' < out->n_pyramid)
    return out->pyramid[name[8] - '0'];
  return MICA_NONE;
}

static bool is_output(const char *name) {
  return is_named(name, "features") || is_named(name, "tokens") ||
         strncmp(name, "pyramid.", 8) == 0;
}

/* ---- a forward ---- */

static mica_var mean_of(mica_tape *t, mica_var v) {
  return mica_rank(t, v) > 2 ? mica_global_avg_pool(t, v) : v;
}

static mica_var taken(mica_tape *t, const char *name, mica_var v) {
  return is_whole(name) ? mica_flatten(t, v, 1) : mean_of(t, v);
}

static mica_var gather(mica_tape *t, void *mean, const char *path, mica_var v) {
  (void)path;
  *(mica_var *)mean = mica_keep(t, mean_of(t, v));
  return v;
}

static mica_var gather_flat(mica_tape *t, void *all, const char *path, mica_var v) {
  (void)path;
  *(mica_var *)all = mica_keep(t, mica_flatten(t, v, 1));
  return v;
}

static mica_var gather_whole(mica_tape *t, void *map, const char *path, mica_var v) {
  (void)path;
  *(mica_var *)map = mica_keep(t, v);
  return v;
}

static void begin(mica_tape *t, const mica_net_taps_list *taps, bool whole, mica_tapping *g) {
  char path[512];
  *g = (mica_tapping){.taps = taps, .before = mica_taps_count(t), .whole = whole};
  for (int i = 0; i < taps->n; i++) {
    const char *around = mica_tape_path(t), *name = taps->tap[i].name;
    g->mean[i] = MICA_NONE;
    if (is_output(name)) continue;
    const mica_tap_fn fn = whole ? gather_whole : is_whole(name) ? gather_flat : gather;
    snprintf(path, sizeof path, "%s%s%.*s", around, *around ? "." : "", (int)place_length(name),
             name);
    if (mica_tap(t, path, fn, &g->mean[i]) != MICA_OK)
      mica_latch(t, mica_last_status(), "%s", mica_last_error());
  }
}

void mica_tapping_begin(mica_tape *t, const mica_net_taps_list *taps, mica_tapping *g) {
  begin(t, taps, false, g);
}

void mica_tapping_begin_whole(mica_tape *t, const mica_net_taps_list *taps, mica_tapping *g) {
  begin(t, taps, true, g);
}

void mica_tapping_end_whole(mica_tape *t, mica_tapping *g, const mica_outputs *out) {
  const mica_net_taps_list *taps = g->taps;
  mica_taps_keep(t, g->before);
  for (int i = 0; i < taps->n && mica_ok(t); i++) {
    const char *name = taps->tap[i].name;
    if (is_output(name)) {
      const mica_var v = output_of(out, name);
      if (!mica_is_none(v)) g->mean[i] = g->whole ? v : taken(t, name, v);
    }
    if (mica_ok(t) && mica_is_none(g->mean[i])) {
      mica_latch(t, MICA_ERR_NOT_FOUND, "tap '%s': the network has no such module", name);
    } else if (mica_ok(t) && !g->whole) {
      const mica_view v = mica_read(t, g->mean[i]);
      if (mica_ok(t) && (v.shape.rank != 2 || v.shape.dim[1] != taps->tap[i].width))
        mica_latch(t, MICA_ERR_SHAPE, "tap '%s' gives %lld features, expected %lld", name,
                   (long long)(v.shape.rank == 2 ? v.shape.dim[1] : -1),
                   (long long)taps->tap[i].width);
    }
  }
}

void mica_tapping_end(mica_tape *t, mica_tapping *g, mica_outputs *out) {
  mica_tapping_end_whole(t, g, out);
  if (mica_ok(t)) out->features = mica_concat(t, g->taps->n, g->mean, 1);
}

/* ---- finding ---- */

#define EXAMPLES 2 /* so that a leading dimension that is not theirs is seen */

/* Everything that can be tapped, in the order in which a forward makes it. */
typedef struct places {
  int64_t n, room;
  struct place {
    char *path;
    int64_t width; /* 0: not a map, tokens or a vector of the examples */
    int64_t all;   /* of all positions */
  } * v;
  mica_status status;
} places;

static void places_free(places *p) {
  for (int64_t i = 0; i < p->n; i++) mica_free(p->v[i].path);
  mica_free(p->v);
}

static void add_place(mica_tape *t, places *p, const char *path, mica_var y) {
  const mica_view v = mica_is_none(y) ? (mica_view){0} : mica_read(t, y);
  const bool usable = v.data && v.shape.rank >= 2 && v.shape.dim[0] == EXAMPLES &&
                      (v.dtype == MICA_F32 || v.dtype == MICA_F64);
  for (int64_t i = 0; i < p->n; i++)
    if (strcmp(p->v[i].path, path) == 0) return;
  if (p->n == p->room && p->status == MICA_OK) {
    const int64_t room = p->room ? 2 * p->room : 64;
    struct place *more = mica_realloc_array(p->v, (size_t)room, sizeof *more);
    if (more) p->v = more, p->room = room;
  }
  char *copy = p->n < p->room ? mica_strdup(path) : NULL;
  if (!copy)
    p->status = MICA_ERR_MEMORY;
  else
    p->v[p->n++] = (struct place){copy, usable ? v.shape.dim[v.shape.rank - 1] : 0,
                                  usable ? mica_view_count(&v) / EXAMPLES : 0};
}

static mica_var note(mica_tape *t, void *ctx, const char *path, mica_var v) {
  add_place(t, ctx, path, v);
  return v;
}

/* Is the last map's mean what the features are? */
static bool same_mean(mica_tape *t, const mica_outputs *out) {
  if (mica_is_none(out->features) || !out->n_pyramid) return false;
  const mica_view f = mica_read(t, out->features);
  const mica_view m = mica_read(t, mean_of(t, out->pyramid[out->n_pyramid - 1]));
  if (!mica_ok(t) || f.dtype != MICA_F32 || m.dtype != MICA_F32 ||
      !mica_shape_equal(&f.shape, &m.shape) || !mica_view_contiguous(&f))
    return false;
  const float *a = f.data, *b = m.data;
  for (int64_t i = 0; i < mica_view_count(&f); i++)
    if (!(a[i] - b[i] <= 1e-5f && b[i] - a[i] <= 1e-5f)) return false;
  return true;
}

mica_inputs mica_net_blank_inputs(mica_tape *t, const mica_net *net, int64_t n) {
  const mica_problem *p = mica_net_problem(net);
  mica_inputs in = {MICA_NONE, MICA_NONE, MICA_NONE};
  if (p->height)
    in.x = mica_full(t, MICA_F32, MICA_SHAPE(n, p->height, p->width, p->channels), 0);
  else if (p->channels)
    in.x = mica_full(t, MICA_F32, MICA_SHAPE(n, p->channels), 0);
  if (p->vocabulary) in.tokens = mica_full(t, MICA_I64, MICA_SHAPE(n, p->length), 0);
  if (p->fields) in.fields = mica_full(t, MICA_I64, MICA_SHAPE(n, p->fields), 0);
  return in;
}

/* One forward on examples of zeros. */
static mica_status look(const mica_net *net, places *modules, places *outputs, bool *same) {
  mica_outputs out;
  mica_tape *t = NULL;
  char name[32];
  mica_status status = mica_tape_create(mica_params_engine(mica_net_params(net)), NULL, &t);
  if (status == MICA_OK) status = mica_tap(t, "*", note, modules);
  if (status == MICA_OK) {
    mica_no_grad_begin(t);
    const mica_inputs in = mica_net_blank_inputs(t, net, EXAMPLES);
    mica_net_forward_plain(t, net, &in, &out);
    if (mica_ok(t)) {
      for (int i = 0; i < out.n_pyramid; i++) {
        snprintf(name, sizeof name, "pyramid.%d", i);
        add_place(t, outputs, name, out.pyramid[i]);
      }
      *same = same_mean(t, &out);
      if (!mica_is_none(out.features)) add_place(t, outputs, "features", out.features);
      if (!mica_is_none(out.tokens)) add_place(t, outputs, "tokens", out.tokens);
    }
    status = mica_tape_status(t);
  }
  mica_tape_free(t);
  if (status == MICA_OK && modules->status != MICA_OK) status = modules->status;
  return status == MICA_OK ? outputs->status : status;
}

static mica_status no_such_place(const places *modules, const places *outputs, const char *name) {
  const int64_t n = modules->n + outputs->n;
  const char **all = mica_calloc((size_t)n + 1, sizeof *all);
  if (!all) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n; i++)
    all[i] = i < modules->n ? modules->v[i].path : outputs->v[i - modules->n].path;
  const char *near = mica_nearest_name(name, all, (int)n);
  const mica_status status =
      mica_fail(MICA_ERR_NOT_FOUND, "the network has no module '%.80s'%s%s%s", name,
                near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
  mica_free(all);
  return status;
}

/* The places of one list that a name or pattern means. */
static mica_status add_matches(const places *p, const char *name, bool pattern, int *found,
                               mica_net_taps_list *out) {
  char plain[256], full[260];
  mica_status status = MICA_OK;
  const bool whole = is_whole(name);
  if (strlen(name) >= sizeof plain) return MICA_OK; /* there is none */
  snprintf(plain, sizeof plain, "%.*s", (int)place_length(name), name);
  for (int64_t i = 0; i < p->n && status == MICA_OK; i++) {
    const struct place *at = &p->v[i];
    if (pattern ? fnmatch(plain, at->path, 0) != 0 : strcmp(plain, at->path) != 0) continue;
    if (pattern && !at->width) continue;
    if (!at->width)
      return mica_fail(MICA_ERR_UNSUPPORTED,
                       "tap '%s' is no map, tokens or vector with a row for each example", name);
    snprintf(full, sizeof full, "%.250s%s", at->path, whole ? ":all" : "");
    status = mica_net_taps_add(out, full, whole ? at->all : at->width);
    ++*found;
  }
  return status;
}

static mica_status add_pyramid(const places *outputs, bool same, int *found,
                               mica_net_taps_list *out) {
  mica_status status = add_matches(outputs, "pyramid.*", true, found, out);
  return status == MICA_OK && *found && !same ? add_matches(outputs, "features", false, found, out)
                                              : status;
}

mica_status mica_net_taps_find(const mica_net *net, int64_t n, const char *const *names,
                               mica_net_taps_list *out) {
  places modules = {0}, outputs = {0};
  bool same = false;
  *out = (mica_net_taps_list){0};
  mica_status status = n ? look(net, &modules, &outputs, &same) : MICA_OK;
  for (int64_t i = 0; i < n && status == MICA_OK; i++) {
    int found = 0;
    const bool pattern = strpbrk(names[i], "*?[") != NULL;
    if (strcmp(names[i], "pyramid") == 0)
      status = add_pyramid(&outputs, same, &found, out);
    else
      status =
          add_matches(is_output(names[i]) ? &outputs : &modules, names[i], pattern, &found, out);
    if (status == MICA_OK && !found) status = no_such_place(&modules, &outputs, names[i]);
  }
  places_free(&modules);
  places_free(&outputs);
  if (status != MICA_OK) mica_net_taps_end(out);
  return status;
}
