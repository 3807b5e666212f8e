/* Regions of pictures, distances of sets of them, and the measures of what is found. */
#include <mica/transform.h>

#include "numeric/chunks.h"
#include "numeric/rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int64_t mica_region_count(int64_t order) {
  return order * (order + 1) * (2 * order + 1) / 6;
}

/* Half to even. */
static int64_t place(int64_t k, int64_t room, int64_t steps) {
  return steps ? (int64_t)nearbyint((double)(k * room) / (double)steps) : 0;
}

mica_status mica_regions(int64_t height, int64_t width, int64_t order, mica_region *out) {
  if (height < 1 || width < 1 || order < 1 || order > 1000)
    return mica_fail(MICA_ERR_INVALID, "regions of order %lld of %lldx%lld", (long long)order,
                     (long long)height, (long long)width);
  for (int64_t i = 1; i <= order; i++) {
    const int64_t h = (2 * height + i) / (i + 1), w = (2 * width + i) / (i + 1);
    for (int64_t r = 0; r < i; r++)
      for (int64_t c = 0; c < i; c++)
        *out++ = (mica_region){place(r, height - h, i - 1), place(c, width - w, i - 1), h, w};
  }
  return MICA_OK;
}

/* ---- sets of patches ---- */

typedef struct job {
  const mica_view *queries, *references;
  int64_t query_patches, reference_patches, d, n;
  double *out;
} job;

/* One query against all references. */
static mica_status one_query(void *ctx, int64_t q, void *scratch) {
  const job *j = ctx;
  const int64_t d = j->d, pq = j->query_patches, pr = j->reference_patches;
  double *mine = scratch, *theirs = mine + pq * d;
  mica_rows_load(j->queries, q * pq, (q + 1) * pq, NULL, mine);
  for (int64_t r = 0; r < j->n; r++) {
    double sum = 0;
    mica_rows_load(j->references, r * pr, (r + 1) * pr, NULL, theirs);
    for (int64_t a = 0; a < pq; a++) {
      double least = INFINITY;
      for (int64_t b = 0; b < pr; b++) {
        double square = 0;
        for (int64_t k = 0; k < d; k++) {
          const double by = mine[a * d + k] - theirs[b * d + k];
          square += by * by;
        }
        least = fmin(least, square);
      }
      sum += sqrt(least);
    }
    j->out[q * j->n + r] = sum / (double)pq;
  }
  return MICA_OK;
}

mica_status mica_patch_set_distances(const mica_engine *engine, const mica_view *queries,
                                     int64_t query_patches, const mica_view *references,
                                     int64_t reference_patches, double *out) {
  mica_status status = mica_rows_check(queries, "query patches");
  if (status == MICA_OK) status = mica_rows_check(references, "reference patches");
  if (status != MICA_OK) return status;
  const int64_t d = mica_rows_d(queries);
  if (d != mica_rows_d(references) || query_patches < 1 || reference_patches < 1 ||
      mica_rows_n(queries) % query_patches || mica_rows_n(references) % reference_patches)
    return mica_fail(MICA_ERR_SHAPE,
                     "patches: %lld rows in sets of %lld against %lld in sets of %lld, of %lld and "
                     "%lld columns",
                     (long long)mica_rows_n(queries), (long long)query_patches,
                     (long long)mica_rows_n(references), (long long)reference_patches, (long long)d,
                     (long long)mica_rows_d(references));
  job j = {queries,
           references,
           query_patches,
           reference_patches,
           d,
           mica_rows_n(references) / reference_patches,
           out};
  return mica_chunks_run(engine, mica_rows_n(queries) / query_patches,
                         (size_t)((query_patches + reference_patches) * d) * sizeof(double),
                         one_query, &j);
}

/* ---- measures ---- */

typedef struct scored {
  double score;
  bool positive;
} scored;

static int by_score(const void *pa, const void *pb) {
  const double a = ((const scored *)pa)->score, b = ((const scored *)pb)->score;
  return a < b ? 1 : a > b ? -1 : 0;
}

mica_status mica_average_precision_11(int64_t n, const double *score, const bool *positive,
                                      double *out) {
  int64_t all = 0, found = 0;
  scored *s = mica_malloc((size_t)(n > 0 ? n : 1) * sizeof *s);
  double best[11] = {0};
  if (!s) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < n; i++) {
    s[i] = (scored){score[i], positive[i]};
    all += positive[i];
  }
  if (!all) {
    mica_free(s);
    return mica_fail(MICA_ERR_INVALID, "average precision: nothing is positive");
  }
  qsort(s, (size_t)n, sizeof *s, by_score);
  for (int64_t i = 0; i < n; i++) {
    found += s[i].positive;
    if (i + 1 < n && s[i + 1].score == s[i].score) continue;
    const double recall = (double)found / (double)all, precision = (double)found / (double)(i + 1);
    for (int k = 0; k <= 10; k++)
      if (recall >= k / 10.0) best[k] = fmax(best[k], precision);
  }
  mica_free(s);
  *out = 0;
  for (int k = 0; k <= 10; k++) *out += best[k] / 11;
  return MICA_OK;
}

mica_status mica_ukbench_score(int64_t n, const double *distance, double *out) {
  if (n < 4 || n % 4)
    return mica_fail(MICA_ERR_INVALID, "%lld items are no groups of four", (long long)n);
  int64_t right = 0;
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = i / 4 * 4; j < i / 4 * 4 + 4; j++) {
      const double *row = distance + i * n;
      int64_t nearer = 0;
      for (int64_t k = 0; k < n && nearer < 4; k++)
        nearer += row[k] < row[j] || (row[k] == row[j] && k < j);
      right += nearer < 4;
    }
  *out = (double)right / (double)n;
  return MICA_OK;
}
