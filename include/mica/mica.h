/* mica/mica.h: the whole stable API. */
#ifndef MICA_MICA_H
#define MICA_MICA_H

#include <mica/alignment.h>
#include <mica/base.h>
#include <mica/collection.h>
#include <mica/compatible.h>
#include <mica/component.h>
#include <mica/data.h>
#include <mica/dataset.h>
#include <mica/embedding.h>
#include <mica/engine.h>
#include <mica/exchange.h>
#include <mica/explain.h>
#include <mica/feature.h>
#include <mica/generate.h>
#include <mica/image.h>
#include <mica/index.h>
#include <mica/interactions.h>
#include <mica/kv_cache.h>
#include <mica/layer.h>
#include <mica/linear_algebra.h>
#include <mica/loss.h>
#include <mica/measure.h>
#include <mica/model.h>
#include <mica/network_analysis.h>
#include <mica/nn.h>
#include <mica/numeric.h>
#include <mica/op.h>
#include <mica/ops.h>
#include <mica/optim.h>
#include <mica/paper.h>
#include <mica/param.h>
#include <mica/quantise.h>
#include <mica/report.h>
#include <mica/retrieval.h>
#include <mica/retriever.h>
#include <mica/scheme.h>
#include <mica/select.h>
#include <mica/table.h>
#include <mica/tape.h>
#include <mica/tensor.h>
#include <mica/text.h>
#include <mica/tokenizer.h>
#include <mica/train.h>
#include <mica/train_embedding.h>
#include <mica/train_many.h>
#include <mica/training_report.h>
#include <mica/transform.h>
#include <mica/zero_shot.h>

#ifndef MICA_NO_WHERE
#include <mica/where.h>
#endif

#endif
