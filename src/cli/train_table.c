/* `mica train` on the rows of a table. */
#include "cli/train.h"
#include "model/net.h"

#include <stdlib.h>

/* Is the loss one of numeric targets, so that the label is to be a number? */
static mica_status target_of(const mica_engine *engine, const char *loss, mica_target_kind *out) {
  *out = MICA_TARGET_BY_CONTENT;
  if (!loss) return MICA_OK;
  mica_spec_sum sum;
  const mica_status status = mica_spec_sum_parse(engine, MICA_KIND_LOSS, loss, &sum);
  if (status != MICA_OK) return status;
  for (int i = 0; i < sum.n; i++) {
    const uint32_t needs = mica_spec_component(sum.term[i])->needs;
    if (needs & MICA_NEED_TARGETS) *out = MICA_TARGET_NUMBER;
    if (needs & MICA_NEED_LABELS) *out = MICA_TARGET_CLASSES;
  }
  mica_spec_sum_free(&sum);
  return MICA_OK;
}

/* Does the architecture read categories as ids? */
static mica_status fields_of(const mica_engine *engine, const char *architecture, bool *out) {
  mica_spec *spec;
  const mica_status status = mica_net_parse(engine, architecture, &spec, NULL);
  if (status != MICA_OK) return status;
  *out = mica_spec_component(spec)->needs & MICA_NEED_FIELDS;
  mica_spec_free(spec);
  return MICA_OK;
}

static mica_status make_streams(int64_t batch, int64_t seed, train_data *d) {
  mica_status status = MICA_OK;
  for (int k = 0; k < MICA_PART_COUNT && status == MICA_OK; k++) {
    const mica_part part = (mica_part)k;
    if (part == MICA_PART_TRAIN || mica_data_table_part_count(d->table, part))
      status = mica_table_stream_create(d->table, part, batch, part == MICA_PART_TRAIN,
                                        (uint64_t)seed, &d->part[k]);
  }
  return status;
}

mica_status train_table_open(const cli_args *a, mica_engine *engine, int64_t batch, int64_t seed,
                             train_data *d) {
  mica_data_table_options o;
  if (!cli_table_options(a, &o)) return MICA_ERR_INVALID;
  mica_status status = target_of(engine, cli_text(a, "--loss"), &o.target);
  o.in_file = cli_on(a, "--stream") ? 1 : -1;
  if (status == MICA_OK) status = fields_of(engine, a->operand[0], &o.fields);
  if (status == MICA_OK) status = mica_data_table_open(cli_text(a, "--data"), &o, &d->table);
  if (status != MICA_OK) return status;
  cli_table_skipped(mica_data_table_skipped(d->table), mica_data_table_skipped_text(d->table));
  status = train_change_data(a, d);
  if (status != MICA_OK) return status;
  const mica_columns *c = mica_data_table_columns(d->table);
  if (!mica_columns_label(c))
    return mica_fail(MICA_ERR_INVALID, "%s: --label COLUMN names what to predict",
                     cli_text(a, "--data"));
  const bool regression = mica_columns_regression(c);
  const int64_t classes = mica_data_table_classes(d->table), outputs = regression ? 1 : classes;
  if (!regression && classes < 2)
    return mica_fail(MICA_ERR_INVALID, "%s: the label '%s' has only one value, '%s'",
                     cli_text(a, "--data"), mica_columns_label(c),
                     mica_data_table_class(d->table, 0));
  d->problem = (mica_problem)MICA_PROBLEM_FIELDS(mica_columns_width(c), mica_columns_fields(c),
                                                 mica_columns_field_size(c), outputs);
  d->preprocess = (mica_preprocess)MICA_PREPROCESS(0, 0, mica_columns_width(c));
  d->loss = regression ? "mse" : "ce";
  d->classes = calloc((size_t)outputs + 1, sizeof *d->classes);
  if (!d->classes) return mica_fail(MICA_ERR_MEMORY, "out of memory");
  d->classes[0] = mica_columns_label(c);
  for (int64_t i = 0; i < classes; i++) d->classes[i] = mica_data_table_class(d->table, i);
  status = mica_columns_text(c, &d->columns);
  return status == MICA_OK ? make_streams(batch, seed, d) : status;
}
