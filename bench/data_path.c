/* From files to batches, on one thread. The files are those of bench/peer/make_files.py, in the
 * folder that MICA_BENCH_FILES names.
 *
 *     pictures png          64 pictures of 256x256: decoded, resized to 224, moved, flipped,
 *                           normalised
 *     pictures jpeg         the same from JPEG
 *     pictures jpeg-large   16 of 1024x768
 *     pictures idx          512 of 28x28, moved, flipped, normalised
 *     table csv             10^6 rows of 7 numbers and 3 categories, and a label
 */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>

static const char *file(const char *name) {
  static char path[512];
  const char *folder = getenv("MICA_BENCH_FILES");
  if (!folder) {
    fprintf(stderr, "bench: MICA_BENCH_FILES names no folder\n");
    exit(2);
  }
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return path;
}

/* ---- pictures ---- */

typedef struct pictures {
  mica_dataset *set;
  mica_stream stream;
  int64_t epoch, at;
} pictures;

static void pictures_make(bench *b) {
  pictures *p = b->made = calloc(1, sizeof *p);
  const bool idx = in_phase(b, "idx"), large = in_phase(b, "jpeg-large");
  mica_dataset_options o = MICA_DATASET_OPTIONS;
  mica_dataset_stream_options s = MICA_DATASET_STREAM_OPTIONS;
  const int64_t side = idx ? 28 : 224, channels = idx ? 1 : 3;
  mica_preprocess normal = MICA_PREPROCESS(side, side, channels);
  for (int c = 0; c < 3; c++) {
    normal.mean[c] = 0.45;
    normal.deviation[c] = 0.22;
  }
  o.height = o.width = side;
  o.channels = channels;
  o.validation = 0;
  o.memory = 0; /* each epoch decodes */
  s.batch = idx ? 512 : large ? 16 : 64;
  s.shuffle = s.flip = true;
  s.crop = idx ? 2 : 16;
  s.ahead = 0;
  if (!idx && !large && !in_phase(b, "png") && !in_phase(b, "jpeg")) no_phase(b);
  need(mica_dataset_open(file(b->phase), &o, &p->set));
  need(mica_dataset_stream_create(p->set, MICA_PART_TRAIN, &normal, &s, &p->stream));
  need(p->stream.seek(p->stream.ctx, 0, 0));
}

static void pictures_step(bench *b) {
  pictures *p = b->made;
  mica_batch batch;
  if (p->at++ == p->stream.batches) {
    need(p->stream.seek(p->stream.ctx, ++p->epoch, 0));
    p->at = 1;
  }
  need(p->stream.next(p->stream.ctx, &batch));
}

static void pictures_free(bench *b) {
  pictures *p = b->made;
  mica_dataset_stream_free(&p->stream);
  mica_dataset_free(p->set);
  free(p);
}

/* ---- a table ---- */

static void table_make(bench *b) {
  if (!in_phase(b, "csv")) no_phase(b);
}

static void table_step(bench *b) {
  mica_data_table_options o = MICA_DATA_TABLE_OPTIONS;
  mica_data_table *table;
  o.label = "label";
  o.validation = 0;
  (void)b;
  need(mica_data_table_open(file("table.csv"), &o, &table));
  mica_data_table_free(table);
}

const workload data_workloads[] = {
    {"pictures", "from picture files to batches", pictures_make, pictures_step, pictures_free,
     NULL},
    {"table", "a file of numbers and categories", table_make, table_step, NULL, NULL},
    {0}};
