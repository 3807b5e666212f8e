/* How many dimensions features use: with s the singular values and p = s / sum s, the effective
 * rank is exp of the entropy of p (Roy and Vetterli 2007; of features that are not centred it is
 * RankMe, Garrido et al. 2023); with v the variances, (sum v)^2 / sum v^2 is the participation
 * ratio.
 */
#include <mica/measure.h>

#include "measure/spectrum.h"
#include "numeric/rows.h"

#include <math.h>

typedef struct options {
  uint32_t size;
  bool centre;
} options;

static const mica_option option_table[] = {
    {"centre", MICA_OPTION_BOOL, "true", 0, 0, NULL,
     "subtract the mean first; false: RankMe's effective rank", offsetof(options, centre)},
    {NULL, MICA_OPTION_BOOL, NULL, 0, 0, NULL, NULL, 0}};

/* The fewest leading squares that make up a share of all. */
static int64_t fewest(const double *square, int64_t k, double sum, double share) {
  double so_far = 0;
  for (int64_t i = 0; i < k; i++)
    if ((so_far += square[i]) >= share * sum * (1 - 1e-12)) return i + 1;
  return k;
}

static mica_status tell(const double *square, int64_t k, mica_findings *f) {
  double sum = 0, roots = 0, fourth = 0, entropy = 0;
  int64_t rank = 0;
  for (int64_t i = 0; i < k; i++) {
    sum += square[i];
    roots += sqrt(square[i]);
    fourth += square[i] * square[i];
    rank += square[i] > 0;
  }
  for (int64_t i = 0; i < rank; i++) {
    const double p = sqrt(square[i]) / roots;
    entropy -= p * log(p);
  }
  mica_status status = mica_findings_number(f, "effective_rank", rank ? exp(entropy) : 0,
                                            "exp of the entropy of singular values");
  if (!status)
    status = mica_findings_number(f, "participation_ratio", rank ? sum * sum / fourth : 0,
                                  "dimensions that share the variance");
  if (!status)
    status = mica_findings_number(f, "stable_rank", rank ? sum / square[0] : 0,
                                  "variance over that of the largest direction");
  if (!status)
    status = mica_findings_number(f, "rank", (double)rank,
                                  "directions above 1e-6 of the largest singular value");
  static const struct {
    double share;
    const char *name, *meaning;
  } part[] = {{0.9, "components_90", "directions that hold 90 % of the variance"},
              {0.95, "components_95", "directions that hold 95 % of the variance"},
              {0.99, "components_99", "directions that hold 99 % of the variance"}};
  for (int i = 0; i < 3 && !status; i++)
    status = mica_findings_number(
        f, part[i].name, rank ? (double)fewest(square, k, sum, part[i].share) : 0, part[i].meaning);
  return status;
}

static mica_status measure(const mica_engine *engine, const void *options_,
                           const mica_measure_data *d, mica_findings *f) {
  const options *o = options_;
  const int64_t n = mica_rows_n(&d->x), width = mica_rows_d(&d->x), k = n < width ? n : width;
  double *mean = mica_realloc_array(NULL, (size_t)(width + k), sizeof *mean);
  if (!mean) return MICA_ERR_MEMORY;
  double *square = mean + width, sum = 0;
  mica_status status = mica_column_means(engine, &d->x, mean);
  if (!status)
    status = mica_squared_singular_values(engine, &d->x, o->centre ? mean : NULL, square);
  if (!status) status = tell(square, k, f);
  for (int64_t i = 0; i < k && !status; i++) sum += square[i];
  for (int64_t i = 0; i < k && !status; i++) square[i] = square[i] > 0 ? square[i] / sum : NAN;
  if (!status)
    status = mica_findings_values(f, MICA_FINDING_SERIES, "spectrum", 1, k, square,
                                  "share of the variance of each direction");
  mica_free(mean);
  return status;
}

static const mica_measure_functions functions = {sizeof functions, measure};

extern const mica_component mica_component_measure_rank;
const mica_component mica_component_measure_rank = {
    MICA_COMPONENT_HEAD,
    MICA_KIND_MEASURE,
    "rank",
    "effective rank, participation ratio and the spectrum",
    NULL,
    option_table,
    sizeof(options),
    MICA_NEED_FEATURES,
    0,
    &functions};
