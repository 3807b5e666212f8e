/* A graph of neighbours in layers (Malkov and Yashunin 2018, "Efficient and robust approximate
 * nearest neighbor search using Hierarchical Navigable Small World graphs").
 *
 * Every row is in layer 0, each further layer has one row in `links` of the one below. A query
 * walks greedily down the upper layers and then keeps the `candidates` nearest rows that it meets
 * in layer 0; these are scored exactly.
 *
 * Rows are put in by batches: each looks for its neighbours in the graph as it was before the batch
 * and among the rows of the batch before it; then every row that was chosen takes in those that
 * chose it. Both halves work row by row, so the graph is the same for every number of threads.
 *
 * A file's links are only read where a walk meets them, and one that names no row of its layer is
 * passed over there: opening a large index costs little, and a damaged graph finds less.
 */
#include "index/arrays.h"
#include "index/index.h"

#include "numeric/chunks.h"
#include "tensor/dtype.h"
#include "tensor/kernel/kernel.h"
#include "tensor/kernel/search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  mica_index_head head;
  int64_t links, build, candidates, seed;
} options;

static const mica_option option_table[] = {
    MICA_INDEX_HEAD_OPTIONS(options),
    {"links", MICA_OPTION_INT, "16", 2, 256, NULL,
     "neighbours that a row keeps, twice as many in the lowest layer", offsetof(options, links)},
    {"build", MICA_OPTION_INT, "128", 1, 1 << 16, NULL,
     "candidates that a row's neighbours are chosen from", offsetof(options, build)},
    {"candidates", MICA_OPTION_INT, "64", 1, 1 << 24, NULL,
     "nearest rows that a query keeps on its way", offsetof(options, candidates)},
    {"seed", MICA_OPTION_INT, "0", 0, 0, NULL, "of the rows' layers", offsetof(options, seed)},
    {NULL, MICA_OPTION_BOOL, NULL, 0, 0, NULL, NULL, 0}};

enum { most_layers = 32 };

/* Arrays are the state's own after a build, and lie in the file's memory after a load. */
typedef struct {
  int64_t n, links;
  int64_t top, entry;   /* the highest layer, and a row in it */
  const uint8_t *layer; /* [n] the highest layer of each row */
  int64_t *upper_at;    /* [n] the row's first list in `upper` */
  int32_t *ground;      /* [n, 2 links] neighbours in layer 0, -1 after the last */
  int32_t *upper;       /* [sum of layers, links] those in layers 1, 2, ... */
  mica_tensor *held[4]; /* layers, ground, upper, entry */
} state;

static void free_state(void *p) {
  state *s = p;
  if (!s) return;
  for (size_t i = 0; i < sizeof s->held / sizeof *s->held; i++) mica_tensor_free(s->held[i]);
  mica_free(s->upper_at);
  mica_free(s);
}

static int32_t *links_of(const state *s, int64_t row, int64_t layer, int64_t *room) {
  *room = layer ? s->links : 2 * s->links;
  return layer ? s->upper + (s->upper_at[row] + layer - 1) * s->links
               : s->ground + row * 2 * s->links;
}

/* ---- how far rows are apart ---- */

typedef struct {
  const state *s;
  const mica_index_rows *rows;
  const mica_search_kernels *kernels;
} graph;

/* A row, or a query under cosine of length 1, as float32. */
typedef struct {
  const float *x;
  double norm;
} point;

/* Row number `row`; `scratch` [d] is for storage of 16 bits. */
static point point_of(const graph *g, int64_t row, float *scratch) {
  const mica_index_rows *r = g->rows;
  if (r->dtype == MICA_F32) return (point){(const float *)r->x + row * r->d, r->norm[row]};
  mica_convert(scratch, MICA_F32, (const uint16_t *)r->x + row * r->d, r->dtype, (size_t)r->d);
  return (point){scratch, r->norm[row]};
}

/* The smaller the nearer. */
static float distance(const graph *g, point a, point b) {
  const int64_t d = g->rows->d;
  if (g->rows->metric == MICA_INDEX_L2) return g->kernels->near_squares(d, a.x, b.x);
  const float dot = g->kernels->near_dot(d, a.x, b.x);
  if (g->rows->metric == MICA_INDEX_INNER) return -dot;
  const double lengths = a.norm * b.norm;
  return lengths > 0 ? -(float)((double)dot / lengths) : 0;
}

