/* Batches of queries that compete for the same documents, by walks on the graph of queries and
 * their candidates.
 *
 * The unused queries are a list that shrinks by exchange with its last, so that drawing one and
 * striking one off take the same few steps. Met queries wait in a list that is read from its end
 * (depth) or its front (breadth); those used meanwhile are passed over when they are read.
 */
#include <mica/retriever.h>

#include <string.h>

struct mica_locality {
  mica_locality_options o;
  mica_relevance truth;
  const int64_t *candidate; /* [queries, depth], -1 after the last */
  int64_t depth;
  int64_t *link_at, *link; /* of each document: the queries linked to it */
  int64_t *unused, *place; /* [queries]; place -1: used */
  int64_t left;
  int64_t *met, first, last; /* [queries + links of a batch], a window of it */
  int64_t room;
  uint64_t *taken; /* a bit a document of the batch under way */
  int64_t *order;  /* [to - from] ranks, shuffled for each draw */
  mica_key key;
  uint64_t draws;
};

static mica_status check(const mica_relevance *r, const int64_t *candidate, int64_t depth,
                         const mica_locality_options *o) {
  if (o->walk < MICA_WALK_RANDOM || o->walk > MICA_WALK_BREADTH || o->batch < 1 ||
      o->negatives < 0 || o->from < 0 || o->to < o->from || o->link_from < 0 ||
      o->link_to < o->link_from)
    return mica_fail(
        MICA_ERR_INVALID,
        "locality: walk %d, batch %lld, %lld negatives of ranks %lld to %lld, links of "
        "ranks %lld to %lld",
        o->walk, (long long)o->batch, (long long)o->negatives, (long long)o->from, (long long)o->to,
        (long long)o->link_from, (long long)o->link_to);
  if (r->queries < 1 || r->documents < 1 || depth < 0 || (depth && !candidate))
    return mica_fail(MICA_ERR_INVALID, "locality: %lld queries, %lld documents, %lld candidates",
                     (long long)r->queries, (long long)r->documents, (long long)depth);
  for (int64_t i = 0; i < r->queries; i++) {
    if (r->at[i] < 0 || r->at[i + 1] <= r->at[i])
      return mica_fail(MICA_ERR_INVALID, "locality: query %lld has no right document",
                       (long long)i);
    for (int64_t j = r->at[i]; j < r->at[i + 1]; j++)
      if (r->relevant[j] < 0 || r->relevant[j] >= r->documents)
        return mica_fail(MICA_ERR_INVALID, "locality: document %lld of query %lld, there are %lld",
                         (long long)r->relevant[j], (long long)i, (long long)r->documents);
  }
  for (int64_t i = 0; i < r->queries * depth; i++)
    if (candidate[i] < -1 || candidate[i] >= r->documents)
      return mica_fail(MICA_ERR_INVALID, "locality: candidate %lld of query %lld, there are %lld",
                       (long long)candidate[i], (long long)(i / depth), (long long)r->documents);
  return MICA_OK;
}

/* Which queries each document links, those of the lower number first. */
static mica_status make_links(mica_locality *s) {
  const int64_t from = s->o.link_from, to = s->o.link_to < s->depth ? s->o.link_to : s->depth;
  s->link_at = mica_calloc((size_t)s->truth.documents + 2, sizeof *s->link_at);
  if (!s->link_at) return MICA_ERR_MEMORY;
  int64_t *at = s->link_at + 1, total = 0;
  for (int64_t q = 0; q < s->truth.queries; q++)
    for (int64_t j = from; j < to; j++)
      if (s->candidate[q * s->depth + j] >= 0) at[s->candidate[q * s->depth + j] + 1]++, total++;
  s->link = mica_realloc_array(NULL, (size_t)total + 1, sizeof *s->link);
  if (!s->link) return MICA_ERR_MEMORY;
  for (int64_t i = 0; i < s->truth.documents; i++) at[i + 1] += at[i];
  /* at[i] moves to the end of document i's queries, which is where link_at expects i + 1's. */
  for (int64_t q = 0; q < s->truth.queries; q++)
    for (int64_t j = from; j < to; j++) {
      const int64_t d = s->candidate[q * s->depth + j];
      if (d >= 0) s->link[at[d]++] = q;
    }
  return MICA_OK;
}

mica_status mica_locality_create(const mica_relevance *truth, const int64_t *candidates,
                                 int64_t depth, const mica_locality_options *options,
                                 mica_locality **out) {
  mica_locality_options o = MICA_LOCALITY_OPTIONS;
  if (options) memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
  *out = NULL;
  mica_status status = check(truth, candidates, depth, &o);
  if (status) return status;
  mica_locality *s = mica_calloc(1, sizeof *s);
  if (!s) return MICA_ERR_MEMORY;
  s->o = o;
  s->truth = *truth;
  s->candidate = candidates;
  s->depth = depth;
  const size_t n = (size_t)truth->queries;
  const int64_t ranks = (o.to < depth ? o.to : depth) - o.from;
  s->unused = mica_realloc_array(NULL, n, sizeof *s->unused);
  s->place = mica_realloc_array(NULL, n, sizeof *s->place);
  s->order = mica_realloc_array(NULL, ranks > 0 ? (size_t)ranks : 1, sizeof *s->order);
  s->taken = mica_calloc((size_t)truth->documents / 64 + 1, sizeof *s->taken);
  status = s->unused && s->place && s->order && s->taken ? make_links(s) : MICA_ERR_MEMORY;
  /* A document is met once a batch, so what is met is at most all links, and at most so many. */
  if (!status) {
    s->room = 1;
    for (int64_t i = 0; i < truth->documents; i++) s->room += s->link_at[i + 1] - s->link_at[i];
    s->met = mica_realloc_array(NULL, (size_t)s->room, sizeof *s->met);
    if (!s->met) status = MICA_ERR_MEMORY;
  }
  if (status) {
    mica_locality_free(s);
    return status;
  }
  mica_locality_begin(s, 0);
  *out = s;
  return MICA_OK;
}

