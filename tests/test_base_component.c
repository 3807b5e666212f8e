/* Components: the registry, option tables, the grammar of specifications. */
#include "support/failing_alloc.h"
#include "support/option_table.h"

#include "base/options.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct sample_options {
  uint32_t size;
  bool fast;
  int64_t steps;
  double rate;
  const char *file;
  int32_t mode;
  void (*callback)(void); /* in no table */
  mica_ints sizes;
  mica_floats betas;
  const char *teacher;
} sample_options;

#define SAMPLE_OPTIONS                                                                             \
  {                                                                                                \
    sizeof(sample_options), false, 100, 0.5, NULL, 1, NULL, {3, {8, 16, 32}}, {2, {0.9, 0.999}},   \
        "resnet:depth=20"                                                                          \
  }

#define ROW(name, type, def, lo, hi, choices)                                                      \
  { #name, type, def, lo, hi, choices, "", offsetof(sample_options, name) }
static const mica_option sample_table[] = {
    ROW(fast, MICA_OPTION_BOOL, "false", 0, 0, NULL),
    ROW(steps, MICA_OPTION_INT, "100", 1, 1e6, NULL),
    ROW(rate, MICA_OPTION_FLOAT, "0.5", 0, HUGE_VAL, NULL),
    ROW(file, MICA_OPTION_STRING, NULL, 0, 0, NULL),
    ROW(mode, MICA_OPTION_CHOICE, "avg", 0, 0, "max|avg|gem"),
    ROW(sizes, MICA_OPTION_INTS, "8,16,32", 1, 64, NULL),
    ROW(betas, MICA_OPTION_FLOATS, "0.9,0.999", 0, 1, NULL),
    ROW(teacher, MICA_OPTION_SPEC, "resnet:depth=20", 0, 0, NULL),
    {0}};

static const mica_component sample = {
    MICA_COMPONENT_HEAD,   .kind = MICA_KIND_LOSS,  .name = "sample",
    .summary = "a test's", .options = sample_table, .options_size = sizeof(sample_options)};
static const mica_component plain = {MICA_COMPONENT_HEAD, .kind = MICA_KIND_LOSS,
                                     .name = "plain-2e", .summary = "no options"};

static mica_engine *engine;

static int set_up(void **state) {
  (void)state;
  if (mica_engine_create(NULL, &engine)) return -1;
  return mica_engine_register(engine, &sample) || mica_engine_register(engine, &plain);
}

static int tear_down(void **state) {
  (void)state;
  mica_engine_free(engine);
  return 0;
}

static const sample_options *parse(const char *text, mica_spec **spec) {
  mica_status status = mica_spec_parse(engine, MICA_KIND_LOSS, text, spec);
  if (status) fail_msg("%s: %s", text, mica_last_error());
  return mica_spec_options(*spec);
}

/* Parsing must fail, with every part of the message given. */
static void refused(const char *text, const char *part, const char *other) {
  mica_spec *spec;
  mica_status status = mica_spec_parse(engine, MICA_KIND_LOSS, text, &spec);
  assert_null(spec);
  if (status != MICA_ERR_INVALID && status != MICA_ERR_NOT_FOUND) fail_msg("%s: accepted", text);
  if (!strstr(mica_last_error(), part) || !strstr(mica_last_error(), other))
    fail_msg("%s: '%s' lacks '%s' or '%s'", text, mica_last_error(), part, other);
}

/* ---- the registry ---- */

static void kinds_have_names(void **state) {
  (void)state;
  for (int k = 0; k < MICA_KIND_COUNT; k++) {
    assert_non_null(mica_kind_name((mica_kind)k));
    for (int other = 0; other < k; other++)
      assert_string_not_equal(mica_kind_name((mica_kind)k), mica_kind_name((mica_kind)other));
  }
  assert_string_equal(mica_kind_name(MICA_KIND_LOSS), "loss");
  assert_string_equal(mica_kind_name(MICA_KIND_PAPER), "paper");
  assert_string_equal(mica_kind_name(MICA_KIND_COUNT), "?");
}

static void components_are_found_by_name(void **state) {
  (void)state;
  assert_ptr_equal(mica_component_find(engine, MICA_KIND_LOSS, "sample"), &sample);
  assert_null(mica_component_find(engine, MICA_KIND_LOSS, "smaple"));
  assert_int_equal(mica_last_status(), MICA_ERR_NOT_FOUND);
  assert_non_null(strstr(mica_last_error(), "'sample'"));
  assert_null(mica_component_find(engine, MICA_KIND_LOSS, "entirely-different"));
  assert_null(strstr(mica_last_error(), "did you mean"));
  assert_null(mica_component_find(engine, MICA_KIND_INDEX, "sample"));
  assert_null(mica_component_find(engine, MICA_KIND_COUNT, "sample"));
  assert_null(mica_component_find(engine, MICA_KIND_LOSS, NULL));
  int n = 0, found = 0;
  for (const mica_component *c; (c = mica_component_at(engine, MICA_KIND_LOSS, n)); n++)
    found += c == &sample || c == &plain;
  assert_int_equal(found, 2);
  assert_null(mica_component_at(engine, MICA_KIND_LOSS, -1));
  assert_null(mica_component_at(engine, MICA_KIND_COUNT, 0));
}

static void wrong_descriptors_are_refused(void **state) {
  (void)state;
  assert_int_equal(mica_engine_register(engine, &sample), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "sample"));
  assert_int_equal(mica_engine_register(engine, NULL), MICA_ERR_INVALID);
  mica_component c = sample;
  c.name = "other";
  c.abi = 99;
  assert_int_equal(mica_engine_register(engine, &c), MICA_ERR_UNSUPPORTED);
  c.abi = MICA_COMPONENT_ABI;
  c.size--;
  assert_int_equal(mica_engine_register(engine, &c), MICA_ERR_UNSUPPORTED);
  c.size++;
  c.kind = MICA_KIND_COUNT;
  assert_int_equal(mica_engine_register(engine, &c), MICA_ERR_INVALID);
  c.kind = MICA_KIND_LOSS;
  static const char *const names[] = {"", "A", "a:b", "a b", "a(b", "2a", "a+b", NULL};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    c.name = names[i];
    assert_int_equal(mica_engine_register(engine, &c), MICA_ERR_INVALID);
  }
  c.name = "other";
  c.options_size = 2;
  assert_int_equal(mica_engine_register(engine, &c), MICA_ERR_INVALID);
  c.options_size = sizeof(sample_options) - 1;
  assert_int_equal(mica_engine_register(engine, &c), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "teacher"));
  static const mica_option wrong[][3] = {
      {ROW(fast, MICA_OPTION_BOOL, "maybe", 0, 0, NULL), {0}},
      {ROW(steps, MICA_OPTION_INT, "0", 1, 5, NULL), {0}},
      {ROW(mode, MICA_OPTION_CHOICE, "min", 0, 0, "max|avg"), {0}},
      {ROW(mode, MICA_OPTION_CHOICE, "max", 0, 0, NULL), {0}},
      {ROW(steps, (mica_option_type)99, "0", 0, 0, NULL), {0}},
      {{"a=b", MICA_OPTION_INT, "0", 0, 0, NULL, "", 8}, {0}},
      {{"a", MICA_OPTION_INT, "0", 0, 0, NULL, "", 0}, {0}},
      {ROW(fast, MICA_OPTION_BOOL, "0", 0, 0, NULL), ROW(fast, MICA_OPTION_BOOL, "0", 0, 0, NULL)}};
  c.options_size = sizeof(sample_options);
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    c.options = wrong[i];
    assert_int_equal(mica_engine_register(engine, &c), MICA_ERR_INVALID);
    assert_non_null(strstr(mica_last_error(), "other"));
  }
}

