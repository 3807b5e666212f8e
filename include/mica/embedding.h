/* mica/embedding.h: compressed embedding tables: ids to vectors in fewer bytes than a row for each.
 *
 * A *table* holds the vectors of several fields of ids. Its method is a component of kind
 * MICA_KIND_EMBEDDING, chosen by text, and its option `bytes` is the share of the full table's
 * 4 N D bytes that the form used for prediction may take: "compositional:bytes=0.1". The method's
 * own sizes are solved for from it, and everything that a lookup needs is counted: codes, indices,
 * masks, codebooks, scales. (Zhang et al. 2023, "Experimental Analysis of Large-scale Learnable
 * Vector Storage Compression", arXiv 2311.15578, has the methods under one accounting.)
 *
 * A table lives below a node of a parameter tree, like a layer, in its *training form*, whose
 * gradients are rows wherever the method allows it. Some methods decide something after a while of
 * training (mica_embedding_decide). What is left in the end can be exported as a *packed table*,
 * which needs no tape, has a file of its own, and may take the place of the training form in
 * evaluation.
 */
#ifndef MICA_EMBEDDING_H
#define MICA_EMBEDDING_H

#include <mica/component.h>
#include <mica/nn.h>
#include <mica/param.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mica_embedding_table mica_embedding_table;
typedef struct mica_packed_embedding mica_packed_embedding;

/* ---- tables ---- */

/* Make a table below `node` by text: field f has field_size[f] ids, vectors have `width` numbers.
 * MICA_ERR_INVALID where the method cannot be as small as `bytes` asks for; the message names the
 * least share that it can. The node owns the table. */
MICA_API mica_status mica_embedding_init(mica_node *node, const char *spec, int64_t fields,
                                         const int64_t *field_size, int64_t width);
/* The table of a node, NULL where it has none. */
MICA_API mica_embedding_table *mica_embedding_at(const mica_node *node);

/* ids int64 [N, fields], column f below field_size[f] (others latch MICA_ERR_INVALID) ->
 * [N, fields, width]. In training a method's regulariser, where it has one, sends its gradient
 * along: as if it were added to the loss. */
MICA_API mica_var mica_embedding_lookup(mica_tape *t, mica_node *node, mica_var ids);
/* Lists of ids of one field: ids int64 [total], offsets int64 [N + 1] rising from 0 to total; the
 * vectors of each list summed, averaged, or their largest -> [N, width]; 0 for an empty list. */
MICA_API mica_var mica_embedding_lookup_lists(mica_tape *t, mica_node *node, int64_t field,
                                              mica_var ids, mica_var offsets, mica_bag mode);

/* How often each id occurs, count [sum of field_size], fields one after the other, for methods that
 * treat frequent ids differently. Before training. Without it the ids of each field count as being
 * numbered from the most frequent on, as data tables number them. Methods that do not care do
 * nothing. */
MICA_API mica_status mica_embedding_set_counts(mica_embedding_table *table, const int64_t *count);

typedef struct mica_embedding_facts {
  int64_t fields, width, rows; /* rows: the ids of all fields */
  int64_t full_bytes;          /* 4 rows width */
  int64_t bytes;               /* of the form used for prediction, as things stand */
  int64_t training_bytes;      /* of the values kept in training */
  double rate;                 /* bytes / full_bytes */
  uint32_t phases;             /* MICA_EMBEDDING_* bits */
} mica_embedding_facts;
/* What a table is made of. */
MICA_API void mica_embedding_describe(const mica_embedding_table *table, mica_embedding_facts *out);

enum {
  MICA_EMBEDDING_SEARCHES = 1u << 0, /* has parameters that validation batches train */
  MICA_EMBEDDING_RETRAINS = 1u << 1, /* after deciding, everything is trained anew */
  MICA_EMBEDDING_TUNES = 1u << 2,    /* after deciding, training goes on */
  MICA_EMBEDDING_EVOLVES = 1u << 3,  /* decides by trying settings on validation data */
  MICA_EMBEDDING_REPEATS = 1u << 4 /* before deciding, all but what was searched is trained anew */
};
/* Settle what the method leaves open while it trains: which elements stay, which widths, which
 * blocks are shared. Afterwards the table keeps to it. Does nothing a second time, and for methods
 * that decide nothing. */
MICA_API mica_status mica_embedding_decide(mica_embedding_table *table);

/* ---- deciding on validation data ---- */

/* A selection (mica/param.h) of what validation batches train, NULL for methods without. */
MICA_API const char *mica_embedding_search_selection(const mica_embedding_table *table, char *buf,
                                                     size_t n);
/* After backward on a validation batch: the method's own step of those parameters. *done false:
 * it has none, the optimiser is to do it. */
MICA_API mica_status mica_embedding_search_step(mica_embedding_table *table, bool *done);

/* The quality of a setting of widths, larger is better: for methods that evolve. */
typedef mica_status (*mica_embedding_score_fn)(void *ctx, double *score);
/* Evolution over the widths of fields, within the byte budget: from the best settings by `score`,
 * mutants and children of two; the best one is decided upon. Draws come from `key`. */
