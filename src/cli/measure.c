/* mica measure: what features are like, how alike two sets of them are, and what is in a network.
 */
#include "cli/measure.h"

#include <string.h>

/* One a line: the first that takes the operand runs. */
// clang-format off
static const measure_subject subjects[] = {
    {"a file of features (.npy, .npz, .safetensors)", measure_takes_features, measure_features},
    {"a model file (.mica)", measure_takes_model, measure_network},
    {"a solution of Google Landmarks (.csv)", measure_takes_landmarks, measure_landmarks},
    {NULL, NULL, NULL},
};
// clang-format on

static int run(const cli_args *a) {
  for (const measure_subject *s = subjects; s->what; s++)
    if (s->takes(a->operand[0])) return s->run(a);
  char expected[256] = "";
  for (const measure_subject *s = subjects; s->what; s++) {
    const size_t n = strlen(expected);
    snprintf(expected + n, sizeof expected - n, "%s%s", n ? " or " : "", s->what);
  }
  return cli_usage(a, "%s: expected %s", a->operand[0], expected);
}

static const cli_flag flags[] = {
    {"--measures", NULL, "LIST", NULL,
     "of features: specifications between commas, see `mica list measure`; all that the files have "
     "what it takes for"},
    {"--usage", NULL, "WORD", NULL,
     "of a solution: the queries of this Usage, Public or Private; all but Ignored otherwise"},
    {"--labels", NULL, "FILE.npy", NULL, "labels of the rows, where their file has none"},
    {"--part", NULL, "P", "all", "rows to look at: train, val, test or all"},
    {"--report", NULL, "DIR", NULL,
     "DIR/report.html: spectrum, lengths, class means, a map; figures beside it"},
    {"--data", NULL, "PATH", NULL,
     "of a model: pictures for its rectifiers and its accuracy without the small gains"},
    {"--strict", NULL, NULL, NULL, "stop at a picture that cannot be read"},
    {"--seed", NULL, "N", "0", "of samples, where a measure looks at pairs of rows"},
    CLI_COMMON_FLAGS};

const cli_verb verb_measure = {
    "measure",
    "FEATURES [FEATURES] | MODEL | SOLUTION PREDICTIONS",
    "what features are like: lengths, rank, classes; how alike two encoders are",
    flags,
    1,
    2,
    run,
    "examples: mica embed net.mica --data photos/ -o f.safetensors\n"
    "          mica measure f.safetensors --part test --report measured\n"
    "          mica measure f.safetensors --measures norms,rank:centre=false\n"
    "          mica measure f.safetensors g.safetensors --measures "
    "cka,cka:kernel=rbf,procrustes\n"
    "          mica measure net.mica --data photos/ --report inside\n"
    "          mica measure recognition_solution_v2.1.csv predictions.csv\n\n"
    "Two files hold features of the same rows in the same order. Classes are looked at where the "
    "first\nhas labels. Measures of all pairs take a random sample of `rows` rows where there are "
    "more and\nsay so; all others look at every row."};
