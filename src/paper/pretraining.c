/* Shared pre-training: one network a recipe, trained once by whoever asks first, kept in the run
 * and, where there is a cache folder, in a file that later runs and other papers read.
 */
#include "paper/claim.h"

#include "base/engine.h"
#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void mica_claim_pretrained_free(mica_claim_pretrained *list) {
  while (list) {
    mica_claim_pretrained *next = list->next;
    mica_net_free(list->net);
    pthread_mutex_destroy(&list->lock);
    mica_free(list->identity);
    mica_free(list);
    list = next;
  }
}

/* All that the weights depend on. Another release or instruction set gives other bits. */
static char *identity_of(const mica_engine *engine, const mica_pretraining *p) {
  mica_bytes b = {0};
  mica_bytes_printf(&b, "mica %s %s%s; %s; %s; classes %s; images %lld; epochs %lld; batch %lld; ",
                    MICA_VERSION, mica_engine_isa(engine),
                    mica_engine_uses_libraries(engine) ? "" : " own kernels", p->model, p->data,
                    p->classes ? p->classes : "all", (long long)p->images, (long long)p->epochs,
                    (long long)p->batch);
  mica_bytes_printf(&b, "%s; %s; %s; seed %llu", p->loss, p->optimiser, p->schedule,
                    (unsigned long long)p->seed);
  return mica_bytes_take(&b);
}

/* The labels 0, 1, ... of the classes in their list's order. */
static void renumber(const char *classes, int64_t *label, int64_t n) {
  int64_t number[256], count = 0;
  for (const char *at = classes; at && *at && count < 256;
       at = strchr(at, ',') ? strchr(at, ',') + 1 : "")
    number[count++] = strtoll(at, NULL, 10);
  for (int64_t i = 0; classes && i < n; i++)
    for (int64_t c = 0; c < count; c++)
      if (label[i] == number[c]) {
        label[i] = c;
        break;
      }
}

static int64_t count_classes(const char *classes, int64_t all) {
  int64_t n = 1;
  if (!classes) return all;
  for (const char *at = classes; *at; at++) n += *at == ',';
  return n;
}

/* How many pictures the classes have. */
static int64_t count_images(const mica_claim_images *m, const char *classes) {
  int64_t n = 0;
  for (int64_t i = 0; i < m->n; i++) {
    bool in = !classes;
    for (const char *at = classes; at && *at && !in;
         at = strchr(at, ',') ? strchr(at, ',') + 1 : "")
      in = strtoll(at, NULL, 10) == m->labels[i];
    n += in;
  }
  return n;
}

static mica_status make_net(mica_engine *engine, const mica_claim_images *m,
                            const mica_pretraining *p, uint64_t seed, mica_net **out) {
  const mica_problem problem =
      MICA_PROBLEM_IMAGES(m->height, m->width, m->channels, count_classes(p->classes, m->classes));
  return mica_net_create(engine, p->model, &problem, seed, out);
}

static mica_status train(mica_claim_cell *cell, const mica_claim_images *m,
                         const mica_pretraining *p, mica_net **out) {
  const int64_t n = p->images ? p->images : count_images(m, p->classes);
  int64_t *item = mica_calloc((size_t)(n > 0 ? n : 1), sizeof *item);
  mica_tensor *x = NULL, *labels = NULL;
  mica_stream stream = {0};
  mica_train_options o = MICA_TRAIN_OPTIONS;
  mica_net *net = NULL;
  const mica_key key = mica_key_fold_name(mica_key_seed(p->seed), "pretraining");
  mica_status status = item ? mica_claim_draw(m, key, n, p->classes, item) : MICA_ERR_MEMORY;
  if (status == MICA_OK) status = mica_claim_take(m, n, item, &x, &labels);
  if (status == MICA_OK) {
    renumber(p->classes, mica_tensor_data(labels), n);
    status = mica_memory_stream_create(x, labels, p->batch, true, false, p->seed, &stream);
  }
  if (status == MICA_OK) status = make_net(cell->engine, m, p, p->seed, &net);
  if (status == MICA_OK) {
    /* What is shared is on nobody's account. */
    mica_claim_cell shared = *cell;
    o.loss = p->loss;
    o.optimiser = p->optimiser;
    o.schedule = p->schedule;
    o.seed = p->seed;
    mica_claim_place place = *(mica_claim_place *)cell;
    shared.arm = NULL;
    place.cell = shared;
    status = mica_claim_train(&place.cell, net, &stream, p->epochs * stream.batches, &o, NULL);
  }
  if (stream.ctx) mica_memory_stream_free(&stream);
  mica_tensor_free(x);
  mica_tensor_free(labels);
  mica_free(item);
  if (status == MICA_OK)
    *out = net;
  else
    mica_net_free(net);
  return status;
}

