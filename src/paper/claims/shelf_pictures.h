/* The pictures of off-the-shelf-features, and what describes them. */
#ifndef MICA_PAPER_CLAIMS_SHELF_PICTURES_H
#define MICA_PAPER_CLAIMS_SHELF_PICTURES_H

#include "paper/claims/picture_archive.h"

#include <mica/paper.h>
#include <mica/transform.h>

/* Labelled pictures, uint8 [n, H, W, C]; those of a class follow each other. */
typedef struct mica_shelf_set {
  int64_t n, classes;
  mica_tensor *pictures;
  int64_t *label;
} mica_shelf_set;
void mica_shelf_free(mica_shelf_set *set);

/* Of each class of the list ("0,1,3"), pictures skip .. skip + each - 1 in an order drawn by the
 * key; labels are places in the list. */
mica_status mica_shelf_draw(const mica_claim_images *from, mica_key key, const char *classes,
                            int64_t each, int64_t skip, mica_shelf_set *out);
/* Scikit-learn's digits at 28x28, and the first `most` pictures of each class of CIFAR-10 as JPEG;
 * the caller frees pixels and labels with mica_shelf_images_free. */
mica_status mica_shelf_digits(mica_claim_cell *cell, mica_claim_images *out);
mica_status mica_shelf_cifar(int64_t most, mica_claim_images *out);
/* The pictures of an archive in the folder of a data set. */
mica_status mica_shelf_archive(const char *data, const char *file, const mica_archived *each);
void mica_shelf_images_free(mica_claim_images *images);

/* Each picture under a similarity of its own: 0.6 to 0.95 of its size, turned by up to 0.35, moved
 * inside its frame; black around it. */
mica_status mica_shelf_warp(mica_key key, mica_shelf_set *set);

/* As a network's input: float32 in 0..1. */
mica_status mica_shelf_input(const mica_shelf_set *set, mica_tensor **out);
mica_status mica_shelf_labels(const mica_shelf_set *set, mica_tensor **out);

/* How a set is described: a network's features, gradients by cells of so many pixels, or the
 * pixels; of the whole picture, or of 16 views side by side in a row. */
typedef struct mica_shelf_look {
  const mica_net *net;
  int64_t cell, block; /* without a network; 0: pixels */
  bool views;
} mica_shelf_look;
/* float32 [n, columns]. */
mica_status mica_shelf_describe(const mica_engine *engine, const mica_shelf_look *look,
                                const mica_shelf_set *set, mica_tensor **out);

#endif
