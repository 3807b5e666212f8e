/* mica/exchange.h: indices in the files of other programs: FAISS, and PostgreSQL with pgvector.
 *
 * FAISS files (faiss.write_index): IndexFlat, IndexIVFFlat, IndexIVFPQ with residuals, IndexPQ,
 * IndexHNSWFlat, of the metrics L2 and inner product; with IndexIDMap around the flat ones, PQ and
 * HNSW, and an orthogonal LinearTransform (OPQ) before those of codes. The rest is
 * MICA_ERR_UNSUPPORTED with its name; a file that does not fit together is MICA_ERR_FORMAT.
 *
 *     exact   IndexFlat              ivf            IndexIVFFlat
 *     hnsw    IndexHNSWFlat          ivf:codes=pq   IndexIVFPQ, opq: a LinearTransform before it
 *                                    pq             IndexPQ, likewise
 *
 * FAISS knows no cosine: such an index goes out as rows of length 1 by inner product. Labels, names
 * and texts have no place there. An index of codes alone comes in with the rows that its codes
 * stand for, and answers by codes (rerank=0). FAISS' L2 scores are squares.
 */
#ifndef MICA_EXCHANGE_H
#define MICA_EXCHANGE_H

#include <mica/index.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Write an index as FAISS reads it. MICA_ERR_UNSUPPORTED where it has no such form: codes of
 * another encoder, codes whose words are no power of 2 or whose parts do not divide the columns. */
MICA_API mica_status mica_index_export_faiss(const mica_index *index, const char *path);
/* Make an index of a FAISS file; with `out_path` a file of ours, which is then opened, else in
 * memory. */
MICA_API mica_status mica_index_import_faiss(const mica_engine *engine, const char *path,
                                             const char *out_path, mica_index **out);
/* The same from bytes; `name` is for messages. */
MICA_API mica_status mica_index_import_faiss_memory(const mica_engine *engine, const void *bytes,
                                                    size_t n, const char *name,
                                                    const char *out_path, mica_index **out);

/* Rows as text for PostgreSQL's COPY ... FROM: columns id, embedding, and where the index has them
 * label and name, with tabs between, \N where a row has none. */
MICA_API mica_status mica_index_export_copy(const mica_index *index, const char *path);
/* The reverse: an index of this specification. `path` holds such lines, or a dump with one COPY
 * among other things: id, embedding ('[1,2,3]', of vector or halfvec), and maybe label (a number)
 * and name. */
MICA_API mica_status mica_index_import_copy(const mica_engine *engine, const char *spec,
                                            const char *path, const char *out_path,
                                            mica_index **out);

#ifdef __cplusplus
}
#endif
#endif