/* ---- options ---- */

static void the_macro_is_the_table(void **state) {
  (void)state;
  assert_initialiser(sample_table, sample_options, SAMPLE_OPTIONS);
}

static void check_builtin_tables(mica_kind kind) {
  const mica_component *c;
  for (int i = 0; (c = mica_component_at(engine, kind, i)); i++) {
    assert_non_null(c->summary);
    for (const mica_option *row = c->options; row && row->name; row++)
      if (!row->help) fail_msg("%s: option %s has no help", c->name, row->name);
  }
}

static void every_option_has_its_help(void **state) {
  (void)state;
  for (int k = 0; k < MICA_KIND_COUNT; k++) check_builtin_tables((mica_kind)k);
}

static void structs_are_completed(void **state) {
  (void)state;
  sample_options given = SAMPLE_OPTIONS, out;
  assert_int_equal(mica_options_complete(sample_table, NULL, &out, sizeof out), MICA_OK);
  assert_int_equal(out.size, sizeof out);
  assert_int_equal(out.steps, 100);
  assert_null(out.callback);
  given.steps = 7;
  given.rate = 0; /* a value, not a default */
  given.callback = abort;
  given.sizes = (mica_ints){1, {5}};
  assert_int_equal(mica_options_complete(sample_table, &given, &out, sizeof out), MICA_OK);
  assert_int_equal(out.steps, 7);
  assert_true(out.rate == 0);
  assert_true(out.callback == abort);
  assert_int_equal(out.sizes.n, 1);
  /* Every shorter struct: whole fields count, others keep their default. */
  for (uint32_t size = 4; size <= sizeof given; size++) {
    given.size = size;
    memset(&out, 0xcd, sizeof out);
    assert_int_equal(mica_options_complete(sample_table, &given, &out, sizeof out), MICA_OK);
    assert_int_equal(out.size, sizeof out);
    assert_int_equal(out.steps, size >= offsetof(sample_options, steps) + 8 ? 7 : 100);
    assert_true(out.rate == (size >= offsetof(sample_options, rate) + 8 ? 0 : 0.5));
    assert_int_equal(out.sizes.n,
                     size >= offsetof(sample_options, sizes) + sizeof(mica_ints) ? 1 : 3);
    assert_int_equal(out.betas.n, 2);
    assert_string_equal(out.teacher, "resnet:depth=20");
  }
  given.size = sizeof given + 100; /* a caller of a later version */
  assert_int_equal(mica_options_complete(sample_table, &given, &out, sizeof out), MICA_OK);
  assert_int_equal(out.size, sizeof out);
  given.size = 3;
  assert_int_equal(mica_options_complete(sample_table, &given, &out, sizeof out), MICA_ERR_INVALID);
}

