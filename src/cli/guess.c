/* Guessing an architecture.
 *
 * Each form has an anchor, a tensor that only it has under that name; what stands before the anchor
 * is a wrapper's prefix. Sizes are read off shapes, and every block must be there with the shape
 * that they imply: so a network made for the guess is never larger than the file's own tensors.
 */
#include "cli/guess.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct look {
  const mica_archive *f;
  char prefix[256];
} look;

/* The shape of the tensor PREFIX + name (a format), when it has this rank; else NULL. */
MICA_PRINTF(3, 4) static const mica_shape *shape_of(const look *l, int rank, const char *fmt, ...) {
  char name[512];
  const size_t n = strlen(l->prefix);
  memcpy(name, l->prefix, n);
  va_list args;
  va_start(args, fmt);
  vsnprintf(name + n, sizeof name - n, fmt, args);
  va_end(args);
  const int64_t i = mica_archive_find(l->f, name);
  const mica_shape *s = i < 0 ? NULL : mica_archive_shape(l->f, i);
  return s && s->rank == rank ? s : NULL;
}

/* Find a tensor called ANYTHING.anchor, the shortest; its ANYTHING. becomes the prefix. */
static bool anchored(look *l, const char *anchor) {
  const size_t m = strlen(anchor);
  size_t best = sizeof l->prefix;
  for (int64_t i = 0; i < mica_archive_count(l->f); i++) {
    const char *name = mica_archive_name(l->f, i);
    const size_t n = strlen(name);
    if (n < m || n - m >= best || strcmp(name + n - m, anchor) != 0) continue;
    if (n > m && name[n - m - 1] != '.') continue;
    best = n - m;
    memcpy(l->prefix, name, best);
    l->prefix[best] = 0;
  }
  return best < sizeof l->prefix;
}

static bool is(const mica_shape *s, int64_t a, int64_t b, int64_t c, int64_t d) {
  return s && s->dim[0] == a && s->dim[1] == b && s->dim[2] == c && s->dim[3] == d;
}

/* ---- residual networks ---- */

/* Blocks of a stage that are whole, in the reference layout [O,I,k,k]. */
static int count_blocks(const look *l, int stage, int64_t width, bool bottleneck) {
  int n = 0;
  while (n < 1000 && is(shape_of(l, 4, "layer%d.%d.conv2.weight", stage, n), width, width, 3, 3) &&
         (!bottleneck ||
          is(shape_of(l, 4, "layer%d.%d.conv3.weight", stage, n), 4 * width, width, 1, 1)))
    n++;
  return n;
}

static int64_t rows_of(const look *l, const char *head) {
  const mica_shape *s = shape_of(l, 2, "%s.weight", head);
  return s ? s->dim[0] : 0;
}

static bool residual(look *l, architecture_guess *g) {
  static const struct {
    int depth, blocks[4];
    bool bottleneck;
  } known[] = {{18, {2, 2, 2, 2}, false},
               {34, {3, 4, 6, 3}, false},
               {50, {3, 4, 6, 3}, true},
               {101, {3, 4, 23, 3}, true},
               {152, {3, 8, 36, 3}, true}};
  if (!anchored(l, "layer1.0.conv1.weight")) return false;
  const mica_shape *stem = shape_of(l, 4, "conv1.weight");
  if (!stem || stem->dim[0] < 1 || stem->dim[0] > 4096) return false;
  const int64_t width = stem->dim[0], channels = stem->dim[1], kernel = stem->dim[2];
  const bool bottleneck = shape_of(l, 4, "layer1.0.conv3.weight") != NULL;
  int blocks[4];
  for (int s = 0; s < 4; s++) blocks[s] = count_blocks(l, s + 1, width << s, bottleneck);
  if (!blocks[3] && blocks[0] && blocks[0] == blocks[1] && blocks[0] == blocks[2] && kernel == 3) {
    const bool convolved = shape_of(l, 4, "layer2.0.shortcut.0.weight") != NULL;
    snprintf(g->spec, sizeof g->spec, "resnet:depth=%d%s", 6 * blocks[0] + 2,
             convolved ? ":shortcut=b" : "");
    if (width != 16) snprintf(g->spec + strlen(g->spec), 40, ":width=%lld", (long long)width);
    snprintf(g->names, sizeof g->names, "the names of the CIFAR-10 checkpoints");
    g->problem = (mica_problem)MICA_PROBLEM_IMAGES(32, 32, channels, rows_of(l, "linear"));
    return true;
  }
  for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
    if (known[k].bottleneck != bottleneck || memcmp(blocks, known[k].blocks, sizeof blocks) != 0)
      continue;
    snprintf(g->names, sizeof g->names, "torchvision's names");
    g->problem = (mica_problem)MICA_PROBLEM_IMAGES(224, 224, channels, rows_of(l, "fc"));
    if (known[k].depth == 152) {
      snprintf(g->note, sizeof g->note, "resnet152, which this version does not have");
      return true;
    }
    snprintf(g->spec, sizeof g->spec, "resnet:depth=%d%s", known[k].depth,
             kernel == 3 ? ":small" : "");
    if (kernel == 3) g->problem.height = g->problem.width = 32;
    if (width != 64) snprintf(g->spec + strlen(g->spec), 40, ":width=%lld", (long long)width);
    return true;
  }
  return false;
}

