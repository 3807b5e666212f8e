/* Masks by name: random elements, whole output channels, what is largest, what is not zero. */
#include <mica/param.h>

#include "numeric/sort.h"

#include <math.h>
#include <string.h>

/* The elements of channel c are first(c) + k * stride, k below `each`. Output channels lead, but in
 * the weights of transposed convolutions, where they come last. */
typedef struct channels {
  int64_t n, each;
  bool last;
} channels;

static channels channels_of(const mica_param *q) {
  const mica_tensor *value = mica_param_value(q);
  const int64_t count = mica_tensor_count(value);
  const bool last = mica_param_layout(q).kind == MICA_LAYOUT_CONV_TRANSPOSE;
  const int64_t n = mica_tensor_shape(value)->rank ? mica_tensor_dim(value, last ? -1 : 0) : 1;
  return (channels){n, n ? count / n : 0, last};
}

static int64_t element_at(const channels *c, int64_t channel, int64_t k) {
  return c->last ? k * c->n + channel : channel * c->each + k;
}

/* ---- random ---- */

typedef struct random_options {
  uint32_t size;
  int64_t count;
  double share;
  int32_t over; /* 0: each output channel, 1: the whole entry */
} random_options;

/* Choose `count` of `each` by Floyd's method: every subset is equally likely, and it needs no
 * memory but the mask. */
static void choose(const channels *c, int64_t channel, int64_t count, mica_key key, uint8_t *mask) {
  for (int64_t j = c->each - count; j < c->each; j++) {
    const int64_t r = (int64_t)mica_random_below(key, (uint64_t)j, (uint64_t)j + 1);
    uint8_t *at = &mask[element_at(c, channel, r)];
    if (*at) at = &mask[element_at(c, channel, j)];
    *at = 1;
  }
}

static mica_status make_random(const void *options, const mica_param *q, mica_key key,
                               uint8_t *mask) {
  const random_options *o = options;
  channels c = channels_of(q);
  if (o->over) c = (channels){1, mica_tensor_count(mica_param_value(q)), false};
  if ((o->count > 0) == (o->share > 0))
    return mica_fail(MICA_ERR_INVALID, "mask random: expected either count or share");
  int64_t count = o->count ? o->count : llround(o->share * (double)c.each);
  if (count > c.each) count = c.each;
  for (int64_t i = 0; i < c.n; i++) choose(&c, i, count, mica_key_fold(key, (uint64_t)i), mask);
  return MICA_OK;
}

static const mica_option random_table[] = {
    {"count", MICA_OPTION_INT, "0", 0, 1e15, NULL, "elements of each output channel",
     offsetof(random_options, count)},
    {"share", MICA_OPTION_FLOAT, "0", 0, 1, NULL, "or the share of them",
     offsetof(random_options, share)},
    {"over", MICA_OPTION_CHOICE, "channel", 0, 0, "channel|all",
     "counted in each output channel, or in the whole parameter", offsetof(random_options, over)},
    {0}};

static const mica_mask_functions random_functions = {make_random};

const mica_component mica_component_mask_random = {MICA_COMPONENT_HEAD,
                                                   MICA_KIND_MASK,
                                                   "random",
                                                   "train random elements",
                                                   "batchnorm-only",
                                                   random_table,
                                                   sizeof(random_options),
                                                   0,
                                                   0,
                                                   &random_functions};

/* ---- output channels ---- */

typedef struct channels_options {
  uint32_t size;
  int64_t first, count;
} channels_options;

static mica_status make_channels(const void *options, const mica_param *q, mica_key key,
                                 uint8_t *mask) {
  (void)key;
  const channels_options *o = options;
  const channels c = channels_of(q);
  const int64_t end = o->count && o->count < c.n - o->first ? o->first + o->count : c.n;
  for (int64_t i = o->first; i < end; i++)
    for (int64_t k = 0; k < c.each; k++) mask[element_at(&c, i, k)] = 1;
  return MICA_OK;
}

