/* mica/collection.h: an index that grows: rows are added, replaced and deleted while others ask.
 *
 * A collection is a folder: segments, each an index file that never changes, a bitmap of the rows
 * that still count for each segment that has lost some, and collection.json, which names them. A
 * change writes its files first and then replaces collection.json as a whole, so whatever happens
 * to the process, or to the machine, the collection is as before the change or as after it.
 *
 * Segments of few rows are exact, larger ones of the collection's specification. Small ones are
 * merged as others come, so that there are about as many as the number of rows has binary digits.
 *
 * One process at a time may change a collection; any number may ask it. Inside a process one
 * collection may be asked by many threads while one of them changes it: each question is answered
 * from one state.
 */
#ifndef MICA_COLLECTION_H
#define MICA_COLLECTION_H

#include <mica/index.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mica_collection mica_collection;

/* A new collection of rows of `width` columns in folder `path`, which is made; one that has a
 * collection already is MICA_ERR_STATE. `spec` is that of an index. */
MICA_API mica_status mica_collection_create(const mica_engine *engine, const char *path,
                                            const char *spec, int64_t width, mica_collection **out);
/* Open one that is there: its segments are mapped. */
MICA_API mica_status mica_collection_open(const mica_engine *engine, const char *path,
                                          mica_collection **out);
/* NULL does nothing. */
MICA_API void mica_collection_free(mica_collection *collection);

/* See what other processes have changed since. Changes of this process are seen at once. */
MICA_API mica_status mica_collection_refresh(mica_collection *collection);

/* Columns. */
MICA_API int64_t mica_collection_width(const mica_collection *collection);
/* How rows are compared, and the specification; borrowed. */
MICA_API mica_index_metric mica_collection_metric_of(const mica_collection *collection);
MICA_API const char *mica_collection_spec(const mica_collection *collection);
/* Rows that count; files they are in; the id that a row without one would get. */
MICA_API int64_t mica_collection_count(mica_collection *collection);
MICA_API int64_t mica_collection_segments(mica_collection *collection);
MICA_API int64_t mica_collection_next_id(mica_collection *collection);

/* Add rows. A row whose id is there already takes its place; without ids they get the next ones. An
 * id twice in the batch is MICA_ERR_INVALID. Nothing has changed after a failure. Another process
 * that is changing the collection: MICA_ERR_STATE. */
MICA_API mica_status mica_collection_add(mica_collection *collection,
                                         const mica_index_batch *batch);
/* Delete the rows of these n ids; how many there were goes to *deleted (may be NULL). */
MICA_API mica_status mica_collection_delete(mica_collection *collection, const int64_t *id,
                                            int64_t n, int64_t *deleted);
/* Merge all segments into one without the rows that are gone. Takes room for a copy of them. */
MICA_API mica_status mica_collection_compact(mica_collection *collection);

/* A text that is kept with the rows ("classes", "encoder"); setting a key again replaces it. Like
 * any change it happens as a whole. MICA_ERR_INVALID beyond 1024 texts. */
MICA_API mica_status mica_collection_set_text(mica_collection *collection, const char *key,
                                              const char *value);
/* A copy of that text into *out, NULL when there is none; release with mica_free. */
MICA_API mica_status mica_collection_text(mica_collection *collection, const char *key, char **out);
/* What there is now: the ids of the n rows that count, ascending, and their labels
 * (MICA_CLASS_NONE: none). Release both with mica_free. */
MICA_API mica_status mica_collection_rows(mica_collection *collection, int64_t *n, int64_t **id,
                                          int64_t **label);
/* One index of all rows that count, with their ids, labels, names and the collection's texts; with
 * `path` a file. `spec` NULL: the collection's own. */
MICA_API mica_status mica_collection_index(mica_collection *collection, const char *spec,
                                           const char *path, mica_index **out);

/* The k nearest rows of each query, best first: ids [Q, k] (-1 after the last one), scores [Q, k]
 * (NaN there) and unless NULL labels [Q, k] (MICA_CLASS_NONE for none). Equal scores: the lower id
 * first. Of the options, which may be NULL, `allowed`, `self_row` and `second_look` must be NULL,
 * as rows have no lasting numbers, and `coarse`, as they have one encoder. */
MICA_API mica_status mica_collection_query(mica_collection *collection, const mica_view *queries,
                                           const mica_index_query_options *options, int64_t *id,
                                           double *score, int64_t *label);
/* The name of the row with this id into buf, "" when it has none or there is no such row; returns
 * buf. */
MICA_API const char *mica_collection_name(mica_collection *collection, int64_t id, char *buf,
                                          size_t n);

#ifdef __cplusplus
}
#endif
#endif
