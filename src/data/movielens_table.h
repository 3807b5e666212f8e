/* MovieLens's folders as a table of clicks. */
#ifndef MICA_DATA_MOVIELENS_TABLE_H
#define MICA_DATA_MOVIELENS_TABLE_H

#include "base/buffer.h"

/* Is it a folder with u.data or ratings.dat, packed or not? */
bool mica_is_movielens(const char *folder);

/* CSV text with the columns user, item, their attributes but for the title, and click: 1 for
 * ratings above 3, 0 for those below; those of 3 are left out. Values of an attribute that has
 * several are one, joined by bars. */
mica_status mica_movielens_text(const char *folder, mica_bytes *out);

#endif