static const mica_option channels_table[] = {{"first", MICA_OPTION_INT, "0", 0, 1e12, NULL,
                                              "output channel", offsetof(channels_options, first)},
                                             {"count", MICA_OPTION_INT, "0", 0, 1e12, NULL,
                                              "of channels from there on; 0: the rest",
                                              offsetof(channels_options, count)},
                                             {0}};

static const mica_mask_functions channels_functions = {make_channels};

const mica_component mica_component_mask_channels = {MICA_COMPONENT_HEAD,
                                                     MICA_KIND_MASK,
                                                     "channels",
                                                     "train some output channels",
                                                     NULL,
                                                     channels_table,
                                                     sizeof(channels_options),
                                                     0,
                                                     0,
                                                     &channels_functions};

/* ---- the largest, and what is not zero ---- */

typedef struct magnitude_options {
  uint32_t size;
  double share;
  int32_t unit; /* 0: elements, 1: output channels by their length */
} magnitude_options;

static mica_status make_magnitude(const void *options, const mica_param *q, mica_key key,
                                  uint8_t *mask) {
  (void)key;
  const magnitude_options *o = options;
  const mica_tensor *value = mica_param_value(q);
  const channels c = o->unit ? channels_of(q) : (channels){mica_tensor_count(value), 1, false};
  double *score = mica_calloc((size_t)c.n + 1, sizeof *score);
  int64_t *order = mica_calloc((size_t)c.n + 1, sizeof *order);
  mica_status status = score && order ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < c.n && status == MICA_OK; i++)
    for (int64_t k = 0; k < c.each; k++) {
      const double v = mica_tensor_get(value, element_at(&c, i, k));
      score[i] += v * v;
    }
  if (status == MICA_OK) status = mica_sort_descending(c.n, score, order);
  const int64_t kept = llround(o->share * (double)c.n);
  for (int64_t i = 0; i < kept && status == MICA_OK; i++)
    for (int64_t k = 0; k < c.each; k++) mask[element_at(&c, order[i], k)] = 1;
  mica_free(score);
  mica_free(order);
  return status;
}

static const mica_option magnitude_table[] = {
    {"share", MICA_OPTION_FLOAT, "0.5", 0, 1, NULL, "of the parameter, the largest",
     offsetof(magnitude_options, share)},
    {"unit", MICA_OPTION_CHOICE, "element", 0, 0, "element|channel",
     "elements, or whole output channels by the length of their weights",
     offsetof(magnitude_options, unit)},
    {0}};

static const mica_mask_functions magnitude_functions = {make_magnitude};

const mica_component mica_component_mask_magnitude = {MICA_COMPONENT_HEAD,
                                                      MICA_KIND_MASK,
                                                      "magnitude",
                                                      "the elements, or channels, that are largest",
                                                      "pela",
                                                      magnitude_table,
                                                      sizeof(magnitude_options),
                                                      0,
                                                      0,
                                                      &magnitude_functions};

typedef struct nonzero_options {
  uint32_t size;
} nonzero_options;

static mica_status make_nonzero(const void *options, const mica_param *q, mica_key key,
                                uint8_t *mask) {
  (void)options, (void)key;
  const mica_tensor *value = mica_param_value(q);
  for (int64_t i = 0; i < mica_tensor_count(value); i++) mask[i] = mica_tensor_get(value, i) != 0;
  return MICA_OK;
}

static const mica_option nonzero_table[] = {{0}};

static const mica_mask_functions nonzero_functions = {make_nonzero};

const mica_component mica_component_mask_nonzero = {MICA_COMPONENT_HEAD,
                                                    MICA_KIND_MASK,
                                                    "nonzero",
                                                    "what is not zero: a pruned network stays so",
                                                    "pela",
                                                    nonzero_table,
                                                    sizeof(nonzero_options),
                                                    0,
                                                    0,
                                                    &nonzero_functions};
