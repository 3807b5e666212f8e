/* Run folders: what was logged survives a kill, a resume continues where it says, event files are
 * what TensorBoard reads. */
#include "support/failing_alloc.h"
#include "support/markup_check.h"

#include <mica/report.h>

#include "base/file.h"
#include "base/json.h"

#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[64], metrics_path[96], config_path[96];

static int make_folder(void **state) {
  (void)state;
  strcpy(folder, "/tmp/mica_run_XXXXXX");
  if (!mkdtemp(folder)) return -1;
  snprintf(metrics_path, sizeof metrics_path, "%s/metrics.jsonl", folder);
  snprintf(config_path, sizeof config_path, "%s/config.json", folder);
  return 0;
}

/* The event files in the order of their names; returns how many, at most 8. */
static int event_files(char names[8][320]) {
  struct dirent **entries;
  const int n = scandir(folder, &entries, NULL, alphasort);
  int found = 0;
  for (int i = 0; i < n; i++) {
    if (strncmp(entries[i]->d_name, "events.out.tfevents.", 20) == 0 && found < 8)
      snprintf(names[found++], 320, "%s/%s", folder, entries[i]->d_name);
    free(entries[i]);
  }
  free(entries);
  return found;
}

static int remove_folder(void **state) {
  (void)state;
  char names[8][320];
  for (int i = event_files(names); i > 0; i--) unlink(names[i - 1]);
  unlink(metrics_path);
  unlink(config_path);
  return rmdir(folder); /* fails when anything else was left */
}

static void must(mica_status status) {
  if (status) fail_msg("%s", mica_last_error());
}

static mica_run *open_run(int64_t resume) {
  mica_run_options o = MICA_RUN_OPTIONS;
  o.resume = resume;
  mica_run *run = NULL;
  must(mica_run_open(folder, &o, &run));
  return run;
}

static void log_steps(mica_run *run, int64_t from, int64_t to) {
  for (int64_t step = from; step <= to; step++) {
    const mica_measurement m[] = {{"loss", 1.0 / (double)(step + 1)},
                                  {"test/accuracy", (double)step}};
    must(mica_run_log(run, step, m, step % 2 ? 2 : 1));
  }
}

static void append_raw(const char *text) {
  FILE *f = fopen(metrics_path, "ab");
  assert_non_null(f);
  fputs(text, f);
  fclose(f);
}

static char *file_text(const char *path) {
  uint8_t *bytes = NULL;
  size_t n;
  must(mica_file_read(path, 1 << 24, &bytes, &n));
  return (char *)bytes;
}

static void metrics_come_back_as_series(void **state) {
  (void)state;
  mica_run *run = open_run(-1);
  log_steps(run, 0, 9);
  const mica_measurement odd[] = {{"loss", NAN}, {"quote\"\n\xc3\xa4", 1e-300}};
  must(mica_run_log(run, 9, odd, 2));
  must(mica_run_sync(run));
  mica_metrics *m = NULL;
  must(mica_metrics_load(metrics_path, &m)); /* while it is still being written */
  const double *steps, *values;
  assert_int_equal(mica_metrics_count(m), 4);
  assert_string_equal(mica_metrics_name(m, 0), "seconds");
  assert_null(mica_metrics_name(m, 4));
  assert_int_equal(mica_metrics_series(m, "loss", &steps, &values), 11);
  for (int i = 0; i < 10; i++) assert_true(steps[i] == i && values[i] == 1.0 / (i + 1));
  assert_true(isnan(values[10]) && steps[10] == 9);
  assert_int_equal(mica_metrics_series(m, "test/accuracy", &steps, &values), 5);
  assert_true(steps[4] == 9 && values[4] == 9);
  assert_int_equal(mica_metrics_series(m, "quote\"\n\xc3\xa4", NULL, &values), 1);
  assert_true(values[0] == 1e-300);
  assert_int_equal(mica_metrics_series(m, "nothing", &steps, &values), 0);
  assert_null(steps);
  mica_metrics_free(m);
  must(mica_run_close(run));
}

