/* Passes over the rows of a table in files: see table_pass.h. */
#include "data/table_pass.h"

#include "data/table_rows.h"

#include <string.h>
#include <unistd.h>

struct mica_table_pass {
  const mica_data_table *table;
  mica_part part;
  mica_key key;
  int64_t columns, room;
  /* The buffer: cells [room + 1, columns], and of each row its label and number. The last place is
   * of the row that left. */
  double *cell;
  mica_row_label *label;
  int64_t *number;
  /* The epoch. */
  mica_table_rows rows;
  bool open, end;
  pid_t owner;
  int64_t epoch, left, read, n; /* rows that left, came in, and are in the buffer */
};

bool mica_table_pass_labelled(const mica_table_pass *p) {
  return p->table->labelled;
}

int64_t mica_table_pass_epoch(const mica_table_pass *p) {
  return p->open && p->owner == getpid() ? p->epoch : -1;
}

int64_t mica_table_pass_place(const mica_table_pass *p) {
  return p->left;
}

/* What a forked child inherits may be half written: it is left alone. */
static void close_rows(mica_table_pass *p) {
  if (p->open && p->owner == getpid()) mica_table_rows_close(&p->rows);
  p->open = false;
}

static mica_status read_into(mica_table_pass *p, int64_t place, bool *got) {
  const mica_status status =
      mica_table_rows_next(&p->rows, p->cell + place * p->columns, &p->label[place], got);
  if (*got) p->number[place] = p->read++;
  p->end = !*got;
  return status;
}

static void move(mica_table_pass *p, int64_t from, int64_t to) {
  memcpy(p->cell + to * p->columns, p->cell + from * p->columns,
         (size_t)p->columns * sizeof *p->cell);
  p->label[to] = p->label[from];
  p->number[to] = p->number[from];
}

mica_status mica_table_pass_begin(mica_table_pass *p, int64_t epoch) {
  close_rows(p);
  p->open = true;
  p->owner = getpid();
  p->epoch = epoch;
  p->left = p->read = p->n = 0;
  mica_status status = mica_table_rows_open(p->table, p->part, &p->rows);
  p->rows.f.strict = false; /* rows that cannot be used were told of when the table was opened */
  bool got = true;
  while (status == MICA_OK && got && p->n < p->room) {
    status = read_into(p, p->n, &got);
    p->n += got;
  }
  if (status != MICA_OK) close_rows(p);
  return status;
}

mica_status mica_table_pass_next(mica_table_pass *p, const double **cell, mica_row_label *label,
                                 int64_t *number) {
  if (!p->n)
    return mica_fail(MICA_ERR_FORMAT, "%s: changed while it was read: %lld rows, expected %lld",
                     p->table->file[MICA_PART_TRAIN], (long long)p->left,
                     (long long)mica_data_table_part_count(p->table, p->part));
  const mica_key epoch = mica_key_fold(p->key, (uint64_t)p->epoch);
  const int64_t k =
      p->n == 1 ? 0 : (int64_t)mica_random_below(epoch, (uint64_t)p->left, (uint64_t)p->n);
  move(p, k, p->room);
  *cell = p->cell + p->room * p->columns;
  *label = p->label[p->room];
  *number = p->number[p->room];
  p->left++;
  bool got = false;
  const mica_status status = p->end ? MICA_OK : read_into(p, k, &got);
  if (!got && k != --p->n) move(p, p->n, k);
  if (status != MICA_OK) close_rows(p);
  return status;
}

void mica_table_pass_free(mica_table_pass *p) {
  if (!p) return;
  close_rows(p);
  mica_free(p->cell);
  mica_free(p->label);
  mica_free(p->number);
  mica_free(p);
}

mica_status mica_table_pass_create(const mica_data_table *t, mica_part part, bool mix, mica_key key,
                                   mica_table_pass **out) {
  *out = NULL;
  mica_table_pass *p = mica_calloc(1, sizeof *p);
  if (!p) return MICA_ERR_MEMORY;
  const int64_t rows = mica_data_table_part_count(t, part);
  p->table = t;
  p->part = part;
  p->key = key;
  p->columns = t->columns->n;
  p->room = !mix ? 1 : t->buffer < rows ? t->buffer : rows;
  const size_t room = (size_t)p->room + 1;
  p->cell = mica_realloc_array(NULL, room, (size_t)p->columns * sizeof *p->cell);
  p->label = mica_calloc(room, sizeof *p->label);
  p->number = mica_calloc(room, sizeof *p->number);
  if (!p->cell || !p->label || !p->number) {
    mica_table_pass_free(p);
    return MICA_ERR_MEMORY;
  }
  *out = p;
  return MICA_OK;
}
