/* The run folder of `mica train`: see train_run.h. */
#include "cli/train_run.h"

#include "base/buffer.h"
#include "base/file.h"
#include "report/append.h"
#include "report/run_record.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- what config.json holds ---- */

/* A file that is one of the data set: its name, and the checksum of its bytes. */
static mica_status hash_file(mica_sha256 *h, const char *name, const char *path) {
  char hex[65];
  const mica_status status = mica_file_sha256(path, hex);
  if (status != MICA_OK) return status;
  mica_sha256_update(h, name, strlen(name) + 1);
  mica_sha256_update(h, hex, 64);
  return MICA_OK;
}

/* Of a file its SHA-256; of a folder that of the names and checksums of its parts. */
static mica_status hash_table(const char *path, char hex[65]) {
  if (!mica_is_folder(path)) return mica_file_sha256(path, hex);
  mica_sha256 h;
  mica_status status = MICA_OK;
  mica_sha256_begin(&h);
  for (int k = 0; k < MICA_PART_COUNT && status == MICA_OK; k++) {
    char *file = mica_table_part_path(path, (mica_part)k, &status);
    if (file) status = hash_file(&h, strrchr(file, '/'), file);
    mica_free(file);
  }
  mica_sha256_end(&h, hex);
  return status;
}

static mica_status hash_text(const char *path, char hex[65]) {
  static const char *const names[] = {"train.txt", "val.txt", "test.txt"};
  if (!mica_is_folder(path)) return mica_file_sha256(path, hex);
  mica_sha256 h;
  mica_status status = MICA_OK;
  mica_sha256_begin(&h);
  for (size_t k = 0; k < sizeof names / sizeof *names && status == MICA_OK; k++) {
    char *file = mica_path_join(path, names[k]);
    if (!file) status = MICA_ERR_MEMORY;
    if (status == MICA_OK && mica_file_exists(file)) status = hash_file(&h, names[k], file);
    mica_free(file);
  }
  mica_sha256_end(&h, hex);
  return status;
}

/* Of the parts, names and sizes of all pictures: reading every pixel once more would take as long
 * as an epoch. A list or array, and IDX files, whose items have no files of their own, are hashed
 * whole.
 */
