/* Levels: ranges of feature columns in their order, such as the maps of a network, each of which
 * gets a fit of its own. */
#ifndef MICA_FEATURE_LEVELS_H
#define MICA_FEATURE_LEVELS_H

#include <mica/feature.h>

/* How many an option lists; none listed: all columns are one level. */
int64_t mica_levels_count(const mica_ints *levels);
/* Columns of level l, of d in all. */
int64_t mica_levels_width(const mica_ints *levels, int64_t l, int64_t d);
/* MICA_ERR_INVALID in the estimator's name unless the levels are d columns in all. */
mica_status mica_levels_check(const mica_ints *levels, int64_t d, const char *estimator);

/* "level3.mean": what a record calls level 3's `what`. */
const char *mica_level_name(int64_t l, const char *what, char buf[48]);

#endif
