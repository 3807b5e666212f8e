/* The communicator of one rank, the checks of every call, and the elementwise reductions. */
#include "base/communicator.h"

#include <inttypes.h>
#include <string.h>

int mica_communicator_rank(const mica_communicator *c) {
  return c ? c->rank : 0;
}

int mica_communicator_size(const mica_communicator *c) {
  return c ? c->size : 1;
}

static bool reducible(mica_dtype dtype) {
  return dtype == MICA_F32 || dtype == MICA_F64 || dtype == MICA_I32 || dtype == MICA_I64;
}

mica_status mica_all_reduce(mica_communicator *c, mica_reduction how, mica_dtype dtype, void *data,
                            int64_t n) {
  if (!reducible(dtype))
    return mica_fail(MICA_ERR_UNSUPPORTED, "all-reduce: %s; float32, float64, int32 and int64 are",
                     mica_dtype_name(dtype));
  if (n < 0 || (n > 0 && !data) || (how != MICA_REDUCE_SUM && how != MICA_REDUCE_MAX))
    return mica_fail(MICA_ERR_INVALID, "all-reduce: %" PRId64 " elements, reduction %d", n,
                     (int)how);
  return !c || c->size == 1 ? MICA_OK : c->functions->all_reduce(c, how, dtype, data, n);
}

mica_status mica_all_gather(mica_communicator *c, const void *send, size_t bytes, void *recv) {
  if (bytes && (!send || !recv)) return mica_fail(MICA_ERR_INVALID, "all-gather: data is NULL");
  if (c && c->size > 1) return c->functions->all_gather(c, send, bytes, recv);
  if (bytes) memmove(recv, send, bytes);
  return MICA_OK;
}

static mica_status check_rank(const mica_communicator *c, const char *what, int rank) {
  int size = mica_communicator_size(c);
  if (rank >= 0 && rank < size) return MICA_OK;
  return mica_fail(MICA_ERR_INVALID, "%s: rank %d is outside 0..%d", what, rank, size - 1);
}

mica_status mica_broadcast(mica_communicator *c, int root, void *data, size_t bytes) {
  mica_status status = check_rank(c, "broadcast", root);
  if (status || !c || c->size == 1) return status;
  return c->functions->broadcast(c, root, data, bytes);
}

static mica_status check_peer(const mica_communicator *c, const char *what, int rank) {
  mica_status status = check_rank(c, what, rank);
  if (status) return status;
  if (rank != mica_communicator_rank(c)) return MICA_OK;
  return mica_fail(MICA_ERR_INVALID, "%s: rank %d to itself", what, rank);
}

mica_status mica_send(mica_communicator *c, int to, int tag, const void *data, size_t bytes) {
  mica_status status = check_peer(c, "send", to);
  return status ? status : c->functions->send(c, to, tag, data, bytes);
}

mica_status mica_receive(mica_communicator *c, int from, int tag, void *data, size_t bytes) {
  mica_status status = check_peer(c, "receive", from);
  return status ? status : c->functions->receive(c, from, tag, data, bytes);
}

mica_status mica_barrier(mica_communicator *c) {
  return !c || c->size == 1 ? MICA_OK : c->functions->barrier(c);
}

/* Integers add up modulo 2^n, and `to[i] >= from[i]` keeps a NaN of `from`. */
#define REDUCE(name, type, wrap)                                                                   \
  static void name(mica_reduction how, type *to, const type *from, int64_t n) {                    \
    if (how == MICA_REDUCE_SUM)                                                                    \
      for (int64_t i = 0; i < n; i++) to[i] = (type)((wrap)to[i] + (wrap)from[i]);                 \
    else                                                                                           \
      for (int64_t i = 0; i < n; i++)                                                              \
        if (to[i] == to[i] && !(to[i] >= from[i])) to[i] = from[i];                                \
  }
REDUCE(reduce_f32, float, float)
REDUCE(reduce_f64, double, double)
REDUCE(reduce_i32, int32_t, uint32_t)
REDUCE(reduce_i64, int64_t, uint64_t)

void mica_reduce_elements(mica_reduction how, mica_dtype dtype, void *to, const void *from,
                          int64_t n) {
  switch (dtype) {
  case MICA_F32: reduce_f32(how, to, from, n); break;
  case MICA_F64: reduce_f64(how, to, from, n); break;
  case MICA_I32: reduce_i32(how, to, from, n); break;
  case MICA_I64: reduce_i64(how, to, from, n); break;
  default: break; /* refused by mica_all_reduce */
  }
}