/* ---- the file ---- */

static char *file_of(const mica_claim_run *r, const char *identity) {
  char name[64];
  snprintf(name, sizeof name, "%016llx.safetensors",
           (unsigned long long)mica_hash64(identity, strlen(identity), 0));
  return r->cache ? mica_path_join(r->cache, name) : NULL;
}

/* Read the weights where the file is there and of this recipe; anything else is trained anew. */
static bool recall(const char *path, const char *identity, mica_net *net) {
  mica_archive *a = NULL;
  mica_load_options o = MICA_LOAD_OPTIONS;
  if (!path || !mica_file_exists(path) || mica_archive_open(path, &a) != MICA_OK) return false;
  const char *own = mica_archive_metadata(a, "mica.pretraining");
  const bool same = own && strcmp(own, identity) == 0;
  mica_archive_close(a);
  o.strip = "";
  o.new_head = false;
  return same && mica_params_load(mica_net_params(net), path, &o, NULL) == MICA_OK;
}

/* ---- asking ---- */

static mica_claim_pretrained *entry_of(mica_claim_run *r, const char *identity) {
  pthread_mutex_lock(&r->lock);
  mica_claim_pretrained *e = r->pretrained;
  while (e && strcmp(e->identity, identity) != 0) e = e->next;
  if (!e && (e = mica_calloc(1, sizeof *e))) {
    e->identity = mica_strdup(identity);
    if (!e->identity || pthread_mutex_init(&e->lock, NULL) != 0) {
      mica_free(e->identity);
      mica_free(e);
      e = NULL;
    } else {
      e->next = r->pretrained;
      r->pretrained = e;
    }
  }
  pthread_mutex_unlock(&r->lock);
  return e;
}

static mica_status fill(mica_claim_cell *cell, mica_claim_pretrained *e, const mica_claim_images *m,
                        const mica_pretraining *p) {
  mica_claim_run *r = cell->run;
  mica_net *kept = NULL, *net = NULL;
  char *path = file_of(r, e->identity);
  mica_status status = make_net(r->engine, m, p, MICA_SEED_NONE, &kept);
  if (status == MICA_OK && !recall(path, e->identity, kept)) {
    status = train(cell, m, p, &net);
    if (status == MICA_OK) status = mica_params_copy(mica_net_params(kept), mica_net_params(net));
    if (status == MICA_OK && path) {
      const mica_text_pair about = {"mica.pretraining", e->identity};
      status = mica_make_parent(path);
      if (status == MICA_OK) status = mica_params_save(mica_net_params(kept), path, &about, 1);
    }
    mica_net_free(net);
  }
  if (status == MICA_OK)
    e->net = kept;
  else
    mica_net_free(kept);
  mica_free(path);
  return status;
}

mica_status mica_claim_encoder(mica_claim_cell *cell, const mica_pretraining *recipe,
                               mica_net **out) {
  mica_pretraining p = MICA_PRETRAINING;
  const mica_claim_images *m;
  memcpy(&p, recipe, recipe->size < sizeof p ? recipe->size : sizeof p);
  if (!p.model || !p.data)
    return mica_fail(MICA_ERR_INVALID, "pre-training needs a model and a data set");
  mica_status status = mica_claim_data(cell, p.data, MICA_PART_TRAIN, &m);
  if (status != MICA_OK) return status;
  char *identity = identity_of(cell->run->engine, &p);
  mica_claim_pretrained *e = identity ? entry_of(cell->run, identity) : NULL;
  mica_free(identity);
  if (!e) return MICA_ERR_MEMORY;
  pthread_mutex_lock(&e->lock);
  if (!e->net) status = fill(cell, e, m, &p);
  pthread_mutex_unlock(&e->lock);
  if (status != MICA_OK) return status;
  mica_net *net = NULL;
  status = make_net(cell->engine, m, &p, MICA_SEED_NONE, &net);
  if (status == MICA_OK) status = mica_params_copy(mica_net_params(net), mica_net_params(e->net));
  if (status == MICA_OK)
    *out = net;
  else
    mica_net_free(net);
  return status;
}

mica_status mica_claim_features(const mica_net *net, const mica_tensor *x, mica_tensor **out) {
  mica_stream stream;
  mica_evaluation e;
  mica_status status =
      mica_memory_stream_create((mica_tensor *)x, NULL, 256, false, false, 0, &stream);
  if (status != MICA_OK) return status;
  status = mica_evaluate(net, &stream, false, true, &e);
  mica_memory_stream_free(&stream);
  if (status != MICA_OK) return status;
  *out = mica_tensor_retain(e.features);
  mica_evaluation_clear(&e);
  return MICA_OK;
}
