/* Collections: states of a folder, how they follow each other, and what they answer.
 *
 * A state is what one collection.json says, opened: it never changes, and goes when the last who
 * asks it is done. A change makes the next state from the present one: new segments and bitmaps as
 * files, then collection.json. Files that no longer count are removed afterwards; who still has
 * them mapped keeps them.
 */
#include <mica/collection.h>

#include "base/file.h"
#include "base/json.h"
#include "base/system.h"
#include "index/index.h"

#include <mica/data.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define FORMAT   1
#define MANIFEST "collection.json"

/* Fewer rows than this are compared one by one in no time. */
enum { least_rows = 4096 };

/* An opened index file, shared by states. */
typedef struct opened {
  int64_t owners;
  mica_index *index;
} opened;

typedef struct segment {
  char file[32], bitmap[32]; /* names in the folder; bitmap "": all rows count */
  opened *at;
  uint64_t *alive; /* a bit a row; NULL: all */
  int64_t rows;    /* that count */
} segment;

typedef struct state {
  int64_t owners;
  segment *segment;
  int64_t n, rows, next_id, next_file;
} state;

struct mica_collection {
  const mica_engine *engine;
  char *path, *spec;
  int64_t width;
  pthread_mutex_t lock;    /* of `now` and of owners' counts */
  pthread_mutex_t writing; /* one change at a time */
  state *now;
};

/* ---- states ---- */

static void segment_close(mica_collection *c, segment *s) {
  pthread_mutex_lock(&c->lock);
  const bool last = s->at && --s->at->owners == 0;
  pthread_mutex_unlock(&c->lock);
  if (last) {
    mica_index_free(s->at->index);
    mica_free(s->at);
  }
  mica_free(s->alive);
}

static state *state_take(mica_collection *c) {
  pthread_mutex_lock(&c->lock);
  state *s = c->now;
  s->owners++;
  pthread_mutex_unlock(&c->lock);
  return s;
}

static void state_drop(mica_collection *c, state *s) {
  if (!s) return;
  pthread_mutex_lock(&c->lock);
  const bool last = --s->owners == 0;
  pthread_mutex_unlock(&c->lock);
  if (!last) return;
  for (int64_t i = 0; i < s->n; i++) segment_close(c, &s->segment[i]);
  mica_free(s->segment);
  mica_free(s);
}

static state *state_new(void) {
  state *s = mica_calloc(1, sizeof *s);
  if (s) s->owners = 1;
  return s;
}

/* Room for one segment more, zeroed; it counts once s->n is raised. */
static segment *state_grow(state *s) {
  segment *grown = mica_realloc_array(s->segment, (size_t)s->n + 1, sizeof *grown);
  if (!grown) return NULL;
  s->segment = grown;
  memset(&s->segment[s->n], 0, sizeof *s->segment);
  return &s->segment[s->n];
}

static int64_t words_of(int64_t rows) {
  return (rows + 63) / 64;
}

static bool lives(const segment *s, int64_t row) {
  return !s->alive || (s->alive[row / 64] >> row % 64 & 1);
}

/* The same segment in another state, with a bitmap of its own. */
static mica_status state_keep(mica_collection *c, state *to, const segment *from) {
  segment *s = state_grow(to);
  if (!s) return MICA_ERR_MEMORY;
  *s = *from;
  if (from->alive) {
    const size_t bytes = (size_t)words_of(mica_index_count(from->at->index)) * sizeof *s->alive;
    s->alive = mica_malloc(bytes);
    if (!s->alive) return MICA_ERR_MEMORY;
    memcpy(s->alive, from->alive, bytes);
  }
  pthread_mutex_lock(&c->lock);
  s->at->owners++;
  pthread_mutex_unlock(&c->lock);
  to->n++;
  to->rows += s->rows;
  return MICA_OK;
}

/* ---- reading the folder ---- */

static mica_status fail_at(const mica_collection *c, const char *what) {
  return mica_fail(MICA_ERR_FORMAT, "%s/" MANIFEST ": %s", c->path, what);
}

/* A name of ours: digits, then an ending. */
static bool name_ok(const char *name, const char *end) {
  const size_t digits = strspn(name, "0123456789");
  return digits > 0 && digits < 20 && strcmp(name + digits, end) == 0;
}

