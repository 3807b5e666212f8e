/* TensorBoard's event files.
 *
 * A record is the length of its content (8 bytes), a sum of these 8 bytes, the content, and a sum
 * of the content; numbers are little-endian, sums are CRC-32C (Castagnoli), rotated and offset so
 * that a sum of data that holds sums stays useful. The content is a protocol buffer of type
 * tensorflow.Event, of which scalars need these fields:
 *
 *     Event        1 wall_time (double), 2 step (int64), 3 file_version (string), 5 summary, 7
 * session_log Summary      1 value (repeated) Value        1 tag (string), 2 simple_value (float)
 *     SessionLog   1 status (START is 1)
 */
#include <mica/report.h>

#include <string.h>
#include <time.h>

#include "base/buffer.h"
#include "report/append.h"
#include "report/metrics.h"

struct mica_event_file {
  mica_append_file file;
};

static uint32_t crc32c(const void *bytes, size_t n) {
  const uint8_t *p = bytes;
  uint32_t crc = 0xffffffffu;
  for (size_t i = 0; i < n; i++) {
    crc ^= p[i];
    for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
  }
  return ~crc;
}

static uint32_t masked_sum(const void *bytes, size_t n) {
  const uint32_t crc = crc32c(bytes, n);
  return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

static void put_fixed(mica_bytes *b, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; i++) mica_bytes_byte(b, (char)(uint8_t)(value >> (8 * i)));
}

static void put_varint(mica_bytes *b, uint64_t value) {
  for (; value >= 0x80; value >>= 7) mica_bytes_byte(b, (char)(uint8_t)(value | 0x80));
  mica_bytes_byte(b, (char)(uint8_t)value);
}

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

static void put_tag(mica_bytes *b, int field, int wire) {
  put_varint(b, (uint64_t)(field << 3 | wire));
}

static void put_text(mica_bytes *b, int field, const void *bytes, size_t n) {
  put_tag(b, field, WIRE_BYTES);
  put_varint(b, n);
  mica_bytes_append(b, bytes, n);
}

static void put_head(mica_bytes *event, double seconds, int64_t step) {
  uint64_t bits;
  memcpy(&bits, &seconds, sizeof bits);
  put_tag(event, 1, WIRE_64);
  put_fixed(event, bits, 8);
  if (step) {
    put_tag(event, 2, WIRE_VARINT);
    put_varint(event, (uint64_t)step);
  }
}

/* Frame the event and append it; frees it. */
static mica_status write_event(mica_event_file *file, mica_bytes *event) {
  mica_bytes record = {0};
  put_fixed(&record, event->n, 8);
  if (!record.status) put_fixed(&record, masked_sum(record.data, 8), 4);
  if (!event->status) {
    mica_bytes_append(&record, event->data, event->n);
    put_fixed(&record, masked_sum(event->data, event->n), 4);
  }
  mica_status status = event->status ? event->status : record.status;
  if (!status) status = mica_append_record(&file->file, record.data, record.n);
  mica_bytes_free(event);
  mica_bytes_free(&record);
  return status;
}

mica_status mica_event_file_open(const char *path, int64_t resume, mica_event_file **out) {
  if (!path) return mica_fail(MICA_ERR_INVALID, "an event file needs a path");
  mica_event_file *file = mica_malloc(sizeof *file);
  if (!file) return MICA_ERR_MEMORY;
  mica_status status = mica_append_open(path, true, &file->file);
  if (status) {
    mica_free(file);
    return status;
  }
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  const double seconds = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
  static const char version[] = "brain.Event:2";
  mica_bytes event = {0};
  put_head(&event, seconds, 0);
  put_text(&event, 3, version, sizeof version - 1);
  status = write_event(file, &event);
  if (!status && resume >= 0) {
    static const char start[2] = {1 << 3 | WIRE_VARINT, 1};
    put_head(&event, seconds, resume);
    put_text(&event, 7, start, sizeof start);
    status = write_event(file, &event);
  }
  if (status) {
    mica_append_close(&file->file);
    mica_free(file);
    return status;
  }
  *out = file;
  return MICA_OK;
}

mica_status mica_event_file_scalars(mica_event_file *file, double seconds, int64_t step,
                                    const mica_measurement *metrics, int32_t n) {
  if (!file) return mica_fail(MICA_ERR_INVALID, "scalars need an event file");
  const mica_status checked = mica_metrics_check(metrics, n);
  if (checked) return checked;
  mica_bytes event = {0}, summary = {0}, value = {0};
  for (int32_t i = 0; i < n; i++) {
    mica_bytes_clear(&value);
    put_text(&value, 1, metrics[i].name, strlen(metrics[i].name));
    const float single = (float)metrics[i].value;
    uint32_t bits;
    memcpy(&bits, &single, sizeof bits);
    put_tag(&value, 2, WIRE_32);
    put_fixed(&value, bits, 4);
    if (value.status)
      summary.status = value.status;
    else
      put_text(&summary, 1, value.data, value.n);
  }
  put_head(&event, seconds, step);
  if (summary.status)
    event.status = summary.status;
  else
    put_text(&event, 5, summary.data, summary.n);
  mica_bytes_free(&summary);
  mica_bytes_free(&value);
  return write_event(file, &event);
}

mica_status mica_event_file_close(mica_event_file *file) {
  if (!file) return MICA_OK;
  const mica_status status = mica_append_close(&file->file);
  mica_free(file);
  return status;
}
