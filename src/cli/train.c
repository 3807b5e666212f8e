/* mica train: a network from pictures, with texts or without, a table or a text to a model file. */
#include "cli/train_run.h"

#include "base/buffer.h"
#include "base/file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const cli_flag flags[] = {
    {"--data", NULL, "PATH", NULL,
     "pictures: DIR/CLASS/picture, a list of paths and labels, IDX, CIFAR, arrays; or with --label "
     "a "
     "table: FILE.csv, or a folder with train.csv; for an architecture of tokens a text: FILE.txt, "
     "or a folder with train.txt; for one of pictures and texts (dual, clip) FILE.csv with the "
     "columns image and caption, a folder with captions.csv, or DIR/TEXT/picture; for one of texts "
     "(bert) FILE.csv with the columns question and text"},
    {"--out", "-o", "FILE", "model.mica", "the model file to write"},
    {"--epochs", NULL, "N", "10", "passes over the training part, where no --stage is given"},
    {"--stage", NULL, "SPEC", NULL,
     "a stage of the run; given again, the next one: see `mica list stage`"},
    {"--batch-size", NULL, "N", "128", "examples of a step"},
    {"--lr", NULL, "X", NULL,
     "learning rate of the first rule; the optimiser's own default when not given"},
    {"--optimiser", NULL, "SPEC", NULL,
     "adamw:weight_decay=0.05, for click models adam:lazy=true; see `mica list optimiser`; with "
     "rules for some parameters: 'adamw | head.*=sgd:lr=0.1'"},
    {"--schedule", NULL, "SPEC", "cosine:warmup=0.05", "see `mica list schedule`"},
    {"--loss", NULL, "SPEC", NULL,
     "see `mica list loss`; a sum with weights is fine (ce, mse for a numeric target, clip for "
     "pictures with texts)"},
    {"--compatible-with", NULL, "FILE", NULL,
     "a model whose index the new one is to answer from: the same as --scheme compatible:old=FILE"},
    {"--scheme", NULL, "SPEC", NULL,
     "what stands beside the network: distil:teacher=big.mica, with --loss ce+kd:T=4+nd; see `mica "
     "list scheme`"},
    {"--head", NULL, "SPEC", NULL,
     "another head on top: cosine:kind=arcface:dim=64; see `mica list layer`"},
    {"--sampler", NULL, "SPEC", NULL,
     "pictures: the order of each epoch: classes:examples=4, power:power=0.5, tuples; see `mica "
     "list "
     "sampler`"},
    {"--predictions", NULL, "MODEL", NULL,
     "pictures: tuples around this model's mistakes on the training part; questions: what this "
     "model finds for them and should not"},
    {"--codes", NULL, "SPEC", NULL,
     "questions: train codes of the texts, too, as long again: pq:parts=8:words=256"},
    {"--codes-out", NULL, "FILE", "codes.safetensors", "where they go, for `mica search --codes`"},
    {"--subset", NULL, "FILE", NULL,
     "train on these of the training part alone: a list that `mica select` wrote"},
    {"--steps", NULL, "N", NULL,
     "so many steps in all, whatever the size of the training part, in as many epochs of equal "
     "length as --epochs allows; full: epochs as long as without --subset"},
    CLI_LABEL_NOISE_FLAGS,
    {"--size", NULL, "N", "0", "side of the pictures; 0: 32, or what IDX files have"},
    {"--channels", NULL, "N", "0", "1 or 3; 0: 3, or what IDX files have"},
    {"--classes", NULL, "A,B", NULL, "only these classes"},
    {"--val-split", NULL, "X", "0.1", "share held out where there is no validation part"},
    {"--crop", NULL, "N", "2", "random shifts of up to N pixels"},
    {"--flip", NULL, NULL, NULL, "mirror every other picture"},
    {"--init", NULL, "FILE", NULL, "start from a checkpoint or model file"},
    {"--partial", NULL, NULL, NULL, "accept a checkpoint that fits in part"},
    {"--strip", NULL, "TEXT", NULL, "prefix to drop from the checkpoint's names"},
    {"--only", NULL, "SELECTION", NULL,
     "train these parameters and no others: words (bn, bias, conv, linear, norm, output, shortcut) "
     "and patterns, joined by ',' or '&', '!' for not: 'bn,output', 'conv&!layer1.*'"},
    {"--also", NULL, "SELECTION", NULL, "train these too"},
    {"--freeze", NULL, "SELECTION", NULL, "parameters not to train: 'layer[1-3].*'"},
    {"--adapter", NULL, "SPEC", NULL,
     "train what is added to frozen weights, and the output layer: svfit, lora:rank=8, "
     "'blocks.*.qkv=pissa'; several for several patterns; see `mica list adapter`"},
    {"--adapter-name", NULL, "NAME", "default", "what the adapters are called in the model file"},
    {"--adapter-out", NULL, "FILE", NULL, "write the adapters alone, too"},
    {"--merge", NULL, NULL, NULL, "fold the adapters into the weights of the model file"},
    {"--mask", NULL, "RULES", NULL,
     "train single elements: 'conv=random:count=2'; see `mica list mask`"},
    {"--decay", NULL, "SELECTION", NULL,
     "weight decay applies to these; to weights but those of normalisations when not given"},
    {"--initialise", NULL, "RULES", NULL,
     "initial values: 'conv,linear=orthogonal | bn=uniform'; see `mica list initialiser`"},
    {"--init-weights", NULL, "SPEC", NULL, "the same of convolutions and linear layers: binary"},
    {"--init-bn", NULL, "SPEC", NULL, "the same of batch norm: uniform"},
    {"--average", NULL, "X", "0", "decay of a moving average of the weights"},
    {"--clip", NULL, "X", "0", "largest norm of the gradients; 0: no bound"},
    {"--patience", NULL, "N", "0", "stop after N epochs without a better validation; 0: never"},
    {"--run", NULL, "DIR", NULL, "folder for checkpoints and metrics (OUT.run)"},
    {"--resume", NULL, NULL, NULL, "continue the run in that folder"},
    {"--report", NULL, "DIR", NULL, "write DIR/report.html and DIR/summary.json"},
    {"--seed", NULL, "N", "0", "of everything random"},
    {"--bf16", NULL, NULL, NULL, "products in bfloat16, sums in float32"},
    {"--strict", NULL, NULL, NULL, "stop at a picture or row that cannot be read"},
    {"--tokenizer", NULL, "PATH", NULL,
     "text: a vocabulary (vocab.txt, vocab.json, merges.txt, tokenizer.json, tokenizer.bin) or a "
     "folder with one; bytes when not given, of pictures with texts the words of the texts"},
    {"--length", NULL, "N", NULL,
     "text: tokens that the network sees at once (256; 77 of a text about a picture)"},
    {"--dry-run", NULL, NULL, NULL, "say what would be done, and stop"},
    {"--stream", NULL, NULL, NULL,
     "table: leave the rows in their file, which is read in every epoch (files above 1 GiB are)"},
    CLI_EMBEDDING_FLAGS,
    CLI_TABLE_FLAGS,
    CLI_COMMON_FLAGS};

