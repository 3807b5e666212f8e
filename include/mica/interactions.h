/* mica/interactions.h: who took what, and when: logs of users and items for recommenders.
 *
 * Whatever file they come from, interactions are one thing: for each user the items in the order of
 * time, with a rating and a time where the file has them. They are thinned (ratings too low, users
 * and items too rare), split (each user's last item, a moment, a share), and drawn from (negative
 * items). All draws are functions of a seed and of what they are for, never of who draws first.
 *
 * Files (.gz too), known by their first lines:
 *   movielens  "user <tab> item <tab> rating <tab> time" (u.data), "user::item::rating::time"
 *              (ratings.dat), or a folder with one of them; u.user and u.item, or users.dat and
 *              movies.dat, beside it become attributes
 *   csv        a header with user or user_id, item (movie, product), rating and time (timestamp),
 *              in any order and spelling of these (userId, movieId); commas or tabs. Or no header:
 *              user, item, rating, time (ratings of Amazon)
 *   reviews    JSON lines with reviewerID, asin, overall, unixReviewTime (reviews of Amazon)
 *   sequences  "user item item ...": a user a line, items in the order of time (S3-Rec; LightGCN,
 *              whose folder has train.txt, valid.txt and test.txt, which become parts, and no
 * order) pairs      "user item" lines in the order of time (SASRec)
 */
#ifndef MICA_INTERACTIONS_H
#define MICA_INTERACTIONS_H

#include <mica/dataset.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mica_interactions_options {
  uint32_t size;
  const char *format; /* NULL: by the first lines; of two numbers a line, all are pairs */
  double min_rating;  /* drop interactions of a lower rating; without ratings none is dropped */
  int64_t min_user, min_item; /* drop users and items of fewer interactions */
  bool core; /* again and again, until all have as many (the k-core); else items once, then users */
  bool unique; /* of one user's interactions with one item, keep the file's first */
  bool strict; /* stop at the first line that cannot be used; else it is skipped and counted */
} mica_interactions_options;
#define MICA_INTERACTIONS_OPTIONS                                                                  \
  { sizeof(mica_interactions_options), NULL, -1e30, 0, 0, false, false, false }

/* Immutable; shared by threads. */
typedef struct mica_interactions mica_interactions;

/* Read a file or folder. MICA_ERR_FORMAT where it is none of the formats, or nothing is left. */
MICA_API mica_status mica_interactions_open(const char *path,
                                            const mica_interactions_options *options,
                                            mica_interactions **out);
/* From arrays [n]: any numbers of users and items; rating and time may be NULL. */
MICA_API mica_status mica_interactions_create(int64_t n, const int64_t *user, const int64_t *item,
                                              const float *rating, const int64_t *time,
                                              const mica_interactions_options *options,
                                              mica_interactions **out);
/* NULL does nothing. */
MICA_API void mica_interactions_free(mica_interactions *x);

/* The format that it came from, NULL from arrays. */
MICA_API const char *mica_interactions_format(const mica_interactions *x);
/* Users and items are numbered in the order in which the file first has them; their names there. */
MICA_API int64_t mica_interactions_count(const mica_interactions *x);
MICA_API int64_t mica_interactions_users(const mica_interactions *x);
MICA_API int64_t mica_interactions_items(const mica_interactions *x);
/* NULL out of range. */
MICA_API const char *mica_interactions_user_name(const mica_interactions *x, int64_t user);
MICA_API const char *mica_interactions_item_name(const mica_interactions *x, int64_t item);
/* -1 for a name that is not there. */
MICA_API int64_t mica_interactions_find_user(const mica_interactions *x, const char *name);
MICA_API int64_t mica_interactions_find_item(const mica_interactions *x, const char *name);
/* The interactions of user u are offsets[u] to offsets[u + 1] - 1, in the order of time; equal
 * times, and all without times, stay in the file's order. Borrowed. */
MICA_API const int64_t *mica_interactions_offsets(const mica_interactions *x); /* [users + 1] */
MICA_API const int64_t *mica_interactions_item(const mica_interactions *x);    /* [count] */
MICA_API const float *mica_interactions_rating(const mica_interactions *x);    /* NULL: has none */
MICA_API const int64_t *mica_interactions_time(const mica_interactions *x);    /* NULL: has none */
/* The parts that the files are (mica_part), NULL where there was one file. */
MICA_API const uint8_t *mica_interactions_file_part(const mica_interactions *x);
/* Has the user ever interacted with the item? */
MICA_API bool mica_interactions_seen(const mica_interactions *x, int64_t user, int64_t item);
/* Lines skipped, and "FILE: line N: why" for each of the first hundred. */
MICA_API int64_t mica_interactions_skipped(const mica_interactions *x);
MICA_API const char *mica_interactions_skipped_text(const mica_interactions *x);

/* ---- what is known of users and items ---- */

/* One attribute: each row (user or item) has the values ids[offsets[row]] to
 * ids[offsets[row + 1] - 1], of a single-valued one at most one. */
