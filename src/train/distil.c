/* The scheme "distil": a frozen teacher whose logits, features, class means and taps the losses
 * read.
 */
#include "train/teach.h"

#include <stdio.h>
#include <string.h>

typedef struct distil {
  mica_teacher teacher;
  mica_tensor *means; /* [classes, D]; NULL: not needed */
  mica_net_taps_list taps, teacher_taps;
  mica_shape shape[MICA_LOSS_TAPS], teacher_shape[MICA_LOSS_TAPS];
  bool logits;
} distil;

/* Where nothing is said: what architectures call the places between their blocks. */
static const char *const usual[] = {"blocks.?,blocks.??", "layer?",
                                    "[0-9],[0-9][0-9]",   "encoder.layer.?,encoder.layer.??",
                                    "h.?,h.??",           "pyramid"};

static mica_status find_named(const mica_net *net, const char *text, mica_net_taps_list *out) {
  char copy[1024];
  const char *name[MICA_TAPS_MAX];
  int64_t n = 0;
  if (snprintf(copy, sizeof copy, "%s", text) >= (int)sizeof copy)
    return mica_fail(MICA_ERR_INVALID, "taps: the text is too long");
  for (char *at = copy; at;) {
    char *comma = strchr(at, ',');
    if (comma) *comma++ = 0;
    if (n == MICA_TAPS_MAX) return mica_fail(MICA_ERR_INVALID, "at most %d taps", MICA_TAPS_MAX);
    name[n++] = at;
    at = comma;
  }
  return mica_net_taps_find(net, n, name, out);
}

/* Of the usual names a second pattern need not match anything. */
static mica_status find_usual(const mica_net *net, mica_net_taps_list *out) {
  mica_status status = MICA_OK;
  for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
    char first[64];
    snprintf(first, sizeof first, "%.*s", (int)strcspn(usual[i], ","), usual[i]);
    status = find_named(net, usual[i], out);
    if (status == MICA_ERR_NOT_FOUND) status = find_named(net, first, out);
    if (status != MICA_ERR_NOT_FOUND) return status;
  }
  return mica_fail(MICA_ERR_NOT_FOUND, "which places of the network? taps=NAMES says");
}

static mica_status find_taps(const mica_net *net, const char *text, mica_net_taps_list *out) {
  return text ? find_named(net, text, out) : find_usual(net, out);
}

/* What the places give, seen in a forward. */
static mica_status probe(const mica_net *net, const mica_net_taps_list *taps, mica_shape *shape) {
  mica_tape *t = NULL;
  mica_tapping gathered;
  mica_outputs out;
  mica_status status = mica_tape_create(mica_params_engine(mica_net_params(net)), NULL, &t);
  if (status != MICA_OK) return status;
  mica_no_grad_begin(t);
  const mica_inputs in = mica_net_blank_inputs(t, net, 2);
  mica_tapping_begin_whole(t, taps, &gathered);
  mica_net_forward_inputs(t, net, &in, &out);
  mica_tapping_end_whole(t, &gathered, &out);
  for (int i = 0; i < taps->n && mica_ok(t); i++) shape[i] = mica_read(t, gathered.mean[i]).shape;
  status = mica_tape_status(t);
  mica_tape_free(t);
  return status;
}

static mica_status make_taps(const mica_distil_options *o, const mica_net *net, distil *d) {
  mica_status status = find_taps(net, o->taps, &d->taps);
  if (status == MICA_OK)
    status =
        find_taps(d->teacher.net, o->teacher_taps ? o->teacher_taps : o->taps, &d->teacher_taps);
  if (status == MICA_OK && d->taps.n != d->teacher_taps.n)
    return mica_fail(MICA_ERR_INVALID, "%d taps of the network and %d of the teacher", d->taps.n,
                     d->teacher_taps.n);
  if (status == MICA_OK) status = probe(net, &d->taps, d->shape);
  return status == MICA_OK ? probe(d->teacher.net, &d->teacher_taps, d->teacher_shape) : status;
}

