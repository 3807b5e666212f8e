/* `mica eval` of a language model: how well it foretells the tokens of a text. */
#include "cli/train.h"

#include <math.h>

/* Windows that go through the network together. */
enum { WINDOWS = 16 };

/* The test part of a folder, else its validation part, else all of the text. */
static mica_part part_of(const mica_token_text *text) {
  static const mica_part order[] = {MICA_PART_TEST, MICA_PART_VALIDATION};
  for (int i = 0; i < 2; i++)
    if (mica_token_text_count(text, order[i]) > 1) return order[i];
  return MICA_PART_TRAIN;
}

static void tell(const cli_args *a, int64_t tokens, int64_t bytes, const mica_evaluation *e) {
  const double bits = e->loss / 0.69314718055994531 * (double)tokens / (double)bytes;
  if (cli_on(a, "--json"))
    printf("{\"tokens\": %lld, \"bytes\": %lld, \"loss\": %.9g, \"perplexity\": %.9g, "
           "\"bits_per_byte\": %.9g, \"accuracy\": %.9g}\n",
           (long long)tokens, (long long)bytes, e->loss, exp(e->loss), bits, e->accuracy);
  else
    printf("%lld tokens of %lld bytes: loss %.4f, perplexity %.2f, %.3f bits a byte, %.2f%% of the "
           "tokens foretold\n",
           (long long)tokens, (long long)bytes, e->loss, exp(e->loss), bits, 100 * e->accuracy);
}

static mica_status measure(const cli_args *a, const mica_net *net, const mica_token_text *text) {
  const mica_part part = part_of(text);
  const int64_t tokens = mica_token_text_count(text, part), most = mica_net_problem(net)->length;
  mica_stream stream = {0};
  mica_evaluation e = {0};
  if (tokens < 2)
    return mica_fail(MICA_ERR_INVALID, "%s: one token, and none that could be foretold",
                     cli_text(a, "--data"));
  mica_status status = mica_text_stream_create(text, part, tokens - 1 < most ? tokens - 1 : most,
                                               WINDOWS, false, 0, &stream);
  if (status == MICA_OK) status = mica_evaluate(net, &stream, false, false, &e);
  if (status == MICA_OK && !isfinite(e.loss))
    status = mica_fail(MICA_ERR_NUMERIC, "the loss is %g", e.loss);
  if (status == MICA_OK) tell(a, tokens, mica_token_text_bytes(text, part), &e);
  mica_evaluation_clear(&e);
  mica_text_stream_free(&stream);
  return status;
}

int cli_text_eval(const cli_args *a, mica_model *model) {
  const mica_net *net = mica_model_net(model);
  mica_token_text_options o = MICA_TOKEN_TEXT_OPTIONS;
  mica_tokenizer *tokenizer = NULL;
  mica_token_text *text = NULL;
  o.validation = 0;
  mica_status status = mica_tokenizer_parse(mica_model_tokenizer(model), &tokenizer);
  if (status == MICA_OK && mica_net_problem(net)->vocabulary < mica_tokenizer_size(tokenizer))
    status = mica_fail(MICA_ERR_FORMAT, "%s: the tokenizer has more tokens than the network",
                       a->operand[0]);
  if (status == MICA_OK) status = mica_token_text_open(cli_text(a, "--data"), tokenizer, &o, &text);
  if (status == MICA_OK) status = measure(a, net, text);
  mica_token_text_free(text);
  mica_tokenizer_free(tokenizer);
  return status == MICA_OK ? EXIT_OK : cli_failed(a);
}
