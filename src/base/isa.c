/* Which of the instruction sets that loops are compiled for does this processor have?
 *
 * The flags asked for are those of the compiler's -march=haswell and -march=skylake-avx512, which
 * the build uses: the compiler may emit any of them, also where no vector is in sight.
 */
#include "base/engine.h"

#include <stdlib.h>
#include <string.h>

#ifdef MICA_HAVE_X86
#include <cpuid.h>

/* Asked of the processor itself, each question once: a virtual machine's monitor answers, which
 * takes it some ten microseconds, and __builtin_cpu_init asks a dozen. */
typedef struct answers {
  unsigned a, b, c, d;
} answers;

static bool all(unsigned got, unsigned wanted) {
  return (got & wanted) == wanted;
}

/* The registers that the system saves: 2 SSE, 4 AVX, 0xe0 those of AVX-512. */
static unsigned saved_registers(void) {
  unsigned low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

static mica_isa detect(void) {
  enum {
    FMA = 1 << 12,
    MOVBE = 1 << 22,
    POPCNT = 1 << 23,
    OSXSAVE = 1 << 27,
    AVX = 1 << 28,
    F16C = 1 << 29
  };
  const unsigned bmi = 1 << 3, avx2 = 1 << 5, bmi2 = 1 << 8, lzcnt = 1 << 5;
  const unsigned avx512 = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31; /* f dq cd bw vl */
  answers basic, more, extended;
  __cpuid(1, basic.a, basic.b, basic.c, basic.d);
  if (!all(basic.c, FMA | MOVBE | POPCNT | OSXSAVE | AVX | F16C)) return MICA_ISA_GENERIC;
  if (!__get_cpuid_count(7, 0, &more.a, &more.b, &more.c, &more.d)) return MICA_ISA_GENERIC;
  __cpuid(0x80000001u, extended.a, extended.b, extended.c, extended.d);
  const unsigned saved = saved_registers();
  if (!all(more.b, bmi | avx2 | bmi2) || !all(extended.c, lzcnt) || !all(saved, 0x6))
    return MICA_ISA_GENERIC;
  return all(more.b, avx512) && all(saved, 0xe6) ? MICA_ISA_AVX512 : MICA_ISA_AVX2;
}
#else
static mica_isa detect(void) {
  return MICA_ISA_GENERIC;
}
#endif

mica_isa mica_isa_detect(void) {
  static _Atomic int known; /* one above the answer; 0: not yet asked */
  int answer = atomic_load(&known);
  if (!answer) atomic_store(&known, answer = (int)detect() + 1);
  return (mica_isa)(answer - 1);
}

mica_isa mica_isa_default(void) {
  static _Atomic int known; /* one above the answer; 0: not yet asked */
  int answer = atomic_load(&known);
  if (answer) return (mica_isa)(answer - 1);
  const mica_isa best = mica_isa_detect();
  const char *asked = getenv("MICA_ISA");
  answer = (int)best + 1;
  for (mica_isa i = MICA_ISA_GENERIC; asked && i <= best; i++)
    if (strcmp(asked, mica_isa_name(i)) == 0) answer = (int)i + 1;
  atomic_store(&known, answer);
  return (mica_isa)(answer - 1);
}

const char *mica_isa_name(mica_isa isa) {
  static const char *const names[] = {"generic", "avx2", "avx512"};
  return names[isa];
}
