/* mica select: which training examples to keep, and which labels to doubt. */
#include "cli/select.h"

#include "base/file.h"
#include "numeric/sort.h"

#include <stdlib.h>
#include <string.h>

/* ---- what is known to be wrong ---- */

/* Labels flipped here, or those that a file names. */
static mica_status find_wrong(select_job *job) {
  const train_data *d = &job->data;
  const char *path = cli_text(job->a, "--wrong");
  double share;
  if (!cli_double(job->a, "--label-noise", 0, 1, &share)) return MICA_ERR_INVALID;
  if (!path && !(share > 0)) return MICA_OK;
  job->wrong = mica_calloc((size_t)job->n + 1, sizeof *job->wrong);
  if (!job->wrong) return MICA_ERR_MEMORY;
  const int64_t *truth =
      d->pictures ? mica_tensor_data(mica_dataset_true_labels(d->pictures)) : NULL;
  for (int64_t i = 0; i < job->n && truth; i++)
    job->wrong[i] = truth[job->item[i]] != job->label[i];
  if (!path) return MICA_OK;
  mica_item_list *l = NULL;
  mica_status status = mica_item_list_read(path, &l);
  if (status != MICA_OK) return status;
  const int64_t m = mica_item_list_count(l);
  int64_t *item = mica_calloc((size_t)m + 1, sizeof *item);
  bool *listed = mica_calloc((size_t)job->all + 1, sizeof *listed);
  if (!item || !listed) status = MICA_ERR_MEMORY;
  if (status == MICA_OK)
    status = d->pictures ? mica_item_list_find(l, d->pictures, MICA_PART_TRAIN, item)
                         : mica_item_list_find_rows(l, d->table, MICA_PART_TRAIN, item);
  if (status != MICA_OK && item && listed) status = mica_fail_within("%s", path);
  for (int64_t k = 0; k < m && status == MICA_OK; k++) listed[item[k]] = true;
  for (int64_t i = 0; i < job->n && status == MICA_OK; i++) job->wrong[i] |= listed[job->item[i]];
  mica_free(item);
  mica_free(listed);
  mica_item_list_free(l);
  return status;
}

/* ---- the choice ---- */

static bool read_choice(select_job *job) {
  static const char *const orders[] = {"hardest", "easiest", "absolute", "random"};
  const cli_args *a = job->a;
  const char *order = cli_text(a, "--order");
  mica_select_options *o = &job->choice;
  int64_t seed;
  *o = (mica_select_options)MICA_SELECT_OPTIONS;
  if (!cli_double(a, "--keep", 1e-9, 1, &o->keep) ||
      !cli_double(a, "--offset", 0, 0.999999, &o->skip) ||
      !cli_int(a, "--seed", 0, INT64_MAX - 1000, &seed) ||
      !cli_int(a, "--batch-size", 1, 1 << 20, &job->batch))
    return false;
  o->seed = (uint64_t)seed;
  o->balanced = cli_on(a, "--balanced");
  for (int k = 0; k < 4; k++)
    if (strcmp(order, orders[k]) == 0) {
      o->order = (mica_select_order)k;
      return true;
    }
  cli_usage(a, "--order %s: expected hardest, easiest, absolute or random", order);
  return false;
}

static mica_status choose(select_job *job) {
  job->keep = mica_calloc((size_t)job->n + 1, sizeof *job->keep);
  job->is_kept = mica_calloc((size_t)job->n + 1, sizeof *job->is_kept);
  if (!job->keep || !job->is_kept) return MICA_ERR_MEMORY;
  mica_status status = mica_sort_descending(job->n, job->score, job->order);
  if (status == MICA_OK)
    status =
        mica_select_examples(job->n, job->score, job->label, &job->choice, job->keep, &job->kept);
  for (int64_t k = 0; k < job->kept && status == MICA_OK; k++) job->is_kept[job->keep[k]] = true;
  if (status == MICA_OK && !job->kept)
    status = mica_fail(MICA_ERR_INVALID, "nothing is kept of %lld examples", (long long)job->n);
  return status;
}

/* ---- the verb ---- */

static void release(select_job *job) {
  mica_free(job->item);
  mica_free(job->label);
  mica_free(job->wrong);
  mica_free(job->each);
  mica_free(job->score);
  mica_free(job->order);
  mica_free(job->keep);
  mica_free(job->is_kept);
  train_data_free(&job->data);
  mica_engine_free(job->engine);
  free(job->own);
}

