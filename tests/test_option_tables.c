/* Every options struct of a component against the component's table: its initialiser macro gives
 * the table's defaults, field by field.
 *
 * No component can be missed: each with a table is in one of the two lists, and each initialiser
 * macro of the public headers is one of a component's or in the list of those that have no table.
 */
#include "support/option_table.h"

#include <mica/mica.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WITH(kind, name, type, macro)                                                              \
  { kind, name, &(const type)macro, sizeof(type), #macro }
static const struct {
  mica_kind kind;
  const char *name;
  const void *initialised;
  size_t bytes;
  const char *macro;
} with_macro[] = {
    WITH(MICA_KIND_MODEL, "mlp", mica_mlp_options, MICA_MLP_OPTIONS),
    WITH(MICA_KIND_MODEL, "convnet", mica_convnet_options, MICA_CONVNET_OPTIONS),
    WITH(MICA_KIND_MODEL, "resnet", mica_resnet_options, MICA_RESNET_OPTIONS),
    WITH(MICA_KIND_MODEL, "vit", mica_vit_options, MICA_VIT_OPTIONS),
    WITH(MICA_KIND_MODEL, "clip", mica_clip_options, MICA_CLIP_OPTIONS),
    WITH(MICA_KIND_MODEL, "bert", mica_bert_options, MICA_BERT_OPTIONS),
    WITH(MICA_KIND_MODEL, "lr", mica_lr_options, MICA_LR_OPTIONS),
    WITH(MICA_KIND_MODEL, "fm", mica_fm_options, MICA_FM_OPTIONS),
    WITH(MICA_KIND_MODEL, "deepfm", mica_deepfm_options, MICA_DEEPFM_OPTIONS),
    WITH(MICA_KIND_MODEL, "dcn", mica_dcn_options, MICA_DCN_OPTIONS),
    WITH(MICA_KIND_MODEL, "dcnv2", mica_dcnv2_options, MICA_DCNV2_OPTIONS),
    WITH(MICA_KIND_MODEL, "dlrm", mica_dlrm_options, MICA_DLRM_OPTIONS),
    WITH(MICA_KIND_MODEL, "gpt", mica_gpt_options, MICA_GPT_OPTIONS),
    WITH(MICA_KIND_LOSS, "ce", mica_ce_options, MICA_CE_OPTIONS),
    WITH(MICA_KIND_LOSS, "kd", mica_kd_options, MICA_KD_OPTIONS),
    WITH(MICA_KIND_LOSS, "bce", mica_bce_options, MICA_BCE_OPTIONS),
    WITH(MICA_KIND_LOSS, "huber", mica_huber_options, MICA_HUBER_OPTIONS),
    WITH(MICA_KIND_LOSS, "hinge", mica_hinge_options, MICA_HINGE_OPTIONS),
    WITH(MICA_KIND_LOSS, "focal", mica_focal_options, MICA_FOCAL_OPTIONS),
    WITH(MICA_KIND_LOSS, "binary_focal", mica_focal_options, MICA_FOCAL_OPTIONS),
    WITH(MICA_KIND_LOSS, "dice", mica_dice_options, MICA_DICE_OPTIONS),
    WITH(MICA_KIND_OPTIMISER, "sgd", mica_sgd_options, MICA_SGD_OPTIONS),
    WITH(MICA_KIND_OPTIMISER, "adam", mica_adam_options, MICA_ADAM_OPTIONS),
    WITH(MICA_KIND_OPTIMISER, "adamw", mica_adam_options, MICA_ADAMW_OPTIONS),
    WITH(MICA_KIND_OPTIMISER, "adagrad", mica_adagrad_options, MICA_ADAGRAD_OPTIONS),
    WITH(MICA_KIND_OPTIMISER, "rmsprop", mica_rmsprop_options, MICA_RMSPROP_OPTIONS),
    WITH(MICA_KIND_OPTIMISER, "lamb", mica_lamb_options, MICA_LAMB_OPTIONS),
    WITH(MICA_KIND_OPTIMISER, "lars", mica_lars_options, MICA_LARS_OPTIONS),
    WITH(MICA_KIND_SCHEDULE, "polynomial", mica_schedule_options, MICA_SCHEDULE_OPTIONS),
    WITH(MICA_KIND_SCHEDULE, "inverse-sqrt", mica_schedule_options, MICA_SCHEDULE_OPTIONS),
    WITH(MICA_KIND_SCHEDULE, "step", mica_schedule_options, MICA_SCHEDULE_OPTIONS),
    WITH(MICA_KIND_SCHEDULE, "wsd", mica_wsd_options, MICA_WSD_OPTIONS),
    WITH(MICA_KIND_SCHEDULE, "onecycle", mica_onecycle_options, MICA_ONECYCLE_OPTIONS),
    WITH(MICA_KIND_SCHEDULE, "constant", mica_schedule_options, MICA_SCHEDULE_OPTIONS),
    WITH(MICA_KIND_SCHEDULE, "multi-step", mica_schedule_options, MICA_SCHEDULE_OPTIONS),
    WITH(MICA_KIND_SCHEDULE, "cosine", mica_schedule_options, MICA_SCHEDULE_OPTIONS),
    WITH(MICA_KIND_SCHEDULE, "linear", mica_schedule_options, MICA_SCHEDULE_OPTIONS),
};
#define N_WITH (sizeof with_macro / sizeof *with_macro)

/* Options by text alone: the struct is the component's own. */
static const struct {
  mica_kind kind;
  const char *name;
} by_text[] = {
    {MICA_KIND_STAGE, "stage"},        {MICA_KIND_ADAPTER, "lora"},
    {MICA_KIND_ESTIMATOR, "logistic"}, {MICA_KIND_ESTIMATOR, "ridge"},
    {MICA_KIND_ESTIMATOR, "knn"},      {MICA_KIND_ESTIMATOR, "prototypes"},
    {MICA_KIND_ESTIMATOR, "gaussian"},
};

static mica_engine *engine;

static void test_macros_are_the_defaults(void **state) {
  (void)state;
  for (size_t i = 0; i < N_WITH; i++) {
    const mica_component *c = mica_component_find(engine, with_macro[i].kind, with_macro[i].name);
    if (!c) fail_msg("%s", mica_last_error());
    assert_int_equal(c->options_size, with_macro[i].bytes);
    check_initialiser(c->options, with_macro[i].initialised, with_macro[i].bytes,
                      with_macro[i].macro);
  }
}

static void test_every_component_is_listed(void **state) {
  (void)state;
  int missing = 0, seen = 0;
  for (int kind = 0; kind < MICA_KIND_COUNT; kind++) {
    const mica_component *c;
    for (int k = 0; (c = mica_component_at(engine, (mica_kind)kind, k)); k++) {
      if (!c->options || !c->options[0].name) continue;
      int found = 0;
      seen++;
      for (size_t i = 0; i < N_WITH; i++)
        found += (int)with_macro[i].kind == kind && strcmp(with_macro[i].name, c->name) == 0;
      for (size_t i = 0; i < sizeof by_text / sizeof *by_text; i++)
        found += (int)by_text[i].kind == kind && strcmp(by_text[i].name, c->name) == 0;
      if (found != 1) {
        print_error("%s %s is in %d of the lists of %s\n", mica_kind_name((mica_kind)kind), c->name,
                    found, __FILE__);
        missing++;
      }
    }
  }
  assert_true(seen >= (int)N_WITH);
  assert_int_equal(missing, 0);
}

/* Options of functions and objects that are not chosen by name. */
static const char without_table[] =
    " DATASET ENGINE LOAD KMEANS MAP CONV POOL ATTENTION ROTARY KV_CACHE GENERATOR CROSS_ENTROPY "
    "LINE_CHART SCATTER "
    "BAR_CHART "
    "HISTOGRAM HEAT_MAP CONFUSION ROC IMAGE_GRID TABLE REPORT RUN TAPE DATASET_STREAM TRAIN "
    "TRAIN_MANY "
    "DATA_TABLE INTERACTIONS SPLIT NEGATIVE MIXED_STREAM ENCODE TOKEN_TEXT "
    "RESIZE CONV3D POOL3D UNFOLD GRID_SAMPLE RECURRENCE LONG_CONVOLUTION ";

static void test_every_macro_is_listed(void **state) {
  (void)state;
  /* The headers' macros, one a line: NAME of MICA_NAME_OPTIONS. */
  FILE *f =
      popen("sed -n 's/^#define MICA_\\([A-Z0-9_]*\\)_OPTIONS .*/\\1/p' include/mica/*.h", "r");
  assert_non_null(f);
  char name[80], word[84], macro[100];
  int missing = 0, seen = 0;
  while (fgets(name, sizeof name, f)) {
    name[strcspn(name, "\n")] = 0;
    snprintf(word, sizeof word, " %s ", name);
    snprintf(macro, sizeof macro, "MICA_%s_OPTIONS", name);
    bool found = strstr(without_table, word) != NULL;
    for (size_t i = 0; i < N_WITH; i++) found |= strcmp(with_macro[i].macro, macro) == 0;
    if (!found) {
      print_error("%s is in no list of %s\n", macro, __FILE__);
      missing++;
    }
    seen++;
  }
  assert_int_equal(pclose(f), 0);
  assert_true(seen > 20);
  assert_int_equal(missing, 0);
}

int main(void) {
  if (mica_engine_create(NULL, &engine) != MICA_OK) return 1;
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_macros_are_the_defaults),
                                     cmocka_unit_test(test_every_component_is_listed),
                                     cmocka_unit_test(test_every_macro_is_listed)};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
