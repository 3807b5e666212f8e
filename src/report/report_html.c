/* The report as one page that needs nothing beside it, and summary.json with the same numbers. */
#include "report/report.h"

#include <string.h>

#include "base/file.h"
#include "report/number.h"

/* A number as readers see it, with its unit. */
static void put_value(mica_bytes *out, double value, const char *unit) {
  char number[MICA_NUMBER_TEXT];
  const char *suffix;
  mica_markup_escaped(out, mica_number_unit(number, value, unit, &suffix));
  if (*suffix && isfinite(value)) {
    mica_bytes_text(out, "&#8239;");
    mica_markup_escaped(out, suffix);
  }
}

static void put_interval(mica_bytes *out, const mica_report_entry *e) {
  put_value(out, e->low, e->unit);
  mica_bytes_text(out, " to ");
  put_value(out, e->high, e->unit);
}

/* A paragraph or caption with its numbers put in. */
static void put_template(mica_bytes *out, const mica_report *report, const char *text) {
  const char *begin = text;
  for (const char *at = text; *at;) {
    if (*at != '{' && *at != '}') {
      at++;
      continue;
    }
    mica_markup_escaped_n(out, begin, (size_t)(at - begin));
    if (at[1] == *at) {
      mica_bytes_byte(out, *at);
      at += 2;
    } else {
      const char *end = strchr(at, '}');
      const int32_t i = mica_report_find(report, at + 1, (size_t)(end - at - 1));
      put_value(out, report->entries[i].value, report->entries[i].unit);
      at = end + 1;
    }
    begin = at;
  }
  mica_markup_escaped(out, begin);
}

static void put_card(mica_bytes *out, const mica_report_entry *e) {
  mica_bytes_text(out, "<div class=\"card\"><dt>");
  mica_markup_escaped(out, e->label);
  mica_bytes_text(out, "</dt><dd>");
  put_value(out, e->value, e->unit);
  if (e->interval) {
    mica_bytes_text(out, "<small>");
    put_interval(out, e);
    mica_bytes_text(out, "</small>");
  }
  mica_bytes_text(out, "</dd></div>\n");
}

static void put_part(mica_bytes *out, const mica_report *report, int32_t *i) {
  const mica_report_part *part = &report->parts[*i];
  switch (part->kind) {
  case MICA_PART_SECTION: break; /* the caller's */
  case MICA_PART_PARAGRAPH:
    mica_bytes_text(out, "<p>");
    put_template(out, report, part->text);
    mica_bytes_text(out, "</p>\n");
    break;
  case MICA_PART_VERBATIM:
    mica_bytes_text(out, "<pre>");
    mica_markup_escaped(out, part->text);
    mica_bytes_text(out, "</pre>\n");
    break;
  case MICA_PART_FIGURE:
  case MICA_PART_TABLE:
    mica_bytes_text(out,
                    part->kind == MICA_PART_FIGURE ? "<figure>\n" : "<figure class=\"table\">\n");
    if (part->kind == MICA_PART_FIGURE)
      mica_bytes_text(out, part->svg);
    else
      mica_table_html(part->table, out);
    if (part->text) {
      mica_bytes_text(out, "<figcaption>");
      put_template(out, report, part->text);
      mica_bytes_text(out, "</figcaption>\n");
    }
    mica_bytes_text(out, "</figure>\n");
    break;
  case MICA_PART_NUMBER: /* neighbours share a row */
    mica_bytes_text(out, "<dl class=\"cards\">\n");
    while (*i < report->part_count && report->parts[*i].kind == MICA_PART_NUMBER)
      put_card(out, &report->entries[report->parts[(*i)++].number]);
    mica_bytes_text(out, "</dl>\n");
    return;
  }
  (*i)++;
}

