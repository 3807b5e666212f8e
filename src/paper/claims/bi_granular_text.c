/* Reading the Brown corpus, drawing documents and questions, encoding them. */
#include "paper/claims/bi_granular_text.h"

#include "base/file.h"
#include "data/dictionary.h"
#include "data/zip.h"
#include "paper/claim.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

enum { LEAST = 40, MOST = 100 };

void mica_paragraphs_free(mica_paragraphs *p) {
  mica_free(p->at);
  mica_free(p->word);
  mica_free(p->idf);
  mica_free(p->own);
  *p = (mica_paragraphs){0};
}

/* ---- the corpus ---- */

/* All paragraphs that are long enough: numbers of words as the dictionary has them. */
typedef struct {
  mica_dictionary words;
  int64_t *word, *at, n, room, ends_room; /* at [n + 1] */
  int64_t open[MOST], length;             /* the paragraph under way */
} corpus;

static mica_status close_paragraph(corpus *c) {
  const int64_t kept = c->length < MOST ? c->length : MOST, from = c->n ? c->at[c->n] : 0;
  const bool long_enough = c->length >= LEAST;
  c->length = 0;
  if (!long_enough) return MICA_OK;
  if (c->n + 2 > c->ends_room) {
    const int64_t room = c->ends_room ? 2 * c->ends_room : 1024;
    int64_t *grown = mica_realloc_array(c->at, (size_t)room, sizeof *grown);
    if (!grown) return MICA_ERR_MEMORY;
    c->at = grown;
    c->ends_room = room;
  }
  if (from + kept > c->room) {
    const int64_t room = c->room ? 2 * c->room : 65536;
    int64_t *grown = mica_realloc_array(c->word, (size_t)room, sizeof *grown);
    if (!grown) return MICA_ERR_MEMORY;
    c->word = grown;
    c->room = room;
  }
  memcpy(c->word + from, c->open, (size_t)kept * sizeof *c->word);
  c->at[c->n] = from;
  c->at[++c->n] = from + kept;
  return MICA_OK;
}

/* "Fulton/np-tl" is the word fulton; what has neither letter nor digit is none. */
static mica_status take_token(corpus *c, const char *from, size_t n) {
  char text[64];
  while (n && from[n - 1] != '/') n--;
  n = n ? n - 1 : 0;
  if (n >= sizeof text) n = sizeof text - 1;
  bool is_word = false;
  for (size_t i = 0; i < n; i++) {
    text[i] = (char)tolower((unsigned char)from[i]);
    is_word |= isalnum((unsigned char)text[i]) != 0;
  }
  text[n] = 0;
  if (!is_word) return MICA_OK;
  if (c->length < MOST) {
    const int64_t id = mica_dictionary_add(&c->words, text);
    if (id < 0) return MICA_ERR_MEMORY;
    c->open[c->length] = id;
  }
  c->length++;
  return MICA_OK;
}

/* Three ends of line between two tokens are the end of a paragraph. */
static mica_status take_text(corpus *c, const char *text, size_t n) {
  mica_status status = MICA_OK;
  for (size_t i = 0; i < n && !status;) {
    int lines = 0;
    for (; i < n && isspace((unsigned char)text[i]); i++) lines += text[i] == '\n';
    if (lines >= 3) status = close_paragraph(c);
    size_t end = i;
    while (end < n && !isspace((unsigned char)text[end])) end++;
    if (end > i && !status) status = take_token(c, text + i, end - i);
    i = end;
  }
  return status ? status : close_paragraph(c);
}

/* "brown/ca01": a letter of the category and two digits. */
static bool is_text(const char *name) {
  const char *file = strrchr(name, '/');
  file = file ? file + 1 : name;
  return strlen(file) == 4 && file[0] == 'c' && file[1] >= 'a' && file[1] <= 'r' &&
         isdigit((unsigned char)file[2]) && isdigit((unsigned char)file[3]);
}

static mica_status read_corpus(corpus *c) {
  char *folder = mica_claim_find_data("nltk-corpora");
  if (!folder) return mica_last_status();
  char *path = mica_path_join(folder, "brown.zip");
  mica_source source;
  mica_zip zip;
  mica_free(folder);
  if (!path) return MICA_ERR_MEMORY;
  mica_status status = mica_source_open(path, &source);
  mica_free(path);
  if (status) return status;
  status = mica_zip_open(&source, &zip);
  if (status) {
    mica_source_close(&source);
    return status;
  }
  for (int64_t i = 0; i < zip.n && !status; i++) {
    const mica_zip_member *m = &zip.member[zip.order[i]];
    if (!is_text(m->name)) continue;
    char *text = mica_malloc((size_t)m->size + 1);
    status = text ? mica_zip_extract(&zip, m, 0, text, (size_t)m->size) : MICA_ERR_MEMORY;
    if (!status) status = take_text(c, text, (size_t)m->size);
    mica_free(text);
  }
  mica_zip_close(&zip);
  mica_source_close(&source);
  return status;
}

/* ---- the documents ---- */

