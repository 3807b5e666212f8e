/* The communicator: what several copies of a computation say to each other.
 *
 * One interface for one process, for R virtual ranks on threads of one process (tests, and
 * federated rounds simulated on one machine) and for MPI (src/dist). Sums are formed in the order
 * of the ranks, 0 first, so every rank gets the same bits at every run.
 *
 * Every rank must make the same calls in the same order. When a rank stops, with an error or too
 * early, the calls of the others return MICA_ERR_STATE and name it; they do not wait for ever.
 */
#ifndef MICA_BASE_COMMUNICATOR_H
#define MICA_BASE_COMMUNICATOR_H

#include <mica/tensor.h>

typedef enum mica_reduction { MICA_REDUCE_SUM, MICA_REDUCE_MAX } mica_reduction;

typedef struct mica_communicator mica_communicator;

/* The functions of one kind of communicator; `bytes` is the same on all ranks but for send/receive.
 */
typedef struct mica_communicator_functions {
  /* n elements of F32, F64, I32 or I64, in place. */
  mica_status (*all_reduce)(mica_communicator *c, mica_reduction how, mica_dtype dtype, void *data,
                            int64_t n);
  /* recv has size * bytes: rank r's at r * bytes. */
  mica_status (*all_gather)(mica_communicator *c, const void *send, size_t bytes, void *recv);
  mica_status (*broadcast)(mica_communicator *c, int root, void *data, size_t bytes);
  /* Returns when `data` may be used again, possibly before the other side has it. */
  mica_status (*send)(mica_communicator *c, int to, int tag, const void *data, size_t bytes);
  /* The next message from that rank with that tag; another length is MICA_ERR_SHAPE. */
  mica_status (*receive)(mica_communicator *c, int from, int tag, void *data, size_t bytes);
  mica_status (*barrier)(mica_communicator *c);
} mica_communicator_functions;

/* What every communicator begins with. */
struct mica_communicator {
  const mica_communicator_functions *functions;
  int rank, size;
};

/* These check their arguments, then call the communicator's function. NULL is a communicator of one
 * rank, whose collectives leave the data as it is. NaN wins a maximum. */
int mica_communicator_rank(const mica_communicator *c);
int mica_communicator_size(const mica_communicator *c);
mica_status mica_all_reduce(mica_communicator *c, mica_reduction how, mica_dtype dtype, void *data,
                            int64_t n);
mica_status mica_all_gather(mica_communicator *c, const void *send, size_t bytes, void *recv);
mica_status mica_broadcast(mica_communicator *c, int root, void *data, size_t bytes);
mica_status mica_send(mica_communicator *c, int to, int tag, const void *data, size_t bytes);
mica_status mica_receive(mica_communicator *c, int from, int tag, void *data, size_t bytes);
mica_status mica_barrier(mica_communicator *c);

/* to[i] = to[i] (sum or max) from[i], for the communicators' own use. */
void mica_reduce_elements(mica_reduction how, mica_dtype dtype, void *to, const void *from,
                          int64_t n);

/* Run fn(c, ctx) on `ranks` threads, each with its communicator. The result is MICA_OK when all
 * are, else the failure of the rank that failed first, with its number; it is the calling thread's
 * last error. */
mica_status mica_virtual_ranks(int ranks, mica_status (*fn)(mica_communicator *c, void *ctx),
                               void *ctx);

#endif
