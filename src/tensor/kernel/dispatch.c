/* The tables of numeric loops for each instruction set and element type.
 *
 * Loops are compiled several times (see kernel.h); here their tables meet. A processor without x86
 * vectors has the generic ones only.
 */
#include "tensor/kernel/kernel.h"

#include "base/engine.h"

#define TABLE_(family, suffix)  mica_##family##_kernels_##suffix
#define EXTERN_(family, suffix) extern const struct mica_##family##_kernels TABLE_(family, suffix);

#define EXTERN_GENERIC(family) EXTERN_(family, generic_float) EXTERN_(family, generic_double)
#define GENERIC_FLOAT(family)  .family = &TABLE_(family, generic_float),
#define GENERIC_DOUBLE(family) .family = &TABLE_(family, generic_double),
MICA_KERNEL_FAMILIES(EXTERN_GENERIC)

#ifdef MICA_HAVE_X86
#define EXTERN_X86(family)        EXTERN_(family, avx2_float) EXTERN_(family, avx512_float)
#define EXTERN_X86_DOUBLE(family) EXTERN_(family, avx2_double) EXTERN_(family, avx512_double)
#define AVX2_FLOAT(family)        .family = &TABLE_(family, avx2_float),
#define AVX2_DOUBLE(family)       .family = &TABLE_(family, avx2_double),
#define AVX512_FLOAT(family)      .family = &TABLE_(family, avx512_float),
#define AVX512_DOUBLE(family)     .family = &TABLE_(family, avx512_double),
MICA_KERNEL_FAMILIES(EXTERN_X86)
MICA_NUMERIC_FAMILIES(EXTERN_X86_DOUBLE)
#endif

static const mica_kernels tables[][2] = {
    [MICA_ISA_GENERIC] = {{.isa = "generic", MICA_KERNEL_FAMILIES(GENERIC_FLOAT)},
                          {.isa = "generic", MICA_KERNEL_FAMILIES(GENERIC_DOUBLE)}},
#ifdef MICA_HAVE_X86
    [MICA_ISA_AVX2] = {{.isa = "avx2", MICA_KERNEL_FAMILIES(AVX2_FLOAT)},
                       {.isa = "avx2",
                        MICA_NUMERIC_FAMILIES(AVX2_DOUBLE) MICA_NETWORK_FAMILIES(GENERIC_DOUBLE)}},
    [MICA_ISA_AVX512] = {{.isa = "avx512", MICA_KERNEL_FAMILIES(AVX512_FLOAT)},
                         {.isa = "avx512",
                          MICA_NUMERIC_FAMILIES(AVX512_DOUBLE)
                              MICA_NETWORK_FAMILIES(GENERIC_DOUBLE)}},
#endif
};

const mica_kernels *mica_kernels_of(const mica_engine *engine, mica_dtype dtype) {
  return &tables[engine->isa][dtype == MICA_F64];
}

const mica_kernels *mica_kernels_default(mica_dtype dtype) {
  return &tables[mica_isa_default()][dtype == MICA_F64];
}
