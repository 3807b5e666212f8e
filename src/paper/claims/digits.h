/* The handwritten digits of scikit-learn (UCI, Alpaydin and Kaynak 1998) as pictures of 28x28. */
#ifndef MICA_PAPER_CLAIMS_DIGITS_H
#define MICA_PAPER_CLAIMS_DIGITS_H

#include <mica/paper.h>

/* All 1,797 of them in the order of the file: float32 [n,28,28,1] in 0..1, resized from 8x8 to
 * `side` (8 to 28) and in the middle of zeros, and labels, int64 [n]. Looked for as digits.csv.gz
 * among the data sets, then where Debian's python3-sklearn has it. */
mica_status mica_claim_digits(mica_claim_cell *cell, int64_t side, mica_tensor **x,
                              mica_tensor **label);

#endif