static void bad_lines_are_refused(void **state) {
  (void)state;
  mica_run *run = open_run(-1);
  const mica_measurement twice[] = {{"a", 1}, {"a", 2}}, step = {"step", 1}, none = {"", 1},
                         bytes = {"\xff", 1};
  assert_int_equal(mica_run_log(run, 0, twice, 2), MICA_ERR_INVALID);
  assert_int_equal(mica_run_log(run, 0, &step, 1), MICA_ERR_INVALID);
  assert_int_equal(mica_run_log(run, 0, &none, 1), MICA_ERR_INVALID);
  assert_int_equal(mica_run_log(run, 0, &bytes, 1), MICA_ERR_INVALID);
  log_steps(run, 5, 5);
  assert_int_equal(mica_run_log(run, 4, NULL, 0), MICA_ERR_INVALID);
  assert_string_equal(mica_last_error(), "step 4 logged after step 5");
  /* a second writer, in this process or another, would spoil the file */
  mica_run_options o = MICA_RUN_OPTIONS;
  mica_run *second = NULL;
  o.resume = 5;
  assert_int_equal(mica_run_open(folder, &o, &second), MICA_ERR_STATE);
  assert_non_null(strstr(mica_last_error(), "another run is writing it"));
  must(mica_run_close(run));
  o.resume = -1; /* a fresh run does not overwrite */
  assert_int_equal(mica_run_open(folder, &o, &second), MICA_ERR_STATE);
  assert_non_null(strstr(mica_last_error(), "holds an earlier run"));
  char *text = file_text(metrics_path);
  assert_int_equal(markup_count(text, "\n"), 1);
  mica_free(text);
}

static void a_resume_cuts_behind_its_step(void **state) {
  (void)state;
  mica_run *run = open_run(-1);
  log_steps(run, 0, 20);
  must(mica_run_close(run));
  append_raw("{\"step\":21,\"seconds\":100,\"lo"); /* killed while writing */
  run = open_run(12);
  assert_int_equal(mica_run_log(run, 11, NULL, 0), MICA_ERR_INVALID);
  log_steps(run, 13, 14);
  must(mica_run_close(run));
  mica_metrics *m = NULL;
  must(mica_metrics_load(metrics_path, &m));
  const double *steps;
  assert_int_equal(mica_metrics_series(m, "loss", &steps, NULL), 15);
  for (int i = 0; i < 15; i++) assert_true(steps[i] == i);
  mica_metrics_free(m);
  /* damaged lines at the end go, one in the middle is an error that changes nothing */
  append_raw("{\"step\":15}\n\n{\"step\":");
  run = open_run(100);
  log_steps(run, 16, 16);
  must(mica_run_close(run));
  char *text = file_text(metrics_path);
  assert_int_equal(markup_count(text, "\n"), 17);
  mica_free(text);
  append_raw("[17]\n{\"step\":18}\n");
  char *before = file_text(metrics_path);
  mica_run_options o = MICA_RUN_OPTIONS;
  o.resume = 100;
  assert_int_equal(mica_run_open(folder, &o, &run), MICA_ERR_FORMAT);
  assert_non_null(strstr(mica_last_error(), "line 18 is damaged"));
  char *after = file_text(metrics_path);
  assert_string_equal(before, after);
  mica_free(before);
  mica_free(after);
  assert_int_equal(mica_metrics_load(metrics_path, &m), MICA_ERR_FORMAT);
  assert_non_null(strstr(mica_last_error(), "metrics.jsonl: line 18"));
}

static void seconds_continue_over_a_resume(void **state) {
  (void)state;
  append_raw("{\"step\":3,\"seconds\":5000.5}\n{\"step\":4,\"seconds\":9000}\n");
  mica_run *run = open_run(3);
  const double seconds = mica_run_seconds(run);
  assert_true(seconds >= 5000.5 && seconds < 5060);
  must(mica_run_close(run));
}

