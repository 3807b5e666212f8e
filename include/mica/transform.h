/* mica/transform.h: what is done to features before a classifier or a search sees them, views and
 * regions of pictures, a feature made by hand: the pieces of "CNN features off-the-shelf" (Razavian
 * et al. 2014).
 */
#ifndef MICA_TRANSFORM_H
#define MICA_TRANSFORM_H

#include <mica/feature.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- rows of features ---- */

typedef struct mica_transform_options {
  uint32_t size;
  bool l2;        /* rows are made of length 1 first; a row of zeros stays */
  double power;   /* sign(x) |x|^power, and length 1 again; 1: none. The paper: 2 */
  int64_t pca;    /* columns that principal components leave; 0: none */
  bool whiten;    /* each is divided by the root of its variance (that of N), if that is above
                     1e-12 of the largest */
  bool normalise; /* length 1 at the end, after pca */
} mica_transform_options;
#define MICA_TRANSFORM_OPTIONS                                                                     \
  { sizeof(mica_transform_options), true, 1.0, 0, true, true }

typedef struct mica_transform mica_transform;

/* What is done to rows like these x [N, D]. Only principal components learn from them: from a
 * training or reference set, never from queries. */
MICA_API mica_status mica_transform_fit(const mica_engine *engine,
                                        const mica_transform_options *options, const mica_view *x,
                                        mica_transform **out);
/* NULL does nothing. */
MICA_API void mica_transform_free(mica_transform *transform);
/* Columns that it takes, and columns that it gives. */
MICA_API int64_t mica_transform_columns(const mica_transform *transform);
MICA_API int64_t mica_transform_width(const mica_transform *transform);
/* Rows x [N, columns] to out [N, width]. */
MICA_API mica_status mica_transform_apply(const mica_engine *engine,
                                          const mica_transform *transform, const mica_view *x,
                                          double *out);
/* The variances [width] of the components, descending; NULL without them. Borrowed. */
MICA_API const double *mica_transform_variances(const mica_transform *transform);
/* As tensors of a record whose names begin with "transform.", and back. */
MICA_API mica_status mica_transform_save(const mica_transform *transform, mica_record *record);
MICA_API mica_status mica_transform_load(const mica_transform_options *options, int64_t columns,
                                         const mica_record *record, mica_transform **out);

/* ---- several views of a picture ---- */

/* Decision values of the views of each of n pictures, score [n, views, outputs], summed (or the
 * largest taken) into out [n, outputs]. */
typedef enum mica_view_form { MICA_VIEW_SUM, MICA_VIEW_MAX } mica_view_form;
MICA_API void mica_view_scores(mica_view_form form, int64_t n, int64_t views, int64_t outputs,
                               const double *score, double *out);

/* ---- regions ---- */

/* The regions of order h of a picture: for i = 1 .. h an i x i grid of windows whose sides are 2 /
 * (i + 1) of the picture's (rounded up), evenly spread, so that neighbours overlap by half. */
typedef struct mica_region {
  int64_t y, x, height, width;
} mica_region;
/* h (h + 1) (2 h + 1) / 6 of them, row by row, of a picture of this size, into out. */
MICA_API int64_t mica_region_count(int64_t order);
MICA_API mica_status mica_regions(int64_t height, int64_t width, int64_t order, mica_region *out);

/* The region larger by a factor (1.5: 150 % of each side) about its middle, less what would stick
 * out of a picture of this size: the surroundings of a marked thing help to tell it. */
MICA_API mica_region mica_region_enlarge(mica_region region, double factor, int64_t height,
                                         int64_t width);
/* The smallest square that holds the region, moved into a picture of this size; no larger than the
 * picture's shorter side, about the region's middle then. */
MICA_API mica_region mica_region_square(mica_region region, int64_t height, int64_t width);

/* ---- pictures, uint8 [H, W, C] ---- */

/* What a region of a picture shows; MICA_ERR_INVALID for one that is not inside it. */
MICA_API mica_status mica_picture_crop(const mica_tensor *picture, const mica_region *region,
                                       mica_tensor **out);
