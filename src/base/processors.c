/* How many threads may this process use at once?
 *
 * The processors it may run on, but no more than its share of time: a container that is given two
 * processors' time on a machine of 64 would crawl with 64 threads that wait for each other. Who
 * sets OMP_NUM_THREADS has decided already.
 */
#include "base/engine.h"
#include "base/number.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef _OPENMP
#include <omp.h>
#else
#include <sched.h>
#endif

/* The start of a small file of the system, as text; empty when it cannot be read. */
static void read_line(const char *path, char *text, size_t room) {
  ssize_t n = 0;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd >= 0) {
    n = read(fd, text, room - 1);
    close(fd);
  }
  text[n > 0 ? n : 0] = '\0';
}

int mica_quota_threads(const char *quota, const char *period) {
  double q, p;
  if (!mica_parse_double(quota, strlen(quota), false, &q)) return 0; /* "max" */
  if (!mica_parse_double(period, strlen(period), false, &p)) return 0;
  if (!(q > 0 && p > 0)) return 0;
  double share = ceil(q / p);
  return share < 1 ? 1 : share > MICA_THREADS_MAX ? MICA_THREADS_MAX : (int)share;
}

/* The group's limit of time, in processors; 0 when there is none. */
static int quota(void) {
  char text[64], period[64];
  read_line("/sys/fs/cgroup/cpu.max", text, sizeof text); /* "QUOTA PERIOD" */
  char *second = strchr(text, ' ');
  if (second) return mica_quota_threads(text, second + 1);
  read_line("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", text, sizeof text);
  read_line("/sys/fs/cgroup/cpu/cpu.cfs_period_us", period, sizeof period);
  return mica_quota_threads(text, period);
}

int mica_process_threads(void) {
  int n = 1;
#ifdef _OPENMP
  n = omp_get_max_threads();
  const char *set = getenv("OMP_NUM_THREADS");
  bool decided = set && *set;
#else
  cpu_set_t all;
  if (sched_getaffinity(0, sizeof all, &all) == 0) n = CPU_COUNT(&all);
  const char *set = getenv("OMP_NUM_THREADS");
  const int asked = set ? atoi(set) : 0;
  const bool decided = asked > 0;
  if (decided) n = asked;
#endif
  int limit = decided ? 0 : quota();
  if (limit && n > limit) n = limit;
  return n < 1 ? 1 : n > MICA_THREADS_MAX ? MICA_THREADS_MAX : n;
}
