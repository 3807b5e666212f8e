/* A collection on disk: segments and bitmaps, the states that collection.json names, and how one
 * takes the place of another.
 *
 * A state is what one collection.json says, opened: it never changes, and goes when the last who
 * asks it is done. A change makes the next state from the present one: new segments and bitmaps as
 * files, then collection.json. Files that no longer count are removed afterwards; who still has
 * them mapped keeps them.
 */
#ifndef MICA_INDEX_COLLECTION_FOLDER_H
#define MICA_INDEX_COLLECTION_FOLDER_H

#include <mica/collection.h>

#include <pthread.h>

#define MICA_COLLECTION_FILE "collection.json"

/* An opened index file, shared by states. */
typedef struct mica_collection_opened {
  int64_t owners;
  mica_index *index;
} mica_collection_opened;

typedef struct mica_collection_segment {
  char file[32], bitmap[32]; /* names in the folder; bitmap "": all rows count */
  mica_collection_opened *at;
  uint64_t *alive; /* a bit a row; NULL: all */
  int64_t rows;    /* that count */
} mica_collection_segment;

/* A text that is kept with the rows. */
typedef struct mica_collection_note {
  char *key, *value;
} mica_collection_note;

typedef struct mica_collection_state {
  int64_t owners;
  mica_collection_segment *segment;
  int64_t n, rows, next_id, next_file;
  mica_collection_note *note;
  int64_t notes;
} mica_collection_state;

struct mica_collection {
  const mica_engine *engine;
  char *path, *spec;
  int64_t width;
  pthread_mutex_t lock;    /* of `now` and of owners' counts */
  pthread_mutex_t writing; /* one change at a time */
  mica_collection_state *now;
};

static inline int64_t mica_collection_segment_words(int64_t rows) {
  return (rows + 63) / 64;
}

static inline bool mica_collection_segment_has(const mica_collection_segment *s, int64_t row) {
  return !s->alive || (s->alive[row / 64] >> row % 64 & 1);
}

/* An empty one with one owner; NULL: no memory. */
mica_collection_state *mica_collection_state_new(void);
/* The present one, with one owner more. */
mica_collection_state *mica_collection_state_take(mica_collection *c);
/* One owner less; the last takes it along. NULL does nothing. */
void mica_collection_state_drop(mica_collection *c, mica_collection_state *s);
/* The same segment in another state, with a bitmap of its own. */
mica_status mica_collection_state_keep(mica_collection *c, mica_collection_state *to,
                                       const mica_collection_segment *from);
/* Set or replace a text of a state that is not in force yet. */
mica_status mica_collection_state_note(mica_collection_state *s, const char *key,
                                       const char *value);
/* What the folder says now. */
mica_status mica_collection_state_read(mica_collection *c, mica_collection_state **out);
/* Make it the present one. */
void mica_collection_state_put(mica_collection *c, mica_collection_state *s);
/* Replace collection.json. */
mica_status mica_collection_state_write(const mica_collection *c, const mica_collection_state *s);
/* Is a file of this name one of the state's? */
bool mica_collection_state_names(const mica_collection_state *s, const char *name);

/* Give up a segment that no state has any more. */
void mica_collection_segment_close(mica_collection *c, mica_collection_segment *s);
/* Open a segment at the end of `to`, or share that of the present state. bitmap "": none. */
mica_status mica_collection_segment_open(mica_collection *c, mica_collection_state *to,
                                         const char *file, const char *bitmap);
/* Write its bitmap under a new name of the state s. */
mica_status mica_collection_segment_write_bitmap(const mica_collection *c, mica_collection_state *s,
                                                 mica_collection_segment *g);
/* Remove a file of the folder; "" is none. */
void mica_collection_remove(const mica_collection *c, const char *name);

/* A change: the state it begins from and the one that it makes. */
typedef struct mica_collection_change {
  mica_collection *c;
  int fd;
  mica_collection_state *before, *after;
} mica_collection_change;

/* Take the folder: one process and one thread at a time. End it also after a failure. */
mica_status mica_collection_change_begin(mica_collection *c, mica_collection_change *h);
/* Put `after` in force, or remove what it has written where `status` tells of a failure. */
mica_status mica_collection_change_end(mica_collection_change *h, mica_status status);

#endif
