/* predict, embed and eval on the rows of tables. */
#include "cli/table.h"

#include <mica/feature.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ROWS 256 /* at once: memory does not grow with the file */

/* ---- rows of files, piece by piece ---- */

typedef struct piece {
  const char *file;
  int64_t n, width, fields;
  int64_t row[ROWS]; /* in the file, from 1 */
  float *x;          /* [n, width] */
  int64_t *ids;      /* [n, fields] */
} piece;

typedef mica_status (*piece_fn)(void *ctx, const piece *p);

static mica_status piece_make(const mica_columns *c, piece *p) {
  *p = (piece){.width = mica_columns_width(c), .fields = mica_columns_fields(c)};
  p->x = mica_malloc((size_t)(ROWS * p->width) * sizeof *p->x + 1);
  p->ids = mica_malloc((size_t)(ROWS * p->fields) * sizeof *p->ids + 1);
  return p->x && p->ids ? MICA_OK : MICA_ERR_MEMORY;
}

static void piece_free(piece *p) {
  mica_free(p->x);
  mica_free(p->ids);
}

/* The rows as a model reads them: numbers where there are any, then fields. */
typedef struct views {
  mica_view view[2];
} views;

static views views_of(const piece *p) {
  views v;
  int n = 0;
  if (p->width) v.view[n++] = mica_view_of(p->x, MICA_F32, MICA_SHAPE(p->n, p->width));
  v.view[n] = mica_view_of(p->ids, MICA_I64, MICA_SHAPE(p->n, p->fields));
  return v;
}

static mica_status each_piece_of(const cli_args *a, const mica_columns *c, piece *p, piece_fn fn,
                                 void *ctx) {
  mica_data_table_options o = MICA_DATA_TABLE_OPTIONS;
  mica_row_reader *r;
  o.strict = cli_on(a, "--strict");
  mica_status status = mica_row_reader_open(p->file, c, &o, &r);
  if (status != MICA_OK) return status;
  do {
    status = mica_row_reader_next_fields(r, ROWS, p->x, p->ids, p->row, &p->n);
    if (status == MICA_OK && p->n) status = fn(ctx, p);
  } while (status == MICA_OK && p->n && !cli_interrupted());
  cli_table_skipped(mica_row_reader_skipped(r), mica_row_reader_skipped_text(r));
  mica_row_reader_close(r);
  return status;
}

/* All rows of all operands behind the model. */
static mica_status each_piece(const cli_args *a, const mica_columns *c, piece_fn fn, void *ctx) {
  piece p;
  mica_status status = piece_make(c, &p);
  for (int i = 1; i < a->n_operands && status == MICA_OK; i++) {
    p.file = a->operand[i];
    status = each_piece_of(a, c, &p, fn, ctx);
  }
  piece_free(&p);
  return status;
}

/* ---- predict ---- */

typedef struct predicting {
  mica_model *model;
  mica_session *session;
  const mica_columns *columns;
  int64_t classes, top;
  bool json;
  double *probability; /* [ROWS, classes] */
  mica_answer answer[ROWS];
} predicting;

static mica_status predict_classes(void *ctx, const piece *p) {
  predicting *w = ctx;
  const views x = views_of(p);
  mica_status status = mica_predict(w->session, x.view, w->answer);
  const bool probable = status == MICA_OK && !isnan(w->answer[0].probability);
  if (probable) status = mica_predict_probabilities(w->session, x.view, w->classes, w->probability);
  for (int64_t i = 0; i < p->n && status == MICA_OK; i++)
    cli_print_answer(w->model, p->file, p->row[i], &w->answer[i],
                     probable ? w->probability + i * w->classes : NULL, w->classes, w->top,
                     w->json);
  return status;
}

/* Of a log of clicks the probability of one is what is asked for. */
static mica_status predict_clicks(void *ctx, const piece *p) {
  predicting *w = ctx;
  const views x = views_of(p);
  const mica_status status = mica_predict_probabilities(w->session, x.view, 2, w->probability);
  for (int64_t i = 0; i < p->n && status == MICA_OK; i++) {
    const double click = w->probability[2 * i + 1];
    if (w->json) {
      printf("{\"file\": ");
      cli_print_json(p->file);
      printf(", \"row\": %lld, \"probability\": %.6g}\n", (long long)p->row[i], click);
    } else {
      cli_print_csv(p->file);
      printf(",%lld,%.6g\n", (long long)p->row[i], click);
    }
  }
  return status;
}

