/* A network whose sizes come from outside. */
#ifndef MICA_MODEL_NET_H
#define MICA_MODEL_NET_H

#include <mica/model.h>

/* mica_net_create for a tree of at most `elements` elements (0: any number). */
mica_status mica_net_create_within(mica_engine *engine, const char *text, const mica_problem *task,
                                   uint64_t seed, int64_t elements, mica_net **out);

#endif