typedef struct job {
  const cli_args *a;
  train_watch watch;
  mica_engine *engine;
  train_data data;
  mica_net *net;
  mica_run_record *record;
  mica_scheme *scheme;
  mica_model *model; /* once made, it owns the network */
} job;

static mica_status make_net(job *j, int64_t seed) {
  const cli_args *a = j->a;
  char *text = train_architecture(a);
  mica_status status =
      text ? mica_net_create(j->engine, text, &j->data.problem, (uint64_t)seed, &j->net)
           : MICA_ERR_MEMORY;
  mica_free(text);
  if (status == MICA_OK) status = train_params_initialise(a, mica_net_params(j->net));
  const char *from = cli_text(a, "--init");
  if (status == MICA_OK && from) {
    mica_load_options o = MICA_LOAD_OPTIONS;
    mica_load_report r;
    o.strip = cli_text(a, "--strip");
    o.partial = cli_on(a, "--partial");
    status = mica_net_change_as(j->net, from);
    if (status == MICA_OK)
      status = mica_params_load(mica_net_params(j->net), from, &o, &r);
    else
      r = (mica_load_report){0};
    fprintf(stderr,
            "%s: %lld tensors loaded (%.1f%% of the parameters), %lld missing, %lld unexpected, "
            "%lld of "
            "another shape\n%s",
            from, (long long)r.loaded, 100 * r.share, (long long)r.missing, (long long)r.unexpected,
            (long long)r.reshaped, r.text ? r.text : "");
    mica_free(r.text);
  }
  if (status == MICA_OK) status = train_params_adapt(a, mica_net_params(j->net), seed);
  return status == MICA_OK ? train_params_choose(a, mica_net_params(j->net), seed) : status;
}

