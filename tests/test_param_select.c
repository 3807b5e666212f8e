/* Selections of parameters, what is trained and what is frozen, and the sizes of the residual
 * networks whose batch norm alone is trained. */
#include "support/test.h"

#include <mica/loss.h>
#include <mica/model.h>
#include <mica/optim.h>

#include <string.h>

static mica_engine *engine;

static mica_net *net_of(const char *spec, mica_problem problem) {
  mica_net *net;
  if (mica_net_create(engine, spec, &problem, 5, &net) != MICA_OK)
    fail_msg("%s: %s", spec, mica_last_error());
  return net;
}

static const mica_problem pictures = MICA_PROBLEM_IMAGES(8, 8, 3, 10);

/* ---- the texts ---- */

static void test_words_and_patterns(void **state) {
  (void)state;
  static const struct {
    const char *selection;
    int64_t count, elements;
  } cases[] = {
      /* conv1, bn1; three blocks of two convolutions with their norms, two shortcuts; linear */
      {"all", 9 + 9 * 2 + 2,
       4 * 3 * 9 + 2 * 16 * 9 + 32 * 9 + 64 * 9 + 128 * 9 + 256 * 9 + 32 + 128 +
           2 * (3 * 4 + 3 * 8 + 3 * 16) + 160 + 10},
      {"bn", 18, 2 * (3 * 4 + 3 * 8 + 3 * 16)},
      {"norm", 18, 168},
      {"conv", 9, 108 + 288 + 288 + 576 + 1152 + 2304 + 160},
      {"linear", 2, 170},
      {"output", 2, 170},
      {"linear.*", 2, 170},
      {"shortcut", 6, 32 + 16 + 128 + 32},
      {"shortcut&conv", 2, 160},
      {"conv & !shortcut", 7, 4716},
      {"bn&bias", 9, 84},
      {"!bn&!output", 9, 4876},
      {"bn,output", 20, 338},
      {" bn , !all ", 18, 168},
      {"layer1.*", 6, 304},
      {"layer[23].0.bn?.weight,conv1.*", 5, 108 + 48},
      {"!!bias", 10, 94},
  };
  mica_net *net = net_of("resnet:depth=8:width=4:shortcut=b", pictures);
  const mica_params *p = mica_net_params(net);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    int64_t count, elements;
    if (mica_params_select(p, cases[i].selection, &count, &elements) != MICA_OK)
      fail_msg("%s: %s", cases[i].selection, mica_last_error());
    if (count != cases[i].count || elements != cases[i].elements)
      fail_msg("%s: %lld entries of %lld elements", cases[i].selection, (long long)count,
               (long long)elements);
  }
  mica_net_free(net);
}

static void test_refusals(void **state) {
  (void)state;
  mica_net *net = net_of("resnet:depth=8:width=4", pictures);
  mica_params *p = mica_net_params(net);
  const int64_t before = mica_params_trained(p);
  char longest[600];
  memset(longest, 'a', sizeof longest);
  longest[sizeof longest - 1] = 0;
  const char *const wrong[] = {"", ",", "bn,", "bn&", "&bn", "!", "bn,,conv", longest, NULL};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    assert_int_equal(mica_params_train_only(p, wrong[i]), MICA_ERR_INVALID);
    assert_non_null(strstr(mica_last_error(), "no selection of parameters"));
    assert_false(mica_param_selected(mica_params_at(p, 0), wrong[i]));
  }
  assert_int_equal(mica_params_freeze(p, "shortcut"), MICA_ERR_NOT_FOUND);
  assert_non_null(strstr(mica_last_error(), "'shortcut' matches no parameter"));
  assert_int_equal(mica_params_train_also(p, "conf"), MICA_ERR_NOT_FOUND);
  assert_non_null(strstr(mica_last_error(), "is 'conv' meant?"));
  /* Running statistics are selected where values are copied, and never trained. */
  assert_true(mica_param_selected(mica_params_find(p, "bn1.running_mean"), "bn"));
  assert_int_equal(mica_params_train_only(p, "*running_mean"), MICA_ERR_NOT_FOUND);
  assert_int_equal(mica_params_trained(p), before);
  const char *help, *word, *last = "";
  for (int i = 0; (word = mica_selection_word(i, &help)); i++) {
    assert_true(strcmp(last, word) < 0 && *help);
    last = word;
  }
  assert_null(mica_selection_word(-1, NULL));
  mica_net_free(net);
}

