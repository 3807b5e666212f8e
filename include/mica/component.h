/* mica/component.h: everything that is chosen by name is described by one static descriptor.
 *
 * One option table feeds the tool's flags and help, config files, the reference docs and the input
 * checks. One grammar everywhere:
 *
 *     name:key=value:key=value      a component with options; a bare key of type bool is true
 *     sizes=8,16,32                 a list
 *     teacher=(resnet:depth=20)     a nested specification
 *     ce+0.5*kd:T=4                 a weighted sum (losses)
 */
#ifndef MICA_COMPONENT_H
#define MICA_COMPONENT_H

#include <mica/engine.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MICA_COMPONENT_ABI 2

typedef enum mica_kind {
  MICA_KIND_MODEL,
  MICA_KIND_LAYER,
  MICA_KIND_ADAPTER,
  MICA_KIND_INITIALISER,
  MICA_KIND_LOSS,
  MICA_KIND_OPTIMISER,
  MICA_KIND_SCHEDULE,
  MICA_KIND_SCHEME,
  MICA_KIND_SAMPLER,
  MICA_KIND_AUGMENTATION,
  MICA_KIND_DATASET,
  MICA_KIND_ESTIMATOR,
  MICA_KIND_INDEX,
  MICA_KIND_MEASURE,
  MICA_KIND_EXPLAINER,
  MICA_KIND_PAPER,
  MICA_KIND_STAGE,
  MICA_KIND_MASK,
  MICA_KIND_SCORE,
  MICA_KIND_EMBEDDING,
  MICA_KIND_COUNT
} mica_kind;

/* "model", "loss", ...; never NULL. */
MICA_API const char *mica_kind_name(mica_kind kind);

typedef enum mica_option_type {
  MICA_OPTION_BOOL,   /* bool */
  MICA_OPTION_INT,    /* int64_t */
  MICA_OPTION_FLOAT,  /* double */
  MICA_OPTION_STRING, /* const char * */
  MICA_OPTION_CHOICE, /* int32_t, the index in `choices` */
  MICA_OPTION_INTS,   /* mica_ints */
  MICA_OPTION_FLOATS, /* mica_floats */
  MICA_OPTION_SPEC    /* const char *: a nested specification, text without its parentheses */
} mica_option_type;

#define MICA_LIST_MAX 16
typedef struct mica_ints {
  int32_t n;
  int64_t v[MICA_LIST_MAX];
} mica_ints;
typedef struct mica_floats {
  int32_t n;
  double v[MICA_LIST_MAX];
} mica_floats;

/* One row of an option table. A table ends with a row whose name is NULL. `def` is written as a
 * user would write it, but a nested specification without its outer parentheses; NULL is the empty
 * text. `lo` and `hi` bound numbers and every number of a list (both 0: unbounded). */
typedef struct mica_option {
  const char *name;
  mica_option_type type;
  const char *def;
  double lo, hi;
  const char *choices; /* MICA_OPTION_CHOICE: "max|avg|gem" */
  const char *help;
  size_t offset; /* in the options struct, which begins with `uint32_t size` */
} mica_option;

/* What a component asks of, or gives to, those it is composed with. */
enum {
  MICA_NEED_LOGITS = 1u << 0,
  MICA_NEED_FEATURES = 1u << 1,
  MICA_NEED_TWO_VIEWS = 1u << 2,
  MICA_NEED_TEACHER = 1u << 3,
  MICA_NEED_IDS = 1u << 4,
  MICA_NEED_MASK = 1u << 5,
  MICA_NEED_RAGGED = 1u << 6,
  MICA_NEED_LABELS = 1u << 7,
  MICA_NEED_PYRAMID = 1u << 8,
  MICA_NEED_TOKENS = 1u << 9,
  MICA_NEED_IMAGES = 1u << 10,
  MICA_NEED_ROWS = 1u << 11,
  MICA_NEED_TARGETS = 1u << 12,
  MICA_NEED_FIELDS = 1u << 13,
  MICA_NEED_PAIRS = 1u << 14, /* logits are similarities [N,N] of two things of each example */
  MICA_NEED_CLASS_MEANS = 1u << 15, /* the teacher's mean features of each class */
  MICA_NEED_TAPS = 1u << 16,        /* places inside the network and the teacher */
  MICA_NEED_FACTORS = 1u << 17      /* the network has weights in two factors (mica_low_rank) */
};
/* The names of these bits ("logits, two_views") into buf, "" for none; returns buf. */
MICA_API const char *mica_needs_text(uint32_t needs, char *buf, size_t n);

