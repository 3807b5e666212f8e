/* What heads have in front of their classes: pooling and a linear layer. */
#ifndef MICA_NN_HEAD_FRONT_H
#define MICA_NN_HEAD_FRONT_H

#include <mica/layer.h>

int64_t mica_front_width(const mica_front_options *o, int64_t features);
mica_status mica_front_init(mica_node *node, const mica_front_options *o, int64_t features);
mica_var mica_front(mica_tape *t, mica_node *node, const mica_front_options *o,
                    const mica_layer_inputs *in);

/* Rows of a head's option table; the member is called `front`. */
#define MICA_FRONT_ROWS(type)                                                                      \
  {"dim",                                                                                          \
   MICA_OPTION_INT,                                                                                \
   "0",                                                                                            \
   0,                                                                                              \
   1 << 20,                                                                                        \
   NULL,                                                                                           \
   "width of an embedding in front; 0: the features as they are",                                  \
   offsetof(type, front.dim)},                                                                     \
      {"norm",                                                                                     \
       MICA_OPTION_BOOL,                                                                           \
       "false",                                                                                    \
       0,                                                                                          \
       0,                                                                                          \
       NULL,                                                                                       \
       "batch norm behind the embedding",                                                          \
       offsetof(type, front.norm)},                                                                \
      {"bias",                                                                                     \
       MICA_OPTION_BOOL,                                                                           \
       "true",                                                                                     \
       0,                                                                                          \
       0,                                                                                          \
       NULL,                                                                                       \
       "of the embedding",                                                                         \
       offsetof(type, front.bias)},                                                                \
      {"pool",                                                                                     \
       MICA_OPTION_CHOICE,                                                                         \
       "avg",                                                                                      \
       0,                                                                                          \
       0,                                                                                          \
       "avg|gem|gem-learned",                                                                      \
       "the features, or the generalised mean of the last map",                                    \
       offsetof(type, front.pool)},                                                                \
  {                                                                                                \
    "p", MICA_OPTION_FLOAT, "3", 1, 1000, NULL, "power of the generalised mean",                   \
        offsetof(type, front.p)                                                                    \
  }

#endif
