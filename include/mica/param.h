/* mica/param.h: parameters: a tree of dotted names.
 *
 * Each entry has a value, a gradient, flags and a version that every write bumps. Optimisers,
 * checkpoints, freezing and reduction work on trees and know no layer. Moments, moving averages,
 * queues and counters live in the same kind of tree, so one writer saves everything.
 *
 * A layer is an init function that creates parameters under a node and a forward (tape, node,
 * options, inputs) that fetches them with mica_weight.
 */
#ifndef MICA_PARAM_H
#define MICA_PARAM_H

#include <mica/component.h>
#include <mica/tape.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mica_params mica_params; /* a whole tree */
typedef struct mica_node mica_node;     /* a place in it */
typedef struct mica_param mica_param;   /* an entry */

/* A tree whose initial values are drawn from `seed` and each entry's full name, so they do not
 * depend on the order of creation. The tree may be read by many threads at once. */
MICA_API mica_status mica_params_create(mica_engine *engine, uint64_t seed, mica_params **out);
/* Instead of a seed: initial values are zero whatever the entry asks for, because others are about
 * to be loaded. */
#define MICA_SEED_NONE UINT64_MAX
/* The seed of what is drawn from now on (a new head, an adapter). */
MICA_API void mica_params_set_seed(mica_params *p, uint64_t seed);
MICA_API void mica_params_free(mica_params *p);
/* Let the entries have at most so many elements in all, 0: any number; one that would go beyond is
 * MICA_ERR_FORMAT. For sizes that come from outside. */
MICA_API void mica_params_set_limit(mica_params *params, int64_t elements);
MICA_API mica_engine *mica_params_engine(const mica_params *p);
MICA_API mica_node *mica_params_root(mica_params *p);

/* The node below `node` with this name ("layer1.0": dots go down), made when absent. NULL when
 * memory is short or node is NULL, so a chain of calls is checked once. */
MICA_API mica_node *mica_node_child(mica_node *node, const char *name);
MICA_API mica_node *mica_node_childf(mica_node *node, const char *fmt, ...) MICA_PRINTF(2, 3);
/* The same, but NULL (no error) when absent. */
MICA_API mica_node *mica_node_find(mica_node *node, const char *name);
/* "name.index" into buf, for mica_node_find; returns buf. */
MICA_API const char *mica_node_index(char *buf, size_t n, const char *name, int64_t index);
MICA_API const char *mica_node_name(const mica_node *node); /* last component; "" for the root */
MICA_API const char *mica_node_path(const mica_node *node);
MICA_API mica_params *mica_node_params(mica_node *node);

/* ---- initial values ---- */

typedef enum mica_init_kind {
  MICA_INIT_CONSTANT,        /* a */
  MICA_INIT_UNIFORM,         /* U[a, b) */
  MICA_INIT_NORMAL,          /* mean a, deviation b */
  MICA_INIT_TRUNC_NORMAL,    /* mean a, deviation b, redrawn outside a +- 2 b */
  MICA_INIT_KAIMING_NORMAL,  /* deviation gain / sqrt(fan); He et al. 2015 */
  MICA_INIT_KAIMING_UNIFORM, /* U[-gain sqrt(3 / fan), same) */
  MICA_INIT_XAVIER_NORMAL,   /* deviation gain sqrt(2 / (fan_in + fan_out)); Glorot & Bengio 2010 */
  MICA_INIT_XAVIER_UNIFORM,
  MICA_INIT_ORTHOGONAL, /* gain times an orthogonal matrix; Saxe et al. 2014 */
  MICA_INIT_BINARY,     /* +- gain / sqrt(fan) with equal chance */
  MICA_INIT_SIGN        /* the signs of Kaiming normal draws times the deviation of all of them */
} mica_init_kind;

/* fan_in of a weight [O, ..., I] is the product of all but the first dimension, fan_out the product
 * of all but the last. */