static void given_values_are_checked(void **state) {
  (void)state;
  sample_options out, good = SAMPLE_OPTIONS, given = good;
  given.steps = 0;
  assert_int_equal(mica_options_complete(sample_table, &given, &out, sizeof out), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "1..1e+06"));
  given = good;
  given.rate = NAN;
  assert_int_equal(mica_options_complete(sample_table, &given, &out, sizeof out), MICA_ERR_INVALID);
  given = good;
  given.mode = 3;
  assert_int_equal(mica_options_complete(sample_table, &given, &out, sizeof out), MICA_ERR_INVALID);
  given.mode = -1;
  assert_int_equal(mica_options_complete(sample_table, &given, &out, sizeof out), MICA_ERR_INVALID);
  given = good;
  given.sizes.n = MICA_LIST_MAX + 1;
  assert_int_equal(mica_options_complete(sample_table, &given, &out, sizeof out), MICA_ERR_INVALID);
  given.sizes.n = -1;
  assert_int_equal(mica_options_complete(sample_table, &given, &out, sizeof out), MICA_ERR_INVALID);
  given = good;
  given.betas.v[1] = 1.5;
  assert_int_equal(mica_options_complete(sample_table, &given, &out, sizeof out), MICA_ERR_INVALID);
}

static void text_is_set_without_a_spec(void **state) {
  (void)state;
  sample_options o = SAMPLE_OPTIONS;
  const char *path = "a/b.bin";
  assert_int_equal(mica_options_set(NULL, sample_table, &o, "file", path), MICA_OK);
  assert_ptr_equal(o.file, path);
  assert_int_equal(mica_options_set(NULL, sample_table, &o, "file", ""), MICA_OK);
  assert_null(o.file);
  assert_int_equal(mica_options_set(NULL, sample_table, &o, "rate", "1e400"), MICA_OK);
  assert_true(isinf(o.rate));
  assert_int_equal(mica_options_set(NULL, sample_table, &o, "rate", "-1"), MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "less than 0"));
  assert_true(isinf(o.rate)); /* a refused value changes nothing */
  assert_int_equal(mica_options_set(NULL, sample_table, &o, "sizes", ""), MICA_OK);
  assert_int_equal(o.sizes.n, 0);
}

