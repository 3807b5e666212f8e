/* What a tape is made of; shared by the files of this room only.
 *
 * A value is a tensor on the tape, a record is one application of an operation, a buffer is a block
 * of the arena with a count of those who need it: each value whose data is wanted, each gradient. A
 * value's data is wanted while its handle is alive or a record has saved it. When the last one lets
 * go, the block goes back to the arena at once. When only records want it and its operation can
 * make it again (remake.c), the block goes back too, and is filled anew for the first of them.
 */
#ifndef MICA_AUTOGRAD_TAPE_H
#define MICA_AUTOGRAD_TAPE_H

#include "autograd/sink.h"
#include "base/arena.h"

#include <mica/op.h>

typedef enum value_grad { GRAD_NONE, GRAD_OWN, GRAD_SINK } value_grad;

typedef struct value {
  mica_view view;
  uint32_t stamp;    /* 0: no handle */
  uint32_t buffer;   /* 0: somebody else's memory */
  uint32_t producer; /* 1 + its record, 0: none */
  int32_t wanted;    /* handle + saves; the data goes at 0 */
  bool needs_grad, kept, retain, marked;
  bool batched;      /* has a part for each example (example_gradients.c) ... */
  bool per_example;  /* ... or has none, and its gradient is [examples, ...] */
  bool lone;         /* its owner is used nowhere else */
  bool graph;        /* some record points to it: the slot stays until the reset */
  bool lost;         /* wanted, but without data until a record's backward asks for it ... */
  bool base;         /* ... or what such a value is made from */
  bool weak;         /* the handle does not want the data (mica_until_backward) */
  uint8_t depth;     /* how many lost values it is made from, one from the other */
  uint8_t grad_kind; /* value_grad */
  uint32_t grad_buffer;
  void *grad; /* contiguous, shape and type of view */
  const mica_sink *sink;
  void *owner;
} value;

typedef struct buffer {
  void *data;
  int32_t refs;
} buffer;

typedef struct record {
  const mica_op *op;
  void *ctx;
  uint32_t links; /* first of n_in + n_out slots and n_saved buffers in tape->links */
  uint32_t path;  /* offset in tape->paths */
  uint16_t n_in, n_out, n_saved;
  uint32_t saved_in, saved_out;
  bool done;
  int line; /* of the caller, in file */
  const char *file;
} record;

/* What holds until the end of the scope in which it was set. */
typedef struct scoped {
  mica_var mask;
  mica_var labels;
  mica_attention_fn attention;
  void *attention_ctx;
  struct mica_kv_cache *cache;
} scoped;

typedef struct scope {
  scoped outside;   /* the context around it */
  uint32_t births;  /* length of tape->births when it began */
  uint32_t records; /* length of tape->records when it began */
  uint32_t path, path_end;
  uint64_t draws; /* hash of the path for random draws */
  bool named;     /* taps see the results of scopes with a name of their own */
} scope;

typedef struct draw_count {
  uint64_t path;
  uint64_t n;
} draw_count;

typedef struct draw_table {
  draw_count *slot;
  uint32_t size, used; /* size is a power of two */
} draw_table;

typedef struct tap {
  char *pattern;
  mica_tap_fn fn;
  void *ctx;
} tap;

typedef struct override {
  char *name;
  const mica_op *op;
} override;

typedef struct queued {
  mica_commit_fn fn;
  void *owner;
  double weight;
  uint32_t slot, stamp;
} queued;

/* Gradients for each example: see example_gradients.c. */
typedef struct example_run {
  int64_t n;         /* examples; 0: off */
  int64_t at;        /* the example whose gradients of shared tensors are formed; -1: the batch's */
  bool closed;       /* the running backward forms them for all examples at once */
  const char *mixed; /* the first operation that mixed examples */
  double *squares;   /* [n] squared norms, to be added to instead of gradients; NULL: gradients */
} example_run;

#define VEC(type)                                                                                  \
  struct {                                                                                         \
    type *v;                                                                                       \
    uint32_t n, cap;                                                                               \
  }

struct mica_tape {
  mica_engine *engine;
  mica_arena *arena;
  uint64_t seed, step, micro;
  mica_dtype compute;
  bool training, no_queue, to_sinks, marking;
  int no_grad;
  scoped now;
  uint32_t next_stamp;
  uint32_t running; /* 1 + the record whose backward runs, 0: none */
  example_run examples;

  mica_status status;
  char message[768];
  const char *file;
  int line;

  VEC(value) values;
  VEC(uint32_t) free_values;
  VEC(uint32_t) births; /* slots in order of creation, for scopes */
  VEC(uint32_t) trail;  /* slots made during a recomputation */
  int recomputing;
  VEC(buffer) buffers; /* index 0 is never used */
  VEC(uint32_t) free_buffers;
  VEC(record) records;
  VEC(uint32_t) links;
  VEC(void *) scratch; /* arena blocks until the running call ends */
  VEC(scope) scopes;
  VEC(char) paths; /* paths of this step's scopes, each ended by NUL */
  VEC(mica_tensor *) inputs;
  VEC(queued) queue;
  VEC(tap) taps;
  mica_relu_fn relu_fn; /* who looks on at rectifiers */
  void *relu_ctx;
  /* Told of each convolution (a mica_node) and the norm behind it. */
  void (*pair_fn)(void *ctx, void *conv, void *norm, double eps);
  void *pair_ctx;
  VEC(override) overrides;
  draw_table draws, spare_draws; /* the spare serves recomputations */
};

