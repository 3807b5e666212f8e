/* The engine's registry: lists of descriptors, one a kind, searched by name. */
#include "base/engine.h"
#include "base/nearest.h"
#include "base/options.h"

#include <stdio.h>
#include <string.h>

const char *mica_kind_name(mica_kind kind) {
  static const char *const names[MICA_KIND_COUNT] = {
      "model",     "layer",   "adapter",      "initialiser", "loss",      "optimiser", "schedule",
      "scheme",    "sampler", "augmentation", "dataset",     "estimator", "index",     "measure",
      "explainer", "paper",   "stage",        "mask",        "score",     "embedding"};
  return (unsigned)kind < MICA_KIND_COUNT ? names[kind] : "?";
}

const char *mica_needs_text(uint32_t needs, char *buf, size_t n) {
  static const char *const names[] = {"logits",      "features", "two_views", "teacher", "ids",
                                      "mask",        "ragged",   "labels",    "pyramid", "tokens",
                                      "images",      "rows",     "targets",   "fields",  "pairs",
                                      "class_means", "taps",     "factors"};
  size_t used = 0;
  if (n) buf[0] = '\0';
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    if (!(needs >> i & 1)) continue;
    const int more = snprintf(used < n ? buf + used : NULL, used < n ? n - used : 0, "%s%s",
                              used ? ", " : "", names[i]);
    used += more > 0 ? (size_t)more : 0;
  }
  return buf;
}

static bool valid_name(const char *name) {
  if (!name || !(*name >= 'a' && *name <= 'z')) return false;
  size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-");
  return name[n] == '\0';
}

static mica_status check_descriptor(const mica_component *c) {
  if (!c) return mica_fail(MICA_ERR_INVALID, "component: NULL descriptor");
  if (c->abi != MICA_COMPONENT_ABI)
    return mica_fail(MICA_ERR_UNSUPPORTED, "component: abi %u, this library has %u",
                     (unsigned)c->abi, (unsigned)MICA_COMPONENT_ABI);
  if (c->size != sizeof *c)
    return mica_fail(MICA_ERR_UNSUPPORTED,
                     "component: descriptor of %u bytes, this library has %zu", (unsigned)c->size,
                     sizeof *c);
  if ((unsigned)c->kind >= MICA_KIND_COUNT)
    return mica_fail(MICA_ERR_INVALID, "component: kind %d is out of range", (int)c->kind);
  if (!valid_name(c->name))
    return mica_fail(MICA_ERR_INVALID,
                     "component: name '%s': a-z first, then a-z, 0-9, '_' and '-' are allowed",
                     c->name ? c->name : "(null)");
  if (!c->options && !c->options_size) return MICA_OK;
  if (c->options_size < sizeof(uint32_t))
    return mica_fail(MICA_ERR_INVALID, "%s %s: an options struct of %zu bytes",
                     mica_kind_name(c->kind), c->name, c->options_size);
  if (mica_options_check(c->options, c->options_size))
    return mica_fail_within("%s %s", mica_kind_name(c->kind), c->name);
  return MICA_OK;
}

static const mica_component *lookup(const mica_component_list *list, const char *name) {
  for (int i = 0; i < list->n; i++)
    if (strcmp(list->item[i]->name, name) == 0) return list->item[i];
  return NULL;
}

mica_status mica_engine_add(mica_engine *engine, const mica_component *component) {
  mica_component_list *list = &engine->components[component->kind];
  if (list->n == list->room) {
    int room = list->room ? 2 * list->room : 8;
    const mica_component **grown =
        mica_realloc_array((void *)list->item, (size_t)room, sizeof *list->item);
    if (!grown) return MICA_ERR_MEMORY;
    list->item = grown;
    list->room = room;
  }
  list->item[list->n++] = component;
  return MICA_OK;
}

mica_status mica_engine_register(mica_engine *engine, const mica_component *component) {
  mica_status status = check_descriptor(component);
  if (status) return status;
  if (lookup(&engine->components[component->kind], component->name))
    return mica_fail(MICA_ERR_INVALID, "%s %s is registered already",
                     mica_kind_name(component->kind), component->name);
  return mica_engine_add(engine, component);
}

const mica_component *mica_component_find(const mica_engine *engine, mica_kind kind,
                                          const char *name) {
  if ((unsigned)kind >= MICA_KIND_COUNT || !name) {
    mica_fail(MICA_ERR_INVALID, "mica_component_find: kind out of range or name NULL");
    return NULL;
  }
  const mica_component_list *list = &engine->components[kind];
  const mica_component *found = lookup(list, name);
  if (found) return found;
  mica_nearest best = {NULL, 0};
  for (int i = 0; i < list->n; i++) mica_nearest_offer(&best, name, list->item[i]->name);
  if (best.name)
    mica_fail(MICA_ERR_NOT_FOUND, "no %s is named '%s'; did you mean '%s'?", mica_kind_name(kind),
              name, best.name);
  else
    mica_fail(MICA_ERR_NOT_FOUND, "no %s is named '%s'", mica_kind_name(kind), name);
  return NULL;
}

const mica_component *mica_component_at(const mica_engine *engine, mica_kind kind, int i) {
  if ((unsigned)kind >= MICA_KIND_COUNT || i < 0 || i >= engine->components[kind].n) return NULL;
  return engine->components[kind].item[i];
}
