/* What `mica select` writes: the subset, the table of scores, what it says. */
#include "cli/select.h"

#include "base/buffer.h"
#include "base/file.h"
#include "base/json.h"
#include "base/number.h"

#include <math.h>
#include <string.h>

const char *select_name(const select_job *job, int64_t i, char *buf, size_t n) {
  return job->data.pictures ? mica_dataset_name(job->data.pictures, job->item[i], buf, n)
                            : mica_data_table_name(job->data.table, job->item[i], buf, n);
}

int64_t select_classes(const select_job *job) {
  return job->data.pictures ? mica_dataset_classes(job->data.pictures)
                            : mica_data_table_classes(job->data.table);
}

bool select_finds_wrong(const select_job *job, mica_noise_report *out) {
  return job->wrong && mica_score_noise(job->n, job->score, job->wrong, 0, out) == MICA_OK;
}

/* ---- the subset ---- */

static const char *order_name(const select_job *job) {
  return cli_text(job->a, "--order");
}

static mica_status put_facts(const select_job *job, mica_item_list *l) {
  const cli_args *a = job->a;
  char hex[65], of[32];
  const bool whole = !cli_text(a, "--subset");
  mica_status status = MICA_OK;
  snprintf(of, sizeof of, "%lld", (long long)job->n);
  if (whole) status = train_data_hash(&job->data, job->path, hex);
  const mica_text_pair facts[] = {{"command", a->command},
                                  {"data", job->path},
                                  {"data_hash", whole ? hex : NULL},
                                  {"part", "train"},
                                  {"of", of},
                                  {"score", job->what},
                                  {"order", order_name(job)},
                                  {"keep", cli_text(a, "--keep")},
                                  {"offset", cli_text(a, "--offset")},
                                  {"balanced", job->choice.balanced ? "yes" : "no"}};
  for (size_t i = 0; i < sizeof facts / sizeof *facts && status == MICA_OK; i++)
    if (facts[i].value) status = mica_item_list_set_fact(l, facts[i].key, facts[i].value);
  return status;
}

mica_status select_write_subset(const select_job *job, const char *path) {
  mica_item_list *l = NULL;
  char name[4096];
  mica_status status = mica_item_list_create(&l);
  if (status == MICA_OK) status = put_facts(job, l);
  for (int64_t k = 0; k < job->kept && status == MICA_OK; k++) {
    const int64_t i = job->keep[k];
    status = mica_item_list_add(l, job->item[i], select_name(job, i, name, sizeof name));
  }
  if (status == MICA_OK) status = mica_item_list_write(l, path);
  mica_item_list_free(l);
  return status;
}

/* ---- scores ---- */

static const char *class_name(const select_job *job, int64_t c) {
  return job->data.pictures ? mica_dataset_class(job->data.pictures, c)
                            : mica_data_table_class(job->data.table, c);
}

/* A row for each example, the hardest first. The columns id and name make it a list of items. */
static mica_status write_csv(const select_job *job, const char *path) {
  mica_bytes b = {0};
  char name[4096], number[MICA_DOUBLE_TEXT];
  mica_bytes_printf(&b, "rank,id,name,label,score,kept%s\n", job->wrong ? ",wrong" : "");
  for (int64_t r = 0; r < job->n; r++) {
    const int64_t i = job->order[r];
    mica_bytes_printf(&b, "%lld,%lld,", (long long)r + 1, (long long)job->item[i]);
    mica_bytes_csv(&b, select_name(job, i, name, sizeof name));
    mica_bytes_byte(&b, ',');
    mica_bytes_csv(&b, class_name(job, job->label[i]));
    mica_format_double(job->score[i], number);
    mica_bytes_printf(&b, ",%s,%d", number, (int)job->is_kept[i]);
    if (job->wrong) mica_bytes_printf(&b, ",%d", (int)job->wrong[i]);
    mica_bytes_byte(&b, '\n');
  }
  const mica_status status =
      b.status == MICA_OK ? mica_file_write_atomic(path, b.data, b.n) : b.status;
  mica_bytes_free(&b);
  return status;
}

/* Arrays in the order of the data set. */
static mica_status write_arrays(const select_job *job, const char *path, bool npz) {
  const mica_shape n = MICA_SHAPE(job->n);
  int64_t *rank = mica_calloc((size_t)job->n + 1, sizeof *rank);
  if (!rank) return MICA_ERR_MEMORY;
  for (int64_t r = 0; r < job->n; r++) rank[job->order[r]] = r + 1;
  const mica_named_view views[] = {
      {"ids", mica_view_of(job->item, MICA_I64, n)},
      {"labels", mica_view_of(job->label, MICA_I64, n)},
      {"scores", mica_view_of(job->score, MICA_F64, n)},
      {"ranks", mica_view_of(rank, MICA_I64, n)},
      {"kept", mica_view_of(job->is_kept, MICA_U8, n)},
      {"scores_by_source", mica_view_of(job->each, MICA_F64, MICA_SHAPE(job->sources, job->n))},
      {"wrong", mica_view_of(job->wrong, MICA_U8, n)}};
  const int64_t views_n = job->wrong ? 7 : 6;
  const mica_text_pair about[] = {{"score", job->what}, {"data", job->path}};
  const mica_status status = npz ? mica_npz_write(path, views, views_n, false)
                                 : mica_safetensors_write(path, views, views_n, about, 2);
  mica_free(rank);
  return status;
}