/* ---- specifications ---- */

static void specifications_are_parsed(void **state) {
  (void)state;
  mica_spec *spec;
  const sample_options *o = parse("sample", &spec);
  assert_ptr_equal(mica_spec_component(spec), &sample);
  assert_true(o->rate == 0.5 && o->steps == 100 && o->mode == 1 && !o->fast && !o->file);
  mica_spec_free(spec);
  o = parse("sample:fast:steps=1e3:rate=2.5e-1:mode=gem:sizes=1,2,3,4:betas=0.5:file=a=b/c.txt:"
            "teacher=(vit:patch=16:inner=(x:y=1))",
            &spec);
  assert_true(o->fast);
  assert_int_equal(o->steps, 1000);
  assert_true(o->rate == 0.25);
  assert_int_equal(o->mode, 2);
  assert_int_equal(o->sizes.n, 4);
  assert_int_equal(o->sizes.v[3], 4);
  assert_int_equal(o->betas.n, 1);
  assert_string_equal(o->file, "a=b/c.txt");
  assert_string_equal(o->teacher, "vit:patch=16:inner=(x:y=1)");
  mica_spec_free(spec);
  o = parse(" (sample:fast=off:file=(C:/a+b)) ", &spec);
  assert_false(o->fast);
  assert_string_equal(o->file, "C:/a+b");
  mica_spec_free(spec);
  assert_null(parse("plain-2e", &spec));
  mica_spec_free(spec);
  mica_spec_free(NULL);
}

static void wrong_specifications_are_explained(void **state) {
  (void)state;
  refused("", "loss", "nothing");
  refused("()", "loss", "nothing");
  refused(":a=1", "loss", "nothing");
  refused("sampel", "did you mean", "'sample'");
  refused("sample:", "key=value", "sample");
  refused("sample:=3", "key=value", "loss sample");
  refused("sample:ratte=3", "no option 'ratte'", "'rate'");
  refused("sample:zzz=3", "there are: fast, steps", "teacher");
  refused("plain-2e:zzz=3", "there are none", "zzz");
  refused("sample:steps", "steps=VALUE", "an integer");
  refused("sample:steps=", "steps", "an integer");
  refused("sample:steps=x", "'x'", "an integer");
  refused("sample:steps=1.5", "1.5", "an integer");
  refused("sample:steps=1e-3", "1e-3", "an integer");
  refused("sample:steps=99999999999999999999", "steps", "an integer");
  refused("sample:steps=1e300", "steps", "an integer");
  refused("sample:steps=0", "0 is outside", "1..1e+06");
  refused("sample:rate=0,5", "0,5", "a number");
  refused("sample:rate=nan", "rate", "not a number");
  refused("sample:rate=0x10", "0x10", "a number");
  refused("sample:rate=-0.1", "rate", "less than 0");
  refused("sample:mode=min", "'min'", "max|avg|gem");
  refused("sample:mode=max|avg", "mode", "max|avg|gem");
  refused("sample:mode=", "mode", "max|avg|gem");
  refused("sample:fast=2", "'2'", "true or false");
  refused("sample:sizes=1,,2", "sizes", "integers");
  refused("sample:sizes=1,2,", "sizes", "integers");
  refused("sample:sizes=1,65", "65", "1..64");
  refused("sample:sizes=1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1", "sizes", "more than 16");
  refused("sample:betas=0.5,2", "2", "0..1");
  refused("sample:rate=1:rate=1", "rate", "twice");
  refused("sample:teacher=(a", "parentheses", "(a");
  refused("sample:teacher=a)", "parentheses", "a)");
  refused("sample)(", "parentheses", "sample");
  mica_spec *spec;
  assert_int_equal(mica_spec_parse(engine, MICA_KIND_LOSS, NULL, &spec), MICA_ERR_INVALID);
}

