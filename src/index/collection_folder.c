/* The files of a collection: reading a state, writing one, and who may. */
#include "index/collection_folder.h"

#include "base/file.h"
#include "base/json.h"
#include "base/system.h"

#include <mica/data.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define FORMAT    1
#define NOTES_MAX 1024

/* ---- states ---- */

void mica_collection_segment_close(mica_collection *c, mica_collection_segment *s) {
  pthread_mutex_lock(&c->lock);
  const bool last = s->at && --s->at->owners == 0;
  pthread_mutex_unlock(&c->lock);
  if (last) {
    mica_index_free(s->at->index);
    mica_free(s->at);
  }
  mica_free(s->alive);
}

mica_collection_state *mica_collection_state_take(mica_collection *c) {
  pthread_mutex_lock(&c->lock);
  mica_collection_state *s = c->now;
  s->owners++;
  pthread_mutex_unlock(&c->lock);
  return s;
}

void mica_collection_state_drop(mica_collection *c, mica_collection_state *s) {
  if (!s) return;
  pthread_mutex_lock(&c->lock);
  const bool last = --s->owners == 0;
  pthread_mutex_unlock(&c->lock);
  if (!last) return;
  for (int64_t i = 0; i < s->n; i++) mica_collection_segment_close(c, &s->segment[i]);
  for (int64_t i = 0; i < s->notes; i++) {
    mica_free(s->note[i].key);
    mica_free(s->note[i].value);
  }
  mica_free(s->note);
  mica_free(s->segment);
  mica_free(s);
}

mica_collection_state *mica_collection_state_new(void) {
  mica_collection_state *s = mica_calloc(1, sizeof *s);
  if (s) s->owners = 1;
  return s;
}

/* Room for one segment more, zeroed; it counts once s->n is raised. */
static mica_collection_segment *state_grow(mica_collection_state *s) {
  mica_collection_segment *grown = mica_realloc_array(s->segment, (size_t)s->n + 1, sizeof *grown);
  if (!grown) return NULL;
  s->segment = grown;
  memset(&s->segment[s->n], 0, sizeof *s->segment);
  return &s->segment[s->n];
}

