/* Models of the library `transformers` as model files. */
#include "cli/text.h"

#include "base/file.h"
#include "base/json.h"

#include <mica/tokenizer.h>

#include <string.h>

#define JSON_LIMIT ((size_t)1 << 24)

typedef struct source {
  const char *folder;
  mica_json_doc *config, *modules, *pooling, *limits; /* NULL: not there */
  mica_tokenizer *tokenizer;
  char *weights, *tokenizer_text;
  char spec[512];
  int64_t positions, length; /* rows of the table of positions, and of those that are used */
} source;

/* *out is NULL when there is no such file. */
static mica_status read_json(const source *s, const char *name, mica_json_doc **out) {
  char *path = mica_path_join(s->folder, name);
  mica_status status = path ? MICA_OK : MICA_ERR_MEMORY;
  if (path && mica_file_exists(path)) status = mica_json_read(path, JSON_LIMIT, out);
  mica_free(path);
  return status;
}

static mica_status find_weights(source *s) {
  static const char *const names[] = {"model.safetensors", "pytorch_model.bin"};
  for (int i = 0; i < 2; i++) {
    s->weights = mica_path_join(s->folder, names[i]);
    if (!s->weights) return MICA_ERR_MEMORY;
    if (mica_file_exists(s->weights)) return MICA_OK;
    mica_free(s->weights);
    s->weights = NULL;
  }
  return mica_fail(MICA_ERR_NOT_FOUND, "%s: neither model.safetensors nor pytorch_model.bin",
                   s->folder);
}

static bool ends_with(const char *text, const char *end) {
  const size_t n = text ? strlen(text) : 0, m = strlen(end);
  return n >= m && strcmp(text + n - m, end) == 0;
}

static bool is_true(const mica_json *v, const char *name) {
  bool value = false;
  return mica_json_bool(mica_json_get(v, name), &value) && value;
}

/* What a sentence encoder does behind the network: modules.json of sentence-transformers. */
static mica_status read_pooling(const source *s, const char **pool, bool *normalise) {
  const mica_json *modules = s->modules ? mica_json_root(s->modules) : NULL;
  const mica_json *pooling = s->pooling ? mica_json_root(s->pooling) : NULL;
  for (int64_t i = 0; i < mica_json_count(modules); i++) {
    const char *type = mica_json_string(mica_json_get(mica_json_item(modules, i), "type"));
    if (ends_with(type, ".Normalize"))
      *normalise = true;
    else if (!ends_with(type, ".Transformer") && !ends_with(type, ".Pooling"))
      return mica_fail(MICA_ERR_UNSUPPORTED, "modules.json: %s is not read",
                       type ? type : "a module without a type");
  }
  *pool = "cls";
  if (is_true(pooling, "pooling_mode_mean_tokens"))
    *pool = "mean";
  else if (pooling && !is_true(pooling, "pooling_mode_cls_token"))
    return mica_fail(MICA_ERR_UNSUPPORTED, "1_Pooling/config.json: neither mean nor first token");
  return MICA_OK;
}

static mica_status read_bert(source *s) {
  const mica_json *c = mica_json_root(s->config);
  static const char *const keys[] = {"hidden_size", "num_hidden_layers", "num_attention_heads",
                                     "intermediate_size", "type_vocab_size"};
  int64_t value[5];
  double eps = 1e-12;
  const char *type, *activation, *pool;
  bool normalise = false;
  mica_status status = mica_json_need_string(c, "model_type", &type);
  if (status == MICA_OK && strcmp(type, "bert") != 0)
    return mica_fail(MICA_ERR_UNSUPPORTED, "model_type: '%.40s' is not read, only bert", type);
  if (status == MICA_OK) status = mica_json_need_string(c, "hidden_act", &activation);
  if (status == MICA_OK && strcmp(activation, "gelu") != 0)
    return mica_fail(MICA_ERR_UNSUPPORTED, "hidden_act: '%.40s' is not read, only gelu",
                     activation);
  const char *place = mica_json_string(mica_json_get(c, "position_embedding_type"));
  if (place && strcmp(place, "absolute") != 0)
    return mica_fail(MICA_ERR_UNSUPPORTED, "position_embedding_type: '%.40s' is not read", place);
  for (int i = 0; i < 5 && status == MICA_OK; i++)
    status = mica_json_need_int64(c, keys[i], &value[i]);
  if (status == MICA_OK) status = mica_json_need_int64(c, "max_position_embeddings", &s->positions);
  if (mica_json_get(c, "layer_norm_eps") && status == MICA_OK)
    status = mica_json_need_double(c, "layer_norm_eps", &eps);
  if (status == MICA_OK) status = read_pooling(s, &pool, &normalise);
  if (status != MICA_OK) return status;
  s->length = s->positions;
  if (s->limits)
    (void)mica_json_int64(mica_json_get(mica_json_root(s->limits), "max_seq_length"), &s->length);
  if (s->length < 2 || s->length > s->positions) s->length = s->positions;
  snprintf(s->spec, sizeof s->spec,
           "bert:dim=%lld:depth=%lld:heads=%lld:hidden=%lld:types=%lld:pad=%lld:separator=%lld:"
           "eps=%.9g:pool=%s:normalise=%s",
           (long long)value[0], (long long)value[1], (long long)value[2], (long long)value[3],
           (long long)value[4], (long long)mica_tokenizer_special(s->tokenizer, MICA_TOKEN_PAD),
           (long long)mica_tokenizer_special(s->tokenizer, MICA_TOKEN_END), eps, pool,
           normalise ? "true" : "false");
  return MICA_OK;
}

