/* One side of the benchmark: a case is made ready, then repeated as often as each line of standard
 * input says, and the milliseconds of every repetition are printed on one line. scripts/bench runs
 * this beside the same case in another library, a line to the one, a line to the other.
 *
 *     speed CASE [--bf16]
 *     gemm                 2 n^3 operations, n = 1024, single precision (the machine's peak)
 *     train-resnet8        a step of the demo's network: 128 pictures of 28x28x1, SGD
 *     train-vit            a step of ViT-Tiny, patches of 4: 64 pictures of 32x32x3, AdamW
 *     train-vit-224        a step of ViT-Tiny, patches of 16: 16 pictures of 224x224x3, AdamW
 *     train-gpt            a step of a decoder of bytes, 6 layers of 384: 8 texts of 256, AdamW
 *     predict-resnet18     one picture of 224x224x3 through ResNet-18
 *     generate-gpt         200 bytes, one after another, from that decoder after a prompt of 32
 */
#include <mica/mica.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { GEMM = 1024, CLASSES = 10, THREADS = 2, BYTES = 256, PROMPT = 32, GENERATED = 200 };

typedef struct setting {
  const char *name, *model, *optimiser;
  int64_t side, channels, batch, classes; /* side 0: texts of BYTES bytes */
} setting;

static const setting settings[] = {
    {"train-resnet8", "resnet:depth=8", "sgd:lr=0.01:momentum=0.9:weight_decay=5e-4:nesterov=true",
     28, 1, 128, CLASSES},
    {"train-vit", "vit:patch=4:dim=192:depth=12:heads=3", "adamw:lr=1e-4:weight_decay=0.05", 32, 3,
     64, CLASSES},
    {"train-vit-224", "vit:patch=16:dim=192:depth=12:heads=3", "adamw:lr=1e-4:weight_decay=0.05",
     224, 3, 16, CLASSES},
    {"train-gpt", "gpt:dim=384:depth=6:heads=6", "adamw:lr=1e-4:weight_decay=0.05", 0, 0, 8, 0},
    {"predict-resnet18", "resnet:depth=18", NULL, 224, 3, 1, 1000},
    {"generate-gpt", "gpt:dim=384:depth=6:heads=6", NULL, 0, 0, 1, 0}};

static void need(mica_status status) {
  if (status == MICA_OK) return;
  fprintf(stderr, "speed: %s\n", mica_last_error());
  exit(1);
}

static double milliseconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static mica_tensor *noise(mica_shape shape, uint64_t seed) {
  mica_tensor *x;
  need(mica_tensor_create(MICA_F32, shape, &x));
  float *v = mica_tensor_data(x);
  for (int64_t i = 0; i < mica_tensor_count(x); i++)
    v[i] = (float)mica_random_normal(mica_key_seed(seed), (uint64_t)i);
  return x;
}

typedef struct work {
  mica_engine *engine;
  mica_tape *tape;
  mica_net *net;
  mica_optimiser *optimiser;
  mica_model *model;
  mica_session *session;
  mica_generator *generator;
  mica_tensor *x, *y;
  uint64_t step;
} work;

static void multiply(work *w) {
  mica_tape *t = w->tape;
  mica_no_grad_begin(t);
  mica_matmul(t, mica_input(t, w->x), mica_input(t, w->y));
  need(mica_tape_status(t));
  mica_tape_reset(t);
}

static void train(work *w) {
  mica_tape *t = w->tape;
  mica_outputs o;
  mica_tape_set_step(t, w->step++, 0);
  mica_set_training(t, true);
  mica_params_zero_grad(mica_net_params(w->net));
  mica_net_forward(t, w->net, mica_input(t, w->x), &o);
  const mica_var loss = mica_cross_entropy(t, o.logits, mica_input(t, w->y), MICA_NONE, NULL);
  need(mica_backward(t, loss));
  need(mica_optimiser_step(w->optimiser, t, 1));
  need(mica_commit(t));
  mica_tape_reset(t);
}

/* From bytes to an answer, as a program does it. */
static void predict(work *w) {
  mica_answer answer;
  const mica_view view = mica_tensor_view(w->x);
  need(mica_predict(w->session, &view, &answer));
}

static void generate(work *w) {
  int64_t prompt[PROMPT], token;
  for (int i = 0; i < PROMPT; i++) prompt[i] = i;
  mica_generator_clear(w->generator);
  need(mica_generator_feed(w->generator, PROMPT, prompt));
  for (int i = 0; i < GENERATED; i++) need(mica_generator_next(w->generator, &token));
  if (!mica_generator_logits(w->generator)) need(mica_last_status());
}

