/* Listing the catalogue, and fetching one of its files. */
#include "cli/get.h"

#include "base/buffer.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/download.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Where the entry lies once it is fetched. */
static char *place_of(catalogue_kind kind, const catalogue_item *item) {
  char *folder = catalogue_folder(kind), name[160];
  snprintf(name, sizeof name, "%s%s", item->name, kind == CATALOGUE_MODELS ? ".mica" : "");
  char *path = folder ? mica_path_join(folder, name) : NULL;
  mica_free(folder);
  return path;
}

static void print_json(const catalogue_item *item, const char *place, bool here) {
  mica_bytes b = {0};
  mica_json_writer w = {.out = &b};
  mica_json_begin_object(&w);
  mica_json_put_text(&w, "name", item->name);
  mica_json_put_text(&w, "summary", item->summary);
  mica_json_put_text(&w, "page", item->page);
  mica_json_put_text(&w, "licence", item->licence);
  if (item->architecture) mica_json_put_text(&w, "architecture", item->architecture);
  mica_json_put_text(&w, "path", place);
  mica_json_write_name(&w, "fetched");
  mica_json_write_bool(&w, here);
  mica_json_put_text(&w, "checked", item->source);
  mica_json_write_name(&w, "files");
  mica_json_begin_array(&w);
  for (int i = 0; i < CATALOGUE_FILES && item->file[i].name; i++) {
    mica_json_begin_object(&w);
    mica_json_put_text(&w, "name", item->file[i].name);
    mica_json_put_text(&w, "url", item->file[i].url);
    mica_json_write_name(&w, "bytes");
    if (item->file[i].bytes)
      mica_json_write_int(&w, item->file[i].bytes);
    else
      mica_json_write_null(&w);
    mica_json_put_text(&w, "sha256", item->file[i].sha256);
    mica_json_end_object(&w);
  }
  mica_json_end_array(&w);
  mica_json_end_object(&w);
  if (b.status == MICA_OK) puts(b.data);
  mica_bytes_free(&b);
}

static void print_all_about(const catalogue_item *item, const char *place, bool here) {
  printf("%s: %s\n  publisher     %s\n  licence       %s\n", item->name, item->summary, item->page,
         item->licence);
  if (item->architecture)
    printf("  architecture  %s, pictures of %lldx%lldx%lld, %lld classes\n", item->architecture,
           (long long)item->side, (long long)item->side, (long long)item->channels,
           (long long)item->n_classes);
  for (int i = 0; i < CATALOGUE_FILES && item->file[i].name; i++) {
    const catalogue_file *f = &item->file[i];
    printf("  file          %s\n", f->url);
    if (f->bytes) printf("    bytes       %lld\n", (long long)f->bytes);
    printf("    sha256      %s\n", f->sha256 ? f->sha256 : "none published");
  }
  printf("  figures from  %s\n  %s %s\n", item->source, here ? "fetched      " : "would be at  ",
         place);
}

int get_list(const cli_args *a, catalogue_kind kind) {
  catalogue c;
  if (catalogue_open(kind, &c) != MICA_OK) return cli_failed(a);
  const char *only = a->n_operands > 1 ? a->operand[1] : NULL;
  int code = only && !catalogue_find(&c, only) ? cli_failed(a) : EXIT_OK;
  for (int64_t i = 0; i < c.n && code == EXIT_OK; i++) {
    const catalogue_item *item = c.item[i];
    if (only && strcmp(only, item->name) != 0) continue;
    char *place = place_of(kind, item), size[32] = "       ?";
    if (!place) {
      mica_fail(MICA_ERR_MEMORY, "out of memory");
      code = cli_failed(a);
      break;
    }
    const bool here = mica_file_exists(place) || mica_is_folder(place);
    if (catalogue_bytes(item))
      snprintf(size, sizeof size, "%8.1f", (double)catalogue_bytes(item) * 1e-6);
    if (cli_on(a, "--names"))
      puts(item->name);
    else if (cli_on(a, "--json"))
      print_json(item, place, here);
    else if (only)
      print_all_about(item, place, here);
    else
      printf("%c %-16s%s MB  %s\n", here ? '*' : ' ', item->name, size, item->summary);
    mica_free(place);
  }
  if (code == EXIT_OK && !only && !cli_on(a, "--json") && !cli_on(a, "--names"))
    printf("* is here already; `mica %s list NAME` tells publisher, licence and checksums\n",
           a->verb->name);
  catalogue_close(&c);
  return code;
}

mica_status get_file(const cli_args *a, const catalogue_item *item, int i, const char *folder,
                     char sha256[65]) {
  const catalogue_file *f = &item->file[i];
  char *to = mica_path_join(folder, f->name);
  if (!to) return mica_fail(MICA_ERR_MEMORY, "out of memory");
  mica_status status = MICA_OK;
  const bool json = cli_on(a, "--json");
  bool here = mica_file_exists(to) && !cli_on(a, "--force");
  if (here) {
    status = mica_file_sha256(to, sha256);
    here =
        status == MICA_OK && (!f->sha256 || strncasecmp(sha256, f->sha256, strlen(f->sha256)) == 0);
    if (status == MICA_OK && !here && !json)
      fprintf(stderr, "%s: is not the published file; fetched again\n", to);
  }
  if (status == MICA_OK && !here) {
    char *url = download_address(f->url);
    if (!json) fprintf(stderr, "%s\n  licence: %s\n", url ? url : f->url, item->licence);
    mica_free(url);
    status = download_file(&(download){f->url, to, f->bytes, f->sha256, json}, sha256);
  }
  if (status == MICA_OK && !json) {
    const size_t digits = f->sha256 ? strlen(f->sha256) : 0;
    if (digits == 64)
      fprintf(stderr, "  sha256 as published\n");
    else if (digits)
      fprintf(stderr, "  sha256 %s: its first %zu digits are as published\n", sha256, digits);
    else
      fprintf(stderr, "  sha256 %s: none is published to compare with\n", sha256);
  }
  mica_free(to);
  return status;
}

char *get_record(const catalogue_item *item, char sha256[][65]) {
  mica_bytes b = {0};
  mica_json_writer w = {.out = &b};
  mica_json_begin_object(&w);
  mica_json_put_text(&w, "name", item->name);
  mica_json_put_text(&w, "publisher", item->page);
  mica_json_put_text(&w, "licence", item->licence);
  mica_json_write_name(&w, "files");
  mica_json_begin_array(&w);
  for (int i = 0; i < CATALOGUE_FILES && item->file[i].name; i++) {
    mica_json_begin_object(&w);
    mica_json_put_text(&w, "url", item->file[i].url);
    mica_json_put_text(&w, "sha256", sha256[i]);
    mica_json_end_object(&w);
  }
  mica_json_end_array(&w);
  mica_json_end_object(&w);
  return mica_bytes_take(&b);
}
