#include "paper/claims.h"

#include <mica/component.h>

#define MICA_COMPONENT(symbol) extern const mica_component symbol;
#include "paper/claims.def"
#undef MICA_COMPONENT

#define MICA_COMPONENT(symbol) &symbol,
static const mica_component *const claims[] = {
#include "paper/claims.def"
    NULL};
#undef MICA_COMPONENT

mica_status mica_claims_register(mica_engine *engine) {
  mica_status status = MICA_OK;
  for (int i = 0; claims[i] && status == MICA_OK; i++)
    status = mica_engine_register(engine, claims[i]);
  return status;
}
