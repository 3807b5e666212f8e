/* How long a program takes from its start to its end that opens a model file and embeds one
 * picture.
 *
 *     start FILE                               embed a picture, print a number
 *     start make MODEL SIDE CHANNELS FILE      make such a file, with initial values
 *
 * bench/start.py times the first form from outside, process and all, beside the same in PyTorch.
 */
#include <mica/mica.h>

#include "need.h"

#include <string.h>

enum { CLASSES = 10, THREADS = 2 };

static void make(mica_engine *engine, const char *spec, int64_t side, int64_t channels,
                 const char *path) {
  const char *const names[CLASSES] = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};
  const mica_problem problem = MICA_PROBLEM_IMAGES(side, side, channels, CLASSES);
  const mica_preprocess p = MICA_PREPROCESS(side, side, channels);
  mica_net *net;
  need(mica_net_create(engine, spec, &problem, 1, &net));
  need(mica_net_save(net, &p, names, NULL, path));
  mica_net_free(net);
}

static void embed(mica_engine *engine, const char *path) {
  mica_model *model;
  mica_session *session;
  need(mica_model_open(engine, path, &model));
  need(mica_session_create(model, &session));
  const mica_preprocess *p = mica_model_preprocess(model);
  const mica_shape shape = MICA_SHAPE(1, p->height, p->width, p->channels);
  uint8_t *pixels = malloc((size_t)mica_shape_count(&shape));
  float *features = malloc((size_t)mica_net_features(mica_model_net(model)) * sizeof *features);
  if (!pixels || !features) exit(1);
  for (int64_t i = 0; i < mica_shape_count(&shape); i++) pixels[i] = (uint8_t)(i * 7);
  const mica_view picture = mica_view_of(pixels, MICA_U8, shape);
  need(mica_embed(session, &picture, features));
  printf("%.6g\n", (double)features[0]);
  free(features);
  free(pixels);
  mica_session_free(session);
  mica_model_free(model);
}

int main(int argc, char **argv) {
  const bool makes = argc == 6 && strcmp(argv[1], "make") == 0;
  if (argc != 2 && !makes) {
    fprintf(stderr, "usage: start FILE | start make MODEL SIDE CHANNELS FILE\n");
    return 2;
  }
  mica_engine *engine;
  mica_engine_options o = MICA_ENGINE_OPTIONS;
  o.threads = THREADS;
  need(mica_engine_create(&o, &engine));
  if (makes)
    make(engine, argv[2], strtoll(argv[3], NULL, 10), strtoll(argv[4], NULL, 10), argv[5]);
  else
    embed(engine, argv[1]);
  mica_engine_free(engine);
  return 0;
}
