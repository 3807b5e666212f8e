/* Heads of a model, and adding classes to them while others predict.
 *
 * A published head never changes. Who predicts holds it for the call; who adds a class copies it
 * (through its record, the form that every estimator has), changes the copy, and swaps the two
 * under the lock. So nobody waits for an addition, and nobody sees half of one.
 */
#include "model/head.h"
#include "model/zero_shot.h"

#include <mica/alignment.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the model around them ---- */

mica_status mica_model_new(mica_model **out) {
  mica_model *m = *out = mica_calloc(1, sizeof *m);
  if (!m) return MICA_ERR_MEMORY;
  m->answering = -1;
  pthread_mutex_init(&m->adding, NULL);
  pthread_mutex_init(&m->lock, NULL);
  return MICA_OK;
}

static void head_free(mica_head *head) {
  if (!head) return;
  mica_estimator_free(head->estimator);
  mica_free(head->classes);
  mica_free(head->examples);
  mica_free(head);
}

void mica_model_free(mica_model *m) {
  if (!m) return;
  for (int i = 0; i < m->n_heads; i++) head_free(m->head[i]);
  for (int64_t i = 0; i < m->n_texts; i++) mica_free(m->texts[i]);
  mica_free(m->texts);
  mica_free(m->classes);
  mica_free(m->training);
  mica_free(m->columns);
  mica_free(m->tokenizer);
  mica_net_free(m->net);
  pthread_mutex_destroy(&m->adding);
  pthread_mutex_destroy(&m->lock);
  mica_free(m);
}

const char *mica_model_keep_text(mica_model *m, const char *text, size_t n) {
  if (m->n_texts == m->room_texts) {
    const int64_t room = m->room_texts ? 2 * m->room_texts : 16;
    char **more = mica_realloc_array(m->texts, (size_t)room, sizeof *more);
    if (!more) return NULL;
    m->texts = more;
    m->room_texts = room;
  }
  char *copy = mica_strndup(text, n);
  if (copy) m->texts[m->n_texts++] = copy;
  return copy;
}

/* The model is const to those who predict, its lock is not. */
static void lock(const mica_model *m) {
  pthread_mutex_lock((pthread_mutex_t *)(uintptr_t)&m->lock);
}
static void unlock(const mica_model *m) {
  pthread_mutex_unlock((pthread_mutex_t *)(uintptr_t)&m->lock);
}

/* ---- holding ---- */

static mica_head *hold_locked(const mica_model *m, int64_t i) {
  if (i < 0 || i >= m->n_heads) return NULL;
  m->head[i]->owners++;
  return m->head[i];
}

mica_head *mica_head_hold_at(const mica_model *m, int64_t i, bool *answers) {
  lock(m);
  mica_head *head = hold_locked(m, i);
  *answers = i == m->answering;
  unlock(m);
  return head;
}

mica_head *mica_head_hold(const mica_model *m) {
  lock(m);
  mica_head *head = hold_locked(m, m->answering);
  unlock(m);
  return head;
}

mica_head *mica_head_hold_detector(const mica_model *m) {
  lock(m);
  int at = m->answering;
  if (at < 0 || !mica_head_detects(m->head[at]))
    for (at = 0; at < m->n_heads && !mica_head_detects(m->head[at]);) at++;
  mica_head *head = hold_locked(m, at);
  unlock(m);
  return head;
}

void mica_head_release(const mica_model *m, mica_head *head) {
  if (!head) return;
  lock(m);
  const bool last = --head->owners == 0;
  unlock(m);
  if (last) head_free(head);
}

static uint32_t abilities(const mica_head *head) {
  const mica_estimator_functions *f = mica_estimator_component(head->estimator)->functions;
  return f->abilities;
}

bool mica_head_detects(const mica_head *head) {
  return abilities(head) & MICA_ESTIMATOR_DETECTS;
}

bool mica_head_gives_probabilities(const mica_head *head) {
  return abilities(head) & MICA_ESTIMATOR_PROBABILITIES &&
         mica_estimator_task(head->estimator) == MICA_TASK_CLASSIFICATION;
}

/* ---- putting heads in ---- */

static bool name_ok(const char *name) {
  const size_t n = strlen(name);
  return n >= 1 && n <= 64 &&
         strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == n;
}

static int find(const mica_model *m, const char *name) {
  for (int i = 0; i < m->n_heads; i++)
    if (strcmp(m->head[i]->name, name) == 0) return i;
  return -1;
}