static mica_status read_bitmap(const char *path, segment *s) {
  const int64_t n = mica_index_count(s->at->index), words = words_of(n);
  mica_archive *a = NULL;
  mica_status status = mica_archive_open(path, &a);
  if (status) return status;
  const int64_t at = mica_archive_find(a, "alive");
  s->alive = mica_realloc_array(NULL, (size_t)words, sizeof *s->alive);
  if (!s->alive)
    status = MICA_ERR_MEMORY;
  else if (at < 0 || mica_archive_dtype(a, at) != MICA_I64 ||
           mica_shape_count(mica_archive_shape(a, at)) != words)
    status =
        mica_fail(MICA_ERR_FORMAT, "%s: no tensor 'alive' of %lld int64", path, (long long)words);
  mica_tensor *t = NULL;
  if (!status) status = mica_archive_read(a, at, &t);
  if (!status) memcpy(s->alive, mica_tensor_view(t).data, (size_t)words * sizeof *s->alive);
  mica_tensor_free(t);
  mica_archive_close(a);
  if (status) return status;
  if (n % 64) s->alive[words - 1] &= (UINT64_C(1) << n % 64) - 1;
  s->rows = 0;
  for (int64_t i = 0; i < words; i++) s->rows += __builtin_popcountll(s->alive[i]);
  return MICA_OK;
}

static mica_status open_index(mica_collection *c, segment *s) {
  char *path = mica_path_join(c->path, s->file);
  s->at = mica_calloc(1, sizeof *s->at);
  mica_status status = path && s->at ? MICA_OK : MICA_ERR_MEMORY;
  if (s->at) s->at->owners = 1;
  if (!status) status = mica_index_open(c->engine, path, &s->at->index);
  if (!status && mica_index_width(s->at->index) != c->width)
    status = mica_fail(MICA_ERR_FORMAT, "%s: rows of %lld columns in a collection of %lld", path,
                       (long long)mica_index_width(s->at->index), (long long)c->width);
  if (!status) s->rows = mica_index_count(s->at->index);
  mica_free(path);
  return status;
}

/* Opens a segment of the new state, or shares that of the present one. */
static mica_status open_segment(mica_collection *c, state *to, const char *file,
                                const char *bitmap) {
  segment *s = state_grow(to);
  if (!s) return MICA_ERR_MEMORY;
  snprintf(s->file, sizeof s->file, "%s", file);
  snprintf(s->bitmap, sizeof s->bitmap, "%s", bitmap);
  for (int64_t i = 0; c->now && i < c->now->n; i++)
    if (strcmp(c->now->segment[i].file, file) == 0) {
      pthread_mutex_lock(&c->lock);
      s->at = c->now->segment[i].at;
      s->at->owners++;
      pthread_mutex_unlock(&c->lock);
      s->rows = mica_index_count(s->at->index);
    }
  to->n++; /* from here on it is closed with the state */
  mica_status status = s->at ? MICA_OK : open_index(c, s);
  if (!status && *bitmap) {
    char *path = mica_path_join(c->path, bitmap);
    status = path ? read_bitmap(path, s) : MICA_ERR_MEMORY;
    mica_free(path);
  }
  to->rows += s->rows;
  return status;
}

static mica_status read_segments(mica_collection *c, const mica_json *list, state *to) {
  for (int64_t i = 0; i < mica_json_count(list); i++) {
    const mica_json *item = mica_json_item(list, i);
    const char *file = mica_json_string(mica_json_get(item, "file"));
    const char *bitmap = mica_json_string(mica_json_get(item, "alive"));
    if (!file || !name_ok(file, ".index") || (bitmap && !name_ok(bitmap, ".alive")))
      return fail_at(c, "a segment whose files have no name of ours");
    mica_status status = open_segment(c, to, file, bitmap ? bitmap : "");
    if (status) return status;
  }
  return MICA_OK;
}

static mica_status read_head(mica_collection *c, const mica_json *root, state *to) {
  const char *spec;
  int64_t format, width;
  mica_status status = mica_json_need_int64(root, "format", &format);
  if (!status && format != FORMAT)
    return mica_fail(MICA_ERR_UNSUPPORTED, "%s/" MANIFEST ": format %lld, this library reads %d",
                     c->path, (long long)format, FORMAT);
  if (!status) status = mica_json_need_string(root, "spec", &spec);
  if (!status) status = mica_json_need_int64(root, "width", &width);
  if (!status) status = mica_json_need_int64(root, "next_id", &to->next_id);
  if (!status) status = mica_json_need_int64(root, "next_file", &to->next_file);
  if (status) return mica_fail_within("%s/" MANIFEST, c->path);
  if (width < 1 || to->next_id < 0 || to->next_file < 0 || to->next_file > INT64_C(1) << 53)
    return fail_at(c, "width, next_id or next_file out of range");
  if (c->spec && (strcmp(c->spec, spec) != 0 || c->width != width))
    return fail_at(c, "another specification or width than before");
  if (!c->spec && !(c->spec = mica_strdup(spec))) return MICA_ERR_MEMORY;
  c->width = width;
  return MICA_OK;
}