/* The same segment in another state, with a bitmap of its own. */
mica_status mica_collection_state_keep(mica_collection *c, mica_collection_state *to,
                                       const mica_collection_segment *from) {
  mica_collection_segment *s = state_grow(to);
  if (!s) return MICA_ERR_MEMORY;
  *s = *from;
  if (from->alive) {
    const size_t bytes =
        (size_t)mica_collection_segment_words(mica_index_count(from->at->index)) * sizeof *s->alive;
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

mica_status mica_collection_state_note(mica_collection_state *s, const char *key,
                                       const char *value) {
  char *copy = mica_strdup(value);
  if (!copy) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < s->notes; i++)
    if (strcmp(s->note[i].key, key) == 0) {
      mica_free(s->note[i].value);
      s->note[i].value = copy;
      return MICA_OK;
    }
  if (s->notes == NOTES_MAX) {
    mica_free(copy);
    return mica_fail(MICA_ERR_INVALID, "collection: more than %d texts", NOTES_MAX);
  }
  mica_collection_note *grown = mica_realloc_array(s->note, (size_t)s->notes + 1, sizeof *grown);
  if (grown) s->note = grown;
  char *name = grown ? mica_strdup(key) : NULL;
  if (!name) {
    mica_free(copy);
    return MICA_ERR_MEMORY;
  }
  s->note[s->notes++] = (mica_collection_note){name, copy};
  return MICA_OK;
}

/* ---- reading the folder ---- */

static mica_status fail_at(const mica_collection *c, const char *what) {
  return mica_fail(MICA_ERR_FORMAT, "%s/" MICA_COLLECTION_FILE ": %s", c->path, what);
}

/* A name of ours: digits, then an ending. */
static bool name_ok(const char *name, const char *end) {
  const size_t digits = strspn(name, "0123456789");
  return digits > 0 && digits < 20 && strcmp(name + digits, end) == 0;
}

static mica_status read_bitmap(const char *path, mica_collection_segment *s) {
  const int64_t n = mica_index_count(s->at->index), words = mica_collection_segment_words(n);
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

static mica_status open_index(mica_collection *c, mica_collection_segment *s) {
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
mica_status mica_collection_segment_open(mica_collection *c, mica_collection_state *to,
                                         const char *file, const char *bitmap) {
  mica_collection_segment *s = state_grow(to);
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

static mica_status read_segments(mica_collection *c, const mica_json *list,
                                 mica_collection_state *to) {
  for (int64_t i = 0; i < mica_json_count(list); i++) {
    const mica_json *item = mica_json_item(list, i);
    const char *file = mica_json_string(mica_json_get(item, "file"));
    const char *bitmap = mica_json_string(mica_json_get(item, "alive"));
    if (!file || !name_ok(file, ".index") || (bitmap && !name_ok(bitmap, ".alive")))
      return fail_at(c, "a segment whose files have no name of ours");
    mica_status status = mica_collection_segment_open(c, to, file, bitmap ? bitmap : "");
    if (status) return status;
  }
  return MICA_OK;
}

static mica_status read_head(mica_collection *c, const mica_json *root, mica_collection_state *to) {
  const char *spec;
  int64_t format, width;
  mica_status status = mica_json_need_int64(root, "format", &format);
  if (!status && format != FORMAT)
    return mica_fail(MICA_ERR_UNSUPPORTED,
                     "%s/" MICA_COLLECTION_FILE ": format %lld, this library reads %d", c->path,
                     (long long)format, FORMAT);
  if (!status) status = mica_json_need_string(root, "spec", &spec);
  if (!status) status = mica_json_need_int64(root, "width", &width);
  if (!status) status = mica_json_need_int64(root, "next_id", &to->next_id);
  if (!status) status = mica_json_need_int64(root, "next_file", &to->next_file);
  if (status) return mica_fail_within("%s/" MICA_COLLECTION_FILE, c->path);
  if (width < 1 || to->next_id < 0 || to->next_file < 0 || to->next_file > INT64_C(1) << 53)
    return fail_at(c, "width, next_id or next_file out of range");
  if (c->spec && (strcmp(c->spec, spec) != 0 || c->width != width))
    return fail_at(c, "another specification or width than before");
  if (!c->spec && !(c->spec = mica_strdup(spec))) return MICA_ERR_MEMORY;
  c->width = width;
  return MICA_OK;
}

static mica_status read_notes(const mica_collection *c, const mica_json *texts,
                              mica_collection_state *to) {
  mica_status status = MICA_OK;
  for (int64_t i = 0; texts && i < mica_json_count(texts) && !status; i++) {
    const char *key = mica_json_name(texts, i), *value = mica_json_string(mica_json_item(texts, i));
    if (!key || !value) return fail_at(c, "texts: expected an object of texts");
    status = mica_collection_state_note(to, key, value);
  }
  return status;
}

static mica_status read_once(mica_collection *c, mica_collection_state **out) {
  char *path = mica_path_join(c->path, MICA_COLLECTION_FILE);
  mica_json_doc *doc = NULL;
  mica_collection_state *s = mica_collection_state_new();
  mica_status status = path && s ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) status = mica_json_read(path, (size_t)1 << 26, &doc);
  const mica_json *root = doc ? mica_json_root(doc) : NULL;
  if (!status) status = read_head(c, root, s);
  if (!status) status = read_notes(c, mica_json_get(root, "texts"), s);
  if (!status) status = read_segments(c, mica_json_get(root, "segments"), s);
  mica_json_free(doc);
  mica_free(path);
  if (status)
    mica_collection_state_drop(c, s);
  else
    *out = s;
  return status;
}

/* A file may go between the reading of its name and its opening: then the folder has a newer
 * state. */
mica_status mica_collection_state_read(mica_collection *c, mica_collection_state **out) {
  mica_status status = MICA_OK;
  for (int attempt = 0; attempt < 8; attempt++) {
    status = read_once(c, out);
    if (status != MICA_ERR_NOT_FOUND) break;
  }
  return status;
}

void mica_collection_state_put(mica_collection *c, mica_collection_state *s) {
  pthread_mutex_lock(&c->lock);
  mica_collection_state *before = c->now;
  c->now = s;
  pthread_mutex_unlock(&c->lock);
  mica_collection_state_drop(c, before);
}

/* ---- writing the folder ---- */

mica_status mica_collection_state_write(const mica_collection *c, const mica_collection_state *s) {
  mica_bytes text = {0};
  mica_json_writer w = {&text, 1, 0, 0, false};
  mica_json_begin_object(&w);
  mica_json_put_int(&w, "format", FORMAT);
  mica_json_put_text(&w, "spec", c->spec);
  mica_json_put_int(&w, "width", c->width);
  mica_json_put_int(&w, "next_id", s->next_id);
  mica_json_put_int(&w, "next_file", s->next_file);
  if (s->notes) {
    mica_json_write_name(&w, "texts");
    mica_json_begin_object(&w);
    for (int64_t i = 0; i < s->notes; i++) mica_json_put_text(&w, s->note[i].key, s->note[i].value);
    mica_json_end_object(&w);
  }
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
  char *path = mica_path_join(c->path, MICA_COLLECTION_FILE);
  mica_status status = text.status ? text.status : path ? MICA_OK : MICA_ERR_MEMORY;
  if (!status) status = mica_file_write_atomic(path, text.data, text.n);
  mica_bytes_free(&text);
  mica_free(path);
  return status;
}

mica_status mica_collection_segment_write_bitmap(const mica_collection *c, mica_collection_state *s,
                                                 mica_collection_segment *g) {
  const int64_t words = mica_collection_segment_words(mica_index_count(g->at->index));
  snprintf(g->bitmap, sizeof g->bitmap, "%06lld.alive", (long long)s->next_file++);
  char *path = mica_path_join(c->path, g->bitmap);
  const mica_named_view view = {"alive", mica_view_of(g->alive, MICA_I64, MICA_SHAPE(words))};
  mica_status status = path ? mica_safetensors_write(path, &view, 1, NULL, 0) : MICA_ERR_MEMORY;
  mica_free(path);
  return status;
}

void mica_collection_remove(const mica_collection *c, const char *name) {
  char path[PATH_MAX]; /* no allocation: this may be the way out of one that failed */
  const int n = snprintf(path, sizeof path, "%s/%s", c->path, name);
  if (*name && n > 0 && n < (int)sizeof path && unlink(path) != 0)
    errno = 0; /* it takes room, no more */
}

bool mica_collection_state_names(const mica_collection_state *s, const char *name) {
  for (int64_t i = 0; i < s->n; i++)
    if (strcmp(s->segment[i].file, name) == 0 || strcmp(s->segment[i].bitmap, name) == 0)
      return true;
  return false;
}

/* Remove the files of `from` that `keep` does not name. */
static void remove_others(const mica_collection *c, const mica_collection_state *from,
                          const mica_collection_state *keep) {
  for (int64_t i = 0; i < from->n; i++) {
    if (!mica_collection_state_names(keep, from->segment[i].file))
      mica_collection_remove(c, from->segment[i].file);
    if (!mica_collection_state_names(keep, from->segment[i].bitmap))
      mica_collection_remove(c, from->segment[i].bitmap);
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

mica_status mica_collection_change_begin(mica_collection *c, mica_collection_change *h) {
  *h = (mica_collection_change){.c = c, .fd = -1};
  pthread_mutex_lock(&c->writing);
  mica_status status = lock_folder(c, &h->fd);
  if (!status) status = mica_collection_state_read(c, &h->before);
  if (!status && !(h->after = mica_collection_state_new())) status = MICA_ERR_MEMORY;
  if (!status) {
    h->after->next_id = h->before->next_id;
    h->after->next_file = h->before->next_file;
    for (int64_t i = 0; i < h->before->notes && !status; i++)
      status =
          mica_collection_state_note(h->after, h->before->note[i].key, h->before->note[i].value);
  }
  return status;
}

mica_status mica_collection_change_end(mica_collection_change *h, mica_status status) {
  mica_collection *c = h->c;
  if (!status) status = mica_collection_state_write(c, h->after);
  if (h->before && h->after)
    remove_others(c, status ? h->after : h->before, status ? h->before : h->after);
  if (status) {
    mica_collection_state_drop(c, h->after);
  } else {
    mica_collection_state_put(c, h->after);
  }
  mica_collection_state_drop(c, h->before);
  if (h->fd >= 0) close(h->fd);
  pthread_mutex_unlock(&c->writing);
  return status;
}
