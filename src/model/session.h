/* What a session is made of, for what else asks a model. */
#ifndef MICA_MODEL_SESSION_H
#define MICA_MODEL_SESSION_H

#include <mica/model.h>

mica_tape *mica_session_tape(mica_session *session);
mica_model *mica_session_model(const mica_session *session);

#endif