/* ---- heaps ---- */

typedef struct {
  float distance;
  int32_t row;
} near;

static bool nearer(near a, near b) {
  return a.distance < b.distance || (a.distance == b.distance && a.row < b.row);
}

/* The root is the nearest of a heap of candidates, the farthest of a heap of those that are kept.
 */
static bool above(near a, near b, bool farthest) {
  return farthest ? nearer(b, a) : nearer(a, b);
}

static void push(near *heap, int64_t *n, near item, bool farthest) {
  int64_t i = (*n)++;
  for (; i > 0 && above(item, heap[(i - 1) / 2], farthest); i = (i - 1) / 2)
    heap[i] = heap[(i - 1) / 2];
  heap[i] = item;
}

static near pop(near *heap, int64_t *n, bool farthest) {
  const near root = heap[0], last = heap[--*n];
  int64_t i = 0;
  for (int64_t child; (child = 2 * i + 1) < *n; i = child) {
    if (child + 1 < *n && above(heap[child + 1], heap[child], farthest)) child++;
    if (!above(heap[child], last, farthest)) break;
    heap[i] = heap[child];
  }
  heap[i] = last;
  return root;
}

/* ---- a walk ---- */

/* One thread's memory. Candidates are as many as rows met, so their heap grows. */
typedef struct {
  uint64_t *met; /* a bit a row */
  int32_t *list; /* the rows met, to clear their bits by */
  int64_t listed, list_room;
  near *candidate;
  int64_t candidates, candidate_room;
  near *kept; /* [room for the most that are kept] */
  int64_t count;
  float *scratch; /* [3, d] */
} walk;

static mica_status walk_begin(walk *w, const graph *g, int64_t keep) {
  *w = (walk){0};
  w->met = mica_calloc((size_t)(g->rows->n / 64 + 1), sizeof *w->met);
  w->kept = mica_realloc_array(NULL, (size_t)keep + 1, sizeof *w->kept);
  w->scratch = mica_realloc_array(NULL, (size_t)(3 * g->rows->d), sizeof *w->scratch);
  return w->met && w->kept && w->scratch ? MICA_OK : MICA_ERR_MEMORY;
}

static void walk_end(walk *w) {
  mica_free(w->met);
  mica_free(w->list);
  mica_free(w->candidate);
  mica_free(w->kept);
  mica_free(w->scratch);
}

static mica_status grow(void **block, int64_t *room, size_t bytes) {
  const int64_t more = *room ? 2 * *room : 1024;
  void *grown = mica_realloc_array(*block, (size_t)more, bytes);
  if (!grown) return MICA_ERR_MEMORY;
  *block = grown;
  *room = more;
  return MICA_OK;
}

/* True the first time. Lists have room for all links of one more row. */
static bool meet(walk *w, int64_t row) {
  const uint64_t bit = UINT64_C(1) << row % 64;
  if (w->met[row / 64] & bit) return false;
  w->met[row / 64] |= bit;
  w->list[w->listed++] = (int32_t)row;
  return true;
}

static void forget(walk *w) {
  for (int64_t i = 0; i < w->listed; i++) w->met[w->list[i] / 64] = 0;
  w->listed = 0;
}

static mica_status make_room(walk *w, int64_t links) {
  mica_status status = MICA_OK;
  while (!status && w->listed + links > w->list_room)
    status = grow((void **)&w->list, &w->list_room, sizeof *w->list);
  while (!status && w->candidates + links > w->candidate_room)
    status = grow((void **)&w->candidate, &w->candidate_room, sizeof *w->candidate);
  return status;
}

static void keep(walk *w, int64_t most, near item) {
  if (w->count == most) {
    if (!nearer(item, w->kept[0])) return;
    pop(w->kept, &w->count, true);
  }
  push(w->kept, &w->count, item, true);
}

static void prefetch_row(const graph *g, int32_t row) {
  const size_t bytes = (size_t)g->rows->d * mica_dtype_size(g->rows->dtype);
  const char *at = (const char *)g->rows->x + (size_t)row * bytes;
  for (size_t b = 0; b < bytes && b < 512; b += 64) __builtin_prefetch(at + b);
}

/* Rows asked for before they are compared. */
enum { ahead = 3 };

