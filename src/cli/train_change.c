/* What `mica train` changes about its data: fewer examples, wrong labels, another number of steps.
 *
 * Labels are flipped in the whole training part before a subset is taken, so an item has the same
 * label in every run of one --noise-seed.
 */
#include "cli/train.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

/* ---- wrong labels ---- */

static bool noise_kind(const cli_args *a, mica_label_noise *out) {
  static const char *const kinds[] = {"uniform", "next", "permute"};
  const char *given = cli_text(a, "--noise-kind");
  for (int k = 0; k < 3; k++)
    if (strcmp(given, kinds[k]) == 0) {
      *out = (mica_label_noise)k;
      return true;
    }
  cli_usage(a, "--noise-kind %s: expected uniform, next or permute", given);
  return false;
}

static mica_status flip_labels(const cli_args *a, train_data *d) {
  double share;
  int64_t seed;
  mica_label_noise kind;
  if (!cli_double(a, "--label-noise", 0, 1, &share) ||
      !cli_int(a, "--noise-seed", 0, INT64_MAX, &seed) || !noise_kind(a, &kind))
    return MICA_ERR_INVALID;
  if (!(share > 0)) return MICA_OK;
  if (!d->pictures)
    return mica_fail(MICA_ERR_UNSUPPORTED, "--label-noise is for pictures, not for a table");
  return mica_dataset_flip_labels(d->pictures, MICA_PART_TRAIN, kind, share, (uint64_t)seed);
}

/* ---- a subset ---- */

static void note_other_data(const cli_args *a, const train_data *d, const mica_item_list *l,
                            const char *path) {
  char hex[65];
  const char *made_of = mica_item_list_fact(l, "data_hash");
  if (made_of && train_data_hash(d, cli_text(a, "--data"), hex) == MICA_OK &&
      strcmp(hex, made_of) != 0)
    fprintf(stderr,
            "%s: was made of other data, or with another validation part; its items are "
            "found by their names\n",
            path);
}

static mica_status take_subset(const cli_args *a, train_data *d, const char *path) {
  mica_item_list *l = NULL;
  mica_status status = mica_item_list_read(path, &l);
  if (status != MICA_OK) return status;
  const int64_t n = mica_item_list_count(l);
  int64_t *item = mica_calloc((size_t)n + 1, sizeof *item);
  if (!item) status = MICA_ERR_MEMORY;
  if (status == MICA_OK)
    status = d->table ? mica_item_list_find_rows(l, d->table, MICA_PART_TRAIN, item)
                      : mica_item_list_find(l, d->pictures, MICA_PART_TRAIN, item);
  if (status != MICA_OK && item) status = mica_fail_within("%s", path);
  if (status == MICA_OK) note_other_data(a, d, l, path);
  if (status == MICA_OK)
    status = d->table ? mica_data_table_subset(d->table, MICA_PART_TRAIN, n, item)
                      : mica_dataset_subset(d->pictures, MICA_PART_TRAIN, n, item);
  if (status == MICA_OK)
    fprintf(stderr, "%s: %lld of %lld training examples\n", path, (long long)n,
            (long long)d->whole);
  mica_free(item);
  mica_item_list_free(l);
  return status;
}

mica_status train_change_data(const cli_args *a, train_data *d) {
  const char *path = cli_text(a, "--subset");
  d->whole = d->table ? mica_data_table_part_count(d->table, MICA_PART_TRAIN)
                      : mica_dataset_part_count(d->pictures, MICA_PART_TRAIN);
  const mica_status status = flip_labels(a, d);
  return status == MICA_OK && path ? take_subset(a, d, path) : status;
}

/* ---- a given number of steps ---- */

mica_status train_change_steps(const cli_args *a, int64_t batch, train_data *d, int64_t *epochs) {
  const char *given = cli_text(a, "--steps"), *stage[1];
  if (d->text && cli_text(a, "--subset"))
    return mica_fail(MICA_ERR_UNSUPPORTED, "--subset is for pictures and tables, not for a text");
  if (!given) return MICA_OK;
  mica_mixed_stream_options o = MICA_MIXED_STREAM_OPTIONS;
  mica_stream *train = &d->part[MICA_PART_TRAIN];
  if (strcmp(given, "full") == 0) {
    o.batches = d->text ? train->batches : (d->whole + batch - 1) / batch;
  } else {
    int64_t steps;
    if (!cli_int(a, "--steps", 1, (int64_t)1 << 40, &steps)) return MICA_ERR_INVALID;
    if (cli_all(a, "--stage", stage, 1))
      return mica_fail(MICA_ERR_INVALID, "--steps N is for a run without stages; --steps full sets "
                                         "the length of their epochs");
    if (*epochs > steps) *epochs = steps;
    while (steps % *epochs) --*epochs;
    o.batches = steps / *epochs;
  }
  return mica_mixed_stream_create(train, 1, &o, &d->steps);
}

/* ---- the record ---- */

mica_status train_change_record(const cli_args *a, mica_run_record *r) {
  static const char *const flags[][2] = {{"--subset", "subset"},
                                         {"--steps", "steps"},
                                         {"--label-noise", "label_noise"},
                                         {"--noise-kind", "noise_kind"},
                                         {"--noise-seed", "noise_seed"}};
  const char *path = cli_text(a, "--subset");
  const bool noise = atof(cli_text(a, "--label-noise")) > 0;
  char hex[65];
  mica_status status = MICA_OK;
  for (size_t i = 0; i < sizeof flags / sizeof *flags && status == MICA_OK; i++) {
    const char *value = cli_text(a, flags[i][0]);
    if (value && (i < 2 || noise)) status = mica_run_record_text(r, flags[i][1], value);
  }
  if (status == MICA_OK && path) status = mica_file_sha256(path, hex);
  if (status == MICA_OK && path) status = mica_run_record_text(r, "subset_sha256", hex);
  return status;
}