typedef struct mica_init {
  mica_init_kind kind;
  double a, b;
  double gain;  /* 0 means 1 */
  bool fan_out; /* kaiming: use fan_out */
} mica_init;
#define MICA_INIT_ZEROS ((mica_init){MICA_INIT_CONSTANT, 0, 0, 0, false})
#define MICA_INIT_ONES  ((mica_init){MICA_INIT_CONSTANT, 1, 0, 0, false})

/* ---- entries ---- */

enum {
  MICA_PARAM_TRAINABLE = 1u << 0,
  MICA_PARAM_DECAY = 1u << 1,  /* weight decay applies */
  MICA_PARAM_BUFFER = 1u << 2, /* state, never trained: running statistics */
  /* What it belongs to, as layers and models say: what selections by word go by. */
  MICA_PARAM_CONVOLUTION = 1u << 8,
  MICA_PARAM_LINEAR = 1u << 9,
  MICA_PARAM_EMBEDDING = 1u << 10,
  MICA_PARAM_NORM = 1u << 11,       /* any normalisation */
  MICA_PARAM_BATCH_NORM = 1u << 12, /* batch norm, with MICA_PARAM_NORM */
  MICA_PARAM_OUTPUT = 1u << 13,     /* the layer that classes come out of */
  MICA_PARAM_SHORTCUT = 1u << 14,   /* the way round a residual block */
  MICA_PARAM_SUBSPACE = 1u << 15,   /* orthonormal rows [classes, dim, in]: wants the rule rsgd */
  MICA_PARAM_ADAPTER = 1u << 16     /* an adapter's own */
};

/* How an entry is laid out in interchange files, which follow the reference (PyTorch) layout. */
typedef enum mica_layout_kind {
  MICA_LAYOUT_PLAIN,
  MICA_LAYOUT_CONV,           /* here [O, k..., I], there [O, I, k...] */
  MICA_LAYOUT_CONV_TRANSPOSE, /* here [I, k..., O], there [I, O, k...] */
  MICA_LAYOUT_FLATTEN,        /* here columns run over (H, W, C), there over (C, H, W) */
  MICA_LAYOUT_TRANSPOSED,     /* here [O, I], there [I, O] (GPT-2's linear layers) */
  MICA_LAYOUT_STACKED         /* here [A, B, C], there [A B, C] */
} mica_layout_kind;
typedef struct mica_layout {
  mica_layout_kind kind;
  int64_t c, h, w; /* MICA_LAYOUT_FLATTEN */
} mica_layout;

/* Create an entry below node: float32 or float64 for parameters, any type for buffers. A second
 * entry of the same name is MICA_ERR_INVALID. `out` may be NULL. */
MICA_API mica_status mica_param_add(mica_node *node, const char *name, mica_dtype dtype,
                                    mica_shape shape, uint32_t flags, const mica_init *init,
                                    mica_param **out);
/* A second name for an entry: one parameter, optimised and stored once. */
MICA_API mica_status mica_param_tie(mica_node *node, const char *name, mica_param *other);
/* The entry `name` directly below node (following ties), NULL (no error) when absent. */
MICA_API mica_param *mica_node_param(const mica_node *node, const char *name);
/* The entry with this full dotted name, NULL (no error) when absent. */
MICA_API mica_param *mica_params_find(const mica_params *p, const char *path);
/* Entries in order of creation, tied names left out. */
MICA_API int64_t mica_params_count(const mica_params *p);
MICA_API mica_param *mica_params_at(const mica_params *p, int64_t i);
/* Number of elements of the entries whose flags hold all of `flags`. */
MICA_API int64_t mica_params_elements(const mica_params *p, uint32_t flags);
/* Number of further names (ties), and each: its full name and its entry. */
MICA_API int64_t mica_params_ties(const mica_params *p);
MICA_API const char *mica_params_tie_at(const mica_params *p, int64_t i, mica_param **entry);

/* An entry's full dotted name, its MICA_PARAM_* flags, its layout in interchange files, its value,
 * and how often the value was written. */
