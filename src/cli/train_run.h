/* The run folder of `mica train`: metrics.jsonl, an event file for TensorBoard, config.json. */
#ifndef MICA_CLI_TRAIN_RUN_H
#define MICA_CLI_TRAIN_RUN_H

#include "cli/train.h"

/* Begin writing into `folder`, which exists; `record` (what config.json is to hold) stays the
 * caller's until train_run_end. A fresh run replaces what an earlier one left there. A resumed run
 * goes on from where its first report begins: lines of steps behind that are dropped, and
 * config.json keeps what the run began with. MICA_ERR_STATE while another process writes there. */
mica_status train_run_begin(train_watch *w, const char *folder, bool resume,
                            const mica_run_record *record);
/* One line of metrics. */
mica_status train_run_log(train_watch *w, const mica_train_metrics *m);
mica_status train_run_end(train_watch *w);

/* The record of a run: command, settings, seed, versions, and what identifies the data. */
mica_status train_run_record(const cli_args *a, const train_data *d, const mica_train_options *o,
                             const mica_net *net, int64_t seed, mica_run_record **out);

#endif
