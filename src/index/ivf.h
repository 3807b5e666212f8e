/* Inverted lists as they are built, kept in a file and asked: ivf_build.c makes and loads them,
 * ivf.c asks. */
#ifndef MICA_INDEX_IVF_H
#define MICA_INDEX_IVF_H

#include "index/codes.h"
#include "index/index.h"

enum { CODES_NONE, CODES_PQ, CODES_OPQ };

typedef struct mica_ivf_options {
  mica_index_head head;
  int64_t lists, probe;
  int32_t codes;
  int64_t parts, words, rerank, sample, iterations, rotations, seed;
} mica_ivf_options;

/* Arrays are the state's own after a build, and lie in the file's memory after a load. */
typedef struct mica_ivf {
  int64_t lists, n;
  const float *centre;   /* [lists, d] */
  const int64_t *start;  /* [lists + 1] into order */
  const int64_t *order;  /* [n] rows, list by list */
  mica_quantiser *codes; /* or NULL */
  const uint8_t *code;   /* each list from code_at on */
  const float *constant; /* [n] in the order of lists, for the distance; or NULL */
  int64_t code_bytes;
  int64_t *code_at; /* [lists] */
  float *square;    /* [lists] squared lengths of the centres */
  mica_tensor *held[5];
} mica_ivf;

/* As mica_index_functions has them; options and states are those above. */
mica_status mica_ivf_build(const mica_engine *engine, const void *options,
                           const mica_index_rows *rows, void **out);
mica_status mica_ivf_save(const void *state, mica_record *record);
mica_status mica_ivf_load(const mica_engine *engine, const void *options,
                          const mica_index_rows *rows, const mica_record *record, void **out);
void mica_ivf_free(void *state);

#endif
