/* What a data set holds: classes and parts with their counts, the pictures' sizes as they are on
 * disk, and what could not be read. */
#include "cli/data_info.h"

#include <mica/data.h>
#include <mica/dataset.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/json.h"

#include <string.h>

/* Pictures are decoded once more for their own size; of a large set, this many spread over it. */
#define SIZES_MOST 500

static const char *const part_names[] = {"train", "validation", "test"};

typedef struct sizes {
  int64_t n;               /* pictures looked at; 0: they have no files of their own */
  int64_t low[2], high[2]; /* height, width */
} sizes;

static void measure(const mica_dataset *ds, const char *folder, sizes *s) {
  const int64_t n = mica_dataset_count(ds), step = n / SIZES_MOST + 1;
  for (int64_t i = 0; i < n; i += step) {
    char name[4096];
    char *path = mica_path_join(folder, mica_dataset_name(ds, i, name, sizeof name));
    mica_tensor *image = NULL;
    if (path && mica_file_exists(path) && mica_image_read(path, &image) == MICA_OK) {
      for (int k = 0; k < 2; k++) {
        const int64_t size = mica_tensor_shape(image)->dim[k];
        if (!s->n || size < s->low[k]) s->low[k] = size;
        if (!s->n || size > s->high[k]) s->high[k] = size;
      }
      s->n++;
      mica_tensor_free(image);
    }
    mica_free(path);
  }
}

/* count[part * classes + class] */
static int64_t *count_all(const mica_dataset *ds) {
  const int64_t classes = mica_dataset_classes(ds);
  int64_t *count = mica_calloc((size_t)(MICA_PART_COUNT * (classes + 1)), sizeof *count);
  const int64_t *labels = mica_tensor_data(mica_dataset_labels(ds));
  for (int64_t i = 0; count && i < mica_dataset_count(ds); i++)
    if (labels[i] >= 0 && labels[i] < classes)
      count[mica_dataset_part_of(ds, i) * classes + labels[i]]++;
  return count;
}

static void print_text(const mica_dataset *ds, const char *path, const int64_t *count,
                       const sizes *s) {
  const mica_shape shape = mica_dataset_shape(ds);
  const int64_t classes = mica_dataset_classes(ds);
  printf("%s: %lld pictures in %lld classes\n", path, (long long)mica_dataset_count(ds),
         (long long)classes);
  if (s->n)
    printf("sizes: %lldx%lld to %lldx%lld (height x width, of %lld looked at)\n",
           (long long)s->low[0], (long long)s->low[1], (long long)s->high[0], (long long)s->high[1],
           (long long)s->n);
  else
    printf("sizes: %lldx%lldx%lld\n", (long long)shape.dim[0], (long long)shape.dim[1],
           (long long)shape.dim[2]);
  printf("%-24s", "class");
  for (int p = 0; p < MICA_PART_COUNT; p++) printf(" %10s", part_names[p]);
  for (int64_t c = 0; c < classes; c++) {
    printf("\n%-24s", mica_dataset_class(ds, c));
    for (int p = 0; p < MICA_PART_COUNT; p++) printf(" %10lld", (long long)count[p * classes + c]);
  }
  printf("\n%-24s", "all");
  for (int p = 0; p < MICA_PART_COUNT; p++)
    printf(" %10lld", (long long)mica_dataset_part_count(ds, (mica_part)p));
  putchar('\n');
  if (mica_dataset_skipped(ds))
    printf("%lld files cannot be read:\n%s", (long long)mica_dataset_skipped(ds),
           mica_dataset_skipped_text(ds));
}

static void write_int(mica_json_writer *w, const char *name, int64_t value) {
  mica_json_write_name(w, name);
  mica_json_write_int(w, value);
}

static mica_status print_json(const mica_dataset *ds, const char *path, const int64_t *count,
                              const sizes *s) {
  const mica_shape shape = mica_dataset_shape(ds);
  const int64_t classes = mica_dataset_classes(ds);
  mica_bytes b = {0};
  mica_json_writer w = {.out = &b};
  mica_json_begin_object(&w);
  mica_json_write_name(&w, "path");
  mica_json_write_string(&w, path);
  mica_json_write_name(&w, "kind");
  mica_json_write_string(&w, "pictures");
  write_int(&w, "examples", mica_dataset_count(ds));
  write_int(&w, "unreadable", mica_dataset_skipped(ds));
  mica_json_write_name(&w, "unreadable_files");
  mica_json_write_string(&w, mica_dataset_skipped(ds) ? mica_dataset_skipped_text(ds) : "");
  mica_json_write_name(&w, "sizes");
  mica_json_begin_object(&w);
  write_int(&w, "height_least", s->n ? s->low[0] : shape.dim[0]);
  write_int(&w, "height_most", s->n ? s->high[0] : shape.dim[0]);
  write_int(&w, "width_least", s->n ? s->low[1] : shape.dim[1]);
  write_int(&w, "width_most", s->n ? s->high[1] : shape.dim[1]);
  mica_json_end_object(&w);
  mica_json_write_name(&w, "parts");
  mica_json_begin_object(&w);
  for (int p = 0; p < MICA_PART_COUNT; p++)
    write_int(&w, part_names[p], mica_dataset_part_count(ds, (mica_part)p));
  mica_json_end_object(&w);
  mica_json_write_name(&w, "classes");
  mica_json_begin_array(&w);
  for (int64_t c = 0; c < classes; c++) {
    mica_json_begin_object(&w);
    mica_json_write_name(&w, "name");
    mica_json_write_string(&w, mica_dataset_class(ds, c));
    for (int p = 0; p < MICA_PART_COUNT; p++) write_int(&w, part_names[p], count[p * classes + c]);
    mica_json_end_object(&w);
  }
  mica_json_end_array(&w);
  mica_json_end_object(&w);
  const mica_status status = b.status;
  if (status == MICA_OK) puts(b.data);
  mica_bytes_free(&b);
  return status;
}

int data_info(const cli_args *a, const char *path) {
  mica_dataset *ds = NULL;
  mica_dataset_options o = MICA_DATASET_OPTIONS;
  o.validation = 0; /* the parts that the set itself has */
  if (mica_dataset_open(path, &o, &ds) != MICA_OK) return cli_failed(a);
  sizes s = {0};
  if (mica_is_folder(path)) measure(ds, path, &s);
  int64_t *count = count_all(ds);
  mica_status status = count ? MICA_OK : mica_fail(MICA_ERR_MEMORY, "out of memory");
  if (status == MICA_OK && cli_on(a, "--json"))
    status = print_json(ds, path, count, &s);
  else if (status == MICA_OK)
    print_text(ds, path, count, &s);
  mica_free(count);
  mica_dataset_free(ds);
  return status == MICA_OK ? EXIT_OK : cli_failed(a);
}
