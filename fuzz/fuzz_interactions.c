/* Any bytes as a log of users and items, in every format and by content; what was read must be in
 * order, split into parts, and give negatives that were not seen. */
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const formats[] = {NULL,        "movielens", "csv", "reviews",
                                        "sequences", "pairs",     NULL,  NULL};
  if (!size) return 0;
  const uint8_t how = data[0];
  data++, size--;
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