/* A child logs until it is killed at a moment of its own; every line it reported must be there. */
static void what_was_logged_survives_a_kill(void **state) {
  (void)state;
  for (int round = 0; round < 3; round++) {
    int pipe_ends[2];
    assert_int_equal(pipe(pipe_ends), 0);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
      mica_run_options o = MICA_RUN_OPTIONS;
      o.resume = round ? 1000000 : -1;
      mica_run *run = NULL;
      if (mica_run_open(folder, &o, &run)) _exit(1);
      for (int64_t step = round * 1000000;; step++) {
        const mica_measurement m = {"loss", (double)step};
        if (mica_run_log(run, step, &m, 1) ||
            write(pipe_ends[1], &step, sizeof step) != sizeof step)
          _exit(1);
      }
    }
    close(pipe_ends[1]);
    int64_t reported = -1, step;
    for (int i = 0; i < 50 + 77 * round; i++)
      if (read(pipe_ends[0], &step, sizeof step) == sizeof step) reported = step;
    kill(child, SIGKILL);
    while (read(pipe_ends[0], &step, sizeof step) == sizeof step) reported = step;
    close(pipe_ends[0]);
    int how;
    waitpid(child, &how, 0);
    assert_true(WIFSIGNALED(how));
    mica_metrics *m = NULL;
    must(mica_metrics_load(metrics_path, &m));
    const double *steps, *values;
    const int64_t n = mica_metrics_series(m, "loss", &steps, &values);
    assert_true(n > 0 && steps[n - 1] >= (double)reported && reported >= 0);
    for (int64_t i = 0; i < n; i++) assert_true(steps[i] == values[i]);
    mica_metrics_free(m);
    if (round == 0) { /* the rest of the test counts from a million */
      mica_run *run = open_run(1000000);
      must(mica_run_log(run, 1000000, NULL, 0));
      must(mica_run_close(run));
    }
    if (round == 1) {
      mica_run *run = open_run(1000000);
      must(mica_run_close(run));
    }
  }
}

/* ---- event files, read by what their description says ---- */

typedef struct event {
  double seconds;
  int64_t step;
  char version[32], tag[4][32];
  float value[4];
  int values, session;
} event;

