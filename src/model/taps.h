/* Taps: the places of a network whose means are its features. */
#ifndef MICA_MODEL_TAPS_H
#define MICA_MODEL_TAPS_H

#include <mica/model.h>

typedef struct mica_net_taps_list {
  int n; /* 0: the architecture's own features */
  struct {
    char *name;
    int64_t width;
  } tap[MICA_TAPS_MAX];
} mica_net_taps_list;

void mica_net_taps_end(mica_net_taps_list *taps);
/* One more: a module's path, "features", "tokens" or "pyramid.K", with ":all" behind it for all
 * positions. MICA_ERR_INVALID for what can be no such name, a width below 1, and one too many. */
mica_status mica_net_taps_add(mica_net_taps_list *taps, const char *name, int64_t width);
int64_t mica_net_taps_width(const mica_net_taps_list *taps);

/* Examples of zeros, n of them, which every network can read. */
mica_inputs mica_net_blank_inputs(mica_tape *t, const mica_net *net, int64_t n);

/* What a forward gathers. */
typedef struct mica_tapping {
  const mica_net_taps_list *taps;
  uint32_t before; /* the tape's own taps */
  bool whole;      /* keep what the places give, not its mean */
  mica_var mean[MICA_TAPS_MAX];
} mica_tapping;

/* Around a forward on t; the end puts the gathered means in the place of out->features. */
void mica_tapping_begin(mica_tape *t, const mica_net_taps_list *taps, mica_tapping *g);
void mica_tapping_end(mica_tape *t, mica_tapping *g, mica_outputs *out);
/* The same, but what the places give stays in g->mean as it is, and out->features too. */
void mica_tapping_begin_whole(mica_tape *t, const mica_net_taps_list *taps, mica_tapping *g);
void mica_tapping_end_whole(mica_tape *t, mica_tapping *g, const mica_outputs *out);

/* The list that n names mean: patterns stand for all modules that they match, "pyramid" for all
 * maps of the pyramid, and the features where they are not the last map's mean. */
mica_status mica_net_taps_find(const mica_net *net, int64_t n, const char *const *names,
                               mica_net_taps_list *out);

#endif
