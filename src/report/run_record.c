/* Records: ordered names and values, what one must know to repeat a run. */
#include <mica/report.h>

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/number.h"
#include "report/run_record.h"

enum { ENTRIES_MAX = 10000 };

typedef struct entry {
  char *name, *value;
  bool text; /* a JSON string; else the value is JSON as it stands */
} entry;

struct mica_run_record {
  entry *entries;
  int32_t count, room;
};

mica_status mica_run_record_create(mica_run_record **out) {
  mica_run_record *record = mica_calloc(1, sizeof *record);
  if (!record) return MICA_ERR_MEMORY;
  *out = record;
  return MICA_OK;
}

void mica_run_record_free(mica_run_record *record) {
  if (!record) return;
  for (int32_t i = 0; i < record->count; i++) {
    mica_free(record->entries[i].name);
    mica_free(record->entries[i].value);
  }
  mica_free(record->entries);
  mica_free(record);
}

static int32_t find(const mica_run_record *record, const char *name) {
  for (int32_t i = 0; i < record->count; i++)
    if (strcmp(record->entries[i].name, name) == 0) return i;
  return -1;
}

static mica_status set(mica_run_record *record, const char *name, const char *value, bool text) {
  if (!record || !name || !*name || !value)
    return mica_fail(MICA_ERR_INVALID, "an entry of a record needs a record, a name and a value");
  char *copy = mica_strdup(value);
  if (!copy) return MICA_ERR_MEMORY;
  const int32_t at = find(record, name);
  if (at >= 0) {
    mica_free(record->entries[at].value);
    record->entries[at].value = copy;
    record->entries[at].text = text;
    return MICA_OK;
  }
  if (record->count == ENTRIES_MAX) {
    mica_free(copy);
    return mica_fail(MICA_ERR_INVALID, "a record of more than %d entries", ENTRIES_MAX);
  }
  if (record->count == record->room) {
    const int32_t room = record->room ? record->room * 2 : 16;
    entry *entries = mica_realloc_array(record->entries, (size_t)room, sizeof *entries);
    if (!entries) {
      mica_free(copy);
      return MICA_ERR_MEMORY;
    }
    record->entries = entries;
    record->room = room;
  }
  char *name_copy = mica_strdup(name);
  if (!name_copy) {
    mica_free(copy);
    return MICA_ERR_MEMORY;
  }
  record->entries[record->count++] = (entry){name_copy, copy, text};
  return MICA_OK;
}

mica_status mica_run_record_text(mica_run_record *record, const char *name, const char *value) {
  return set(record, name, value, true);
}

mica_status mica_run_record_number(mica_run_record *record, const char *name, double value) {
  char number[MICA_DOUBLE_TEXT];
  mica_format_double(value, number);
  return set(record, name, isfinite(value) ? number : "null", false);
}

mica_status mica_run_record_integer(mica_run_record *record, const char *name, int64_t value) {
  char number[24];
  snprintf(number, sizeof number, "%lld", (long long)value);
  return set(record, name, number, false);
}

/* One argument, quoted only when a shell would not leave it alone. */
static void quote(mica_bytes *out, const char *argument) {
  static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                             "@%+=:,./-_";
  if (*argument && strspn(argument, safe) == strlen(argument)) {
    mica_bytes_text(out, argument);
    return;
  }
  mica_bytes_byte(out, '\'');
  for (; *argument; argument++) {
    if (*argument == '\'')
      mica_bytes_text(out, "'\\''");
    else
      mica_bytes_byte(out, *argument);
  }
  mica_bytes_byte(out, '\'');
}

mica_status mica_run_record_command(mica_run_record *record, int argc, const char *const *argv) {
  mica_bytes line = {0};
  for (int i = 0; i < argc; i++) {
    if (i) mica_bytes_byte(&line, ' ');
    quote(&line, argv[i]);
  }
  mica_bytes_append(&line, "", 0);
  const mica_status status = line.status ? line.status : set(record, "command", line.data, true);
  mica_bytes_free(&line);
  return status;
}

/* The processor's name where Linux tells it, else its architecture. */
static void processor_name(const char *architecture, char *name, size_t size) {
  snprintf(name, size, "%s", architecture);
  FILE *f = fopen("/proc/cpuinfo", "re");
  if (!f) return;
  char line[256];
  while (fgets(line, sizeof line, f)) {
    if (strncmp(line, "model name", 10) != 0) continue;
    const char *value = strchr(line, ':');
    if (value) {
      value += strspn(value, ": \t");
      snprintf(name, size, "%.*s", (int)strcspn(value, "\n"), value);
    }
    break;
  }
  fclose(f);
}

