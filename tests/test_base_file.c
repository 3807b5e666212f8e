/* Files: reading with a limit, mapping, atomic writing, folders. */
#include "support/failing_alloc.h"

#include "base/file.h"
#include "base/json.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[256];

/* A path inside the test's folder; one of eight buffers in turn. */
static const char *in_folder(const char *name) {
  static char paths[8][512];
  static int next;
  char *path = paths[next++ % 8];
  snprintf(path, sizeof paths[0], "%s/%s", folder, name);
  return path;
}

static int entries(const char *path) {
  DIR *dir = opendir(path);
  assert_non_null(dir);
  int n = 0;
  for (struct dirent *e; (e = readdir(dir));) n += e->d_name[0] != '.';
  closedir(dir);
  return n;
}

static int remove_all(const char *path) {
  char command[400];
  snprintf(command, sizeof command, "rm -rf '%s'", path);
  return system(command);
}

static int set_up(void **state) {
  (void)state;
  const char *base = getenv("TMPDIR");
  snprintf(folder, sizeof folder, "%s/mica-test-XXXXXX", base && *base ? base : "/tmp");
  return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state) {
  (void)state;
  return remove_all(folder);
}

static void check_content(const char *path, const void *expected, size_t n) {
  uint8_t *bytes;
  size_t got;
  if (mica_file_read(path, SIZE_MAX / 2, &bytes, &got)) fail_msg("%s", mica_last_error());
  assert_int_equal(got, n);
  if (n) assert_memory_equal(bytes, expected, n);
  assert_int_equal(bytes[n], 0);
  mica_free(bytes);
}

static void names_path(const char *path) {
  if (!strstr(mica_last_error(), path)) fail_msg("'%s' does not name %s", mica_last_error(), path);
}

static void what_is_written_is_read(void **state) {
  (void)state;
  static const size_t sizes[] = {0, 1, 1000, 65537, 2097151, 2097152, 2097153, 5000000};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    uint8_t *bytes = malloc(sizes[i] + 1);
    for (size_t k = 0; k < sizes[i]; k++) bytes[k] = (uint8_t)(k * 7 + i);
    const char *path = in_folder("data.bin");
    assert_int_equal(mica_file_write_atomic(path, bytes, sizes[i]), MICA_OK);
    check_content(path, bytes, sizes[i]);
    mica_mapping map;
    assert_int_equal(mica_file_map(path, &map), MICA_OK);
    assert_int_equal(map.n, sizes[i]);
    assert_non_null(map.bytes);
    if (map.n) assert_memory_equal(map.bytes, bytes, sizes[i]);
    mica_file_unmap(&map);
    mica_file_unmap(&map);
    free(bytes);
  }
  assert_int_equal(entries(folder), 1); /* no temporary file is left */
}

static void parts_make_a_whole(void **state) {
  (void)state;
  static const size_t parts[] = {1, 70001, 2097151, 0, 1, 2097152, 3000000, 6000000, 5};
  const size_t n = 13264311;
  uint8_t *bytes = malloc(n);
  for (size_t k = 0; k < n; k++) bytes[k] = (uint8_t)(k * 7 + k / 1000);
  const char *path = in_folder("parts.bin");
  mica_writer *w;
  assert_int_equal(mica_writer_open(path, &w), MICA_OK);
  size_t at = 0;
  for (size_t i = 0; i < sizeof parts / sizeof *parts; at += parts[i++])
    assert_int_equal(mica_writer_write(w, bytes + at, parts[i]), MICA_OK);
  assert_int_equal(at, n);
  assert_int_equal(mica_writer_commit(w), MICA_OK);
  mica_writer_close(w);
  check_content(path, bytes, n);
  unlink(path);
  free(bytes);
}