static mica_status make_scheme(job *j) {
  const char *text = cli_text(j->a, "--scheme"), *old = cli_text(j->a, "--compatible-with");
  const train_data *d = &j->data;
  char compatible[4200];
  if (text && old)
    return mica_fail(MICA_ERR_INVALID, "--compatible-with is a scheme itself: not with --scheme");
  if (old && snprintf(compatible, sizeof compatible, "compatible:old=(%s)", old) < 4200)
    text = compatible;
  if (!text) return MICA_OK;
  const mica_scheme_setting s = {.size = sizeof s,
                                 .net = j->net,
                                 .train = &d->part[MICA_PART_TRAIN],
                                 .preprocess = &d->preprocess,
                                 .classes = d->classes};
  return mica_scheme_create(j->engine, text, &s, cli_text(j->a, "--loss"), &j->scheme);
}

/* What is trained with where nothing is said. Of a log's many ids few are in one batch: only their
 * rows are updated. */
static const char *optimiser_of(const cli_args *a, const train_data *d) {
  const char *given = cli_text(a, "--optimiser");
  return given ? given : d->problem.fields ? "adam:lazy=true" : "adamw:weight_decay=0.05";
}

/* The optimiser's specification with --lr put into its first rule. */
static char *optimiser_text(const cli_args *a, const train_data *d) {
  const char *spec = optimiser_of(a, d), *lr = cli_text(a, "--lr");
  size_t first = strcspn(spec, "|");
  while (first && spec[first - 1] == ' ') first--;
  mica_bytes b = {0};
  mica_bytes_append(&b, spec, first);
  if (lr) mica_bytes_printf(&b, ":lr=%s", lr);
  mica_bytes_text(&b, spec + first);
  return mica_bytes_take(&b);
}

static void describe(const job *j) {
  train_params_describe(j->a->operand[0], mica_net_params(j->net));
  train_data_describe(j->a, &j->data);
}

/* The network, with what a program needs to use it, as a model file. The model has the network from
 * now on. */
static mica_status write_model(job *j, const train_outcome *r, const char *path) {
  char *record = train_record(r);
  if (!record) return MICA_ERR_MEMORY;
  /* What losses trained for themselves is no part of it. */
  mica_status status = mica_params_remove(mica_net_params(j->net), "loss.*,stage.*,stream.*", NULL);
  if (status == MICA_OK) status = train_params_end(j->a, mica_net_params(j->net));
  if (status == MICA_OK)
    status = mica_model_create(j->net, &j->data.preprocess, j->data.classes, record, &j->model);
  mica_free(record);
  if (status == MICA_OK && j->data.columns)
    status = mica_model_set_columns(j->model, j->data.columns);
  if (status == MICA_OK && j->data.tokenizer_text)
    status = mica_model_set_tokenizer(j->model, j->data.tokenizer_text);
  return status == MICA_OK ? mica_model_save(j->model, path) : status;
}

