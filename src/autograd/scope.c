/* Scopes: a name in the path, memory that is given back, taps, and the keys of random draws.
 *
 * The number of a draw counts within its path, not within the tape, so adding a layer does not
 * change the noise of another, and a recomputation can start its own count and draw the same
 * numbers again.
 */
#include "autograd/tape.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

/* ---- paths ---- */

const char *mica_tape_path(const mica_tape *t) {
  return t->scopes.n && t->paths.n ? t->paths.v + t->scopes.v[t->scopes.n - 1].path : "";
}

static uint64_t draw_path(const mica_tape *t) {
  return t->scopes.n ? t->scopes.v[t->scopes.n - 1].draws : 0;
}

void mica_scope_begin(mica_tape *t, const char *name) {
  /* Also on a latched tape: begins and ends must stay paired. Only memory can make it fail. */
  if (!VEC_ROOM(t, t->scopes, 1)) return;
  size_t length = name ? strlen(name) : 0;
  const scope *up = t->scopes.n ? &t->scopes.v[t->scopes.n - 1] : NULL;
  scope s = {t->now, t->births.n, t->records.n, 0, t->paths.n, draw_path(t), length > 0};
  /* No path may be there below an open scope when memory was short for the first. */
  size_t above = up && t->paths.n ? strlen(t->paths.v + up->path) : 0;
  if (!VEC_ROOM(t, t->paths, above + length + 2)) {
    s = up ? *up : (scope){0};
    s.outside = t->now;
    t->scopes.v[t->scopes.n++] = s;
    return;
  }
  char *to = t->paths.v + t->paths.n;
  s.path = t->paths.n;
  if (above) memcpy(to, t->paths.v + up->path, above);
  if (above && length) to[above++] = '.';
  if (length) memcpy(to + above, name, length);
  to[above + length] = 0;
  t->paths.n += (uint32_t)(above + length + 1);
  if (length) s.draws = mica_hash64(name, length, s.draws * 31 + 1);
  t->scopes.v[t->scopes.n++] = s;
}

static mica_var run_taps(mica_tape *t, mica_var y) {
  for (uint32_t i = 0; i < t->taps.n && mica_ok(t); i++) {
    const tap *p = &t->taps.v[i];
    const char *path = mica_tape_path(t);
    if (*path && fnmatch(p->pattern, path, 0) == 0) y = p->fn(t, p->ctx, path, y);
  }
  return y;
}

void mica_scope_end_n(mica_tape *t, int n, mica_var *y) {
  if (!t->scopes.n) {
    mica_latch(t, MICA_ERR_STATE, "scope_end without its begin");
    return;
  }
  if (n == 1 && t->taps.n && t->scopes.v[t->scopes.n - 1].named) y[0] = run_taps(t, y[0]);
  const scope s = t->scopes.v[--t->scopes.n];
  t->now = s.outside;
  if (!mica_ok(t)) {
    for (int i = 0; i < n; i++) y[i] = MICA_NONE;
    return;
  }
  for (int i = 0; i < n; i++)
    if (!mica_is_none(y[i]) && !mica_value_slot(t, y[i], "scope_end")) return;
  uint32_t stay = s.births;
  for (uint32_t i = s.births; i < t->births.n; i++) {
    uint32_t slot = t->births.v[i];
    const value *v = &t->values.v[slot];
    bool returned = v->kept;
    for (int j = 0; j < n && !returned; j++) returned = y[j].stamp && y[j].slot == slot;
    if (returned)
      t->births.v[stay++] = slot;
    else
      mica_value_drop_handle(t, slot);
  }
  t->births.n = stay;
  /* Records remember their path by its place in the pool. */
  if (t->records.n == s.records) t->paths.n = s.path_end;
}

mica_var mica_scope_end(mica_tape *t, mica_var y) {
  mica_scope_end_n(t, 1, &y);
  return mica_ok(t) ? y : MICA_NONE;
}

mica_var mica_keep(mica_tape *t, mica_var v) {
  uint32_t slot = mica_value_slot(t, v, "keep");
  if (slot) t->values.v[slot].kept = true;
  return v;
}

/* Forget the birth of slot among those since `from`; false when it is not there. */
static bool forget_birth(mica_tape *t, uint32_t slot, uint32_t from) {
  for (uint32_t i = t->births.n; i-- > from;)
    if (t->births.v[i] == slot) {
      memmove(&t->births.v[i], &t->births.v[i + 1], (t->births.n - i - 1) * sizeof(uint32_t));
      t->births.n--;
      return true;
    }
  return false;
}

void mica_release(mica_tape *t, mica_var v) {
  uint32_t slot = mica_value_slot(t, v, "release");
  if (!slot) return;
  forget_birth(t, slot, 0);
  mica_value_drop_handle(t, slot);
}

mica_var mica_replace(mica_tape *t, mica_var old, mica_var fresh) {
  if (!mica_ok(t)) return MICA_NONE;
  if (old.slot == fresh.slot) return fresh;
  uint32_t slot = mica_value_slot(t, old, "replace");
  if (!slot) return MICA_NONE;
  uint32_t from = t->scopes.n ? t->scopes.v[t->scopes.n - 1].births : 0;
  if (!t->values.v[slot].kept && forget_birth(t, slot, from)) mica_value_drop_handle(t, slot);
  return fresh;
}

