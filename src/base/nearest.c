/* Edit distance with neighbouring letters swapped counted as one slip (optimal string alignment).
 *
 * Names are short: both are cut at 63 characters, which keeps the three rows of the table on the
 * stack. A candidate is close when at most a third of its letters, and at least one, would have to
 * change; a longer name that the wanted one begins is close too.
 */
#include "base/nearest.h"

#include <mica/component.h>

#include <string.h>

#define LENGTH_MAX 63

static int least(int a, int b) {
  return a < b ? a : b;
}

static int distance(const char *a, int na, const char *b, int nb) {
  int rows[3][LENGTH_MAX + 1];
  int *before = rows[0], *above = rows[1], *row = rows[2];
  for (int j = 0; j <= nb; j++) above[j] = j;
  for (int i = 1; i <= na; i++) {
    row[0] = i;
    for (int j = 1; j <= nb; j++) {
      int change = above[j - 1] + (a[i - 1] != b[j - 1]);
      row[j] = least(change, 1 + least(above[j], row[j - 1]));
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = least(row[j], before[j - 2] + 1);
    }
    int *oldest = before;
    before = above;
    above = row;
    row = oldest;
  }
  return above[nb];
}

void mica_nearest_offer(mica_nearest *best, const char *wanted, const char *candidate) {
  int n = (int)strnlen(wanted, LENGTH_MAX), m = (int)strnlen(candidate, LENGTH_MAX);
  int d = distance(wanted, n, candidate, m);
  int longest = n > m ? n : m;
  int slips = longest / 3 > 1 ? longest / 3 : 1;
  bool begins = n >= 3 && strncmp(wanted, candidate, (size_t)n) == 0;
  if (begins) d = least(d, slips);
  if (d > slips || d >= longest) return;
  if (!best->name || d < best->distance) *best = (mica_nearest){candidate, d};
}

const char *mica_nearest_name(const char *name, const char *const *names, int n) {
  mica_nearest best = {NULL, 0};
  for (int i = 0; i < n; i++) mica_nearest_offer(&best, name, names[i]);
  return best.name;
}
