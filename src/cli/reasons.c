/* The phrases that an answer rests on: printed, or as a page of pictures. */
#include "cli/describe.h"

#include "base/buffer.h"
#include "base/json.h"

#include <mica/mica.h>

#include <string.h>

static void print_json(const mica_reasons *r, const char *file, int64_t classes, int64_t most) {
  mica_bytes b = {0};
  mica_json_writer w = {.out = &b};
  mica_json_begin_object(&w);
  mica_json_put_text(&w, "file", file);
  mica_json_put_text(&w, "class", r[0].name);
  mica_json_write_name(&w, "classes");
  mica_json_begin_array(&w);
  for (int64_t k = 0; k < classes; k++) {
    mica_json_begin_object(&w);
    mica_json_put_text(&w, "class", r[k].name);
    mica_json_put_double(&w, "score", 100 * r[k].score);
    mica_json_write_name(&w, "reasons");
    mica_json_begin_array(&w);
    for (int64_t j = 0; j < r[k].n && j < most; j++) {
      mica_json_begin_object(&w);
      mica_json_put_text(&w, "phrase", r[k].reason[j].text);
      mica_json_put_double(&w, "similarity", 100 * r[k].reason[j].similarity);
      mica_json_end_object(&w);
    }
    mica_json_end_array(&w);
    mica_json_end_object(&w);
  }
  mica_json_end_array(&w);
  mica_json_end_object(&w);
  mica_bytes_byte(&b, 0);
  if (b.data) puts(b.data);
  mica_bytes_free(&b);
}

static void print_csv(const mica_reasons *r, const char *file, int64_t classes, int64_t most) {
  for (int64_t k = 0; k < classes; k++)
    for (int64_t j = 0; j < r[k].n && j < most; j++) {
      cli_print_csv(file);
      printf(",%lld,", (long long)k + 1);
      cli_print_csv(r[k].name);
      printf(",%.3f,", 100 * r[k].score);
      cli_print_csv(r[k].reason[j].text);
      printf(",%.3f\n", 100 * r[k].reason[j].similarity);
    }
}

mica_status cli_print_reasons(mica_session *session, const mica_view *picture, const char *file,
                              int64_t classes, int64_t most, bool json, bool head) {
  mica_reasons *r = mica_calloc((size_t)classes, sizeof *r);
  if (!r) return MICA_ERR_MEMORY;
  const mica_status status = mica_predict_reasons(session, picture, classes, r);
  if (status == MICA_OK && json) print_json(r, file, classes, most);
  if (status == MICA_OK && !json && head) printf("file,rank,class,score,phrase,similarity\n");
  if (status == MICA_OK && !json) print_csv(r, file, classes, most);
  for (int64_t k = 0; k < classes; k++) mica_reasons_free(&r[k]);
  mica_free(r);
  return status;
}

/* ---- a page ---- */

struct reasons_page {
  mica_report *report;
  int64_t n;
};

mica_status reasons_page_create(reasons_page **out) {
  mica_report_options o = MICA_REPORT_OPTIONS;
  o.title = "What was seen, and why";
  *out = mica_calloc(1, sizeof **out);
  return *out ? mica_report_create(&o, &(*out)->report) : MICA_ERR_MEMORY;
}

void reasons_page_free(reasons_page *page) {
  if (!page) return;
  mica_report_free(page->report);
  mica_free(page);
}

static mica_status add_picture(reasons_page *page, const mica_view *picture, const char *file) {
  const int64_t *d = picture->shape.dim;
  mica_tile tile = {.caption = file};
  mica_image_grid_options o = MICA_IMAGE_GRID_OPTIONS;
  mica_figure *figure = NULL;
  tile.picture = (mica_picture){.pixels = picture->data,
                                .height = (int32_t)d[1],
                                .width = (int32_t)d[2],
                                .channels = (int32_t)d[3]};
  o.columns = 1;
  o.tile = 160;
  mica_status status = mica_figure_image_grid(&tile, 1, &o, &figure);
  if (status == MICA_OK) status = mica_report_figure(page->report, figure, NULL);
  mica_figure_free(figure);
  return status;
}

static mica_status add_table(reasons_page *page, const mica_reasons *r, int64_t classes,
                             int64_t most) {
  char name[32];
  mica_table *t = NULL;
  mica_status status = mica_table_create(&t);
  if (status == MICA_OK) status = mica_table_column(t, "class", MICA_ALIGN_LEFT);
  if (status == MICA_OK) status = mica_table_column(t, "phrase", MICA_ALIGN_LEFT);
  if (status == MICA_OK) status = mica_table_column(t, "100 x cosine", MICA_ALIGN_RIGHT);
  for (int64_t k = 0; k < classes; k++)
    for (int64_t j = -1; j < r[k].n && j < most && status == MICA_OK; j++) {
      status = mica_table_text(t, j < 0 ? r[k].name : "");
      if (status == MICA_OK) status = mica_table_text(t, j < 0 ? "all" : r[k].reason[j].text);
      if (status == MICA_OK)
        status = mica_table_number(t, 100 * (j < 0 ? r[k].score : r[k].reason[j].similarity), 4);
    }
  snprintf(name, sizeof name, "picture_%lld", (long long)page->n);
  if (status == MICA_OK) status = mica_report_table(page->report, name, t, NULL);
  mica_table_free(t);
  return status;
}

mica_status reasons_page_add(reasons_page *page, mica_session *session, const mica_view *picture,
                             const char *file, int64_t classes, int64_t most) {
  mica_reasons *r = mica_calloc((size_t)classes, sizeof *r);
  if (!r) return MICA_ERR_MEMORY;
  mica_status status = mica_predict_reasons(session, picture, classes, r);
  page->n++;
  if (status == MICA_OK) status = mica_report_section(page->report, r[0].name);
  if (status == MICA_OK) status = add_picture(page, picture, file);
  if (status == MICA_OK) status = add_table(page, r, classes, most);
  for (int64_t k = 0; k < classes; k++) mica_reasons_free(&r[k]);
  mica_free(r);
  return status;
}

mica_status reasons_page_write(reasons_page *page, const char *folder) {
  return mica_report_write(page->report, folder);
}
