/* Networks: a training step, and an answer.
 *
 *     train   forward, cross-entropy, backward, the optimiser's step
 *     infer   from pictures, as bytes, to answers (a session), or with --batch above 1 from
 * pictures in float32 to scores
 */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct setting {
  const char *model, *optimiser;
  int64_t batch, side, channels, classes; /* side 0: texts */
  int64_t length;
  const char *adapted; /* layers with a low-rank adapter; the rest but the head is frozen */
} setting;

#define SGD   "sgd:lr=0.01:momentum=0.9:weight_decay=5e-4:nesterov=true"
#define ADAMW "adamw:lr=1e-4:weight_decay=0.05"
enum { BYTES = 256 };

typedef struct network {
  mica_net *net;
  mica_optimiser *optimiser;
  mica_model *model;
  mica_session *session;
  mica_tensor *x, *y;
} network;

static void make_session(network *n, const setting *s, int64_t batch) {
  static char text[1000][8];
  const char *names[1000];
  const mica_preprocess p = MICA_PREPROCESS(s->side, s->side, s->channels);
  for (int64_t i = 0; i < s->classes; i++) {
    snprintf(text[i], sizeof text[i], "%d", (int)i);
    names[i] = text[i];
  }
  need(mica_model_create(n->net, &p, names, NULL, &n->model));
  n->net = NULL;
  need(mica_session_create(n->model, &n->session));
  need(mica_tensor_create(MICA_U8, MICA_SHAPE(batch, s->side, s->side, s->channels), &n->x));
  uint8_t *pixel = mica_tensor_data(n->x);
  for (int64_t i = 0; i < mica_tensor_count(n->x); i++)
    pixel[i] = (uint8_t)mica_random_below(mica_key_seed(1), (uint64_t)i, 256);
}

static void make(bench *b) {
  const setting *s = b->work->setting;
  network *n = b->made = calloc(1, sizeof *n);
  const bool train = in_phase(b, "train");
  if (!train && !in_phase(b, "infer")) no_phase(b);
  const int64_t batch = b->batch ? b->batch : train ? s->batch : 1;
  mica_problem problem =
      s->side ? (mica_problem)MICA_PROBLEM_IMAGES(s->side, s->side, s->channels, s->classes)
              : (mica_problem)MICA_PROBLEM_TOKENS(BYTES, s->length, 0);
  need(mica_net_create(b->engine, s->model, &problem, 1, &n->net));
  if (!train && batch == 1 && s->side && !b->bf16) {
    make_session(n, s, batch);
    return;
  }
  if (s->side)
    n->x = noise(MICA_SHAPE(batch, s->side, s->side, s->channels), 1);
  else
    n->x = numbers(MICA_SHAPE(batch, s->length), BYTES, 1);
  if (!train) return;
  n->y = s->side ? numbers(MICA_SHAPE(batch), s->classes, 2)
                 : numbers(MICA_SHAPE(batch, s->length), BYTES, 2);
  if (s->adapted) {
    mica_params *p = mica_net_params(n->net);
    need(mica_params_train_only(p, "output"));
    need(mica_adapt(p, s->adapted, "lora:rank=8", NULL));
  }
  need(mica_optimiser_create(mica_net_params(n->net), s->optimiser, &n->optimiser));
}

static void train(bench *b, network *n) {
  mica_tape *t = b->tape;
  mica_outputs o;
  mica_tape_set_step(t, b->steps, 0);
  mica_set_training(t, true);
  mica_params_zero_grad(mica_net_params(n->net));
  mica_net_forward(t, n->net, mica_input(t, n->x), &o);
  const mica_var loss = mica_cross_entropy(t, o.logits, mica_input(t, n->y), MICA_NONE, NULL);
  need(mica_backward(t, loss));
  need(mica_optimiser_step(n->optimiser, t, 1));
  need(mica_commit(t));
  mica_tape_reset(t);
}

static void forward(bench *b, network *n) {
  mica_tape *t = b->tape;
  mica_outputs o;
  mica_no_grad_begin(t);
  mica_net_forward(t, n->net, mica_input(t, n->x), &o);
  need(mica_tape_status(t));
  mica_tape_reset(t);
}

static void step(bench *b) {
  network *n = b->made;
  if (n->session) {
    mica_answer answer;
    const mica_view view = mica_tensor_view(n->x);
    need(mica_predict(n->session, &view, &answer));
  } else if (n->optimiser) {
    train(b, n);
  } else {
    forward(b, n);
  }
}

static void release(bench *b) {
  network *n = b->made;
  mica_tensor_free(n->x);
  mica_tensor_free(n->y);
  mica_session_free(n->session);
  mica_model_free(n->model);
  mica_optimiser_free(n->optimiser);
  mica_net_free(n->net);
  free(n);
}

static const setting resnet8 = {"resnet:depth=8", SGD, 128, 28, 1, 10, 0, NULL};
static const setting resnet18 = {"resnet:depth=18:small=true", SGD, 64, 32, 3, 10, 0, NULL};
static const setting resnet18_224 = {"resnet:depth=18", SGD, 16, 224, 3, 1000, 0, NULL};
static const setting resnet50 = {"resnet:depth=50", SGD, 8, 224, 3, 1000, 0, NULL};
static const setting mobilenet = {"mobilenet", SGD, 64, 96, 3, 1000, 0, NULL};
static const setting vit_tiny = {
    "vit:patch=4:dim=192:depth=12:heads=3", ADAMW, 64, 32, 3, 10, 0, NULL};
static const setting vit_small = {
    "vit:patch=16:dim=384:depth=12:heads=6", ADAMW, 16, 224, 3, 1000, 0, NULL};
static const setting vit_small_lora = {
    "vit:patch=16:dim=384:depth=12:heads=6", ADAMW, 16, 224, 3, 1000, 0, "*.attn.*"};
static const setting gpt_256 = {"gpt:dim=384:depth=6:heads=6", ADAMW, 8, 0, 0, 0, 256, NULL};
static const setting gpt_1024 = {"gpt:dim=384:depth=6:heads=6", ADAMW, 2, 0, 0, 0, 1024, NULL};

const workload network_workloads[] = {
    {"resnet8", "residual network, 28x28x1", make, step, release, &resnet8},
    {"resnet18", "ResNet-18 of the CIFAR form, 32x32x3", make, step, release, &resnet18},
    {"resnet18-224", "ResNet-18, 224x224x3", make, step, release, &resnet18_224},
    {"resnet50", "ResNet-50, 224x224x3", make, step, release, &resnet50},
    {"mobilenet", "MobileNetV3-Small, 96x96x3", make, step, release, &mobilenet},
    {"vit-tiny", "ViT-Tiny, patches of 4, 32x32x3", make, step, release, &vit_tiny},
    {"vit-small", "ViT-Small, patches of 16, 224x224x3", make, step, release, &vit_small},
    {"vit-small-lora", "ViT-Small adapted: rank 8 on the attention's layers", make, step, release,
     &vit_small_lora},
    {"gpt-256", "decoder of bytes, 6 layers of 384, texts of 256", make, step, release, &gpt_256},
    {"gpt-1024", "the same, texts of 1024", make, step, release, &gpt_1024},
    {0}};