MICA_API mica_status mica_embedding_evolve(mica_embedding_table *table, mica_key key,
                                           mica_embedding_score_fn score, void *ctx);

/* ---- packed tables ---- */

/* The form used for prediction, as a table of its own. */
MICA_API mica_status mica_embedding_export(const mica_embedding_table *table,
                                           mica_packed_embedding **out);
/* From now on lookups in evaluation read `packed` (borrowed, of the same fields and width; NULL:
 * the training form again). */
MICA_API mica_status mica_embedding_use(mica_embedding_table *table,
                                        const mica_packed_embedding *packed);
/* Write a packed table as a safetensors file, atomically, and read one back: MICA_ERR_FORMAT where
 * a tensor is missing, of another shape, or points outside. */
MICA_API mica_status mica_packed_embedding_save(const mica_packed_embedding *packed,
                                                const char *path);
MICA_API mica_status mica_packed_embedding_open(const char *path, mica_packed_embedding **out);
/* The same from a file's bytes in memory, which are not needed afterwards; `name` is for messages.
 */
MICA_API mica_status mica_packed_embedding_open_memory(const void *bytes, size_t n,
                                                       const char *name,
                                                       mica_packed_embedding **out);
/* NULL does nothing. */
MICA_API void mica_packed_embedding_free(mica_packed_embedding *packed);
/* Vectors of n examples: ids [n, fields] -> out [n, fields, width], on the engine's threads. An id
 * out of range is MICA_ERR_INVALID. */
MICA_API mica_status mica_packed_embedding_lookup(const mica_packed_embedding *packed,
                                                  const mica_engine *engine, int64_t n,
                                                  const int64_t *ids, float *out);
/* Vectors of n rows of all fields together, row f of field k being that behind the fields before:
 * out [n, width]. */
MICA_API mica_status mica_packed_embedding_rows(const mica_packed_embedding *packed,
                                                const mica_engine *engine, int64_t n,
                                                const int64_t *rows, float *out);
/* What it is made of: training_bytes and phases are 0. */
MICA_API void mica_packed_embedding_describe(const mica_packed_embedding *packed,
                                             mica_embedding_facts *out);
/* How it is stored, in a word: "rows", "codes", "sparse", ... */
MICA_API const char *mica_packed_embedding_form(const mica_packed_embedding *packed);

/* Compress a finished matrix x [rows, width] (float32 or float64, finite) by text, without
 * training. For this alone are
 *
 *     pq            product quantisation; parts and codewords solved for from `bytes`
 *     grouped-pq    rows in groups by their norm, the larger the norm the more codewords
 *     svd           a narrow matrix times a projection
 *     grouped-svd   rows in groups by their norm, the larger the norm the wider
 *     prune         the largest elements by magnitude, as sparse rows
 *
 * and "tt" (three cores, by successive singular value decompositions), "int" (a scale for each row)
 * and "dedup" do it too. Errors as of mica_embedding_init; MICA_ERR_UNSUPPORTED for other methods.
 */
MICA_API mica_status mica_matrix_compress(mica_engine *engine, const char *spec, const mica_view *x,
                                          uint64_t seed, mica_packed_embedding **out);

/* ---- what tables are made of: operations ----
 *
 * ids are int64 of any shape [..]; results have the vector's dimension behind. float32 or float64.
 */

/* Row id div m of `quotient` [q, D] combined with row id mod m of `remainder` [m, D]: their product
 * (multiply) or sum (Shi et al. 2020). */
MICA_API mica_var mica_compositional_embedding(mica_tape *t, mica_var quotient, mica_var remainder,
                                               mica_var ids, bool multiply);
/* Three cores, core i [n_i, r_i d_i r_(i+1)] with r_0 = r_3 = 1; the row of an id is the product of
 * its digits' slices, id mod n_0, id div n_0 mod n_1, the rest: [.., d_0 d_1 d_2] (Yin et al. 2021,
 * TT-Rec). dims are d_0, d_1, d_2, rank is r_1 = r_2. */
MICA_API mica_var mica_tensor_train_embedding(mica_tape *t, const mica_var core[3], mica_var ids,
                                              const int64_t dims[3], int64_t rank);
/* h_j = ((a_j x + b_j) mod p_j) mod buckets of each id, slopes, biases and primes int64 [k], all
 * of 0 .. 2^31 - 1: as 2 h / (buckets - 1) - 1, or pairs of them as normal numbers by Box and
 * Muller's rule (Kang et al. 2021, DHE); no gradient. [.., k] */
MICA_API mica_var mica_hash_encoding(mica_tape *t, mica_var ids, mica_var slopes, mica_var biases,
                                     mica_var primes, int64_t buckets, bool normal,
                                     mica_dtype dtype);