static void deep_parentheses_are_no_danger(void **state) {
  (void)state;
  enum { depth = 100000 };
  char *text = malloc(2 * depth + 64);
  strcpy(text, "sample:teacher=");
  size_t n = strlen(text);
  memset(text + n, '(', depth);
  memset(text + n + depth, ')', depth);
  text[n + 2 * depth] = '\0';
  mica_spec *spec;
  const sample_options *o = parse(text, &spec);
  assert_int_equal(strlen(o->teacher), 2 * depth - 2);
  mica_spec_free(spec);
  text[n + 2 * depth - 1] = '\0';
  refused(text, "parentheses", "match");
  free(text);
}

static void specifications_come_back_as_text(void **state) {
  (void)state;
  static const char *const pairs[][2] = {
      {"sample", "sample"},
      {"sample:rate=0.50:mode=avg:sizes=8,16,32", "sample"},
      {"sample:mode=gem:fast", "sample:fast=true:mode=gem"},
      {"sample:sizes=:betas=0.25,1e-3", "sample:sizes=:betas=0.25,0.001"},
      {"sample:teacher=(vit:patch=16)", "sample:teacher=(vit:patch=16)"},
      {"sample:teacher=(vit)", "sample:teacher=vit"},
      {"sample:teacher=", "sample:teacher="},
      {"sample:file=((x))", "sample:file=((x))"},
      {"sample:file=( a )", "sample:file=( a )"},
      {"sample:rate=1e+30", "sample:rate=(1e+30)"},
      {"sample:rate=inf", "sample:rate=inf"},
      {"plain-2e", "plain-2e"}};
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
    mica_spec *spec, *again;
    parse(pairs[i][0], &spec);
    char *text = mica_spec_text(spec);
    assert_non_null(text);
    assert_string_equal(text, pairs[i][1]);
    parse(text, &again);
    char *twice = mica_spec_text(again);
    assert_string_equal(text, twice);
    mica_free(text);
    mica_free(twice);
    mica_spec_free(spec);
    mica_spec_free(again);
  }
}

static void options_can_be_changed_later(void **state) {
  (void)state;
  mica_spec *spec;
  parse("sample:file=one", &spec);
  char text[] = "two";
  sample_options *o = mica_spec_options_mut(spec);
  assert_int_equal(mica_options_set(spec, sample_table, o, "file", text), MICA_OK);
  text[0] = 'x';
  assert_string_equal(o->file, "two");
  assert_int_equal(mica_options_set(spec, sample_table, o, "file", "a)b"), MICA_OK);
  assert_null(mica_spec_text(spec));
  assert_int_equal(mica_last_status(), MICA_ERR_INVALID);
  mica_spec_free(spec);
}

