/* Drawing a token from logits. */
#ifndef MICA_MODEL_SAMPLE_H
#define MICA_MODEL_SAMPLE_H

#include <mica/generate.h>

typedef struct mica_candidate {
  double probability;
  int64_t id;
} mica_candidate;

mica_status mica_sampling_check(const mica_sampling *s);
/* Draw from logits [n]. `came` [n]: not 0 for tokens that came before. `number`: of the token in
 * its text. `candidates` [n] is scratch. MICA_ERR_NUMERIC where a logit is NaN or none is finite.
 */
mica_status mica_sample(const mica_sampling *s, int64_t n, const float *logits, const uint8_t *came,
                        uint64_t number, mica_candidate *candidates, int64_t *token);

#endif
