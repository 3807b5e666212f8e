/* mica/base.h: versions, status codes, the last error, memory, hashing and random numbers.
 *
 * Everything else rests on this page. A function that can fail returns MICA_OK (0) or a negative
 * mica_status, and leaves a sentence about it in the calling thread's last error. The library
 * never prints, exits or aborts because of its input.
 */
#ifndef MICA_BASE_H
#define MICA_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MICA_VERSION_MAJOR 0
#define MICA_VERSION_MINOR 1
#define MICA_VERSION_PATCH 0
#define MICA_VERSION       "0.1.0"

#if defined(__GNUC__)
#define MICA_API               __attribute__((visibility("default")))
#define MICA_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define MICA_CHECK_RESULT      __attribute__((warn_unused_result))
#else
#define MICA_API
#define MICA_PRINTF(fmt, args)
#define MICA_CHECK_RESULT
#endif

/* The version of the library that is linked, as "MAJOR.MINOR.PATCH". */
MICA_API const char *mica_version(void);

/* ---- errors ---- */

typedef enum mica_status {
  MICA_OK = 0,
  MICA_ERR_INVALID = -1,     /* an argument, name or option outside what is documented */
  MICA_ERR_SHAPE = -2,       /* shapes or element types that do not fit together */
  MICA_ERR_MEMORY = -3,      /* an allocation failed */
  MICA_ERR_IO = -4,          /* the system refused to open, read, write or rename */
  MICA_ERR_FORMAT = -5,      /* bytes from outside that are not what their format promises */
  MICA_ERR_UNSUPPORTED = -6, /* valid, but not in this build or this version */
  MICA_ERR_NOT_FOUND = -7,   /* no such file, tensor, component or key */
  MICA_ERR_NUMERIC = -8,     /* not finite where that is forbidden, singular, not converged */
  MICA_ERR_STATE = -9, /* the right call at the wrong time: a handle released, a graph used up */
  MICA_ERR_CANCELLED = -10 /* a callback of the host asked to stop */
} mica_status;

/* "ok", "invalid argument", "shape mismatch", ...; never NULL. */
MICA_API const char *mica_status_name(mica_status status);

/* The message of this thread's latest failure, or "" if there was none. Valid until the thread's
 * next failing call. */
MICA_API const char *mica_last_error(void);

/* The status of this thread's latest failure, MICA_OK if there was none. */
MICA_API mica_status mica_last_status(void);

/* Forget this thread's last error. */
MICA_API void mica_clear_error(void);

/* Record a failure as this thread's last error and return `status`: `return mica_fail(...)`.
 * Messages name the file, the field and what was expected, and end without a full stop. */
MICA_API mica_status mica_fail(mica_status status, const char *fmt, ...) MICA_PRINTF(2, 3);

/* Put "CONTEXT: " before this thread's last error and return its status, for a caller that knows
 * more (the file's name, the tensor's) than the function that failed. */
MICA_API mica_status mica_fail_within(const char *fmt, ...) MICA_PRINTF(1, 2);

/* ---- memory ---- */

/* The host's allocator. `realloc_fn(ctx, NULL, n)` allocates, sizes are never 0, a NULL result is
 * an out-of-memory error. All three may be called from any thread. */
typedef struct mica_allocator {
  void *ctx;
  void *(*realloc_fn)(void *ctx, void *block, size_t bytes);
  void (*free_fn)(void *ctx, void *block);
} mica_allocator;

/* Replace the allocator for the whole process, NULL for malloc's; call before anything is
 * allocated. Process-wide, not thread-safe. */
MICA_API void mica_set_allocator(const mica_allocator *allocator);

/* Each returns NULL, with MICA_ERR_MEMORY as last error, when memory is short or n * size
 * overflows. A size of 0 gives a valid unique block. Release with mica_free. */
MICA_API void *mica_malloc(size_t bytes) MICA_CHECK_RESULT;
MICA_API void *mica_calloc(size_t n, size_t size) MICA_CHECK_RESULT;
MICA_API void *mica_realloc_array(void *block, size_t n, size_t size) MICA_CHECK_RESULT;
MICA_API char *mica_strdup(const char *text) MICA_CHECK_RESULT;
MICA_API char *mica_strndup(const char *text, size_t n) MICA_CHECK_RESULT;
MICA_API void mica_free(void *block);

/* 64-byte aligned memory through the same hooks; release with mica_free_aligned. */
MICA_API void *mica_malloc_aligned(size_t bytes) MICA_CHECK_RESULT;
MICA_API void mica_free_aligned(void *block);

/* ---- hashing ---- */

/* 64-bit FNV-1a of n bytes, continuing from `seed` (0 to start). Not for adversaries. */
MICA_API uint64_t mica_hash64(const void *bytes, size_t n, uint64_t seed);

/* SHA-256 (FIPS 180-4), incremental. */
typedef struct mica_sha256 {
  uint32_t state[8];
  uint64_t length;
  uint8_t block[64];
} mica_sha256;
MICA_API void mica_sha256_begin(mica_sha256 *h);
MICA_API void mica_sha256_update(mica_sha256 *h, const void *bytes, size_t n);
/* Writes 64 hexadecimal digits and a final NUL. */
MICA_API void mica_sha256_end(mica_sha256 *h, char hex[65]);

/* ---- random numbers ---- */

/* Counter-based numbers (Philox 4x32-10, Salmon et al. 2011): a key and a counter give the value,
 * so results do not depend on who draws first or on how many threads draw. A key is derived from a
 * seed and any number of words or names. */
typedef struct mica_key {
  uint64_t word;
} mica_key;

/* The key of a seed, and a further key from a word or a name: equal inputs give equal keys. */
MICA_API mica_key mica_key_seed(uint64_t seed);
MICA_API mica_key mica_key_fold(mica_key key, uint64_t word);
MICA_API mica_key mica_key_fold_name(mica_key key, const char *name);

/* Element `index` of the key's stream. */
MICA_API uint64_t mica_random_bits(mica_key key, uint64_t index);
MICA_API double mica_random_uniform(mica_key key, uint64_t index); /* [0, 1), 53 bits */
MICA_API double mica_random_normal(mica_key key, uint64_t index);  /* mean 0, deviation 1 */
/* [0, n), unbiased to 2^-64 */
MICA_API uint64_t mica_random_below(mica_key key, uint64_t index, uint64_t n);

/* A random permutation of 0..n-1 into `order` (Fisher-Yates). */
MICA_API void mica_random_permutation(mica_key key, int64_t n, int64_t *order);

#ifdef __cplusplus
}
#endif
#endif
