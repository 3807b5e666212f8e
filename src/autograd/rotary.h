/* The angles of rotary positions, for the operation and for caches of keys. */
#ifndef MICA_AUTOGRAD_ROTARY_H
#define MICA_AUTOGRAD_ROTARY_H

#include <mica/ops.h>

/* Given options with the defaults filled in. */
mica_rotary_options mica_rotary_options_of(const mica_rotary_options *given);
/* MICA_OK, or what is out of range for heads of `dim` channels. */
mica_status mica_rotary_check(const mica_rotary_options *o, int64_t dim);
/* The channels of a head of `dim` that turn. */
int64_t mica_rotary_turned(const mica_rotary_options *o, int64_t dim);
/* One position's row for mica_rotary_kernels.turn: `turned` numbers of a float type. */
void mica_rotary_row(int64_t turned, const double *frequency, double scale, double position,
                     mica_dtype dtype, void *row);

#endif