/* Is it a row of this layer? */
static bool belongs(const state *s, int32_t row, int64_t layer) {
  return row >= 0 && row < s->n && s->layer[row] >= layer;
}

/* The `most` nearest rows of a layer that a walk from `from` meets, to w->kept, a heap. With `best`
 * only rows that may be in the answer are kept. */
static mica_status walk_layer(const graph *g, walk *w, point q, near from, int64_t layer,
                              int64_t most, const mica_index_best *best) {
  w->count = w->candidates = 0;
  mica_status status = make_room(w, 1);
  if (status) return status;
  meet(w, from.row);
  push(w->candidate, &w->candidates, from, false);
  if (!best || mica_index_wanted(best, from.row)) keep(w, most, from);
  while (w->candidates) {
    const near c = pop(w->candidate, &w->candidates, false);
    if (w->count == most && nearer(w->kept[0], c)) break;
    int64_t room;
    const int32_t *link = links_of(g->s, c.row, layer, &room);
    if ((status = make_room(w, room))) break;
    /* Most links lead to rows that were met before; only the others are asked for. */
    const int64_t first = w->listed;
    for (int64_t i = 0; i < room && link[i] >= 0; i++)
      if (belongs(g->s, link[i], layer) && meet(w, link[i]) && w->listed - first <= ahead)
        prefetch_row(g, link[i]);
    for (int64_t i = first; i < w->listed; i++) {
      if (i + ahead < w->listed) prefetch_row(g, w->list[i + ahead]);
      const near met = {distance(g, q, point_of(g, w->list[i], w->scratch)), w->list[i]};
      if (w->count == most && !nearer(met, w->kept[0])) continue;
      push(w->candidate, &w->candidates, met, false);
      if (!best || mica_index_wanted(best, met.row)) keep(w, most, met);
    }
  }
  forget(w);
  return status;
}

/* The nearest row of the layers above `layer` that a greedy walk finds. */
static near descend(const graph *g, walk *w, point q, int64_t layer) {
  near best = {distance(g, q, point_of(g, g->s->entry, w->scratch)), (int32_t)g->s->entry};
  for (int64_t l = g->s->top; l > layer; l--)
    for (bool moved = true; moved;) {
      moved = false;
      int64_t room;
      const int32_t *link = links_of(g->s, best.row, l, &room);
      for (int64_t i = 0; i < room && link[i] >= 0; i++) {
        if (!belongs(g->s, link[i], l)) continue;
        const near met = {distance(g, q, point_of(g, link[i], w->scratch)), link[i]};
        if (!nearer(met, best)) continue;
        best = met;
        moved = true;
      }
    }
  return best;
}

/* ---- building ---- */

/* Of candidates that ascend, at most `room` for a row's links: those that are nearer to it than to
 * any chosen before (algorithm 4 of the paper). */
static int64_t choose(const graph *g, float *scratch, const near *candidate, int64_t n,
                      int64_t room, int32_t *link) {
  int64_t count = 0;
  for (int64_t i = 0; i < n && count < room; i++) {
    const point c = point_of(g, candidate[i].row, scratch);
    bool good = true;
    for (int64_t j = 0; j < count && good; j++)
      good = candidate[i].distance < distance(g, c, point_of(g, link[j], scratch + g->rows->d));
    if (good) link[count++] = candidate[i].row;
  }
  for (int64_t i = count; i < room; i++) link[i] = -1;
  return count;
}

static int by_distance(const void *pa, const void *pb) {
  const near *a = pa, *b = pb;
  return nearer(*a, *b) ? -1 : nearer(*b, *a);
}

/* That row `to` was chosen by row `from` in a layer. */
typedef struct {
  int32_t to, from, layer;
} edge;

static int by_target(const void *pa, const void *pb) {
  const edge *a = pa, *b = pb;
  if (a->to != b->to) return a->to < b->to ? -1 : 1;
  if (a->layer != b->layer) return a->layer < b->layer ? -1 : 1;
  return a->from < b->from ? -1 : a->from > b->from;
}

typedef struct {
  graph g;
  int64_t begin, end, width; /* the batch, and candidates looked for */
  const edge *edge;
  int64_t edges;
  const int64_t *group; /* where the edges of each target begin */
  int64_t groups;
} batch;

enum { chunk_rows = 8 };

