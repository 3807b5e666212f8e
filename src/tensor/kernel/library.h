/* What an engine keeps between calls for its kernels: scratch blocks and compiled library
 * primitives.
 *
 * Both are bounded and shared by all threads of the engine. A thread takes an object out, uses it
 * alone and puts it back, so no lock is held while numbers are worked on, and a step that repeats
 * allocates nothing. In a child after fork nothing kept is touched: blocks come straight from the
 * allocator and there are no libraries, because their threads and locks do not survive.
 */
#ifndef MICA_TENSOR_KERNEL_LIBRARY_H
#define MICA_TENSOR_KERNEL_LIBRARY_H

#include <mica/engine.h>

/* Scratch memory, 64-byte aligned and uninitialised; NULL with MICA_ERR_MEMORY. */
void *mica_workspace_acquire(const mica_engine *engine, size_t bytes) MICA_CHECK_RESULT;
void mica_workspace_release(const mica_engine *engine, void *block); /* NULL does nothing */

/* True when library calls are allowed here and now: the engine wants them and this process made it.
 */
bool mica_libraries_usable(const mica_engine *engine);

/* The number of threads a library may use for a call made here. */
int mica_library_threads(const mica_engine *engine);

/* Tell OpenMP how many threads the libraries called next by this thread may use; returns what it
 * was, to be put back with mica_library_threads_restore. */
int mica_library_threads_set(int threads);
void mica_library_threads_restore(int before);

/* Largest key of a primitive in bytes. Keys are compared bytewise: clear structs before filling
 * them. */
#define MICA_PRIMITIVE_KEY_MAX 256

/* Take the object kept under a key; NULL when there is none (make one). MICA_ERR_MEMORY where there
 * is no room to keep anything. */
mica_status mica_primitive_take(const mica_engine *engine, const void *key, size_t bytes,
                                void **object);
/* Keep an object under a key, releasing the one unused for longest when the cache is full; an
 * object that cannot be kept is destroyed at once. */
void mica_primitive_put(const mica_engine *engine, const void *key, size_t bytes, void *object,
                        void (*destroy)(void *object));

/* A shared library loaded at first use, by the first of its names that opens; NULL when none does.
 * It stays loaded. `which` numbers the libraries: MICA_LIBRARY_*. */
enum { MICA_LIBRARY_OPENBLAS, MICA_LIBRARY_COUNT };
void *mica_library_handle(const mica_engine *engine, int which, const char *const *names);

#endif