MICA_API const char *mica_param_path(const mica_param *q);
MICA_API uint32_t mica_param_flags(const mica_param *q);
MICA_API void mica_param_set_flags(mica_param *q, uint32_t set, uint32_t clear);
MICA_API mica_layout mica_param_layout(const mica_param *q);
MICA_API void mica_param_set_layout(mica_param *q, mica_layout layout);
MICA_API mica_tensor *mica_param_value(const mica_param *q); /* borrowed; read only */
MICA_API uint64_t mica_param_version(const mica_param *q);
/* The value for writing; bumps the version. */
MICA_API void *mica_param_write(mica_param *q);
/* Put another tensor (same type and shape; shared, not copied) in place of the value. */
MICA_API mica_status mica_param_replace(mica_param *q, mica_tensor *value);
/* Give the entry another shape and fresh contents from `init` (a new head for another class count).
 */
MICA_API mica_status mica_param_resize(mica_param *q, mica_shape shape, const mica_init *init);
/* Draw initial values again from the tree's seed and the entry's name. */
MICA_API mica_status mica_param_initialise(mica_param *q, const mica_init *init);
/* Give every selected entry (see below) fresh initial values of the kind that it was made with,
 * zeros where it was made without, drawn from `seed` and its name; *count (may be NULL) says how
 * many. The tree's own seed stays. */
MICA_API mica_status mica_params_reinitialise(mica_params *p, const char *selection, uint64_t seed,
                                              int64_t *count);

/* The table of a component of kind MICA_KIND_INITIALISER: what its entry begins with. The given
 * init is what it has; left as it is, the entry keeps its values. */
typedef struct mica_initialiser_functions {
  mica_status (*describe)(const void *options, const mica_param *q, mica_init *init);
} mica_initialiser_functions;

/* Give initial values by rules "SELECTION=INITIALISER | ...", as in "conv,linear=orthogonal |
 * bn=uniform"; a first rule without a selection is for all entries, and the last rule that selects
 * an entry holds. Buffers are left alone. Values are drawn from the tree's seed and the entry's
 * name; *count (may be NULL) says how many entries got some. */
MICA_API mica_status mica_params_initialise(mica_params *p, const char *rules, int64_t *count);

/* Set and clear flags of every entry at and below a node, tied ones included. */
MICA_API void mica_node_set_flags(mica_node *node, uint32_t set, uint32_t clear);

/* ---- selections ----
 *
 * Parameters are chosen by a text: a word, or a shell pattern of full names ("layer[1-3].*").
 * Several are joined: ',' or, '&' and (binds tighter), '!' in front not:
 *
 *     bn,output                  batch norm and the output layer
 *     conv&!shortcut             convolutions but those of shortcuts
 *     bn&bias                    the shifts of batch norm
 *
 * Words: adapter (what adapters add), all, bias (names that end in "bias"), bn (batch norm), conv,
 * embedding, linear, norm (all normalisations), output (the layer that classes come out of),
 * shortcut (the way round a residual block), subspace (sets of orthonormal rows). */

/* Is the entry selected? False for a text that mica_selection_check refuses. */
MICA_API bool mica_param_selected(const mica_param *q, const char *selection);
/* MICA_ERR_INVALID for a text that is no selection (NULL, an empty part, a part of more than 500
 * characters). */
MICA_API mica_status mica_selection_check(const char *selection);
/* The words of selections, in the order of the alphabet, NULL past the last; *help (may be NULL)
 * says what the word stands for. */
MICA_API const char *mica_selection_word(int i, const char **help);

/* How many entries are selected, and how many elements they have (either may be NULL), buffers left
 * out. MICA_ERR_NOT_FOUND where there is none. */
MICA_API mica_status mica_params_select(const mica_params *p, const char *selection, int64_t *count,
                                        int64_t *elements);
/* Train these and no others; train these too; train these no longer. Buffers are never trained.
 * Errors as above, and then nothing is changed.
 *
 * What is not trained gets no gradient, and no time is spent on one, while gradients still pass
 * through to what lies below. An optimiser leaves it alone, momentum and decay included. Running
 * statistics of batch norm are not weights: they follow the batches in training whatever is
 * frozen. */