static uint32_t masked(const uint8_t *p, size_t n) {
  uint32_t crc = ~0u;
  for (size_t i = 0; i < n * 8; i++) {
    const uint32_t bit = (crc ^ (p[i / 8] >> (i % 8))) & 1;
    crc = crc >> 1 ^ (bit ? 0x82f63b78u : 0);
  }
  crc = ~crc;
  return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

static uint64_t fixed(const uint8_t *p, int n) {
  uint64_t v = 0;
  for (int i = n - 1; i >= 0; i--) v = v << 8 | p[i];
  return v;
}

static uint64_t varint(const uint8_t **p) {
  uint64_t v = 0;
  for (int shift = 0;; shift += 7) {
    const uint8_t byte = *(*p)++;
    v |= (uint64_t)(byte & 127) << shift;
    if (byte < 128) return v;
  }
}

static void text_field(const uint8_t **p, char out[32]) {
  const uint64_t n = varint(p);
  assert_true(n < 32);
  memcpy(out, *p, n);
  out[n] = 0;
  *p += n;
}

static void read_summary(const uint8_t **p, event *e) {
  const uint64_t n = varint(p);
  for (const uint8_t *end = *p + n; *p < end;) {
    assert_int_equal(varint(p), 1 << 3 | 2);
    const uint64_t m = varint(p);
    const uint8_t *value_end = *p + m;
    assert_int_equal(varint(p), 1 << 3 | 2);
    text_field(p, e->tag[e->values]);
    assert_int_equal(varint(p), 2 << 3 | 5);
    const uint32_t bits = (uint32_t)fixed(*p, 4);
    memcpy(&e->value[e->values++], &bits, 4);
    *p += 4;
    assert_ptr_equal(*p, value_end);
  }
}

static int read_events(const char *path, event *events, int room) {
  uint8_t *bytes = NULL;
  size_t n;
  must(mica_file_read(path, 1 << 20, &bytes, &n));
  int count = 0;
  for (const uint8_t *p = bytes; p < bytes + n;) {
    const uint64_t length = fixed(p, 8);
    assert_int_equal(fixed(p + 8, 4), masked(p, 8));
    p += 12;
    assert_true(length <= n && count < room);
    event *e = &events[count++];
    memset(e, 0, sizeof *e);
    const uint8_t *end = p + length;
    assert_int_equal(fixed(end, 4), masked(p, length));
    while (p < end) {
      const uint64_t tag = varint(&p);
      if (tag == (1 << 3 | 1)) {
        const uint64_t bits = fixed(p, 8);
        memcpy(&e->seconds, &bits, 8);
        p += 8;
      } else if (tag == (2 << 3 | 0)) {
        e->step = (int64_t)varint(&p);
      } else if (tag == (3 << 3 | 2)) {
        text_field(&p, e->version);
      } else if (tag == (5 << 3 | 2)) {
        read_summary(&p, e);
      } else {
        assert_int_equal(tag, 7 << 3 | 2);
        assert_int_equal(varint(&p), 2);
        assert_int_equal(varint(&p), 1 << 3 | 0);
        e->session = (int)varint(&p);
      }
    }
    assert_ptr_equal(p, end);
    p += 4;
  }
  mica_free(bytes);
  return count;
}

static void event_files_hold_the_scalars(void **state) {
  (void)state;
  char names[8][320];
  static event events[64];
  mica_run *run = open_run(-1);
  log_steps(run, 0, 3);
  const mica_measurement large[] = {{"big", 1e300}, {"nan", NAN}};
  must(mica_run_log(run, (int64_t)1 << 40, large, 2));
  must(mica_run_close(run));
  assert_int_equal(event_files(names), 1);
  assert_int_equal(read_events(names[0], events, 64), 6);
  assert_string_equal(events[0].version, "brain.Event:2");
  assert_true(events[0].seconds > 1.6e9 && events[0].seconds < 1e11);
  for (int i = 0; i < 4; i++) {
    const event *e = &events[i + 1];
    assert_int_equal(e->step, i);
    assert_int_equal(e->values, i % 2 ? 2 : 1);
    assert_string_equal(e->tag[0], "loss");
    assert_true(e->value[0] == 1.0f / (float)(i + 1));
    assert_true(e->seconds >= events[0].seconds);
  }
  assert_string_equal(events[2].tag[1], "test/accuracy");
  assert_true(events[5].step == (int64_t)1 << 40 && isinf(events[5].value[0]) &&
              isnan(events[5].value[1]));
  /* a resume writes a file of its own and takes back what the earlier one said later */
  run = open_run(2);
  log_steps(run, 3, 3);
  must(mica_run_close(run));
  assert_int_equal(event_files(names), 2);
  assert_int_equal(read_events(names[1], events, 64), 3);
  assert_int_equal(events[1].session, 1);
  assert_int_equal(events[1].step, 3);
  mica_event_file *file = NULL;
  assert_int_equal(mica_event_file_open(names[0], -1, &file), MICA_ERR_IO); /* never overwrites */
}

static void the_masked_sum_is_the_published_one(void **state) {
  (void)state;
  assert_int_equal(masked((const uint8_t *)"123456789", 9),
                   (0xe3069283u >> 15 | 0xe3069283u << 17) + 0xa282ead8u);
}

/* ---- records ---- */

static void a_record_keeps_names_and_values(void **state) {
  (void)state;
  const char *const argv[] = {"mica", "train", "a b", "it's", "", "--lr=0.1", "$(x)"};
  mica_run_record *r = NULL, *back = NULL;
  must(mica_run_record_create(&r));
  must(mica_run_record_command(r, 7, argv));
  must(mica_run_record_integer(r, "seed", INT64_MAX));
  must(mica_run_record_number(r, "lr", 0.1));
  must(mica_run_record_number(r, "gap", NAN));
  must(mica_run_record_text(r, "note", "old"));
  must(mica_run_record_text(r, "note", "line\nand \"quotes\""));
  must(mica_run_record_environment(r));
  assert_string_equal(mica_run_record_get(r, "mica"), mica_version());
  assert_int_equal(mica_run_record_text(r, "", "x"), MICA_ERR_INVALID);
  mica_run_options o = MICA_RUN_OPTIONS;
  o.config = r;
  o.event_file = 0;
  mica_run *run = NULL;
  must(mica_run_open(folder, &o, &run));
  must(mica_run_close(run));
  char names[8][320];
  assert_int_equal(event_files(names), 0);
  must(mica_run_record_load(config_path, &back));
  assert_int_equal(mica_run_record_count(back), mica_run_record_count(r));
  for (int32_t i = 0; i < mica_run_record_count(r); i++) {
    assert_string_equal(mica_run_record_name(back, i), mica_run_record_name(r, i));
    assert_string_equal(mica_run_record_value(back, i), mica_run_record_value(r, i));
  }
  assert_string_equal(mica_run_record_get(back, "command"),
                      "mica train 'a b' 'it'\\''s' '' --lr=0.1 '$(x)'");
  assert_string_equal(mica_run_record_get(back, "seed"), "9223372036854775807");
  assert_string_equal(mica_run_record_get(back, "lr"), "0.1");
  assert_null(mica_run_record_get(back, "nothing"));
  mica_run_record_free(back);
  mica_run_record_free(r);
  static const char *const bad[] = {"[1]", "{\"a\":{}}", "{\"a\":1", "", "{\"\":1}"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    must(mica_file_write_atomic(config_path, bad[i], strlen(bad[i])));
    assert_true(mica_run_record_load(config_path, &back) != MICA_OK);
    assert_non_null(strstr(mica_last_error(), "config.json"));
  }
}

/* ---- allocation failures ---- */

static mica_status whole_life(void *ctx) {
  static const char line[] = "{\"step\":7,\"seconds\":1,\"a\":3}\n{\"step\":1001}\n";
  (void)ctx;
  mica_run_record *record = NULL;
  mica_run_options o = MICA_RUN_OPTIONS;
  mica_run *run = NULL;
  mica_metrics *m = NULL;
  const mica_measurement two[] = {{"a", 1}, {"b", 2}};
  unlink(metrics_path); /* the same work every time */
  append_raw(line);
  o.resume = 1000;
  mica_status status = mica_run_record_create(&record);
  if (!status) status = mica_run_record_integer(record, "seed", 1);
  o.config = record;
  if (!status) status = mica_run_open(folder, &o, &run);
  if (!status) status = mica_run_log(run, 1000, two, 2);
  const mica_status closed = mica_run_close(run);
  if (!status) status = closed;
  if (!status) status = mica_metrics_load(metrics_path, &m);
  mica_metrics_free(m);
  mica_run_record_free(record);
  char names[8][320];
  for (int i = event_files(names); i > 0; i--) unlink(names[i - 1]);
  return status;
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  assert_true(fail_each(whole_life, NULL) > 30);
  mica_metrics *m = NULL;
  must(mica_metrics_load(metrics_path, &m)); /* failures left whole lines only */
  mica_metrics_free(m);
}

#define IN_A_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void) {
  const struct CMUnitTest tests[] = {
      IN_A_FOLDER(metrics_come_back_as_series),
      IN_A_FOLDER(bad_lines_are_refused),
      IN_A_FOLDER(a_resume_cuts_behind_its_step),
      IN_A_FOLDER(seconds_continue_over_a_resume),
      IN_A_FOLDER(what_was_logged_survives_a_kill),
      IN_A_FOLDER(event_files_hold_the_scalars),
      cmocka_unit_test(the_masked_sum_is_the_published_one),
      IN_A_FOLDER(a_record_keeps_names_and_values),
      IN_A_FOLDER(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
