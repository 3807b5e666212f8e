/* What a report holds: numbers with keys, and parts in their order. Writing it is report_html.c's
 * and report_summary.c's. */
#include "report/report.h"

#include <string.h>

mica_status mica_report_create(const mica_report_options *options, mica_report **out) {
  static const mica_report_options defaults = MICA_REPORT_OPTIONS;
  mica_report_options o;
  mica_status status = mica_report_options_complete(&o, &defaults, sizeof o, options);
  if (status) return status;
  mica_report *report = mica_calloc(1, sizeof *report);
  if (!report) return MICA_ERR_MEMORY;
  report->title = mica_strdup(o.title ? o.title : "Report");
  report->subtitle = o.subtitle ? mica_strdup(o.subtitle) : NULL;
  if (!report->title || (o.subtitle && !report->subtitle)) {
    mica_report_free(report);
    return MICA_ERR_MEMORY;
  }
  *out = report;
  return MICA_OK;
}

static void free_part(mica_report_part *part) {
  mica_free(part->text);
  mica_free(part->name);
  mica_free(part->svg);
  mica_table_free(part->table);
}

static void free_entry(mica_report_entry *entry) {
  mica_free(entry->key);
  mica_free(entry->unit);
  mica_free(entry->label);
}

void mica_report_free(mica_report *report) {
  if (!report) return;
  for (int32_t i = 0; i < report->entry_count; i++) free_entry(&report->entries[i]);
  for (int32_t i = 0; i < report->part_count; i++) free_part(&report->parts[i]);
  mica_free(report->entries);
  mica_free(report->parts);
  mica_run_record_free(report->record);
  mica_free(report->title);
  mica_free(report->subtitle);
  mica_free(report);
}

int32_t mica_report_find(const mica_report *report, const char *key, size_t n) {
  for (int32_t i = 0; i < report->entry_count; i++)
    if (strlen(report->entries[i].key) == n && memcmp(report->entries[i].key, key, n) == 0)
      return i;
  return -1;
}

double mica_report_value(const mica_report *report, const char *key) {
  const int32_t i = report && key ? mica_report_find(report, key, strlen(key)) : -1;
  return i < 0 ? NAN : report->entries[i].value;
}