static void sums_are_parsed(void **state) {
  (void)state;
  mica_spec_sum sum;
  assert_int_equal(mica_spec_sum_parse(engine, MICA_KIND_LOSS,
                                       "sample + 0.5*sample:rate=1e+3:file=(a+b*c)+1e+2*(sample:"
                                       "steps=3)+-2 * plain-2e+sample:betas=1e-1,1e+0+plain-2e",
                                       &sum),
                   MICA_OK);
  assert_int_equal(sum.n, 6);
  static const double weight[] = {1, 0.5, 100, -2, 1, 1};
  for (int i = 0; i < 6; i++) assert_true(sum.weight[i] == weight[i]);
  const sample_options *o = mica_spec_options(sum.term[1]);
  assert_true(o->rate == 1000);
  assert_string_equal(o->file, "a+b*c");
  o = mica_spec_options(sum.term[2]);
  assert_int_equal(o->steps, 3);
  assert_ptr_equal(mica_spec_component(sum.term[3]), &plain);
  o = mica_spec_options(sum.term[4]);
  assert_true(o->betas.v[1] == 1);
  mica_spec_sum_free(&sum);
  static const char *const wrong[] = {
      "",        "sample+",   "+sample",      "sample++sample",     "x*sample",  "0.5*",
      "*sample", "0.5sample", "1e999*sample", "sample+(0.5*sample", "2*2*sample"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    mica_status status = mica_spec_sum_parse(engine, MICA_KIND_LOSS, wrong[i], &sum);
    if (!status) fail_msg("'%s' was accepted", wrong[i]);
    assert_int_equal(sum.n, 0);
    assert_null(sum.term);
  }
  assert_int_equal(mica_spec_sum_parse(engine, MICA_KIND_LOSS, NULL, &sum), MICA_ERR_INVALID);
}

static mica_status parse_and_write(void *ctx) {
  mica_engine *own;
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  mica_status status = mica_engine_create(&o, &own);
  if (!status) status = mica_engine_register(own, &sample);
  mica_spec_sum sum = {0, NULL, NULL};
  if (!status) status = mica_spec_sum_parse(own, MICA_KIND_LOSS, ctx, &sum);
  if (!status) {
    char *text = mica_spec_text(sum.term[0]);
    if (!text) status = mica_last_status();
    mica_free(text);
  }
  mica_spec_sum_free(&sum);
  mica_engine_free(own);
  return status;
}

static mica_status unknown_option(void *ctx) {
  (void)ctx;
  mica_spec *spec;
  mica_status status = mica_spec_parse(engine, MICA_KIND_LOSS, "sample:zzz=1", &spec);
  return status == MICA_ERR_INVALID ? MICA_OK : status;
}

static void memory_may_run_out(void **state) {
  (void)state;
  char text[] = "sample:file=x:teacher=(a:b=c)+0.5*sample:sizes=1,2";
  fail_each(parse_and_write, text);
  fail_each(unknown_option, NULL);
}

/* ---- names ---- */

static void near_names_are_found(void **state) {
  (void)state;
  static const char *const names[] = {"adam", "adamw", "sgd", "resnet18", "resnet50", "vit"};
  static const char *const pairs[][2] = {{"adm", "adam"},
                                         {"adma", "adam"},
                                         {"sdg", "sgd"},
                                         {"resnet81", "resnet18"},
                                         {"rsnet50", "resnet50"},
                                         {"resn", "resnet18"},
                                         {"ADAM", NULL},
                                         {"banana", NULL},
                                         {"", NULL},
                                         {"x", NULL}};
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
    const char *found = mica_nearest_name(pairs[i][0], names, 6);
    if (pairs[i][1]) {
      assert_non_null(found);
      assert_string_equal(found, pairs[i][1]);
    } else {
      assert_null(found);
    }
  }
  assert_null(mica_nearest_name("adam", names, 0));
  char longer[500];
  memset(longer, 'a', sizeof longer - 1);
  longer[499] = '\0';
  mica_nearest_name(longer, names, 6);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(kinds_have_names),
      cmocka_unit_test(components_are_found_by_name),
      cmocka_unit_test(wrong_descriptors_are_refused),
      cmocka_unit_test(the_macro_is_the_table),
      cmocka_unit_test(every_option_has_its_help),
      cmocka_unit_test(structs_are_completed),
      cmocka_unit_test(given_values_are_checked),
      cmocka_unit_test(text_is_set_without_a_spec),
      cmocka_unit_test(specifications_are_parsed),
      cmocka_unit_test(wrong_specifications_are_explained),
      cmocka_unit_test(deep_parentheses_are_no_danger),
      cmocka_unit_test(specifications_come_back_as_text),
      cmocka_unit_test(options_can_be_changed_later),
      cmocka_unit_test(sums_are_parsed),
      cmocka_unit_test(memory_may_run_out),
      cmocka_unit_test(near_names_are_found),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
