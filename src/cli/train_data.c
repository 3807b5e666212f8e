/* What a network is trained on: pictures, with texts or without, rows of a table, or a text. */
#include "cli/train.h"
#include "model/net.h"

#include <stdlib.h>
#include <string.h>

/* Is the architecture one of texts, and of texts alone? */
static mica_status reads_tokens(const mica_engine *engine, const char *architecture, bool *tokens,
                                bool *alone) {
  mica_spec *spec;
  const mica_status status = mica_net_parse(engine, architecture, &spec, NULL);
  if (status != MICA_OK) return status;
  const uint32_t needs = mica_spec_component(spec)->needs;
  *tokens = needs & MICA_NEED_TOKENS;
  *alone = *tokens && !(needs & MICA_NEED_IMAGES);
  mica_spec_free(spec);
  return MICA_OK;
}

mica_status train_data_open(const cli_args *a, mica_engine *engine, int64_t batch, int64_t seed,
                            train_data *d) {
  bool tokens, alone;
  mica_status status = reads_tokens(engine, a->operand[0], &tokens, &alone);
  if (status != MICA_OK) return status;
  if (alone && text_pairs_here(cli_text(a, "--data"))) return train_retriever_open(a, d);
  if (cli_text(a, "--codes"))
    return mica_fail(MICA_ERR_UNSUPPORTED, "--codes is for questions and texts");
  if (alone && strncmp(a->operand[0], "bert", 4) == 0)
    return mica_fail(MICA_ERR_UNSUPPORTED,
                     "%s: an encoder of texts learns from FILE.csv with the columns question and "
                     "text",
                     cli_text(a, "--data"));
  if (alone) return train_text_open(a, batch, seed, d);
  if (tokens) return train_pairs_open(a, batch, seed, d);
  if (cli_text(a, "--label") || cli_text(a, "--format") ||
      mica_table_log_format(cli_text(a, "--data")))
    return train_table_open(a, engine, batch, seed, d);
  status = train_pictures_open(a, batch, seed, d);
  if (status == MICA_OK || d->pictures || !mica_is_table(cli_text(a, "--data"))) return status;
  return mica_fail(status, "%s; of a table, --label COLUMN names what to predict",
                   mica_last_error());
}

void train_data_free(train_data *d) {
  mica_mixed_stream_free(&d->steps);
  for (int k = 0; k < MICA_PART_COUNT; k++) {
    if (d->table)
      mica_table_stream_free(&d->part[k]);
    else if (d->text)
      mica_text_stream_free(&d->part[k]);
    else
      mica_dataset_stream_free(&d->part[k]);
  }
  mica_sampler_free(d->sampler);
  mica_dataset_free(d->pictures);
  mica_data_table_free(d->table);
  mica_token_text_free(d->text);
  if (d->questions) text_pairs_free(d->questions);
  mica_free(d->questions);
  mica_tokenizer_free(d->tokenizer);
  mica_free(d->tokenizer_text);
  mica_free(d->columns);
  free(d->classes);
  *d = (train_data){0};
}

bool train_data_clicks(const train_data *d) {
  return d->problem.fields && d->problem.classes == 2;
}

bool train_data_regression(const train_data *d) {
  return d->table && mica_columns_regression(mica_data_table_columns(d->table));
}

void train_data_describe(const cli_args *a, const train_data *d) {
  long long n[MICA_PART_COUNT];
  if (d->questions) {
    const text_pairs *q = d->questions;
    fprintf(stderr,
            "%s: %lld training, %lld validation, %lld test questions on %lld texts of %lld "
            "tokens\n",
            cli_text(a, "--data"), (long long)q->part[0].n, (long long)q->part[1].n,
            (long long)q->part[2].n, (long long)q->documents, (long long)d->problem.vocabulary);
    return;
  }
  for (int k = 0; k < MICA_PART_COUNT; k++)
    n[k] = d->text    ? mica_token_text_count(d->text, (mica_part)k)
           : d->table ? mica_data_table_part_count(d->table, (mica_part)k)
                      : mica_dataset_part_count(d->pictures, (mica_part)k);
  fprintf(stderr, "%s: %lld training, %lld validation, %lld test ", cli_text(a, "--data"), n[0],
          n[1], n[2]);
  const mica_problem *p = &d->problem;
  if (d->text) {
    fprintf(stderr, "tokens (%s, %lld of them) in windows of %lld\n",
            mica_tokenizer_kind_name(mica_tokenizer_kind_of(d->tokenizer)),
            (long long)p->vocabulary, (long long)p->length);
    return;
  }
  if (!d->table) {
    fprintf(stderr, "pictures of %lldx%lldx%lld ", (long long)p->height, (long long)p->width,
            (long long)p->channels);
    if (d->pairs)
      fprintf(stderr, "with %lld texts of %lld tokens\n",
              (long long)mica_dataset_classes(d->pictures), (long long)p->vocabulary);
    else
      fprintf(stderr, "in %lld classes\n", (long long)p->classes);
    return;
  }
  const mica_columns *c = mica_data_table_columns(d->table);
  long long numeric = 0, ids = 0;
  for (int64_t i = 0; i < mica_columns_count(c); i++)
    numeric += mica_columns_kind(c, i) == MICA_COLUMN_NUMERIC;
  for (int64_t f = 0; f < p->fields; f++) ids += (long long)p->field_size[f];
  fprintf(stderr, "rows of %lld numeric and %lld categorical columns, %lld numbers", numeric,
          (long long)mica_columns_count(c) - numeric, (long long)p->channels);
  if (p->fields) fprintf(stderr, ", %lld fields of %lld ids in all", (long long)p->fields, ids);
  fprintf(stderr, "; ");
  if (train_data_regression(d))
    fprintf(stderr, "'%s' is a number\n", mica_columns_label(c));
  else
    fprintf(stderr, "'%s' has %lld classes\n", mica_columns_label(c), (long long)p->classes);
}