static mica_status read_once(mica_collection *c, state **out) {
  char *path = mica_path_join(c->path, MANIFEST);
  mica_json_doc *doc = NULL;
  state *s = state_new();
  mica_status status = path && s ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) status = mica_json_read(path, (size_t)1 << 26, &doc);
  const mica_json *root = doc ? mica_json_root(doc) : NULL;
  if (!status) status = read_head(c, root, s);
  if (!status) status = read_segments(c, mica_json_get(root, "segments"), s);
  mica_json_free(doc);
  mica_free(path);
  if (status)
    state_drop(c, s);
  else
    *out = s;
  return status;
}

/* A file may go between the reading of its name and its opening: then the folder has a newer
 * state. */
static mica_status read_state(mica_collection *c, state **out) {
  mica_status status = MICA_OK;
  for (int attempt = 0; attempt < 8; attempt++) {
    status = read_once(c, out);
    if (status != MICA_ERR_NOT_FOUND) break;
  }
  return status;
}

static void put_state(mica_collection *c, state *s) {
  pthread_mutex_lock(&c->lock);
  state *before = c->now;
  c->now = s;
  pthread_mutex_unlock(&c->lock);
  state_drop(c, before);
}

/* ---- writing the folder ---- */

static mica_status write_manifest(const mica_collection *c, const state *s) {
  mica_bytes text = {0};
  mica_json_writer w = {&text, 1, 0, 0, false};
  mica_json_begin_object(&w);
  mica_json_put_int(&w, "format", FORMAT);
  mica_json_put_text(&w, "spec", c->spec);
  mica_json_put_int(&w, "width", c->width);
  mica_json_put_int(&w, "next_id", s->next_id);
  mica_json_put_int(&w, "next_file", s->next_file);
  mica_json_write_name(&w, "segments");
  mica_json_begin_array(&w);
  for (int64_t i = 0; i < s->n; i++) {
    mica_json_begin_object(&w);
    mica_json_put_text(&w, "file", s->segment[i].file);
    if (*s->segment[i].bitmap) mica_json_put_text(&w, "alive", s->segment[i].bitmap);
    mica_json_end_object(&w);
  }
  mica_json_end_array(&w);
  mica_json_end_object(&w);
  mica_bytes_byte(&text, '\n');
  char *path = mica_path_join(c->path, MANIFEST);
  mica_status status = text.status ? text.status : path ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) status = mica_file_write_atomic(path, text.data, text.n);
  mica_bytes_free(&text);
  mica_free(path);
  return status;
}

static mica_status write_bitmap(const mica_collection *c, state *s, segment *g) {
  const int64_t words = words_of(mica_index_count(g->at->index));
  snprintf(g->bitmap, sizeof g->bitmap, "%06lld.alive", (long long)s->next_file++);
  char *path = mica_path_join(c->path, g->bitmap);
  const mica_named_view view = {"alive", mica_view_of(g->alive, MICA_I64, MICA_SHAPE(words))};
  mica_status status = path ? mica_safetensors_write(path, &view, 1, NULL, 0) : MICA_ERR_MEMORY;
  mica_free(path);
  return status;
}

static void remove_file(const mica_collection *c, const char *name) {
  char path[PATH_MAX]; /* no allocation: this may be the way out of one that failed */
  const int n = snprintf(path, sizeof path, "%s/%s", c->path, name);
  if (*name && n > 0 && n < (int)sizeof path && unlink(path) != 0)
    errno = 0; /* it takes room, no more */
}

static bool names_file(const state *s, const char *name) {
  for (int64_t i = 0; i < s->n; i++)
    if (strcmp(s->segment[i].file, name) == 0 || strcmp(s->segment[i].bitmap, name) == 0)
      return true;
  return false;
}