/* Links of row i in one layer: of what a walk found, and of the batch's rows before it. */
static void link_row(const batch *b, walk *w, int64_t i, int64_t layer, near *candidate) {
  const graph *g = &b->g;
  const point q = point_of(g, i, w->scratch + 2 * g->rows->d);
  int64_t room;
  for (int64_t j = b->begin; j < i; j++)
    if (g->s->layer[j] >= layer)
      keep(w, b->width, (near){distance(g, q, point_of(g, j, w->scratch)), (int32_t)j});
  const int64_t n = w->count;
  memcpy(candidate, w->kept, (size_t)n * sizeof *candidate);
  qsort(candidate, (size_t)n, sizeof *candidate, by_distance);
  int32_t *link = links_of(g->s, i, layer, &room);
  const int64_t count = choose(g, w->scratch, candidate, n, g->s->links, link);
  for (int64_t j = count; j < room; j++) link[j] = -1;
}

static mica_status find_chunk(void *ctx, int64_t chunk, void *scratch) {
  const batch *b = ctx;
  const graph *g = &b->g;
  const int64_t begin = b->begin + chunk * chunk_rows;
  const int64_t end = begin + chunk_rows < b->end ? begin + chunk_rows : b->end;
  near *candidate = scratch;
  walk w;
  mica_status status = walk_begin(&w, g, b->width);
  for (int64_t i = begin; i < end && !status; i++) {
    const point q = point_of(g, i, w.scratch + 2 * g->rows->d);
    const int64_t own = g->s->layer[i], highest = own < g->s->top ? own : g->s->top;
    near from = descend(g, &w, q, highest);
    for (int64_t layer = own; layer >= 0 && !status; layer--) {
      w.count = 0; /* no row before the batch is in this layer */
      if (layer <= g->s->top) {
        status = walk_layer(g, &w, q, from, layer, b->width, NULL);
        for (int64_t j = 0; j < w.count; j++)
          if (nearer(w.kept[j], from)) from = w.kept[j];
      }
      if (!status) link_row(b, &w, i, layer, candidate);
    }
  }
  walk_end(&w);
  return status;
}

/* One target takes in the rows that chose it; with too many, all are chosen from anew. */
static mica_status take_in(void *ctx, int64_t group, void *scratch) {
  const batch *b = ctx;
  const graph *g = &b->g;
  const edge *e = b->edge + b->group[group];
  const int64_t more = b->group[group + 1] - b->group[group];
  int64_t room, n = 0;
  int32_t *link = links_of(g->s, e->to, e->layer, &room);
  while (n < room && link[n] >= 0) n++;
  if (n + more <= room) {
    for (int64_t j = 0; j < more; j++) link[n + j] = e[j].from;
    return MICA_OK;
  }
  near *candidate = mica_realloc_array(NULL, (size_t)(n + more), sizeof *candidate);
  if (!candidate) return MICA_ERR_MEMORY;
  float *x = scratch;
  const point q = point_of(g, e->to, x + 2 * g->rows->d);
  for (int64_t j = 0; j < n + more; j++) {
    const int32_t row = j < n ? link[j] : e[j - n].from;
    candidate[j] = (near){distance(g, q, point_of(g, row, x)), row};
  }
  qsort(candidate, (size_t)(n + more), sizeof *candidate, by_distance);
  choose(g, x, candidate, n + more, room, link);
  mica_free(candidate);
  return MICA_OK;
}

/* The choices of a batch's rows, by target. */
static int64_t list_edges(const batch *b, edge *edge_, int64_t *group, int64_t *groups) {
  int64_t n = 0;
  for (int64_t i = b->begin; i < b->end; i++)
    for (int64_t layer = 0; layer <= b->g.s->layer[i]; layer++) {
      int64_t room;
      const int32_t *link = links_of(b->g.s, i, layer, &room);
      for (int64_t j = 0; j < room && link[j] >= 0; j++)
        edge_[n++] = (edge){link[j], (int32_t)i, (int32_t)layer};
    }
  qsort(edge_, (size_t)n, sizeof *edge_, by_target);
  *groups = 0;
  for (int64_t i = 0; i < n; i++)
    if (!i || edge_[i].to != edge_[i - 1].to || edge_[i].layer != edge_[i - 1].layer)
      group[(*groups)++] = i;
  group[*groups] = n;
  return n;
}

