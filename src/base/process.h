/* Which process is this? A child that fork made has none of its parent's threads. */
#ifndef MICA_BASE_PROCESS_H
#define MICA_BASE_PROCESS_H

#include <sys/types.h>

/* getpid, without asking the system again. */
pid_t mica_process(void);

#endif