/* The same network with a shorter table of positions: the rows that are used. */
static mica_status shorten(mica_engine *engine, const source *s, mica_net **net) {
  if (s->length == s->positions) return MICA_OK;
  mica_problem problem = *mica_net_problem(*net);
  mica_net *out;
  problem.length = s->length;
  mica_status status = mica_net_create(engine, s->spec, &problem, 0, &out);
  if (status != MICA_OK) return status;
  mica_params *p = mica_net_params(out);
  for (int64_t i = 0; i < mica_params_count(p) && status == MICA_OK; i++) {
    mica_param *q = mica_params_at(p, i);
    const mica_param *from = mica_params_find(mica_net_params(*net), mica_param_path(q));
    const mica_tensor *value = mica_param_value(q);
    memcpy(mica_param_write(q), mica_tensor_data(mica_param_value(from)),
           (size_t)mica_tensor_count(value) * mica_dtype_size(mica_tensor_dtype(value)));
  }
  mica_net_free(*net);
  *net = out;
  return status;
}

static mica_status convert(const cli_args *a, source *s, const char *out) {
  int64_t vocabulary = 0;
  mica_engine *engine = NULL;
  mica_net *net = NULL;
  mica_model *model = NULL;
  mica_load_report report = {0};
  const mica_preprocess preprocess = MICA_PREPROCESS(0, 0, 0);
  mica_status status = mica_json_need_int64(mica_json_root(s->config), "vocab_size", &vocabulary);
  if (status == MICA_OK && vocabulary < mica_tokenizer_size(s->tokenizer))
    status = mica_fail(MICA_ERR_FORMAT, "vocab_size: %lld, and the tokenizer has %lld tokens",
                       (long long)vocabulary, (long long)mica_tokenizer_size(s->tokenizer));
  const mica_problem problem = MICA_PROBLEM_TOKENS(vocabulary, s->positions, 0);
  if (status == MICA_OK) status = cli_engine(a, &engine);
  if (status == MICA_OK) status = mica_net_create(engine, s->spec, &problem, 0, &net);
  if (status == MICA_OK) status = mica_params_load(mica_net_params(net), s->weights, NULL, &report);
  if (status == MICA_OK && (report.missing || report.reshaped))
    status = mica_fail(MICA_ERR_FORMAT, "%s: does not fill %s:\n%s", s->weights, s->spec,
                       report.text ? report.text : "");
  if (status == MICA_OK) status = shorten(engine, s, &net);
  if (status == MICA_OK &&
      (status = mica_model_create(net, &preprocess, NULL, NULL, &model)) == MICA_OK)
    net = NULL;
  if (status == MICA_OK) status = mica_model_set_tokenizer(model, s->tokenizer_text);
  if (status == MICA_OK) status = mica_model_save(model, out);
  mica_free(report.text);
  mica_model_free(model);
  mica_net_free(net);
  mica_engine_free(engine);
  return status;
}

mica_status cli_import_folder(const cli_args *a, const char *folder, const char *out) {
  source s = {.folder = folder};
  mica_status status = read_json(&s, "config.json", &s.config);
  if (status == MICA_OK && !s.config)
    status = mica_fail(MICA_ERR_NOT_FOUND, "%s: no config.json in it", folder);
  if (status == MICA_OK) status = read_json(&s, "modules.json", &s.modules);
  if (status == MICA_OK) status = read_json(&s, "1_Pooling/config.json", &s.pooling);
  if (status == MICA_OK) status = read_json(&s, "sentence_bert_config.json", &s.limits);
  if (status == MICA_OK) status = find_weights(&s);
  if (status == MICA_OK) status = mica_tokenizer_open(folder, &s.tokenizer);
  if (status == MICA_OK) status = mica_tokenizer_text(s.tokenizer, &s.tokenizer_text);
  if (status == MICA_OK && (status = read_bert(&s)) != MICA_OK)
    status = mica_fail_within("%s", folder);
  if (status == MICA_OK) status = convert(a, &s, out);
  mica_json_free(s.config);
  mica_json_free(s.modules);
  mica_json_free(s.pooling);
  mica_json_free(s.limits);
  mica_tokenizer_free(s.tokenizer);
  mica_free(s.tokenizer_text);
  mica_free(s.weights);
  return status;
}
