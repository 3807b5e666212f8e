/* Masks by name: a number of random elements of each output channel, and whole output channels. */
#include <mica/param.h>

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
