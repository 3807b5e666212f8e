/* Running a paper: its settings, its experiments' tables, their units, the result. */
#include "paper/claim.h"

#include "base/file.h"
#include "base/options.h"
#include "base/progress.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const char *mica_verdict_text(mica_verdict verdict) {
  static const char *const text[] = {"not run", "not shown", "mechanism shown", "reproduced"};
  return verdict >= 0 && verdict <= MICA_VERDICT_REPRODUCED ? text[verdict] : "?";
}

/* ---- settings ---- */

static const mica_option *option_of(const mica_component *paper, const char *name) {
  for (const mica_option *o = paper->options; o && o->name; o++)
    if (strcmp(o->name, name) == 0) return o;
  return NULL;
}

/* "slug:SMOKE:key=value..." with the options of the run. */
static mica_status parse_settings(mica_claim_run *r, bool seeds, mica_spec **out) {
  const mica_paper_options *o = r->o;
  mica_bytes b = {0};
  mica_bytes_text(&b, r->paper->name);
  if (o->smoke && r->fn->smoke && *r->fn->smoke) mica_bytes_printf(&b, ":%s", r->fn->smoke);
  mica_status status = b.status;
  if (status == MICA_OK) status = mica_spec_parse(r->engine, MICA_KIND_PAPER, b.data, out);
  mica_bytes_free(&b);
  for (int64_t i = 0; i < o->n_settings && status == MICA_OK; i++) {
    const char *text = o->settings[i], *equals = strchr(text, '=');
    char name[64];
    const size_t n = equals ? (size_t)(equals - text) : 0;
    if (!n || n >= sizeof name) {
      status = mica_fail(MICA_ERR_INVALID, "setting '%s', expected key=value", text);
      break;
    }
    memcpy(name, text, n);
    name[n] = 0;
    status =
        mica_options_set(*out, r->paper->options, mica_spec_options_mut(*out), name, equals + 1);
  }
  if (status == MICA_OK && o->seeds) {
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)o->seeds);
    status = mica_options_set(*out, r->paper->options, mica_spec_options_mut(*out), "seeds", text);
  }
  /* Units of fewer seeds are units of more. */
  if (status == MICA_OK && !seeds)
    status = mica_options_set(*out, r->paper->options, mica_spec_options_mut(*out), "seeds",
                              option_of(r->paper, "seeds")->def);
  return status;
}

static mica_status settle(mica_claim_run *r) {
  const mica_option *seeds = option_of(r->paper, "seeds");
  if (!seeds || seeds->type != MICA_OPTION_INT)
    return mica_fail(MICA_ERR_INVALID, "%s: the paper has no option seeds", r->paper->name);
  mica_spec *without = NULL;
  mica_status status = parse_settings(r, true, &r->spec);
  if (status == MICA_OK) status = parse_settings(r, false, &without);
  char *text = status == MICA_OK ? mica_spec_text(without) : NULL;
  if (status == MICA_OK && !text) status = MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    mica_bytes b = {0};
    mica_bytes_printf(&b, "%s; mica %s %s%s", text, MICA_VERSION, mica_engine_isa(r->engine),
                      mica_engine_uses_libraries(r->engine) ? "" : " own kernels");
    r->identity = mica_bytes_take(&b);
    if (!r->identity) status = MICA_ERR_MEMORY;
    const uint8_t *full = mica_spec_options(without), *own = mica_spec_options(r->spec);
    int64_t wanted, given;
    memcpy(&wanted, full + seeds->offset, sizeof wanted);
    memcpy(&given, own + seeds->offset, sizeof given);
    r->plain = !r->o->smoke && strcmp(text, r->paper->name) == 0 && given >= wanted;
  }
  mica_free(text);
  mica_spec_free(without);
  return status;
}

/* ---- tables ---- */

static mica_status table_of(mica_claim_run *r, const mica_claim_experiment *x,
                            mica_claim_table *t) {
  const uint8_t *options = mica_spec_options(r->spec);
  *t = (mica_claim_table){.x = x, .points = 1};
  memcpy(&t->seeds, options + option_of(r->paper, "seeds")->offset, sizeof t->seeds);
  while (x->arms[t->arms].name) t->arms++;
  while (x->measures[t->measures].name) t->measures++;
  while (x->checks && x->checks[t->checks].what) t->checks++;
  if (x->sweep) {
    const mica_option *o = option_of(r->paper, x->sweep);
    if (!o || (o->type != MICA_OPTION_INTS && o->type != MICA_OPTION_FLOATS))
      return mica_fail(MICA_ERR_INVALID, "%s: sweep over '%s', which is no list", x->name,
                       x->sweep);
    const mica_ints *ints = (const void *)(options + o->offset);
    const mica_floats *floats = (const void *)(options + o->offset);
    t->points = o->type == MICA_OPTION_INTS ? ints->n : floats->n;
    for (int p = 0; p < t->points; p++)
      t->point[p] = o->type == MICA_OPTION_INTS ? (double)ints->v[p] : floats->v[p];
  }
  if (t->arms < 1 || t->arms > MICA_CLAIM_ARMS || t->measures < 1 ||
      t->measures > MICA_CLAIM_MEASURES || t->checks > MICA_CLAIM_CHECKS || t->points < 1 ||
      t->seeds < 1 || t->seeds > MICA_CLAIM_SEEDS)
    return mica_fail(MICA_ERR_INVALID, "%s: %d arms, %d measures, %d checks, %d points, %lld seeds",
                     x->name, t->arms, t->measures, t->checks, t->points, (long long)t->seeds);
  const size_t cells = (size_t)((int64_t)t->arms * t->points * t->seeds);
  t->value = mica_calloc(cells * (size_t)t->measures, sizeof *t->value);
  t->cost = mica_calloc(cells, sizeof *t->cost);
  if (!t->value || !t->cost) return MICA_ERR_MEMORY;
  for (size_t i = 0; i < cells * (size_t)t->measures; i++) t->value[i] = NAN;
  r->cells += (int64_t)cells;
  return MICA_OK;
}