/* Every number under its key, and the record: folded, for those who want to check or repeat. */
static void put_record(mica_bytes *out, const mica_report *report) {
  if (report->entry_count) {
    mica_bytes_text(
        out,
        "<details><summary>All numbers, as in summary.json</summary>\n"
        "<table><thead><tr><th scope=\"col\">key</th><th scope=\"col\" class=\"right\">value</th>"
        "<th scope=\"col\">unit</th></tr></thead><tbody>\n");
    for (int32_t i = 0; i < report->entry_count; i++) {
      const mica_report_entry *e = &report->entries[i];
      const double value[3] = {e->value, e->low, e->high};
      static const char *const suffix[3] = {"", "_low", "_high"};
      for (int k = 0; k < (e->interval ? 3 : 1); k++) {
        char number[MICA_NUMBER_TEXT];
        mica_bytes_text(out, "<tr><td><code>");
        mica_markup_escaped(out, e->key);
        mica_bytes_text(out, suffix[k]);
        mica_bytes_text(out, "</code></td><td class=\"right\">");
        mica_bytes_text(out, mica_number_significant(number, value[k], 8, true));
        mica_bytes_text(out, "</td><td>");
        mica_markup_escaped(out, e->unit);
        mica_bytes_text(out, "</td></tr>\n");
      }
    }
    mica_bytes_text(out, "</tbody></table></details>\n");
  }
  if (!report->record) return;
  mica_bytes_text(
      out, "<details><summary>Record of the run</summary>\n<table class=\"record\"><tbody>\n");
  for (int32_t i = 0; i < mica_run_record_count(report->record); i++) {
    mica_bytes_text(out, "<tr><th scope=\"row\">");
    mica_markup_escaped(out, mica_run_record_name(report->record, i));
    mica_bytes_text(out, "</th><td><code>");
    mica_markup_escaped(out, mica_run_record_value(report->record, i));
    mica_bytes_text(out, "</code></td></tr>\n");
  }
  mica_bytes_text(out, "</tbody></table></details>\n");
}

static void put_key_figures(mica_bytes *out, const mica_report *report) {
  bool any = false;
  for (int32_t i = 0; i < report->entry_count; i++) {
    const mica_report_entry *e = &report->entries[i];
    if (e->section || !e->label) continue;
    if (!any) mica_bytes_text(out, "<dl class=\"cards top\">\n");
    any = true;
    put_card(out, e);
  }
  if (any) mica_bytes_text(out, "</dl>\n");
}

/* Links to the sections, when there are enough to need them. */
static void put_contents(mica_bytes *out, const mica_report *report) {
  if (report->sections < 3) return;
  mica_bytes_text(out, "<nav><ul>\n");
  for (int32_t i = 0, section = 0; i < report->part_count; i++) {
    if (report->parts[i].kind != MICA_PART_SECTION) continue;
    mica_bytes_printf(out, "<li><a href=\"#s%d\">", (int)++section);
    mica_markup_escaped(out, report->parts[i].text);
    mica_bytes_text(out, "</a></li>\n");
  }
  mica_bytes_text(out, "</ul></nav>\n");
}

