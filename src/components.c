/* The list of built-in components that every engine registers, made from components.def. */
#include "base/engine.h"

#define MICA_COMPONENT(symbol) extern const mica_component symbol;
#include "components.def"
#undef MICA_COMPONENT

#define MICA_COMPONENT(symbol) &symbol,
static const mica_component *const builtin[] = {
#include "components.def"
    NULL};
#undef MICA_COMPONENT

const mica_component *const *mica_builtin_components(int *n) {
  *n = (int)(sizeof builtin / sizeof *builtin) - 1;
  return builtin;
}
