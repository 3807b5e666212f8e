/* The pointing game (Zhang et al. 2016): does a map's maximum hit the object? */
#include <mica/explain.h>

#include <math.h>

bool mica_pointing_hit(const float *map, const uint8_t *mask, int64_t height, int64_t width,
                       double tolerance) {
  int64_t best = 0;
  for (int64_t i = 1; i < height * width; i++)
    if (map[i] > map[best]) best = i;
  const int64_t r = best / width, c = best % width, reach = (int64_t)floor(tolerance);
  for (int64_t y = r - reach; y <= r + reach; y++)
    for (int64_t x = c - reach; x <= c + reach; x++) {
      if (y < 0 || x < 0 || y >= height || x >= width || !mask[y * width + x]) continue;
      const double dy = (double)(y - r), dx = (double)(x - c);
      if (dy * dy + dx * dx <= tolerance * tolerance) return true;
    }
  return false;
}

double mica_pointing_accuracy(const int64_t *hits, const int64_t *misses, int64_t classes) {
  double sum = 0;
  int64_t answered = 0;
  for (int64_t c = 0; c < classes; c++) {
    const int64_t all = hits[c] + misses[c];
    if (!all) continue;
    sum += (double)hits[c] / (double)all;
    answered++;
  }
  return answered ? sum / (double)answered : NAN;
}

bool mica_pointing_difficult(const uint8_t *mask, int64_t height, int64_t width,
                             bool another_class) {
  int64_t covered = 0;
  for (int64_t i = 0; i < height * width; i++) covered += mask[i] != 0;
  return another_class && 4 * covered < height * width;
}
