/* The ground truth of revisited Oxford and Paris: a pickle, read as data. */
#include <mica/dataset.h>

#include "data/pickle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct query {
  const char *name;
  bool boxed;
  double box[4];
  int64_t *list[3], n[3];
} query;

struct mica_revisited {
  mica_pickle pickle; /* owns the names */
  const mica_pickle_value *images;
  query *query;
  int64_t queries, answers;
  char *path;
};

void mica_revisited_free(mica_revisited *r) {
  if (!r) return;
  for (int64_t q = 0; q < r->queries; q++)
    for (int k = 0; k < 3; k++) mica_free(r->query[q].list[k]);
  mica_free(r->query);
  mica_free(r->path);
  mica_pickle_free(&r->pickle);
  mica_free(r);
}

static bool is_list(const mica_pickle_value *v) {
  return v && (v->kind == MICA_PICKLE_LIST || v->kind == MICA_PICKLE_TUPLE);
}

/* A list of names, none of them empty or with a NUL in it. */
static mica_status names(const mica_revisited *r, const char *key, const mica_pickle_value **out) {
  *out = mica_pickle_get(r->pickle.root, key);
  bool good = is_list(*out) && (*out)->count > 0;
  for (int64_t i = 0; good && i < (*out)->count; i++) {
    const mica_pickle_value *v = (*out)->item[i];
    good = v->kind == MICA_PICKLE_TEXT && v->n && strlen(v->text) == v->n;
  }
  return good ? MICA_OK
              : mica_fail(MICA_ERR_FORMAT, "%s: expected a list of names under '%s'", r->path, key);
}

static int by_value(const void *pa, const void *pb) {
  const int64_t a = *(const int64_t *)pa, b = *(const int64_t *)pb;
  return (a > b) - (a < b);
}

static mica_status read_box(const mica_revisited *r, const mica_pickle_value *v, int64_t q,
                            query *to) {
  if (!v || v->kind == MICA_PICKLE_NONE) return MICA_OK;
  bool good = is_list(v) && v->count == 4;
  for (int i = 0; good && i < 4; i++) {
    const mica_pickle_value *x = v->item[i];
    to->box[i] = x->kind == MICA_PICKLE_INT ? (double)x->integer : x->real;
    good = (x->kind == MICA_PICKLE_INT || x->kind == MICA_PICKLE_FLOAT) && fabs(to->box[i]) < 1e9;
  }
  to->boxed = true;
  if (good && to->box[2] > to->box[0] && to->box[3] > to->box[1]) return MICA_OK;
  return mica_fail(MICA_ERR_FORMAT,
                   "%s: query %lld: 'bbx' is no box of left, top, right and bottom", r->path,
                   (long long)q);
}

/* The three lists, and that none has an image twice or that another has. */
static mica_status read_lists(mica_revisited *r, const mica_pickle_value *v, int64_t q,
                              uint8_t *met, query *to) {
  static const char *const keys[] = {"easy", "hard", "junk"};
  bool good = true;
  for (int k = 0; k < 3 && good; k++) {
    const mica_pickle_value *list = mica_pickle_get(v, keys[k]);
    if (!is_list(list))
      return mica_fail(MICA_ERR_FORMAT, "%s: query %lld: no list under '%s'", r->path, (long long)q,
                       keys[k]);
    /* A list may be named by many queries: what is made stays in proportion to the file. */
    if ((r->answers += list->count) > r->pickle.values)
      return mica_fail(MICA_ERR_FORMAT, "%s: more answers than the file has numbers", r->path);
    int64_t *to_list = mica_malloc(((size_t)list->count + 1) * sizeof *to_list);
    if (!to_list) return MICA_ERR_MEMORY;
    to->list[k] = to_list;
    for (int64_t i = 0; i < list->count && good; i++) {
      const mica_pickle_value *x = list->item[i];
      good = x->kind == MICA_PICKLE_INT && x->integer >= 0 && x->integer < r->images->count &&
             !met[x->integer];
      if (good) met[to_list[to->n[k]++] = x->integer] = 1;
    }
    qsort(to_list, (size_t)to->n[k], sizeof *to_list, by_value);
  }
  for (int k = 0; k < 3; k++)
    for (int64_t i = 0; i < to->n[k]; i++) met[to->list[k][i]] = 0;
  return good ? MICA_OK
              : mica_fail(MICA_ERR_FORMAT,
                          "%s: query %lld: an answer that is no image's number, or there twice",
                          r->path, (long long)q);
}

static mica_status read_truth(mica_revisited *r) {
  const mica_pickle_value *asked, *truth = mica_pickle_get(r->pickle.root, "gnd");
  mica_status status = names(r, "imlist", &r->images);
  if (status == MICA_OK) status = names(r, "qimlist", &asked);
  if (status != MICA_OK) return status;
  if (!is_list(truth) || truth->count != asked->count)
    return mica_fail(MICA_ERR_FORMAT, "%s: expected a list of %lld dictionaries under 'gnd'",
                     r->path, (long long)asked->count);
  r->query = mica_calloc((size_t)asked->count, sizeof *r->query);
  uint8_t *met = mica_calloc((size_t)r->images->count, 1);
  if (!r->query || !met) status = MICA_ERR_MEMORY;
  for (int64_t q = 0; q < asked->count && status == MICA_OK; q++) {
    query *to = &r->query[r->queries++];
    to->name = asked->item[q]->text;
    status = read_box(r, mica_pickle_get(truth->item[q], "bbx"), q, to);
    if (status == MICA_OK) status = read_lists(r, truth->item[q], q, met, to);
  }
  mica_free(met);
  return status;
}

mica_status mica_revisited_open(const char *path, mica_revisited **out) {
  mica_source source;
  uint64_t at = 0;
  *out = NULL;
  if (!path) return mica_fail(MICA_ERR_INVALID, "ground truth: no path to open");
  mica_status status = mica_source_open(path, &source);
  if (status != MICA_OK) return status;
  mica_revisited *r = mica_calloc(1, sizeof *r);
  status = r && (r->path = mica_strdup(path)) ? mica_pickle_read(&source, &at, &r->pickle)
                                              : MICA_ERR_MEMORY;
  mica_source_close(&source);
  if (status == MICA_OK) status = read_truth(r);
  if (status == MICA_OK)
    *out = r;
  else
    mica_revisited_free(r);
  return status;
}

/* ---- looking ---- */

static const query *query_at(const mica_revisited *r, int64_t q) {
  return q >= 0 && q < r->queries ? &r->query[q] : NULL;
}

int64_t mica_revisited_images(const mica_revisited *r) {
  return r->images->count;
}
int64_t mica_revisited_queries(const mica_revisited *r) {
  return r->queries;
}
const char *mica_revisited_image(const mica_revisited *r, int64_t i) {
  return i >= 0 && i < r->images->count ? r->images->item[i]->text : NULL;
}
const char *mica_revisited_query(const mica_revisited *r, int64_t q) {
  return query_at(r, q) ? r->query[q].name : NULL;
}

bool mica_revisited_box(const mica_revisited *r, int64_t q, double box[4]) {
  if (!query_at(r, q) || !r->query[q].boxed) return false;
  memcpy(box, r->query[q].box, sizeof r->query[q].box);
  return true;
}

const int64_t *mica_revisited_list(const mica_revisited *r, int64_t q, mica_revisited_answers kind,
                                   int64_t *n) {
  *n = 0;
  if (!query_at(r, q) || (unsigned)kind > MICA_ANSWERS_JUNK) return NULL;
  *n = r->query[q].n[kind];
  return r->query[q].list[kind];
}
