/* Tables: cells are kept as they are shown, numbers with their full value beside, and are written
 * as aligned text, as HTML and as JSON. */
#include "report/table.h"

#include <string.h>

#include "base/number.h"
#include "report/figure.h"
#include "report/number.h"

enum { COLUMNS_MAX = 64 };

mica_status mica_table_create(mica_table **out) {
  mica_table *table = mica_calloc(1, sizeof *table);
  if (!table) return MICA_ERR_MEMORY;
  *out = table;
  return MICA_OK;
}

void mica_table_free(mica_table *table) {
  if (!table) return;
  for (int32_t i = 0; i < table->columns; i++) mica_free(table->heads[i].text);
  for (int64_t i = 0; i < table->count; i++) mica_free(table->cells[i].text);
  mica_free(table->heads);
  mica_free(table->cells);
  mica_free(table);
}

mica_status mica_table_column(mica_table *table, const char *head, mica_align align) {
  if (!table || !head) return mica_fail(MICA_ERR_INVALID, "a column needs a table and a head");
  if (table->count) return mica_fail(MICA_ERR_STATE, "a table with cells gets no more columns");
  if (table->columns == COLUMNS_MAX)
    return mica_fail(MICA_ERR_INVALID, "a table of more than %d columns", COLUMNS_MAX);
  char *text = mica_strdup(head);
  mica_table_head *heads =
      text ? mica_realloc_array(table->heads, (size_t)table->columns + 1, sizeof *heads) : NULL;
  if (!heads) {
    mica_free(text);
    return MICA_ERR_MEMORY;
  }
  table->heads = heads;
  heads[table->columns++] = (mica_table_head){text, align};
  return MICA_OK;
}

static mica_status add(mica_table *table, const char *text, double value, bool number) {
  if (!table || !table->columns)
    return mica_fail(MICA_ERR_STATE, "a cell needs a table with columns");
  if (table->count == table->room) {
    const int64_t room = table->room ? table->room * 2 : 32;
    mica_table_cell *cells = mica_realloc_array(table->cells, (size_t)room, sizeof *cells);
    if (!cells) return MICA_ERR_MEMORY;
    table->cells = cells;
    table->room = room;
  }
  char *copy = NULL;
  if (text && !(copy = mica_strdup(text))) return MICA_ERR_MEMORY;
  table->cells[table->count++] = (mica_table_cell){copy, value, number};
  return MICA_OK;
}

mica_status mica_table_text(mica_table *table, const char *text) {
  return add(table, text, 0, false);
}

mica_status mica_table_number(mica_table *table, double value, int digits) {
  char number[MICA_NUMBER_TEXT];
  if (digits < 1 || digits > 17)
    return mica_fail(MICA_ERR_INVALID, "a number with %d digits, expected 1 to 17", digits);
  return add(table, mica_number_significant(number, value, digits, false), value, true);
}

mica_status mica_table_integer(mica_table *table, int64_t value) {
  char number[MICA_NUMBER_TEXT];
  return add(table, mica_number_grouped(number, value), (double)value, true);
}

mica_status mica_table_shown(mica_table *table, double value, const char *text) {
  if (!text) return mica_fail(MICA_ERR_INVALID, "a number shown as text needs the text");
  return add(table, text, value, true);
}

int64_t mica_table_rows(const mica_table *table) {
  return table && table->columns ? table->count / table->columns : 0;
}

int32_t mica_table_columns(const mica_table *table) {
  return table ? table->columns : 0;
}

mica_status mica_table_copy(const mica_table *table, mica_table **out) {
  mica_table *copy;
  mica_status status = mica_table_create(&copy);
  if (status) return status;
  for (int32_t i = 0; !status && i < table->columns; i++)
    status = mica_table_column(copy, table->heads[i].text, table->heads[i].align);
  for (int64_t i = 0; !status && i < table->count; i++)
    status = add(copy, table->cells[i].text, table->cells[i].value, table->cells[i].number);
  if (status) {
    mica_table_free(copy);
    return status;
  }
  *out = copy;
  return MICA_OK;
}

/* ---- text ---- */