/* The words hold for other architectures, and for a head that came later. */
static void test_other_networks(void **state) {
  (void)state;
  static const struct {
    const char *spec, *selection;
    int64_t elements;
  } cases[] = {
      {"vgg:depth=11:width=2:small", "bn", 2 * (2 + 4 + 8 + 8 + 4 * 16)},
      {"vgg:depth=11:width=2:small", "output", 170},
      {"vit:patch=4:dim=8:depth=1:heads=2", "norm", 3 * 16},
      {"vit:patch=4:dim=8:depth=1:heads=2", "conv", 8 * 48 + 8},
      {"vit:patch=4:dim=8:depth=1:heads=2", "embedding", 5 * 8},
      {"convnet:widths=2,4", "bn", 24},
      {"mlp:hidden=5", "output", 60},
      {"mlp:hidden=5", "linear&!output", 5 * 193},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    mica_net *net = net_of(cases[i].spec, pictures);
    int64_t elements = 0;
    mica_params_select(mica_net_params(net), cases[i].selection, NULL, &elements);
    if (elements != cases[i].elements)
      fail_msg("%s %s: %lld", cases[i].spec, cases[i].selection, (long long)elements);
    mica_net_free(net);
  }
  mica_problem headless = pictures;
  headless.classes = 0;
  mica_net *net = net_of("resnet:depth=8:width=4", headless);
  assert_int_equal(mica_params_select(mica_net_params(net), "output", NULL, NULL),
                   MICA_ERR_NOT_FOUND);
  assert_int_equal(mica_net_set_classes(net, 3), MICA_OK);
  int64_t elements;
  assert_int_equal(mica_params_select(mica_net_params(net), "output", NULL, &elements), MICA_OK);
  assert_int_equal(elements, 51);
  mica_net_free(net);
}

/* ---- the sizes that the paper gives ---- */

static void test_parameter_counts(void **state) {
  (void)state;
  static const struct {
    const char *spec;
    int64_t bn, all, output;
  } cases[] = {
      {"resnet:depth=14:shortcut=b", 1120, 175258, 650},
      {"resnet:depth=32:shortcut=b", 2464, 466906, 650},
      {"resnet:depth=56:shortcut=b", 4256, 855770, 650},
      {"resnet:depth=110:shortcut=b", 8288, 1730714, 650},
      {"resnet:depth=218:shortcut=b", 16352, 3480602, 650},
      {"resnet:depth=14:width=32:shortcut=b", 2240, 696618, 1290},
      /* By the same rule, and torchvision's. */
      {"resnet:depth=434:shortcut=b", 32480, 6980378, 650},
      {"resnet:depth=866:shortcut=b", 64736, 13979930, 650},
      {"resnet:depth=200:form=cifar:shortcut=b", 15008, 3188954, 650},
      {"resnet:depth=18", 9600, 11181642, 5130},
  };
  const mica_problem cifar = MICA_PROBLEM_IMAGES(32, 32, 3, 10);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    mica_net *net;
    assert_int_equal(mica_net_create(engine, cases[i].spec, &cifar, MICA_SEED_NONE, &net), MICA_OK);
    mica_params *p = mica_net_params(net);
    assert_int_equal(mica_params_trained(p), cases[i].all);
    assert_int_equal(mica_params_train_only(p, "bn"), MICA_OK);
    assert_int_equal(mica_params_trained(p), cases[i].bn);
    assert_int_equal(mica_params_train_also(p, "output"), MICA_OK);
    assert_int_equal(mica_params_trained(p), cases[i].bn + cases[i].output);
    assert_int_equal(mica_params_freeze(p, "bn"), MICA_OK);
    assert_int_equal(mica_params_trained(p), cases[i].output);
    mica_net_free(net);
  }
}