static void make_model(work *w, const setting *s) {
  static char text[1000][8];
  const char *names[1000];
  const mica_preprocess p = MICA_PREPROCESS(s->side, s->side, s->channels);
  for (int64_t i = 0; i < s->classes; i++) {
    snprintf(text[i], sizeof text[i], "%d", (int)i);
    names[i] = text[i];
  }
  need(mica_model_create(w->net, &p, names, NULL, &w->model));
  w->net = NULL;
  need(mica_session_create(w->model, &w->session));
  mica_tensor *values = w->x;
  need(mica_tensor_create(MICA_U8, *mica_tensor_shape(values), &w->x));
  for (int64_t i = 0; i < mica_tensor_count(values); i++)
    mica_tensor_set(w->x, i, 128 + 40 * mica_tensor_get(values, i));
  mica_tensor_free(values);
}

static mica_tensor *bytes(int64_t n, uint64_t seed) {
  mica_tensor *x;
  need(mica_tensor_create(MICA_I64, MICA_SHAPE(n, BYTES), &x));
  for (int64_t i = 0; i < mica_tensor_count(x); i++)
    mica_tensor_set(x, i, (double)mica_random_below(mica_key_seed(seed), (uint64_t)i, BYTES));
  return x;
}

static void make_decoder(work *w, const setting *s) {
  const mica_problem problem = MICA_PROBLEM_TOKENS(BYTES, BYTES, 0);
  mica_generator_options o = MICA_GENERATOR_OPTIONS;
  o.sampling.temperature = 0;
  need(mica_net_create(w->engine, s->model, &problem, 1, &w->net));
  if (!s->optimiser) {
    need(mica_generator_create(w->net, &o, &w->generator));
    return;
  }
  need(mica_optimiser_create(mica_net_params(w->net), s->optimiser, &w->optimiser));
  w->x = bytes(s->batch, 1);
  w->y = bytes(s->batch, 2);
}

static void make(work *w, const setting *s) {
  if (!s->side) {
    make_decoder(w, s);
    return;
  }
  const mica_problem problem = MICA_PROBLEM_IMAGES(s->side, s->side, s->channels, s->classes);
  need(mica_net_create(w->engine, s->model, &problem, 1, &w->net));
  w->x = noise(MICA_SHAPE(s->batch, s->side, s->side, s->channels), 1);
  if (!s->optimiser) {
    make_model(w, s);
    return;
  }
  need(mica_optimiser_create(mica_net_params(w->net), s->optimiser, &w->optimiser));
  need(mica_tensor_create(MICA_I64, MICA_SHAPE(s->batch), &w->y));
  for (int64_t i = 0; i < s->batch; i++) mica_tensor_set(w->y, i, (double)(i % s->classes));
}

int main(int argc, char **argv) {
  const setting *s = NULL;
  work w = {0};
  mica_engine_options engine = MICA_ENGINE_OPTIONS;
  mica_tape_options tape = MICA_TAPE_OPTIONS;
  for (size_t i = 0; argc > 1 && i < sizeof settings / sizeof *settings; i++)
    if (strcmp(argv[1], settings[i].name) == 0) s = &settings[i];
  const bool gemm = argc > 1 && strcmp(argv[1], "gemm") == 0;
  if (!s && !gemm) {
    fprintf(stderr, "usage: speed CASE [--bf16]; the source's first lines tell the cases\n");
    return 2;
  }
  engine.threads = THREADS;
  if (argc > 2 && strcmp(argv[2], "--bf16") == 0) tape.compute = MICA_BF16;
  need(mica_engine_create(&engine, &w.engine));
  need(mica_tape_create(w.engine, &tape, &w.tape));
  if (gemm) {
    w.x = noise(MICA_SHAPE(GEMM, GEMM), 1);
    w.y = noise(MICA_SHAPE(GEMM, GEMM), 2);
  } else {
    make(&w, s);
  }
  char line[64];
  while (fgets(line, sizeof line, stdin)) {
    for (int i = 0, n = atoi(line); i < n; i++) {
      const double start = milliseconds();
      if (gemm)
        multiply(&w);
      else if (w.session)
        predict(&w);
      else if (w.generator)
        generate(&w);
      else
        train(&w);
      printf("%s%.4f", i ? " " : "", milliseconds() - start);
    }
    printf("\n");
    fflush(stdout);
  }
  mica_tensor_free(w.x);
  mica_tensor_free(w.y);
  mica_session_free(w.session);
  mica_generator_free(w.generator);
  mica_model_free(w.model);
  mica_optimiser_free(w.optimiser);
  mica_net_free(w.net);
  mica_tape_free(w.tape);
  mica_engine_free(w.engine);
  return 0;
}
