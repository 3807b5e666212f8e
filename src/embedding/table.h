/* What the files of this room share: the inside of a table, the interface of a method, byte
 * budgets.
 */
#ifndef MICA_EMBEDDING_TABLE_H
#define MICA_EMBEDDING_TABLE_H

#include "embedding/packed.h"

#include <mica/embedding.h>
#include <mica/op.h>

/* Fields of methods that keep weights of their own for each. */
#define MICA_EMBEDDING_OWN_FIELDS 256

typedef struct mica_embedding_method mica_embedding_method;

struct mica_embedding_table {
  mica_node *node;
  mica_engine *engine;
  mica_spec *spec;
  const mica_embedding_method *method;
  const void *options;
  int64_t fields, width, rows, largest; /* largest: ids of the largest field */
  int64_t *size, *offset;               /* [fields], [fields + 1] */
  double rate;                          /* the option `bytes` */
  int64_t budget;                       /* bytes that it allows */
  void *plan;                           /* the method's own sizes, one block */
  const mica_packed_embedding *packed;  /* borrowed: what evaluation reads */
};

/* Some ids of a table: rows int64 [n], element i of field `first` + i mod `fields`. */
typedef struct mica_embedding_batch {
  mica_var rows;
  int64_t n, fields, first;
} mica_embedding_batch;

/* The functions of a component of kind MICA_KIND_EMBEDDING; its options struct begins with
 * `uint32_t size; double bytes;`. Absent ones are NULL. */
struct mica_embedding_method {
  uint32_t phases;
  const char *search; /* names of parameters that validation trains, below the node: "alpha" */
  /* Solve for the sizes and make the parameters. */
  mica_status (*init)(mica_embedding_table *e);
  mica_var (*lookup)(mica_tape *t, const mica_embedding_table *e, const mica_embedding_batch *b);
  int64_t (*bytes)(const mica_embedding_table *e);
  mica_status (*counts)(mica_embedding_table *e, const int64_t *count);
  mica_status (*decide)(mica_embedding_table *e);
  mica_status (*search_step)(mica_embedding_table *e);
  mica_status (*evolve)(mica_embedding_table *e, mica_key key, mica_embedding_score_fn score,
                        void *ctx);
  mica_status (*pack)(const mica_embedding_table *e, mica_packed_embedding *p);
  /* A finished matrix, in place of training; NULL: its rows become the table's "weight". `e` has
   * one field and no parameters. */
  mica_status (*compress)(const mica_embedding_table *e, const float *x, mica_key key,
                          mica_packed_embedding *p);
};

/* A table without a node: what its text and sizes say. Free with mica_embedding_unplace. */
mica_status mica_embedding_place(mica_engine *engine, const char *spec, int64_t fields,
                                 const int64_t *size, int64_t width, mica_embedding_table **out);
void mica_embedding_unplace(mica_embedding_table *e);

/* ---- parameters ---- */

/* Values drawn from +-1/sqrt(the largest field's ids). */
mica_init mica_embedding_values(const mica_embedding_table *e);
mica_status mica_embedding_weight(mica_embedding_table *e, const char *name, mica_shape shape,
                                  const mica_init *init);
/* The same below the child "fields.F". */
mica_node *mica_embedding_field(const mica_embedding_table *e, int64_t field);
/* A buffer of zeros; *out may be NULL. */
mica_status mica_embedding_buffer(mica_embedding_table *e, const char *name, mica_dtype dtype,
                                  mica_shape shape, mica_param **out);
float *mica_embedding_floats(const mica_node *node, const char *name);
int64_t *mica_embedding_integers(const mica_node *node, const char *name);
/* `bytes` cannot be had: says which share can. */
mica_status mica_embedding_too_small(const mica_embedding_table *e, int64_t least);

/* Has the table been decided on? The buffer "decided" says so, so that it is in every checkpoint.
 */
bool mica_embedding_decided(const mica_embedding_table *e);
mica_status mica_embedding_decided_init(mica_embedding_table *e);

/* ---- lookups ---- */

/* Another number for each id: fn(ctx, field, row within the field). `ctx` outlives the step. */
typedef int64_t (*mica_row_fn)(const mica_embedding_table *e, int64_t field, int64_t id);
mica_var mica_embedding_map(mica_tape *t, const mica_embedding_table *e,
                            const mica_embedding_batch *b, mica_row_fn fn);
/* Vectors [n, width] made field by field: fn is given the ids [n / fields] of one. */
typedef mica_var (*mica_field_fn)(mica_tape *t, const mica_embedding_table *e, int64_t field,
                                  mica_var ids);
mica_var mica_embedding_by_field(mica_tape *t, const mica_embedding_table *e,
                                 const mica_embedding_batch *b, mica_field_fn fn);
/* The rows of a plain table "weight" [rows, D]. */
mica_var mica_embedding_plain(mica_tape *t, const mica_embedding_table *e,
                              const mica_embedding_batch *b);

/* ---- budgets ---- */

/* The largest x in [lo, hi] whose bytes(ctx, x) is at most `budget`, for rising bytes; lo - 1 where
 * none is. */
typedef int64_t (*mica_bytes_fn)(const void *ctx, int64_t x);
int64_t mica_embedding_largest(int64_t lo, int64_t hi, int64_t budget, mica_bytes_fn bytes,
                               const void *ctx);
/* The same for a real number: the largest share in [0, 1], to 2^-52. Negative: none. */
typedef int64_t (*mica_share_fn)(const void *ctx, double x);
double mica_embedding_share(int64_t budget, mica_share_fn bytes, const void *ctx);

/* ---- elements kept as sparse rows ---- */

/* How many of n elements in `rows` rows fit into `bytes`: as CSR (8 bytes an element, 4 a row and
 * 4) where *csr comes out true, else as coordinates (12 bytes an element). */
int64_t mica_sparse_elements(int64_t rows, int64_t n, int64_t bytes, bool *csr);
int64_t mica_sparse_bytes(int64_t rows, int64_t elements, bool csr);

/* ---- ids by frequency ---- */

/* The `n` most frequent rows, ascending, into rows [n]: by count [rows of the table], or where that
 * is NULL the first ids of each field in equal shares. */
mica_status mica_embedding_frequent(const mica_embedding_table *e, const int64_t *count, int64_t n,
                                    int32_t *rows);
/* The place of a row among n ascending ones, -1: it is not there. */
int64_t mica_embedding_find(const int32_t *rows, int64_t n, int64_t row);

/* ---- the table of options ---- */

#define MICA_EMBEDDING_BYTES(type, def)                                                            \
  {                                                                                                \
    "bytes", MICA_OPTION_FLOAT, def, 1e-6, 1, NULL, "share of the full table's bytes",             \
        offsetof(type, bytes)                                                                      \
  }
/* The method's functions are SYMBOL_method. */
#define MICA_EMBEDDING_COMPONENT(symbol, name, summary, options, type)                             \
  extern const mica_component mica_component_embedding_##symbol;                                   \
  const mica_component mica_component_embedding_##symbol = {MICA_COMPONENT_HEAD,                   \
                                                            MICA_KIND_EMBEDDING,                   \
                                                            name,                                  \
                                                            summary,                               \
                                                            "embedding-compression",               \
                                                            options,                               \
                                                            sizeof(type),                          \
                                                            0,                                     \
                                                            0,                                     \
                                                            &symbol##_method}

#endif