/* Of a log of clicks accuracy says little: most are none. */
static void tell_clicks(bool json, const char *part, double loss, double auroc) {
  if (!isfinite(loss)) return;
  if (json)
    printf(", \"%s_log_loss\": %.9g", part, loss);
  else
    printf("%s log loss %.4f", part, loss);
  if (isfinite(auroc) && json)
    printf(", \"%s_auroc\": %.9g", part, auroc);
  else if (isfinite(auroc))
    printf(", AUROC %.4f", auroc);
  if (!json) printf("\n");
}

static void tell_text(const char *name, const train_outcome *r, mica_part part, double loss) {
  if (!isfinite(loss)) return;
  printf("%s loss %.4f, perplexity %.2f, %.3f bits a byte", name, loss, exp(loss),
         train_text_bits(r->data, part, loss));
  if (part == MICA_PART_VALIDATION) printf(" (epoch %lld)", (long long)r->result->best_epoch + 1);
  printf("\n");
}

/* The last line, or lines: what came out. */
static void tell(const train_outcome *r, const char *out, const char *page) {
  const mica_train_result *result = r->result;
  const bool regression = r->data->text || r->data->pairs || train_data_regression(r->data);
  const double validation = regression ? result->best_val_loss : result->best_val_accuracy;
  const double test = !r->test->n ? NAN : regression ? r->test->loss : r->test->accuracy;
  const char *what = regression ? "loss" : "accuracy";
  if (r->watch->json) {
    printf("{\"model\": ");
    cli_print_json(out);
    if (isfinite(validation)) printf(", \"val_%s\": %.9g", what, validation);
    if (isfinite(test)) printf(", \"test_%s\": %.9g", what, test);
    if (r->pairs->pairs) cli_print_pairs(r->pairs, NULL, true);
    if (r->watch->clicks) {
      tell_clicks(true, "val", result->best_val_loss, r->watch->auroc);
      if (r->test->n) tell_clicks(true, "test", r->test->loss, r->test->auroc);
    }
    printf("}\n");
    return;
  }
  const double unit = regression ? 1 : 100;
  const char *sign = regression ? "" : "%";
  if (r->watch->clicks) {
    tell_clicks(false, "validation", result->best_val_loss, r->watch->auroc);
    if (r->test->n) tell_clicks(false, "test", r->test->loss, r->test->auroc);
  }
  if (r->data->text) {
    tell_text("validation", r, MICA_PART_VALIDATION, validation);
    tell_text("test", r, MICA_PART_TEST, test);
  } else if (r->data->pairs) {
    const bool tested = r->data->part[MICA_PART_TEST].ctx != NULL;
    if (r->pairs->pairs) cli_print_pairs(r->pairs, tested ? "test" : "validation", false);
  } else {
    if (isfinite(validation))
      printf("validation %s %.*f%s (epoch %lld)\n", what, regression ? 4 : 2, unit * validation,
             sign, (long long)result->best_epoch + 1);
    if (isfinite(test)) printf("test %s %.*f%s\n", what, regression ? 4 : 2, unit * test, sign);
  }
  printf("model: %s\n", out);
  if (page) printf("report: %s/report.html\n", page);
}

/* Pictures and texts that were not trained on, as they find each other. */
static mica_status evaluate_pairs(const train_data *d, const mica_net *net,
                                  mica_pairs_evaluation *out) {
  const mica_stream *test = &d->part[MICA_PART_TEST], *other = &d->part[MICA_PART_VALIDATION];
  const mica_stream *held_out = test->ctx ? test : other;
  return d->pairs && held_out->ctx ? mica_evaluate_pairs(net, held_out, out) : MICA_OK;
}

