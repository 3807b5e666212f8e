/* What a paper's code calls inside a cell: reporting, and work whose amount is counted. */
#include "paper/claim.h"

#include "base/progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static mica_claim_place *place_of(mica_claim_cell *cell) {
  return (mica_claim_place *)cell;
}

int mica_claim_measure_index(const mica_claim_table *t, const char *name) {
  for (int m = 0; m < t->measures; m++)
    if (strcmp(t->x->measures[m].name, name) == 0) return m;
  return -1;
}

int mica_claim_arm_index(const mica_claim_table *t, const char *name) {
  for (int a = 0; a < t->arms; a++)
    if (strcmp(t->x->arms[a].name, name) == 0) return a;
  return -1;
}

/* ---- reporting ---- */

mica_status mica_claim_report(mica_claim_cell *cell, const char *measure, double value) {
  mica_claim_place *p = place_of(cell);
  mica_claim_table *t = p->table;
  const int m = mica_claim_measure_index(t, measure);
  if (!cell->arm || m < 0)
    return mica_fail(MICA_ERR_INVALID, "%s: '%s' reported %s", t->x->name, measure,
                     cell->arm ? "but not among the measures" : "while no arm runs");
  t->value[mica_claim_at(t, p->arm, p->point, cell->seed) * t->measures + m] = value;
  return MICA_OK;
}

mica_status mica_claim_remark(mica_claim_cell *cell, const char *fmt, ...) {
  char line[2048];
  va_list args;
  va_start(args, fmt);
  vsnprintf(line, sizeof line, fmt, args);
  va_end(args);
  mica_bytes *b = &place_of(cell)->unit->notes.remarks;
  mica_bytes_text(b, line);
  mica_bytes_byte(b, '\n');
  return b->status;
}

mica_status mica_claim_figure(mica_claim_cell *cell, const char *name, const char *caption,
                              mica_figure *figure) {
  mica_claim_unit_notes *notes = &place_of(cell)->unit->notes;
  mica_claim_extra *list =
      mica_realloc_array(notes->figure, (size_t)notes->figures + 1, sizeof *list);
  mica_status status = list ? MICA_OK : MICA_ERR_MEMORY;
  if (list) {
    notes->figure = list;
    const mica_claim_extra e = {mica_strdup(name), mica_strdup(caption ? caption : ""),
                                mica_strdup(mica_figure_svg(figure, NULL))};
    list[notes->figures++] = e; /* freed with the unit, whole or not */
    if (!e.name || !e.caption || !e.svg) status = MICA_ERR_MEMORY;
  }
  mica_figure_free(figure);
  return status;
}

/* ---- counted work ---- */

/* The arm's account; NULL in what its unit shares, which costs nobody. */
static mica_claim_cost *account(mica_claim_cell *cell) {
  mica_claim_place *p = place_of(cell);
  return cell->arm ? &p->table->cost[mica_claim_at(p->table, p->arm, p->point, cell->seed)] : NULL;
}

void mica_claim_spend(mica_claim_cell *cell, int64_t amount) {
  mica_claim_cost *cost = account(cell);
  if (cost) cost->other += amount;
}

mica_status mica_claim_fit(mica_claim_cell *cell, mica_estimator *estimator,
                           const mica_fit_data *data, mica_fit_report *report) {
  mica_claim_cost *cost = account(cell);
  if (cost) cost->rows += data->x.shape.dim[0];
  return mica_estimator_fit(estimator, data, report);
}

/* Counts what comes out of a stream since the last seek: the trainer looks at a first batch and
 * goes back, then reads its one epoch. */
typedef struct meter {
  mica_stream inner;
  int64_t steps, examples;
} meter;

static mica_status meter_seek(void *ctx, int64_t epoch, int64_t batch) {
  meter *m = ctx;
  m->steps = m->examples = 0;
  return m->inner.seek(m->inner.ctx, epoch, batch);
}

static mica_status meter_next(void *ctx, mica_batch *out) {
  meter *m = ctx;
  const mica_status status = m->inner.next(m->inner.ctx, out);
  if (status == MICA_OK) {
    m->steps++;
    m->examples += out->n;
  }
  return status;
}

typedef struct watch {
  mica_claim_run *run;
  mica_train_fn report; /* the paper's own */
  void *ctx;
} watch;

static int on_report(void *ctx, const mica_train_metrics *m) {
  const watch *w = ctx;
  const int own = w->report ? w->report(w->ctx, m) : 0;
  mica_claim_tell(w->run, 0);
  return own || atomic_load(&w->run->stop);
}

mica_status mica_claim_train(mica_claim_cell *cell, mica_net *net, const mica_stream *train,
                             int64_t steps, const mica_train_options *options,
                             mica_train_result *result) {
  mica_train_options o = MICA_TRAIN_OPTIONS;
  if (options) memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
  if (steps < 1) return mica_fail(MICA_ERR_INVALID, "training for %lld steps", (long long)steps);
  const watch w = {cell->run, o.report, o.report_ctx};
  o.epochs = 1;
  o.dir = NULL;
  o.resume = false;
  o.stages = NULL;
  o.n_stages = 0;
  o.report = on_report;
  o.report_ctx = (void *)&w;
  /* An epoch of exactly so many batches; the stream begins again where it ends before. */
  mica_mixed_stream_options mix = MICA_MIXED_STREAM_OPTIONS;
  mica_stream fixed;
  mix.batches = steps * (o.accumulate > 1 ? o.accumulate : 1);
  mica_status status = mica_mixed_stream_create(train, 1, &mix, &fixed);
  if (status != MICA_OK) return status;
  meter m = {fixed, 0, 0};
  const mica_stream counted = {&m, fixed.batches, meter_seek, meter_next};
  status = mica_train(net, &counted, NULL, &o, result);
  mica_mixed_stream_free(&fixed);
  mica_claim_cost *cost = account(cell);
  if (cost) {
    cost->steps += m.steps;
    cost->examples += m.examples;
  }
  return status;
}