static mica_status check_head(const mica_model *m, const char *name, const mica_estimator *e,
                              const char *const *classes) {
  const int64_t n = mica_estimator_classes(e), width = mica_model_features(m);
  if (!name_ok(name))
    return mica_fail(MICA_ERR_INVALID,
                     "head '%.80s': expected a name of 1 to 64 letters, digits, '_' and '-'", name);
  if (!mica_estimator_fitted(e)) return mica_fail(MICA_ERR_STATE, "head '%s' is not fitted", name);
  if (mica_estimator_features(e) != width)
    return mica_fail(MICA_ERR_SHAPE, "head '%s' reads %lld features, the network gives %lld", name,
                     (long long)mica_estimator_features(e), (long long)width);
  if (mica_estimator_task(e) == MICA_TASK_CLASSIFICATION && !classes)
    return mica_fail(MICA_ERR_INVALID, "head '%s' has %lld classes and no names for them", name,
                     (long long)n);
  return MICA_OK;
}

static int by_name(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Two classes of one name could not be told apart. */
static mica_status check_names(const char *head, const char *const *classes, int64_t n) {
  const char **s = mica_calloc((size_t)n + 1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  memcpy(s, classes, (size_t)n * sizeof *s);
  qsort(s, (size_t)n, sizeof *s, by_name);
  mica_status status = MICA_OK;
  for (int64_t i = 1; i < n && status == MICA_OK; i++)
    if (strcmp(s[i - 1], s[i]) == 0)
      status = mica_fail(MICA_ERR_INVALID, "head '%s' has two classes '%s'", head, s[i]);
  mica_free(s);
  return status;
}

/* Publish a head in place of number `at`, or as a further one. */
static void publish(mica_model *m, int at, mica_head *head, bool answer) {
  lock(m);
  mica_head *old = at < m->n_heads ? m->head[at] : NULL;
  m->head[at] = head;
  if (!old) m->n_heads++;
  if (answer) m->answering = at;
  unlock(m);
  mica_head_release(m, old);
}

mica_status mica_model_put_head(mica_model *m, const char *name, mica_estimator *estimator,
                                const char *const *classes) {
  const int64_t n = mica_estimator_classes(estimator);
  pthread_mutex_lock(&m->adding);
  mica_status status = check_head(m, name, estimator, classes);
  if (status == MICA_OK && classes) status = check_names(name, classes, n);
  int at = status == MICA_OK ? find(m, name) : 0;
  if (status == MICA_OK && at < 0 && (at = m->n_heads) == MICA_HEADS_MAX)
    status = mica_fail(MICA_ERR_INVALID, "a model has at most %d heads", MICA_HEADS_MAX);
  mica_head *head = status == MICA_OK ? mica_calloc(1, sizeof *head) : NULL;
  if (status == MICA_OK && !head) status = MICA_ERR_MEMORY;
  if (status == MICA_OK && !(head->classes = mica_calloc((size_t)n + 1, sizeof *head->classes)))
    status = MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n && classes && status == MICA_OK; i++)
    if (!(head->classes[i] = mica_model_keep_text(m, classes[i], strlen(classes[i]))))
      status = MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    snprintf(head->name, sizeof head->name, "%s", name);
    head->estimator = estimator;
    head->owners = 1;
    publish(m, at, head, true);
  } else {
    head_free(head);
  }
  pthread_mutex_unlock(&m->adding);
  return status;
}

mica_status mica_model_answer_with(mica_model *m, const char *name) {
  lock(m);
  const int at = name ? find(m, name) : -1;
  const bool found = !name || at >= 0;
  if (found) m->answering = at;
  unlock(m);
  return found ? MICA_OK : mica_fail(MICA_ERR_NOT_FOUND, "the model has no head '%.64s'", name);
}

mica_status mica_model_set_examples(mica_model *m, const char *name, const int64_t *examples) {
  const int at = find(m, name);
  if (at < 0) return mica_fail(MICA_ERR_NOT_FOUND, "the model has no head '%.64s'", name);
  const int64_t n = mica_estimator_classes(m->head[at]->estimator);
  int64_t *copy = mica_calloc((size_t)n + 1, sizeof *copy);
  if (!copy) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n; i++) {
    if (examples[i] < 0) {
      mica_free(copy);
      return mica_fail(MICA_ERR_INVALID, "head '%s': %lld examples of class %lld", name,
                       (long long)examples[i], (long long)i);
    }
    copy[i] = examples[i];
  }
  mica_free(m->head[at]->examples);
  m->head[at]->examples = copy;
  return MICA_OK;
}

bool mica_model_examples(const mica_model *m, int64_t classes, int64_t *out) {
  mica_head *head = mica_head_hold(m);
  const bool known = head && head->examples && classes <= mica_estimator_classes(head->estimator);
  if (known) memcpy(out, head->examples, (size_t)classes * sizeof *out);
  mica_head_release(m, head);
  return known;
}

void mica_model_drop_heads(mica_model *m) {
  for (int i = 0; i < m->n_heads; i++) mica_head_release(m, m->head[i]);
  m->n_heads = 0;
  m->answering = -1;
}

