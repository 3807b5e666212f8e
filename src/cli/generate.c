/* mica generate: a text from a language model, as it comes. */
#include "cli/features.h"
#include "cli/train.h"

#include <mica/generate.h>
#include <mica/tokenizer.h>

#include "base/buffer.h"
#include "base/json.h"
#include "base/progress.h"
#include "base/utf8.h"

#include <string.h>

typedef struct job {
  const cli_args *a;
  mica_engine *engine;
  mica_model *model; /* owns the network where there is one */
  mica_net *own;     /* else this is it: llama2.c's */
  const mica_net *net;
  mica_tokenizer *tokenizer;
  mica_generator *generator;
  mica_tokens prompt;
  mica_bytes text, ids; /* what was generated, and its tokens as JSON, with --json */
  char part[4];         /* of a character that is not complete yet */
  size_t parts;
} job;

static bool ends_with(const char *text, const char *end) {
  const size_t n = strlen(text), m = strlen(end);
  return n >= m && strcmp(text + n - m, end) == 0;
}

/* The network, and the tokenizer that its file holds or --tokenizer names. */
static mica_status open_net(job *j) {
  const char *path = j->a->operand[0], *named = cli_text(j->a, "--tokenizer");
  mica_status status = MICA_OK;
  if (ends_with(path, ".bin")) {
    status = mica_net_read_llama2c(j->engine, path, &j->own);
    j->net = j->own;
  } else {
    status = open_model(j->engine, path, &j->model);
    if (status == MICA_OK) j->net = mica_model_net(j->model);
  }
  if (status != MICA_OK) return status;
  const char *text = j->model ? mica_model_tokenizer(j->model) : NULL;
  if (named)
    status = cli_tokenizer(named, &j->tokenizer);
  else if (text)
    status = mica_tokenizer_parse(text, &j->tokenizer);
  else
    status = mica_fail(MICA_ERR_INVALID, "%s has no tokenizer; --tokenizer FILE names it", path);
  const int64_t vocabulary = mica_net_problem(j->net)->vocabulary;
  if (status == MICA_OK && mica_tokenizer_size(j->tokenizer) > vocabulary)
    status =
        mica_fail(MICA_ERR_INVALID, "%s: a vocabulary of %lld tokens, and the tokenizer has %lld",
                  path, (long long)vocabulary, (long long)mica_tokenizer_size(j->tokenizer));
  return status;
}

/* A text of llama2.c's begins with its own token. Others are cut out of longer ones; an empty
 * prompt is then the end of a line. */
static mica_status encode(job *j, const char *prompt) {
  mica_encode_options o = MICA_ENCODE_OPTIONS;
  o.begin = j->own != NULL;
  o.end = false;
  if (!*prompt && !o.begin) prompt = "\n";
  mica_status status = mica_tokenizer_encode(j->tokenizer, prompt, strlen(prompt), &o, &j->prompt);
  if (status == MICA_OK && !j->prompt.n)
    status = mica_fail(MICA_ERR_INVALID, "the prompt holds no token");
  return status;
}

static void put(job *j, const char *bytes, size_t n) {
  if (cli_on(j->a, "--json"))
    mica_bytes_append(&j->text, bytes, n);
  else
    fwrite(bytes, 1, n, stdout);
}

/* Whole characters only; a byte that can belong to none becomes U+FFFD. At the end nothing more is
 * to come. */
static void put_piece(job *j, const char *bytes, size_t n, bool end) {
  for (size_t i = 0; i < n || (end && j->parts);) {
    if (i < n) j->part[j->parts++] = bytes[i++];
    const size_t whole = mica_utf8_length(j->part, j->parts);
    const unsigned char first = (unsigned char)j->part[0];
    const size_t wanted = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 1;
    const bool bad = j->parts > 1 && ((unsigned char)j->part[j->parts - 1] & 0xc0) != 0x80;
    if (whole) {
      put(j, j->part, whole);
      j->parts = 0;
    } else if (bad || j->parts >= wanted || (end && i == n)) {
      put(j, "\xef\xbf\xbd", 3); /* for the first byte; the others are looked at again */
      char rest[4];
      const size_t left = bad ? 1 : 0;
      memcpy(rest, j->part + j->parts - left, left);
      j->parts = 0;
      if (left) put_piece(j, rest, left, false);
    }
  }
  if (!cli_on(j->a, "--json")) fflush(stdout);
}

static bool stops(const job *j, int64_t token) {
  const int64_t end = mica_tokenizer_special(j->tokenizer, MICA_TOKEN_END);
  return token == end || token >= mica_tokenizer_size(j->tokenizer) ||
         token == mica_tokenizer_special(j->tokenizer, MICA_TOKEN_BEGIN);
}

