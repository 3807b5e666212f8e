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
    WITH(MICA_KIND_MODEL, "vgg", mica_vgg_options, MICA_VGG_OPTIONS),
    WITH(MICA_KIND_MODEL, "efficientnet", mica_efficientnet_options, MICA_EFFICIENTNET_OPTIONS),
    WITH(MICA_KIND_MODEL, "mobilenet", mica_mobilenet_options, MICA_MOBILENET_OPTIONS),
    WITH(MICA_KIND_MODEL, "vit", mica_vit_options, MICA_VIT_OPTIONS),
    WITH(MICA_KIND_MODEL, "clip", mica_clip_options, MICA_CLIP_OPTIONS),
    WITH(MICA_KIND_MODEL, "pointnet", mica_pointnet_options, MICA_POINTNET_OPTIONS),
    WITH(MICA_KIND_MODEL, "dual", mica_dual_options, MICA_DUAL_OPTIONS),
    WITH(MICA_KIND_MODEL, "bert", mica_bert_options, MICA_BERT_OPTIONS),
    WITH(MICA_KIND_MODEL, "lr", mica_lr_options, MICA_LR_OPTIONS),
    WITH(MICA_KIND_MODEL, "fm", mica_fm_options, MICA_FM_OPTIONS),
    WITH(MICA_KIND_MODEL, "deepfm", mica_deepfm_options, MICA_DEEPFM_OPTIONS),
    WITH(MICA_KIND_MODEL, "dcn", mica_dcn_options, MICA_DCN_OPTIONS),
    WITH(MICA_KIND_MODEL, "dcnv2", mica_dcnv2_options, MICA_DCNV2_OPTIONS),
    WITH(MICA_KIND_MODEL, "dlrm", mica_dlrm_options, MICA_DLRM_OPTIONS),
    WITH(MICA_KIND_MODEL, "gpt", mica_gpt_options, MICA_GPT_OPTIONS),
    WITH(MICA_KIND_ESTIMATOR, "zero_shot", mica_zero_shot_options, MICA_ZERO_SHOT_OPTIONS),
    WITH(MICA_KIND_LAYER, "cosine", mica_cosine_head_options, MICA_COSINE_HEAD_OPTIONS),
    WITH(MICA_KIND_LOSS, "ce", mica_ce_options, MICA_CE_OPTIONS),
    WITH(MICA_KIND_LOSS, "kd", mica_kd_options, MICA_KD_OPTIONS),
    WITH(MICA_KIND_LOSS, "dkd", mica_dkd_options, MICA_DKD_OPTIONS),
    WITH(MICA_KIND_LOSS, "dist", mica_dist_options, MICA_DIST_OPTIONS),
    WITH(MICA_KIND_LOSS, "nd", mica_nd_options, MICA_ND_OPTIONS),
    WITH(MICA_KIND_LOSS, "review", mica_review_options, MICA_REVIEW_OPTIONS),
    WITH(MICA_KIND_SCHEME, "distil", mica_distil_options, MICA_DISTIL_OPTIONS),
    WITH(MICA_KIND_LOSS, "bce", mica_bce_options, MICA_BCE_OPTIONS),
    WITH(MICA_KIND_LOSS, "huber", mica_huber_options, MICA_HUBER_OPTIONS),
    WITH(MICA_KIND_LOSS, "hinge", mica_hinge_options, MICA_HINGE_OPTIONS),
    WITH(MICA_KIND_LOSS, "focal", mica_focal_options, MICA_FOCAL_OPTIONS),
    WITH(MICA_KIND_LOSS, "binary_focal", mica_focal_options, MICA_FOCAL_OPTIONS),
    WITH(MICA_KIND_LOSS, "triplet", mica_triplet_options, MICA_TRIPLET_OPTIONS),
    WITH(MICA_KIND_LOSS, "contrastive", mica_contrastive_options, MICA_CONTRASTIVE_OPTIONS),
    WITH(MICA_KIND_LOSS, "constellation", mica_constellation_options, MICA_CONSTELLATION_OPTIONS),
    WITH(MICA_KIND_LOSS, "prototypical", mica_prototypical_options, MICA_PROTOTYPICAL_OPTIONS),
    WITH(MICA_KIND_LAYER, "linear", mica_linear_head_options, MICA_LINEAR_HEAD_OPTIONS),
    WITH(MICA_KIND_LOSS, "local_triplet", mica_local_triplet_options, MICA_LOCAL_TRIPLET_OPTIONS),
    WITH(MICA_KIND_LOSS, "dice", mica_dice_options, MICA_DICE_OPTIONS),
    WITH(MICA_KIND_OPTIMISER, "sgd", mica_sgd_options, MICA_SGD_OPTIONS),
    WITH(MICA_KIND_OPTIMISER, "adam", mica_adam_options, MICA_ADAM_OPTIONS),
    WITH(MICA_KIND_OPTIMISER, "adamw", mica_adam_options, MICA_ADAMW_OPTIONS),
    WITH(MICA_KIND_OPTIMISER, "adagrad", mica_adagrad_options, MICA_ADAGRAD_OPTIONS),
    WITH(MICA_KIND_OPTIMISER, "rmsprop", mica_rmsprop_options, MICA_RMSPROP_OPTIONS),
    WITH(MICA_KIND_OPTIMISER, "lamb", mica_lamb_options, MICA_LAMB_OPTIONS),
    WITH(MICA_KIND_OPTIMISER, "lars", mica_lars_options, MICA_LARS_OPTIONS),
    WITH(MICA_KIND_OPTIMISER, "rsgd", mica_rsgd_options, MICA_RSGD_OPTIONS),
    WITH(MICA_KIND_LAYER, "bt2", mica_bt2_options, MICA_BT2_OPTIONS),
    WITH(MICA_KIND_SCHEME, "compatible", mica_compatible_options, MICA_COMPATIBLE_OPTIONS),
    WITH(MICA_KIND_LAYER, "moment", mica_moment_options, MICA_MOMENT_OPTIONS),
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