static void what_is_written_can_be_looked_at(void **state) {
  (void)state;
  const char *path = in_folder("look.bin");
  mica_writer *w;
  mica_mapping map;
  assert_int_equal(mica_writer_open(path, &w), MICA_OK);
  assert_int_equal(mica_writer_map(w, &map), MICA_OK);
  assert_int_equal(map.n, 0); /* nothing yet */
  mica_file_unmap(&map);
  assert_int_equal(mica_writer_write(w, "abc", 3), MICA_OK);
  assert_int_equal(mica_writer_map(w, &map), MICA_OK);
  assert_int_equal(map.n, 3);
  assert_memory_equal(map.bytes, "abc", 3);
  mica_file_unmap(&map);
  assert_int_equal(mica_writer_write(w, "de", 2), MICA_OK);
  assert_int_equal(mica_writer_commit(w), MICA_OK);
  mica_writer_close(w);
  check_content(path, (const uint8_t *)"abcde", 5);
  unlink(path);
  assert_int_equal(mica_writer_open("/dev/null", &w), MICA_OK);
  assert_int_equal(mica_writer_map(w, &map), MICA_ERR_IO);
  names_path("/dev/null");
  assert_int_equal(mica_writer_commit(w), MICA_ERR_IO); /* the first failure stays */
  mica_writer_close(w);
}

static void a_limit_is_kept(void **state) {
  (void)state;
  const char *path = in_folder("data.bin");
  assert_int_equal(mica_file_write_atomic(path, "0123456789", 10), MICA_OK);
  uint8_t *bytes;
  size_t n;
  assert_int_equal(mica_file_read(path, 9, &bytes, &n), MICA_ERR_FORMAT);
  assert_null(bytes);
  names_path(path);
  assert_int_equal(mica_file_read(path, 10, &bytes, &n), MICA_OK);
  mica_free(bytes);
  assert_int_equal(mica_file_read("/dev/zero", 100000, &bytes, &n), MICA_ERR_FORMAT);
  assert_null(bytes);
  assert_int_equal(mica_file_read("/dev/null", 0, &bytes, &n), MICA_OK);
  assert_int_equal(n, 0);
  mica_free(bytes);
}

static void *feed_pipe(void *ctx) {
  int fd = open(ctx, O_WRONLY);
  for (int i = 0; i < 20000 && fd >= 0; i++)
    if (write(fd, "0123456789", 10) != 10) break;
  close(fd);
  return NULL;
}

static void pipes_are_read(void **state) {
  (void)state;
  const char *path = in_folder("pipe");
  assert_int_equal(mkfifo(path, 0600), 0);
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, feed_pipe, (void *)path), 0);
  uint8_t *bytes;
  size_t n;
  assert_int_equal(mica_file_read(path, 200000, &bytes, &n), MICA_OK);
  assert_int_equal(n, 200000);
  assert_memory_equal(bytes + 199990, "0123456789", 10);
  mica_free(bytes);
  pthread_join(thread, NULL);
  unlink(path);
}

static void what_is_missing_is_named(void **state) {
  (void)state;
  uint8_t *bytes;
  size_t n;
  mica_mapping map;
  char hex[65];
  const char *none = in_folder("none.bin");
  assert_int_equal(mica_file_read(none, 10, &bytes, &n), MICA_ERR_NOT_FOUND);
  names_path(none);
  assert_non_null(strstr(mica_last_error(), "No such file"));
  assert_int_equal(mica_file_map(none, &map), MICA_ERR_NOT_FOUND);
  names_path(none);
  assert_int_equal(mica_file_sha256(none, hex), MICA_ERR_NOT_FOUND);
  names_path(none);
  assert_int_equal(mica_file_read(folder, 10, &bytes, &n), MICA_ERR_IO);
  names_path(folder);
  assert_int_equal(mica_file_map(folder, &map), MICA_ERR_IO);
  assert_int_equal(mica_file_map("/dev/null", &map), MICA_ERR_IO);
  assert_int_equal(mica_file_read("", 10, &bytes, &n), MICA_ERR_INVALID);
  assert_int_equal(mica_file_read(NULL, 10, &bytes, &n), MICA_ERR_INVALID);
  assert_int_equal(mica_file_write_atomic("", "x", 1), MICA_ERR_INVALID);
  assert_int_equal(mica_file_write_atomic(folder, "x", 1), MICA_ERR_IO);
  names_path(folder);
  const char *deeper = in_folder("no/such/folder.bin");
  assert_int_equal(mica_file_write_atomic(deeper, "x", 1), MICA_ERR_NOT_FOUND);
  names_path(deeper);
  mica_json_doc *doc;
  assert_int_equal(mica_json_read(none, 10, &doc), MICA_ERR_NOT_FOUND);
  const char *bad = in_folder("bad.json");
  assert_int_equal(mica_file_write_atomic(bad, "[1,\n2", 5), MICA_OK);
  assert_int_equal(mica_json_read(bad, 100, &doc), MICA_ERR_FORMAT);
  names_path(bad);
  assert_non_null(strstr(mica_last_error(), "line 2"));
  unlink(bad);
}

