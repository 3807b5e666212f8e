/* mica/dataset.h: pictures with labels: folders, lists, IDX, CIFAR, arrays.
 *
 * A data set is a numbered list of items; each has a label, a name and a part, and all have
 * pictures of one size. Pictures are decoded when they are asked for, and kept as far as a budget
 * goes, so a set may be larger than memory. What cannot be read is skipped, counted and listed; a
 * strict set stops instead.
 */
#ifndef MICA_DATASET_H
#define MICA_DATASET_H

#include <mica/image.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Read an IDX file (MNIST's format; .gz as well, of several members too): uint8, int8, int16,
 * int32, float32 or float64, big endian in the file, of 1 to 4 dimensions; at most 2^32 bytes. "-"
 * is standard input. */
MICA_API mica_status mica_idx_read(const char *path, mica_tensor **out);

/* ---- data sets ---- */

typedef enum mica_part {
  MICA_PART_TRAIN,
  MICA_PART_VALIDATION,
  MICA_PART_TEST,
  MICA_PART_COUNT
} mica_part;

typedef struct mica_dataset mica_dataset;

typedef struct mica_dataset_options {
  uint32_t size;
  int64_t height, width, channels; /* of the pictures; 0: arrays, IDX and CIFAR files keep theirs,
                                      picture files become 32x32x3 */
  double validation; /* share of the training part held out where no validation part is given; each
                        class gives its share, chosen by a hash of the item's name, so adding files
                        moves none */
  const char *classes; /* names to keep, separated by commas (an order too); NULL: all */
  bool strict;         /* stop at the first unreadable file */
  double crop;         /* how pictures of another size are made to fit: see mica_preprocess */
  mica_image_filter interpolation;
  int64_t memory;     /* bytes of pixels of picture files that are kept once they were decoded */
  mica_image_fit fit; /* likewise */
  bool captions; /* labels are texts about single pictures, of which most have one: `validation`
                    is chosen by the items' names alone, so a picture is in one part with all
                    its texts */
} mica_dataset_options;
#define MICA_DATASET_OPTIONS                                                                       \
  {                                                                                                \
    sizeof(mica_dataset_options), 0, 0, 0, 0.1, NULL, false, 1, MICA_FILTER_BILINEAR,              \
        (int64_t)1 << 30, MICA_FIT_COVER, false                                                    \
  }

/* Open a data set. `path` is one of
 *
 * - a folder: DIR/CLASS/picture, or DIR/{train,val,test}/CLASS/picture. The names of the class
 *   folders in their alphabetical order are the classes. Pictures with no folder around them,
 *   DIR/picture, are one class of the folder's name.
 * - IDX: a folder with MNIST's four files, .gz or not; the test part may be absent.
 * - CIFAR: a folder with data_batch*.bin and test_batch*.bin (CIFAR-10), or train.bin and test.bin
 *   (CIFAR-100, fine labels), .gz or not. The names of the classes are in batches.meta.txt or
 *   fine_label_names.txt when there.
 * - a list: FILE.csv, .tsv or .txt (.gz too), or "-", lines "path TAB label" on standard input. A
 *   header names the columns path (or file_name, image), label (or class, caption, text) and, if
 *   there, part (train, val, test); without one they come in this order. Paths are relative to the
 *   file's folder. The classes are the labels, sorted (as numbers when all of them are). A column
 *   `box`, "LEFT TOP RIGHT BOTTOM" in pixels or empty, says which part of a picture is meant.
 * - a table of Google Landmarks v2: a header with the columns id and landmark_id (train.csv,
 *   index_image_to_landmark.csv), landmark_id and images (train_clean.csv), id and landmarks
 *   (recognition_solution.csv: the first landmark, or "none"), or id (index.csv, test.csv:
 *   one class "unknown"). The picture is FOLDER/a/b/c/abc....jpg, where FOLDER is the first that is
 *   there of train, index or test (the word that the file's name begins with; recognition and
 *   retrieval: test) beside the file, the same beside the file's folder, and the file's own.
 * - FILE.pkl: see mica_revisited_open. The images are the training part, the queries, each cut to
 *   its box, the test part; all are one class, of the folder's name. The pictures are in jpg/
 *   beside the file, or beside it, NAME.jpg. Such a set is strict, and nothing is held out: numbers
 *   are those of the file, queries behind the images.
 * - arrays: FILE.npz or .safetensors with images and labels (or x, y), or those of the parts:
 *   train_images, train_labels, val_..., test_... (MedMNIST), x_train, y_train, x_val, ..., x_test,
 *   ... (Keras). Images are [N,H,W], [N,H,W,C] or [N,C,H,W], C 1 or 3 (the last axis is the
 *   channels' when both could be): uint8, other integers from 0 to 255, or floats, from 0 to 1 or,
 *   when one is above 1, from 0 to 255. Labels are integers [N] or [N,1].
 *
 * IDX files and arrays have labels that are numbers; when classes.txt lies beside them, its line
 * for a number (from 0) is the class's name, else the number is. Classes that have no item are left
 * out.
 *
 * Sets of picture files that fit in `memory` are decoded here, and what fails is left out. Of
 * larger ones only the first bytes of each file are looked at; a picture that turns out unreadable
 * later leaves its part then. */
