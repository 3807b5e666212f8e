/* `mica train` and `mica eval` on pictures with texts: what the texts are, and how both find each
 * other. */
#include "cli/catalogue.h"
#include "cli/features.h"
#include "cli/train.h"

#include "base/file.h"

#include <stdlib.h>

#define WORDS_MAX 30000

char *cli_pairs_path(const char *path) {
  static const char *const names[] = {"captions.csv", "captions.tsv", "captions.txt",
                                      "metadata.csv"};
  for (size_t i = 0; mica_is_folder(path) && i < sizeof names / sizeof *names; i++) {
    char *list = mica_path_join(path, names[i]);
    if (!list || mica_file_exists(list)) return list;
    mica_free(list);
  }
  return mica_strdup(path);
}

mica_status train_pairs_open(const cli_args *a, int64_t batch, int64_t seed, train_data *d) {
  if (batch < 2) return mica_fail(MICA_ERR_INVALID, "--batch-size 1: a picture is told from none");
  d->pairs = true;
  return train_pictures_open(a, batch, seed, d);
}

/* The words of the training part's texts; those of one text alone teach nothing. */
static mica_status words(const mica_dataset *ds, mica_tokenizer **out) {
  const int64_t *label = mica_tensor_data(mica_dataset_labels(ds));
  const char **text = mica_calloc((size_t)mica_dataset_count(ds) + 1, sizeof *text);
  int64_t n = 0;
  if (!text) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < mica_dataset_count(ds); i++)
    if (mica_dataset_part_of(ds, i) == MICA_PART_TRAIN)
      text[n++] = mica_dataset_class(ds, label[i]);
  mica_status status = mica_tokenizer_words(n, text, 2, WORDS_MAX, out);
  if (status == MICA_ERR_INVALID)
    status = mica_fail(MICA_ERR_INVALID,
                       "of the texts of %lld training pictures no two have a word in common: there "
                       "is nothing to learn",
                       (long long)n);
  mica_free(text);
  return status;
}

mica_status train_pairs_texts(const cli_args *a, train_data *d) {
  const char *from = cli_text(a, "--tokenizer");
  int64_t length = CLI_CAPTION_LENGTH;
  if (cli_text(a, "--length") && !cli_int(a, "--length", 2, 1 << 16, &length))
    return MICA_ERR_INVALID;
  mica_status status =
      from ? cli_tokenizer(from, &d->tokenizer) : words(d->pictures, &d->tokenizer);
  if (status == MICA_OK) status = mica_tokenizer_text(d->tokenizer, &d->tokenizer_text);
  if (status != MICA_OK) return status;
  d->problem.vocabulary = mica_tokenizer_size(d->tokenizer);
  d->problem.length = length;
  d->loss = "clip";
  return MICA_OK;
}

/* ---- what came out ---- */

static void print_way(const char *name, const mica_estimate e[2]) {
  printf("%s: R@1 %.2f%% (%.2f to %.2f), R@5 %.2f%%\n", name, 100 * e[0].value,
         100 * e[0].interval.lo, 100 * e[0].interval.hi, 100 * e[1].value);
}

void cli_print_pairs(const mica_pairs_evaluation *e, const char *part, bool json) {
  if (json) {
    printf(", \"pictures\": %lld, \"texts\": %lld, \"to_text_r1\": %.9g, \"to_text_r5\": %.9g, "
           "\"to_picture_r1\": %.9g, \"to_picture_r5\": %.9g",
           (long long)e->pictures, (long long)e->texts, e->to_text[0].value, e->to_text[1].value,
           e->to_picture[0].value, e->to_picture[1].value);
    return;
  }
  printf("%s part: %lld pictures, %lld texts\n", part, (long long)e->pictures, (long long)e->texts);
  print_way("from picture to text", e->to_text);
  print_way("from text to picture", e->to_picture);
}

/* ---- mica eval ---- */

/* The test part, else everything. */
static mica_status measure(const mica_model *model, const mica_dataset *ds,
                           const mica_tokenizer *tokenizer, const char **part,
                           mica_pairs_evaluation *out) {
  mica_dataset_stream_options o = MICA_DATASET_STREAM_OPTIONS;
  mica_stream stream = {0};
  const bool test = mica_dataset_part_count(ds, MICA_PART_TEST) > 0;
  *part = test ? "test" : "whole";
  o.batch = 64;
  o.tokenizer = tokenizer;
  o.length = mica_net_problem(mica_model_net(model))->length;
  mica_status status = mica_dataset_stream_create(ds, test ? MICA_PART_TEST : MICA_PART_TRAIN,
                                                  mica_model_preprocess(model), &o, &stream);
  if (status == MICA_OK) status = mica_evaluate_pairs(mica_model_net(model), &stream, out);
  mica_dataset_stream_free(&stream);
  return status;
}

int cli_pairs_eval(const cli_args *a, mica_model *model) {
  mica_dataset *ds = NULL;
  mica_tokenizer *tokenizer = NULL;
  mica_pairs_evaluation e;
  const char *part = NULL;
  char *path = cli_pairs_path(cli_text(a, "--data"));
  mica_status status = path ? whole_pictures(model) : MICA_ERR_MEMORY;
  if (status == MICA_OK) status = open_pictures(a, model, path, NULL, 0, &ds);
  if (status == MICA_OK) status = mica_tokenizer_parse(mica_model_tokenizer(model), &tokenizer);
  if (status == MICA_OK) status = measure(model, ds, tokenizer, &part, &e);
  if (status == MICA_OK && cli_on(a, "--json")) {
    printf("{\"part\": \"%s\"", part);
    cli_print_pairs(&e, NULL, true);
    printf("}\n");
  } else if (status == MICA_OK) {
    cli_print_pairs(&e, part, false);
  }
  mica_tokenizer_free(tokenizer);
  mica_dataset_free(ds);
  mica_free(path);
  return status == MICA_OK ? EXIT_OK : cli_failed(a);
}