static void a_writer_can_change_its_mind(void **state) {
  (void)state;
  const char *path = in_folder("kept.bin");
  assert_int_equal(mica_file_write_atomic(path, "old", 3), MICA_OK);
  int before = entries(folder);
  mica_writer *w;
  assert_int_equal(mica_writer_open(path, &w), MICA_OK);
  assert_int_equal(mica_writer_write(w, "new", 3), MICA_OK);
  check_content(path, "old", 3); /* until the commit */
  mica_writer_close(w);
  check_content(path, "old", 3);
  assert_int_equal(entries(folder), before);
  assert_int_equal(mica_writer_open(path, &w), MICA_OK);
  assert_int_equal(mica_writer_write(w, "????five", 8), MICA_OK);
  assert_int_equal(mica_writer_patch(w, 1, "our", 3), MICA_OK);
  assert_int_equal(mica_writer_write(w, "!", 1), MICA_OK);
  assert_int_equal(mica_writer_commit(w), MICA_OK);
  assert_int_equal(mica_writer_commit(w), MICA_ERR_STATE);
  assert_int_equal(mica_writer_write(w, "x", 1), MICA_ERR_STATE);
  assert_int_equal(mica_last_status(), MICA_ERR_STATE);
  mica_writer_close(w);
  check_content(path, "?ourfive!", 9);
  assert_int_equal(mica_writer_open(path, &w), MICA_OK);
  assert_int_equal(mica_writer_patch(w, 0, "x", 1), MICA_ERR_INVALID);
  assert_int_equal(mica_writer_commit(w), MICA_ERR_INVALID); /* the first failure stays */
  mica_writer_close(w);
  mica_writer_close(NULL);
  check_content(path, "?ourfive!", 9);
  unlink(path);
}

static void permissions_and_links_are_kept(void **state) {
  (void)state;
  const char *path = in_folder("target"), *link_path = in_folder("link");
  assert_int_equal(mica_file_write_atomic(path, "a", 1), MICA_OK);
  struct stat info;
  mode_t mask = umask(0);
  umask(mask);
  assert_int_equal(stat(path, &info), 0);
  assert_int_equal(info.st_mode & 0777, 0666 & ~mask);
  assert_int_equal(chmod(path, 0640), 0);
  assert_int_equal(symlink("target", link_path), 0);
  assert_int_equal(mica_file_write_atomic(link_path, "b", 1), MICA_OK);
  check_content(path, "b", 1);
  assert_int_equal(lstat(link_path, &info), 0);
  assert_true(S_ISLNK(info.st_mode));
  assert_int_equal(stat(path, &info), 0);
  assert_int_equal(info.st_mode & 0777, 0640);
  unlink(link_path);
  unlink(path);
}

static void devices_are_not_replaced(void **state) {
  (void)state;
  assert_int_equal(mica_file_write_atomic("/dev/null", "abc", 3), MICA_OK);
  struct stat info;
  assert_int_equal(stat("/dev/null", &info), 0);
  assert_true(S_ISCHR(info.st_mode));
  if (!mica_file_exists("/dev/full")) skip();
  assert_int_equal(mica_file_write_atomic("/dev/full", "abc", 3), MICA_ERR_IO);
  names_path("/dev/full");
}

static void *write_often(void *ctx) {
  for (int i = 0; i < 20; i++)
    if (mica_file_write_atomic(in_folder("shared"), ctx, 70000)) return NULL;
  return ctx;
}

