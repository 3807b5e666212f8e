/* Selections: which parameters a text stands for, and what is done to them. */
#include "param/tree.h"

#include <fnmatch.h>
#include <string.h>

#define ATOM 512 /* bytes of the longest part, its end included */

static const struct {
  const char *word, *help;
  uint32_t flags;
} words[] = {{"adapter", "what adapters add", MICA_PARAM_ADAPTER},
             {"all", "every parameter", 0},
             {"bias", "names that end in \"bias\"", 0},
             {"bn", "batch norm", MICA_PARAM_BATCH_NORM},
             {"conv", "convolutions", MICA_PARAM_CONVOLUTION},
             {"embedding", "embeddings", MICA_PARAM_EMBEDDING},
             {"linear", "fully connected layers", MICA_PARAM_LINEAR},
             {"norm", "all normalisations", MICA_PARAM_NORM},
             {"output", "the layer that classes come out of", MICA_PARAM_OUTPUT},
             {"shortcut", "the way round a residual block", MICA_PARAM_SHORTCUT},
             {"subspace", "sets of orthonormal rows", MICA_PARAM_SUBSPACE}};
#define WORDS (int)(sizeof words / sizeof *words)

const char *mica_selection_word(int i, const char **help) {
  if (i < 0 || i >= WORDS) return NULL;
  if (help) *help = words[i].help;
  return words[i].word;
}

static bool ends_in_bias(const char *path) {
  const size_t n = strlen(path);
  return n >= 4 && strcmp(path + n - 4, "bias") == 0;
}

static bool atom_selects(const char *atom, const mica_param *q) {
  for (int i = 0; i < WORDS; i++)
    if (strcmp(words[i].word, atom) == 0)
      return words[i].flags          ? (q->flags & words[i].flags) != 0
             : *words[i].word == 'a' ? true
                                     : ends_in_bias(q->path);
  return fnmatch(atom, q->path, 0) == 0;
}

/* The next part of *text up to one of `ends`, without the blanks around it, into atom [ATOM]; *text
 * then stands at what ended it. False: empty or too long. */
static bool next_atom(const char **text, const char *ends, bool *negated, char *atom) {
  const char *at = *text, *end = at + strcspn(at, ends);
  *text = end;
  *negated = false;
  while (at < end && (*at == ' ' || *at == '!')) *negated ^= *at++ == '!';
  while (end > at && end[-1] == ' ') end--;
  const size_t n = (size_t)(end - at);
  if (!n || n >= ATOM) return false;
  memcpy(atom, at, n);
  atom[n] = 0;
  return true;
}

/* Walk through the text: *selected says whether it selects q (which may be NULL). False: the text
 * is no selection. */
static bool walk(const char *text, const mica_param *q, bool *selected) {
  char atom[ATOM];
  bool negated, any = false;
  for (;;) {
    bool all = true;
    for (;;) {
      if (!next_atom(&text, ",&", &negated, atom)) return false;
      all = all && q && atom_selects(atom, q) != negated;
      if (*text != '&') break;
      text++;
    }
    any = any || all;
    if (*text != ',') break;
    text++;
  }
  *selected = any;
  return true;
}

bool mica_param_selected(const mica_param *q, const char *selection) {
  bool selected = false;
  return selection && walk(selection, q, &selected) && selected;
}

mica_status mica_selection_check(const char *selection) {
  bool selected;
  if (selection && walk(selection, NULL, &selected)) return MICA_OK;
  return mica_fail(MICA_ERR_INVALID,
                   "'%.200s' is no selection of parameters: expected words and patterns such as "
                   "bn,output or layer1.*&!bias",
                   selection ? selection : "(null)");
}

bool mica_path_matches(const char *patterns, const char *path) {
  char one[ATOM];
  while (*patterns) {
    size_t n = strcspn(patterns, ",");
    if (n < sizeof one) {
      memcpy(one, patterns, n);
      one[n] = 0;
      if (fnmatch(one, path, 0) == 0) return true;
    }
    patterns += n + (patterns[n] == ',');
  }
  return false;
}

/* ---- over the tree ---- */

static mica_status none_selected(const char *selection) {
  const char *list[WORDS];
  for (int i = 0; i < WORDS; i++) list[i] = words[i].word;
  const char *near =
      strpbrk(selection, ",&!*?[.") ? NULL : mica_nearest_name(selection, list, WORDS);
  return near ? mica_fail(MICA_ERR_NOT_FOUND, "'%.200s' matches no parameter; is '%s' meant?",
                          selection, near)
              : mica_fail(MICA_ERR_NOT_FOUND, "'%.200s' matches no parameter", selection);
}

mica_status mica_params_select(const mica_params *p, const char *selection, int64_t *count,
                               int64_t *elements) {
  const mica_status status = mica_selection_check(selection);
  if (status != MICA_OK) return status;
  int64_t n = 0, of = 0;
  for (int64_t i = 0; i < p->n; i++) {
    const mica_param *q = p->param[i];
    if (q->flags & MICA_PARAM_BUFFER || !mica_param_selected(q, selection)) continue;
    n++;
    of += mica_tensor_count(q->value);
  }
  if (count) *count = n;
  if (elements) *elements = of;
  return n ? MICA_OK : none_selected(selection);
}

/* Give flags to the selected entries; `only`: and take them from the others. */
static mica_status flag(mica_params *p, const char *selection, uint32_t set, uint32_t clear,
                        bool only) {
  const mica_status status = mica_params_select(p, selection, NULL, NULL);
  if (status != MICA_OK) return status;
  for (int64_t i = 0; i < p->n; i++) {
    mica_param *q = p->param[i];
    if (q->flags & MICA_PARAM_BUFFER) continue;
    if (mica_param_selected(q, selection))
      mica_param_set_flags(q, set, clear);
    else if (only)
      mica_param_set_flags(q, 0, set);
  }
  return MICA_OK;
}

mica_status mica_params_train_only(mica_params *p, const char *selection) {
  return flag(p, selection, MICA_PARAM_TRAINABLE, 0, true);
}
mica_status mica_params_train_also(mica_params *p, const char *selection) {
  return flag(p, selection, MICA_PARAM_TRAINABLE, 0, false);
}
mica_status mica_params_freeze(mica_params *p, const char *selection) {
  return flag(p, selection, 0, MICA_PARAM_TRAINABLE, false);
}
mica_status mica_params_decay_only(mica_params *p, const char *selection) {
  return flag(p, selection, MICA_PARAM_DECAY, 0, true);
}

int64_t mica_param_trained(const mica_param *q) {
  if (!(q->flags & MICA_PARAM_TRAINABLE)) return 0;
  return q->mask ? q->unmasked : mica_tensor_count(q->value);
}

int64_t mica_params_trained(const mica_params *p) {
  int64_t n = 0;
  for (int64_t i = 0; i < p->n; i++) n += mica_param_trained(p->param[i]);
  return n;
}

int64_t mica_params_flag(mica_params *p, const char *selection, uint32_t set, uint32_t clear) {
  int64_t n = 0;
  for (int64_t i = 0; i < p->n; i++)
    if (mica_param_selected(p->param[i], selection)) {
      mica_param_set_flags(p->param[i], set, clear);
      n++;
    }
  return n;
}