enum { most_batch = 512 };

static mica_status put_in(const mica_engine *engine, batch *b, edge *edges, int64_t *group) {
  const size_t candidates = (size_t)(b->width + 1) * sizeof(near);
  const size_t points = (size_t)(3 * b->g.rows->d) * sizeof(float);
  mica_status status = mica_chunks_run(engine, mica_chunks_of(b->end - b->begin, chunk_rows),
                                       candidates, find_chunk, b);
  if (status) return status;
  b->edge = edges;
  b->group = group;
  b->edges = list_edges(b, edges, group, &b->groups);
  return mica_chunks_run(engine, b->groups, points, take_in, b);
}

/* Layers by the exponential distribution of the paper. */
static void draw_layers(uint8_t *layer, int64_t n, int64_t links, uint64_t seed) {
  const mica_key key = mica_key_fold_name(mica_key_seed(seed), "hnsw");
  for (int64_t i = 0; i < n; i++) {
    const double u = mica_random_uniform(key, (uint64_t)i);
    const double l = -log(1 - u) / log((double)links);
    layer[i] = (uint8_t)(l < most_layers - 1 ? l : most_layers - 1);
  }
}

static mica_status find_upper(state *s, int64_t *all) {
  s->upper_at = mica_realloc_array(NULL, (size_t)s->n, sizeof *s->upper_at);
  if (!s->upper_at) return MICA_ERR_MEMORY;
  *all = 0;
  for (int64_t i = 0; i < s->n; i++) {
    s->upper_at[i] = *all;
    *all += s->layer[i];
  }
  return MICA_OK;
}

static mica_status make(const options *o, const mica_index_rows *rows, state *s) {
  void *layer = NULL, *ground = NULL, *upper = NULL, *entry = NULL;
  int64_t all = 0;
  s->n = rows->n;
  s->links = o->links;
  if (rows->n > INT32_MAX)
    return mica_fail(MICA_ERR_UNSUPPORTED, "hnsw: %lld rows, at most %d", (long long)rows->n,
                     INT32_MAX);
  mica_status status = mica_index_array_make(MICA_U8, MICA_SHAPE(s->n), &s->held[0], &layer);
  if (status) return status;
  draw_layers(layer, s->n, o->links, (uint64_t)o->seed);
  s->layer = layer;
  status = find_upper(s, &all);
  if (!status)
    status = mica_index_array_make(MICA_I32, MICA_SHAPE(s->n, 2 * s->links), &s->held[1], &ground);
  if (!status)
    status = mica_index_array_make(MICA_I32, MICA_SHAPE(all, s->links), &s->held[2], &upper);
  if (!status) status = mica_index_array_make(MICA_I64, MICA_SHAPE(1), &s->held[3], &entry);
  if (status) return status;
  s->ground = ground;
  s->upper = upper;
  memset(ground, 0xff, (size_t)(s->n * 2 * s->links) * sizeof *s->ground);
  memset(upper, 0xff, (size_t)(all * s->links) * sizeof *s->upper);
  return MICA_OK;
}

static mica_status build(const mica_engine *engine, const void *options_,
                         const mica_index_rows *rows, void **out) {
  const options *o = options_;
  state *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  mica_status status = make(o, rows, s);
  const size_t most = (size_t)most_batch * (size_t)(o->links * (most_layers + 1)) + 1;
  edge *edges = mica_realloc_array(NULL, most, sizeof *edges);
  int64_t *group = mica_realloc_array(NULL, most, sizeof *group);
  if (!status && (!edges || !group)) status = MICA_ERR_MEMORY;
  if (!status) s->top = s->layer[0];
  for (int64_t begin = 1, end; begin < rows->n && !status; begin = end) {
    end = begin + (begin / 8 < 1 ? 1 : begin / 8 > most_batch ? most_batch : begin / 8);
    if (end > rows->n) end = rows->n;
    batch b = {.g = {s, rows, mica_kernels_of(engine, MICA_F32)->search},
               .begin = begin,
               .end = end,
               .width = o->build > o->links ? o->build : o->links};
    status = put_in(engine, &b, edges, group);
    for (int64_t i = begin; i < end; i++)
      if (s->layer[i] > s->top) {
        s->top = s->layer[i];
        s->entry = i;
      }
  }
  if (!status) *(int64_t *)mica_tensor_view(s->held[3]).data = s->entry;
  mica_free(edges);
  mica_free(group);
  if (status)
    free_state(s);
  else
    *out = s;
  return status;
}

