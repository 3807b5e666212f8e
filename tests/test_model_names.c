/* Names and shapes of the networks against those of the well-known checkpoints, which
 * tests/golden/make_model_names.py wrote down: nothing is missing, nothing is more. */
#include "support/test.h"

#include <mica/model.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mica_engine *engine;

static const struct {
  const char *file, *spec;
  mica_problem problem;
} models[] = {
    {"resnet18", "resnet:depth=18", MICA_PROBLEM_IMAGES(224, 224, 3, 1000)},
    {"resnet34", "resnet:depth=34", MICA_PROBLEM_IMAGES(224, 224, 3, 1000)},
    {"resnet50", "resnet:depth=50", MICA_PROBLEM_IMAGES(224, 224, 3, 1000)},
    {"resnet101", "resnet:depth=101", MICA_PROBLEM_IMAGES(224, 224, 3, 1000)},
    {"resnet152", "resnet:depth=152", MICA_PROBLEM_IMAGES(224, 224, 3, 1000)},
    {"vgg11", "vgg:depth=11:norm=false", MICA_PROBLEM_IMAGES(224, 224, 3, 1000)},
    {"vgg13_bn", "vgg:depth=13", MICA_PROBLEM_IMAGES(224, 224, 3, 1000)},
    {"vgg16_bn", "vgg", MICA_PROBLEM_IMAGES(224, 224, 3, 1000)},
    {"vgg19_bn", "vgg:depth=19", MICA_PROBLEM_IMAGES(224, 224, 3, 1000)},
    {"cifar_vgg16_bn", "vgg:small", MICA_PROBLEM_IMAGES(32, 32, 3, 10)},
    {"cifar_resnet20", "resnet:depth=20", MICA_PROBLEM_IMAGES(32, 32, 3, 10)},
    {"cifar_resnet32", "resnet:depth=32", MICA_PROBLEM_IMAGES(32, 32, 3, 10)},
    {"cifar_resnet44", "resnet:depth=44", MICA_PROBLEM_IMAGES(32, 32, 3, 10)},
    {"cifar_resnet56", "resnet:depth=56", MICA_PROBLEM_IMAGES(32, 32, 3, 10)},
    {"cifar_resnet20_projection", "resnet:depth=20:shortcut=b", MICA_PROBLEM_IMAGES(32, 32, 3, 10)},
    {"vit_tiny_patch16_224", "vit:patch=16:dim=192:depth=12:heads=3",
     MICA_PROBLEM_IMAGES(224, 224, 3, 1000)},
    {"vit_small_patch16_224", "vit:patch=16:dim=384:depth=12:heads=6",
     MICA_PROBLEM_IMAGES(224, 224, 3, 1000)},
    {"vit_base_patch16_224", "vit:patch=16:dim=768:depth=12:heads=12",
     MICA_PROBLEM_IMAGES(224, 224, 3, 1000)},
};

static int check_line(mica_params *p, const char *file, char *line) {
  char *rest = NULL;
  const char *name = strtok_r(line, " \n", &rest);
  mica_shape want = {0, {0}};
  for (const char *d; (d = strtok_r(NULL, " \n", &rest));)
    want.dim[want.rank++] = strtoll(d, NULL, 10);
  const mica_param *q = mica_params_find(p, name);
  if (!q) {
    print_error("%s: there is no %s\n", file, name);
    return 1;
  }
  const mica_shape got = mica_param_reference_shape(q);
  char a[96], b[96];
  if (mica_shape_equal(&got, &want)) return 0;
  print_error("%s: %s is %s, expected %s\n", file, name, mica_shape_text(&got, a, sizeof a),
              mica_shape_text(&want, b, sizeof b));
  return 1;
}

static void test_names_and_shapes(void **state) {
  (void)state;
  int failed = 0;
  for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
    char path[128], line[256];
    mica_net *net;
    snprintf(path, sizeof path, "tests/golden/model_names/%s.txt", models[i].file);
    FILE *f = fopen(path, "r");
    if (!f) fail_msg("no %s", path);
    assert_int_equal(
        mica_net_create(engine, models[i].spec, &models[i].problem, MICA_SEED_NONE, &net), MICA_OK);
    int64_t lines = 0;
    for (; fgets(line, sizeof line, f); lines++)
      failed += check_line(mica_net_params(net), models[i].file, line);
    fclose(f);
    if (mica_params_count(mica_net_params(net)) != lines) {
      print_error("%s: %lld entries, the checkpoint has %lld\n", models[i].file,
                  (long long)mica_params_count(mica_net_params(net)), (long long)lines);
      failed++;
    }
    mica_net_free(net);
  }
  assert_int_equal(failed, 0);
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_names_and_shapes)};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