static void test_resnet_forms(void **state) {
  (void)state;
  static const struct {
    const char *spec;
    bool block3; /* of the second stage of four */
  } cases[] = {{"resnet:depth=152:width=4", true},
               {"resnet:depth=200:width=4", true},
               {"resnet:depth=50:width=4:form=cifar", false},
               {"resnet:depth=34:width=4:form=imagenet", true}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    mica_net *net = net_of(cases[i].spec, pictures);
    assert_int_equal(mica_params_find(mica_net_params(net), "layer4.0.conv1.weight") != NULL,
                     cases[i].block3);
    mica_net_free(net);
  }
  mica_net *net;
  assert_int_equal(mica_net_create(engine, "resnet:depth=20:form=imagenet", &pictures, 1, &net),
                   MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "18, 34, 50, 101, 152, 200"));
  assert_null(strstr(mica_last_error(), "6 n + 2"));
  assert_int_equal(mica_net_create(engine, "resnet:depth=34:form=cifar", &pictures, 1, &net),
                   MICA_ERR_INVALID);
  assert_non_null(strstr(mica_last_error(), "expected 6 n + 2"));
}

/* ---- training a part ---- */

typedef struct trial {
  mica_net *net;
  mica_tape *tape;
  mica_tensor *x, *labels;
} trial;

static trial begin(const char *spec) {
  trial r = {.net = net_of(spec, pictures)};
  assert_int_equal(mica_tape_create(engine, NULL, &r.tape), MICA_OK);
  assert_int_equal(mica_tensor_create(MICA_F32, MICA_SHAPE(6, 8, 8, 3), &r.x), MICA_OK);
  assert_int_equal(mica_tensor_create(MICA_I64, MICA_SHAPE(6), &r.labels), MICA_OK);
  for (int64_t i = 0; i < mica_tensor_count(r.x); i++)
    mica_tensor_set(r.x, i, mica_random_normal(mica_key_seed(2), (uint64_t)i));
  for (int64_t i = 0; i < 6; i++) mica_tensor_set(r.labels, i, (double)(i % 10));
  return r;
}

static void backward(trial *r) {
  mica_outputs out;
  mica_params_zero_grad(mica_net_params(r->net));
  mica_tape_reset(r->tape);
  mica_set_training(r->tape, true);
  mica_net_forward(r->tape, r->net, mica_input(r->tape, r->x), &out);
  const mica_var loss =
      mica_cross_entropy(r->tape, out.logits, mica_input(r->tape, r->labels), MICA_NONE, NULL);
  if (mica_backward(r->tape, loss) != MICA_OK) fail_msg("%s", mica_last_error());
  assert_int_equal(mica_commit(r->tape), MICA_OK);
}

static void end(trial *r) {
  mica_tape_free(r->tape);
  mica_tensor_free(r->x);
  mica_tensor_free(r->labels);
  mica_net_free(r->net);
}

static size_t bytes_of(const mica_param *q) {
  const mica_tensor *v = mica_param_value(q);
  return (size_t)mica_tensor_count(v) * mica_dtype_size(mica_tensor_dtype(v));
}

static void same_gradient(mica_param *a, mica_param *b) {
  const mica_view ga = mica_param_grad(a), gb = mica_param_grad(b);
  assert_non_null(ga.data);
  if (memcmp(ga.data, gb.data, bytes_of(a)) != 0)
    fail_msg("the gradient of %s is another", mica_param_path(a));
}

/* What is frozen has no gradient and what is not has the same as if all were trained; after steps
 * with momentum and decay no frozen element has changed, and the statistics have. */
