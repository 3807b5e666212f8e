/* One element of a float view as a double: for the few places that are not worth a loop of
 * src/tensor/kernel. */
#ifndef MICA_TENSOR_ELEMENT_H
#define MICA_TENSOR_ELEMENT_H

#include <mica/tensor.h>

/* Element i of a contiguous float32 or float64 view. */
static inline double mica_view_element(const mica_view *v, int64_t i) {
  return v->dtype == MICA_F32 ? (double)((const float *)v->data)[i] : ((const double *)v->data)[i];
}

static inline void mica_view_put(const mica_view *v, int64_t i, double x) {
  if (v->dtype == MICA_F32)
    ((float *)v->data)[i] = (float)x;
  else
    ((double *)v->data)[i] = x;
}

#endif
