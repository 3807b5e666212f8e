/* Rows of features by the number of their example: a table by hash, and the rows in the order of
 * their coming.
 */
#include <mica/compatible.h>
#include <mica/data.h>

#include <string.h>

struct mica_feature_cache {
  int64_t width, n, room;
  int64_t *id;   /* [room] */
  float *rows;   /* [room, width] */
  int64_t slots; /* a power of two, above n */
  int64_t *slot; /* 1 + the row's number; 0: free */
};

mica_status mica_feature_cache_create(int64_t width, mica_feature_cache **out) {
  *out = NULL;
  if (width < 1) return mica_fail(MICA_ERR_INVALID, "rows of %lld features", (long long)width);
  mica_feature_cache *c = mica_calloc(1, sizeof *c);
  if (!c) return MICA_ERR_MEMORY;
  c->width = width;
  *out = c;
  return MICA_OK;
}

void mica_feature_cache_free(mica_feature_cache *c) {
  if (!c) return;
  mica_free(c->id);
  mica_free(c->rows);
  mica_free(c->slot);
  mica_free(c);
}

int64_t mica_feature_cache_count(const mica_feature_cache *c) {
  return c->n;
}
int64_t mica_feature_cache_width(const mica_feature_cache *c) {
  return c->width;
}

/* The slot of an id, or the free one where it would go. */
static int64_t slot_of(const mica_feature_cache *c, int64_t id) {
  uint64_t h = (uint64_t)id * 0x9e3779b97f4a7c15u;
  h ^= h >> 32;
  int64_t at = (int64_t)(h & (uint64_t)(c->slots - 1));
  while (c->slot[at] && c->id[c->slot[at] - 1] != id) at = (at + 1) & (c->slots - 1);
  return at;
}

static mica_status grow(mica_feature_cache *c) {
  const int64_t room = c->room ? 2 * c->room : 64;
  int64_t *id = mica_realloc_array(c->id, (size_t)room, sizeof *id);
  if (id) c->id = id;
  float *rows =
      id ? mica_realloc_array(c->rows, (size_t)room, (size_t)c->width * sizeof *rows) : NULL;
  if (rows) c->rows = rows;
  int64_t *slot = rows ? mica_calloc((size_t)room, 2 * sizeof *slot) : NULL;
  if (!slot) return MICA_ERR_MEMORY;
  mica_free(c->slot);
  c->slot = slot;
  c->slots = 2 * room;
  c->room = room;
  for (int64_t i = 0; i < c->n; i++) c->slot[slot_of(c, c->id[i])] = i + 1;
  return MICA_OK;
}

mica_status mica_feature_cache_put(mica_feature_cache *c, int64_t n, const int64_t *id,
                                   const float *rows) {
  for (int64_t i = 0; i < n; i++) {
    if (id[i] < 0) return mica_fail(MICA_ERR_INVALID, "example %lld", (long long)id[i]);
    if (c->n == c->room) {
      const mica_status status = grow(c);
      if (status != MICA_OK) return status;
    }
    const int64_t at = slot_of(c, id[i]);
    if (!c->slot[at]) {
      c->id[c->n] = id[i];
      c->slot[at] = ++c->n;
    }
    memcpy(c->rows + (c->slot[at] - 1) * c->width, rows + i * c->width,
           (size_t)c->width * sizeof *rows);
  }
  return MICA_OK;
}

bool mica_feature_cache_get(const mica_feature_cache *c, int64_t n, const int64_t *id, float *out) {
  for (int64_t i = 0; i < n; i++) {
    const int64_t row = c->slots && id[i] >= 0 ? c->slot[slot_of(c, id[i])] : 0;
    if (!row) return false;
    memcpy(out + i * c->width, c->rows + (row - 1) * c->width, (size_t)c->width * sizeof *out);
  }
  return true;
}

mica_status mica_feature_cache_save(const mica_feature_cache *c, const char *path) {
  static const int64_t none;
  const mica_named_view views[] = {
      {"id",
       mica_view_of(c->n ? (void *)c->id : (void *)(uintptr_t)&none, MICA_I64, MICA_SHAPE(c->n))},
      {"features", mica_view_of(c->n ? (void *)c->rows : (void *)(uintptr_t)&none, MICA_F32,
                                MICA_SHAPE(c->n, c->width))}};
  return mica_safetensors_write(path, views, 2, NULL, 0);
}

static mica_status read(const mica_archive *archive, const char *name, mica_dtype dtype, int rank,
                        mica_tensor **out) {
  const int64_t at = mica_archive_find(archive, name);
  if (at < 0)
    return mica_fail(MICA_ERR_FORMAT, "%s: no tensor '%s'", mica_archive_path(archive), name);
  mica_status status = mica_archive_read(archive, at, out);
  if (status != MICA_OK) return status;
  if (mica_tensor_dtype(*out) == dtype && mica_tensor_shape(*out)->rank == rank) return MICA_OK;
  return mica_fail(MICA_ERR_FORMAT, "%s: '%s' is no %s of rank %d", mica_archive_path(archive),
                   name, mica_dtype_name(dtype), rank);
}

mica_status mica_feature_cache_open(const char *path, mica_feature_cache **out) {
  mica_archive *archive = NULL;
  mica_tensor *id = NULL, *rows = NULL;
  *out = NULL;
  mica_status status = mica_archive_open(path, &archive);
  if (status != MICA_OK) return status;
  status = read(archive, "id", MICA_I64, 1, &id);
  if (status == MICA_OK) status = read(archive, "features", MICA_F32, 2, &rows);
  if (status == MICA_OK && mica_tensor_dim(id, 0) != mica_tensor_dim(rows, 0))
    status = mica_fail(MICA_ERR_FORMAT, "%s: %lld rows for %lld examples", path,
                       (long long)mica_tensor_dim(rows, 0), (long long)mica_tensor_dim(id, 0));
  if (status == MICA_OK) status = mica_feature_cache_create(mica_tensor_dim(rows, 1), out);
  if (status == MICA_OK)
    status = mica_feature_cache_put(*out, mica_tensor_dim(id, 0), mica_tensor_data(id),
                                    mica_tensor_data(rows));
  if (status != MICA_OK) {
    mica_feature_cache_free(*out);
    *out = NULL;
  }
  mica_tensor_free(id);
  mica_tensor_free(rows);
  mica_archive_close(archive);
  return status;
}
