/* Classes from texts: `fit zero_shot` from a phrase list, one class described anew, and the reasons
 * that `predict --explain` tells. */
#ifndef MICA_CLI_DESCRIBE_H
#define MICA_CLI_DESCRIBE_H

#include "cli/cli.h"

#define CLI_DESCRIBE_FLAGS                                                                         \
  {"--descriptions", NULL, "FILE", NULL,                                                           \
   "of zero_shot: phrases of each class, {\"class\": [\"phrase\", ...]}, or a folder of a "        \
   "language model's answers, CLASS.txt"},                                                         \
      {"--edits", NULL, "FILE.json", NULL, "phrases that replace those of some classes"}, {        \
    "--describe", NULL, "CLASS", NULL,                                                             \
        "give a class of the zero_shot model --encoder the phrases that are the operands"          \
  }

/* Does the command make classes from texts? */
bool cli_describes(const cli_args *a);
/* A zero_shot head of phrases or of class names (--classes); with --data its accuracy, and with
 * --control that of what it must be compared with. */
int cli_describe_fit(const cli_args *a, mica_engine *engine);
/* --describe. */
int cli_describe_class(const cli_args *a, mica_engine *engine);

/* The reasons for a picture's class, `most` phrases of it, as CSV lines, with a `head` above them
 * or not, or as one JSON line. */
mica_status cli_print_reasons(mica_session *session, const mica_view *picture, const char *file,
                              int64_t classes, int64_t most, bool json, bool head);

/* A page of pictures, each with its class and why. */
typedef struct reasons_page reasons_page;
mica_status reasons_page_create(reasons_page **out);
/* The picture uint8 [1,H,W,C] of that file name. */
mica_status reasons_page_add(reasons_page *page, mica_session *session, const mica_view *picture,
                             const char *file, int64_t classes, int64_t most);
/* DIR/report.html. */
mica_status reasons_page_write(reasons_page *page, const char *folder);
void reasons_page_free(reasons_page *page);

#endif
