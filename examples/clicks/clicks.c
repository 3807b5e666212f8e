/* clicks: write a made-up log of advertisements shown and clicked, for a click model to learn.
 *
 *     clicks FOLDER [ROWS]        writes FOLDER/train.csv, val.csv and test.csv
 *
 * Real click logs may not be passed on, so this one is drawn from a seed. A row is one
 * advertisement shown: who saw it, what it was, where, when, and whether it was clicked. Behind
 * each click stands a probability: habits of the person and the item, the hour on the kind of
 * device, the price, and tastes, a short vector for each person and each item whose product no sum
 * over single columns can give. The last line says how well a model that knew the probabilities
 * would do: the best there is.
 */
#include <mica/mica.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PEOPLE  2000
#define ITEMS   500
#define SITES   50
#define DEVICES 4
#define TASTES  4

static mica_key key; /* everything is a function of it */

/* A fixed normal number for each thing of each kind. */
static double trait(const char *kind, uint64_t which) {
  return mica_random_normal(mica_key_fold_name(key, kind), which);
}

/* Few are frequent: number k with a density that falls as k^-1/2 (people) or faster (items). */
static uint64_t frequent(const char *kind, uint64_t row, uint64_t n, double power) {
  const double u = mica_random_uniform(mica_key_fold_name(key, kind), row);
  const uint64_t k = (uint64_t)((double)n * pow(u, power));
  return k < n ? k : n - 1;
}

typedef struct impression {
  uint64_t person, item, site, device, hour;
  double price, probability;
  bool clicked;
} impression;

static impression draw(uint64_t row) {
  impression m;
  m.person = frequent("person", row, PEOPLE, 2);
  m.item = frequent("item", row, ITEMS, 3);
  m.site = frequent("site", row, SITES, 2);
  m.device = mica_random_below(mica_key_fold_name(key, "device"), row, DEVICES);
  m.hour = mica_random_below(mica_key_fold_name(key, "hour"), row, 24);
  m.price = exp(1 + 0.5 * trait("price", m.item));
  double taste = 0;
  for (uint64_t k = 0; k < TASTES; k++)
    taste += trait("likes", m.person * TASTES + k) * trait("offers", m.item * TASTES + k);
  const double logit = -1.5 + 0.5 * trait("person", m.person) + 0.6 * trait("item", m.item) +
                       0.4 * trait("site", m.site) + 0.4 * trait("time", m.device * 24 + m.hour) -
                       0.1 * m.price + 0.8 * taste;
  m.probability = 1 / (1 + exp(-logit));
  m.clicked = mica_random_uniform(mica_key_fold_name(key, "click"), row) < m.probability;
  return m;
}

static bool write_part(const char *folder, const char *name, uint64_t begin, uint64_t end) {
  char path[4096];
  if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) {
    fprintf(stderr, "%s: too long a path\n", folder);
    return false;
  }
  FILE *f = fopen(path, "w");
  if (f) fprintf(f, "person,item,site,device,hour,price,click\n");
  for (uint64_t row = begin; f && row < end; row++) {
    const impression m = draw(row);
    fprintf(f, "p%llu,i%llu,s%llu,d%llu,h%llu,%.2f,%d\n", (unsigned long long)m.person,
            (unsigned long long)m.item, (unsigned long long)m.site, (unsigned long long)m.device,
            (unsigned long long)m.hour, m.price, m.clicked);
  }
  const bool bad = !f || ferror(f);
  if ((f && fclose(f) != 0) || bad) {
    fprintf(stderr, "%s: %s\n", path, strerror(errno));
    return false;
  }
  return true;
}

/* The area under the ROC curve of the true probabilities on the test part. */
static bool best_possible(uint64_t begin, uint64_t end, double *area) {
  const int64_t n = (int64_t)(end - begin);
  double *score = malloc((size_t)n * sizeof *score);
  bool *clicked = malloc((size_t)n * sizeof *clicked);
  if (score && clicked) {
    for (int64_t i = 0; i < n; i++) {
      const impression m = draw(begin + (uint64_t)i);
      score[i] = m.probability;
      clicked[i] = m.clicked;
    }
  }
  mica_estimate e;
  const bool worked = score && clicked && mica_auroc(n, score, clicked, 0.95, &e) == MICA_OK;
  if (worked) *area = e.value;
  free(score);
  free(clicked);
  return worked;
}

int main(int argc, char **argv) {
  const uint64_t rows = argc > 2 ? strtoull(argv[2], NULL, 10) : 300000;
  if (argc < 2 || argc > 3 || rows < 100 || rows > 1000000000) {
    fprintf(stderr, "usage: clicks FOLDER [ROWS, 100 to 1000000000]\n");
    return 2;
  }
  key = mica_key_seed(2026);
  const uint64_t train = rows * 8 / 10, validation = rows * 9 / 10;
  double area = NAN;
  if (!write_part(argv[1], "train.csv", 0, train) ||
      !write_part(argv[1], "val.csv", train, validation) ||
      !write_part(argv[1], "test.csv", validation, rows))
    return 1;
  if (!best_possible(validation, rows, &area)) {
    fprintf(stderr, "%s\n", mica_last_error());
    return 1;
  }
  printf("%llu made-up rows; knowing the true probabilities, the test AUROC would be %.4f\n",
         (unsigned long long)rows, area);
  return 0;
}
