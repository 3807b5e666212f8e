/* Text on standard output, in the forms that programs read. */
#include "cli/cli.h"

#include "base/json.h"

#include <math.h>
#include <string.h>

void cli_print_json(const char *text) {
  mica_bytes b = {0};
  mica_json_writer w = {.out = &b};
  mica_json_write_string(&w, text);
  mica_bytes_byte(&b, 0);
  printf("%s", b.data ? b.data : "\"\"");
  mica_bytes_free(&b);
}

/* A CSV field, quoted where it must be. */
void cli_print_csv(const char *text) {
  if (!strpbrk(text, ",\"\r\n")) {
    printf("%s", text);
    return;
  }
  putchar('"');
  for (; *text; text++) {
    if (*text == '"') putchar('"');
    putchar(*text);
  }
  putchar('"');
}

/* "FILE," or "FILE,ROW,". */
static void print_where(const char *file, int64_t row) {
  cli_print_csv(file);
  putchar(',');
  if (row) printf("%lld,", (long long)row);
}

void cli_print_answer(const mica_model *model, const char *file, int64_t row,
                      const mica_answer *answer, double *p, int64_t classes, int64_t top,
                      bool json) {
  if (json) {
    printf("{\"file\": ");
    cli_print_json(file);
    if (row) printf(", \"row\": %lld", (long long)row);
    printf(", \"answer\": ");
    cli_print_json(answer->name);
    if (isfinite(answer->anomaly)) printf(", \"anomaly\": %.6g", answer->anomaly);
    printf(", \"classes\": [");
  } else if (answer->label < 0) {
    print_where(file, row);
    printf("0,%s,\n", answer->name);
  } else if (!p) {
    print_where(file, row);
    printf("1,");
    cli_print_csv(answer->name);
    printf(",\n");
  }
  for (int64_t k = 0; p && k < top; k++) {
    int64_t best = 0;
    for (int64_t c = 1; c < classes; c++)
      if (p[c] > p[best]) best = c;
    if (json) {
      printf("%s{\"class\": ", k ? ", " : "");
      cli_print_json(mica_model_class(model, best));
      printf(", \"probability\": %.6g}", p[best]);
    } else {
      print_where(file, row);
      printf("%lld,", (long long)k + 1);
      cli_print_csv(mica_model_class(model, best));
      printf(",%.6g\n", p[best]);
    }
    p[best] = -1;
  }
  if (json) printf("]}\n");
}