/* Each of the list is there once; components that are not in it have options by text alone. */
static void test_no_component_is_listed_twice(void **state) {
  (void)state;
  for (size_t i = 0; i < N_WITH; i++)
    for (size_t k = 0; k < i; k++)
      assert_false(with_macro[i].kind == with_macro[k].kind &&
                   strcmp(with_macro[i].name, with_macro[k].name) == 0);
}

/* Options of functions and objects that are not chosen by name. */
static const char *const without_table[] = {
    "ATTENTION",        //
    "BAR_CHART",        //
    "CLEAN",            //
    "CONFUSION",        //
    "CONV",             //
    "CONV3D",           //
    "COSINE",           //
    "CROSS_ENTROPY",    //
    "DATASET",          //
    "DATASET_STREAM",   //
    "DATA_TABLE",       //
    "EXPLAIN",          //
    "ENCODE",           //
    "ENGINE",           //
    "FRONT",            //
    "GENERATOR",        //
    "GRID_SAMPLE",      //
    "HEAT_MAP",         //
    "HISTOGRAM",        //
    "HOG",              //
    "IMAGE_GRID",       //
    "INDEX_QUERY",      //
    "LOCALITY",         // batches, by hand
    "INTERACTIONS",     //
    "KMEANS",           //
    "QAP",              //
    "QUANTISER",        //
    "RETRIEVER",        // training, by hand
    "RETRIEVER_LOSS",   //
    "KV_CACHE",         //
    "LEARNING_CURVE",   //
    "LINE_CHART",       //
    "LOAD",             //
    "LOW_RANK",         //
    "LONG_CONVOLUTION", //
    "MAP",              //
    "MIXED_STREAM",     //
    "NEGATIVE",         //
    "PRUNE",            //
    "NORM",             //
    "PAPER",            //
    "PICTURE_VIEWS",    //
    "POOL",             //
    "POOL3D",           //
    "RECURRENCE",       //
    "REPORT",           //
    "RESIZE",           //
    "RETRIEVAL",        //
    "ROC",              //
    "ROTARY",           //
    "RUN",              //
    "SCATTER",          //
    "SELECT",           //
    "SPLIT",            //
    "TABLE",            //
    "TAPE",             //
    "TOKEN_TEXT",       //
    "TRAIN",            //
    "TRANSFORM",        //
    "TRAIN_EMBEDDING",  //
    "TRAIN_MANY",       //
    "UNFOLD",           //
};

static void test_every_macro_is_listed(void **state) {
  (void)state;
  /* The headers' macros, one a line: NAME of MICA_NAME_OPTIONS. */
  FILE *f =
      popen("sed -n 's/^#define MICA_\\([A-Z0-9_]*\\)_OPTIONS .*/\\1/p' include/mica/*.h", "r");
  assert_non_null(f);
  char name[80], macro[100];
  int missing = 0, seen = 0;
  while (fgets(name, sizeof name, f)) {
    name[strcspn(name, "\n")] = 0;
    snprintf(macro, sizeof macro, "MICA_%s_OPTIONS", name);
    bool found = false;
    for (size_t i = 0; i < sizeof without_table / sizeof *without_table; i++)
      found |= strcmp(without_table[i], name) == 0;
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
                                     cmocka_unit_test(test_no_component_is_listed_twice),
                                     cmocka_unit_test(test_every_macro_is_listed)};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  mica_engine_free(engine);
  return failed;
}