/* ---- changing a head: copy, change the copy, swap ---- */

static mica_status copy_estimator(const mica_model *m, const mica_estimator *from,
                                  mica_estimator **out) {
  mica_record *record = NULL;
  mica_status status = mica_record_create(&record);
  if (status == MICA_OK) status = mica_estimator_save(from, record);
  if (status == MICA_OK)
    status = mica_estimator_load(mica_params_engine(mica_net_params(m->net)), record, out);
  mica_record_free(record);
  return status;
}

/* The network's own classifier as a head of that estimator's name, with room for one more class. */
static mica_status head_of_network(mica_model *m, mica_head **out, int *at) {
  if (!mica_net_head_component(m->net))
    return mica_fail(MICA_ERR_UNSUPPORTED,
                     "no head answers for this model: fit one first (mica fit prototypes)");
  mica_head *head = mica_calloc(1, sizeof *head);
  if (!head) return MICA_ERR_MEMORY;
  head->owners = 1;
  *at = m->n_heads;
  head->classes = mica_calloc((size_t)m->n_classes + 2, sizeof *head->classes);
  mica_status status =
      head->classes ? mica_net_head_estimator(m->net, &head->estimator) : MICA_ERR_MEMORY;
  if (status == MICA_OK) {
    snprintf(head->name, sizeof head->name, "%s", mica_estimator_component(head->estimator)->name);
    memcpy(head->classes, m->classes, (size_t)m->n_classes * sizeof *head->classes);
    if (*at == MICA_HEADS_MAX || find(m, head->name) >= 0)
      status =
          mica_fail(MICA_ERR_STATE, "the model has a head '%s' already: let it answer", head->name);
  }
  if (status != MICA_OK)
    head_free(head);
  else
    *out = head;
  return status;
}

/* A fresh head as the answering one, with room for one more class; its number to *at. Under
 * `adding`, so the answering head may be switched meanwhile, but none is replaced. Without one it
 * is the network's own classifier as a head, where it can be that. */
static mica_status begin_change(mica_model *m, mica_head **out, int *at) {
  lock(m);
  *at = m->answering;
  const mica_head *old = *at >= 0 ? m->head[*at] : NULL;
  unlock(m);
  *out = NULL;
  if (!old) return head_of_network(m, out, at);
  const int64_t n = mica_estimator_classes(old->estimator);
  mica_head *head = mica_calloc(1, sizeof *head);
  if (!head) return MICA_ERR_MEMORY;
  *head = *old;
  head->estimator = NULL;
  head->examples = NULL;
  head->owners = 1;
  head->classes = mica_calloc((size_t)n + 2, sizeof *head->classes);
  if (old->examples) head->examples = mica_calloc((size_t)n + 2, sizeof *head->examples);
  mica_status status = head->classes && !head->examples == !old->examples
                           ? copy_estimator(m, old->estimator, &head->estimator)
                           : MICA_ERR_MEMORY;
  if (status != MICA_OK) {
    head_free(head);
    return status;
  }
  memcpy(head->classes, old->classes, (size_t)n * sizeof *head->classes);
  if (head->examples) memcpy(head->examples, old->examples, (size_t)n * sizeof *head->examples);
  *out = head;
  return MICA_OK;
}

/* Features of the examples, by a session of its own. */
static mica_status features_of(mica_model *m, const mica_view *examples, mica_tensor **out) {
  mica_session *session = NULL;
  const int64_t n = examples->shape.rank ? examples->shape.dim[0] : 0;
  if (n < 1) return mica_fail(MICA_ERR_INVALID, "a new class without examples");
  mica_status status = mica_tensor_create(MICA_F32, MICA_SHAPE(n, mica_model_features(m)), out);
  if (status == MICA_OK) status = mica_session_create(m, &session);
  if (status == MICA_OK) status = mica_embed(session, examples, mica_tensor_data(*out));
  mica_session_free(session);
  return status;
}

mica_status mica_head_add_class(mica_model *m, const char *name, const mica_view *examples) {
  pthread_mutex_lock(&m->adding);
  mica_head *head = NULL;
  mica_tensor *features = NULL;
  int at = -1;
  mica_status status = begin_change(m, &head, &at);
  const int64_t n = head ? mica_estimator_classes(head->estimator) : 0;
  for (int64_t i = 0; i < n && status == MICA_OK; i++)
    if (head->classes[i] && strcmp(head->classes[i], name) == 0)
      status = mica_fail(MICA_ERR_INVALID, "head '%s' has a class '%s' already", head->name, name);
  if (status == MICA_OK) status = features_of(m, examples, &features);
  if (status == MICA_OK) {
    const mica_view x = mica_tensor_view(features);
    status = mica_estimator_add_class(head->estimator, &x, NULL);
  }
  if (status == MICA_OK && !(head->classes[n] = mica_model_keep_text(m, name, strlen(name))))
    status = MICA_ERR_MEMORY;
  if (status == MICA_OK && head->examples) head->examples[n] = examples->shape.dim[0];
  mica_tensor_free(features);
  if (status == MICA_OK)
    publish(m, at, head, at == m->n_heads);
  else
    head_free(head);
  pthread_mutex_unlock(&m->adding);
  return status;
}