/* ---- scaled inverted bottlenecks ---- */

static int64_t elements_of(const mica_archive *f) {
  int64_t n = 0;
  for (int64_t i = 0; i < mica_archive_count(f); i++)
    n += mica_shape_count(mica_archive_shape(f, i));
  return n;
}

/* The variants differ in the stem's channels, the number of blocks or the head's channels. */
static bool scaled(look *l, architecture_guess *g) {
  static const struct {
    int64_t stem, head, side, elements; /* elements: of the parameters without a classifier */
    int blocks;
  } variants[] = {{32, 1280, 224, 4007548, 16},  {32, 1280, 240, 6513184, 23},
                  {32, 1408, 260, 7700994, 23},  {40, 1536, 300, 10696232, 26},
                  {48, 1792, 380, 17548616, 32}, {48, 2048, 456, 28340784, 39},
                  {56, 2304, 528, 40735704, 45}, {64, 2560, 600, 63786960, 55}};
  if (!anchored(l, "_conv_stem.weight")) return false;
  const mica_shape *stem = shape_of(l, 4, "_conv_stem.weight"),
                   *head = shape_of(l, 4, "_conv_head.weight");
  int blocks = 0;
  while (blocks < 64 && shape_of(l, 4, "_blocks.%d._depthwise_conv.weight", blocks)) blocks++;
  for (int b = 0; b < 8 && stem && head; b++) {
    if (stem->dim[0] != variants[b].stem || head->dim[0] != variants[b].head ||
        blocks != variants[b].blocks || elements_of(l->f) < variants[b].elements)
      continue;
    snprintf(g->spec, sizeof g->spec, "efficientnet");
    if (b) snprintf(g->spec, sizeof g->spec, "efficientnet:variant=b%d", b);
    snprintf(g->names, sizeof g->names, "names of efficientnet_pytorch");
    g->problem = (mica_problem)MICA_PROBLEM_IMAGES(variants[b].side, variants[b].side, stem->dim[1],
                                                   rows_of(l, "_fc"));
    return true;
  }
  return false;
}

/* ---- vision transformers ---- */

