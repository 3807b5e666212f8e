/* mica data: published data sets listed and fetched, and any data set looked at.
 *
 * `get NAME` assembles the set in a hidden folder beside its place and renames that: DATA/NAME is
 * there whole or not at all. Only a folder that holds our record is ever replaced.
 */
#include "cli/data_info.h"
#include "cli/get.h"
#include "cli/unpack.h"

#include "base/buffer.h"
#include "base/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RECORD ".mica.json"

typedef struct places {
  char *set;    /* DATA/NAME */
  char *work;   /* DATA/.NAME.work: downloads, and */
  char *fresh;  /* DATA/.NAME.work/NAME: what will be the set */
  char *record; /* DATA/NAME/.mica.json */
} places;

static void places_free(places *p) {
  mica_free(p->set);
  mica_free(p->work);
  mica_free(p->fresh);
  mica_free(p->record);
}

static mica_status places_of(const catalogue_item *item, places *p) {
  char *data = catalogue_folder(CATALOGUE_DATA), hidden[160];
  snprintf(hidden, sizeof hidden, ".%s.work", item->name);
  *p = (places){0};
  if (data && (p->set = mica_path_join(data, item->name)) &&
      (p->work = mica_path_join(data, hidden)) && (p->fresh = mica_path_join(p->work, item->name)))
    p->record = mica_path_join(p->set, RECORD);
  mica_free(data);
  return p->record ? MICA_OK : mica_fail(MICA_ERR_MEMORY, "out of memory");
}

static mica_status move_file(const char *from, const char *to) {
  if (rename(from, to) == 0) return MICA_OK;
  return mica_fail(MICA_ERR_IO, "%s: cannot be moved to %s: %s", from, to, strerror(errno));
}

/* Put file i, which is fetched, into the set that is being made. */
static mica_status add_file(const catalogue_item *item, int i, const places *p) {
  char *from = mica_path_join(p->work, item->file[i].name);
  char *to = mica_path_join(p->fresh, item->file[i].name);
  mica_status status = from && to ? MICA_OK : mica_fail(MICA_ERR_MEMORY, "out of memory");
  if (status == MICA_OK)
    status = item->file[i].archive ? unpack(from, p->fresh) : move_file(from, to);
  mica_free(from);
  mica_free(to);
  return status;
}

static mica_status make(const cli_args *a, const catalogue_item *item, const places *p) {
  char sha256[CATALOGUE_FILES][65] = {{0}};
  mica_status status = MICA_OK;
  for (int i = 0; i < CATALOGUE_FILES && item->file[i].name && status == MICA_OK; i++)
    status = get_file(a, item, i, p->work, sha256[i]);
  if (status == MICA_OK) status = tree_remove(p->fresh);
  if (status == MICA_OK) status = mica_make_folders(p->fresh);
  for (int i = 0; i < CATALOGUE_FILES && item->file[i].name && status == MICA_OK; i++)
    status = add_file(item, i, p);
  if (status == MICA_OK) status = unpack_lift(p->fresh);
  if (status == MICA_OK && item->class_mark)
    status = unpack_into_classes(p->fresh, item->class_mark);
  char *record = status == MICA_OK ? get_record(item, sha256) : NULL;
  char *path = record ? mica_path_join(p->fresh, RECORD) : NULL;
  if (status == MICA_OK)
    status = path ? mica_file_write_atomic(path, record, strlen(record))
                  : mica_fail(MICA_ERR_MEMORY, "out of memory");
  mica_free(path);
  mica_free(record);
  if (status == MICA_OK) status = tree_remove(p->set);
  if (status == MICA_OK) status = move_file(p->fresh, p->set);
  if (status == MICA_OK) status = tree_remove(p->work);
  return status;
}

static mica_status get(const cli_args *a, const catalogue_item *item) {
  places p;
  mica_status status = places_of(item, &p);
  if (status == MICA_OK && mica_is_folder(p.set) && !mica_file_exists(p.record)) {
    status = mica_fail(MICA_ERR_STATE,
                       "%s: is there, but was not made by `mica data get`: move it away, or set "
                       "MICA_DATA to another folder",
                       p.set);
  } else if (status == MICA_OK && mica_is_folder(p.set) && !cli_on(a, "--force")) {
    if (!cli_on(a, "--json")) fprintf(stderr, "already here; --force fetches it again\n");
  } else if (status == MICA_OK) {
    status = make(a, item, &p);
  }
  if (status == MICA_OK) cli_result(a, "data", p.set);
  places_free(&p);
  return status;
}

static int run_get(const cli_args *a) {
  catalogue c;
  cli_catch_interrupt();
  if (catalogue_open(CATALOGUE_DATA, &c) != MICA_OK) return cli_failed(a);
  const catalogue_item *item = catalogue_find(&c, a->operand[1]);
  const int code = item && get(a, item) == MICA_OK ? EXIT_OK : cli_failed(a);
  catalogue_close(&c);
  return code;
}

static int run_info(const cli_args *a) {
  char *path = catalogue_resolve(CATALOGUE_DATA, a->operand[1]);
  const int code = path ? data_info(a, path) : cli_failed(a);
  mica_free(path);
  return code;
}

static int run(const cli_args *a) {
  const char *action = a->operand[0];
  const bool info = strcmp(action, "info") == 0;
  if (strcmp(action, "list") == 0) return get_list(a, CATALOGUE_DATA);
  if (!info && strcmp(action, "get") != 0)
    return cli_usage(a, "'%s' is neither list, get nor info", action);
  if (a->n_operands < 2)
    return cli_usage(a, info ? "info of what? a folder, a file, or a name of `mica data list`"
                             : "get what? `mica data list` tells");
  return info ? run_info(a) : run_get(a);
}

static const cli_flag flags[] = {
    {"--force", NULL, NULL, NULL, "fetch again what is there already"},
    {"--names", NULL, NULL, NULL, "list names only, one a line"},
    {"--label", NULL, "COLUMN", NULL, "info of a table: the column that is to be predicted"},
    {"--interactions", NULL, NULL, NULL, "info of a log of users and items"},
    CLI_COMMON_FLAGS};

const cli_verb verb_data = {
    "data",
    "list|get|info [NAME|DIR]",
    "list published data sets, fetch one, or tell what a data set holds",
    flags,
    1,
    2,
    run,
    "examples: mica data list\n"
    "          mica data get fashion-mnist   leaves the folder fashion-mnist in the data folder\n"
    "          mica train resnet --data fashion-mnist\n"
    "          mica data info photos/        classes, parts, sizes, unreadable files\n"
    "          mica data info adult.csv --label income\n"
    "          mica data info ml-1m/         users, items, times; known by its files\n\n"
    "The folder is $MICA_DATA, else $XDG_CACHE_HOME/mica/data, else ~/.cache/mica/data.\n"
    "Files come from their publishers through the curl program, which heeds https_proxy and\n"
    "no_proxy; a download that broke off is continued, and kept only when its sha256 is right."};