MICA_API mica_status mica_dataset_open(const char *path, const mica_dataset_options *options,
                                       mica_dataset **out);
/* NULL does nothing. */
MICA_API void mica_dataset_free(mica_dataset *ds);
MICA_API int64_t mica_dataset_count(const mica_dataset *ds);
MICA_API int64_t mica_dataset_part_count(const mica_dataset *ds, mica_part part);
/* The shape [H,W,C] that all pictures have. */
MICA_API mica_shape mica_dataset_shape(const mica_dataset *ds);
/* The pixels of item i, uint8 [H,W,C], into `out`. Any number of threads may read at once. A
 * picture that cannot be read is an error, and unless the set is strict, the item leaves its part.
 */
MICA_API mica_status mica_dataset_read(const mica_dataset *ds, int64_t i, uint8_t *out);
/* Borrowed: the labels, int64 [N]. */
MICA_API const mica_tensor *mica_dataset_labels(const mica_dataset *ds);
/* MICA_PART_COUNT for an item that turned out unreadable, that mica_dataset_subset left out, and
 * out of range. */
MICA_API mica_part mica_dataset_part_of(const mica_dataset *ds, int64_t i);
/* The file of an item as the folder or list has it, or "part:number", "file:number" of one in an
 * array; it does not change when items are added. Written to buf; returns buf. */
MICA_API const char *mica_dataset_name(const mica_dataset *ds, int64_t i, char *buf, size_t n);
MICA_API int64_t mica_dataset_classes(const mica_dataset *ds);
MICA_API const char *mica_dataset_class(const mica_dataset *ds, int64_t i);
/* Files and class folders skipped, those that turned out unreadable later among them, and a line
 * for each of the first hundred; the text is valid until the next call. */
MICA_API int64_t mica_dataset_skipped(const mica_dataset *ds);
MICA_API const char *mica_dataset_skipped_text(const mica_dataset *ds);
/* Mean and deviation of each channel over the training part, in 0..1; of a set that does not fit in
 * memory, over 4096 of its items, evenly spaced. */
MICA_API mica_status mica_dataset_statistics(const mica_dataset *ds, double mean[4],
                                             double deviation[4]);

/* ---- fewer items, wrong labels ---- */

/* These two change a data set: call them before streams are made of it and other threads read it.
 * Numbers, names and the order of the items stay. */

/* Leave in a part only these n of its items, in any order; the others belong to no part any more.
 * An item that is not in the part, or is given twice, is MICA_ERR_INVALID, and nothing changes. */
MICA_API mica_status mica_dataset_subset(mica_dataset *ds, mica_part part, int64_t n,
                                         const int64_t *item);

typedef enum mica_label_noise {
  MICA_LABEL_NOISE_UNIFORM, /* another class, each as likely */
  MICA_LABEL_NOISE_NEXT,    /* the class after its own, the first after the last */
  MICA_LABEL_NOISE_PERMUTE  /* the chosen items' labels dealt among them: the classes keep their
                               sizes, and some items their label */
} mica_label_noise;

/* Give a share (0 to 1, rounded to whole items) of a part wrong labels. Who is chosen, and the
 * label but for MICA_LABEL_NOISE_PERMUTE, is a function of seed and name: a smaller share is part
 * of a larger one. */
MICA_API mica_status mica_dataset_flip_labels(mica_dataset *ds, mica_part part,
                                              mica_label_noise kind, double share, uint64_t seed);
/* Borrowed: the labels before they were flipped, int64 [N]; those of mica_dataset_labels where none
 * were. */
MICA_API const mica_tensor *mica_dataset_true_labels(const mica_dataset *ds);

/* ---- lists of items ---- */

/* Items of a data set by number and name, with facts about where the list is from: what `mica
 * select` writes and `mica train --subset` reads. The file is CSV, as text:
 *
 *     # mica items 1
 *     # score: el2n
 *     id,name
 *     17,train:17
 *
 * First the facts, then a row for each item. The name finds the item again, also after others were
 * added; the number serves where there is no name, and where several items have one. A list of
 * one's own needs the head with id, name or both, and may have other columns, which are passed
 * over: a table of scores is a list too. .gz is fine. */
typedef struct mica_item_list mica_item_list;

/* An empty list. */
MICA_API mica_status mica_item_list_create(mica_item_list **out);
/* NULL does nothing. */
MICA_API void mica_item_list_free(mica_item_list *list);
/* Add an item; id -1: not known, name NULL or "": none. One of them must be there. */
MICA_API mica_status mica_item_list_add(mica_item_list *list, int64_t id, const char *name);
MICA_API int64_t mica_item_list_count(const mica_item_list *list);
/* The number of entry i, -1: not known; its name, "": none. */
MICA_API int64_t mica_item_list_id(const mica_item_list *list, int64_t i);
MICA_API const char *mica_item_list_name(const mica_item_list *list, int64_t i);
/* A fact: key of letters, digits and '_', value of one line (line ends become blanks). Setting it
 * again replaces it. At most 100. */