/* Two classes by the network itself, which reads fields. */
static bool of_clicks(const mica_model *model, const mica_columns *c) {
  return mica_columns_fields(c) && !mica_model_heads(model) && mica_model_classes(model) == 2;
}

static mica_status predict_numbers(void *ctx, const piece *p) {
  predicting *w = ctx;
  const views x = views_of(p);
  double y[ROWS];
  const mica_status status = mica_predict_scores(w->session, x.view, 1, y);
  for (int64_t i = 0; i < p->n && status == MICA_OK; i++) {
    const double value = mica_columns_target(w->columns, y[i]);
    if (w->json) {
      printf("{\"file\": ");
      cli_print_json(p->file);
      printf(", \"row\": %lld, \"value\": %.9g}\n", (long long)p->row[i], value);
    } else {
      cli_print_csv(p->file);
      printf(",%lld,%.9g\n", (long long)p->row[i], value);
    }
  }
  return status;
}

int cli_table_predict(const cli_args *a, mica_model *model, mica_session *session) {
  mica_columns *c = NULL;
  predicting w = {.model = model, .session = session, .json = cli_on(a, "--json")};
  w.classes = mica_model_classes(model);
  if (!cli_int(a, "--top", 1, 1000, &w.top)) return EXIT_USAGE;
  if (w.top > w.classes) w.top = w.classes;
  mica_status status = mica_model_read_columns(model, &c);
  w.probability = mica_malloc((size_t)(ROWS * w.classes + 1) * sizeof *w.probability);
  if (!w.probability) status = MICA_ERR_MEMORY;
  if (status == MICA_OK && mica_columns_regression(c)) {
    w.columns = c;
    if (!w.json) {
      printf("file,row,");
      cli_print_csv(mica_columns_label(c));
      putchar('\n');
    }
    status = each_piece(a, c, predict_numbers, &w);
  } else if (status == MICA_OK && of_clicks(model, c)) {
    if (!w.json) printf("file,row,probability\n");
    status = each_piece(a, c, predict_clicks, &w);
  } else if (status == MICA_OK) {
    if (!w.json) printf("file,row,rank,class,probability\n");
    status = each_piece(a, c, predict_classes, &w);
  }
  mica_free(w.probability);
  mica_columns_free(c);
  return status == MICA_OK ? EXIT_OK : cli_failed(a);
}

/* ---- embed ---- */

typedef struct embedding {
  mica_session *session;
  float *v;
  int64_t n, room, width;
} embedding;

static mica_status embed_rows(void *ctx, const piece *p) {
  embedding *e = ctx;
  const views x = views_of(p);
  if (e->n + p->n > e->room) {
    const int64_t room = e->room ? 2 * e->room : 16 * ROWS;
    float *more = mica_realloc_array(e->v, (size_t)room, (size_t)e->width * sizeof *more);
    if (!more) return MICA_ERR_MEMORY;
    e->v = more;
    e->room = room;
  }
  const mica_status status = mica_embed(e->session, x.view, e->v + e->n * e->width);
  e->n += p->n;
  return status;
}

mica_status cli_table_embed(const cli_args *a, mica_model *model, mica_session *session,
                            const char *out, int64_t *rows) {
  embedding e = {.session = session, .width = mica_net_features(mica_model_net(model))};
  mica_columns *c = NULL;
  mica_status status = mica_model_read_columns(model, &c);
  if (status == MICA_OK) status = each_piece(a, c, embed_rows, &e);
  if (status == MICA_OK) {
    const mica_view view = mica_view_of(e.v, MICA_F32, MICA_SHAPE(e.n, e.width));
    status = mica_npy_write(out, &view);
  }
  *rows = e.n;
  mica_columns_free(c);
  mica_free(e.v);
  return status;
}

/* ---- eval ---- */