/* Vectors as signed windows of one array [L]: element i of the vector of id x at place s (the last
 * dimension of ids) is sign * array[index] with
 *   index = (r3 x + r1 + i mod w + r2 (i div w) + r4 s) mod r0 mod L, w = D / pieces
 *   sign = 2 ((r7 x + r5 + r6 i + r8 s) mod r0 mod 2) - 1
 * numbers int64 [9 or more] r0 .. r8, r0 below 2^31 (Desai et al. 2022, ROBE). */
MICA_API mica_var mica_array_embedding(mica_tape *t, mica_var array, mica_var ids, int64_t width,
                                       int64_t pieces, const int64_t *numbers);
/* The same indices and signs [n, slots, width] of ids [n, slots], either may be NULL. */
MICA_API void mica_array_places(int64_t n, int64_t slots, const int64_t *ids, int64_t width,
                                int64_t pieces, const int64_t *numbers, int64_t length,
                                int64_t *index, int64_t *sign);
/* For each of the P parts of x [n, D] the nearest of the codewords [P, K, D / P], the first of
 * equals: int64 [n, P], no gradient. words [n] (MICA_NONE: K) lets a row use only its first. */
MICA_API mica_var mica_nearest_codewords(mica_tape *t, mica_var x, mica_var codebook,
                                         mica_var words);
/* The codewords of codes [n, P] side by side, [n, D]. */
MICA_API mica_var mica_codeword_rows(mica_tape *t, mica_var codebook, mica_var codes);
/* The value is `values`' of the code whose key has the largest response <x part, key>, after a
 * batch norm of each key's responses over rows and parts (without gain; `statistics`, running mean
 * and variance [2, K], instead of the batch's unless MICA_NONE); the gradient is that of a softmax
 * (Chen, Li & Sun 2020, DPQ-SX). x [n, D], keys, values [P, K, D / P] -> [n, D]; *codes [n, P];
 * *mean and *var [K], those of the batch. */
MICA_API mica_var mica_softmax_codewords(mica_tape *t, mica_var x, mica_var keys, mica_var values,
                                         mica_var statistics, mica_var *codes, mica_var *mean,
                                         mica_var *var);
/* sign(x) max(|x| - sigmoid(s), 0), s broadcasts to x (Liu et al. 2021, PEP). */
MICA_API mica_var mica_soft_threshold(mica_tape *t, mica_var x, mica_var s);
/* 1 where |x|_1 - threshold > 0, else 0: x [.., D], threshold [..,1] or broadcasting to it -> [..,
 * 1]. The gradient goes through a surrogate of slope 2 - 4 |z| for |z| <= 0.4, 0.4 up to 1, 0
 * beyond (Lyu et al. 2022, OptEmbed). */
MICA_API mica_var mica_row_gate(mica_tape *t, mica_var x, mica_var threshold);
/* x [.., D] with what lies behind element `last` of each vector set to 0; last int64 [..]. */
MICA_API mica_var mica_prefix(mica_tape *t, mica_var x, mica_var last);
/* scale times floor(x / scale + 1/2), or with `key` floor(x / scale + u) with u uniform in [0, 1),
 * clipped to the integers of `bits` bits (symmetric about 0); x [n, D], scale [n, 1] or [1]. The
 * gradient of x is passed on inside the range; that of scale is code - x / scale inside, the clip
 * value outside, times `scale_factor` (Li et al. 2023, ALPT). *codes (may be NULL) int64 [n, D]. */
MICA_API mica_var mica_quantise_rows(mica_tape *t, mica_var x, mica_var scale, int bits,
                                     const mica_key *key, double scale_factor, mica_var *codes);
/* y, and in backward also 1 as the gradient of the scalar `penalty`: a regulariser that needs no
 * place in the loss. */
MICA_API mica_var mica_with_penalty(mica_tape *t, mica_var y, mica_var penalty);

/* ---- what tables are made of: rules ---- */

/* Widths d_i = D (min n / n_i)^alpha, rounded, at least 1, and then (round_power) to the nearest
 * power of two on a logarithmic scale (Ginart et al. 2021). */
MICA_API void mica_mixed_dimensions(int64_t fields, const int64_t *field_size, int64_t width,
                                    double alpha, bool round_power, int64_t *out);
/* The share that is pruned after `iteration` steps: rate (1 - 0.99^(iteration / 100)) at multiples
 * of 10 and of `epoch` (0: none), else 0, nothing (Deng et al. 2021, DeepLight). */
MICA_API double mica_pruning_rate(double rate, int64_t iteration, int64_t epoch);
/* Set all but the `keep` largest of n by magnitude to 0, the first of equals stay; returns how many
 * are 0 now. MICA_ERR_MEMORY gives -1. */
MICA_API int64_t mica_prune_magnitude(int64_t n, float *x, int64_t keep);
/* AutoSrh's step (Kong et al. 2022): alpha [groups, width] less lr times its gradient (with that of
 * its L1 norm) divided by the mean magnitude of its row (+ 1e-8), clipped to 0..1. */
MICA_API void mica_importance_step(int64_t groups, int64_t width, const float *gradient, double lr,
                                   float *alpha);

#ifdef __cplusplus
}
#endif
#endif