static mica_status list_units(mica_claim_run *r) {
  int64_t n = 0;
  for (int pass = 0; pass < 2; pass++) {
    if (pass) {
      r->unit = mica_calloc((size_t)n, sizeof *r->unit);
      if (!r->unit) return MICA_ERR_MEMORY;
    }
    n = 0;
    for (int e = 0; e < r->experiments; e++) {
      const mica_claim_table *t = &r->table[e];
      const int points = t->x->unit == MICA_UNIT_SEED ? 1 : t->points;
      const int arms = t->x->unit == MICA_UNIT_ARM ? t->arms : 1;
      for (int64_t s = 0; s < t->seeds; s++)
        for (int p = 0; p < points; p++)
          for (int a = 0; a < arms; a++, n++)
            if (pass)
              r->unit[n] = (mica_claim_unit_of){e,
                                                t->x->unit == MICA_UNIT_ARM ? a : -1,
                                                t->x->unit == MICA_UNIT_SEED ? -1 : p,
                                                s,
                                                false,
                                                {{0}, NULL, 0}};
    }
  }
  r->units = n;
  return MICA_OK;
}

static mica_status lay_out(mica_claim_run *r) {
  const mica_claim_experiment *x = r->fn->experiments;
  while (x && x[r->experiments].name) r->experiments++;
  if (r->experiments < 1 || r->experiments > MICA_CLAIM_EXPERIMENTS)
    return mica_fail(MICA_ERR_INVALID, "%s: %d experiments", r->paper->name, r->experiments);
  r->table = mica_calloc((size_t)r->experiments, sizeof *r->table);
  mica_status status = r->table ? MICA_OK : MICA_ERR_MEMORY;
  for (int e = 0; e < r->experiments && status == MICA_OK; e++)
    status = table_of(r, &x[e], &r->table[e]);
  return status == MICA_OK ? list_units(r) : status;
}

/* ---- running ---- */

static void end(mica_claim_run *r) {
  for (int64_t i = 0; r->unit && i < r->units; i++) {
    mica_claim_unit_notes *notes = &r->unit[i].notes;
    mica_bytes_free(&notes->remarks);
    for (int k = 0; k < notes->figures; k++) {
      mica_free(notes->figure[k].name);
      mica_free(notes->figure[k].caption);
      mica_free(notes->figure[k].svg);
    }
    mica_free(notes->figure);
  }
  for (int e = 0; r->table && e < r->experiments; e++) {
    mica_free(r->table[e].value);
    mica_free(r->table[e].cost);
  }
  mica_claim_pretrained_free(r->pretrained);
  mica_claim_images_free(r->images);
  mica_free(r->unit);
  mica_free(r->table);
  mica_free(r->identity);
  mica_free(r->cache);
  mica_spec_free(r->spec);
}

static mica_status run_all(mica_claim_run *r, mica_paper_result **out) {
  mica_status status = settle(r);
  if (status == MICA_OK) status = lay_out(r);
  if (status != MICA_OK) return status;
  if (r->o->cache)
    r->cache = mica_strdup(r->o->cache);
  else if (r->o->dir)
    r->cache = mica_path_join(r->o->dir, "pretrained");
  if ((r->o->cache || r->o->dir) && !r->cache) return MICA_ERR_MEMORY;
  if (r->o->dir) status = mica_make_folders(r->o->dir);
  if (status == MICA_OK && r->o->fresh) status = mica_claim_forget(r);
  if (status == MICA_OK) status = mica_claim_run_units(r);
  return status == MICA_OK ? mica_claim_result(r, out) : status;
}

mica_status mica_paper_run(mica_engine *engine, const char *slug, const mica_paper_options *given,
                           mica_paper_result **out) {
  mica_paper_options o = MICA_PAPER_OPTIONS;
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  const mica_component *paper = mica_component_find(engine, MICA_KIND_PAPER, slug);
  if (!paper) return mica_last_status();
  if (o.seeds < 0 || o.seeds > MICA_CLAIM_SEEDS || o.n_settings < 0 ||
      (o.n_settings && !o.settings))
    return mica_fail(MICA_ERR_INVALID, "%lld seeds, expected 1 to %d", (long long)o.seeds,
                     (int)MICA_CLAIM_SEEDS);
  mica_claim_run r = {.engine = engine, .paper = paper, .fn = paper->functions, .o = &o};
  if (pthread_mutex_init(&r.lock, NULL) != 0) return MICA_ERR_MEMORY;
  const mica_status status = run_all(&r, out);
  end(&r);
  pthread_mutex_destroy(&r.lock);
  return status;
}
