/* report/run_record.h: records, for those who write them into their own files. */
#ifndef MICA_REPORT_RUN_RECORD_H
#define MICA_REPORT_RUN_RECORD_H

#include <mica/report.h>

#include "base/json.h"

mica_status mica_run_record_copy(const mica_run_record *record, mica_run_record **out);
void mica_run_record_json(const mica_run_record *record, mica_json_writer *w);

#endif