/* Words that are seen once go, the others are numbered anew in their order of arrival. */
static mica_status number_words(const corpus *c, const int64_t *order, mica_paragraphs *p) {
  int64_t *seen = mica_calloc((size_t)c->words.n + 1, sizeof *seen);
  int64_t *number = mica_calloc((size_t)c->words.n + 1, sizeof *number), at = 0;
  mica_status status = seen && number ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < p->n && !status; i++)
    for (int64_t j = c->at[order[i]]; j < c->at[order[i] + 1]; j++) seen[c->word[j]]++;
  for (int64_t i = 0; i < c->words.n && !status; i++) number[i] = seen[i] > 1 ? p->words++ : -1;
  for (int64_t i = 0; i < p->n && !status; i++) {
    for (int64_t j = c->at[order[i]]; j < c->at[order[i] + 1]; j++)
      if (number[c->word[j]] >= 0) p->word[at++] = number[c->word[j]];
    p->at[i + 1] = at;
    if (at - p->at[i] < MICA_QUESTION_WORDS)
      status =
          mica_fail(MICA_ERR_FORMAT, "a paragraph of %lld known words", (long long)(at - p->at[i]));
  }
  mica_free(seen);
  mica_free(number);
  return status;
}

static mica_status weigh_words(mica_paragraphs *p) {
  int64_t *last = mica_calloc((size_t)p->words, sizeof *last);
  p->idf = mica_calloc((size_t)p->words, sizeof *p->idf);
  if (!last || !p->idf) {
    mica_free(last);
    return MICA_ERR_MEMORY;
  }
  for (int64_t i = 0; i < p->n; i++)
    for (int64_t j = p->at[i]; j < p->at[i + 1]; j++) {
      const int64_t w = p->word[j];
      if (last[w] != i + 1) p->idf[w] += 1;
      last[w] = i + 1;
    }
  /* A word of all documents still counts a little, so that no document is without weight. */
  for (int64_t w = 0; w < p->words; w++) p->idf[w] = log((double)(p->n + 1) / p->idf[w]);
  mica_free(last);
  return MICA_OK;
}

mica_status mica_paragraphs_read(mica_key key, int64_t n, int64_t tests, mica_paragraphs *out) {
  corpus c = {0};
  mica_paragraphs p = {.n = n, .tests = tests};
  mica_status status = read_corpus(&c);
  if (!status && c.n < n)
    status = mica_fail(MICA_ERR_INVALID, "%lld paragraphs wanted, the corpus has %lld",
                       (long long)n, (long long)c.n);
  int64_t *order = status ? NULL : mica_realloc_array(NULL, (size_t)c.n, sizeof *order);
  p.at = mica_calloc((size_t)n + 1, sizeof *p.at);
  p.own = mica_calloc((size_t)n + 1, sizeof *p.own);
  p.word = status ? NULL : mica_realloc_array(NULL, (size_t)(n * MOST), sizeof *p.word);
  if (!status && !(order && p.at && p.own && p.word)) status = MICA_ERR_MEMORY;
  if (!status) {
    for (int64_t i = 0; i <= n; i++) p.own[i] = i;
    mica_random_permutation(key, c.n, order);
    status = number_words(&c, order, &p);
  }
  if (!status) status = weigh_words(&p);
  mica_dictionary_free(&c.words);
  mica_free(c.word);
  mica_free(c.at);
  mica_free(order);
  if (status)
    mica_paragraphs_free(&p);
  else
    *out = p;
  return status;
}

void mica_paragraph_questions(const mica_paragraphs *text, mica_key key, int64_t *word) {
  for (int64_t i = 0; i < text->n; i++) {
    const mica_key own = mica_key_fold(key, (uint64_t)i);
    const int64_t from = text->at[i], n = text->at[i + 1] - from;
    int64_t place[MICA_QUESTION_WORDS];
    uint64_t draws = 0;
    for (int k = 0; k < MICA_QUESTION_WORDS;) {
      place[k] = (int64_t)mica_random_below(own, draws++, (uint64_t)n);
      int before = 0;
      while (before < k && place[before] != place[k]) before++;
      if (before < k) continue; /* that position is taken */
      word[i * MICA_QUESTION_WORDS + k] = text->word[from + place[k]];
      k++;
    }
  }
}

/* ---- the encoder ---- */

mica_status mica_paragraph_encoder_create(mica_engine *engine, const mica_paragraphs *text,
                                          uint64_t seed, mica_key key,
                                          mica_paragraph_encoder *out) {
  const int64_t d = MICA_PARAGRAPH_COLUMNS;
  const mica_init words = {MICA_INIT_NORMAL, 0, 0.1, 0, false};
  const mica_init head = {MICA_INIT_NORMAL, 0, 0.02, 0, false}, zero = MICA_INIT_ZEROS;
  mica_paragraph_encoder e = {.text = text, .key = key};
  mica_status status = mica_params_create(engine, seed, &e.params);
  mica_node *root = status ? NULL : mica_params_root(e.params);
  mica_node *word = mica_node_child(root, "words"), *linear = mica_node_child(root, "linear");
  if (!status) status = mica_nn_embedding_init(word, text->words, d);
  if (!status) status = mica_param_initialise(mica_node_param(word, "weight"), &words);
  if (!status) status = mica_nn_linear_init(linear, d, d, true);
  if (!status) status = mica_param_initialise(mica_node_param(linear, "weight"), &head);
  if (!status) status = mica_param_initialise(mica_node_param(linear, "bias"), &zero);
  if (!status) status = mica_nn_layer_norm_init(mica_node_child(root, "norm"), d);
  e.question =
      mica_realloc_array(NULL, (size_t)(text->n * MICA_QUESTION_WORDS), sizeof *e.question);
  if (!status && !e.question) status = MICA_ERR_MEMORY;
  if (status)
    mica_paragraph_encoder_free(&e);
  else
    *out = e;
  return status;
}

