/* What a log of users and items holds. */
#include "cli/data_info.h"

#include <mica/interactions.h>

#include "base/buffer.h"
#include "base/json.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct spread {
  int64_t least, middle, most;
} spread;

static int by_number(const void *p, const void *q) {
  const int64_t a = *(const int64_t *)p, b = *(const int64_t *)q;
  return a < b ? -1 : a > b;
}

static spread spread_of(int64_t *count, int64_t n) {
  qsort(count, (size_t)n, sizeof *count, by_number);
  return (spread){count[0], count[n / 2], count[n - 1]};
}

typedef struct summary {
  int64_t users, items, n;
  spread user, item;
  double rating[2];
  int64_t time[2];
} summary;

static mica_status summarise(const mica_interactions *x, summary *s) {
  s->users = mica_interactions_users(x);
  s->items = mica_interactions_items(x);
  s->n = mica_interactions_count(x);
  const int64_t *offsets = mica_interactions_offsets(x), *item = mica_interactions_item(x);
  int64_t *count = mica_calloc((size_t)(s->users + s->items), sizeof *count);
  if (!count) return MICA_ERR_MEMORY;
  for (int64_t u = 0; u < s->users; u++) count[u] = offsets[u + 1] - offsets[u];
  for (int64_t k = 0; k < s->n; k++) count[s->users + item[k]]++;
  s->user = spread_of(count, s->users);
  s->item = spread_of(count + s->users, s->items);
  mica_free(count);
  const float *rating = mica_interactions_rating(x);
  const int64_t *moment = mica_interactions_time(x);
  for (int64_t k = 0; k < s->n; k++) {
    if (rating && (!k || (double)rating[k] < s->rating[0])) s->rating[0] = (double)rating[k];
    if (rating && (!k || (double)rating[k] > s->rating[1])) s->rating[1] = (double)rating[k];
    if (moment && (!k || moment[k] < s->time[0])) s->time[0] = moment[k];
    if (moment && (!k || moment[k] > s->time[1])) s->time[1] = moment[k];
  }
  return MICA_OK;
}

/* The day of a time in seconds, or the number where it is none. */
static void day_of(int64_t moment, char text[32]) {
  const time_t t = (time_t)moment;
  struct tm day;
  if (moment < 0 || moment > 32503680000 || !gmtime_r(&t, &day) ||
      !strftime(text, 32, "%Y-%m-%d", &day))
    snprintf(text, 32, "%lld", (long long)moment);
}

static void print_attribute(const char *of, const mica_attribute *a) {
  printf("%s %-15s %lld values\n", of, a->name, (long long)a->values);
}

static void print_text(const mica_interactions *x, const summary *s, const char *path) {
  printf("%s: interactions (%s), %lld of %lld users with %lld items, %.3f%% of all pairs\n", path,
         mica_interactions_format(x), (long long)s->n, (long long)s->users, (long long)s->items,
         100 * (double)s->n / ((double)s->users * (double)s->items));
  printf("of a user: %lld to %lld, half have up to %lld\n", (long long)s->user.least,
         (long long)s->user.most, (long long)s->user.middle);
  printf("of an item: %lld to %lld, half have up to %lld\n", (long long)s->item.least,
         (long long)s->item.most, (long long)s->item.middle);
  if (mica_interactions_rating(x)) printf("ratings: %g to %g\n", s->rating[0], s->rating[1]);
  if (mica_interactions_time(x)) {
    char from[32], to[32];
    day_of(s->time[0], from);
    day_of(s->time[1], to);
    printf("times: %s to %s\n", from, to);
  }
  for (int64_t i = 0; i < mica_interactions_user_attributes(x); i++)
    print_attribute("user", mica_interactions_user_attribute(x, i));
  for (int64_t i = 0; i < mica_interactions_item_attributes(x); i++)
    print_attribute("item", mica_interactions_item_attribute(x, i));
  if (mica_interactions_skipped(x))
    printf("%lld lines cannot be used:\n%s", (long long)mica_interactions_skipped(x),
           mica_interactions_skipped_text(x));
}

static void put_spread(mica_json_writer *w, const char *name, const spread *s) {
  mica_json_write_name(w, name);
  mica_json_begin_object(w);
  mica_json_put_int(w, "least", s->least);
  mica_json_put_int(w, "middle", s->middle);
  mica_json_put_int(w, "most", s->most);
  mica_json_end_object(w);
}

static mica_status print_json(const mica_interactions *x, const summary *s, const char *path) {
  mica_bytes b = {0};
  mica_json_writer w = {.out = &b};
  mica_json_begin_object(&w);
  mica_json_put_text(&w, "path", path);
  mica_json_put_text(&w, "kind", "interactions");
  mica_json_put_text(&w, "format", mica_interactions_format(x));
  mica_json_put_int(&w, "interactions", s->n);
  mica_json_put_int(&w, "users", s->users);
  mica_json_put_int(&w, "items", s->items);
  put_spread(&w, "of_a_user", &s->user);
  put_spread(&w, "of_an_item", &s->item);
  if (mica_interactions_time(x)) {
    mica_json_put_int(&w, "time_first", s->time[0]);
    mica_json_put_int(&w, "time_last", s->time[1]);
  }
  mica_json_put_int(&w, "unreadable", mica_interactions_skipped(x));
  mica_json_end_object(&w);
  const mica_status status = b.status;
  if (status == MICA_OK) puts(b.data);
  mica_bytes_free(&b);
  return status;
}

int data_interactions(const cli_args *a, const char *path) {
  mica_interactions *x;
  summary s = {0};
  mica_status status = mica_interactions_open(path, NULL, &x);
  if (status == MICA_OK) {
    status = summarise(x, &s);
    if (status == MICA_OK && cli_on(a, "--json"))
      status = print_json(x, &s, path);
    else if (status == MICA_OK)
      print_text(x, &s, path);
    mica_interactions_free(x);
  }
  return status == MICA_OK ? EXIT_OK : cli_failed(a);
}