/* Remove the files of `from` that `keep` does not name. */
static void remove_others(const mica_collection *c, const state *from, const state *keep) {
  for (int64_t i = 0; i < from->n; i++) {
    if (!names_file(keep, from->segment[i].file)) remove_file(c, from->segment[i].file);
    if (!names_file(keep, from->segment[i].bitmap)) remove_file(c, from->segment[i].bitmap);
  }
}

/* One process changes the folder at a time; the lock goes with the process. */
static mica_status lock_folder(const mica_collection *c, int *fd) {
  char *path = mica_path_join(c->path, "lock");
  mica_status status = path ? MICA_OK : MICA_ERR_MEMORY;
  *fd = -1;
  if (!status && (*fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666)) < 0)
    status = mica_fail_errno(path, "cannot be opened");
  if (!status && flock(*fd, LOCK_EX | LOCK_NB) != 0)
    status = errno == EWOULDBLOCK
                 ? mica_fail(MICA_ERR_STATE, "%s: another process is changing it", c->path)
                 : mica_fail_errno(path, "cannot be locked");
  mica_free(path);
  return status;
}

/* A change: the state it begins from and the one that it makes. */
typedef struct change {
  mica_collection *c;
  int fd;
  state *before, *after;
} change;

static mica_status change_begin(mica_collection *c, change *h) {
  *h = (change){.c = c, .fd = -1};
  pthread_mutex_lock(&c->writing);
  mica_status status = lock_folder(c, &h->fd);
  if (!status) status = read_state(c, &h->before);
  if (!status && !(h->after = state_new())) status = MICA_ERR_MEMORY;
  if (!status) {
    h->after->next_id = h->before->next_id;
    h->after->next_file = h->before->next_file;
  }
  return status;
}

static mica_status change_end(change *h, mica_status status) {
  mica_collection *c = h->c;
  if (!status) status = write_manifest(c, h->after);
  if (h->before && h->after)
    remove_others(c, status ? h->after : h->before, status ? h->before : h->after);
  if (status) {
    state_drop(c, h->after);
  } else {
    put_state(c, h->after);
  }
  state_drop(c, h->before);
  if (h->fd >= 0) close(h->fd);
  pthread_mutex_unlock(&c->writing);
  return status;
}

/* ---- a new segment ---- */

/* The exact index that compares and stores rows as the collection does. */
static mica_status exact_spec(const mica_collection *c, char *out, size_t n) {
  static const char *const storage[] = {"f32", "bf16", "f16"};
  mica_spec *spec = NULL;
  mica_status status = mica_spec_parse(c->engine, MICA_KIND_INDEX, c->spec, &spec);
  if (status) return status;
  const mica_index_head *head = mica_spec_options(spec);
  snprintf(out, n, "exact:metric=%s:storage=%s",
           mica_index_metric_name((mica_index_metric)head->metric), storage[head->storage]);
  mica_spec_free(spec);
  return MICA_OK;
}

enum { piece_rows = 512 };

/* Rows that still count, a piece at a time. */
typedef struct piece {
  char *x, *text; /* the names, one after the other */
  const char *name[piece_rows];
  int64_t id[piece_rows], label[piece_rows], n;
} piece;

static mica_status take_names(const mica_index *from, const int64_t *row, piece *p) {
  int64_t bytes = 0;
  for (int64_t i = 0; i < p->n; i++) bytes += from->name_at[row[i] + 1] - from->name_at[row[i]] + 1;
  mica_free(p->text);
  char *to = p->text = mica_malloc((size_t)bytes);
  if (!to) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < p->n; i++) {
    const size_t length = (size_t)(from->name_at[row[i] + 1] - from->name_at[row[i]]);
    memcpy(to, from->names + from->name_at[row[i]], length);
    to[length] = 0;
    p->name[i] = length ? to : NULL;
    to += length + 1;
  }
  return MICA_OK;
}

static mica_status add_piece(const mica_index *from, const int64_t *row, piece *p,
                             mica_index_builder *b) {
  const mica_index_rows *rows = &from->rows;
  const size_t bytes = (size_t)rows->d * mica_dtype_size(rows->dtype);
  for (int64_t i = 0; i < p->n; i++) {
    memcpy(p->x + (size_t)i * bytes, (const char *)rows->x + (size_t)row[i] * bytes, bytes);
    p->id[i] = from->id[row[i]];
    p->label[i] = from->label ? from->label[row[i]] : MICA_CLASS_NONE;
  }
  mica_status status = from->name_at ? take_names(from, row, p) : MICA_OK;
  if (status) return status;
  mica_index_batch batch = MICA_INDEX_BATCH;
  batch.x = mica_view_of(p->x, rows->dtype, MICA_SHAPE(p->n, rows->d));
  batch.id = p->id;
  batch.label = from->label ? p->label : NULL;
  batch.name = from->name_at ? p->name : NULL;
  return mica_index_builder_add(b, &batch);
}

