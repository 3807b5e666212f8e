/* Archives unpacked into a folder, nothing outside it; and folders as trees. */
#ifndef MICA_CLI_UNPACK_H
#define MICA_CLI_UNPACK_H

#include <mica/base.h>

/* Unpack a .tar, .tar.gz or .zip (told by its name) into `folder`, which is created. A member that
 * would leave the folder, a link and a device are MICA_ERR_FORMAT, with the member's name. */
mica_status unpack(const char *archive, const char *folder);

/* Drop a single folder at the top: FOLDER/top/x becomes FOLDER/x. */
mica_status unpack_lift(const char *folder);

/* Put each file of the folder into one named by what stands before `mark` in its name. */
mica_status unpack_into_classes(const char *folder, const char *mark);

/* Remove a folder and all that is in it; links are removed, not followed. Absent is fine. */
mica_status tree_remove(const char *path);

#endif