mica_status mica_head_describe(mica_model *m, const char *name, int64_t n,
                               const char *const *phrases) {
  pthread_mutex_lock(&m->adding);
  mica_head *head = NULL;
  mica_tensor *x = NULL;
  int at = -1;
  mica_status status = begin_change(m, &head, &at);
  const int64_t classes = head ? mica_estimator_classes(head->estimator) : 0;
  int64_t label = 0;
  while (label < classes && !(head->classes[label] && strcmp(head->classes[label], name) == 0))
    label++;
  if (status == MICA_OK) status = mica_prompts_embed(m, head->estimator, name, n, phrases, &x);
  if (status == MICA_OK) {
    const mica_view view = mica_tensor_view(x);
    status = mica_estimator_describe(head->estimator, label, name, n, phrases, &view);
  }
  if (status == MICA_OK && label == classes &&
      !(head->classes[label] = mica_model_keep_text(m, name, strlen(name))))
    status = MICA_ERR_MEMORY;
  mica_tensor_free(x);
  if (status == MICA_OK)
    publish(m, at, head, false);
  else
    head_free(head);
  pthread_mutex_unlock(&m->adding);
  return status;
}

mica_status mica_head_set_rejection(mica_model *m, double rate) {
  pthread_mutex_lock(&m->adding);
  mica_head *head = NULL;
  int at = -1;
  mica_status status = begin_change(m, &head, &at);
  if (status == MICA_OK) status = mica_estimator_set_rejection(head->estimator, rate);
  if (status == MICA_OK)
    publish(m, at, head, at == m->n_heads);
  else
    head_free(head);
  pthread_mutex_unlock(&m->adding);
  return status;
}

/* ---- two spaces ---- */

mica_status mica_head_targets(const mica_model *m, const mica_view *y, double *out) {
  mica_head *head = mica_head_hold(m);
  if (!head) return mica_fail(MICA_ERR_UNSUPPORTED, "no head answers for this model");
  const mica_status status = mica_estimator_targets(head->estimator, y, out);
  mica_head_release(m, head);
  return status;
}

mica_status mica_head_pair_scores(const mica_model *m, const mica_view *x, const mica_view *y,
                                  double *out) {
  mica_head *head = mica_head_hold(m);
  if (!head) return mica_fail(MICA_ERR_UNSUPPORTED, "no head answers for this model");
  const mica_status status = mica_estimator_pair_scores(head->estimator, x, y, out);
  mica_head_release(m, head);
  return status;
}

/* ---- looking ---- */

int64_t mica_model_heads(const mica_model *m) {
  lock(m);
  const int64_t n = m->n_heads;
  unlock(m);
  return n;
}

mica_status mica_model_head(const mica_model *m, int64_t i, mica_head_facts *out) {
  bool answers;
  mica_head *head = mica_head_hold_at(m, i, &answers);
  *out = (mica_head_facts){0};
  if (!head) return mica_fail(MICA_ERR_NOT_FOUND, "the model has no head %lld", (long long)i);
  char *spec = mica_estimator_spec(head->estimator);
  mica_status status = spec ? MICA_OK : MICA_ERR_MEMORY;
  if (spec) {
    snprintf(out->name, sizeof out->name, "%s", head->name);
    snprintf(out->estimator, sizeof out->estimator, "%s", spec);
    out->task = mica_estimator_task(head->estimator);
    out->classes = mica_estimator_classes(head->estimator);
    out->outputs = mica_estimator_outputs(head->estimator);
    out->answers = answers;
    out->detects = mica_head_detects(head);
    out->adds_classes = abilities(head) & MICA_ESTIMATOR_ADDS_CLASSES;
    out->threshold = mica_estimator_threshold(head->estimator);
  }
  mica_free(spec);
  mica_head_release(m, head);
  return status;
}

int64_t mica_model_classes(const mica_model *m) {
  mica_head *head = mica_head_hold(m);
  const int64_t n = head ? mica_estimator_classes(head->estimator) : m->n_classes;
  mica_head_release(m, head);
  return n;
}

const char *mica_model_class(const mica_model *m, int64_t i) {
  mica_head *head = mica_head_hold(m);
  const int64_t n = head ? mica_estimator_classes(head->estimator) : m->n_classes;
  const char *name = i < 0 || i >= n ? NULL : head ? head->classes[i] : m->classes[i];
  mica_head_release(m, head);
  return name;
}