typedef struct mica_attribute {
  const char *name;         /* "age", "genre" */
  int64_t values;           /* different ones */
  const char *const *value; /* [values], in the order in which the file has them */
  const int64_t *offsets;   /* [rows + 1] */
  const int64_t *ids;
} mica_attribute;

/* Of MovieLens: users have age, gender, occupation, zip; items title, year, genre. */
MICA_API int64_t mica_interactions_user_attributes(const mica_interactions *x);
MICA_API int64_t mica_interactions_item_attributes(const mica_interactions *x);
/* Borrowed; NULL out of range. */
MICA_API const mica_attribute *mica_interactions_user_attribute(const mica_interactions *x,
                                                                int64_t i);
MICA_API const mica_attribute *mica_interactions_item_attribute(const mica_interactions *x,
                                                                int64_t i);
/* Read more attributes of items from JSON: {"item": [value, ...], ...} (S3-Rec's attributes). Not
 * while other threads use x. */
MICA_API mica_status mica_interactions_add_item_attribute(mica_interactions *x, const char *name,
                                                          const char *path);

/* ---- splits ---- */

typedef enum mica_split_kind {
  MICA_SPLIT_LAST,   /* of each user with three or more, the last is test, the one before validation
                      */
  MICA_SPLIT_TIME,   /* over all users, the latest share is test, the latest before it validation;
                        equal times stay together, in the later part */
  MICA_SPLIT_SHARE,  /* the same within each user, rounded down, in the order of time */
  MICA_SPLIT_RANDOM, /* each interaction by itself, by a hash of user, item and time: adding some
                        moves none */
  MICA_SPLIT_FILES   /* as the files are */
} mica_split_kind;

typedef struct mica_split_options {
  uint32_t size;
  mica_split_kind kind;
  double validation, test; /* shares, below 1 together; not of LAST and FILES */
  uint64_t seed;           /* of RANDOM */
} mica_split_options;
#define MICA_SPLIT_OPTIONS                                                                         \
  { sizeof(mica_split_options), MICA_SPLIT_LAST, 0.1, 0.1, 0 }

/* The part of each interaction, into part [count] as mica_part. MICA_ERR_UNSUPPORTED for times or
 * files that are not there. */
MICA_API mica_status mica_interactions_split(const mica_interactions *x,
                                             const mica_split_options *options, uint8_t *part);

/* ---- negatives ---- */

typedef enum mica_negative_kind {
  MICA_NEGATIVE_UNIFORM,   /* each item alike */
  MICA_NEGATIVE_POPULARITY /* by the power alpha of its count in the training part */
} mica_negative_kind;

typedef struct mica_negative_options {
  uint32_t size;
  mica_negative_kind kind;
  double alpha; /* 0.75 as word2vec has it; 1 is what batches of the log give */
  bool unseen;  /* never an item that the user has interacted with, in any part */
  uint64_t seed;
} mica_negative_options;
#define MICA_NEGATIVE_OPTIONS                                                                      \
  { sizeof(mica_negative_options), MICA_NEGATIVE_UNIFORM, 0.75, true, 0 }

/* Immutable; shared by threads. Popularity draws take constant time (alias tables, Vose 1991). */
typedef struct mica_negatives mica_negatives;

/* `part` [count] as mica_interactions_split gives it, NULL: all is training. The interactions must
 * outlive the sampler. MICA_ERR_NUMERIC when no item can be drawn. */
MICA_API mica_status mica_negatives_create(const mica_interactions *x, const uint8_t *part,
                                           const mica_negative_options *options,
                                           mica_negatives **out);
MICA_API void mica_negatives_free(mica_negatives *s);
/* `n` negatives, drawn with replacement, for each of `rows` users (-1: none, nothing is seen) into
 * out [rows, n]: functions of the seed, `step` and the row. MICA_ERR_INVALID for a user who has
 * seen every item that can be drawn. */
MICA_API mica_status mica_negatives_draw(const mica_negatives *s, uint64_t step, int64_t rows,
                                         const int64_t *user, int64_t n, int64_t *out);
/* The logarithm of each item's chance in one draw, before what is seen is left out: what a sampled
 * softmax takes from the logits (Bengio and Senecal 2008), -inf for one that is never drawn. */
MICA_API void mica_negatives_log_q(const mica_negatives *s, int64_t n, const int64_t *item,
                                   float *out);
/* A list for evaluation: n different items that the user has not seen, a function of the seed and
 * the user's name. MICA_ERR_INVALID for one with fewer. */
MICA_API mica_status mica_negatives_list(const mica_negatives *s, int64_t user, int64_t n,
                                         int64_t *out);
/* The other rows' items as negatives of a batch of pairs: mask [n, n] is 1 where item j is one for
 * row i: another item, and with `unseen` none that user i has interacted with; the diagonal, each
 * row's positive, is 1 too. Of a batch that comes from the log, mica_negatives_log_q with
 * POPULARITY and alpha 1 is the correction (Yi et al. 2019). */
MICA_API void mica_negatives_in_batch(const mica_negatives *s, int64_t n, const int64_t *user,
                                      const int64_t *item, float *mask);

#ifdef __cplusplus
}
#endif
#endif