static void writers_do_not_mix(void **state) {
  (void)state;
  static char a[70000], b[70000];
  memset(a, 'a', sizeof a);
  memset(b, 'b', sizeof b);
  fflush(NULL);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) _exit(write_often(b) ? 0 : 1);
  void *mine = write_often(a);
  int status;
  waitpid(child, &status, 0);
  assert_int_equal(status, 0);
  assert_non_null(mine);
  uint8_t *bytes;
  size_t n;
  assert_int_equal(mica_file_read(in_folder("shared"), 1000000, &bytes, &n), MICA_OK);
  assert_int_equal(n, sizeof a);
  assert_true(memcmp(bytes, a, n) == 0 || memcmp(bytes, b, n) == 0);
  mica_free(bytes);
  unlink(in_folder("shared"));
}

static void folders_are_made(void **state) {
  (void)state;
  const char *deep = in_folder("x/y//z/");
  assert_int_equal(mica_make_folders(deep), MICA_OK);
  assert_true(mica_is_folder(deep));
  assert_int_equal(mica_make_folders(deep), MICA_OK);
  assert_int_equal(mica_make_parent(in_folder("p/q/file")), MICA_OK);
  assert_true(mica_is_folder(in_folder("p/q")));
  assert_false(mica_file_exists(in_folder("p/q/file")));
  assert_int_equal(mica_make_parent("file"), MICA_OK);
  assert_int_equal(mica_make_parent("/file"), MICA_OK);
  assert_int_equal(mica_file_write_atomic(in_folder("p/q/file"), "", 0), MICA_OK);
  assert_false(mica_is_folder(in_folder("p/q/file")));
  assert_true(mica_make_folders(in_folder("p/q/file/r")) != MICA_OK);
  names_path(in_folder("p/q/file"));
  assert_int_equal(mica_make_folders(""), MICA_ERR_INVALID);
  assert_int_equal(mica_make_folders("/"), MICA_OK);
  char *joined = mica_path_join("a/", "b");
  assert_string_equal(joined, "a/b");
  mica_free(joined);
  joined = mica_path_join("a", "b");
  assert_string_equal(joined, "a/b");
  mica_free(joined);
}

static void files_are_summed(void **state) {
  (void)state;
  char hex[65];
  assert_int_equal(mica_file_write_atomic(in_folder("abc"), "abc", 3), MICA_OK);
  assert_int_equal(mica_file_sha256(in_folder("abc"), hex), MICA_OK);
  assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  assert_int_equal(mica_file_sha256(folder, hex), MICA_ERR_IO);
  assert_string_equal(hex, "");
}

static mica_status everything(void *ctx) {
  (void)ctx;
  const char *path = in_folder("made/of/parts");
  char hex[65];
  uint8_t *bytes = NULL;
  size_t n;
  mica_json_doc *doc = NULL;
  mica_status status = mica_make_parent(path);
  if (!status) status = mica_file_write_atomic(path, "[1,2]", 5);
  if (!status) status = mica_file_read(path, 100, &bytes, &n);
  if (!status) status = mica_file_sha256(path, hex);
  if (!status) status = mica_json_read(path, 100, &doc);
  char *joined = status ? NULL : mica_path_join(folder, "x");
  if (!status && !joined) status = mica_last_status();
  mica_free(joined);
  mica_json_free(doc);
  mica_free(bytes);
  return status;
}

static void memory_may_run_out(void **state) {
  (void)state;
  assert_in_range(fail_each(everything, NULL), 8, 100);
  assert_int_equal(entries(in_folder("made/of")), 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_written_is_read),
      cmocka_unit_test(parts_make_a_whole),
      cmocka_unit_test(what_is_written_can_be_looked_at),
      cmocka_unit_test(a_limit_is_kept),
      cmocka_unit_test(pipes_are_read),
      cmocka_unit_test(what_is_missing_is_named),
      cmocka_unit_test(a_writer_can_change_its_mind),
      cmocka_unit_test(permissions_and_links_are_kept),
      cmocka_unit_test(devices_are_not_replaced),
      cmocka_unit_test(writers_do_not_mix),
      cmocka_unit_test(folders_are_made),
      cmocka_unit_test(files_are_summed),
      cmocka_unit_test(memory_may_run_out),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
