/* Prompts: the texts that stand for a class, made of its name and its phrases. */
#include "base/buffer.h"

#include <mica/zero_shot.h>

#include <string.h>

enum { DESCRIPTIONS, NAME, TEMPLATES };
enum { PREPEND, APPEND, ALONE };

/* The 80 sentences that CLIP was evaluated with on ImageNet; % stands for the name. */
static const char templates[] =
    "a bad photo of a %.\0a photo of many %.\0a sculpture of a %.\0a photo of the hard to see %.\0"
    "a low resolution photo of the %.\0a rendering of a %.\0graffiti of a %.\0a bad photo of the "
    "%.\0a cropped photo of the %.\0a tattoo of a %.\0the embroidered %.\0a photo of a hard to see "
    "%.\0a bright photo of a %.\0a photo of a clean %.\0a photo of a dirty %.\0a dark photo of the "
    "%.\0a drawing of a %.\0a photo of my %.\0the plastic %.\0a photo of the cool %.\0a close-up "
    "photo of a %.\0a black and white photo of the %.\0a painting of the %.\0a painting of a %.\0a "
    "pixelated photo of the %.\0a sculpture of the %.\0a bright photo of the %.\0a cropped photo "
    "of a %.\0a plastic %.\0a photo of the dirty %.\0a jpeg corrupted photo of a %.\0a blurry "
    "photo of the %.\0a photo of the %.\0a good photo of the %.\0a rendering of the %.\0a % in a "
    "video game.\0a photo of one %.\0a doodle of a %.\0a close-up photo of the %.\0a photo of a "
    "%.\0the origami %.\0the % in a video game.\0a sketch of a %.\0a doodle of the %.\0a origami "
    "%.\0a low resolution photo of a %.\0the toy %.\0a rendition of the %.\0a photo of the clean "
    "%.\0a photo of a large %.\0a rendition of a %.\0a photo of a nice %.\0a photo of a weird %.\0"
    "a blurry photo of a %.\0a cartoon %.\0art of a %.\0a sketch of the %.\0a embroidered %.\0a "
    "pixelated photo of a %.\0itap of the %.\0a jpeg corrupted photo of the %.\0a good photo of a "
    "%.\0a plushie %.\0a photo of the nice %.\0a photo of the small %.\0a photo of the weird %.\0"
    "the cartoon %.\0art of the %.\0a drawing of the %.\0a photo of the large %.\0a black and "
    "white photo of a %.\0the plushie %.\0a dark photo of a %.\0itap of a %.\0graffiti of the %.\0"
    "a toy %.\0itap of my %.\0a photo of a cool %.\0a photo of a small %.\0a tattoo of the %.\0";

static void put_name(mica_bytes *b, const char *name) {
  for (; *name; name++) mica_bytes_byte(b, *name == '_' ? ' ' : *name);
}

/* Does the phrase begin with these letters, or with `whole` with this word? */
static bool begins(const char *phrase, const char *with, bool whole) {
  const size_t n = strlen(with);
  if (strncmp(phrase, with, n) != 0) return false;
  return !whole || !phrase[n] || phrase[n] == ' ';
}

/* What joins a name and a phrase. */
static const char *joint(const char *phrase, bool whole) {
  static const char *const verbs[] = {"has", "often", "typically", "may", "can"};
  if (begins(phrase, "a", whole) || (whole && begins(phrase, "an", true))) return "which is ";
  for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
    if (begins(phrase, verbs[i], whole)) return "which ";
  return begins(phrase, "used", whole) ? "which is " : "which has ";
}

static void put_phrase(mica_bytes *b, const mica_zero_shot_options *o, const char *phrase) {
  if (o->modify) mica_bytes_text(b, joint(phrase, o->rule != 0));
  mica_bytes_text(b, phrase);
}

static const char *text_of(const char *text) {
  return text ? text : "";
}

static mica_status finish(mica_bytes *b, char **out) {
  mica_bytes_byte(b, 0);
  const mica_status status = b->status;
  *out = mica_bytes_take(b);
  return status;
}

static mica_zero_shot_options complete(const mica_zero_shot_options *given) {
  mica_zero_shot_options o = MICA_ZERO_SHOT_OPTIONS;
  if (given) memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
  return o;
}

