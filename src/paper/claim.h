/* The claim driver's inside: a run, the table of what its cells measured, and the judgement.
 *
 * claim_run.c runs the units, claim_cell.c is what a paper's code calls, claim_steps.c
 * what many of them do, claim_data.c and pretraining.c hold what cells share, claim_record.c keeps
 * finished units, claim_check.c judges, claim_result.c and claim_figure.c tell.
 */
#ifndef MICA_PAPER_CLAIM_H
#define MICA_PAPER_CLAIM_H

#include <mica/numeric.h>
#include <mica/paper.h>

#include "base/buffer.h"
#include "base/json.h"

#include <pthread.h>
#include <stdatomic.h>

#define MICA_CLAIM_LEVEL 0.95 /* of all intervals */

enum {
  MICA_CLAIM_ARMS = 64,
  MICA_CLAIM_MEASURES = 16,
  MICA_CLAIM_CHECKS = 32,
  MICA_CLAIM_EXPERIMENTS = 16,
  MICA_CLAIM_SEEDS = 1000
};

/* What an arm has spent; two sides of a check must agree in all of it. */
typedef struct mica_claim_cost {
  int64_t steps, examples, rows, other;
} mica_claim_cost;

/* What the cells of one experiment gave. */
typedef struct mica_claim_table {
  const mica_claim_experiment *x;
  int arms, measures, checks, points;
  int64_t seeds;
  double point[MICA_LIST_MAX];
  double *value;         /* [arms, points, seeds, measures], NaN where nothing was reported */
  mica_claim_cost *cost; /* [arms, points, seeds] */
} mica_claim_table;

static inline int64_t mica_claim_at(const mica_claim_table *t, int arm, int point, int64_t seed) {
  return ((int64_t)arm * t->points + point) * t->seeds + seed;
}

/* A further figure of a unit, as SVG. */
typedef struct mica_claim_extra {
  char *name, *caption, *svg;
} mica_claim_extra;

/* What one unit has to say besides numbers. */
typedef struct mica_claim_unit_notes {
  mica_bytes remarks; /* lines */
  mica_claim_extra *figure;
  int figures;
} mica_claim_unit_notes;

typedef struct mica_claim_unit_of {
  int experiment, arm, point; /* arm, point -1: all of them */
  int64_t seed;
  bool done;
  mica_claim_unit_notes notes;
} mica_claim_unit_of;

typedef struct mica_claim_images_of {
  char *name;
  mica_part part;
  mica_claim_images images;
  mica_tensor *pixels, *labels; /* what owns them */
  struct mica_claim_images_of *next;
} mica_claim_images_of;

/* One recipe's network, trained once; `lock` is held by who trains it. */
typedef struct mica_claim_pretrained {
  char *identity;
  pthread_mutex_t lock;
  mica_net *net; /* of the run's engine, read only once it is there */
  struct mica_claim_pretrained *next;
} mica_claim_pretrained;

typedef struct mica_claim_run {
  mica_engine *engine;
  const mica_component *paper;
  const mica_paper_functions *fn;
  const mica_paper_options *o;
  mica_spec *spec; /* the settings */
  char *identity;  /* of what the units' numbers depend on */
  bool plain;      /* nothing but the full setting's own options */
  char *cache;     /* folder of pre-trained networks, NULL: none */
  mica_claim_table *table;
  int experiments;
  mica_claim_unit_of *unit;
  int64_t units, cells;
  double seconds; /* spent by this call; recalled units' time is added */
  /* shared by the workers */
  _Atomic int64_t next;
  atomic_bool stop;
  pthread_mutex_t lock; /* of what follows */
  int64_t done;         /* cells */
  mica_status status;
  char message[512];
  mica_claim_images_of *images;
  mica_claim_pretrained *pretrained;
} mica_claim_run;

/* Where a cell's calls put what they are told. */
typedef struct mica_claim_place {
  mica_claim_cell cell; /* first: a cell is found in its place */
  mica_claim_table *table;
  mica_claim_unit_of *unit;
  int arm, point;
} mica_claim_place;

/* ---- running ---- */

/* Run, or recall, every unit. */
mica_status mica_claim_run_units(mica_claim_run *r);
/* One more cell is done; tells the caller, who may stop all of it. */
void mica_claim_tell(mica_claim_run *r, int64_t more);

/* ---- finished units in a folder ---- */

mica_status mica_claim_recall(mica_claim_run *r, mica_claim_unit_of *u);
mica_status mica_claim_keep(const mica_claim_run *r, const mica_claim_unit_of *u, double seconds);
/* Remove all that are there. */
mica_status mica_claim_forget(const mica_claim_run *r);

/* ---- judging ---- */

typedef struct mica_claim_summary {
  int64_t n;
  double mean, deviation; /* over the seeds with a finite value */
  mica_interval interval; /* of the mean, Student's; NaN for n < 2 */
} mica_claim_summary;
mica_claim_summary mica_claim_summarise(const double *values, int64_t n, double level);

typedef struct mica_claim_judgement {
  const mica_claim_check *check;
  const char *method, *baseline; /* arms; baseline NULL: none */
  double method_mean, baseline_mean;
  double margin; /* in the check's unit, better is positive (ratio: a factor) */
  mica_interval interval;
  double point; /* of `each`: the weakest; else NaN */
  int64_t seeds;
  bool at_most; /* the threshold is to be above the interval, not below */
  bool judged;  /* its points are part of this setting, and there are values */
  bool holds;
  char why[160]; /* it was not judged */
} mica_claim_judgement;

/* MICA_ERR_STATE where two sides that must have spent the same have not. */
mica_status mica_claim_judge(const mica_claim_table *t, const mica_claim_check *check,
                             mica_claim_judgement *out);

/* ---- telling ---- */

/* The measure over arms, and points where there are several. */
mica_status mica_claim_chart(const mica_claim_table *t, int measure, mica_figure **out);

/* Build the result from the run's table. */
mica_status mica_claim_result(mica_claim_run *r, mica_paper_result **out);

/* ---- what cells share ---- */

void mica_claim_images_free(mica_claim_images_of *list);
void mica_claim_pretrained_free(mica_claim_pretrained *list);

/* Names of a run's parts in files and messages. */
int mica_claim_arm_index(const mica_claim_table *t, const char *name);
int mica_claim_measure_index(const mica_claim_table *t, const char *name);

#endif
