/* mica/paper.h: published claims, run side by side with what they claim to beat.
 *
 * A paper is a component of kind MICA_KIND_PAPER. It describes experiments: arms that are compared,
 * the points of a sweep, what is measured, and checks whose thresholds were fixed beforehand. The
 * driver runs every arm at every point over several seeds, counts what each arm spends, compares
 * paired by seed and gives a verdict. A paper's own code does one thing: run one arm once.
 *
 *     unit     what is run in one go on one thread: a seed with all its arms and points (or one of
 *              its points, or one arm alone); finished units are kept, and recalled by a later run
 *     cell     one arm at one point with one seed
 *     check    "the method's measure is better than the baseline's by at least THRESHOLD", held
 *              when the whole interval of the paired difference is
 *
 * The claims that `mica paper` runs are the tool's; another program registers its own
 * (mica_engine_register).
 */
#ifndef MICA_PAPER_H
#define MICA_PAPER_H

#include <mica/report.h>
#include <mica/train.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- what a paper describes ---- */

typedef enum mica_arm_role {
  MICA_ARM_METHOD,   /* the paper's */
  MICA_ARM_BASELINE, /* what it is compared with */
  MICA_ARM_TRIVIAL,  /* what needs no learning: the majority, the pixels, a coin */
  MICA_ARM_CONTROL,  /* what must not work if the paper's reason is right */
  MICA_ARM_CONTEXT   /* shown beside them */
} mica_arm_role;

/* Tables of arms, measures, checks and experiments end with an entry whose name (what) is NULL. */
typedef struct mica_claim_arm {
  const char *name; /* a-z, 0-9, '-', '_', '.' */
  const char *what; /* one line */
  mica_arm_role role;
  const char *spec; /* for the paper's own use: a specification */
  const void *own;  /* for the paper's own use: further settings */
} mica_claim_arm;

typedef struct mica_claim_measure {
  const char *name;     /* "accuracy" */
  const char *what;     /* with its unit, for axes and heads: "test accuracy" */
  bool lower_is_better; /* an error, a count */
} mica_claim_measure;

typedef enum mica_check_kind {
  MICA_CHECK_DIFFERENCE, /* better than the baseline by at least the threshold (may be negative) */
  MICA_CHECK_RATIO,      /* better by at least this factor; values above 0 */
  MICA_CHECK_VALUE,      /* the measure itself at least the threshold (at most, where lower is
                            better); no baseline */
  MICA_CHECK_CONTROL     /* better than the baseline by at most the threshold: must not improve */
} mica_check_kind;

/* An arm over some points of the sweep: from <= point <= to; both 0: all. A name that ends with '*'
 * stands for the best, by its mean, of the arms that begin so; the interval's level is then raised
 * to 1 - 0.05 / k for k of them (Bonferroni). */
typedef struct mica_claim_side {
  const char *arm;
  double from, to;
} mica_claim_side;

typedef struct mica_claim_check {
  const char *what; /* a sentence: what holds if this holds */
  mica_check_kind kind;
  const char *measure;
  mica_claim_side method, baseline;
  double threshold;
  bool each;           /* at each point, the weakest counts; else over the mean of the points */
  const char *unequal; /* why the two sides may spend different budgets; NULL: they may not */
  bool shown_only;     /* reported, without a part in the verdict */
} mica_claim_check;

typedef enum mica_claim_unit {
  MICA_UNIT_SEED,  /* a seed with all its points and arms */
  MICA_UNIT_POINT, /* a seed and a point with all arms */
  MICA_UNIT_ARM    /* each cell alone */
} mica_claim_unit;

typedef struct mica_claim_cell mica_claim_cell;

typedef struct mica_claim_experiment {
  const char *name, *title;
  const mica_claim_arm *arms;         /* at most 64 */
  const mica_claim_measure *measures; /* at most 16; figures show the first */
  const mica_claim_check *checks;     /* at most 32; may be NULL */
  const char *sweep;      /* the option (ints or floats) of the paper that holds the points;
                             NULL: one point */
  const char *sweep_what; /* the axis' label */
  bool sweep_log;         /* the axis is logarithmic */
  mica_claim_unit unit;
  bool wide; /* units use all threads, one after the other; else one thread each, side by side */
  const char *note; /* a paragraph for the report, NULL: none */
  /* What the cells of a unit share, made before them in the same thread; NULL: nothing. The cell
   * given has no arm where the unit has several (and no point, NaN, likewise). */
  mica_status (*prepare)(mica_claim_cell *cell, void **shared);
  void (*release)(void *shared);
  /* Run one arm at one point with one seed, and report every measure that the arm has. */
  mica_status (*run)(mica_claim_cell *cell);
} mica_claim_experiment;

typedef enum mica_verdict {
  MICA_VERDICT_NONE, /* not run at full budget yet */
  MICA_VERDICT_NOT_SHOWN,
  MICA_VERDICT_MECHANISM, /* direction and size hold at this setting */
  MICA_VERDICT_REPRODUCED /* the paper's own data and number */
} mica_verdict;
/* "not run", "not shown", "mechanism shown", "reproduced". */
MICA_API const char *mica_verdict_text(mica_verdict verdict);

