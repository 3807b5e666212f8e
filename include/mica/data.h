/* mica/data.h: bytes from outside: tensor files, images, data sets, preprocessing, batches.
 *
 * From the bottom up: an archive is an opened file of named tensors (safetensors, npz, npy,
 * PyTorch); an image is decoded pixels; a data set is a numbered list of items with labels, names
 * and parts; a preprocess says exactly how a picture becomes numbers; a loader turns a data set
 * into batches.
 *
 * Every reader here takes hostile bytes: a wrong file is an error whose message names the file and
 * the field, never a crash, a hang, or an allocation that the file's size does not justify.
 */
#ifndef MICA_DATA_H
#define MICA_DATA_H

#include <mica/component.h>
#include <mica/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ==== archives ==== */

/* An opened set of named tensors with text metadata. Only the directory is read at opening; tensors
 * are read on request, by any number of threads at once. The formats, told apart by their contents:
 *   safetensors  every dtype of the format; 8-bit floats come as float16, which holds them exactly
 *   npz, npy     zip members stored or deflated; npy versions 1-3, both byte orders, Fortran order;
 *                an .npy file is one tensor called "array"
 *   pth          torch.save files, the zip form (1.6 and later) and the old one, by a restricted
 *                pickle reader: it knows tensors, dictionaries, lists and scalars, and calls
 *                nothing. Nested names are joined with dots ("state_dict.conv1.weight"), scalars
 *                and texts become metadata
 *
 * Unsigned 16, 32 and 64-bit elements, which tensors do not have, come as the next wider signed
 * type (64: int64, an error when a value does not fit).
 * Complex elements come as a trailing dimension of 2. */
typedef struct mica_archive mica_archive;

/* Open a file; its format is told by its contents. Close it when nothing is read any more. */
MICA_API mica_status mica_archive_open(const char *path, mica_archive **out);
/* The same from memory, which must stay until the archive is closed; `name` is for messages. */
MICA_API mica_status mica_archive_open_memory(const void *bytes, size_t n, const char *name,
                                              mica_archive **out);
MICA_API void mica_archive_close(mica_archive *archive);

/* "safetensors", "npz", "npy" or "pth". */
MICA_API const char *mica_archive_format(const mica_archive *archive);
MICA_API const char *mica_archive_path(const mica_archive *archive);
/* Tensors in the file's order (safetensors: by position of the data). */
MICA_API int64_t mica_archive_count(const mica_archive *archive);
MICA_API const char *mica_archive_name(const mica_archive *archive, int64_t i);
MICA_API mica_dtype mica_archive_dtype(const mica_archive *archive, int64_t i);
MICA_API const mica_shape *mica_archive_shape(const mica_archive *archive, int64_t i);
/* The number of the tensor of this name, -1 when there is none (not an error). */
MICA_API int64_t mica_archive_find(const mica_archive *archive, const char *name);
/* Read one tensor, in the type mica_archive_dtype tells. */
MICA_API mica_status mica_archive_read(const mica_archive *archive, int64_t i, mica_tensor **out);
/* Read rows [begin, end) of the leading dimension into `data` in the type mica_archive_dtype tells.
 * MICA_ERR_UNSUPPORTED where rows do not lie together in the file (deflated, Fortran order,
 * strided): then read the whole tensor. */
MICA_API mica_status mica_archive_read_rows(const mica_archive *archive, int64_t i, int64_t begin,
                                            int64_t end, void *data);
MICA_API bool mica_archive_has_rows(const mica_archive *archive, int64_t i);

/* The number of metadata pairs, and the key and value of pair i in the file's order, NULL out of
 * range.
 */
MICA_API int64_t mica_archive_metadata_count(const mica_archive *archive);
MICA_API const char *mica_archive_metadata_key(const mica_archive *archive, int64_t i);
MICA_API const char *mica_archive_metadata_value(const mica_archive *archive, int64_t i);
/* The text under `key`, NULL when absent (not an error). */
MICA_API const char *mica_archive_metadata(const mica_archive *archive, const char *key);

/* ---- writing ---- */

typedef struct mica_named_view {
  const char *name;
  mica_view view;
} mica_named_view;
typedef struct mica_text_pair {
  const char *key, *value;
} mica_text_pair;

/* Write a safetensors file: largest elements first, then by name, so every tensor is aligned to its
 * element; data begin at a multiple of 64 bytes. Written to a temporary name, flushed to the disk,
 * renamed: the old file or the new one is there, never half. Two equal names are MICA_ERR_INVALID.
 */
MICA_API mica_status mica_safetensors_write(const char *path, const mica_named_view *tensors,
                                            int64_t n, const mica_text_pair *metadata, int64_t m);
/* Write an .npy file (version 1.0). bfloat16, which NumPy lacks, is MICA_ERR_UNSUPPORTED. */
MICA_API mica_status mica_npy_write(const char *path, const mica_view *view);
/* Write an .npz file; `compress` deflates (MICA_ERR_UNSUPPORTED without zlib). Members of 4 GiB and
 * more are MICA_ERR_UNSUPPORTED. */
MICA_API mica_status mica_npz_write(const char *path, const mica_named_view *tensors, int64_t n,
                                    bool compress);

#ifdef __cplusplus
}
#endif
#endif