mica_status select_write_scores(const select_job *job, const char *path) {
  const char *dot = strrchr(path, '.');
  if (dot && strcmp(dot, ".csv") == 0) return write_csv(job, path);
  if (dot && (strcmp(dot, ".npz") == 0 || strcmp(dot, ".safetensors") == 0))
    return write_arrays(job, path, strcmp(dot, ".npz") == 0);
  return mica_fail(MICA_ERR_INVALID, "%s: expected a name in .csv, .npz or .safetensors", path);
}

/* ---- what is said ---- */

static double precision_at(const select_job *job, int64_t k) {
  mica_noise_report r;
  return mica_score_noise(job->n, job->score, job->wrong, k, &r) == MICA_OK ? r.precision : NAN;
}

static mica_status add_row(mica_table *t, const char *name, int64_t n, int64_t kept, double mean) {
  char share[32];
  snprintf(share, sizeof share, "%.1f %%", n ? 100 * (double)kept / (double)n : 0);
  mica_status status = mica_table_text(t, name);
  if (status == MICA_OK) status = mica_table_integer(t, n);
  if (status == MICA_OK) status = mica_table_integer(t, kept);
  if (status == MICA_OK)
    status = mica_table_shown(t, n ? (double)kept / (double)n : NAN, n ? share : "");
  return status == MICA_OK ? mica_table_number(t, mean, 3) : status;
}

mica_status select_table(const select_job *job, mica_table **out) {
  const int64_t classes = select_classes(job);
  int64_t *n = mica_calloc(2 * (size_t)classes + 1, sizeof *n), *kept = n + classes;
  double *sum = mica_calloc((size_t)classes + 1, sizeof *sum), total = 0;
  mica_table *t = NULL;
  mica_status status = n && sum ? mica_table_create(&t) : MICA_ERR_MEMORY;
  static const char *const heads[] = {"class", "examples", "kept", "share", "mean score"};
  for (int i = 0; i < 5 && status == MICA_OK; i++)
    status = mica_table_column(t, heads[i], i ? MICA_ALIGN_RIGHT : MICA_ALIGN_LEFT);
  for (int64_t i = 0; i < job->n && status == MICA_OK; i++) {
    n[job->label[i]]++;
    kept[job->label[i]] += job->is_kept[i];
    sum[job->label[i]] += job->score[i];
    total += job->score[i];
  }
  for (int64_t c = 0; c < classes && status == MICA_OK; c++)
    status = add_row(t, class_name(job, c), n[c], kept[c], sum[c] / (double)n[c]);
  if (status == MICA_OK) status = add_row(t, "all", job->n, job->kept, total / (double)job->n);
  mica_free(n);
  mica_free(sum);
  if (status != MICA_OK) {
    mica_table_free(t);
    t = NULL;
  }
  *out = t;
  return status;
}

static mica_status print_json(const select_job *job, const char *subset, const char *scores,
                              const char *page) {
  mica_bytes b = {0};
  mica_json_writer w = {.out = &b};
  mica_noise_report noise;
  mica_json_begin_object(&w);
  mica_json_put_text(&w, "subset", subset);
  if (scores) mica_json_put_text(&w, "scores", scores);
  if (page) mica_json_put_text(&w, "report", page);
  mica_json_put_text(&w, "score", job->what);
  mica_json_put_int(&w, "examples", job->n);
  mica_json_put_int(&w, "kept", job->kept);
  if (isfinite(job->agreement)) mica_json_put_double(&w, "agreement", job->agreement);
  if (select_finds_wrong(job, &noise)) {
    mica_json_put_int(&w, "wrong", noise.k);
    mica_json_put_double(&w, "wrong_auroc", noise.auroc.value);
    mica_json_put_double(&w, "wrong_auroc_low", noise.auroc.interval.lo);
    mica_json_put_double(&w, "wrong_auroc_high", noise.auroc.interval.hi);
    mica_json_put_double(&w, "wrong_precision", noise.precision);
  }
  mica_json_end_object(&w);
  if (b.status == MICA_OK) puts(b.data);
  const mica_status status = b.status;
  mica_bytes_free(&b);
  return status;
}

mica_status select_print(const select_job *job, const char *subset, const char *scores,
                         const char *page) {
  if (cli_on(job->a, "--json")) return print_json(job, subset, scores, page);
  mica_table *table = NULL;
  mica_noise_report noise;
  char *text = NULL;
  mica_status status = select_table(job, &table);
  if (status == MICA_OK) status = mica_table_render(table, NULL, &text);
  mica_table_free(table);
  if (status != MICA_OK) return status;
  printf("%s\n", text);
  mica_free(text);
  printf("score: %s\n", job->what);
  if (isfinite(job->agreement))
    printf("agreement of the networks: rank correlation %.3f (median of pairs)\n", job->agreement);
  if (select_finds_wrong(job, &noise)) {
    printf("wrong labels: %lld; AUROC %.4f (%.4f to %.4f); of the %lld hardest %.1f %% are wrong",
           (long long)noise.k, noise.auroc.value, noise.auroc.interval.lo, noise.auroc.interval.hi,
           (long long)noise.k, 100 * noise.precision);
    const int64_t few = job->n / 100;
    if (few && few < noise.k)
      printf(", of the %lld hardest %.1f %%", (long long)few, 100 * precision_at(job, few));
    printf("\n");
  } else if (job->wrong) {
    printf("wrong labels: none, or all\n");
  }
  printf("subset: %s\n", subset);
  if (scores) printf("scores: %s\n", scores);
  if (page) printf("report: %s/report.html\n", page);
  return MICA_OK;
}
