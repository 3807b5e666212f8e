/* mica/mica.h: the whole stable API. */
#ifndef MICA_MICA_H
#define MICA_MICA_H

#include <mica/base.h>
#include <mica/component.h>
#include <mica/engine.h>
#include <mica/op.h>
#include <mica/ops.h>
#include <mica/param.h>
#include <mica/tape.h>
#include <mica/tensor.h>

#endif