mica_status mica_run_record_environment(mica_run_record *record) {
  struct utsname system;
  if (uname(&system) != 0) return mica_fail(MICA_ERR_IO, "the system does not tell its name");
  char text[600], processor[256];
  processor_name(system.machine, processor, sizeof processor);
  snprintf(text, sizeof text, "%s %s %s", system.sysname, system.release, system.machine);
  const long cores = sysconf(_SC_NPROCESSORS_ONLN);
  mica_status status = mica_run_record_text(record, "mica", mica_version());
#if defined(__clang__)
  if (!status) status = mica_run_record_text(record, "compiler", "clang " __clang_version__);
#elif defined(__GNUC__)
  if (!status) status = mica_run_record_text(record, "compiler", "gcc " __VERSION__);
#else
  if (!status) status = mica_run_record_text(record, "compiler", "unknown");
#endif
  if (!status) status = mica_run_record_text(record, "system", text);
  if (!status) status = mica_run_record_text(record, "processor", processor);
  if (!status) status = mica_run_record_integer(record, "cores", cores > 0 ? cores : 1);
  return status;
}

int32_t mica_run_record_count(const mica_run_record *record) {
  return record ? record->count : 0;
}

const char *mica_run_record_name(const mica_run_record *record, int32_t i) {
  return record && i >= 0 && i < record->count ? record->entries[i].name : NULL;
}

const char *mica_run_record_value(const mica_run_record *record, int32_t i) {
  return record && i >= 0 && i < record->count ? record->entries[i].value : NULL;
}

const char *mica_run_record_get(const mica_run_record *record, const char *name) {
  const int32_t i = record && name ? find(record, name) : -1;
  return i < 0 ? NULL : record->entries[i].value;
}

mica_status mica_run_record_copy(const mica_run_record *record, mica_run_record **out) {
  mica_run_record *copy;
  mica_status status = mica_run_record_create(&copy);
  if (status) return status;
  for (int32_t i = 0; !status && i < record->count; i++)
    status = set(copy, record->entries[i].name, record->entries[i].value, record->entries[i].text);
  if (status) {
    mica_run_record_free(copy);
    return status;
  }
  *out = copy;
  return MICA_OK;
}

void mica_run_record_json(const mica_run_record *record, mica_json_writer *w) {
  mica_json_begin_object(w);
  for (int32_t i = 0; i < record->count; i++) {
    const entry *e = &record->entries[i];
    mica_json_write_name(w, e->name);
    int64_t integer;
    double number;
    const size_t length = strlen(e->value);
    if (e->text)
      mica_json_write_string(w, e->value);
    else if (strcmp(e->value, "true") == 0 || strcmp(e->value, "false") == 0)
      mica_json_write_bool(w, e->value[0] == 't');
    else if (mica_parse_int64(e->value, length, &integer) == length)
      mica_json_write_int(w, integer);
    else if (mica_parse_double(e->value, length, false, &number) == length)
      mica_json_write_double(w, number);
    else
      mica_json_write_null(w);
  }
  mica_json_end_object(w);
}

mica_status mica_run_record_save(const mica_run_record *record, const char *path) {
  if (!record || !path)
    return mica_fail(MICA_ERR_INVALID, "saving a record needs a record and a path");
  mica_bytes text = {0};
  mica_json_writer w = {&text, 2, 0, 0, false};
  mica_run_record_json(record, &w);
  mica_bytes_byte(&text, '\n');
  const mica_status status =
      text.status ? text.status : mica_file_write_atomic(path, text.data, text.n);
  mica_bytes_free(&text);
  return status;
}

static mica_status load_entry(mica_run_record *record, const char *name, const mica_json *value) {
  int64_t integer;
  double number;
  bool flag;
  if (mica_json_string(value)) return set(record, name, mica_json_string(value), true);
  if (mica_json_int64(value, &integer)) return mica_run_record_integer(record, name, integer);
  if (mica_json_double(value, &number)) return mica_run_record_number(record, name, number);
  if (mica_json_bool(value, &flag)) return set(record, name, flag ? "true" : "false", false);
  if (mica_json_type_of(value) == MICA_JSON_NULL) return set(record, name, "null", false);
  return mica_fail(MICA_ERR_FORMAT, "\"%s\" is %s, expected a string or a number", name,
                   mica_json_type_name(mica_json_type_of(value)));
}

mica_status mica_run_record_load(const char *path, mica_run_record **out) {
  if (!path) return mica_fail(MICA_ERR_INVALID, "loading a record needs a path");
  mica_json_doc *doc;
  mica_status status = mica_json_read(path, (size_t)16 << 20, &doc);
  if (status) return status;
  const mica_json *root = mica_json_root(doc);
  mica_run_record *record = NULL;
  if (mica_json_type_of(root) != MICA_JSON_OBJECT)
    status = mica_fail(MICA_ERR_FORMAT, "%s: holds %s, expected an object", path,
                       mica_json_type_name(mica_json_type_of(root)));
  if (!status) status = mica_run_record_create(&record);
  for (int64_t i = 0; !status && i < mica_json_count(root); i++) {
    status = load_entry(record, mica_json_name(root, i), mica_json_item(root, i));
    if (status && status != MICA_ERR_MEMORY) status = mica_fail_within("%s", path);
  }
  mica_json_free(doc);
  if (status) {
    mica_run_record_free(record);
    return status;
  }
  *out = record;
  return MICA_OK;
}