static int32_t columns_of(const char *text) {
  int32_t width = 0;
  while (text && *text) {
    uint32_t code;
    text += mica_utf8_next(text, &code);
    width += mica_code_is_text(code) ? mica_code_columns(code) : 1;
  }
  return width;
}

static void spaces(mica_bytes *out, int32_t n) {
  for (; n > 0; n--) mica_bytes_byte(out, ' ');
}

/* One cell in `width` columns, cut with an ellipsis; a tab, a line's end and other controls must
 * not reach the terminal. `last` cells on the left get no spaces behind them. */
static void put_cell(mica_bytes *out, const char *text, int32_t width, mica_align align,
                     bool last) {
  const int32_t full = columns_of(text);
  const bool cut = full > width;
  int32_t used = cut ? width : full;
  if (align == MICA_ALIGN_RIGHT) spaces(out, width - used);
  int32_t written = 0;
  while (text && *text) {
    uint32_t code;
    const int bytes = mica_utf8_next(text, &code);
    const bool plain =
        mica_code_is_text(code) && code != '\t' && code != '\n' && code != '\r' && code != 0xfffd;
    const int32_t columns = plain ? mica_code_columns(code) : 1;
    if (cut && written + columns > width - 1) break;
    if (plain)
      mica_bytes_append(out, text, (size_t)bytes);
    else
      mica_bytes_text(out, "\xef\xbf\xbd");
    written += columns;
    text += bytes;
  }
  if (cut && width > 0) {
    mica_bytes_text(out, "\u2026");
    written++;
  }
  if (align == MICA_ALIGN_LEFT && !last) spaces(out, width - written);
}

/* Narrow left-aligned columns, the widest first, until the table fits; none below 8. */
static void fit_widths(const mica_table *table, int32_t *width, int32_t room) {
  for (;;) {
    int32_t total = 0, widest = -1, second = 8;
    for (int32_t k = 0; k < table->columns; k++) {
      total += width[k] + (k ? 2 : 0);
      if (table->heads[k].align != MICA_ALIGN_LEFT || width[k] <= 8) continue;
      if (widest < 0 || width[k] > width[widest]) widest = k;
    }
    if (total <= room || widest < 0) return;
    for (int32_t k = 0; k < table->columns; k++)
      if (k != widest && table->heads[k].align == MICA_ALIGN_LEFT && width[k] > second &&
          width[k] < width[widest])
        second = width[k];
    /* down to the second widest, or as far as needed, at least by one */
    int32_t cut = width[widest] - second;
    if (cut > total - room) cut = total - room;
    if (cut < 1) cut = 1;
    width[widest] -= cut;
  }
}

mica_status mica_table_render(const mica_table *table, const mica_table_options *options,
                              char **out) {
  static const mica_table_options defaults = MICA_TABLE_OPTIONS;
  mica_table_options o;
  mica_status status = mica_report_options_complete(&o, &defaults, sizeof o, options);
  if (status) return status;
  if (!table || o.width < 0 || o.indent < 0 || o.indent > 200)
    return mica_fail(MICA_ERR_INVALID, "a table in %d columns with an indent of %d", (int)o.width,
                     (int)o.indent);
  const int64_t rows = mica_table_rows(table);
  int32_t width[COLUMNS_MAX] = {0};
  for (int32_t k = 0; k < table->columns; k++) {
    width[k] = columns_of(table->heads[k].text);
    for (int64_t r = 0; r < rows; r++) {
      const int32_t w = columns_of(table->cells[r * table->columns + k].text);
      if (w > width[k]) width[k] = w;
    }
  }
  if (o.width > 0) fit_widths(table, width, o.width > o.indent ? o.width - o.indent : 1);
  mica_bytes text = {0};
  for (int64_t r = o.rule ? -2 : -1; r < rows; r++) {
    const bool heads = r == (o.rule ? -2 : -1);
    spaces(&text, o.indent);
    for (int32_t k = 0; k < table->columns; k++) {
      const bool last = k + 1 == table->columns;
      if (k) spaces(&text, 2);
      if (!heads && r < 0) {
        for (int32_t i = 0; i < width[k]; i++) mica_bytes_byte(&text, '-');
      } else {
        put_cell(&text, heads ? table->heads[k].text : table->cells[r * table->columns + k].text,
                 width[k], table->heads[k].align, last);
      }
    }
    while (text.n && !text.status && text.data[text.n - 1] == ' ') text.data[--text.n] = 0;
    mica_bytes_byte(&text, '\n');
  }
  return mica_markup_finish(&text, out, NULL);
}