static mica_status add_living(const segment *s, mica_index_builder *b) {
  const mica_index *from = s->at->index;
  int64_t row[piece_rows];
  piece *p = mica_calloc(1, sizeof *p);
  if (!p) return MICA_ERR_MEMORY;
  p->x = mica_realloc_array(NULL, piece_rows, (size_t)from->rows.d * sizeof(float));
  mica_status status = p->x ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t r = 0; r < from->rows.n && !status; r++) {
    if (lives(s, r)) row[p->n++] = r;
    if (!p->n || (p->n < piece_rows && r + 1 < from->rows.n)) continue;
    status = add_piece(from, row, p, b);
    p->n = 0;
  }
  mica_free(p->x);
  mica_free(p->text);
  mica_free(p);
  return status;
}

/* A segment of what lives in these segments, then of the batch (NULL: none), at the end of the
 * state. */
static mica_status add_segment(change *h, const segment *merged, int64_t n, int64_t rows,
                               const mica_index_batch *batch) {
  mica_collection *c = h->c;
  char spec[96], name[32];
  mica_index_builder *b = NULL;
  mica_status status = exact_spec(c, spec, sizeof spec);
  if (status) return status;
  snprintf(name, sizeof name, "%06lld.index", (long long)h->after->next_file++);
  char *path = mica_path_join(c->path, name);
  if (!path) return MICA_ERR_MEMORY;
  status =
      mica_index_builder_create(c->engine, rows < least_rows ? spec : c->spec, c->width, path, &b);
  for (int64_t i = 0; i < n && !status; i++) status = add_living(&merged[i], b);
  if (!status && batch) status = mica_index_builder_add(b, batch);
  if (!status) status = mica_index_builder_finish(b, NULL);
  mica_index_builder_free(b);
  mica_free(path);
  if (!status) status = open_segment(c, h->after, name, "");
  if (status) remove_file(c, name);
  return status;
}

/* ---- deleting ---- */

static int by_value(const void *pa, const void *pb) {
  const int64_t a = *(const int64_t *)pa, b = *(const int64_t *)pb;
  return a < b ? -1 : a > b;
}

/* The rows of a segment with one of the sorted ids no longer count. */
static mica_status strike(segment *s, const int64_t *id, int64_t n, int64_t *struck) {
  const int64_t rows = mica_index_count(s->at->index), *own = mica_index_ids(s->at->index);
  *struck = 0;
  for (int64_t row = 0; row < rows && n; row++) {
    if (own[row] < id[0] || own[row] > id[n - 1] || !lives(s, row) ||
        !bsearch(&own[row], id, (size_t)n, sizeof *id, by_value))
      continue;
    if (!s->alive) {
      s->alive = mica_malloc((size_t)words_of(rows) * sizeof *s->alive);
      if (!s->alive) return MICA_ERR_MEMORY;
      memset(s->alive, 0xff, (size_t)words_of(rows) * sizeof *s->alive);
      if (rows % 64) s->alive[rows / 64] = (UINT64_C(1) << rows % 64) - 1;
    }
    s->alive[row / 64] &= ~(UINT64_C(1) << row % 64);
    s->rows--;
    ++*struck;
  }
  return MICA_OK;
}

/* The segments of the state before, without these ids; segments that run empty go. */
static mica_status keep_without(change *h, const int64_t *id, int64_t n, int64_t *deleted) {
  state *to = h->after;
  for (int64_t i = 0; i < h->before->n; i++) {
    int64_t struck;
    mica_status status = state_keep(h->c, to, &h->before->segment[i]);
    if (status) return status;
    segment *s = &to->segment[to->n - 1];
    status = strike(s, id, n, &struck);
    if (!status && struck && s->rows) status = write_bitmap(h->c, to, s);
    if (status) return status;
    to->rows -= struck;
    *deleted += struck;
    if (!s->rows) {
      segment_close(h->c, s);
      to->n--;
    }
  }
  return MICA_OK;
}