static void test_frozen_weights(void **state) {
  (void)state;
  trial all = begin("resnet:depth=8:width=4:shortcut=b"),
        part = begin("resnet:depth=8:width=4:shortcut=b");
  mica_params *p = mica_net_params(part.net), *before;
  assert_int_equal(mica_params_train_only(p, "bn"), MICA_OK);
  assert_int_equal(mica_params_decay_only(p, "all"), MICA_OK);
  backward(&all);
  backward(&part);
  for (int64_t i = 0; i < mica_params_count(p); i++) {
    mica_param *q = mica_params_at(p, i);
    if (mica_param_flags(q) & MICA_PARAM_TRAINABLE)
      same_gradient(q, mica_params_find(mica_net_params(all.net), mica_param_path(q)));
    else
      assert_int_equal(mica_param_grad_kind(q), MICA_GRAD_NONE);
  }
  assert_int_equal(mica_params_clone(p, &before), MICA_OK);
  mica_optimiser *opt;
  assert_int_equal(mica_optimiser_create(p, "sgd:lr=0.1:momentum=0.9:weight_decay=0.1", &opt),
                   MICA_OK);
  for (int i = 0; i < 3; i++) {
    backward(&part);
    assert_int_equal(mica_optimiser_step(opt, part.tape, 1), MICA_OK);
  }
  for (int64_t i = 0; i < mica_params_count(p); i++) {
    const mica_param *q = mica_params_at(p, i), *old = mica_params_at(before, i);
    const bool changed = memcmp(mica_tensor_data(mica_param_value(q)),
                                mica_tensor_data(mica_param_value(old)), bytes_of(q)) != 0;
    if (changed != mica_param_selected(q, "bn")) /* running statistics are of it */
      fail_msg("%s %s", mica_param_path(q), changed ? "changed" : "did not change");
  }
  mica_optimiser_free(opt);
  mica_params_free(before);
  end(&all);
  end(&part);
}

/* ---- blocks that are run again in backward ---- */

static void test_recomputed_blocks(void **state) {
  (void)state;
  static const char *const specs[][2] = {
      {"resnet:depth=14:width=4:shortcut=b", "resnet:depth=14:width=4:shortcut=b:recompute"},
      {"resnet:depth=14:width=4", "resnet:depth=14:width=4:recompute"},
      {"resnet:depth=50:width=4:small", "resnet:depth=50:width=4:small:recompute"}};
  static const char *const trained[] = {"all", "bn", "layer2.*"};
  for (size_t k = 0; k < 3; k++)
    for (size_t i = 0; i < 3; i++) {
      trial a = begin(specs[k][0]), b = begin(specs[k][1]);
      mica_params *pa = mica_net_params(a.net), *pb = mica_net_params(b.net);
      assert_int_equal(mica_params_train_only(pa, trained[i]), MICA_OK);
      assert_int_equal(mica_params_train_only(pb, trained[i]), MICA_OK);
      backward(&a);
      backward(&b);
      for (int64_t q = 0; q < mica_params_count(pa); q++) {
        mica_param *x = mica_params_at(pa, q), *y = mica_params_at(pb, q);
        if (mica_param_flags(x) & MICA_PARAM_TRAINABLE)
          same_gradient(x, y);
        else /* running statistics are committed once */
          assert_memory_equal(mica_tensor_data(mica_param_value(x)),
                              mica_tensor_data(mica_param_value(y)), bytes_of(x));
      }
      end(&a);
      end(&b);
    }
}

/* The deepest network of the paper, narrow: hundreds of blocks go through. */
static void test_depth_866(void **state) {
  (void)state;
  trial r = begin("resnet:depth=866:width=1:shortcut=b:recompute");
  mica_params *p = mica_net_params(r.net);
  assert_int_equal(mica_params_train_only(p, "bn"), MICA_OK);
  backward(&r);
  assert_true(mica_params_grad_norm(p) > 0);
  end(&r);
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_words_and_patterns), cmocka_unit_test(test_refusals),
      cmocka_unit_test(test_other_networks),     cmocka_unit_test(test_parameter_counts),
      cmocka_unit_test(test_resnet_forms),       cmocka_unit_test(test_frozen_weights),
      cmocka_unit_test(test_recomputed_blocks),  cmocka_unit_test(test_depth_866),
  };
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