mica_status mica_report_html(const mica_report *report, char **out) {
  if (!report) return mica_fail(MICA_ERR_INVALID, "writing a report needs one");
  mica_bytes b = {0};
  mica_bytes_text(&b, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
                      "<meta name=\"color-scheme\" content=\"light dark\">\n"
                      "<link rel=\"icon\" href=\"data:,\">\n<title>");
  mica_markup_escaped(&b, report->title);
  mica_bytes_text(&b, "</title>\n<style>\n");
  mica_bytes_text(&b, mica_report_style);
  mica_bytes_text(&b, mica_figure_style);
  mica_bytes_text(&b, "\n</style>\n</head>\n<body>\n<header>\n<h1>");
  mica_markup_escaped(&b, report->title);
  mica_bytes_text(&b, "</h1>\n");
  if (report->subtitle) {
    mica_bytes_text(&b, "<p class=\"subtitle\">");
    mica_markup_escaped(&b, report->subtitle);
    mica_bytes_text(&b, "</p>\n");
  }
  put_key_figures(&b, report);
  put_contents(&b, report);
  mica_bytes_text(&b, "</header>\n<main>\n");
  int32_t section = 0;
  for (int32_t i = 0; i < report->part_count;) {
    if (report->parts[i].kind != MICA_PART_SECTION) {
      put_part(&b, report, &i);
      continue;
    }
    if (section) mica_bytes_text(&b, "</section>\n");
    mica_bytes_printf(&b, "<section id=\"s%d\">\n<h2>", (int)++section);
    mica_markup_escaped(&b, report->parts[i++].text);
    mica_bytes_text(&b, "</h2>\n");
  }
  if (section) mica_bytes_text(&b, "</section>\n");
  put_record(&b, report);
  mica_bytes_text(&b, "</main>\n<footer>Written by mica ");
  mica_bytes_text(&b, mica_version());
  mica_bytes_text(&b, "</footer>\n<script>\n");
  mica_bytes_text(&b, mica_report_script);
  mica_bytes_text(&b, "</script>\n</body>\n</html>\n");
  return mica_markup_finish(&b, out, NULL);
}

mica_status mica_report_summary(const mica_report *report, char **out) {
  if (!report) return mica_fail(MICA_ERR_INVALID, "writing a report needs one");
  mica_bytes b = {0};
  mica_json_writer w = {&b, 2, 0, 0, false};
  mica_json_begin_object(&w);
  for (int32_t i = 0; i < report->entry_count; i++) {
    const mica_report_entry *e = &report->entries[i];
    mica_json_put_double(&w, e->key, e->value);
    if (!e->interval) continue;
    const double end[2] = {e->low, e->high};
    for (int k = 0; k < 2; k++) {
      char name[128];
      strcpy(name, e->key); /* at most 100 bytes, checked when it was added */
      strcat(name, k ? "_high" : "_low");
      mica_json_put_double(&w, name, end[k]);
    }
  }
  mica_json_write_name(&w, "report");
  mica_json_begin_object(&w);
  mica_json_put_text(&w, "title", report->title);
  mica_json_put_text(&w, "mica", mica_version());
  mica_json_end_object(&w);
  mica_json_write_name(&w, "units");
  mica_json_begin_object(&w);
  for (int32_t i = 0; i < report->entry_count; i++) {
    if (!report->entries[i].unit[0]) continue;
    mica_json_put_text(&w, report->entries[i].key, report->entries[i].unit);
  }
  mica_json_end_object(&w);
  mica_json_write_name(&w, "tables");
  mica_json_begin_object(&w);
  for (int32_t i = 0; i < report->part_count; i++) {
    if (report->parts[i].kind != MICA_PART_TABLE) continue;
    mica_json_write_name(&w, report->parts[i].name);
    mica_table_json(report->parts[i].table, &w);
  }
  mica_json_end_object(&w);
  if (report->record) {
    mica_json_write_name(&w, "record");
    mica_run_record_json(report->record, &w);
  }
  mica_json_end_object(&w);
  mica_bytes_byte(&b, '\n');
  return mica_markup_finish(&b, out, NULL);
}

static mica_status write_file(const char *directory, const char *name, const char *text) {
  char *path = mica_path_join(directory, name);
  if (!path) return MICA_ERR_MEMORY;
  const mica_status status = mica_file_write_atomic(path, text, strlen(text));
  mica_free(path);
  return status;
}

mica_status mica_report_write(const mica_report *report, const char *directory) {
  if (!report || !directory || !*directory)
    return mica_fail(MICA_ERR_INVALID, "writing a report needs one and a folder");
  mica_status status = mica_make_folders(directory);
  char *html = NULL, *summary = NULL;
  if (!status) status = mica_report_html(report, &html);
  if (!status) status = mica_report_summary(report, &summary);
  if (!status) status = write_file(directory, "summary.json", summary);
  if (!status) status = write_file(directory, "report.html", html);
  mica_free(html);
  mica_free(summary);
  return status;
}