/* A sorted copy of ids; NULL with the last error set. */
static int64_t *sorted(const int64_t *id, int64_t n) {
  int64_t *copy = mica_realloc_array(NULL, (size_t)n, sizeof *copy);
  if (!copy) return NULL;
  if (n) memcpy(copy, id, (size_t)n * sizeof *copy);
  qsort(copy, (size_t)n, sizeof *copy, by_value);
  return copy;
}

mica_status mica_collection_delete(mica_collection *collection, const int64_t *id, int64_t n,
                                   int64_t *deleted) {
  int64_t count = 0;
  if (deleted) *deleted = 0;
  int64_t *list = sorted(id, n);
  if (!list) return MICA_ERR_MEMORY;
  change h;
  mica_status status = change_begin(collection, &h);
  if (!status) status = keep_without(&h, list, n, &count);
  status = change_end(&h, status);
  if (!status && deleted) *deleted = count;
  mica_free(list);
  return status;
}

/* ---- adding ---- */

/* Segments at the end, from this one on, are so small beside what comes that they are merged with
 * it; their rows are added to *rows. */
static int64_t first_merged(const state *s, int64_t *rows) {
  int64_t i = s->n;
  while (i > 0 && s->segment[i - 1].rows <= 2 * *rows && *rows < INT64_C(1) << 40)
    *rows += s->segment[--i].rows;
  return i;
}

/* Ids of the batch: its own, checked, or the next ones. */
static mica_status number_batch(const state *s, const mica_index_batch *batch, int64_t **list) {
  const int64_t n = batch->x.shape.rank == 2 ? batch->x.shape.dim[0] : 0;
  *list = mica_realloc_array(NULL, (size_t)n, sizeof **list);
  if (!*list) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n; i++) (*list)[i] = batch->id ? batch->id[i] : s->next_id + i;
  int64_t *order = sorted(*list, n);
  if (!order) return MICA_ERR_MEMORY;
  mica_status status = MICA_OK;
  if (n && order[0] < 0)
    status =
        mica_fail(MICA_ERR_INVALID, "collection: id %lld, expected 0 or more", (long long)order[0]);
  for (int64_t i = 1; i < n && !status; i++)
    if (order[i] == order[i - 1])
      status = mica_fail(MICA_ERR_INVALID, "collection: id %lld is twice in the rows to add",
                         (long long)order[i]);
  mica_free(order);
  return status;
}

static mica_status add_rows(change *h, const mica_index_batch *batch) {
  int64_t *list = NULL, n = batch->x.shape.dim[0], replaced = 0;
  mica_status status = number_batch(h->before, batch, &list);
  int64_t *order = status ? NULL : sorted(list, n);
  if (!status && !order) status = MICA_ERR_MEMORY;
  /* Ids that are all new need no looking for. */
  const bool fresh = order && order[0] >= h->before->next_id;
  if (!status) status = keep_without(h, order, fresh ? 0 : n, &replaced);
  state *to = h->after;
  int64_t rows = n;
  const int64_t first = first_merged(to, &rows), merged = to->n - first;
  segment *from = mica_realloc_array(NULL, (size_t)merged, sizeof *from);
  if (!from) status = MICA_ERR_MEMORY;
  mica_index_batch numbered = *batch;
  numbered.id = list;
  if (!status) {
    if (order[n - 1] >= to->next_id) to->next_id = order[n - 1] + 1;
    if (merged) memcpy(from, to->segment + first, (size_t)merged * sizeof *from);
    to->n = first;
    for (int64_t i = 0; i < merged; i++) to->rows -= from[i].rows;
    status = add_segment(h, from, merged, rows, &numbered);
    for (int64_t i = 0; i < merged; i++) {
      if (!names_file(h->before, from[i].bitmap)) remove_file(h->c, from[i].bitmap);
      segment_close(h->c, &from[i]);
    }
  }
  mica_free(from);
  mica_free(list);
  mica_free(order);
  return status;
}

mica_status mica_collection_add(mica_collection *collection, const mica_index_batch *batch) {
  const mica_view *x = &batch->x;
  char text[96];
  if (x->shape.rank != 2 || x->shape.dim[1] != collection->width)
    return mica_fail(MICA_ERR_SHAPE, "collection: rows %s, expected [rows, %lld]",
                     mica_shape_text(&x->shape, text, sizeof text), (long long)collection->width);
  if (x->shape.dim[0] < 1) return MICA_OK;
  change h;
  mica_status status = change_begin(collection, &h);
  if (!status) status = add_rows(&h, batch);
  return change_end(&h, status);
}