/* ---- taps ---- */

mica_status mica_tap(mica_tape *t, const char *pattern, mica_tap_fn fn, void *ctx) {
  if (!VEC_ROOM(t, t->taps, 1)) return mica_tape_status(t);
  char *copy = mica_strdup(pattern);
  if (!copy) return MICA_ERR_MEMORY;
  t->taps.v[t->taps.n++] = (tap){copy, fn, ctx};
  return MICA_OK;
}

uint32_t mica_taps_count(const mica_tape *t) {
  return t->taps.n;
}

void mica_taps_keep(mica_tape *t, uint32_t n) {
  while (t->taps.n > n) mica_free(t->taps.v[--t->taps.n].pattern);
}

bool mica_taps_see(const mica_tape *t, const char *name) {
  char path[1024];
  const char *around = mica_tape_path(t);
  if (!t->taps.n) return false;
  const int n = snprintf(path, sizeof path, "%s%s%s", around, *around ? "." : "", name);
  if (n < 0 || (size_t)n >= sizeof path) return true;
  for (uint32_t i = 0; i < t->taps.n; i++)
    if (fnmatch(t->taps.v[i].pattern, path, 0) == 0) return true;
  return false;
}

void mica_watch_relu(mica_tape *t, mica_relu_fn fn, void *ctx) {
  t->relu_fn = fn;
  t->relu_ctx = ctx;
}

mica_var mica_relu_made(mica_tape *t, mica_var y) {
  if (t->relu_fn && mica_ok(t)) t->relu_fn(t, t->relu_ctx, mica_tape_path(t), y);
  return y;
}

void mica_taps_clear(mica_tape *t) {
  for (uint32_t i = 0; i < t->taps.n; i++) mica_free(t->taps.v[i].pattern);
  for (uint32_t i = 0; i < t->overrides.n; i++) mica_free(t->overrides.v[i].name);
  t->taps.n = t->overrides.n = 0;
}

bool mica_overridden(const mica_tape *t, const char *op) {
  for (uint32_t i = 0; i < t->overrides.n; i++)
    if (strcmp(t->overrides.v[i].name, op) == 0) return true;
  return false;
}

mica_status mica_override_backward(mica_tape *t, const char *op, const mica_op *replacement) {
  for (uint32_t i = 0; i < t->overrides.n; i++)
    if (strcmp(t->overrides.v[i].name, op) == 0) {
      if (replacement) {
        t->overrides.v[i].op = replacement;
      } else {
        mica_free(t->overrides.v[i].name);
        t->overrides.v[i] = t->overrides.v[--t->overrides.n];
      }
      return MICA_OK;
    }
  if (!replacement) return MICA_OK;
  if (!VEC_ROOM(t, t->overrides, 1)) return mica_tape_status(t);
  char *name = mica_strdup(op);
  if (!name) return MICA_ERR_MEMORY;
  t->overrides.v[t->overrides.n++] = (override){name, replacement};
  return MICA_OK;
}

/* ---- random draws ---- */

void mica_draw_table_clear(draw_table *d) {
  if (d->used) memset(d->slot, 0, d->size * sizeof *d->slot);
  d->used = 0;
}

/* The entry of a path; path 0 is stored as 1, a clash without harm: the key then only shares a
 * count. */
static draw_count *draw_find(draw_count *slots, uint32_t size, uint64_t path) {
  uint32_t i = (uint32_t)(path ^ path >> 32) & (size - 1);
  while (slots[i].path && slots[i].path != path) i = (i + 1) & (size - 1);
  return &slots[i];
}

static bool draw_room(mica_tape *t) {
  draw_table *d = &t->draws;
  if (d->used * 2 < d->size) return true;
  uint32_t size = d->size ? d->size * 2 : 64;
  draw_count *slots = mica_calloc(size, sizeof *slots);
  if (!slots) {
    mica_latch(t, MICA_ERR_MEMORY, "the table of random draws cannot grow");
    return false;
  }
  for (uint32_t i = 0; i < d->size; i++)
    if (d->slot[i].path) *draw_find(slots, size, d->slot[i].path) = d->slot[i];
  mica_free(d->slot);
  d->slot = slots;
  d->size = size;
  return true;
}

mica_key mica_tape_draw(mica_tape *t, const char *purpose) {
  mica_key key = mica_key_seed(t->seed);
  if (!draw_room(t)) return key;
  uint64_t path = draw_path(t);
  if (!path) path = 1;
  draw_count *count = draw_find(t->draws.slot, t->draws.size, path);
  if (!count->path) {
    count->path = path;
    t->draws.used++;
  }
  key = mica_key_fold_name(key, purpose);
  key = mica_key_fold(key, t->step);
  key = mica_key_fold(key, t->micro);
  key = mica_key_fold(key, path);
  return mica_key_fold(key, count->n++);
}
