/* The inside of packed tables: some arrays, and how a row is read from them.
 *
 * A form says which arrays there are and of what type, checks that what they say stays inside of
 * them (files come from outside), and decodes one row.
 */
#ifndef MICA_EMBEDDING_PACKED_H
#define MICA_EMBEDDING_PACKED_H

#include <mica/embedding.h>

#define MICA_PACKED_ARRAYS   6
#define MICA_PACKED_SETTINGS 12

typedef struct mica_packed_form {
  const char *name;
  const char *array[MICA_PACKED_ARRAYS]; /* names, in order */
  mica_dtype dtype[MICA_PACKED_ARRAYS];
  /* MICA_ERR_FORMAT where arrays and settings do not fit; else `derived`, if any, is made. */
  mica_status (*check)(mica_packed_embedding *p);
  /* Row `id` of `field` into out [width]. */
  void (*row)(const mica_packed_embedding *p, int64_t field, int64_t id, float *out);
} mica_packed_form;

struct mica_packed_embedding {
  const mica_packed_form *form;
  int64_t fields, width, rows;
  int64_t *size, *offset; /* [fields], [fields + 1] */
  mica_tensor *array[MICA_PACKED_ARRAYS];
  int64_t setting[MICA_PACKED_SETTINGS];
  int64_t *derived; /* what the form works out once from the arrays, one block */
};

/* One without arrays yet. */
mica_status mica_packed_create(int64_t fields, const int64_t *size, int64_t width,
                               mica_packed_embedding **out);
/* Array i of the form, of n elements (of rank 1), zeros; its data. NULL when memory is short. */
void *mica_packed_array(mica_packed_embedding *p, int i, int64_t n);
static inline void *mica_packed_data(const mica_packed_embedding *p, int i) {
  return mica_tensor_data(p->array[i]);
}
static inline int64_t mica_packed_count(const mica_packed_embedding *p, int i) {
  return mica_tensor_count(p->array[i]);
}
/* That of a file which is not as it should be. */
mica_status mica_packed_wrong(const mica_packed_embedding *p, const char *what);
/* Array i becomes a copy of a parameter's value. */
mica_status mica_packed_copy(mica_packed_embedding *p, int i, const mica_param *q);

/* Numbers of `bits` bits one after the other, the lowest bit first. */
int mica_bits_for(int64_t values); /* the fewest for numbers 0 .. values - 1, at least 1 */
int64_t mica_bits_bytes(int64_t n, int bits);
void mica_bits_put(uint8_t *at, int64_t i, int bits, uint64_t value);
uint64_t mica_bits_get(const uint8_t *at, int64_t i, int bits);

/* Sparse rows of w [rows, width], where keep (NULL: w itself) is not 0. */
mica_status mica_sparse_pack(mica_packed_embedding *p, const float *w, const float *keep, bool csr);
/* Integers of 8 or 16 bits times one scale, or [rows] of them. */
mica_status mica_integer_pack(mica_packed_embedding *p, const float *w, int bits, int64_t scales,
                              const float *scale);

/* The forms. Settings and arrays are told beside each. */
extern const mica_packed_form mica_packed_rows;    /* rows by a map from ids */
extern const mica_packed_form mica_packed_pairs;   /* quotient and remainder */
extern const mica_packed_form mica_packed_train;   /* tensor train */
extern const mica_packed_form mica_packed_network; /* hashes through a network */
extern const mica_packed_form mica_packed_windows; /* windows of one array */
extern const mica_packed_form mica_packed_blocks;  /* shared blocks of rows */
extern const mica_packed_form mica_packed_codes;   /* product codes */
extern const mica_packed_form mica_packed_narrow;  /* narrow rows times a projection */
extern const mica_packed_form mica_packed_sparse;  /* sparse rows */
extern const mica_packed_form mica_packed_prefix;  /* the first elements of those rows that stay */
extern const mica_packed_form mica_packed_integer; /* integers times a scale */
extern const mica_packed_form mica_packed_grouped; /* rows in groups, each a table of its own */

#endif
