/* `mica train` on pictures, with texts or without. */
#include "cli/catalogue.h"
#include "cli/train.h"

#include <stdlib.h>

static mica_status make_streams(const cli_args *a, int64_t batch, int64_t seed, train_data *d) {
  mica_dataset_stream_options o = MICA_DATASET_STREAM_OPTIONS;
  o.batch = batch;
  o.seed = (uint64_t)seed;
  if (d->pairs) {
    o.tokenizer = d->tokenizer;
    o.length = d->problem.length;
  }
  mica_status status = MICA_OK;
  for (int k = 0; k < MICA_PART_COUNT && status == MICA_OK; k++) {
    const mica_part part = (mica_part)k;
    mica_dataset_stream_options own = o;
    if (part == MICA_PART_TRAIN) {
      own.shuffle = true;
      own.drop_last = d->pairs; /* few pairs are few wrong answers, which weigh as much */
      own.flip = cli_on(a, "--flip");
      if (!cli_int(a, "--crop", 0, 64, &own.crop)) return MICA_ERR_INVALID;
    }
    if (part == MICA_PART_TRAIN || mica_dataset_part_count(d->pictures, part))
      status = mica_dataset_stream_create(d->pictures, part, &d->preprocess, &own, &d->part[k]);
  }
  return status;
}

mica_status train_pictures_open(const cli_args *a, int64_t batch, int64_t seed, train_data *d) {
  mica_dataset_options o = MICA_DATASET_OPTIONS;
  int64_t size;
  if (!cli_int(a, "--size", 0, 4096, &size) || !cli_int(a, "--channels", 0, 3, &o.channels) ||
      !cli_double(a, "--val-split", 0, 0.9, &o.validation))
    return MICA_ERR_INVALID;
  o.height = o.width = size;
  o.classes = cli_text(a, "--classes");
  o.strict = cli_on(a, "--strict");
  o.captions = d->pairs;
  char *path =
      d->pairs ? cli_pairs_path(cli_text(a, "--data")) : mica_strdup(cli_text(a, "--data"));
  mica_status status = path ? catalogue_open_dataset(path, &o, &d->pictures) : MICA_ERR_MEMORY;
  mica_free(path);
  if (status != MICA_OK) return status;
  status = train_change_data(a, d);
  if (status != MICA_OK) return status;
  const mica_dataset *ds = d->pictures;
  const mica_shape s = mica_dataset_shape(ds);
  d->preprocess = (mica_preprocess)MICA_PREPROCESS(s.dim[0], s.dim[1], s.dim[2]);
  status = mica_dataset_statistics(ds, d->preprocess.mean, d->preprocess.deviation);
  if (status != MICA_OK) return status;
  if (mica_dataset_skipped(ds))
    fprintf(stderr, "skipped %lld files that could not be read:\n%s",
            (long long)mica_dataset_skipped(ds), mica_dataset_skipped_text(ds));
  const int64_t n = d->pairs ? 0 : mica_dataset_classes(ds);
  d->problem = (mica_problem)MICA_PROBLEM_IMAGES(s.dim[0], s.dim[1], s.dim[2], n);
  d->loss = "ce";
  if (d->pairs) status = train_pairs_texts(a, d);
  if (status != MICA_OK) return status;
  d->classes = calloc((size_t)n + 1, sizeof *d->classes);
  if (!d->classes) return mica_fail(MICA_ERR_MEMORY, "out of memory");
  for (int64_t i = 0; i < n; i++) d->classes[i] = mica_dataset_class(ds, i);
  return make_streams(a, batch, seed, d);
}
