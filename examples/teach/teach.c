/* Ask a model what a picture shows; teach it a class from a few pictures, and keep what it learnt.
 *
 *     teach parts.mica new.jpg                                answers a class or "none of these"
 *     teach parts.mica new.jpg bolt b1.jpg b2.jpg b3.jpg      learns "bolt" first
 */
#include <mica/mica.h>
#include <stdio.h>

static int complain(void) {
  fprintf(stderr, "%s\n", mica_last_error());
  return 1;
}

int main(int argc, char **argv) {
  const char *const *word = (const char *const *)argv;
  mica_engine *engine;
  mica_model *model;
  mica_session *session;
  mica_tensor *question, *examples = NULL;
  mica_answer answer;
  if (argc < 3 || argc == 4) {
    fprintf(stderr, "usage: teach parts.mica PICTURE [NEW-CLASS PICTURE...]\n");
    return 2;
  }
  if (mica_engine_create(NULL, &engine) || mica_model_open(engine, word[1], &model) ||
      mica_session_create(model, &session) || mica_model_read(model, 1, &word[2], &question))
    return complain();
  if (argc > 4) { /* other threads may go on asking meanwhile */
    if (mica_model_read(model, argc - 4, &word[4], &examples)) return complain();
    const mica_view five = mica_tensor_view(examples);
    if (mica_head_add_class(model, word[3], &five) || mica_model_save(model, word[1]))
      return complain();
  }
  const mica_view one = mica_tensor_view(question);
  if (mica_predict(session, &one, &answer)) return complain();
  printf("%s %.3f\n", answer.name, answer.probability);

  mica_tensor_free(examples);
  mica_tensor_free(question);
  mica_session_free(session);
  mica_model_free(model);
  mica_engine_free(engine);
  return 0;
}