/* The answers for all rows of one part of a table, in their order. */
typedef struct measuring {
  mica_session *session;
  const mica_data_table *table;
  mica_part part;
  int64_t n, classes;
  int64_t *truth, *predicted;           /* classes */
  bool probable;                        /* the head gives probabilities */
  double *probability, *target, *value; /* [n, classes]; numbers */
} measuring;

static mica_status ask(measuring *m) {
  const mica_columns *c = mica_data_table_columns(m->table);
  piece p;
  mica_answer answer[ROWS];
  mica_status status = piece_make(c, &p);
  int64_t i = 0;
  for (int64_t at = 0; at < m->n && status == MICA_OK;) {
    int64_t k = 0;
    for (; i < mica_data_table_count(m->table) && k < ROWS; i++) {
      if (mica_data_table_part_of(m->table, i) != m->part) continue;
      mica_data_table_row_fields(m->table, i, p.x + k * p.width, p.ids + k * p.fields);
      if (m->truth) m->truth[at + k] = mica_data_table_labels(m->table)[i];
      if (m->target) m->target[at + k] = mica_data_table_targets(m->table)[i];
      k++;
    }
    p.n = k;
    const views rows = views_of(&p);
    if (m->truth) {
      status = mica_predict(m->session, rows.view, answer);
      for (int64_t r = 0; r < k && status == MICA_OK; r++) m->predicted[at + r] = answer[r].label;
      if (status == MICA_OK) m->probable = !isnan(answer[0].probability);
      if (status == MICA_OK && m->probable)
        status = mica_predict_probabilities(m->session, rows.view, m->classes,
                                            m->probability + at * m->classes);
    } else {
      status = mica_predict_scores(m->session, rows.view, 1, m->value + at);
      for (int64_t r = 0; r < k; r++) m->value[at + r] = mica_columns_target(c, m->value[at + r]);
    }
    at += k;
  }
  piece_free(&p);
  return status;
}

/* Of the second of two classes; NaN where there is none, or one class alone. */
static mica_status auroc_of(const measuring *m, mica_estimate *out) {
  *out = (mica_estimate){NAN, {NAN, NAN}};
  if (!m->probable || m->classes != 2) return MICA_OK;
  double *score = mica_calloc((size_t)m->n, sizeof *score);
  bool *positive = mica_calloc((size_t)m->n, sizeof *positive);
  int64_t is = 0;
  for (int64_t i = 0; i < m->n && score && positive; i++) {
    score[i] = m->probability[2 * i + 1];
    positive[i] = m->truth[i] == 1;
    is += positive[i];
  }
  mica_status status = score && positive ? MICA_OK : MICA_ERR_MEMORY;
  if (status == MICA_OK && is && is < m->n) status = mica_auroc(m->n, score, positive, 0.95, out);
  mica_free(score);
  mica_free(positive);
  return status;
}

static mica_status tell_classes(const cli_args *a, const measuring *m) {
  mica_estimate accuracy, auroc;
  mica_status status = mica_accuracy(m->n, m->truth, m->predicted, 0.95, &accuracy);
  if (status == MICA_OK) status = auroc_of(m, &auroc);
  if (status != MICA_OK) return status;
  double loss = 0;
  for (int64_t i = 0; i < m->n && m->probable; i++)
    loss -= log(fmax(m->probability[i * m->classes + m->truth[i]], 1e-300));
  loss /= (double)m->n;
  if (cli_on(a, "--json")) {
    printf(
        "{\"examples\": %lld, \"accuracy\": %.9g, \"accuracy_low\": %.9g, \"accuracy_high\": %.9g",
        (long long)m->n, accuracy.value, accuracy.interval.lo, accuracy.interval.hi);
    if (m->probable) printf(", \"loss\": %.9g", loss);
    if (!isnan(auroc.value))
      printf(", \"auroc\": %.9g, \"auroc_low\": %.9g, \"auroc_high\": %.9g", auroc.value,
             auroc.interval.lo, auroc.interval.hi);
    printf("}\n");
    return MICA_OK;
  }
  printf("%lld rows: accuracy %.2f%% (95%% interval %.2f to %.2f)", (long long)m->n,
         100 * accuracy.value, 100 * accuracy.interval.lo, 100 * accuracy.interval.hi);
  if (m->probable) printf(", cross-entropy %.4f", loss);
  if (!isnan(auroc.value))
    printf(", AUROC %.4f (%.4f to %.4f)", auroc.value, auroc.interval.lo, auroc.interval.hi);
  printf("\n");
  for (int64_t c = 0; c < m->classes; c++) {
    int64_t there = 0, right = 0;
    for (int64_t i = 0; i < m->n; i++) {
      there += m->truth[i] == c;
      right += m->truth[i] == c && m->predicted[i] == c;
    }
    if (there)
      printf("  %-20s %6.2f%%  of %lld\n", mica_data_table_class(m->table, c),
             100 * (double)right / (double)there, (long long)there);
  }
  return MICA_OK;
}