/* Make room for n more elements; false latches. */
#define VEC_ROOM(t, vec, more)                                                                     \
  ((vec).n + (uint32_t)(more) <= (vec).cap ||                                                      \
   mica_tape_grow((t), (void **)&(vec).v, &(vec).cap, (vec).n + (uint32_t)(more),                  \
                  sizeof *(vec).v))
bool mica_tape_grow(mica_tape *t, void **v, uint32_t *cap, uint32_t need, size_t size);

/* Show a rectifier's result to who looks on. Returns y. */
mica_var mica_relu_made(mica_tape *t, mica_var y);
/* relu of y, dense, which the operation that made it has taken already: its gradient is left. */
mica_var mica_relu_there(mica_tape *t, mica_var y);
/* A new value with a live handle; 0 on failure (slot 0 is never used). */
uint32_t mica_value_new(mica_tape *t, const mica_view *view, uint32_t buffer);
mica_var mica_value_handle(const mica_tape *t, uint32_t slot);
/* The slot of a live handle; 0 latches with `what` in the message. */
uint32_t mica_value_slot(mica_tape *t, mica_var v, const char *what);
/* One of those who want the data lets go. */
void mica_value_unwant(mica_tape *t, uint32_t slot);
/* The handle dies; without a graph the slot is free again. */
void mica_value_drop_handle(mica_tape *t, uint32_t slot);
void mica_value_drop_grad(mica_tape *t, value *v);

/* A block of the arena with one reference; 0 latches. */
uint32_t mica_buffer_new(mica_tape *t, size_t bytes);
/* Memory of somebody else, which the tape never gives back; the same. */
uint32_t mica_buffer_lent(mica_tape *t, void *data);
void mica_buffer_unref(mica_tape *t, uint32_t b);
size_t mica_view_bytes(const mica_view *v);

/* a += b, n elements of a float type. */
void mica_accumulate(mica_tape *t, mica_dtype dtype, int64_t n, void *a, const void *b);

/* End a call whose first output takes over the data of an existing value. */
const mica_view *mica_call_output_adopt(mica_call *c, uint32_t slot);

void mica_draw_table_clear(draw_table *d);

/* ---- values that are made again (remake.c) ---- */

/* An operation with one output that is cheaper to make again than to keep. `remake` fills
 * c->out[0] with the bits of the forward, from c->in, c->ctx and c->saved as backward sees them; it
 * may happen only where forward has saved all inputs and not the output. */
#define MICA_OP_REMADE (1u << 31) /* flag: op is the first member of a remade_op */
typedef struct remade_op {
  mica_op op;
  void (*remake)(mica_call *c);
} remade_op;

/* Give the data back if only records want it and it can be made again. */
void mica_value_lose(mica_tape *t, uint32_t slot);
/* Make it again if it is lost; false latches. */
bool mica_value_remake(mica_tape *t, uint32_t slot);
/* The data is there for the holder of the handle; false latches, with `what` in the message. */
bool mica_value_there(mica_tape *t, uint32_t slot, const char *what);

/* ---- the parts of a backward ---- */

/* Memory for v's own gradient, uninitialised. */
void *mica_grad_buffer(mica_tape *t, value *v);
/* mica_call_grad in the memory of output j's gradient, which is not needed any more, where nobody
 * else reads that; of the same size. */
mica_view *mica_call_grad_over(mica_call *c, int i, int j);
/* The gradient that input i has already, for a backward that can add to it in place; NULL: there is
 * none of its own, mica_call_grad is needed. */
void *mica_call_grad_sum(mica_call *c, int i);
/* Add n elements to the gradient of v, which may share its buffer with another value's. */
void mica_add_gradient(mica_tape *t, value *v, const void *more);
/* The call as its record remembers it, without gradients; false latches. */
bool mica_record_bind(mica_tape *t, uint32_t at, mica_call *c);
/* The call that a record's backward is given. False: no output has a gradient, or an error. */
bool mica_record_call(mica_tape *t, uint32_t at, mica_call *c);
/* Run it and add up what it gives; then release its scratch. */
void mica_record_backward(mica_call *c);
void mica_record_end(mica_call *c);
/* Gradients of the record's outputs and, unless keep_graph, what it had saved go back. */
void mica_record_done(mica_tape *t, uint32_t at, bool keep_graph);
void mica_record_unsave(mica_tape *t, record *r);
/* Records down to `first`. */
void mica_record_range(mica_tape *t, uint32_t first, bool keep_graph);

/* A graph that begins here and is taken apart at its end: nothing outside may point into it. */
typedef struct graph_mark {
  uint32_t records, links, births, trail;
} graph_mark;
graph_mark mica_graph_begin(mica_tape *t);
void mica_graph_end(mica_tape *t, const graph_mark *mark);

/* How many taps there are; give up all but the first n of them. */
uint32_t mica_taps_count(const mica_tape *t);
void mica_taps_keep(mica_tape *t, uint32_t n);
/* Would a tap see a scope of that name opened here? */
bool mica_taps_see(const mica_tape *t, const char *name);

/* Has the backward of the operation of this name been replaced? Then what is fused with it must not
 * be. */
bool mica_overridden(const mica_tape *t, const char *op);

#endif
