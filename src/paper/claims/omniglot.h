/* Omniglot's two small background sets, for the claims that train and test on different alphabets.
 */
#ifndef MICA_PAPER_CLAIMS_OMNIGLOT_H
#define MICA_PAPER_CLAIMS_OMNIGLOT_H

#include <mica/paper.h>

#define OMNIGLOT_SIDE 35 /* of 105: blocks of 3 by 3 pixels */

/* Characters of 20 drawings each, in the order of the archive: alphabet by alphabet. */
typedef struct omniglot {
  int64_t n, characters;
  mica_tensor *x;      /* float32 [n, 35, 35, 1], 1 where there is ink */
  mica_tensor *labels; /* int64 [n], the character */
} omniglot;

/* Set 1 or 2, of five alphabets each, from $MICA_DATA/omniglot. */
mica_status mica_omniglot_read(int set, omniglot *out);
void mica_omniglot_free(omniglot *o);
/* The drawings of these characters [n] (labels: their place in the list), `each` of them, chosen
 * by a key for each character (0: all; more than there are: all); in the order of the list. What
 * is left out goes to `rest` likewise where that is not NULL. */
mica_status mica_omniglot_take(const omniglot *o, mica_key key, int64_t n, const int64_t *character,
                               const int64_t *each, omniglot *out, omniglot *rest);
/* A stream that moves each picture of another by up to `pixels`, zeros outside, drawn by seed,
 * epoch and batch; `inner` must outlive it and be used by nobody else. */
mica_status mica_omniglot_shifts(const mica_stream *inner, int64_t pixels, uint64_t seed,
                                 mica_stream *out);
void mica_omniglot_shifts_free(mica_stream *stream);

#endif
