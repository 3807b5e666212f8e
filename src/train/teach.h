/* A teacher beside the network that is trained. */
#ifndef MICA_TRAIN_TEACH_H
#define MICA_TRAIN_TEACH_H

#include "model/taps.h"

#include <mica/scheme.h>

/* The teacher's forward in evaluation mode, without gradients; its logits, features and taps (NULL:
 * none) go into `in`. */
void mica_teach(mica_tape *t, const mica_net *teacher, const mica_inputs *inputs,
                const mica_net_taps_list *taps, mica_loss_inputs *in);

/* A teacher from a model file, or of the caller, and how pictures of a stream become what it reads.
 */
typedef struct mica_teacher {
  mica_model *model; /* NULL: the caller's network */
  const mica_net *net;
  bool unit;   /* its class means are of features of length 1 */
  bool scaled; /* x = scale x + shift, by channel */
  mica_tensor *scale, *shift;
} mica_teacher;

/* `path` names the file where the setting has no teacher. Checks that it reads what the network
 * does. */
mica_status mica_teacher_open(const mica_scheme_setting *s, const char *path, mica_teacher *out);
void mica_teacher_close(mica_teacher *teacher);
mica_inputs mica_teacher_inputs(mica_tape *t, const mica_teacher *teacher,
                                const mica_inputs *inputs);
/* mica_class_means of the teacher, on a stream of the network's. */
mica_status mica_teacher_means(const mica_teacher *teacher, const mica_stream *stream,
                               int64_t classes, mica_tensor **out);

#endif