static bool transformer(look *l, architecture_guess *g) {
  if (!anchored(l, "patch_embed.proj.weight")) return false;
  const mica_shape *patches = shape_of(l, 4, "patch_embed.proj.weight");
  const mica_shape *place = shape_of(l, 3, "pos_embed");
  if (!patches || !place || patches->dim[2] != patches->dim[3] || patches->dim[2] < 1) return false;
  const int64_t d = patches->dim[0], patch = patches->dim[2];
  const bool token = shape_of(l, 3, "cls_token") != NULL;
  const int64_t n = place->dim[1] - token, side = (int64_t)llround(sqrt((double)(n > 0 ? n : 0)));
  const mica_shape *fc1 = shape_of(l, 2, "blocks.0.mlp.fc1.weight");
  if (!fc1 || d < 1 || place->dim[2] != d || side * side != n || n < 1) return false;
  const int64_t hidden = fc1->dim[0];
  int depth = 0;
  for (;; depth++) {
    const mica_shape *qkv = shape_of(l, 2, "blocks.%d.attn.qkv.weight", depth);
    const mica_shape *up = shape_of(l, 2, "blocks.%d.mlp.fc1.weight", depth);
    if (!qkv || !up || qkv->dim[0] != 3 * d || qkv->dim[1] != d || up->dim[0] != hidden ||
        up->dim[1] != d || depth == 1000)
      break;
  }
  if (!depth) return false;
  const int64_t heads = d % 64 == 0 ? d / 64 : 1;
  snprintf(g->spec, sizeof g->spec, "vit:patch=%lld:dim=%lld:depth=%d:heads=%lld", (long long)patch,
           (long long)d, depth, (long long)heads);
  if (hidden != 4 * d)
    snprintf(g->spec + strlen(g->spec), 40, ":mlp_ratio=%.9g", (double)hidden / (double)d);
  if (!shape_of(l, 1, "blocks.0.attn.qkv.bias")) strcat(g->spec, ":qkv_bias=false");
  if (!token) strcat(g->spec, ":pool=avg");
  snprintf(g->names, sizeof g->names, "timm's names");
  snprintf(g->note, sizeof g->note, "shapes do not tell the number of heads: %lld is width / 64",
           (long long)heads);
  g->problem = (mica_problem)MICA_PROBLEM_IMAGES(side * patch, side * patch, patches->dim[1],
                                                 rows_of(l, "head"));
  return true;
}

/* ---- mica's own plain networks ---- */

static bool convolutional(look *l, architecture_guess *g) {
  if (!anchored(l, "stages.0.conv1.weight")) return false;
  const mica_shape *s = shape_of(l, 4, "stages.0.conv1.weight");
  if (!s) return false;
  const int64_t channels = s->dim[1];
  int64_t in = channels;
  int convolutions = 1;
  while (convolutions < 64 && shape_of(l, 4, "stages.0.conv%d.weight", convolutions + 1))
    convolutions++;
  char *end = g->spec + snprintf(g->spec, sizeof g->spec, "convnet:widths=");
  for (int i = 0; i < MICA_LIST_MAX; i++) {
    const mica_shape *a = shape_of(l, 4, "stages.%d.conv1.weight", i);
    if (!a) break;
    const int64_t out = a->dim[0];
    bool fits = is(a, out, in, 3, 3);
    for (int j = 2; j <= convolutions && fits; j++)
      fits = is(shape_of(l, 4, "stages.%d.conv%d.weight", i, j), out, out, 3, 3);
    if (!fits) {
      g->spec[0] = 0;
      return false;
    }
    end += snprintf(end, 24, "%s%lld", i ? "," : "", (long long)out);
    in = out;
  }
  if (convolutions != 2) snprintf(end, 24, ":convolutions=%d", convolutions);
  snprintf(g->names, sizeof g->names, "mica's names");
  g->problem = (mica_problem)MICA_PROBLEM_IMAGES(32, 32, channels, rows_of(l, "head"));
  return true;
}

static bool perceptron(look *l, architecture_guess *g) {
  if (!anchored(l, "layers.0.weight")) return false;
  const mica_shape *s = shape_of(l, 2, "layers.0.weight");
  if (!s || !rows_of(l, "head")) return false;
  const int64_t columns = s->dim[1];
  int64_t in = columns;
  char *end = g->spec + snprintf(g->spec, sizeof g->spec, "mlp:hidden=");
  for (int i = 0; i < MICA_LIST_MAX && (s = shape_of(l, 2, "layers.%d.weight", i)); i++) {
    if (s->dim[1] != in) {
      g->spec[0] = 0;
      return false;
    }
    in = s->dim[0];
    end += snprintf(end, 24, "%s%lld", i ? "," : "", (long long)in);
  }
  snprintf(g->names, sizeof g->names, "mica's names");
  snprintf(g->note, sizeof g->note, "shapes do not tell pictures from rows of %lld columns",
           (long long)columns);
  g->problem = (mica_problem)MICA_PROBLEM_ROWS(columns, rows_of(l, "head"));
  return true;
}

void guess_architecture(const mica_archive *f, architecture_guess *out) {
  static bool (*const forms[])(look *, architecture_guess *) = {residual, scaled, transformer,
                                                                convolutional, perceptron};
  for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
    look l = {.f = f};
    *out = (architecture_guess){0};
    if (forms[i](&l, out)) return;
  }
}