static mica_status hash_pictures(const mica_dataset *ds, const char *path, char hex[65]) {
  static const char *const idx[] = {"train-images-idx3-ubyte", "train-labels-idx1-ubyte",
                                    "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"};
  mica_sha256 h;
  mica_status status = MICA_OK;
  mica_sha256_begin(&h);
  for (int64_t i = 0; i < mica_dataset_count(ds); i++) {
    char name[1024], line[1200], file[5200];
    struct stat about;
    mica_dataset_name(ds, i, name, sizeof name);
    snprintf(file, sizeof file, "%s/%s", path, name);
    const long long size = stat(file, &about) == 0 ? (long long)about.st_size : -1;
    const int n =
        snprintf(line, sizeof line, "%d %lld %s\n", (int)mica_dataset_part_of(ds, i), size, name);
    mica_sha256_update(&h, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
  }
  for (size_t i = 0; i < 2 * sizeof idx / sizeof *idx && status == MICA_OK; i++) {
    char file[5200];
    snprintf(file, sizeof file, "%s/%s%s", path, idx[i / 2], i % 2 ? ".gz" : "");
    if (mica_file_exists(file)) status = hash_file(&h, idx[i / 2], file);
  }
  if (status == MICA_OK && mica_file_exists(path) && !mica_is_folder(path))
    status = hash_file(&h, "", path);
  mica_sha256_end(&h, hex);
  return status;
}

/* One text of all stages, as they would be written in a list. */
static mica_status record_stages(mica_run_record *r, const mica_train_options *o) {
  if (!o->n_stages) return mica_run_record_integer(r, "epochs", o->epochs);
  mica_bytes b = {0};
  for (int64_t k = 0; k < o->n_stages; k++)
    mica_bytes_printf(&b, "%s(%s)", k ? "," : "", o->stages[k]);
  const mica_status status =
      b.status == MICA_OK ? mica_run_record_text(r, "stages", b.data) : b.status;
  mica_bytes_free(&b);
  return status;
}

mica_status train_data_hash(const train_data *d, const char *path, char hex[65]) {
  return d->text    ? hash_text(path, hex)
         : d->table ? hash_table(path, hex)
                    : hash_pictures(d->pictures, path, hex);
}

mica_status train_run_record(const cli_args *a, const train_data *d, const mica_train_options *o,
                             const mica_net *net, int64_t seed, mica_run_record **out) {
  const char *path = cli_text(a, "--data");
  mica_run_record *r = NULL;
  char hex[65];
  char *model = mica_net_text(net);
  mica_status status = model ? mica_run_record_create(&r) : MICA_ERR_MEMORY;
  if (status == MICA_OK) status = mica_run_record_text(r, "command", a->command);
  if (status == MICA_OK) status = mica_run_record_text(r, "model", model);
  if (status == MICA_OK) status = mica_run_record_text(r, "loss", o->loss);
  if (status == MICA_OK) status = mica_run_record_text(r, "optimiser", o->optimiser);
  if (status == MICA_OK) status = mica_run_record_text(r, "schedule", o->schedule);
  if (status == MICA_OK) status = record_stages(r, o);
  if (status == MICA_OK && cli_text(a, "--sampler"))
    status = mica_run_record_text(r, "sampler", cli_text(a, "--sampler"));
  if (status == MICA_OK)
    status = mica_run_record_text(r, "batch_size", cli_text(a, "--batch-size"));
  if (status == MICA_OK) status = mica_run_record_integer(r, "seed", seed);
  if (status == MICA_OK) status = mica_run_record_text(r, "data", path);
  if (status == MICA_OK) status = train_data_hash(d, path, hex);
  if (status == MICA_OK)
    status = mica_run_record_text(r, d->pictures ? "data_fingerprint" : "data_sha256", hex);
  if (status == MICA_OK) status = train_change_record(a, r);
  if (status == MICA_OK) status = mica_run_record_environment(r);
  mica_free(model);
  if (status != MICA_OK) {
    mica_run_record_free(r);
    return status;
  }
  *out = r;
  return MICA_OK;
}

/* ---- the folder ---- */

static bool is_of_a_run(const char *name) {
  static const char *const names[] = {"last.safetensors", "best.safetensors", "metrics.jsonl",
                                      "config.json"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strcmp(name, names[i]) == 0) return true;
  return strncmp(name, "events.out.tfevents.", 20) == 0;
}

/* Take away what an earlier run left, or a resume could go on from it. */
static mica_status clear(const char *folder) {
  DIR *d = opendir(folder);
  if (!d) return mica_fail(MICA_ERR_IO, "%s: cannot be listed", folder);
  mica_status status = MICA_OK;
  for (struct dirent *e; status == MICA_OK && (e = readdir(d));) {
    if (!is_of_a_run(e->d_name)) continue;
    char *path = mica_path_join(folder, e->d_name);
    if (!path)
      status = MICA_ERR_MEMORY;
    else if (unlink(path) != 0)
      status = mica_fail(MICA_ERR_IO, "%s: cannot be removed", path);
    mica_free(path);
  }
  closedir(d);
  return status;
}

/* Two runs in one folder would spoil each other. */
static mica_status check_alone(const char *folder) {
  char *path = mica_path_join(folder, "metrics.jsonl");
  if (!path) return MICA_ERR_MEMORY;
  mica_append_file file;
  mica_status status = MICA_OK;
  if (mica_file_exists(path)) status = mica_append_open(path, false, &file);
  if (status == MICA_OK && mica_file_exists(path)) status = mica_append_close(&file);
  mica_free(path);
  return status;
}

static mica_status open_run(train_watch *w, int64_t resume, const mica_run_record *record) {
  mica_run_options o = MICA_RUN_OPTIONS;
  o.resume = resume;
  o.config = record;
  return mica_run_open(w->folder, &o, &w->run);
}

mica_status train_run_begin(train_watch *w, const char *folder, bool resume,
                            const mica_run_record *record) {
  w->folder = folder;
  w->record = record;
  mica_status status = check_alone(folder);
  if (status != MICA_OK || resume) return status;
  status = clear(folder);
  return status == MICA_OK ? open_run(w, -1, record) : status;
}

/* ---- going on ---- */

/* What earlier lines tell of the epochs before. */
static mica_status recall_epochs(train_watch *w) {
  char *path = mica_path_join(w->folder, "metrics.jsonl");
  mica_metrics *m = NULL;
  mica_status status = path ? mica_metrics_load(path, &m) : MICA_ERR_MEMORY;
  mica_free(path);
  if (status != MICA_OK) return status;
  const double *at, *loss, *val_at, *val_loss, *accuracy_at, *accuracy;
  const int64_t n = mica_metrics_series(m, "epoch_loss", &at, &loss);
  const int64_t n_val = mica_metrics_series(m, "val_loss", &val_at, &val_loss);
  const int64_t n_accuracy = mica_metrics_series(m, "val_accuracy", &accuracy_at, &accuracy);
  for (int64_t i = 0, v = 0, k = 0; i < n && status == MICA_OK; i++) {
    while (v < n_val && val_at[v] < at[i]) v++;
    while (k < n_accuracy && accuracy_at[k] < at[i]) k++;
    const mica_epoch e = {loss[i], v < n_val && val_at[v] == at[i] ? val_loss[v] : NAN,
                          k < n_accuracy && accuracy_at[k] == at[i] ? accuracy[k] : NAN};
    status = train_watch_epoch(w, &e);
  }
  mica_metrics_free(m);
  return status;
}

static bool differs(const mica_run_record *a, const mica_run_record *b, const char *name) {
  const char *x = mica_run_record_get(a, name), *y = mica_run_record_get(b, name);
  return x && y && strcmp(x, y) != 0;
}

/* config.json goes on holding what the run began with, and how it was resumed. */
static mica_status resumed_record(const train_watch *w, int64_t step, mica_run_record **out) {
  char *path = mica_path_join(w->folder, "config.json");
  if (!path) return MICA_ERR_MEMORY;
  mica_status status = mica_file_exists(path) ? mica_run_record_load(path, out)
                                              : mica_run_record_copy(w->record, out);
  mica_free(path);
  if (status != MICA_OK) return status;
  if (differs(*out, w->record, "data_sha256") || differs(*out, w->record, "data_fingerprint") ||
      differs(*out, w->record, "subset_sha256"))
    fprintf(stderr, "%s: the data are not those that this run began with\n", w->folder);
  status = mica_run_record_text(*out, "resumed_command", mica_run_record_get(w->record, "command"));
  return status == MICA_OK ? mica_run_record_integer(*out, "resumed_before_step", step) : status;
}

/* The first report tells where the checkpoint stood: behind the report before it, and so no line of
 * its step or a later one may stay. */
static mica_status resume_run(train_watch *w, int64_t first) {
  mica_run_record *record = NULL;
  mica_status status = resumed_record(w, first, &record);
  if (status == MICA_OK) status = open_run(w, first - 1, record);
  if (status == MICA_OK) status = recall_epochs(w);
  mica_run_record_free(record);
  return status;
}

/* Scale, margin and median cosine of a cosine head. */
static int32_t head_state(const train_watch *w, mica_measurement *line) {
  const mica_node *node = w->net ? mica_net_head(w->net) : NULL;
  mica_cosine_state s;
  if (!mica_nn_cosine_state(node, &s)) return 0;
  line[0] = (mica_measurement){"cosine_scale", s.scale};
  line[1] = (mica_measurement){"cosine_margin", s.margin};
  line[2] = (mica_measurement){"cosine_median", s.median};
  return 3;
}

mica_status train_run_log(train_watch *w, const mica_train_metrics *m) {
  mica_measurement line[12];
  int32_t n = 0;
  mica_status status = w->run ? MICA_OK : resume_run(w, m->step);
  if (status != MICA_OK) return status;
  line[n++] = (mica_measurement){"epoch", (double)m->epoch + 1};
  if (m->stage) line[n++] = (mica_measurement){"stage", (double)m->stage + 1};
  line[n++] = (mica_measurement){"lr", m->lr};
  line[n++] = (mica_measurement){m->end_of_epoch ? "epoch_loss" : "loss", m->loss};
  if (m->grad_norm > 0) line[n++] = (mica_measurement){"grad_norm", m->grad_norm};
  if (m->end_of_epoch && isfinite(m->val_loss))
    line[n++] = (mica_measurement){"val_loss", m->val_loss};
  if (m->end_of_epoch && isfinite(m->val_accuracy))
    line[n++] = (mica_measurement){"val_accuracy", m->val_accuracy};
  if (m->end_of_epoch && isfinite(m->val_auroc))
    line[n++] = (mica_measurement){"val_auroc", m->val_auroc};
  n += head_state(w, line + n);
  return mica_run_log(w->run, m->step, line, n);
}

mica_status train_run_end(train_watch *w) {
  const mica_status status = mica_run_close(w->run);
  w->run = NULL;
  return status;
}