/* ---- Markdown ---- */

/* A cell on one line; a bar would end it, and '<' begin a tag. */
static void put_markdown(mica_bytes *out, const char *text) {
  for (; text && *text; text++) {
    if (*text == '|' || *text == '<') mica_bytes_byte(out, '\\');
    mica_bytes_byte(out, *text == '\n' || *text == '\r' ? ' ' : *text);
  }
}

mica_status mica_table_markdown(const mica_table *table, char **out) {
  mica_bytes text = {0};
  if (!table) return mica_fail(MICA_ERR_INVALID, "no table to write");
  const int64_t rows = mica_table_rows(table);
  for (int64_t r = -2; r < rows; r++) {
    mica_bytes_byte(&text, '|');
    for (int32_t k = 0; k < table->columns; k++) {
      if (r == -1) {
        mica_bytes_text(&text, table->heads[k].align == MICA_ALIGN_RIGHT ? " ---: |" : " --- |");
        continue;
      }
      mica_bytes_byte(&text, ' ');
      put_markdown(&text, r < 0 ? table->heads[k].text : table->cells[r * table->columns + k].text);
      mica_bytes_text(&text, " |");
    }
    mica_bytes_byte(&text, '\n');
  }
  return mica_markup_finish(&text, out, NULL);
}

/* ---- HTML and JSON ---- */

void mica_table_html(const mica_table *table, mica_bytes *out) {
  mica_bytes_text(out, "<table><thead><tr>");
  for (int32_t k = 0; k < table->columns; k++) {
    const bool right = table->heads[k].align == MICA_ALIGN_RIGHT;
    mica_bytes_printf(out, "<th scope=\"col\" tabindex=\"0\"%s>", right ? " class=\"right\"" : "");
    mica_markup_escaped(out, table->heads[k].text);
    mica_bytes_text(out, "</th>");
  }
  mica_bytes_text(out, "</tr></thead>\n<tbody>\n");
  const int64_t rows = mica_table_rows(table);
  for (int64_t r = 0; r < rows; r++) {
    mica_bytes_text(out, "<tr>");
    for (int32_t k = 0; k < table->columns; k++) {
      const mica_table_cell *cell = &table->cells[r * table->columns + k];
      mica_bytes_text(out, "<td");
      if (table->heads[k].align == MICA_ALIGN_RIGHT) mica_bytes_text(out, " class=\"right\"");
      if (cell->number) {
        char number[MICA_DOUBLE_TEXT];
        mica_format_double(cell->value, number);
        mica_bytes_printf(out, " data-value=\"%s\"", isfinite(cell->value) ? number : "");
      }
      mica_bytes_text(out, ">");
      mica_markup_escaped(out, cell->text);
      mica_bytes_text(out, "</td>");
    }
    mica_bytes_text(out, "</tr>\n");
  }
  mica_bytes_text(out, "</tbody></table>\n");
}

void mica_table_json(const mica_table *table, mica_json_writer *w) {
  mica_json_begin_object(w);
  mica_json_write_name(w, "columns");
  mica_json_begin_array(w);
  for (int32_t k = 0; k < table->columns; k++) mica_json_write_string(w, table->heads[k].text);
  mica_json_end_array(w);
  mica_json_write_name(w, "rows");
  mica_json_begin_array(w);
  const int64_t rows = mica_table_rows(table);
  for (int64_t r = 0; r < rows; r++) {
    mica_json_begin_array(w);
    for (int32_t k = 0; k < table->columns; k++) {
      const mica_table_cell *cell = &table->cells[r * table->columns + k];
      if (cell->number)
        mica_json_write_double(w, cell->value);
      else if (cell->text)
        mica_json_write_string(w, cell->text);
      else
        mica_json_write_null(w);
    }
    mica_json_end_array(w);
  }
  mica_json_end_array(w);
  mica_json_end_object(w);
}
