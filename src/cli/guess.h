/* Which architecture a file of tensors is of, told by their names and shapes. */
#ifndef MICA_CLI_GUESS_H
#define MICA_CLI_GUESS_H

#include <mica/model.h>

typedef struct architecture_guess {
  char spec[512];       /* for mica_net_create; "" when nothing is recognised */
  char names[64];       /* whose names: "torchvision's names" */
  char note[128];       /* what the shapes cannot tell; or why a known form does not load */
  mica_problem problem; /* classes 0: the file has no head */
} architecture_guess;

void guess_architecture(const mica_archive *f, architecture_guess *out);

#endif