MICA_API mica_status mica_params_train_only(mica_params *p, const char *selection);
MICA_API mica_status mica_params_train_also(mica_params *p, const char *selection);
MICA_API mica_status mica_params_freeze(mica_params *p, const char *selection);
/* Let weight decay apply to these and no others. */
MICA_API mica_status mica_params_decay_only(mica_params *p, const char *selection);
/* Elements that training changes: those of trainable entries that no mask holds back. */
MICA_API int64_t mica_params_trained(const mica_params *p);
MICA_API int64_t mica_param_trained(const mica_param *q); /* the same of one entry */

/* Set and clear flags of every selected entry, buffers included; returns how many there are. */
MICA_API int64_t mica_params_flag(mica_params *p, const char *selection, uint32_t set,
                                  uint32_t clear);
/* True when `path` matches one of the comma-separated shell patterns. */
MICA_API bool mica_path_matches(const char *patterns, const char *path);

/* ---- masks of elements ----
 *
 * An entry may be trained in part: the elements outside its mask never change by one bit, whatever
 * the update rule, its momentum and its decay. Rules that take norms over a parameter (LAMB, LARS),
 * and clipping, see the trained elements alone. A training checkpoint holds the masks. */

/* Train the elements that are not zero in `mask` (MICA_BOOL or MICA_U8, contiguous, of the value's
 * shape; copied). NULL: all of them again. */
MICA_API mica_status mica_param_set_mask(mica_param *q, const mica_view *mask);
/* The mask, 0 and 1, MICA_BOOL [the value's shape]; NULL: none. Borrowed. */
MICA_API const mica_tensor *mica_param_mask(const mica_param *q);

/* The table of a component of kind MICA_KIND_MASK. */
typedef struct mica_mask_functions {
  /* Set what is trained in mask (all zeros, one byte for each element of q). */
  mica_status (*make)(const void *options, const mica_param *q, mica_key key, uint8_t *mask);
} mica_mask_functions;

/* Give masks by rules "SELECTION=MASK | SELECTION=MASK", as in "conv=random:count=2"; a first rule
 * without a selection is for all trainable entries, and the last rule that selects an entry holds.
 * Draws depend on `seed` and the entry's name. *elements (may be NULL): how many are trained of
 * the entries that got a mask. */
MICA_API mica_status mica_params_mask(mica_params *p, const char *rules, uint64_t seed,
                                      int64_t *elements);
/* Prune by such rules ("conv,linear&!output=magnitude:share=0.3"): what is outside the masks
 * becomes zero, and the masks stay, so that training leaves it zero. Matrices and kernels alone;
 * vectors stay. *kept elements of *of (both may be NULL) are left. The file of a pruned network
 * holds the zeros: it is no smaller, and no faster, by itself. */
MICA_API mica_status mica_params_prune(mica_params *p, const char *rules, uint64_t seed,
                                       int64_t *kept, int64_t *of);
/* Remove the masks of the selected entries. */
MICA_API mica_status mica_params_unmask(mica_params *p, const char *selection);

/* ---- gradients ---- */

typedef enum mica_grad_kind { MICA_GRAD_NONE, MICA_GRAD_DENSE, MICA_GRAD_ROWS } mica_grad_kind;

/* What the last backward left: nothing, a dense gradient, or rows. */
MICA_API mica_grad_kind mica_param_grad_kind(const mica_param *q);
/* The dense gradient (same shape and type as the value; rows are made dense); data NULL for none.
 */
MICA_API mica_view mica_param_grad(mica_param *q);
/* Coalesced rows: sorted distinct ids and their values [n, row]; for MICA_GRAD_ROWS only. */
MICA_API mica_status mica_param_grad_rows(mica_param *q, const int64_t **ids, const void **values,
                                          int64_t *n);
/* Forget all gradients (no memory is cleared or released). */
MICA_API void mica_params_zero_grad(mica_params *p);
/* False after a backward that failed half-way, until the next zero_grad. */
MICA_API bool mica_params_grad_valid(const mica_params *p);
/* Euclidean norm over all gradients of trainable entries, in float64. */
MICA_API double mica_params_grad_norm(mica_params *p);
MICA_API void mica_params_grad_scale(mica_params *p, double factor);
/* Scale so that the norm is at most max_norm; returns the norm before. */
MICA_API double mica_params_grad_clip(mica_params *p, double max_norm);

