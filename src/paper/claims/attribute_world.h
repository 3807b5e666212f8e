/* A world of small pictures whose things have four attributes, and of words for them: what
 * description papers are tried on. A class is a combination of attributes with a made-up name; a
 * caption is its name or some of its attributes. */
#ifndef MICA_PAPER_ATTRIBUTE_WORLD_H
#define MICA_PAPER_ATTRIBUTE_WORLD_H

#include <mica/train.h>
#include <mica/zero_shot.h>

#define WORLD_SIDE       32
#define WORLD_ATTRIBUTES 4 /* shape, fill, colour, count */
#define WORLD_LENGTH     8 /* words of a caption */
#define WORLD_CLASSES    64

typedef struct world_thing {
  int32_t attribute[WORLD_ATTRIBUTES];
} world_thing;

typedef struct world {
  int64_t classes, seen; /* the first `seen` are seen in training */
  world_thing thing[WORLD_CLASSES];
  char name[WORLD_CLASSES][12];
} world;

/* Classes drawn by a key: all different; of red ones none has a twin of another colour; each value
 * of an attribute is one of a seen class. */
mica_status mica_world_make(mica_key key, int64_t classes, int64_t seen, world *out);

/* Values of an attribute, and the word for one. */
int32_t mica_world_values(int attribute);
const char *mica_world_word(int attribute, int32_t value);
enum { WORLD_COLOUR = 2, WORLD_RED = 0, WORLD_BLUE = 2 };

/* One picture [32, 32, 3] in 0..1: place, size, clutter and noise by the key. */
void mica_world_draw(const world_thing *thing, mica_key key, float *out);
/* n pictures of these classes in turn (class from + i mod many); label [n] counts from `from`. With
 * `colour` >= 0 all are of that colour. */
mica_status mica_world_pictures(const world *w, mica_key key, int64_t from, int64_t many, int64_t n,
                                int32_t colour, mica_tensor **x, int64_t *label);

/* The number of words, and a text's words as numbers [WORLD_LENGTH], 0 where there is none: a word
 * that is not known counts for nothing. */
int64_t mica_world_vocabulary(const world *w);
void mica_world_tokens(const world *w, const char *text, int64_t *ids);
/* The attributes' words of classes from .. from + many - 1, as a phrase list; the caller frees it.
 */
mica_status mica_world_phrases(const world *w, int64_t from, int64_t many, mica_phrases **out);

/* Batches of pictures of the seen classes with captions: half of them names, the others one to
 * three of the attributes, drawn anew in each epoch. A share `noise` of the pictures has captions
 * of another class. Free with mica_world_stream_free. */
mica_status mica_world_stream(const world *w, mica_key key, int64_t pictures, int64_t batch,
                              double noise, mica_stream *out);
void mica_world_stream_free(mica_stream *stream);

#endif
