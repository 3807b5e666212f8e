/* The claims in src/paper/claims/. They are the tool's: a program that embeds the library has no
 * use for our experiments and does not carry them; their driver (mica/paper.h) is in the library
 * for a program's own. */
#ifndef MICA_PAPER_CLAIMS_H
#define MICA_PAPER_CLAIMS_H

#include <mica/engine.h>

/* Register all of them with the engine. */
mica_status mica_claims_register(mica_engine *engine);

#endif