mica_status mica_collection_compact(mica_collection *collection) {
  change h;
  mica_status status = change_begin(collection, &h);
  if (!status && h.before->rows)
    status = add_segment(&h, h.before->segment, h.before->n, h.before->rows, NULL);
  return change_end(&h, status);
}

/* ---- the collection ---- */

void mica_collection_free(mica_collection *collection) {
  if (!collection) return;
  state_drop(collection, collection->now);
  pthread_mutex_destroy(&collection->lock);
  pthread_mutex_destroy(&collection->writing);
  mica_free(collection->path);
  mica_free(collection->spec);
  mica_free(collection);
}

static mica_status begin(const mica_engine *engine, const char *path, mica_collection **out) {
  *out = NULL;
  mica_collection *c = mica_calloc(1, sizeof *c);
  if (!c) return MICA_ERR_MEMORY;
  c->engine = engine;
  pthread_mutex_init(&c->lock, NULL);
  pthread_mutex_init(&c->writing, NULL);
  c->path = mica_strdup(path);
  if (!c->path) {
    mica_collection_free(c);
    return MICA_ERR_MEMORY;
  }
  *out = c;
  return MICA_OK;
}

static mica_status make(mica_collection *c, const char *spec, int64_t width) {
  mica_index *trial = NULL;
  mica_status status = mica_index_begin(c->engine, spec, width, &trial);
  if (status) return status;
  c->spec = mica_index_spec(trial);
  c->width = width;
  mica_index_free(trial);
  if (!c->spec) return MICA_ERR_MEMORY;
  char *manifest = mica_path_join(c->path, MANIFEST);
  if (!manifest) return MICA_ERR_MEMORY;
  if (mica_file_exists(manifest))
    status = mica_fail(MICA_ERR_STATE, "%s: is there already", manifest);
  mica_free(manifest);
  state *empty = status ? NULL : state_new();
  if (!status && !empty) status = MICA_ERR_MEMORY;
  if (!status) status = mica_make_folders(c->path);
  if (!status) status = write_manifest(c, empty);
  if (status)
    state_drop(c, empty);
  else
    c->now = empty;
  return status;
}

mica_status mica_collection_create(const mica_engine *engine, const char *path, const char *spec,
                                   int64_t width, mica_collection **out) {
  mica_status status = begin(engine, path, out);
  if (!status) status = make(*out, spec, width);
  if (!status || !*out) return status;
  mica_collection_free(*out);
  *out = NULL;
  return status;
}

mica_status mica_collection_open(const mica_engine *engine, const char *path,
                                 mica_collection **out) {
  mica_status status = begin(engine, path, out);
  if (!status) status = read_state(*out, &(*out)->now);
  if (!status || !*out) return status;
  mica_collection_free(*out);
  *out = NULL;
  return status;
}

mica_status mica_collection_refresh(mica_collection *collection) {
  state *s = NULL;
  pthread_mutex_lock(&collection->writing);
  mica_status status = read_state(collection, &s);
  if (!status) put_state(collection, s);
  pthread_mutex_unlock(&collection->writing);
  return status;
}

int64_t mica_collection_width(const mica_collection *collection) {
  return collection->width;
}

int64_t mica_collection_count(mica_collection *collection) {
  state *s = state_take(collection);
  const int64_t rows = s->rows;
  state_drop(collection, s);
  return rows;
}

int64_t mica_collection_segments(mica_collection *collection) {
  state *s = state_take(collection);
  const int64_t n = s->n;
  state_drop(collection, s);
  return n;
}

int64_t mica_collection_next_id(mica_collection *collection) {
  state *s = state_take(collection);
  const int64_t id = s->next_id;
  state_drop(collection, s);
  return id;
}

/* ---- questions ---- */

typedef struct found {
  double score;
  int64_t id, label;
} found;

static bool better(const found *a, const found *b) {
  return a->score > b->score || (a->score == b->score && a->id < b->id);
}

/* What a segment answers to one query, into its k best so far. */
static void merge(const segment *s, int64_t k, const int64_t *row, const double *score, found *best,
                  int64_t *count, found *work) {
  const int64_t *id = mica_index_ids(s->at->index), *label = mica_index_labels(s->at->index);
  int64_t a = 0, b = 0, n = 0;
  while (n < k && (a < *count || (b < k && row[b] >= 0))) {
    found next = {0};
    const bool more = b < k && row[b] >= 0;
    if (more) next = (found){score[b], id[row[b]], label ? label[row[b]] : MICA_CLASS_NONE};
    if (more && (a == *count || better(&next, &best[a])))
      work[n++] = next, b++;
    else
      work[n++] = best[a++];
  }
  memcpy(best, work, (size_t)n * sizeof *best);
  *count = n;
}