/* An encoder of questions and texts: its own training, and the model file. */
static int train_questions(job *j, const mica_train_options *o, int64_t batch, int64_t seed) {
  const cli_args *a = j->a;
  const char *out = cli_text(a, "--out");
  const mica_train_result result = {.epochs = o->epochs, .loss = NAN, .best_val_loss = NAN};
  const mica_evaluation none = {0};
  const mica_pairs_evaluation no_pairs = {0};
  char *optimiser = optimiser_text(a, &j->data);
  mica_status status = optimiser ? mica_run_record_create(&j->record) : MICA_ERR_MEMORY;
  if (status == MICA_OK) status = mica_run_record_text(j->record, "data", cli_text(a, "--data"));
  if (status == MICA_OK)
    status = train_retriever(a, j->engine, optimiser, o, batch, &j->data, j->net);
  mica_free(optimiser);
  const train_outcome outcome = {j->engine, a,     &j->data,  &j->watch, j->net,
                                 &result,   &none, &no_pairs, j->record, seed};
  if (status == MICA_OK) status = write_model(j, &outcome, out);
  if (status != MICA_OK) return cli_failed(a);
  cli_result(a, "model", out);
  if (cli_text(a, "--codes") && !cli_on(a, "--json"))
    printf("codes: %s\n", cli_text(a, "--codes-out"));
  return EXIT_OK;
}

static int train(job *j) {
  const cli_args *a = j->a;
  int64_t seed, batch;
  mica_train_options o = MICA_TRAIN_OPTIONS;
  train_watch *w = &j->watch;
  *w = (train_watch){
      .json = cli_on(a, "--json"), .terminal = isatty(2) != 0, .auroc = NAN, .data = &j->data};
  if (!cli_text(a, "--data")) return cli_usage(a, "--data is missing");
  if (!cli_int(a, "--seed", 0, INT64_MAX, &seed) ||
      !cli_int(a, "--batch-size", 1, 1 << 20, &batch) ||
      !cli_int(a, "--epochs", 1, 1000000, &o.epochs) ||
      !cli_double(a, "--average", 0, 0.999999, &o.average) ||
      !cli_double(a, "--clip", 0, 1e9, &o.clip) ||
      !cli_int(a, "--patience", 0, 1000000, &o.patience))
    return EXIT_USAGE;
  mica_status status = cli_engine(a, &j->engine);
  if (status == MICA_OK) status = train_data_open(a, j->engine, batch, seed, &j->data);
  if (status == MICA_OK && !j->data.questions) status = train_sampler(a, j->engine, &j->data);
  if (status == MICA_OK) status = train_change_steps(a, batch, &j->data, &o.epochs);
  if (status == MICA_OK) status = make_net(j, seed);
  if (status == MICA_OK) status = make_scheme(j);
  if (status != MICA_OK) return cli_failed(a);
  describe(j);
  if (cli_on(a, "--dry-run")) return EXIT_OK;
  o.schedule = cli_text(a, "--schedule");
  o.seed = (uint64_t)seed;
  cli_catch_interrupt();
  if (j->data.questions) return train_questions(j, &o, batch, seed);
  const char *out = cli_text(a, "--out");
  char folder[4096];
  snprintf(folder, sizeof folder, "%s", cli_text(a, "--run") ? cli_text(a, "--run") : "");
  if (!*folder) snprintf(folder, sizeof folder, "%s.run", out);
  const char *stages[CLI_GIVEN];
  const int n_stages = cli_all(a, "--stage", stages, CLI_GIVEN);
  char *optimiser = optimiser_text(a, &j->data);
  o.stages = stages;
  o.n_stages = n_stages;
  o.scheme = j->scheme;
  o.loss = j->scheme               ? mica_scheme_loss(j->scheme)
           : cli_text(a, "--loss") ? cli_text(a, "--loss")
                                   : j->data.loss;
  o.optimiser = optimiser;
  o.compute = cli_on(a, "--bf16") ? MICA_BF16 : MICA_F32;
  o.dir = folder;
  o.resume = cli_on(a, "--resume");
  o.report_every = 10;
  o.report = train_watch_report;
  o.report_ctx = w;
  w->clicks = train_data_clicks(&j->data);
  w->net = j->net;
  o.best_by_loss = w->clicks || j->data.text || j->data.pairs;
  const mica_stream *validation = &j->data.part[MICA_PART_VALIDATION];
  mica_train_result result;
  mica_evaluation test = {0};
  status = optimiser ? mica_make_folders(folder) : MICA_ERR_MEMORY;
  if (status == MICA_OK) status = train_run_record(a, &j->data, &o, j->net, seed, &j->record);
  if (status == MICA_OK) status = train_run_begin(w, folder, o.resume, j->record);
  if (status == MICA_OK && train_needs_stages(j->net))
    status = train_stages(j->net, &j->data, &o, w, &result);
  else if (status == MICA_OK)
    status = mica_train(j->net, j->data.steps.ctx ? &j->data.steps : &j->data.part[MICA_PART_TRAIN],
                        validation->ctx ? validation : NULL, &o, &result);
  mica_free(optimiser);
  if (*w->failure) status = mica_fail(MICA_ERR_IO, "%s", w->failure);
  if (status == MICA_OK) status = train_run_end(w);
  if (status != MICA_OK) {
    const int code = cli_failed(a);
    if (code == EXIT_STOPPED) fprintf(stderr, "stopped; `--resume` continues from %s\n", folder);
    return code;
  }
  /* The best weights of the run are what the file holds. */
  if (validation->ctx && result.best_epoch >= 0) {
    char best[4200];
    snprintf(best, sizeof best, "%s/best.safetensors", folder);
    status = mica_params_load(mica_net_params(j->net), best, NULL, NULL);
  }
  if (status == MICA_OK) status = train_finish_table(a, j->net);
  const char *page = cli_text(a, "--report");
  const bool rows = page && !j->data.text && !j->data.pairs; /* what its page shows of each */
  mica_pairs_evaluation pairs = {0};
  if (status == MICA_OK) status = evaluate_pairs(&j->data, j->net, &pairs);
  if (status == MICA_OK && j->data.part[MICA_PART_TEST].ctx)
    status = mica_evaluate(j->net, &j->data.part[MICA_PART_TEST], rows, rows, &test);
  const train_outcome outcome = {j->engine, a,     &j->data, w,         j->net,
                                 &result,   &test, &pairs,   j->record, seed};
  if (status == MICA_OK) status = write_model(j, &outcome, out);
  if (status == MICA_OK && page) status = train_report(&outcome, page);
  if (status == MICA_OK) tell(&outcome, out, page);
  mica_evaluation_clear(&test);
  return status == MICA_OK ? EXIT_OK : cli_failed(a);
}