typedef struct mica_component {
  uint32_t abi;  /* MICA_COMPONENT_ABI */
  uint32_t size; /* sizeof(mica_component) */
  mica_kind kind;
  const char *name;
  const char *summary; /* one line */
  const char *slug;    /* the paper's, or NULL */
  const mica_option *options;
  size_t options_size;
  uint32_t needs, provides; /* MICA_NEED_* bits */
  const void *functions;    /* the kind's table: mica_loss_functions, mica_model_functions, ... */
} mica_component;

#define MICA_COMPONENT_HEAD MICA_COMPONENT_ABI, sizeof(mica_component)

/* The named component, or NULL with MICA_ERR_NOT_FOUND and a message that suggests the nearest. */
MICA_API const mica_component *mica_component_find(const mica_engine *engine, mica_kind kind,
                                                   const char *name);
/* Component number i of a kind in registration order, NULL past the last. */
MICA_API const mica_component *mica_component_at(const mica_engine *engine, mica_kind kind, int i);

/* ---- options ---- */

/* Fill `options` (component->options_size bytes, may come uninitialised) with the table's defaults.
 */
MICA_API mica_status mica_options_default(const mica_option *table, void *options, size_t bytes);

/* Set one option from text, written without outer parentheses. Unknown names and values out of
 * range are MICA_ERR_INVALID with the nearest name or the range, and change nothing. The spec keeps
 * a copy of strings and nested specs; with a NULL spec the options point into `value`, which must
 * outlive them. An empty text is a NULL string. */
typedef struct mica_spec mica_spec;
MICA_API mica_status mica_options_set(mica_spec *spec, const mica_option *table, void *options,
                                      const char *name, const char *value);

/* Complete a caller's options struct: `given` NULL is the defaults; a struct whose `size` is
 * smaller than the table's keeps the defaults in the fields it lacks (0 in those that are in no
 * table). `out` has `bytes` bytes. A value outside its row's range is MICA_ERR_INVALID. */
MICA_API mica_status mica_options_complete(const mica_option *table, const void *given, void *out,
                                           size_t bytes);

/* A parsed specification: the component, its options struct, and the strings they point to. */
MICA_API mica_status mica_spec_parse(const mica_engine *engine, mica_kind kind, const char *text,
                                     mica_spec **out);
MICA_API void mica_spec_free(mica_spec *spec);
MICA_API const mica_component *mica_spec_component(const mica_spec *spec);
MICA_API const void *mica_spec_options(const mica_spec *spec);
/* An options struct that can be changed with mica_options_set. */
MICA_API void *mica_spec_options_mut(mica_spec *spec);

/* A weighted sum "a+0.5*b:k=v" as `n` parsed terms; free with mica_spec_sum_free. */
typedef struct mica_spec_sum {
  int n;
  double *weight;
  mica_spec **term;
} mica_spec_sum;
MICA_API mica_status mica_spec_sum_parse(const mica_engine *engine, mica_kind kind,
                                         const char *text, mica_spec_sum *out);
MICA_API void mica_spec_sum_free(mica_spec_sum *sum);

/* Write the specification back as canonical text (every option that differs from its default).
 * Returns a string to release with mica_free; NULL when memory is short, or when a string was set
 * whose parentheses do not match, which the grammar cannot write. */
MICA_API char *mica_spec_text(const mica_spec *spec);

/* The name in `names` (n of them) nearest to `name` by edit distance, NULL when none is close. */
MICA_API const char *mica_nearest_name(const char *name, const char *const *names, int n);

#ifdef __cplusplus
}
#endif
#endif
