/* Files of answers as Google Landmarks has them: id,landmarks or id,images, and a third column in
 * solutions; and answers as `mica predict --json` prints them (.json, .jsonl). */
#ifndef MICA_CLI_LANDMARK_FILES_H
#define MICA_CLI_LANDMARK_FILES_H

#include <mica/base.h>

typedef struct landmark_entry {
  char *id, *list, *usage; /* one block, which id owns */
} landmark_entry;

typedef struct landmark_answers {
  bool recognition;
  landmark_entry *entry;
  int64_t n, room;
} landmark_answers;

/* Sorted by id. MICA_ERR_FORMAT for another first line, and for an id that is there twice. */
mica_status landmark_answers_read(const char *path, landmark_answers *out);
void landmark_answers_free(landmark_answers *answers);
/* The order of entries, for bsearch. */
int landmark_by_id(const void *a, const void *b);

#endif
