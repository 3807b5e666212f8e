/* Finished runs in a folder: see many.h. */
#include "train/many.h"

#include "base/buffer.h"
#include "base/file.h"
#include "base/number.h"

#include <mica/data.h>

#include <stdio.h>
#include <string.h>

enum { NUMBERS = 7 };

static void put_double(mica_bytes *b, const char *before, double v) {
  char text[MICA_DOUBLE_TEXT];
  mica_bytes_text(b, before);
  mica_bytes_append(b, text, (size_t)mica_format_double(v, text));
}

static uint64_t hash_values(const mica_params *p) {
  uint64_t h = 0;
  for (int64_t i = 0; i < mica_params_count(p); i++) {
    const mica_param *q = mica_params_at(p, i);
    const mica_tensor *v = mica_param_value(q);
    h = mica_hash64(mica_param_path(q), strlen(mica_param_path(q)), h);
    h = mica_hash64(mica_tensor_data(v),
                    (size_t)mica_tensor_count(v) * mica_dtype_size(mica_tensor_dtype(v)), h);
  }
  return h;
}

char *mica_job_identity(const mica_train_job *job) {
  const mica_train_options *o = &job->options;
  char *net = mica_net_text(job->net);
  mica_bytes b = {0};
  if (!net) return NULL;
  mica_bytes_printf(&b, "%s; %016llx; loss %s; optimiser %s; schedule %s; ", net,
                    (unsigned long long)hash_values(mica_net_params(job->net)),
                    o->loss ? o->loss : "", o->optimiser ? o->optimiser : "",
                    o->schedule ? o->schedule : "");
  mica_bytes_printf(&b, "epochs %lld; accumulate %lld; seed %llu; %s; patience %lld; batches %lld",
                    (long long)o->epochs, (long long)o->accumulate, (unsigned long long)o->seed,
                    mica_dtype_name(o->compute), (long long)o->patience,
                    (long long)job->train.batches);
  put_double(&b, "; clip ", o->clip);
  put_double(&b, "; average ", o->average);
  for (int64_t i = 0; i < o->n_stages && o->stages; i++)
    mica_bytes_printf(&b, "; stage %s", o->stages[i]);
  mica_free(net);
  return mica_bytes_take(&b);
}

static char *path_of(const char *dir, int64_t index) {
  char name[48];
  snprintf(name, sizeof name, "job-%06lld.safetensors", (long long)index);
  return mica_path_join(dir, name);
}

static mica_status read_result(const char *path, const char *text, mica_train_outcome *o) {
  double v[NUMBERS];
  const char *at = text ? text : "";
  for (int i = 0; i < NUMBERS; i++) {
    const size_t n = mica_parse_double(at, strlen(at), true, &v[i]);
    if (!n || (at[n] != ' ' && at[n]) || (i < 2 && !(v[i] >= 0 && v[i] <= 0x1p53)) ||
        (i == 4 && !(v[i] >= -1 && v[i] <= 0x1p53)))
      return mica_fail(MICA_ERR_FORMAT, "%s: metadata mica.result is '%.100s', expected %d numbers",
                       path, text ? text : "", NUMBERS);
    at += n + (at[n] == ' ');
  }
  o->result =
      (mica_train_result){(int64_t)v[0], (int64_t)v[1], v[2], v[3], (int64_t)v[4], v[5] != 0, v[6]};
  return MICA_OK;
}

mica_status mica_job_recall(const char *dir, int64_t index, const char *identity,
                            mica_train_job *job, mica_train_outcome *outcome, bool *found) {
  *found = false;
  char *path = path_of(dir, index);
  if (!path) return MICA_ERR_MEMORY;
  if (!mica_file_exists(path)) {
    mica_free(path);
    return MICA_OK;
  }
  mica_archive *a;
  mica_load_report report = {0};
  mica_status status = mica_archive_open(path, &a);
  if (status == MICA_OK) {
    const char *own = mica_archive_metadata(a, "mica.job");
    if (!own || strcmp(own, identity) != 0)
      status = mica_fail(
          MICA_ERR_STATE,
          "%s: is of another run, take another folder: it holds (%.300s), this one is (%.300s)",
          path, own ? own : "it does not say which", identity);
    else
      status = read_result(path, mica_archive_metadata(a, "mica.result"), outcome);
    mica_archive_close(a);
  }
  if (status == MICA_OK) {
    mica_load_options o = MICA_LOAD_OPTIONS;
    o.strip = "";
    o.new_head = false;
    status = mica_params_load(mica_net_params(job->net), path, &o, &report);
    if (status == MICA_OK && (report.missing || report.reshaped))
      status = mica_fail(MICA_ERR_FORMAT, "%s: %lld tensors are missing, %lld of another shape",
                         path, (long long)report.missing, (long long)report.reshaped);
    mica_free(report.text);
  }
  mica_free(path);
  *found = status == MICA_OK;
  return status;
}

mica_status mica_job_record(const char *dir, int64_t index, const char *identity,
                            const mica_train_job *job, const mica_train_outcome *outcome) {
  const mica_train_result *r = &outcome->result;
  mica_bytes b = {0};
  mica_bytes_printf(&b, "%lld %lld", (long long)r->epochs, (long long)r->steps);
  put_double(&b, " ", r->loss);
  put_double(&b, " ", r->best_val_accuracy);
  mica_bytes_printf(&b, " %lld %d", (long long)r->best_epoch, (int)r->stopped_early);
  put_double(&b, " ", r->best_val_loss);
  char *path = path_of(dir, index);
  mica_status status = path ? b.status : MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    const mica_text_pair about[] = {{"mica.job", identity}, {"mica.result", b.data}};
    status = mica_params_save(mica_net_params(job->net), path, about, 2);
  }
  mica_bytes_free(&b);
  mica_free(path);
  return status;
}

static void put_field(mica_bytes *b, const char *text) {
  mica_bytes_byte(b, '"');
  for (const char *p = text; *p; p++) {
    if (*p == '"') mica_bytes_byte(b, '"');
    mica_bytes_byte(b, *p);
  }
  mica_bytes_byte(b, '"');
}

mica_status mica_jobs_table(const char *dir, const mica_train_outcome *outcomes, int64_t n) {
  mica_bytes b = {0};
  mica_bytes_text(&b,
                  "job,label,status,value,epochs,steps,loss,val_accuracy,val_loss,best_epoch\n");
  for (int64_t i = 0; i < n; i++) {
    const mica_train_outcome *o = &outcomes[i];
    mica_bytes_printf(&b, "%lld,", (long long)i);
    put_field(&b, o->label);
    mica_bytes_printf(&b, ",%s", mica_status_name(o->status));
    if (o->status != MICA_OK) {
      mica_bytes_text(&b, ",,,,,,,\n");
      continue;
    }
    put_double(&b, ",", o->value);
    mica_bytes_printf(&b, ",%lld,%lld", (long long)o->result.epochs, (long long)o->result.steps);
    put_double(&b, ",", o->result.loss);
    put_double(&b, ",", o->result.best_val_accuracy);
    put_double(&b, ",", o->result.best_val_loss);
    mica_bytes_printf(&b, ",%lld\n", (long long)o->result.best_epoch);
  }
  char *path = mica_path_join(dir, "results.csv");
  mica_status status = path ? b.status : MICA_ERR_MEMORY;
  if (status == MICA_OK) status = mica_file_write_atomic(path, b.data, b.n);
  mica_free(path);
  mica_bytes_free(&b);
  return status;
}