/* ---- files ---- */

static const char *const held_name[] = {"layers", "ground", "upper", "entry"};

static mica_status save(const void *p, mica_record *record) {
  const state *s = p;
  return mica_index_arrays_save(record, held_name, s->held, sizeof s->held / sizeof *s->held);
}

static mica_status take(state *s, const mica_record *record, int which, mica_dtype dtype, int64_t n,
                        void **data) {
  return mica_index_array_take(record, "hnsw", held_name[which], dtype, n, &s->held[which], data);
}

static mica_status load(const mica_engine *engine, const void *options_,
                        const mica_index_rows *rows, const mica_record *record, void **out) {
  (void)engine;
  state *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  void *p = NULL;
  int64_t all = 0;
  s->n = rows->n;
  s->links = ((const options *)options_)->links;
  mica_status status = take(s, record, 0, MICA_U8, s->n, &p);
  s->layer = p;
  for (int64_t i = 0; i < s->n && !status; i++)
    if (s->layer[i] >= most_layers)
      status =
          mica_fail(MICA_ERR_FORMAT, "hnsw: row %lld is in layer %d", (long long)i, s->layer[i]);
  if (!status) status = find_upper(s, &all);
  if (!status) status = take(s, record, 1, MICA_I32, s->n * 2 * s->links, &p);
  if (!status) s->ground = p;
  if (!status) status = take(s, record, 2, MICA_I32, all * s->links, &p);
  if (!status) s->upper = p;
  if (!status) status = take(s, record, 3, MICA_I64, 1, &p);
  if (!status) {
    s->entry = *(const int64_t *)p;
    if (s->entry < 0 || s->entry >= s->n)
      status = mica_fail(MICA_ERR_FORMAT, "hnsw: entry %lld of %lld rows", (long long)s->entry,
                         (long long)s->n);
  }
  if (!status) s->top = s->layer[s->entry];
  if (status)
    free_state(s);
  else
    *out = s;
  return status;
}

/* ---- queries ---- */

typedef struct {
  graph g;
  int64_t width;
} search;

enum { query_rows = 8 };

static mica_status look(void *ctx, const mica_index_question *question, int64_t begin, int64_t end,
                        int64_t part, mica_index_best *const *best, void *scratch) {
  (void)part;
  const search *s = ctx;
  const int64_t d = s->g.rows->d;
  const double *x = mica_index_question_rows(question);
  float *query = scratch;
  walk w;
  mica_status status = walk_begin(&w, &s->g, s->width);
  for (int64_t i = begin; i < end && !status; i++) {
    mica_convert(query, MICA_F32, x + i * d, MICA_F64, (size_t)d);
    const point q = {query, 1};
    const near from = descend(&s->g, &w, q, 0);
    status = walk_layer(&s->g, &w, q, from, 0, s->width, best[i - begin]);
    for (int64_t j = 0; j < w.count && !status; j++)
      mica_index_offer(best[i - begin], w.kept[j].row);
  }
  walk_end(&w);
  return status;
}

static mica_status query(const mica_engine *engine, const void *options_, const void *state_,
                         const mica_index_rows *rows, mica_index_question *question) {
  const int64_t effort = mica_index_question_effort(question), k = mica_index_question_k(question);
  search s = {{state_, rows, mica_kernels_of(engine, MICA_F32)->search},
              effort ? effort : ((const options *)options_)->candidates};
  if (s.width < k) s.width = k;
  return mica_index_work_light(engine, question, query_rows, 1, (size_t)rows->d * sizeof(float),
                               look, &s);
}

static const mica_index_functions functions = {.size = sizeof functions,
                                               .build = build,
                                               .free = free_state,
                                               .save = save,
                                               .load = load,
                                               .query = query};

extern const mica_component mica_component_index_hnsw;
const mica_component mica_component_index_hnsw = {MICA_COMPONENT_HEAD,
                                                  MICA_KIND_INDEX,
                                                  "hnsw",
                                                  "a graph of neighbours in layers",
                                                  NULL,
                                                  option_table,
                                                  sizeof(options),
                                                  MICA_NEED_FEATURES,
                                                  0,
                                                  &functions};
