/* What the system said, as a mica error. */
#ifndef MICA_BASE_SYSTEM_H
#define MICA_BASE_SYSTEM_H

#include <mica/base.h>

/* "PATH: WHAT: reason" from errno: MICA_ERR_NOT_FOUND when there is no such file, else MICA_ERR_IO.
 */
mica_status mica_fail_errno(const char *path, const char *what);

#endif