/* ---- a gradient for each example ---- */

/* Given the gradients of n examples from number `first` with respect to q, [n, elements of q], in
 * q's type. Any status but MICA_OK ends the run with it. */
typedef mica_status (*mica_example_fn)(void *ctx, mica_param *q, int64_t first, int64_t n,
                                       const mica_view *gradient);

/* The exact gradient of every example's loss with respect to every trainable parameter that it
 * depends on. Each input has the examples along its leading dimension; fn is given some of them and
 * leaves their losses [n] in out[0] (n = 1: any tensor of one element, such as a mean). Where all
 * its operations keep examples apart, at_once (0: 32) of them run together and linear layers,
 * convolutions, normalisation and embeddings give their gradients in closed form; otherwise fn
 * runs for each example alone, so batch statistics are then those of one example. A parameter is
 * visited once for each range of examples, uses at several positions and by several names added up.
 * Stored gradients are left alone and no buffer updates are queued. Memory: at_once times the
 * largest parameter, or times all those that are used more than once. */
MICA_API mica_status mica_example_gradients(mica_tape *t, mica_fn fn, void *ctx, int n_in,
                                            const mica_var *in, int64_t at_once,
                                            mica_example_fn visit, void *visit_ctx);
/* norm[i]: the Euclidean norm of example i's gradient over all parameters, in float64. The weight
 * of a linear layer that is used once, at few positions, gives its norm without a gradient
 * (Goodfellow 2015, arXiv 1510.01799): |gy|^2 |x|^2, or the sum over pairs of positions. */
MICA_API mica_status mica_example_gradient_norms(mica_tape *t, mica_fn fn, void *ctx, int n_in,
                                                 const mica_var *in, int64_t at_once, double *norm);

/* ---- copies ---- */

/* A new tree with the same names, values, flags, ties and layouts (a teacher, a moving average). */
MICA_API mica_status mica_params_clone(const mica_params *p, mica_params **out);
/* Copy values by name from another tree of the same names and shapes. */
MICA_API mica_status mica_params_copy(mica_params *to, const mica_params *from);

/* ---- on the tape ---- */

/* The entry as a tensor on the tape; its gradient goes to the entry when it is trainable. An absent
 * entry latches MICA_ERR_NOT_FOUND; the _optional form returns MICA_NONE instead. */
MICA_API mica_var mica_weight(mica_tape *t, mica_node *node, const char *name);
MICA_API mica_var mica_weight_optional(mica_tape *t, mica_node *node, const char *name);
MICA_API mica_var mica_param_var(mica_tape *t, mica_param *q);

/* Forward writes no persistent state: it queues. mica_commit applies the queue in order, after a
 * step without error; a latched tape refuses. Recomputation queues nothing. */
MICA_API void mica_buffer_set(mica_tape *t, mica_param *buffer, mica_var value);
/* buffer <- (1 - weight) * buffer + weight * value */
MICA_API void mica_buffer_lerp(mica_tape *t, mica_param *buffer, double weight, mica_var value);
MICA_API void mica_buffer_add(mica_tape *t, mica_param *buffer, mica_var value);

/* ---- adapters ----
 *
 * What is added to a frozen weight: its matrix [O, the rest] becomes W + D, and D has few
 * parameters of its own. Linear layers, convolutions and embeddings ask their node for adapters.
 * Several stand side by side under names of their own; those that are on add up. Parameters are at
 * MODULE.adapter.NAME.
 */