/* The table of a component of kind MICA_KIND_PAPER, whose name is the paper's slug. Its options are
 * the settings of the experiments; their defaults are the full setting. An option `seeds` (int) is
 * required. The first check of the first experiment is the claim's headline. */
typedef struct mica_paper_functions {
  uint32_t size;
  const char *title, *arxiv; /* arxiv: "2107.07075", or NULL */
  const char *claim;         /* one sentence */
  const char
      *components;   /* what it added to the library, separated by blanks: "estimator:gaussian" */
  const char *smoke; /* options of the small setting: "images=2000:seeds=1" */
  bool own_data;     /* runs on the paper's data at its size: may be reproduced */
  mica_verdict recorded; /* what docs/results/SLUG.md says */
  const mica_claim_experiment *experiments;
} mica_paper_functions;

/* ---- inside a cell ---- */

/* What prepare and run are given. */
struct mica_claim_cell {
  mica_engine *engine; /* of this thread alone; everything that a unit makes is made from it */
  const void *options; /* the paper's options struct */
  const mica_claim_experiment *experiment;
  const mica_claim_arm *arm; /* NULL in prepare where the unit has several */
  double point;              /* 0 without a sweep */
  int64_t seed;              /* 0, 1, ... */
  mica_key key; /* of paper, experiment and seed; the same for all arms and points: what
                   should differ is folded in */
  bool smoke;
  void *shared;               /* what prepare made */
  struct mica_claim_run *run; /* the driver's */
};

/* The value of a measure in this cell. */
MICA_API mica_status mica_claim_report(mica_claim_cell *cell, const char *measure, double value);
/* A line for the report, such as class counts; from one seed (0) usually. */
MICA_API mica_status mica_claim_remark(mica_claim_cell *cell, const char *fmt, ...)
    MICA_PRINTF(2, 3);
/* A further figure, saved as NAME.svg beside the report and shown in it. Takes the figure over,
 * also when it fails. */
MICA_API mica_status mica_claim_figure(mica_claim_cell *cell, const char *name, const char *caption,
                                       mica_figure *figure);

/* Train for exactly `steps` steps, going through the stream's epochs as often as that takes, and
 * count them and their examples as spent by the arm. options->epochs, stages and files are not
 * read; a schedule runs over the steps. `result` may be NULL. */
MICA_API mica_status mica_claim_train(mica_claim_cell *cell, mica_net *net,
                                      const mica_stream *train, int64_t steps,
                                      const mica_train_options *options, mica_train_result *result);
/* Fit an estimator and count the rows as spent by the arm. `report` may be NULL. */
MICA_API mica_status mica_claim_fit(mica_claim_cell *cell, mica_estimator *estimator,
                                    const mica_fit_data *data, mica_fit_report *report);
/* Count other work as spent by the arm, in the unit that its arms have in common. */
MICA_API void mica_claim_spend(mica_claim_cell *cell, int64_t amount);

/* ---- data ---- */

/* Pictures of one part of a data set, in memory, shared by all cells: borrowed until the run ends.
 */
typedef struct mica_claim_images {
  int64_t n, height, width, channels, classes;
  const uint8_t *pixels; /* [n, height, width, channels] */
  const int64_t *labels; /* [n] */
} mica_claim_images;

/* The data set `name`: a path, or a name that is looked for in $MICA_DATA, /usr/share/datasets and
 * the folder that `mica data get` fills. MICA_ERR_NOT_FOUND with where it may be had. */
MICA_API mica_status mica_claim_data(mica_claim_cell *cell, const char *name, mica_part part,
                                     const mica_claim_images **out);
/* Where the data set `name` is, by the same rules, to release with mica_free; NULL with
 * MICA_ERR_NOT_FOUND where it is not. */
MICA_API char *mica_claim_find_data(const char *name);
/* Draw n of the pictures without repetition, by a key; of these classes only ("0,1,5"; NULL: all).
 * Their numbers into item [n]. MICA_ERR_INVALID when there are fewer. The first of n draws are the
 * draws of a smaller n. */
MICA_API mica_status mica_claim_draw(const mica_claim_images *images, mica_key key, int64_t n,
                                     const char *classes, int64_t *item);
/* Those pictures as float32 [n, height, width, channels] in 0..1, and their labels, int64 [n]
 * (either may be NULL). */
MICA_API mica_status mica_claim_take(const mica_claim_images *images, int64_t n,
                                     const int64_t *item, mica_tensor **x, mica_tensor **labels);

/* ---- what many claims do ---- */

/* mica_claim_data, _draw and _take in one: n pictures (0: all) of a part of a data set, drawn by a
 * key from these classes. Either of x and labels may be NULL; the caller frees them. */
