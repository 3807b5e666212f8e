/* What the files of schedules share. */
#ifndef MICA_OPTIM_SCHEDULE_H
#define MICA_OPTIM_SCHEDULE_H

#include <mica/optim.h>

/* Steps, from steps or a share of all. */
double mica_schedule_steps(double share, int64_t total);
/* The last factor: that of a last rate where one was asked for and the base rate is known. */
double mica_schedule_end(double end, double final_lr, double base);

#endif