void mica_locality_free(mica_locality *s) {
  if (!s) return;
  mica_free(s->link_at);
  mica_free(s->link);
  mica_free(s->unused);
  mica_free(s->place);
  mica_free(s->met);
  mica_free(s->taken);
  mica_free(s->order);
  mica_free(s);
}

void mica_locality_begin(mica_locality *s, int64_t epoch) {
  s->key = mica_key_fold(mica_key_fold_name(mica_key_seed(s->o.seed), "locality"), (uint64_t)epoch);
  s->draws = 0;
  s->left = s->truth.queries;
  for (int64_t i = 0; i < s->left; i++) s->unused[i] = s->place[i] = i;
}

static int64_t below(mica_locality *s, int64_t n) {
  return (int64_t)mica_random_below(s->key, s->draws++, (uint64_t)n);
}

static void use(mica_locality *s, int64_t query) {
  const int64_t at = s->place[query], other = s->unused[--s->left];
  s->unused[at] = other;
  s->place[other] = at;
  s->place[query] = -1;
}

/* The next query of the batch: one that was met, or any. */
static int64_t next_query(mica_locality *s) {
  while (s->first < s->last) {
    const int64_t q = s->o.walk == MICA_WALK_DEPTH ? s->met[--s->last] : s->met[s->first++];
    if (s->place[q] >= 0) return q;
  }
  return s->unused[below(s, s->left)];
}

static bool take(mica_locality *s, int64_t document) {
  uint64_t *word = &s->taken[document / 64], bit = UINT64_C(1) << document % 64;
  if (*word & bit) return false;
  *word |= bit;
  return true;
}

/* A right document; one that the batch has not, where there is one. */
static int64_t draw_positive(mica_locality *s, int64_t query) {
  const int64_t *list = s->truth.relevant + s->truth.at[query];
  const int64_t n = s->truth.at[query + 1] - s->truth.at[query], from = below(s, n);
  for (int64_t i = 0; i < n; i++)
    if (take(s, list[(from + i) % n])) return list[(from + i) % n];
  return list[from];
}

static bool is_right(const mica_locality *s, int64_t query, int64_t document) {
  for (int64_t j = s->truth.at[query]; j < s->truth.at[query + 1]; j++)
    if (s->truth.relevant[j] == document) return true;
  return false;
}

/* A candidate of the query that the batch has not; -1 where there is none. */
static int64_t draw_candidate(mica_locality *s, int64_t query) {
  const int64_t *list = s->candidate + query * s->depth;
  const int64_t to = s->o.to < s->depth ? s->o.to : s->depth, ranks = to - s->o.from;
  if (ranks < 1) return -1;
  for (int64_t i = 0; i < ranks; i++) s->order[i] = s->o.from + i;
  for (int64_t i = 0; i < ranks; i++) {
    const int64_t j = i + below(s, ranks - i), rank = s->order[j];
    s->order[j] = s->order[i];
    if (list[rank] >= 0 && !is_right(s, query, list[rank]) && take(s, list[rank]))
      return list[rank];
  }
  return -1;
}

/* Any document that is not right; one that the batch has not, unless that takes long. */
static int64_t draw_document(mica_locality *s, int64_t query) {
  int64_t d = 0;
  for (int i = 0; i < 64; i++) {
    d = below(s, s->truth.documents);
    if (!is_right(s, query, d) && take(s, d)) return d;
  }
  return d;
}

/* The queries linked to a document, the lower ones last where the last comes next. */
static void meet(mica_locality *s, int64_t document) {
  const int64_t from = s->link_at[document], n = s->link_at[document + 1] - from;
  for (int64_t i = 0; i < n; i++) {
    const int64_t q = s->link[from + (s->o.walk == MICA_WALK_DEPTH ? n - 1 - i : i)];
    if (s->place[q] >= 0 && s->last < s->room) s->met[s->last++] = q;
  }
}

int64_t mica_locality_next(mica_locality *s, int64_t *query, int64_t *positive, int64_t *negative) {
  memset(s->taken, 0, ((size_t)s->truth.documents / 64 + 1) * sizeof *s->taken);
  s->first = s->last = 0;
  int64_t n = 0;
  for (; n < s->o.batch && s->left; n++) {
    const int64_t q = next_query(s);
    use(s, q);
    query[n] = q;
    positive[n] = draw_positive(s, q);
    for (int64_t j = 0; j < s->o.negatives; j++) {
      int64_t d = draw_candidate(s, q);
      if (d >= 0 && s->o.walk != MICA_WALK_RANDOM) meet(s, d);
      if (d < 0) d = draw_document(s, q);
      negative[n * s->o.negatives + j] = d;
    }
  }
  return n;
}
