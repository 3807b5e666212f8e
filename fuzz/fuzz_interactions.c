/* Any bytes as a log of users and items, in every format and by content, and as what is known of
 * them; what was read must be in order, split into parts, and give negatives that were not seen. */
#include <mica/interactions.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look(const mica_interactions *x, uint8_t how) {
  const int64_t n = mica_interactions_count(x), users = mica_interactions_users(x);
  const int64_t items = mica_interactions_items(x), *offsets = mica_interactions_offsets(x);
  const int64_t *item = mica_interactions_item(x), *time = mica_interactions_time(x);
  uint8_t *part = malloc((size_t)n);
  if (!part || n < 1 || offsets[0] != 0 || offsets[users] != n) abort();
  for (int64_t u = 0; u < users; u++)
    for (int64_t k = offsets[u]; k < offsets[u + 1]; k++) {
      if (item[k] < 0 || item[k] >= items || !mica_interactions_seen(x, u, item[k])) abort();
      if (time && k > offsets[u] && time[k] < time[k - 1]) abort();
    }
  mica_split_options o = MICA_SPLIT_OPTIONS;
  o.kind = (mica_split_kind)(how % 5);
  if (mica_interactions_split(x, &o, part)) memset(part, MICA_PART_TRAIN, (size_t)n);
  mica_negative_options no = MICA_NEGATIVE_OPTIONS;
  mica_negatives *s;
  no.kind = (mica_negative_kind)(how & 1);
  if (!mica_negatives_create(x, part, &no, &s)) {
    int64_t list[4];
    const int64_t user = users - 1;
    if (!mica_negatives_list(s, user, 2, list) && list[0] == list[1]) abort();
    if (!mica_negatives_draw(s, 1, 1, &user, 4, list))
      for (int k = 0; k < 4; k++)
        if (mica_interactions_seen(x, user, list[k])) abort();
    mica_negatives_free(s);
  }
  free(part);
}

static void write_file(const char *dir, const char *name, const void *bytes, size_t n) {
  char path[64];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  FILE *f = fopen(path, "wb");
  if (!f || fwrite(bytes, 1, n, f) != n || fclose(f)) abort();
}

static void look_at(const mica_attribute *a, int64_t rows) {
  if (!a || a->offsets[0] != 0) abort();
  for (int64_t row = 0; row < rows; row++)
    for (int64_t k = a->offsets[row]; k < a->offsets[row + 1]; k++)
      if (a->ids[k] < 0 || a->ids[k] >= a->values) abort();
}

/* The bytes as what is known of the users and items of a log. */
static void beside_a_log(const uint8_t *data, size_t size, bool old) {
  static const char u_data[] = "1\t1\t5\t9\n2\t2\t3\t8\n", ratings[] = "1::1::5::9\n2::2::3::8\n";
  const char *const names[] = {old ? "u.data" : "ratings.dat", old ? "u.user" : "users.dat",
                               old ? "u.item" : "movies.dat"};
  char dir[] = "/tmp/mica-fuzz-XXXXXX", path[64];
  mica_interactions *x;
  if (!mkdtemp(dir)) abort();
  write_file(dir, names[0], old ? u_data : ratings, strlen(old ? u_data : ratings));
  write_file(dir, names[1], data, size);
  write_file(dir, names[2], data, size);
  if (!mica_interactions_open(dir, NULL, &x)) {
    for (int64_t i = 0; i < mica_interactions_user_attributes(x); i++)
      look_at(mica_interactions_user_attribute(x, i), mica_interactions_users(x));
    for (int64_t i = 0; i < mica_interactions_item_attributes(x); i++)
      look_at(mica_interactions_item_attribute(x, i), mica_interactions_items(x));
    mica_interactions_free(x);
  }
  for (int k = 0; k < 3; k++) {
    snprintf(path, sizeof path, "%s/%s", dir, names[k]);
    remove(path);
  }
  rmdir(dir);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const formats[] = {NULL, "movielens", "csv", "reviews", "sequences", "pairs"};
  if (!size) return 0;
  const uint8_t how = data[0];
  data++, size--;
  if ((how & 7) > 5) {
    beside_a_log(data, size, (how & 7) == 6);
    return 0;
  }
  const int fd = memfd_create("fuzz", MFD_CLOEXEC);
  if (fd < 0 || write(fd, data, size) != (ssize_t)size) abort();
  char path[40];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  mica_interactions_options o = MICA_INTERACTIONS_OPTIONS;
  mica_interactions *x;
  o.format = formats[how & 7];
  o.unique = how & 8;
  o.min_user = o.min_item = how >> 4 & 3;
  o.core = how & 64;
  if (!mica_interactions_open(path, &o, &x)) {
    look(x, how);
    if (mica_interactions_add_item_attribute(x, "self", path)) mica_clear_error();
    mica_interactions_free(x);
  }
  close(fd);
  return 0;
}