static mica_status tell_numbers(const cli_args *a, const measuring *m) {
  mica_regression_measures r;
  const mica_status status = mica_regression(m->n, 1, m->target, m->value, &r);
  if (status != MICA_OK) return status;
  if (cli_on(a, "--json"))
    printf("{\"examples\": %lld, \"r2\": %.9g, \"rmse\": %.9g, \"mae\": %.9g}\n", (long long)m->n,
           r.r2, sqrt(r.mse), r.mae);
  else
    printf("%lld rows: R2 %.4f, root mean squared error %.6g, mean absolute error %.6g\n",
           (long long)m->n, r.r2, sqrt(r.mse), r.mae);
  return MICA_OK;
}

static mica_status measure(const cli_args *a, measuring *m) {
  const mica_columns *c = mica_data_table_columns(m->table);
  m->part = mica_data_table_part_count(m->table, MICA_PART_TEST) ? MICA_PART_TEST : MICA_PART_TRAIN;
  m->n = mica_data_table_part_count(m->table, m->part);
  if (!m->n) return mica_fail(MICA_ERR_FORMAT, "%s: no row can be used", cli_text(a, "--data"));
  const size_t n = (size_t)m->n;
  if (mica_data_table_labels(m->table)) {
    m->truth = mica_calloc(n, sizeof *m->truth);
    m->predicted = mica_calloc(n, sizeof *m->predicted);
    m->probability = mica_calloc(n, (size_t)m->classes * sizeof *m->probability);
    if (!m->truth || !m->predicted || !m->probability) return MICA_ERR_MEMORY;
  } else if (mica_data_table_targets(m->table)) {
    m->target = mica_calloc(n, sizeof *m->target);
    m->value = mica_calloc(n, sizeof *m->value);
    if (!m->target || !m->value) return MICA_ERR_MEMORY;
  } else {
    return mica_fail(MICA_ERR_NOT_FOUND, "%s: no column '%s' with the labels",
                     cli_text(a, "--data"), mica_columns_label(c) ? mica_columns_label(c) : "");
  }
  mica_status status = ask(m);
  if (status == MICA_OK) status = m->truth ? tell_classes(a, m) : tell_numbers(a, m);
  return status;
}

int cli_table_eval(const cli_args *a, mica_model *model) {
  mica_columns *c = NULL;
  mica_session *session = NULL;
  mica_data_table *table = NULL;
  mica_data_table_options o = MICA_DATA_TABLE_OPTIONS;
  measuring m = {.classes = mica_model_classes(model)};
  mica_status status = mica_session_create(model, &session);
  if (status == MICA_OK) status = mica_model_read_columns(model, &c);
  o.columns = c;
  o.validation = 0;
  o.strict = cli_on(a, "--strict");
  if (status == MICA_OK) status = mica_data_table_open(cli_text(a, "--data"), &o, &table);
  if (status == MICA_OK) {
    cli_table_skipped(mica_data_table_skipped(table), mica_data_table_skipped_text(table));
    m.session = session;
    m.table = table;
    status = measure(a, &m);
  }
  mica_free(m.truth);
  mica_free(m.predicted);
  mica_free(m.probability);
  mica_free(m.target);
  mica_free(m.value);
  mica_data_table_free(table);
  mica_columns_free(c);
  mica_session_free(session);
  return status == MICA_OK ? EXIT_OK : cli_failed(a);
}