static mica_status check_key(const char *key, const char *what) {
  static const char *const reserved[] = {"report", "units", "tables", "record"};
  if (!key) return mica_fail(MICA_ERR_INVALID, "%s needs a key", what);
  if (!(key[0] >= 'a' && key[0] <= 'z') ||
      key[strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789_.")] || strlen(key) > 100)
    return mica_fail(
        MICA_ERR_INVALID,
        "the key of %s is \"%.120s\", expected a letter, then letters a-z, digits, '_' and '.'",
        what, key);
  for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
    if (strcmp(key, reserved[i]) == 0)
      return mica_fail(MICA_ERR_INVALID, "the key \"%s\" has a meaning of its own in summary.json",
                       key);
  return MICA_OK;
}

/* Parts are filled by the caller after this; the strings in `part` become the report's also on
 * failure. */
static mica_status add_part(mica_report *report, mica_report_part part) {
  if (report->part_count == report->part_room) {
    const int32_t room = report->part_room ? report->part_room * 2 : 16;
    mica_report_part *parts = mica_realloc_array(report->parts, (size_t)room, sizeof *parts);
    if (!parts) {
      free_part(&part);
      return MICA_ERR_MEMORY;
    }
    report->parts = parts;
    report->part_room = room;
  }
  report->parts[report->part_count++] = part;
  return MICA_OK;
}

/* Is a key, or what an interval's ends would be called, taken by an entry or one of its ends? */
static bool taken(const mica_report *report, const char *key) {
  const size_t n = strlen(key);
  if (mica_report_find(report, key, n) >= 0) return true;
  for (int end = 0; end < 2; end++) {
    const char *suffix = end ? "_high" : "_low";
    const size_t tail = strlen(suffix);
    if (n <= tail || strcmp(key + n - tail, suffix) != 0) continue;
    const int32_t i = mica_report_find(report, key, n - tail);
    if (i >= 0 && report->entries[i].interval) return true;
  }
  return false;
}

static mica_status add_entry(mica_report *report, const char *key, double value, double low,
                             double high, bool interval, const char *unit, const char *label) {
  if (!report) return mica_fail(MICA_ERR_INVALID, "a number needs a report");
  mica_status status = check_key(key, "a number");
  if (status) return status;
  bool used = taken(report, key);
  for (int end = 0; interval && !used && end < 2; end++) {
    char name[128];
    const size_t n = strlen(key);
    memcpy(name, key, n);
    strcpy(name + n, end ? "_high" : "_low");
    used = taken(report, name);
  }
  if (used) return mica_fail(MICA_ERR_INVALID, "the number \"%s\" was added before", key);
  if (report->entry_count == report->entry_room) {
    const int32_t room = report->entry_room ? report->entry_room * 2 : 16;
    mica_report_entry *entries = mica_realloc_array(report->entries, (size_t)room, sizeof *entries);
    if (!entries) return MICA_ERR_MEMORY;
    report->entries = entries;
    report->entry_room = room;
  }
  mica_report_entry entry = {
      .value = value, .low = low, .high = high, .interval = interval, .section = report->sections};
  entry.key = mica_strdup(key);
  entry.unit = mica_strdup(unit ? unit : "");
  entry.label = label ? mica_strdup(label) : NULL;
  if (!entry.key || !entry.unit || (label && !entry.label)) {
    free_entry(&entry);
    return MICA_ERR_MEMORY;
  }
  if (label && report->sections) {
    status = add_part(report,
                      (mica_report_part){.kind = MICA_PART_NUMBER, .number = report->entry_count});
    if (status) {
      free_entry(&entry);
      return status;
    }
  }
  report->entries[report->entry_count++] = entry;
  return MICA_OK;
}

mica_status mica_report_number(mica_report *report, const char *key, double value, const char *unit,
                               const char *label) {
  return add_entry(report, key, value, NAN, NAN, false, unit, label);
}

mica_status mica_report_interval(mica_report *report, const char *key, double value, double low,
                                 double high, const char *unit, const char *label) {
  return add_entry(report, key, value, low, high, true, unit, label);
}

mica_status mica_report_section(mica_report *report, const char *title) {
  if (!report || !title) return mica_fail(MICA_ERR_INVALID, "a section needs a report and a title");
  char *copy = mica_strdup(title);
  if (!copy) return MICA_ERR_MEMORY;
  const mica_status status =
      add_part(report, (mica_report_part){.kind = MICA_PART_SECTION, .text = copy});
  if (!status) report->sections++;
  return status;
}

/* Every {key} names a number, every other brace is doubled. */
static mica_status check_template(const mica_report *report, const char *text) {
  for (const char *at = text; *at; at++) {
    if (*at != '{' && *at != '}') continue;
    if (at[1] == *at) {
      at++;
      continue;
    }
    const char *end = *at == '{' ? strchr(at, '}') : NULL;
    if (!end)
      return mica_fail(MICA_ERR_INVALID, "a text of the report has a lone '%c'; write it twice",
                       *at);
    if (mica_report_find(report, at + 1, (size_t)(end - at - 1)) < 0)
      return mica_fail(MICA_ERR_NOT_FOUND,
                       "a text of the report names the number \"%.*s\", which is not there",
                       (int)(end - at - 1 > 100 ? 100 : end - at - 1), at + 1);
    at = end;
  }
  return MICA_OK;
}

static mica_status add_text(mica_report *report, const char *text, mica_part_kind kind) {
  if (!report || !text)
    return mica_fail(MICA_ERR_INVALID, "a text of a report needs a report and words");
  if (kind == MICA_PART_PARAGRAPH) {
    const mica_status status = check_template(report, text);
    if (status) return status;
  }
  char *copy = mica_strdup(text);
  if (!copy) return MICA_ERR_MEMORY;
  return add_part(report, (mica_report_part){.kind = kind, .text = copy});
}

mica_status mica_report_paragraph(mica_report *report, const char *text) {
  return add_text(report, text, MICA_PART_PARAGRAPH);
}

mica_status mica_report_verbatim(mica_report *report, const char *text) {
  return add_text(report, text, MICA_PART_VERBATIM);
}

mica_status mica_report_figure(mica_report *report, const mica_figure *figure,
                               const char *caption) {
  if (!report || !figure) return mica_fail(MICA_ERR_INVALID, "a figure of a report needs both");
  if (caption) {
    const mica_status status = check_template(report, caption);
    if (status) return status;
  }
  /* the root element without the style, which the page has once */
  mica_bytes svg = {0};
  mica_bytes_append(&svg, figure->svg + figure->root_begin,
                    figure->style_begin - figure->root_begin);
  mica_bytes_append(&svg, figure->svg + figure->style_end, figure->length - figure->style_end);
  mica_report_part part = {.kind = MICA_PART_FIGURE};
  const mica_status status = mica_markup_finish(&svg, &part.svg, NULL);
  if (status) return status;
  if (caption && !(part.text = mica_strdup(caption))) {
    free_part(&part);
    return MICA_ERR_MEMORY;
  }
  return add_part(report, part);
}

mica_status mica_report_table(mica_report *report, const char *name, const mica_table *table,
                              const char *caption) {
  if (!report || !table) return mica_fail(MICA_ERR_INVALID, "a table of a report needs both");
  mica_status status = check_key(name, "a table");
  if (status) return status;
  for (int32_t i = 0; i < report->part_count; i++)
    if (report->parts[i].name && strcmp(report->parts[i].name, name) == 0)
      return mica_fail(MICA_ERR_INVALID, "the table \"%s\" was added before", name);
  if (!table->columns || table->count % table->columns)
    return mica_fail(MICA_ERR_STATE,
                     "the table \"%s\" has %lld cells in %d columns, expected whole rows", name,
                     (long long)table->count, (int)table->columns);
  if (caption && (status = check_template(report, caption))) return status;
  mica_report_part part = {.kind = MICA_PART_TABLE};
  status = mica_table_copy(table, &part.table);
  if (status) return status;
  part.name = mica_strdup(name);
  if (caption) part.text = mica_strdup(caption);
  if (!part.name || (caption && !part.text)) {
    free_part(&part);
    return MICA_ERR_MEMORY;
  }
  return add_part(report, part);
}

mica_status mica_report_record(mica_report *report, const mica_run_record *record) {
  if (!report || !record) return mica_fail(MICA_ERR_INVALID, "the record of a report needs both");
  mica_run_record *copy;
  const mica_status status = mica_run_record_copy(record, &copy);
  if (status) return status;
  mica_run_record_free(report->record);
  report->record = copy;
  return MICA_OK;
}