MICA_API mica_status mica_claim_pictures(mica_claim_cell *cell, const char *name, mica_part part,
                                         mica_key key, int64_t n, const char *classes,
                                         mica_tensor **x, mica_tensor **labels);
/* mica_claim_train on x [N, ...] and labels (int64 [N], or float32 targets) in memory, in batches
 * whose order options->seed draws anew in each epoch; the last, smaller batch is kept unless
 * drop_last. */
MICA_API mica_status mica_claim_train_on(mica_claim_cell *cell, mica_net *net, mica_tensor *x,
                                         mica_tensor *labels, int64_t batch, bool drop_last,
                                         int64_t steps, const mica_train_options *options);
/* The share of x [N, ...] that the network classifies as the labels [N] say. */
MICA_API mica_status mica_claim_accuracy(const mica_net *net, mica_tensor *x, mica_tensor *labels,
                                         double *accuracy);
/* Fit the estimator `spec` through mica_claim_fit on x [n, D] and their labels in 0..classes-1, and
 * count in *right how many of tests [m, D] it names as truth [m] does. */
MICA_API mica_status mica_claim_fit_and_count(mica_claim_cell *cell, const char *spec,
                                              const mica_view *x, const int64_t *label,
                                              int64_t classes, const mica_view *tests,
                                              const int64_t *truth, int64_t *right);
/* How many of the tests the most frequent of n labels (the first of equals) is right about. */
MICA_API int64_t mica_claim_majority(int64_t n, const int64_t *label, int64_t classes,
                                     int64_t tests, const int64_t *truth);

/* ---- shared pre-training ---- */

/* How an encoder is trained before the arms begin. Its labels are the numbers of `classes` in their
 * order. Equal recipes give the same network to every arm, unit and paper: it is trained once and
 * kept in the cache folder. It costs no arm anything. */
typedef struct mica_pretraining {
  uint32_t size;
  const char *model;   /* "convnet:widths=16,32,64,64" */
  const char *data;    /* as for mica_claim_data */
  const char *classes; /* "0,1,2"; NULL: all */
  int64_t images;      /* drawn from the training part; 0: all */
  int64_t epochs, batch;
  const char *loss, *optimiser, *schedule;
  uint64_t seed;
} mica_pretraining;
#define MICA_PRETRAINING                                                                           \
  { sizeof(mica_pretraining), NULL, NULL, NULL, 0, 2, 64, "ce", "adam:lr=0.002", "constant", 0 }
/* The pre-trained network, made for the cell's engine; the caller frees it. */
MICA_API mica_status mica_claim_encoder(mica_claim_cell *cell, const mica_pretraining *recipe,
                                        mica_net **out);
/* Features [n, D] (float32) of pictures x as mica_claim_take gives them; the caller frees them. */
MICA_API mica_status mica_claim_features(const mica_net *net, const mica_tensor *x,
                                         mica_tensor **out);

/* ---- running a paper ---- */

typedef struct mica_paper_options {
  uint32_t size;
  const char *dir;   /* for the finished units, result.json, report.md and the figures; made when
                        missing; NULL: no files, nothing is recalled */
  const char *cache; /* for pre-trained encoders; NULL: DIR/pretrained, or none without dir */
  bool smoke;        /* the small setting */
  bool fresh;        /* run everything again, whatever the folder has */
  int64_t seeds;     /* 0: as the setting says */
  const char *const *settings; /* "key=value", over the setting's; n_settings of them */
  int64_t n_settings;
  mica_progress_fn progress;
  void *progress_ctx;
} mica_paper_options;
#define MICA_PAPER_OPTIONS                                                                         \
  { sizeof(mica_paper_options), NULL, NULL, false, false, 0, NULL, 0, NULL, NULL }

typedef struct mica_paper_result mica_paper_result;

/* Run the paper's claim. A run into a folder that has units of the same settings goes on with the
 * rest of them; other settings there are MICA_ERR_STATE. A claim that does not hold is no error. An
 * arm that has spent another budget than the one it is compared with is one (MICA_ERR_STATE). */
MICA_API mica_status mica_paper_run(mica_engine *engine, const char *slug,
                                    const mica_paper_options *options, mica_paper_result **out);
MICA_API void mica_paper_result_free(mica_paper_result *result);
MICA_API mica_verdict mica_paper_result_verdict(const mica_paper_result *result);
/* Texts that the result owns: one JSON object on one line, tables for a terminal, and Markdown
 * whose figures are files beside it. */
MICA_API const char *mica_paper_result_json(const mica_paper_result *result);
MICA_API const char *mica_paper_result_text(const mica_paper_result *result);
MICA_API const char *mica_paper_result_markdown(const mica_paper_result *result);
/* Write FOLDER/SLUG.md and its figures as FOLDER/SLUG-NAME.svg. A smoke result, or one with other
 * settings than the full ones, is MICA_ERR_INVALID: it proves nothing. */
MICA_API mica_status mica_paper_result_record(const mica_paper_result *result, const char *folder);

#ifdef __cplusplus
}
#endif
#endif