static mica_status ask(const state *s, const mica_view *x, const mica_index_query_options *given,
                       int64_t *row, double *score, found *best, int64_t *count, found *work) {
  const int64_t n = x->shape.dim[0], k = given->k;
  mica_status status = MICA_OK;
  for (int64_t g = 0; g < s->n && !status; g++) {
    mica_index_query_options o = *given;
    o.allowed = s->segment[g].alive;
    status = mica_index_query(s->segment[g].at->index, x, &o, row, score);
    for (int64_t i = 0; i < n && !status; i++)
      merge(&s->segment[g], k, row + i * k, score + i * k, best + i * k, &count[i], work);
  }
  return status;
}

static mica_status check(const mica_collection *c, const mica_view *x,
                         const mica_index_query_options *o) {
  char text[96];
  if (x->shape.rank != 2 || x->shape.dim[1] != c->width || !mica_dtype_is_float(x->dtype))
    return mica_fail(MICA_ERR_SHAPE, "queries: %s of %s, expected [rows, %lld] of floats",
                     mica_shape_text(&x->shape, text, sizeof text), mica_dtype_name(x->dtype),
                     (long long)c->width);
  if (o->k < 1)
    return mica_fail(MICA_ERR_INVALID, "%lld neighbours, expected at least 1", (long long)o->k);
  if (o->allowed || o->self_row)
    return mica_fail(MICA_ERR_INVALID, "collection: rows have no lasting numbers to allow or skip");
  return MICA_OK;
}

mica_status mica_collection_query(mica_collection *collection, const mica_view *queries,
                                  const mica_index_query_options *options, int64_t *id,
                                  double *score, int64_t *label) {
  mica_index_query_options o = MICA_INDEX_QUERY_OPTIONS;
  if (options) memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
  o.size = sizeof o;
  mica_status status = check(collection, queries, &o);
  if (status) return status;
  const int64_t n = queries->shape.dim[0], k = o.k;
  int64_t *row = mica_realloc_array(NULL, (size_t)(n * k), sizeof *row);
  found *best = mica_realloc_array(NULL, (size_t)((n + 1) * k), sizeof *best);
  int64_t *count = mica_calloc((size_t)n + 1, sizeof *count);
  status = row && best && count ? MICA_OK : MICA_ERR_MEMORY;
  state *s = state_take(collection);
  if (!status) status = ask(s, queries, &o, row, score, best, count, best + n * k);
  state_drop(collection, s);
  for (int64_t i = 0; i < n && !status; i++)
    for (int64_t j = 0; j < k; j++) {
      const found *f = j < count[i] ? &best[i * k + j] : NULL;
      id[i * k + j] = f ? f->id : -1;
      score[i * k + j] = f ? f->score : NAN;
      if (label) label[i * k + j] = f ? f->label : MICA_CLASS_NONE;
    }
  mica_free(row);
  mica_free(best);
  mica_free(count);
  return status;
}

/* The row of an id that counts, -1 for none. Ids that ascend are looked for by halves. */
static int64_t row_of(const segment *s, int64_t id) {
  const mica_index *x = s->at->index;
  const int64_t *own = mica_index_ids(x), n = mica_index_count(x);
  int64_t lo = 0, hi = n;
  while (!x->place && lo < hi) {
    const int64_t mid = lo + (hi - lo) / 2;
    if (own[mid] < id)
      lo = mid + 1;
    else
      hi = mid;
  }
  for (; lo < n && (x->place || own[lo] == id); lo++)
    if (own[lo] == id && lives(s, lo)) return lo;
  return -1;
}

const char *mica_collection_name(mica_collection *collection, int64_t id, char *buf, size_t n) {
  if (n) buf[0] = 0;
  state *s = state_take(collection);
  for (int64_t i = 0; i < s->n; i++) {
    const int64_t row = row_of(&s->segment[i], id);
    if (row < 0) continue;
    mica_index_name(s->segment[i].at->index, row, buf, n);
    break;
  }
  state_drop(collection, s);
  return buf;
}