static int select_examples(select_job *job) {
  const cli_args *a = job->a;
  const char *out = cli_text(a, "--out"), *scores = cli_text(a, "--scores"),
             *page = cli_text(a, "--report");
  if (!read_choice(job)) return EXIT_USAGE;
  if (!(job->own = malloc(sizeof *job->own))) return EXIT_FAILED;
  *job->own = *a;
  cli_catch_interrupt();
  mica_status status = cli_engine(a, &job->engine);
  if (status == MICA_OK) status = select_score(job);
  if (status == MICA_OK) status = find_wrong(job);
  if (status == MICA_OK) status = choose(job);
  if (status == MICA_OK && scores) status = select_write_scores(job, scores);
  if (status == MICA_OK && page) status = select_report(job, page);
  if (status == MICA_OK) status = select_write_subset(job, out);
  if (status == MICA_OK) status = select_print(job, out, scores, page);
  return status == MICA_OK ? EXIT_OK : cli_failed(a);
}

static int run(const cli_args *a) {
  if (a->n_operands && strcmp(a->operand[0], "clean") == 0) return select_clean(a);
  select_job job = {.a = a};
  const int code = select_examples(&job);
  release(&job);
  return code;
}

static const cli_flag flags[] = {
    {"--data", NULL, "PATH", NULL, "pictures, or with --label a table, as `mica train` reads them"},
    {"--out", "-o", "FILE", "subset.csv", "the list of what is kept, for `mica train --subset`"},
    {"--score", NULL, "SCORE", "el2n",
     "`mica list score` tells them; and forgetting, which is counted during training"},
    {"--keep", NULL, "X", "0.5", "share of the training part to keep"},
    {"--order", NULL, "ORDER", "hardest",
     "which to keep: hardest, easiest, absolute (largest without sign), random"},
    {"--offset", NULL, "X", "0",
     "share left out before: of the hardest, which may have wrong labels, or of the easiest"},
    {"--balanced", NULL, NULL, NULL, "the same share of each class"},
    {"--scores", NULL, "FILE", NULL,
     "all scores, ranks and labels: .csv, which is a list too, .npz or .safetensors"},
    {"--report", NULL, "DIR", NULL,
     "DIR/report.html: spread, classes, pictures of the hardest and easiest; figures beside it"},
    {"--wrong", NULL, "FILE", NULL,
     "a list of items whose labels are wrong: how well they are found"},
    CLI_LABEL_NOISE_FLAGS,
    {"--neighbours", NULL, "N", "100", "clean: of each example, by the features' cosine"},
    {"--least", NULL, "N", "3", "clean: so many of them must have its label"},
    {"--subset", NULL, "FILE", NULL, "score these of the training part alone"},
    {"--seeds", NULL, "N", "10", "networks to train; their scores are averaged"},
    {"--seed", NULL, "N", "1000",
     "of the first; take another than for the training that follows, which would leak"},
    {"--epochs", NULL, "N", "3", "passes over the training part before the scores are taken"},
    {"--steps", NULL, "N", NULL, "steps instead; 0: networks as they begin"},
    {"--batch-size", NULL, "N", "128", "examples of a step"},
    {"--lr", NULL, "X", NULL, "learning rate; the optimiser's own default when not given"},
    {"--optimiser", NULL, "SPEC", "adamw:weight_decay=0.05", "see `mica list optimiser`"},
    {"--schedule", NULL, "SPEC", "constant", "see `mica list schedule`"},
    {"--loss", NULL, "SPEC", NULL, "see `mica list loss` (ce)"},
    {"--size", NULL, "N", "0", "side of the pictures; 0: 32, or what IDX files have"},
    {"--channels", NULL, "N", "0", "1 or 3; 0: 3, or what IDX files have"},
    {"--classes", NULL, "A,B", NULL, "only these classes"},
    {"--val-split", NULL, "X", "0.1",
     "share held out where there is no validation part; the same as for training"},
    {"--crop", NULL, "N", "2", "random shifts of up to N pixels in training"},
    {"--flip", NULL, NULL, NULL, "mirror every other picture in training"},
    {"--strict", NULL, NULL, NULL, "stop at a picture or row that cannot be read"},
    CLI_TABLE_FLAGS,
    CLI_COMMON_FLAGS};

const cli_verb verb_select = {
    "select",
    "[ARCHITECTURE | MODEL... | RUN... | clean MODEL | clean FEATURES]",
    "score training examples, keep a part of them, find labels to doubt",
    flags,
    0,
    -1,
    run,
    "examples: mica select convnet --data photos/ --keep 0.5 -o half.csv --report report\n"
    "          mica train resnet --data photos/ --subset half.csv --steps full -o half.mica\n"
    "          mica select net.mica.run --keep 0.7 --offset 0.05\n"
    "          mica select mlp --data photos/ --label-noise 0.1 --epochs 2 --scores scores.csv\n"
    "          mica select mlp --data people.csv --label income --score grand_last\n"
    "          mica select clean find.mica --data photos/ --least 3 -o clean.csv\n\n"
    "An architecture (convnet) is trained N times for a few epochs; models and folders of runs are "
    "taken\nas they are. Scores are larger for harder examples and are means over the networks. "
    "The "
    "list names\nits items, so it can be used after others were added."};