static void end(void *state) {
  distil *d = state;
  mica_teacher_close(&d->teacher);
  mica_tensor_free(d->means);
  mica_net_taps_end(&d->taps);
  mica_net_taps_end(&d->teacher_taps);
  mica_free(d);
}

static mica_status begin(const void *options, const mica_scheme_setting *s, uint32_t needs,
                         void **state) {
  const mica_distil_options *o = options;
  distil *d = mica_calloc(1, sizeof *d);
  if (!d) return MICA_ERR_MEMORY;
  const int64_t classes = mica_net_problem(s->net)->classes;
  mica_status status = mica_teacher_open(s, o->teacher, &d->teacher);
  if (status == MICA_OK) {
    d->logits = mica_net_problem(d->teacher.net)->classes == classes;
    if (needs & MICA_NEED_CLASS_MEANS)
      status = mica_teacher_means(&d->teacher, s->train, classes, &d->means);
  }
  if (status == MICA_OK && needs & MICA_NEED_TAPS) status = make_taps(o, s->net, d);
  if (status == MICA_OK)
    *state = d;
  else
    end(d);
  return status;
}

static const char *loss(const void *options) {
  (void)options;
  return "ce+kd";
}

static void describe(const void *state, mica_loss_shapes *shapes) {
  const distil *d = state;
  shapes->teacher_features = mica_net_features(d->teacher.net);
  shapes->teacher = mica_net_params(d->teacher.net);
  shapes->teacher_head = mica_net_head(d->teacher.net);
  shapes->taps = d->taps.n;
  memcpy(shapes->tap, d->shape, sizeof shapes->tap);
  memcpy(shapes->teacher_tap, d->teacher_shape, sizeof shapes->teacher_tap);
}

static void forward(mica_tape *t, void *state, const mica_net *net, const mica_inputs *inputs,
                    mica_outputs *out, mica_loss_inputs *in) {
  distil *d = state;
  mica_tapping gathered;
  const mica_inputs own = mica_teacher_inputs(t, &d->teacher, inputs);
  mica_teach(t, d->teacher.net, &own, &d->teacher_taps, in);
  if (!d->logits) in->teacher_logits = MICA_NONE; /* of other classes */
  if (d->means) in->class_means = mica_input(t, d->means);
  if (!d->taps.n) {
    mica_net_forward_inputs(t, net, inputs, out);
    return;
  }
  mica_tapping_begin_whole(t, &d->taps, &gathered);
  mica_net_forward_inputs(t, net, inputs, out);
  mica_tapping_end_whole(t, &gathered, out);
  in->taps = d->taps.n;
  for (int i = 0; i < d->taps.n; i++) in->tap[i] = gathered.mean[i];
}

static const mica_option options[] = {
    {"teacher", MICA_OPTION_STRING, NULL, 0, 0, NULL, "its model file",
     offsetof(mica_distil_options, teacher)},
    {"taps", MICA_OPTION_STRING, NULL, 0, 0, NULL,
     "places inside the network that losses compare: names and patterns, joined by commas",
     offsetof(mica_distil_options, taps)},
    {"teacher_taps", MICA_OPTION_STRING, NULL, 0, 0, NULL,
     "those of the teacher, as many; the same names when not given",
     offsetof(mica_distil_options, teacher_taps)},
    {0}};

static const mica_scheme_functions functions = {begin, end, loss, describe, forward};

const mica_component mica_component_scheme_distil = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_SCHEME,
    "distil",
    "a frozen teacher beside the network: its answers, features, class means and inner places",
    "norm-direction-distillation",
    options,
    sizeof(mica_distil_options),
    0,
    MICA_NEED_TEACHER | MICA_NEED_CLASS_MEANS | MICA_NEED_TAPS,
    &functions};