mica_status mica_paragraph_encoder_clone(const mica_paragraph_encoder *e,
                                         mica_paragraph_encoder *out) {
  mica_paragraph_encoder copy = {.text = e->text, .key = e->key};
  mica_status status = mica_params_clone(e->params, &copy.params);
  copy.question =
      mica_realloc_array(NULL, (size_t)(e->text->n * MICA_QUESTION_WORDS), sizeof *copy.question);
  if (!status && !copy.question) status = MICA_ERR_MEMORY;
  if (status)
    mica_paragraph_encoder_free(&copy);
  else
    *out = copy;
  return status;
}

void mica_paragraph_encoder_free(mica_paragraph_encoder *e) {
  mica_params_free(e->params);
  mica_free(e->question);
  *e = (mica_paragraph_encoder){0};
}

mica_status mica_paragraph_epoch(void *e_, int64_t epoch) {
  mica_paragraph_encoder *e = e_;
  mica_paragraph_questions(e->text, mica_key_fold(e->key, (uint64_t)epoch), e->question);
  return MICA_OK;
}

mica_var mica_paragraph_encode(mica_tape *t, void *e_, bool documents, int64_t n,
                               const int64_t *item) {
  const mica_paragraph_encoder *e = e_;
  const mica_paragraphs *p = e->text;
  const int64_t *question = e->asked ? e->asked : e->question;
  int64_t total = n * MICA_QUESTION_WORDS;
  if (documents) total = 0;
  for (int64_t i = 0; documents && i < n; i++) total += p->at[item[i] + 1] - p->at[item[i]];
  mica_scope_begin(t, NULL);
  mica_var ids = mica_full(t, MICA_I64, MICA_SHAPE(total), 0);
  mica_var offsets = mica_full(t, MICA_I64, MICA_SHAPE(n + 1), 0);
  mica_var weights = mica_full(t, MICA_F32, MICA_SHAPE(total), 0);
  const mica_view id = mica_read(t, ids), offset = mica_read(t, offsets);
  const mica_view weight = mica_read(t, weights);
  for (int64_t i = 0, at = 0; i < n && mica_ok(t); i++) {
    const int64_t *from =
        documents ? p->word + p->at[item[i]] : question + item[i] * MICA_QUESTION_WORDS;
    const int64_t length = documents ? p->at[item[i] + 1] - p->at[item[i]] : MICA_QUESTION_WORDS;
    double sum = 0;
    for (int64_t j = 0; j < length; j++) sum += p->idf[from[j]];
    for (int64_t j = 0; j < length; j++, at++) {
      ((int64_t *)id.data)[at] = from[j];
      ((float *)weight.data)[at] = (float)(p->idf[from[j]] / sum);
    }
    ((int64_t *)offset.data)[i + 1] = at;
  }
  mica_node *root = mica_params_root(e->params);
  mica_var table = mica_weight(t, mica_node_find(root, "words"), "weight");
  mica_var x = mica_embedding_bag(t, table, ids, offsets, weights, MICA_BAG_SUM);
  x = mica_nn_linear(t, mica_node_find(root, "linear"), x);
  return mica_scope_end(t, mica_nn_layer_norm(t, mica_node_find(root, "norm"), 1e-5, x));
}

mica_status mica_paragraph_vectors(const mica_paragraph_encoder *e, const int64_t *question,
                                   int64_t begin, int64_t end, float *x) {
  enum { at_once = 250 };
  mica_paragraph_encoder asking = *e;
  mica_tape *t = NULL;
  asking.asked = question;
  mica_status status = mica_tape_create(mica_params_engine(e->params), NULL, &t);
  for (int64_t from = begin; from < end && !status; from += at_once) {
    const int64_t n = end - from < at_once ? end - from : at_once;
    int64_t item[at_once];
    for (int64_t i = 0; i < n; i++) item[i] = from + i;
    mica_no_grad_begin(t);
    const mica_view v = mica_read(t, mica_paragraph_encode(t, &asking, !question, n, item));
    status = mica_tape_status(t);
    if (!status)
      memcpy(x + (from - begin) * MICA_PARAGRAPH_COLUMNS, v.data,
             (size_t)(n * MICA_PARAGRAPH_COLUMNS) * sizeof *x);
    mica_no_grad_end(t);
    mica_tape_reset(t);
  }
  mica_tape_free(t);
  return status;
}