/* The table of a component of kind MICA_KIND_ADAPTER. `own` is where its parameters are. */
typedef struct mica_adapter_functions {
  /* Add parameters below `own` for the weight; complete the options, so that attaching with them
   * again makes entries of the same shapes. In a tree of MICA_SEED_NONE the values are about to be
   * loaded and need not be worked out; then what has to be known and is not is MICA_ERR_INVALID. */
  mica_status (*attach)(mica_node *own, mica_param *weight, void *options);
  /* D [O, I]; NULL: attaching only chooses what is trained, and nothing is kept. */
  mica_var (*delta)(mica_tape *t, mica_node *own, const void *options);
  /* x D^T, x [.., I] -> [.., O]; NULL: a product with D. */
  mica_var (*linear)(mica_tape *t, mica_node *own, const void *options, mica_var x);
  /* Instead of all these, an adapter on what linear layers and convolutions give: it stands alone
   * at its module. `bias` is NULL where the module has none. */
  mica_status (*attach_output)(mica_node *own, mica_param *weight, mica_param *bias, void *options);
  /* What takes the place of the module's output y [.., O]. */
  mica_var (*output)(mica_tape *t, mica_node *own, const void *options, mica_var y);
  /* Put it into weight and bias, or take it out again; NULL: it cannot be put there. */
  mica_status (*merge)(mica_node *own, mica_param *weight, mica_param *bias, const void *options,
                       bool in);
} mica_adapter_functions;

/* Attach the adapter described by spec ("lora:rank=8") to every module whose path matches and whose
 * entry "weight" has two dimensions or more, and freeze those weights; *count (may be NULL) says
 * how many. `pattern` NULL: linear layers and convolutions but the output layer. MICA_ERR_STATE
 * where a module has one of that name. mica_adapt is mica_adapt_as with the name "default". Names
 * are 1 to 64 letters, digits, '_' and '-'. A layer that takes no adapters (cosine and Grassmann
 * heads, learnt positions) latches MICA_ERR_UNSUPPORTED in its first forward with one. */
MICA_API mica_status mica_adapt(mica_params *p, const char *pattern, const char *spec,
                                int64_t *count);
MICA_API mica_status mica_adapt_as(mica_params *p, const char *name, const char *pattern,
                                   const char *spec, int64_t *count);

/* What is known of the adapters of one name. */
typedef struct mica_adapter_facts {
  char name[65];
  char spec[256]; /* of its first module, as far as it fits */
  int64_t modules;
  int64_t trained; /* numbers that are its own */
  int64_t stored;  /* numbers it keeps, bases included */
  bool on, merged;
} mica_adapter_facts;
/* How many names there are, and the facts of number i: false past the last. */
MICA_API int64_t mica_adapters(const mica_params *p);
MICA_API bool mica_adapter_at(const mica_params *p, int64_t i, mica_adapter_facts *out);

/* Use the adapters of a name, or not. MICA_ERR_NOT_FOUND without one; MICA_ERR_STATE while merged.
 */
MICA_API mica_status mica_adapter_use(mica_params *p, const char *name, bool on);
/* Add D to the weights, which then need no work beside them, or take it out again (equal to
 * rounding). The parameters stay. MICA_ERR_UNSUPPORTED for an adapter that is no change of weights
 * (bottleneck). */
MICA_API mica_status mica_adapter_merge(mica_params *p, const char *name, bool in);
/* Forget the adapters of a name; merged ones stay in the weights. */
MICA_API mica_status mica_adapter_remove(mica_params *p, const char *name);
/* Fold every adapter that is on into the weights, and forget all. */
MICA_API mica_status mica_adapters_merge(mica_params *p);

/* Has the module an adapter that its weight does not hold? */
MICA_API bool mica_node_adapted(const mica_node *node);
/* The weight the layer should use (composed when the node has an adapter). */
MICA_API mica_var mica_adapted_weight(mica_tape *t, mica_node *node, const char *name);
/* What the layer should give: y through the node's adapter on outputs when it has one. Layers that
 * take their weight by mica_adapted_weight ask this too. */
MICA_API mica_var mica_adapted_output(mica_tape *t, mica_node *node, mica_var y);
/* x W^T + b through the node's adapter when it has one. */
MICA_API mica_var mica_adapted_linear(mica_tape *t, mica_node *node, mica_var x);