mica_status mica_zero_shot_prompt(const mica_zero_shot_options *given, const char *name,
                                  const char *phrase, char **out) {
  const mica_zero_shot_options o = complete(given);
  mica_bytes b = {0};
  mica_bytes_text(&b, text_of(o.before));
  if (phrase && o.form != PREPEND) put_phrase(&b, &o, phrase);
  if (phrase && o.form == APPEND) mica_bytes_text(&b, text_of(o.between));
  if (!phrase || o.form != ALONE) put_name(&b, name);
  if (phrase && o.form == PREPEND) {
    mica_bytes_text(&b, text_of(o.between));
    put_phrase(&b, &o, phrase);
  }
  mica_bytes_text(&b, text_of(o.after));
  return finish(&b, out);
}

static mica_status from_template(const char *sentence, const char *name, char **out) {
  mica_bytes b = {0};
  for (; *sentence; sentence++)
    if (*sentence == '%')
      put_name(&b, name);
    else
      mica_bytes_byte(&b, *sentence);
  return finish(&b, out);
}

/* How many texts class i has. */
static int64_t texts_of(int32_t mode, const mica_phrases *p, int64_t i) {
  if (mode == NAME) return 1;
  if (mode == TEMPLATES) return 80;
  const int64_t n = mica_phrases_count(p, i);
  return n ? n : 1;
}

static mica_status prompts_of(const mica_zero_shot_options *o, const mica_phrases *p, int64_t i,
                              mica_prompts *out) {
  const char *name = mica_phrases_class(p, i), *sentence = templates;
  mica_status status = MICA_OK;
  for (int64_t j = 0; j < texts_of(o->mode, p, i) && status == MICA_OK; j++) {
    char **to = &out->text[out->n];
    const char *phrase = mica_phrases_phrase(p, i, j);
    if (o->mode == TEMPLATES)
      status = from_template(sentence, name, to);
    else
      status = mica_zero_shot_prompt(o, name, o->mode == NAME ? NULL : text_of(phrase), to);
    sentence += strlen(sentence) + 1;
    if (status == MICA_OK) out->label[out->n++] = i;
  }
  return status;
}

mica_status mica_zero_shot_prompts(const mica_zero_shot_options *given, const mica_phrases *p,
                                   mica_prompts *out) {
  const mica_zero_shot_options o = complete(given);
  const int64_t classes = mica_phrases_classes(p);
  int64_t n = 0;
  *out = (mica_prompts){0};
  if (!classes) return mica_fail(MICA_ERR_INVALID, "zero_shot: a phrase list without classes");
  for (int64_t i = 0; i < classes; i++) n += texts_of(o.mode, p, i);
  out->text = mica_calloc((size_t)n, sizeof *out->text);
  out->label = mica_calloc((size_t)n, sizeof *out->label);
  mica_status status = out->text && out->label ? MICA_OK : MICA_ERR_MEMORY;
  for (int64_t i = 0; i < classes && status == MICA_OK; i++) status = prompts_of(&o, p, i, out);
  if (status != MICA_OK) mica_prompts_free(out);
  return status;
}

void mica_prompts_free(mica_prompts *p) {
  for (int64_t i = 0; i < p->n; i++) mica_free(p->text[i]);
  mica_free(p->text);
  mica_free(p->label);
  *p = (mica_prompts){0};
}

mica_status mica_phrases_question(const char *name, char **out) {
  mica_bytes b = {0};
  mica_bytes_text(&b, "Which visible features tell a kingfisher in a photo? One a line:\n"
                      "- short body with a large head\n- long, straight, pointed bill\n"
                      "- bright blue back\n- orange breast\n- sits on a branch above water\n\n"
                      "Which visible features tell a kettle in a photo? One a line:\n"
                      "- rounded metal or plastic body\n- spout\n- handle on the top or the side\n"
                      "- lid\n- stands on a stove or a base\n\nWhich visible features tell ");
  put_name(&b, name);
  mica_bytes_text(&b, " in a photo? One a line:\n- ");
  return finish(&b, out);
}
