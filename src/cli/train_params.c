/* What `mica train` trains of a network, and what it begins with. */
#include "cli/train.h"

#include "base/buffer.h"

#include <string.h>

/* Rules, joined to one text: those of --initialise, --init-weights and --init-bn. */
static char *rules_text(const cli_args *a) {
  const char *all = cli_text(a, "--initialise"), *weights = cli_text(a, "--init-weights"),
             *bn = cli_text(a, "--init-bn");
  mica_bytes b = {0};
  if (all) mica_bytes_text(&b, all);
  if (weights) mica_bytes_printf(&b, "%sconv,linear=%s", b.n ? " | " : "", weights);
  if (bn) mica_bytes_printf(&b, "%sbn=%s", b.n ? " | " : "", bn);
  return mica_bytes_take(&b);
}

mica_status train_params_initialise(const cli_args *a, mica_params *params) {
  if (!cli_text(a, "--initialise") && !cli_text(a, "--init-weights") && !cli_text(a, "--init-bn"))
    return MICA_OK;
  char *rules = rules_text(a);
  const mica_status status = rules ? mica_params_initialise(params, rules, NULL) : MICA_ERR_MEMORY;
  mica_free(rules);
  return status;
}

/* PATTERN=SPEC, or SPEC alone, whose own '=' come behind a ':'. */
static mica_status adapt_one(const cli_args *a, mica_params *params, const char *text) {
  const size_t equals = strcspn(text, "="), colon = strcspn(text, ":");
  const char *name = cli_text(a, "--adapter-name");
  char pattern[512];
  if (!text[equals] || colon < equals) return mica_adapt_as(params, name, NULL, text, NULL);
  if (equals >= sizeof pattern) return mica_fail(MICA_ERR_INVALID, "the pattern is too long");
  snprintf(pattern, sizeof pattern, "%.*s", (int)equals, text);
  return mica_adapt_as(params, name, pattern, text + equals + 1, NULL);
}

mica_status train_params_adapt(const cli_args *a, mica_params *params, int64_t seed) {
  const char *text[CLI_GIVEN];
  const int n = cli_all(a, "--adapter", text, CLI_GIVEN);
  if (!n) return MICA_OK;
  mica_status status = mica_params_freeze(params, "all");
  if (status == MICA_OK && mica_params_elements(params, MICA_PARAM_OUTPUT))
    status = mica_params_train_also(params, "output");
  mica_params_set_seed(params, (uint64_t)seed);
  for (int i = 0; i < n && status == MICA_OK; i++) {
    status = adapt_one(a, params, text[i]);
    if (status != MICA_OK) status = mica_fail_within("--adapter %s", text[i]);
  }
  return status;
}

mica_status train_params_end(const cli_args *a, mica_params *params) {
  const char *out = cli_text(a, "--adapter-out");
  mica_status status = MICA_OK;
  if (out) status = mica_adapter_save(params, cli_text(a, "--adapter-name"), out, false);
  return status == MICA_OK && cli_on(a, "--merge") ? mica_adapters_merge(params) : status;
}

/* Adapters, and what training holds in memory besides what passes through the network: values, and
 * of what is trained a gradient and two moments. */
static void describe_adapters(const mica_params *params) {
  mica_adapter_facts f;
  for (int64_t i = 0; mica_adapter_at(params, i, &f); i++)
    fprintf(stderr, "  adapter %s: %s on %lld modules, %lld trained, %lld stored\n", f.name, f.spec,
            (long long)f.modules, (long long)f.trained, (long long)f.stored);
  if (!mica_adapters(params)) return;
  double bytes = 0;
  for (int64_t i = 0; i < mica_params_count(params); i++) {
    const mica_tensor *v = mica_param_value(mica_params_at(params, i));
    bytes += (double)mica_tensor_count(v) * (double)mica_dtype_size(mica_tensor_dtype(v));
  }
  const double trained = 4 * (double)mica_params_trained(params), mega = 1024 * 1024;
  fprintf(stderr, "  memory: %.2f MiB of values, %.2f MiB of gradients and moments\n", bytes / mega,
          3 * trained / mega);
}

mica_status train_params_choose(const cli_args *a, mica_params *params, int64_t seed) {
  const struct {
    const char *flag;
    mica_status (*apply)(mica_params *, const char *);
  } choices[] = {{"--only", mica_params_train_only},
                 {"--also", mica_params_train_also},
                 {"--freeze", mica_params_freeze},
                 {"--decay", mica_params_decay_only}};
  for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
    const char *selection = cli_text(a, choices[i].flag);
    if (selection && choices[i].apply(params, selection) != MICA_OK)
      return mica_fail_within("%s", choices[i].flag);
  }
  const char *mask = cli_text(a, "--mask");
  if (mask && mica_params_mask(params, mask, (uint64_t)seed, NULL) != MICA_OK)
    return mica_fail_within("--mask");
  return MICA_OK;
}

/* How much of each sort of layer is trained. */
static void describe_parts(const mica_params *params) {
  static const struct {
    const char *name;
    uint32_t flag;
  } parts[] = {{"convolutions", MICA_PARAM_CONVOLUTION},
               {"linear layers", MICA_PARAM_LINEAR},
               {"embeddings", MICA_PARAM_EMBEDDING},
               {"normalisations", MICA_PARAM_NORM},
               {"others", 0}};
  const uint32_t any =
      MICA_PARAM_CONVOLUTION | MICA_PARAM_LINEAR | MICA_PARAM_EMBEDDING | MICA_PARAM_NORM;
  const char *between = "  trained: ";
  for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
    long long all = 0, trained = 0;
    for (int64_t i = 0; i < mica_params_count(params); i++) {
      const mica_param *q = mica_params_at(params, i);
      const uint32_t flags = mica_param_flags(q);
      if (flags & MICA_PARAM_BUFFER || (flags & any) != parts[k].flag) continue;
      all += mica_tensor_count(mica_param_value(q));
      trained += mica_param_trained(q);
    }
    if (!all) continue;
    fprintf(stderr, "%s%lld of %lld in %s", between, trained, all, parts[k].name);
    between = ", ";
  }
  fprintf(stderr, "\n");
}

void train_params_describe(const char *name, const mica_params *params) {
  const int64_t all =
      mica_params_elements(params, 0) - mica_params_elements(params, MICA_PARAM_BUFFER);
  const int64_t trained = mica_params_trained(params);
  fprintf(stderr, "%s: %lld parameters, %lld trained", name, (long long)all, (long long)trained);
  if (trained < all) fprintf(stderr, " (%.3g%%)", 100 * (double)trained / (double)all);
  fprintf(stderr, "\n");
  if (trained < all) describe_parts(params);
  describe_adapters(params);
}