/* Options of the adapters on a fixed basis: W = U diag(s) V^T, of a part of the singular values.
 * Where a module holds several projections, one behind the other (qkv, c_attn, in_proj), each is
 * decomposed alone. */
typedef struct mica_basis_options {
  uint32_t size;
  mica_ints rank; /* one for all parts, or one for each; 0: as `energy` says, or all */
  double energy;  /* the fewest that hold this share of the sum of s^2; 0: by rank */
  int32_t values; /* top | bottom | random */
  int32_t basis;  /* svd | random: orthogonal vectors that know nothing of W, s = 0 */
  int32_t svd;    /* auto | exact | randomised (Halko, Martinsson & Tropp 2011; of the top) */
  int64_t oversampling, power; /* of the randomised one */
  mica_ints split;             /* rows of each part; none: by the module's name */
  int32_t pattern;             /* svft: banded | random */
  int64_t band; /* svft: elements on either side of the diagonal, or as many at random */
} mica_basis_options;

/* ---- weights in two factors ----
 *
 * A layer's weight [O, the rest] may be given up for two of fewer elements: LAYER.0.weight [r, the
 * rest] and LAYER.1.weight [O, r], and LAYER.1.bias. Both are layers of their own, which adapters
 * may be attached to. Linear layers and convolutions do two products; others multiply the factors.
 */

/* The rank of each layer is what `rank` says, or the fewest singular values that hold `energy` of
 * the sum of squares, or floor(O I / (ratio (O + I))), at least 1, of which one is given; `keep` is
 * 1 / ratio. A layer whose pair would not be smaller stays as it is. */
typedef struct mica_low_rank_options {
  uint32_t size;
  double ratio, keep, energy; /* 0: not given */
  int64_t rank;               /* likewise */
  const char *include;        /* patterns of layers; NULL: linear layers and convolutions */
  const char *exclude;        /* patterns that stay, besides output layers; NULL: none */
  int64_t least_outputs;      /* layers of fewer outputs stay */
  bool random;                /* factors that know nothing of the weight (a control) */
} mica_low_rank_options;
#define MICA_LOW_RANK_OPTIONS                                                                      \
  { sizeof(mica_low_rank_options), 0, 0, 0, 0, NULL, NULL, 10, false }

/* What became of a layer. */
typedef struct mica_low_rank_layer {
  char *name;
  int64_t outputs, inputs, rank; /* rank 0: it stays */
  double largest, frobenius; /* of W1 W0 - W: its largest element, and its norm over that of W */
} mica_low_rank_layer;
typedef struct mica_low_rank_report {
  mica_low_rank_layer *layer; /* the layers that were looked at */
  int64_t layers, replaced;
  int64_t before, after; /* parameters of the whole tree */
} mica_low_rank_report;

/* Replace weights by W1 W0 of the singular value decomposition, the values split evenly between the
 * factors; the bias goes to the second. `report` may be NULL; clear it afterwards. Layers with
 * adapters are MICA_ERR_STATE, and so is everything left half done only when memory is short. */
MICA_API mica_status mica_low_rank(mica_params *p, const mica_low_rank_options *options,
                                   mica_low_rank_report *report);
MICA_API void mica_low_rank_report_clear(mica_low_rank_report *report);
/* Is any layer's weight in two factors? And this one's? */
MICA_API bool mica_params_factored(const mica_params *p);
MICA_API bool mica_node_low_rank(const mica_node *node);
/* The product of the factors [O, the rest]. */
MICA_API mica_var mica_low_rank_weight(mica_tape *t, mica_node *node);

/* Does a convolution's weight do the work of this batch norm, which then has no entries left? */
MICA_API bool mica_node_folded(const mica_node *node);

/* Remove the selected entries, buffers included; *count (may be NULL) says how many. What reads
 * them fails from then on. */
MICA_API mica_status mica_params_remove(mica_params *p, const char *selection, int64_t *count);
/* Remove entry `name` below node. */
MICA_API mica_status mica_param_remove(mica_node *node, const char *name);

#ifdef __cplusplus
}
#endif
#endif