/* The picture under a linear map, at its size: pixel (y, x) of the result is what the picture has
 * at m[0] y + m[1] x + m[2], m[3] y + m[4] x + m[5], between pixels by bilinear interpolation.
 * Outside is `fill` (0 to 255), or with -1 the nearest pixel of the border. */
MICA_API mica_status mica_picture_affine(const mica_tensor *picture, const double m[6], int fill,
                                         mica_tensor **out);

/* The views that the paper describes a picture by: it as a whole; crops from the four corners (top
 * left, top right, bottom left, bottom right) and the middle; turned by an angle and back by it;
 * then the mirror images of these eight in the same order. */
enum { MICA_PICTURE_VIEWS = 16 };
typedef struct mica_picture_views_options {
  uint32_t size;
  double crop;  /* share of each side that a crop keeps, above 0 and at most 1 */
  double angle; /* degrees; the paper does not tell its own */
} mica_picture_views_options;
#define MICA_PICTURE_VIEWS_OPTIONS                                                                 \
  { sizeof(mica_picture_views_options), 2.0 / 3, 15 }
/* View 0 .. 15 of a picture, a new tensor. Crops have sides of their own: those of a picture of 3 H
 * by 3 W and the usual share are 2 H by 2 W. NULL options are the defaults. */
MICA_API mica_status mica_picture_view(const mica_tensor *picture,
                                       const mica_picture_views_options *options, int view,
                                       mica_tensor **out);

/* Histograms of oriented gradients (Dalal and Triggs 2005): gradients are differences of the
 * neighbours on both sides, of the channel where they are longest; each pixel votes with its length
 * for the two nearest of `bins` directions (of 180 degrees) and the four nearest cells; blocks of
 * cells that overlap are each made of length 1, cut off at `clip`, and made of length 1 again. */
typedef struct mica_hog_options {
  uint32_t size;
  int64_t bins;  /* directions */
  int64_t cell;  /* pixels of a cell's side; pixels that fill no cell are left out */
  int64_t block; /* cells of a block's side */
  double clip;
} mica_hog_options;
#define MICA_HOG_OPTIONS                                                                           \
  { sizeof(mica_hog_options), 9, 4, 2, 0.2 }
/* How many numbers describe a picture of this size; 0 for one that holds no block. */
MICA_API int64_t mica_hog_width(const mica_hog_options *options, int64_t height, int64_t width);
/* Pictures x [N, H, W, C], float32 in 0..1 or uint8, dense, to out [N, width]. NULL options are the
 * defaults. MICA_ERR_INVALID for pictures that hold no block, MICA_ERR_NUMERIC for a value that is
 * not finite. */
MICA_API mica_status mica_hog(const mica_engine *engine, const mica_hog_options *options,
                              const mica_view *x, float *out);

/* ---- sets of patches ---- */

/* Distances of sets of patches: the mean over a query's patches of the Euclidean distance to the
 * nearest patch of a reference. queries [Q query_patches, D], references [N reference_patches, D],
 * out [Q, N]. Memory: query_patches reference_patches numbers a thread. */
MICA_API mica_status mica_patch_set_distances(const mica_engine *engine, const mica_view *queries,
                                              int64_t query_patches, const mica_view *references,
                                              int64_t reference_patches, double *out);

/* ---- measures ---- */

/* Average precision as PASCAL VOC 2007 has it: the mean over recalls 0, 0.1, .. 1 of the best
 * precision at that recall or beyond. Equal scores are one threshold. MICA_ERR_INVALID without a
 * positive. */
MICA_API mica_status mica_average_precision_11(int64_t n, const double *score, const bool *positive,
                                               double *out);
/* The mean number of a query's group among its first four answers (Nister and Stewenius 2006), of
 * distances [N, N] between items whose groups of four follow each other: 1 to 4. */
MICA_API mica_status mica_ukbench_score(int64_t n, const double *distance, double *out);

#ifdef __cplusplus
}
#endif
#endif
