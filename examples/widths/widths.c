/* How wide must it be? Small networks of several widths, each from several seeds, trained at once.
 *
 *     widths PICTURES [SEEDS [FOLDER]]
 *
 * PICTURES is a folder with a folder of pictures for each class. Every core trains a network of its
 * own; FOLDER keeps the finished ones and results.csv, and the same line goes on where it was
 * stopped. The table tells the mean validation accuracy of each width, and its deviation over the
 * seeds.
 */
#include <mica/mica.h>

#include <stdio.h>
#include <stdlib.h>

enum { WIDTHS = 4, SEEDS = 50, SIDE = 16 };
static const char *const models[WIDTHS] = {"convnet:widths=2,4", "convnet:widths=4,8",
                                           "convnet:widths=8,16", "convnet:widths=16,32"};

typedef struct study {
  mica_dataset *data;
  mica_preprocess preprocess;
  int64_t seeds;
} study;

static mica_status make(void *ctx, mica_engine *engine, int64_t job, mica_train_job *out) {
  const study *s = ctx;
  const int64_t width = job / s->seeds, seed = job % s->seeds;
  const mica_preprocess *p = &s->preprocess;
  const mica_problem problem =
      MICA_PROBLEM_IMAGES(p->height, p->width, p->channels, mica_dataset_classes(s->data));
  mica_dataset_stream_options o = MICA_DATASET_STREAM_OPTIONS;
  o.batch = 32;
  o.ahead = 0; /* no core is idle, so a thread that reads ahead would only be in the way */
  mica_status status = mica_net_create(engine, models[width], &problem, (uint64_t)seed, &out->net);
  if (status == MICA_OK)
    status = mica_dataset_stream_create(s->data, MICA_PART_VALIDATION, p, &o, &out->validation);
  o.shuffle = o.flip = true;
  o.seed = (uint64_t)seed;
  if (status == MICA_OK)
    status = mica_dataset_stream_create(s->data, MICA_PART_TRAIN, p, &o, &out->train);
  out->options.epochs = 5;
  out->options.seed = (uint64_t)seed;
  snprintf(out->label, sizeof out->label, "%s seed %d", models[width], (int)seed);
  return status;
}

static void release(void *ctx, int64_t job, mica_train_job *made) {
  (void)ctx, (void)job;
  mica_dataset_stream_free(&made->train);
  mica_dataset_stream_free(&made->validation);
}

static int progress(void *ctx, const char *what, int64_t done, int64_t total) {
  (void)ctx;
  fprintf(stderr, "\r%s: %d of %d", what, (int)done, (int)total);
  return 0;
}

int main(int argc, char **argv) {
  static mica_train_outcome outcome[WIDTHS * SEEDS];
  mica_train_summary summary[WIDTHS];
  study s = {.seeds = argc > 2 ? strtol(argv[2], NULL, 10) : 4};
  if (argc < 2 || s.seeds < 1 || s.seeds > SEEDS) {
    fprintf(stderr, "usage: widths PICTURES [SEEDS [FOLDER]], 1 to %d seeds\n", SEEDS);
    return 2;
  }
  mica_engine *engine = NULL;
  mica_dataset_options d = MICA_DATASET_OPTIONS;
  d.height = d.width = SIDE;
  d.channels = 1;
  mica_status status = mica_engine_create(NULL, &engine);
  if (status == MICA_OK) status = mica_dataset_open(argv[1], &d, &s.data);
  s.preprocess = (mica_preprocess)MICA_PREPROCESS(SIDE, SIDE, 1);
  if (status == MICA_OK)
    status = mica_dataset_statistics(s.data, s.preprocess.mean, s.preprocess.deviation);
  mica_train_many_options o = MICA_TRAIN_MANY_OPTIONS;
  o.make = make;
  o.release = release;
  o.ctx = &s;
  o.dir = argc > 3 ? argv[3] : NULL;
  o.progress = progress;
  if (status == MICA_OK) status = mica_train_many(engine, WIDTHS * s.seeds, &o, outcome);
  fprintf(stderr, "\n");
  for (int64_t i = 0; i < WIDTHS * s.seeds && status == MICA_OK; i++)
    if (outcome[i].status != MICA_OK)
      fprintf(stderr, "%s: %s\n", outcome[i].label, outcome[i].message);
  if (status == MICA_OK) {
    mica_train_summarise(outcome, WIDTHS, s.seeds, summary);
    for (int w = 0; w < WIDTHS; w++)
      printf("%-22s %.2f %% +- %.2f (%d runs)\n", models[w], 100 * summary[w].mean,
             100 * summary[w].deviation, (int)summary[w].n);
  } else {
    fprintf(stderr, "widths: %s\n", mica_last_error());
  }
  mica_dataset_free(s.data);
  mica_engine_free(engine);
  return status != MICA_OK;
}
