/* Rows as they are: the encoder of features that come from elsewhere, so that a head fitted on a
 * feature file becomes a model file like any other. */
#include <mica/model.h>

static int64_t features(const void *options, const mica_problem *task) {
  (void)options;
  return task->height ? task->height * task->width * task->channels : task->channels;
}

static mica_status init(mica_node *root, const void *options, const mica_problem *task) {
  (void)root;
  (void)options;
  if (!task->classes) return MICA_OK;
  return mica_fail(MICA_ERR_UNSUPPORTED,
                   "model identity: it learns nothing, so it has no classes of its own");
}

static void forward(mica_tape *t, mica_node *root, const void *options, const mica_inputs *in,
                    mica_outputs *out) {
  (void)root;
  (void)options;
  out->features = mica_flatten(t, in->x, 1);
}

static const char *head_of(const void *options) {
  (void)options;
  return NULL;
}

static const mica_model_functions functions = {init, forward, head_of, features};

typedef struct options {
  uint32_t size;
} options;
static const mica_option table[] = {{0}};

extern const mica_component mica_component_model_identity;
const mica_component mica_component_model_identity = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_MODEL,
    "identity",
    "rows as they are, for heads on features from elsewhere",
    NULL,
    table,
    sizeof(options),
    0,
    MICA_NEED_FEATURES,
    &functions};