MICA_API mica_status mica_item_list_set_fact(mica_item_list *list, const char *key,
                                             const char *value);
/* NULL when there is no such fact. */
MICA_API const char *mica_item_list_fact(const mica_item_list *list, const char *key);
/* Write the file, replacing it as a whole. */
MICA_API mica_status mica_item_list_write(const mica_item_list *list, const char *path);
/* At most 2^32 bytes; "-" is standard input. A file of a later form is MICA_ERR_UNSUPPORTED. */
MICA_API mica_status mica_item_list_read(const char *path, mica_item_list **out);
/* The data set's numbers of all entries, into item [count]. One that is not in the part, or is
 * there twice, is an error, and so is a list without entries. */
MICA_API mica_status mica_item_list_find(const mica_item_list *list, const mica_dataset *ds,
                                         mica_part part, int64_t *item);

/* ---- revisited Oxford and Paris ---- */

/* The ground truth of retrieval sets in the manner of revisited Oxford and Paris (Radenovic et al.
 * 2018): images, queries with a box each, and for each query the images that are easy, hard or junk
 * for it; other images are wrong answers. The file (gnd_roxford5k.pkl) is a pickle of
 * {'imlist': names, 'qimlist': names, 'gnd': [{'bbx': 4 numbers, 'easy': [..], 'hard': [..],
 * 'junk': [..]}, ..]}, lists or NumPy arrays. It is read as data: nothing in it is run, and what is
 * anything else is refused.
 *
 * mica_dataset_open takes such a file as well. */
typedef struct mica_revisited mica_revisited;

typedef enum mica_revisited_answers {
  MICA_ANSWERS_EASY,
  MICA_ANSWERS_HARD,
  MICA_ANSWERS_JUNK
} mica_revisited_answers;

/* MICA_ERR_FORMAT for a file that is no such truth, MICA_ERR_UNSUPPORTED for one that wants to call
 * something. */
MICA_API mica_status mica_revisited_open(const char *path, mica_revisited **out);
/* NULL does nothing. */
MICA_API void mica_revisited_free(mica_revisited *r);
MICA_API int64_t mica_revisited_images(const mica_revisited *r);
MICA_API int64_t mica_revisited_queries(const mica_revisited *r);
/* The name of an image, of a query, without folder and ending; NULL out of range. Borrowed. */
MICA_API const char *mica_revisited_image(const mica_revisited *r, int64_t i);
MICA_API const char *mica_revisited_query(const mica_revisited *r, int64_t q);
/* The box of query q in its picture, left, top, right, bottom, in pixels; false where it has none
 * or is out of range. */
MICA_API bool mica_revisited_box(const mica_revisited *r, int64_t q, double box[4]);
/* The numbers of query q's images of this kind, ascending, no image in two lists; *n is how many.
 * Borrowed. */
MICA_API const int64_t *mica_revisited_list(const mica_revisited *r, int64_t q,
                                            mica_revisited_answers kind, int64_t *n);

/* ---- pictures with and without defects ---- */

/* Folders as MVTec AD has them: DIR/CATEGORY/train/good/picture, test/good/picture,
 * test/DEFECT/picture and ground_truth/DEFECT/picture_mask, or one category alone. What a folder
 * has is listed when it is opened; pictures and masks are files to read. */
typedef struct mica_defects mica_defects;

typedef struct mica_defect_picture {
  const char *path;
  const char *kind; /* the name of its folder: "good", or the defect's */
  const char *mask; /* where the defect is, white on black; NULL: no such file */
  mica_part part;   /* MICA_PART_TRAIN or MICA_PART_TEST */
  bool defect;      /* kind is not "good" */
} mica_defect_picture;

/* MICA_ERR_NOT_FOUND where there is no train/good with pictures. Categories, kinds and pictures are
 * in alphabetical order. */
MICA_API mica_status mica_defects_open(const char *path, mica_defects **out);
/* NULL does nothing. */
MICA_API void mica_defects_free(mica_defects *d);
/* Does `path` look like such a folder? No error. */
MICA_API bool mica_defects_here(const char *path);
MICA_API int64_t mica_defects_categories(const mica_defects *d);
/* The name of category c (of one alone its folder's), NULL out of range; valid as long as d. */
MICA_API const char *mica_defects_category(const mica_defects *d, int64_t c);
/* The pictures of category c, training ones first; likewise. */
MICA_API int64_t mica_defects_count(const mica_defects *d, int64_t c);
MICA_API const mica_defect_picture *mica_defects_at(const mica_defects *d, int64_t c, int64_t i);

#ifdef __cplusplus
}
#endif
#endif
