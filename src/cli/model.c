/* mica model: published networks, listed and fetched, and folders of another library read.
 *
 * `get NAME` leaves two files in the models' folder: the publisher's own, and NAME.mica, the same
 * weights as a model file with the preprocessing that they were trained with.
 */
#include "cli/get.h"
#include "cli/text.h"

#include <mica/model.h>

#include "base/file.h"

#include <string.h>

static mica_status convert(const cli_args *a, const catalogue_item *item, const char *from,
                           const char *record, const char *to) {
  mica_engine *engine = NULL;
  mica_net *net = NULL;
  mica_load_report report = {0};
  const mica_problem problem =
      MICA_PROBLEM_IMAGES(item->side, item->side, item->channels, item->n_classes);
  mica_preprocess p = {.height = item->side,
                       .width = item->side,
                       .channels = item->channels,
                       .crop = item->crop,
                       .interpolation = item->interpolation};
  memcpy(p.mean, item->mean, sizeof p.mean);
  memcpy(p.deviation, item->deviation, sizeof p.deviation);
  mica_status status = cli_engine(a, &engine);
  if (status == MICA_OK) status = mica_net_create(engine, item->architecture, &problem, 0, &net);
  if (status == MICA_OK) status = mica_params_load(mica_net_params(net), from, NULL, &report);
  if (status == MICA_OK && (report.missing || report.reshaped))
    status = mica_fail(MICA_ERR_FORMAT, "%s: does not fill %s:\n%s", from, item->architecture,
                       report.text ? report.text : "");
  if (status == MICA_OK) status = mica_net_save(net, &p, item->classes, record, to);
  mica_free(report.text);
  mica_net_free(net);
  mica_engine_free(engine);
  return status;
}

static mica_status get(const cli_args *a, const catalogue_item *item, const char *folder) {
  char sha256[CATALOGUE_FILES][65] = {{0}}, name[160];
  snprintf(name, sizeof name, "%s.mica", item->name);
  char *to = mica_path_join(folder, name), *from = mica_path_join(folder, item->file[0].name);
  char *record = NULL;
  mica_status status = to && from ? MICA_OK : mica_fail(MICA_ERR_MEMORY, "out of memory");
  if (status == MICA_OK && mica_file_exists(to) && !cli_on(a, "--force")) {
    if (!cli_on(a, "--json")) fprintf(stderr, "already here; --force fetches it again\n");
  } else if (status == MICA_OK) {
    status = get_file(a, item, 0, folder, sha256[0]);
    if (status == MICA_OK && !(record = get_record(item, sha256)))
      status = mica_fail(MICA_ERR_MEMORY, "out of memory");
    if (status == MICA_OK && !item->architecture)
      status = mica_fail(MICA_ERR_UNSUPPORTED, "%s: the catalogue names no architecture for it",
                         item->name);
    if (status == MICA_OK) status = convert(a, item, from, record, to);
  }
  if (status == MICA_OK) cli_result(a, "model", to);
  mica_free(record);
  mica_free(from);
  mica_free(to);
  return status;
}

static int import(const cli_args *a) {
  const char *out = cli_text(a, "--out");
  if (a->n_operands < 2) return cli_usage(a, "import which folder?");
  if (!out) out = "model.mica";
  if (cli_import_folder(a, a->operand[1], out) != MICA_OK) return cli_failed(a);
  cli_result(a, "model", out);
  return EXIT_OK;
}

static int run(const cli_args *a) {
  if (strcmp(a->operand[0], "list") == 0) return get_list(a, CATALOGUE_MODELS);
  if (strcmp(a->operand[0], "import") == 0) return import(a);
  if (strcmp(a->operand[0], "get") != 0)
    return cli_usage(a, "'%s' is neither list, get nor import", a->operand[0]);
  if (a->n_operands < 2) return cli_usage(a, "get what? `mica model list` tells");
  catalogue c;
  char *folder = NULL;
  cli_catch_interrupt();
  mica_status status = catalogue_open(CATALOGUE_MODELS, &c);
  if (status == MICA_OK && !(folder = catalogue_folder(CATALOGUE_MODELS)))
    status = mica_fail(MICA_ERR_MEMORY, "out of memory");
  const catalogue_item *item = status == MICA_OK ? catalogue_find(&c, a->operand[1]) : NULL;
  const int code = item && get(a, item, folder) == MICA_OK ? EXIT_OK : cli_failed(a);
  mica_free(folder);
  catalogue_close(&c);
  return code;
}

static const cli_flag flags[] = {{"--force", NULL, NULL, NULL, "fetch again what is there already"},
                                 {"--out", "-o", "FILE", NULL, "import: model.mica"},
                                 {"--names", NULL, NULL, NULL, "list names only, one a line"},
                                 CLI_COMMON_FLAGS};

const cli_verb verb_model = {
    "model",
    "list|get|import [NAME]",
    "list published networks, or make one that is fetched or in a folder a model file",
    flags,
    1,
    2,
    run,
    "examples: mica model list\n"
    "          mica model list resnet18      publisher, licence, checksum\n"
    "          mica model get resnet18       leaves resnet18.mica in the models' folder\n"
    "          mica model import all-MiniLM-L6-v2/ -o minilm.mica\n"
    "                                        a BERT as transformers or sentence-transformers keep "
    "it\n\n"
    "The folder is $MICA_MODELS, else $XDG_CACHE_HOME/mica/models, else ~/.cache/mica/models.\n"
    "Files come from their publishers through the curl program, which heeds https_proxy and\n"
    "no_proxy; a download that broke off is continued, and kept only when its sha256 is right."};