static int run(const cli_args *a) {
  job j = {.a = a};
  const int code = train(&j);
  mica_scheme_free(j.scheme);
  if (j.model)
    mica_model_free(j.model);
  else
    mica_net_free(j.net);
  train_data_free(&j.data);
  mica_run_record_free(j.record);
  mica_engine_free(j.engine);
  train_watch_free(&j.watch);
  return code;
}

const cli_verb verb_train = {
    "train",
    "ARCHITECTURE",
    "train a network on pictures, with texts or without, a table or a text and write a model file",
    flags,
    1,
    1,
    run,
    "example: mica train resnet:depth=20 --data photos/ --epochs 30 --flip -o parts.mica\n"
    "         mica train mlp --data adult.csv --label income -o adult.mica\n"
    "         mica train deepfm --data log.csv --label click -o clicks.mica\n"
    "         mica train gpt:dim=128:depth=4:heads=4 --data book.txt --length 128 -o book.mica\n"
    "         mica train dual --data captions.csv -o find.mica\n"
    "         mica train bert:dim=64:depth=1:heads=4:hidden=128:pool=mean --data questions.csv -o "
    "ask.mica\n"
    "         mica train resnet:depth=32:shortcut=b --data photos/ --only bn,output -o bn.mica\n"
    "         mica train resnet --data photos/ --head cosine:kind=arcface:dim=128 -o "
    "find.mica\n"
    "         mica train resnet --data photos/ --subset half.csv --steps full -o half.mica\n"
    "         mica train resnet --data photos/ --init old.safetensors --partial \\\n"
    "           --stage epochs=3:train=linear.* --stage epochs=10:unfreeze=*:lr=1e-4\n"
    "Validation decides which epoch's weights are kept. Ctrl-C stops cleanly; --resume goes on."};
