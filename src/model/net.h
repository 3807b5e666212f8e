/* A network whose sizes come from outside. */
#ifndef MICA_MODEL_NET_H
#define MICA_MODEL_NET_H

#include "model/taps.h"

/* The parts of "ARCHITECTURE | head=HEAD"; *head is NULL without one, and may be NULL itself. */
mica_status mica_net_parse(const mica_engine *engine, const char *text, mica_spec **body,
                           mica_spec **head);
/* mica_net_create for a tree of at most `elements` elements (0: any number). */
mica_status mica_net_create_within(mica_engine *engine, const char *text, const mica_problem *task,
                                   uint64_t seed, int64_t elements, mica_net **out);

/* The forward without the network's taps. */
void mica_net_forward_plain(mica_tape *t, const mica_net *net, const mica_inputs *in,
                            mica_outputs *out);
/* Take this list over as the network's taps, as a file has them. */
void mica_net_take_taps(mica_net *net, mica_net_taps_list *taps);
const mica_net_taps_list *mica_net_taps_of(const mica_net *net);

#endif
