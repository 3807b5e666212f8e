/* report/report.h: what a report holds, for those who write it. */
#ifndef MICA_REPORT_REPORT_H
#define MICA_REPORT_REPORT_H

#include <mica/report.h>

#include "report/figure.h"
#include "report/run_record.h"
#include "report/table.h"

typedef struct mica_report_entry {
  char *key, *unit, *label; /* label NULL: not shown */
  double value, low, high;
  bool interval;
  int32_t section; /* 0: the key figures at the top */
} mica_report_entry;

typedef enum mica_part_kind {
  MICA_PART_SECTION,
  MICA_PART_PARAGRAPH,
  MICA_PART_VERBATIM,
  MICA_PART_FIGURE,
  MICA_PART_TABLE,
  MICA_PART_NUMBER
} mica_part_kind;

typedef struct mica_report_part {
  mica_part_kind kind;
  char *text; /* the title, paragraph, text or caption; numbers already in it as marks */
  char *name; /* a table's */
  char *svg;  /* a figure's root element */
  mica_table *table;
  int32_t number; /* the entry's index */
} mica_report_part;

struct mica_report {
  char *title, *subtitle;
  mica_report_entry *entries;
  int32_t entry_count, entry_room;
  mica_report_part *parts;
  int32_t part_count, part_room, sections;
  mica_run_record *record; /* NULL: none */
};

/* The CSS and the script of the page. */
extern const char mica_report_style[], mica_report_script[];

/* The entry of a key of n bytes, or -1. */
int32_t mica_report_find(const mica_report *report, const char *key, size_t n);

#endif