static mica_status write_text(job *j, int64_t most, int64_t *count) {
  int64_t before = j->prompt.id[j->prompt.n - 1];
  mica_status status = mica_generator_feed(j->generator, j->prompt.n, j->prompt.id);
  for (*count = 0; *count < most && status == MICA_OK; ++*count) {
    int64_t token;
    size_t bytes = 0;
    if (cli_interrupted()) return mica_fail(MICA_ERR_CANCELLED, "stopped");
    status = mica_generator_next(j->generator, &token);
    if (status != MICA_OK || stops(j, token)) break;
    const char *piece = mica_tokenizer_piece(j->tokenizer, before, token, &bytes);
    if (piece) put_piece(j, piece, bytes, false);
    if (cli_on(j->a, "--json"))
      mica_bytes_printf(&j->ids, "%s%lld", *count ? ", " : "", (long long)token);
    before = token;
  }
  put_piece(j, NULL, 0, true);
  return status;
}

static mica_status tell(job *j, const char *prompt, int64_t count, double seconds) {
  if (!cli_on(j->a, "--json")) {
    printf("\n");
    return MICA_OK;
  }
  mica_bytes_byte(&j->text, 0);
  mica_bytes_byte(&j->ids, 0);
  if (j->text.status != MICA_OK || j->ids.status != MICA_OK) return MICA_ERR_MEMORY;
  printf("{\"prompt\": ");
  cli_print_json(prompt);
  printf(", \"text\": ");
  cli_print_json((const char *)j->text.data);
  printf(", \"tokens\": [%s], \"prompt_tokens\": %lld, \"seconds\": %.6f, \"tokens_per_second\": "
         "%.6g}\n",
         (const char *)j->ids.data, (long long)j->prompt.n, seconds,
         seconds > 0 ? (double)count / seconds : 0);
  return MICA_OK;
}

static int generate(job *j) {
  const cli_args *a = j->a;
  const char *prompt = cli_text(a, "--prompt");
  mica_generator_options o = MICA_GENERATOR_OPTIONS;
  int64_t most, seed, count;
  if (!cli_int(a, "--tokens", 0, INT64_MAX, &most) ||
      !cli_double(a, "--temperature", 0, 1e6, &o.sampling.temperature) ||
      !cli_int(a, "--top-k", 0, INT64_MAX, &o.sampling.top_k) ||
      !cli_double(a, "--top-p", 1e-12, 1, &o.sampling.top_p) ||
      !cli_double(a, "--repetition", 1, 1e6, &o.sampling.repetition) ||
      !cli_int(a, "--seed", 0, INT64_MAX, &seed) || !cli_int(a, "--sinks", 0, 1 << 20, &o.sinks))
    return EXIT_USAGE;
  o.sampling.seed = (uint64_t)seed;
  cli_catch_interrupt();
  mica_status status = cli_engine(a, &j->engine);
  if (status == MICA_OK) status = open_net(j);
  if (status == MICA_OK) status = mica_generator_create(j->net, &o, &j->generator);
  if (status == MICA_OK) status = encode(j, prompt);
  if (status != MICA_OK) return cli_failed(a);
  if (!cli_on(a, "--json")) fputs(prompt, stdout);
  const double start = mica_seconds();
  status = write_text(j, most, &count);
  if (status == MICA_OK) status = tell(j, prompt, count, mica_seconds() - start);
  return status == MICA_OK ? EXIT_OK : cli_failed(a);
}

static int run(const cli_args *a) {
  job j = {.a = a};
  const int code = generate(&j);
  mica_generator_free(j.generator);
  mica_tokens_free(&j.prompt);
  mica_tokenizer_free(j.tokenizer);
  mica_model_free(j.model);
  mica_net_free(j.own);
  mica_engine_free(j.engine);
  mica_bytes_free(&j.text);
  mica_bytes_free(&j.ids);
  return code;
}

static const cli_flag flags[] = {
    {"--prompt", "-p", "TEXT", "", "what the text begins with"},
    {"--tokens", "-n", "N", "256", "the most tokens to add; the text may end before"},
    {"--temperature", NULL, "X", "1", "0: always the likeliest token; above 1: more chance"},
    {"--top-k", NULL, "N", "0", "draw among the N likeliest tokens; 0: all"},
    {"--top-p", NULL, "X", "1", "draw among the likeliest tokens that together reach X"},
    {"--repetition", NULL, "X", "1", "penalty of tokens that came before; 1: none"},
    {"--seed", NULL, "N", "0", "another text for another number"},
    {"--tokenizer", NULL, "FILE", NULL, "of a file without one: bytes, or a vocabulary's file"},
    {"--sinks", NULL, "N", "4",
     "rotary positions: first tokens that stay when the text outgrows the network's length"},
    CLI_COMMON_FLAGS};

const cli_verb verb_generate = {
    "generate",
    "MODEL",
    "let a language model continue a text",
    flags,
    1,
    1,
    run,
    "MODEL is a model file of `mica train gpt`, or a checkpoint of llama2.c (.bin).\n"
    "example: mica generate shakespeare.mica --prompt 'ROMEO:' --temperature 0.8 --top-p 0.9"};
