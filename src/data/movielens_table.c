/* MovieLens's folders as a table of clicks: see movielens_table.h. */
#include "data/movielens_table.h"

#include <mica/interactions.h>

#include "base/file.h"

#include <string.h>

bool mica_is_movielens(const char *folder) {
  static const char *const files[] = {"u.data", "u.data.gz", "ratings.dat", "ratings.dat.gz"};
  bool there = false;
  if (!mica_is_folder(folder)) return false;
  for (size_t k = 0; k < sizeof files / sizeof *files && !there; k++) {
    char *path = mica_path_join(folder, files[k]);
    there = path && mica_file_exists(path) && !mica_is_folder(path);
    mica_free(path);
  }
  return there;
}

/* A field, and the comma behind it. */
static void put(mica_bytes *out, const char *text) {
  const bool plain = !strpbrk(text, ",\" \t|;\r\n");
  if (!plain) mica_bytes_byte(out, '"');
  for (const char *c = text; *c; c++) {
    if (*c == '"') mica_bytes_byte(out, '"');
    mica_bytes_byte(out, *c);
  }
  mica_bytes_text(out, plain ? "," : "\",");
}

static void put_values(mica_bytes *out, const mica_attribute *a, int64_t row, mica_bytes *scratch) {
  mica_bytes_clear(scratch);
  for (int64_t k = a->offsets[row]; k < a->offsets[row + 1]; k++)
    mica_bytes_printf(scratch, "%s%s", scratch->n ? "|" : "", a->value[a->ids[k]]);
  if (scratch->status != MICA_OK) out->status = scratch->status;
  put(out, scratch->n ? scratch->data : "");
}

static bool wanted(const mica_attribute *a) {
  return strcmp(a->name, "title") != 0;
}

static void put_header(const mica_interactions *x, mica_bytes *out) {
  mica_bytes_text(out, "user,item,");
  for (int64_t i = 0; i < mica_interactions_user_attributes(x); i++)
    put(out, mica_interactions_user_attribute(x, i)->name);
  for (int64_t i = 0; i < mica_interactions_item_attributes(x); i++)
    if (wanted(mica_interactions_item_attribute(x, i)))
      put(out, mica_interactions_item_attribute(x, i)->name);
  mica_bytes_text(out, "click\n");
}

static void put_rows(const mica_interactions *x, mica_bytes *out) {
  const int64_t *offsets = mica_interactions_offsets(x), *item = mica_interactions_item(x);
  const float *rating = mica_interactions_rating(x);
  mica_bytes scratch = {0};
  for (int64_t u = 0; u < mica_interactions_users(x) && out->status == MICA_OK; u++)
    for (int64_t k = offsets[u]; k < offsets[u + 1]; k++) {
      if (rating[k] == 3) continue;
      put(out, mica_interactions_user_name(x, u));
      put(out, mica_interactions_item_name(x, item[k]));
      for (int64_t i = 0; i < mica_interactions_user_attributes(x); i++)
        put_values(out, mica_interactions_user_attribute(x, i), u, &scratch);
      for (int64_t i = 0; i < mica_interactions_item_attributes(x); i++)
        if (wanted(mica_interactions_item_attribute(x, i)))
          put_values(out, mica_interactions_item_attribute(x, i), item[k], &scratch);
      mica_bytes_text(out, rating[k] > 3 ? "1\n" : "0\n");
    }
  mica_bytes_free(&scratch);
}

mica_status mica_movielens_text(const char *folder, mica_bytes *out) {
  mica_interactions_options o = MICA_INTERACTIONS_OPTIONS;
  mica_interactions *x;
  o.format = "movielens";
  const mica_status status = mica_interactions_open(folder, &o, &x);
  if (status != MICA_OK) return status;
  put_header(x, out);
  put_rows(x, out);
  mica_interactions_free(x);
  return out->status;
}
