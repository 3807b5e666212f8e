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

/* Flags that __builtin_cpu_supports does not know in every compiler we build with. */
static bool has_scalar_flags(void) {
  unsigned a, b, c, d;
  const unsigned movbe = 1u << 22, f16c = 1u << 29, lzcnt = 1u << 5;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & movbe) || !(c & f16c)) return false;
  return __get_cpuid(0x80000001u, &a, &b, &c, &d) && (c & lzcnt);
}

mica_isa mica_isa_detect(void) {
  __builtin_cpu_init();
  bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
              __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
              __builtin_cpu_supports("popcnt") && has_scalar_flags();
  if (!avx2) return MICA_ISA_GENERIC;
  bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                __builtin_cpu_supports("avx512vl");
  return avx512 ? MICA_ISA_AVX512 : MICA_ISA_AVX2;
}
#else
mica_isa mica_isa_detect(void) {
  return MICA_ISA_GENERIC;
}
#endif

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
