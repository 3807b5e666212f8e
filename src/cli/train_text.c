/* `mica train` on a text. */
#include "cli/train.h"

#include <stdlib.h>
#include <string.h>

mica_status cli_tokenizer(const char *name, mica_tokenizer **out) {
  return strcmp(name, "bytes") == 0 ? mica_tokenizer_bytes(out) : mica_tokenizer_open(name, out);
}

static mica_status make_streams(int64_t length, int64_t batch, int64_t seed, train_data *d) {
  mica_status status = MICA_OK;
  for (int k = 0; k < MICA_PART_COUNT && status == MICA_OK; k++) {
    const mica_part part = (mica_part)k;
    if (part == MICA_PART_TRAIN || mica_token_text_count(d->text, part) > 1)
      status = mica_text_stream_create(d->text, part, length, batch, part == MICA_PART_TRAIN,
                                       (uint64_t)seed, &d->part[k]);
  }
  return status;
}

mica_status train_text_open(const cli_args *a, int64_t batch, int64_t seed, train_data *d) {
  mica_token_text_options o = MICA_TOKEN_TEXT_OPTIONS;
  int64_t length;
  const char *vocabulary_file = cli_text(a, "--tokenizer");
  length = 256;
  if (!cli_double(a, "--val-split", 0, 0.9, &o.validation) ||
      (cli_text(a, "--length") && !cli_int(a, "--length", 1, 1 << 20, &length)))
    return MICA_ERR_INVALID;
  mica_status status = cli_tokenizer(vocabulary_file ? vocabulary_file : "bytes", &d->tokenizer);
  if (status == MICA_OK)
    status = mica_token_text_open(cli_text(a, "--data"), d->tokenizer, &o, &d->text);
  if (status == MICA_OK) status = mica_tokenizer_text(d->tokenizer, &d->tokenizer_text);
  if (status != MICA_OK) return status;
  const int64_t vocabulary = mica_tokenizer_size(d->tokenizer);
  d->problem = (mica_problem)MICA_PROBLEM_TOKENS(vocabulary, length, 0);
  d->preprocess = (mica_preprocess)MICA_PREPROCESS(0, 0, 0);
  d->loss = "ce";
  d->classes = calloc(1, sizeof *d->classes);
  if (!d->classes) return mica_fail(MICA_ERR_MEMORY, "out of memory");
  return make_streams(length, batch, seed, d);
}

double train_text_bits(const train_data *d, mica_part part, double loss) {
  const double tokens = (double)mica_token_text_count(d->text, part),
               bytes = (double)mica_token_text_bytes(d->text, part);
  return loss / 0.69314718055994531 * tokens / bytes;
}
