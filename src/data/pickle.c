/* The stack machine: see pickle.h. Instructions as in CPython's Lib/pickletools.py. */
#include "data/pickle.h"

#include "base/number.h"
#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

/* State dictionaries have some ten values for each tensor; a million tensors are not a checkpoint.
 */
enum { VALUES_MAX = 1 << 22, STACK_MAX = 1 << 20, LINE_MAX = 4096, WINDOW = 1 << 14 };

enum { AWAITS_STATE = 1 }; /* `integer` of the list that a NumPy array is until it has its state */

typedef struct machine {
  const mica_source *source;
  uint64_t at;
  uint64_t window_at; /* source bytes [window_at, window_at + window_n) are in window */
  size_t window_n;
  mica_pickle *doc;
  mica_pickle_value **stack;
  int64_t depth, stack_room;
  mica_pickle_value **memo;
  int64_t memo_room, memo_next;
  uint8_t window[WINDOW];
} machine;

typedef mica_pickle_value value;

/* ---- bytes ---- */

static mica_status take(machine *m, void *to, size_t n) {
  uint8_t *out = to;
  while (n) {
    if (m->at < m->window_at || m->at >= m->window_at + m->window_n) {
      if (m->at >= m->source->size)
        return mica_fail(MICA_ERR_FORMAT, "%s: truncated: the pickle ends early", m->source->name);
      uint64_t left = m->source->size - m->at;
      m->window_n = left < WINDOW ? (size_t)left : WINDOW;
      m->window_at = m->at;
      mica_status status = mica_source_read(m->source, m->at, m->window, m->window_n);
      if (status) {
        m->window_n = 0;
        return status;
      }
    }
    size_t from = (size_t)(m->at - m->window_at), part = m->window_n - from;
    if (part > n) part = n;
    memcpy(out, m->window + from, part);
    out += part;
    n -= part;
    m->at += part;
  }
  return MICA_OK;
}

static mica_status take_size(machine *m, int bytes, uint64_t *n) {
  uint8_t raw[8] = {0};
  mica_status status = take(m, raw, (size_t)bytes);
  *n = mica_le64(raw);
  return status;
}

static mica_status take_line(machine *m, char line[LINE_MAX]) {
  for (size_t n = 0; n < LINE_MAX; n++) {
    mica_status status = take(m, line + n, 1);
    if (status) return status;
    if (line[n] == '\n') return line[n] = '\0', MICA_OK;
  }
  return mica_fail(MICA_ERR_FORMAT, "%s: pickle: a line of more than %d bytes", m->source->name,
                   LINE_MAX);
}

/* ---- values ---- */

static value *make(machine *m, mica_pickle_kind kind) {
  if (m->doc->values == VALUES_MAX) {
    mica_fail(MICA_ERR_FORMAT, "%s: pickle: more than %d values", m->source->name, VALUES_MAX);
    return NULL;
  }
  value *v = mica_calloc(1, sizeof *v);
  if (!v) return NULL;
  v->kind = kind;
  v->next = m->doc->all;
  m->doc->all = v;
  m->doc->values++;
  return v;
}

static mica_status push(machine *m, value *v) {
  if (!v) return mica_last_status();
  if (m->depth == m->stack_room) {
    if (m->stack_room >= STACK_MAX)
      return mica_fail(MICA_ERR_FORMAT, "%s: pickle: a stack of more than %d values",
                       m->source->name, STACK_MAX);
    int64_t room = m->stack_room ? 2 * m->stack_room : 64;
    value **grown = mica_realloc_array(m->stack, (size_t)room, sizeof *grown);
    if (!grown) return MICA_ERR_MEMORY;
    m->stack = grown;
    m->stack_room = room;
  }
  m->stack[m->depth++] = v;
  return MICA_OK;
}

static value *pop(machine *m) {
  if (m->depth && m->stack[m->depth - 1]->kind != MICA_PICKLE_MARK) return m->stack[--m->depth];
  mica_fail(MICA_ERR_FORMAT, "%s: pickle: an instruction finds too little on the stack",
            m->source->name);
  return NULL;
}

static value *top(machine *m) {
  value *v = pop(m);
  if (v) m->depth++;
  return v;
}

/* The number of values above the topmost mark, -1 without one. */
static int64_t above_mark(machine *m) {
  for (int64_t i = m->depth; i-- > 0;)
    if (m->stack[i]->kind == MICA_PICKLE_MARK) return m->depth - i - 1;
  mica_fail(MICA_ERR_FORMAT, "%s: pickle: a mark is missing", m->source->name);
  return -1;
}

static mica_status add(value *v, value *item) {
  if (v->count == v->room) {
    int64_t room = v->room ? 2 * v->room : 8;
    value **grown = mica_realloc_array(v->item, (size_t)room, sizeof *grown);
    if (!grown) return MICA_ERR_MEMORY;
    v->item = grown;
    v->room = room;
  }
  v->item[v->count++] = item;
  return MICA_OK;
}

/* Move the n topmost values into `v`. */
static mica_status gather(machine *m, value *v, int64_t n) {
  mica_status status = MICA_OK;
  for (int64_t i = m->depth - n; !status && i < m->depth; i++) status = add(v, m->stack[i]);
  m->depth -= n;
  return status;
}

static mica_status push_int(machine *m, mica_pickle_kind kind, int64_t integer) {
  value *v = make(m, kind);
  if (v) v->integer = integer;
  return push(m, v);
}

static mica_status push_text(machine *m, mica_pickle_kind kind, uint64_t n) {
  if (n > m->source->size - m->at)
    return mica_fail(MICA_ERR_FORMAT, "%s: truncated: a text of %llu bytes in a pickle",
                     m->source->name, (unsigned long long)n);
  value *v = make(m, kind);
  if (!v) return mica_last_status();
  v->n = (size_t)n;
  v->text = mica_malloc(v->n + 1);
  if (!v->text) return MICA_ERR_MEMORY;
  v->text[v->n] = '\0';
  mica_status status = take(m, v->text, v->n);
  return status ? status : push(m, v);
}

static mica_status push_copy(machine *m, mica_pickle_kind kind, const char *text, size_t n) {
  value *v = make(m, kind);
  if (!v) return mica_last_status();
  v->n = n;
  v->text = mica_strndup(text, n);
  return v->text ? push(m, v) : MICA_ERR_MEMORY;
}

/* A little-endian two's complement integer of any length. */
static mica_status push_long(machine *m, uint64_t n) {
  if (n > 8) return push_text(m, MICA_PICKLE_BYTES, n);
  uint8_t raw[8];
  mica_status status = take(m, raw, (size_t)n);
  if (status) return status;
  memset(raw + n, n && raw[n - 1] & 0x80 ? 0xff : 0, (size_t)(8 - n));
  return push_int(m, MICA_PICKLE_INT, (int64_t)mica_le64(raw));
}

static mica_status push_line_int(machine *m) {
  char line[LINE_MAX];
  mica_status status = take_line(m, line);
  if (status) return status;
  if (strcmp(line, "00") == 0 || strcmp(line, "01") == 0)
    return push_int(m, MICA_PICKLE_BOOL, line[1] == '1');
  int64_t integer;
  size_t n = strlen(line), used = mica_parse_int64(line, n, &integer);
  if (!used || (used != n && strcmp(line + used, "L") != 0))
    return mica_fail(MICA_ERR_FORMAT, "%s: pickle: an integer written '%.40s'", m->source->name,
                     line);
  return push_int(m, MICA_PICKLE_INT, integer);
}

static mica_status push_line_float(machine *m) {
  char line[LINE_MAX];
  mica_status status = take_line(m, line);
  value *v = status ? NULL : make(m, MICA_PICKLE_FLOAT);
  if (!v) return status ? status : mica_last_status();
  if (mica_parse_double(line, strlen(line), true, &v->real) != strlen(line) || !*line)
    return mica_fail(MICA_ERR_FORMAT, "%s: pickle: a number written '%.40s'", m->source->name,
                     line);
  return push(m, v);
}

static mica_status push_double(machine *m) {
  uint8_t raw[8];
  mica_status status = take(m, raw, 8);
  if (status) return status;
  uint64_t bits = 0;
  for (int i = 0; i < 8; i++) bits = bits << 8 | raw[i];
  value *v = make(m, MICA_PICKLE_FLOAT);
  if (v) memcpy(&v->real, &bits, 8);
  return push(m, v);
}

/* ---- the memo ---- */

static mica_status remember(machine *m, uint64_t place) {
  value *v = top(m);
  if (!v) return mica_last_status();
  if (place >= VALUES_MAX)
    return mica_fail(MICA_ERR_FORMAT, "%s: pickle: memo number %llu", m->source->name,
                     (unsigned long long)place);
  if ((int64_t)place >= m->memo_room) {
    int64_t room = m->memo_room ? m->memo_room : 256;
    while (room <= (int64_t)place) room *= 2;
    value **grown = mica_realloc_array(m->memo, (size_t)room, sizeof *grown);
    if (!grown) return MICA_ERR_MEMORY;
    memset(grown + m->memo_room, 0, (size_t)(room - m->memo_room) * sizeof *grown);
    m->memo = grown;
    m->memo_room = room;
  }
  m->memo[place] = v;
  if ((int64_t)place >= m->memo_next) m->memo_next = (int64_t)place + 1;
  return MICA_OK;
}

static mica_status recall(machine *m, uint64_t place) {
  if (place >= (uint64_t)m->memo_room || !m->memo[place])
    return mica_fail(MICA_ERR_FORMAT, "%s: pickle: memo number %llu was never set", m->source->name,
                     (unsigned long long)place);
  return push(m, m->memo[place]);
}

static mica_status line_place(machine *m, uint64_t *place) {
  char line[LINE_MAX];
  int64_t integer;
  mica_status status = take_line(m, line);
  if (status) return status;
  if (mica_parse_int64(line, strlen(line), &integer) != strlen(line) || integer < 0)
    return mica_fail(MICA_ERR_FORMAT, "%s: pickle: memo number '%.40s'", m->source->name, line);
  *place = (uint64_t)integer;
  return MICA_OK;
}

/* ---- names and what they assemble ---- */

static const char *const known[] = {"collections.OrderedDict",
                                    "torch._utils._rebuild_tensor",
                                    "torch._utils._rebuild_tensor_v2",
                                    "torch._utils._rebuild_parameter",
                                    "torch._utils._rebuild_parameter_with_state",
                                    "torch.Size",
                                    "torch.device",
                                    "torch.FloatStorage",
                                    "torch.DoubleStorage",
                                    "torch.HalfStorage",
                                    "torch.BFloat16Storage",
                                    "torch.CharStorage",
                                    "torch.ShortStorage",
                                    "torch.IntStorage",
                                    "torch.LongStorage",
                                    "torch.ByteStorage",
                                    "torch.BoolStorage",
                                    "torch.ComplexFloatStorage",
                                    "torch.ComplexDoubleStorage",
                                    "torch.float32",
                                    "torch.float64",
                                    "torch.float16",
                                    "torch.bfloat16",
                                    "torch.int64",
                                    "torch.int32",
                                    "torch.uint8",
                                    "torch.bool",
                                    "numpy.core.multiarray.scalar",
                                    "numpy._core.multiarray.scalar",
                                    "numpy.core.multiarray._reconstruct",
                                    "numpy._core.multiarray._reconstruct",
                                    "numpy.ndarray",
                                    "numpy.dtype",
                                    "_codecs.encode"};

static mica_status push_global(machine *m, const char *module, const char *name) {
  char full[256];
  int n = snprintf(full, sizeof full, "%s.%s", module, name);
  for (size_t i = 0; n > 0 && (size_t)n < sizeof full && i < sizeof known / sizeof known[0]; i++)
    if (strcmp(known[i], full) == 0) return push_copy(m, MICA_PICKLE_GLOBAL, full, (size_t)n);
  return mica_fail(MICA_ERR_UNSUPPORTED,
                   "%s: the pickle names %.100s.%.100s, which is not one of the known parts of a "
                   "checkpoint; nothing was run",
                   m->source->name, module, name);
}

static mica_status wrong_call(const machine *m, const value *f) {
  return mica_fail(MICA_ERR_FORMAT, "%s: pickle: %s with unexpected arguments", m->source->name,
                   f->text);
}

static bool sizes_of(const value *v, int64_t *to, int *n) {
  if (v->kind != MICA_PICKLE_TUPLE || v->count > MICA_MAX_RANK) return false;
  for (int64_t i = 0; i < v->count; i++) {
    if (v->item[i]->kind != MICA_PICKLE_INT || v->item[i]->integer < 0) return false;
    to[i] = v->item[i]->integer;
  }
  *n = (int)v->count;
  return true;
}

static mica_status push_tensor(machine *m, const value *f, const value *args) {
  int rank, strides;
  value *v = make(m, MICA_PICKLE_TENSOR);
  if (!v) return mica_last_status();
  if (args->count < 4 || args->item[0]->kind != MICA_PICKLE_STORAGE ||
      args->item[1]->kind != MICA_PICKLE_INT || args->item[1]->integer < 0 ||
      !sizes_of(args->item[2], v->shape.dim, &rank) ||
      !sizes_of(args->item[3], v->stride, &strides) || rank != strides)
    return wrong_call(m, f);
  v->shape.rank = rank;
  v->storage = args->item[0];
  v->integer = args->item[1]->integer;
  return push(m, v);
}

/* One element of a NumPy type, little endian, as a number; false for other types. */
static bool number_of(const char *type, const char *raw, size_t n, value *v) {
  uint8_t b[8] = {0};
  const size_t width = strlen(type) == 2 ? (size_t)(type[1] - '0') : 0;
  float single;
  if (n != width || width > 8) return false;
  memcpy(b, raw, width);
  v->kind = type[0] == 'f' ? MICA_PICKLE_FLOAT : MICA_PICKLE_INT;
  if (strcmp(type, "f8") == 0) {
    memcpy(&v->real, b, 8);
  } else if (strcmp(type, "f4") == 0) {
    memcpy(&single, b, 4);
    v->real = (double)single;
  } else if (type[0] == 'i' || type[0] == 'u' || type[0] == 'b') {
    const uint64_t bits = mica_le64(b);
    const int unused = (int)(64 - 8 * width);
    v->integer = type[0] == 'i' && width ? (int64_t)(bits << unused) >> unused : (int64_t)bits;
  } else {
    return false;
  }
  return true;
}

/* numpy's scalar(dtype, bytes). */
static mica_status push_numpy(machine *m, const value *f, const value *args) {
  if (args->count != 2 || args->item[0]->kind != MICA_PICKLE_NUMPY_TYPE ||
      args->item[1]->kind != MICA_PICKLE_BYTES)
    return wrong_call(m, f);
  value *v = make(m, MICA_PICKLE_INT);
  if (!v) return mica_last_status();
  return number_of(args->item[0]->text, args->item[1]->text, args->item[1]->n, v)
             ? push(m, v)
             : wrong_call(m, f);
}

/* numpy's _reconstruct(ndarray, (0,), b"b"): an array whose state follows, here a list. */
static mica_status push_array(machine *m) {
  value *v = make(m, MICA_PICKLE_LIST);
  if (v) v->integer = AWAITS_STATE;
  return push(m, v);
}

/* The state of an array of one dimension, (version, shape, type, by columns, bytes), which become
 * numbers. Long bytes serve once, so that what is made stays in proportion to the file. */
static mica_status fill_array(machine *m, value *v, const value *state) {
  int64_t dim[MICA_MAX_RANK];
  int rank = 0;
  value *raw = state->kind == MICA_PICKLE_TUPLE && state->count == 5 ? state->item[4] : NULL;
  if (!raw || raw->kind != MICA_PICKLE_BYTES || state->item[2]->kind != MICA_PICKLE_NUMPY_TYPE ||
      !sizes_of(state->item[1], dim, &rank) || rank != 1 || raw->n % (dim[0] ? (size_t)dim[0] : 1))
    return mica_fail(MICA_ERR_FORMAT, "%s: pickle: expected a NumPy array of one dimension",
                     m->source->name);
  v->integer = 0;
  const size_t width = dim[0] ? raw->n / (size_t)dim[0] : 0;
  for (int64_t i = 0; i < dim[0]; i++) {
    value *element = make(m, MICA_PICKLE_INT);
    if (!element) return mica_last_status();
    if (!width || !number_of(state->item[2]->text, raw->text + (size_t)i * width, width, element))
      return mica_fail(MICA_ERR_UNSUPPORTED, "%s: pickle: a NumPy array of type %.20s",
                       m->source->name, state->item[2]->text);
    const mica_status status = add(v, element);
    if (status) return status;
  }
  if (raw->n > 8) raw->n = 0;
  return MICA_OK;
}

/* _codecs.encode(text, "latin1"): how Python 3 writes bytes for Python 2. */
static mica_status push_encoded(machine *m, const value *f, const value *args) {
  if (args->count != 2 || args->item[0]->kind != MICA_PICKLE_TEXT) return wrong_call(m, f);
  const value *text = args->item[0];
  value *v = make(m, MICA_PICKLE_BYTES);
  if (!v) return mica_last_status();
  v->text = mica_malloc(text->n + 1);
  if (!v->text) return MICA_ERR_MEMORY;
  for (size_t i = 0; i < text->n;) {
    const uint8_t *p = (const uint8_t *)text->text + i;
    size_t n = mica_utf8_length((const char *)p, text->n - i);
    if (n == 1)
      v->text[v->n++] = (char)p[0];
    else if (n == 2 && p[0] <= 0xc3)
      v->text[v->n++] = (char)((p[0] & 3) << 6 | (p[1] & 0x3f));
    else
      return wrong_call(m, f);
    i += n;
  }
  v->text[v->n] = '\0';
  return push(m, v);
}

static mica_status push_dict(machine *m, const value *f, const value *args) {
  value *v = make(m, MICA_PICKLE_DICT);
  if (!v) return mica_last_status();
  if (args->count > 1 || (args->count && args->item[0]->kind != MICA_PICKLE_LIST))
    return wrong_call(m, f);
  for (int64_t i = 0; args->count && i < args->item[0]->count; i++) {
    const value *pair = args->item[0]->item[i];
    if ((pair->kind != MICA_PICKLE_TUPLE && pair->kind != MICA_PICKLE_LIST) || pair->count != 2)
      return wrong_call(m, f);
    mica_status status = add(v, pair->item[0]);
    if (!status) status = add(v, pair->item[1]);
    if (status) return status;
  }
  return push(m, v);
}

static mica_status call(machine *m) {
  value *args = pop(m), *f = args ? pop(m) : NULL;
  if (!f) return mica_last_status();
  if (f->kind != MICA_PICKLE_GLOBAL || args->kind != MICA_PICKLE_TUPLE)
    return mica_fail(MICA_ERR_FORMAT, "%s: pickle: a call of something that is no name",
                     m->source->name);
  const char *name = f->text;
  if (strncmp(name, "torch._utils._rebuild_tensor", 28) == 0) return push_tensor(m, f, args);
  if (strncmp(name, "torch._utils._rebuild_parameter", 31) == 0)
    return args->count && args->item[0]->kind == MICA_PICKLE_TENSOR ? push(m, args->item[0])
                                                                    : wrong_call(m, f);
  if (strcmp(name, "collections.OrderedDict") == 0) return push_dict(m, f, args);
  if (strcmp(name, "torch.Size") == 0)
    return args->count == 1 && args->item[0]->kind == MICA_PICKLE_TUPLE ? push(m, args->item[0])
                                                                        : wrong_call(m, f);
  if (strcmp(name, "torch.device") == 0)
    return args->count && args->item[0]->kind == MICA_PICKLE_TEXT ? push(m, args->item[0])
                                                                  : wrong_call(m, f);
  if (strcmp(name, "numpy.dtype") == 0) {
    if (!args->count || args->item[0]->kind != MICA_PICKLE_TEXT) return wrong_call(m, f);
    return push_copy(m, MICA_PICKLE_NUMPY_TYPE, args->item[0]->text, args->item[0]->n);
  }
  if (strstr(name, "multiarray.scalar")) return push_numpy(m, f, args);
  if (strstr(name, "multiarray._reconstruct")) return push_array(m);
  if (strcmp(name, "_codecs.encode") == 0) return push_encoded(m, f, args);
  return mica_fail(MICA_ERR_UNSUPPORTED, "%s: the pickle calls %s, which is a type, not a function",
                   m->source->name, name);
}

/* ("storage", type, key, place, elements[, view]). */
static mica_status load_persistent(machine *m) {
  value *id = pop(m);
  if (!id) return mica_last_status();
  if (id->kind != MICA_PICKLE_TUPLE || id->count < 5 || id->item[0]->kind != MICA_PICKLE_TEXT ||
      strcmp(id->item[0]->text, "storage") != 0 || id->item[1]->kind != MICA_PICKLE_GLOBAL ||
      id->item[2]->kind != MICA_PICKLE_TEXT || id->item[4]->kind != MICA_PICKLE_INT ||
      id->item[4]->integer < 0)
    return mica_fail(MICA_ERR_FORMAT, "%s: pickle: an unknown kind of persistent object",
                     m->source->name);
  if (id->count > 5 && id->item[5]->kind != MICA_PICKLE_NONE)
    return mica_fail(MICA_ERR_UNSUPPORTED,
                     "%s: storages that are views of others (PyTorch before 0.4): save it again",
                     m->source->name);
  value *v = make(m, MICA_PICKLE_STORAGE);
  if (!v) return mica_last_status();
  v->storage = id->item[1];
  v->integer = id->item[4]->integer;
  v->text = mica_strndup(id->item[2]->text, id->item[2]->n);
  return v->text ? push(m, v) : MICA_ERR_MEMORY;
}

/* Attributes of a dictionary (_metadata) are dropped; a NumPy type says its byte order, and an
 * array what is in it. */
static mica_status build(machine *m) {
  value *state = pop(m), *v = state ? top(m) : NULL;
  if (!v) return mica_last_status();
  if (v->kind == MICA_PICKLE_DICT || v->kind == MICA_PICKLE_TENSOR) return MICA_OK;
  if (v->kind == MICA_PICKLE_LIST && v->integer == AWAITS_STATE) return fill_array(m, v, state);
  if (v->kind == MICA_PICKLE_NUMPY_TYPE && state->kind == MICA_PICKLE_TUPLE && state->count >= 2 &&
      state->item[1]->kind == MICA_PICKLE_TEXT && strcmp(state->item[1]->text, ">") != 0)
    return MICA_OK;
  return mica_fail(MICA_ERR_UNSUPPORTED,
                   "%s: the pickle sets the state of an unknown kind of object", m->source->name);
}

/* ---- the machine ---- */

static mica_status collect(machine *m, mica_pickle_kind kind, int64_t n, bool marked) {
  if (n < 0) return mica_last_status();
  if (n > m->depth)
    return mica_fail(MICA_ERR_FORMAT, "%s: pickle: an instruction finds too little on the stack",
                     m->source->name);
  value *v = make(m, kind);
  if (!v) return mica_last_status();
  for (int64_t i = m->depth - n; i < m->depth; i++)
    if (m->stack[i]->kind == MICA_PICKLE_MARK)
      return mica_fail(MICA_ERR_FORMAT, "%s: pickle: a mark inside a tuple", m->source->name);
  mica_status status = gather(m, v, n);
  if (status) return status;
  if (marked) m->depth--;
  if (kind == MICA_PICKLE_DICT && v->count % 2)
    return mica_fail(MICA_ERR_FORMAT, "%s: pickle: a dictionary key without a value",
                     m->source->name);
  return push(m, v);
}

/* Move the values above the mark, or the `n` topmost (n > 0), into the container below them. */
static mica_status extend(machine *m, mica_pickle_kind kind, int64_t n) {
  bool marked = n == 0;
  if (marked) n = above_mark(m);
  if (n < 0) return mica_last_status();
  int64_t below = m->depth - n - marked - 1;
  if (below < 0 || m->stack[below]->kind != kind || (kind == MICA_PICKLE_DICT && n % 2))
    return mica_fail(MICA_ERR_FORMAT, "%s: pickle: items for something that is no %s",
                     m->source->name, kind == MICA_PICKLE_DICT ? "dictionary" : "list");
  for (int64_t i = m->depth - n; i < m->depth; i++)
    if (m->stack[i]->kind == MICA_PICKLE_MARK)
      return mica_fail(MICA_ERR_FORMAT, "%s: pickle: a mark among items", m->source->name);
  value *container = m->stack[below];
  mica_status status = gather(m, container, n);
  if (marked) m->depth--;
  return status;
}

static mica_status global_lines(machine *m) {
  char module[LINE_MAX], name[LINE_MAX];
  mica_status status = take_line(m, module);
  if (!status) status = take_line(m, name);
  return status ? status : push_global(m, module, name);
}

static mica_status global_from_stack(machine *m) {
  value *name = pop(m), *module = name ? pop(m) : NULL;
  if (!module) return mica_last_status();
  if (name->kind != MICA_PICKLE_TEXT || module->kind != MICA_PICKLE_TEXT)
    return mica_fail(MICA_ERR_FORMAT, "%s: pickle: a name that is no text", m->source->name);
  return push_global(m, module->text, name->text);
}

/* Text in quotes, Python 2's str; escapes do not occur in keys. */
static mica_status quoted_line(machine *m) {
  char line[LINE_MAX];
  mica_status status = take_line(m, line);
  if (status) return status;
  size_t n = strlen(line);
  if (n < 2 || (line[0] != '\'' && line[0] != '"') || line[n - 1] != line[0] || strchr(line, '\\'))
    return mica_fail(MICA_ERR_UNSUPPORTED, "%s: pickle: a text written %.40s", m->source->name,
                     line);
  return push_copy(m, MICA_PICKLE_TEXT, line + 1, n - 2);
}

static mica_status plain_line(machine *m) {
  char line[LINE_MAX];
  mica_status status = take_line(m, line);
  return status ? status : push_copy(m, MICA_PICKLE_TEXT, line, strlen(line));
}

static mica_status step(machine *m, uint8_t op) {
  uint64_t n = 0;
  int64_t marked;
  mica_status status = MICA_OK;
  switch (op) {
  case 0x80: return take_size(m, 1, &n); /* PROTO */
  case 0x95: return take_size(m, 8, &n); /* FRAME */
  case '(': return push(m, make(m, MICA_PICKLE_MARK));
  case '0': return pop(m) ? MICA_OK : mica_last_status();
  case '1':
    marked = above_mark(m);
    if (marked < 0) return mica_last_status();
    m->depth -= marked + 1;
    return MICA_OK;
  case '2': {
    value *v = top(m);
    return v ? push(m, v) : mica_last_status();
  }
  case 'N': return push(m, make(m, MICA_PICKLE_NONE));
  case 0x88: return push_int(m, MICA_PICKLE_BOOL, 1);
  case 0x89: return push_int(m, MICA_PICKLE_BOOL, 0);
  case 'I':
  case 'L': return push_line_int(m);
  case 'J':
    status = take_size(m, 4, &n);
    return status ? status : push_int(m, MICA_PICKLE_INT, (int32_t)(uint32_t)n);
  case 'K':
    status = take_size(m, 1, &n);
    return status ? status : push_int(m, MICA_PICKLE_INT, (int64_t)n);
  case 'M':
    status = take_size(m, 2, &n);
    return status ? status : push_int(m, MICA_PICKLE_INT, (int64_t)n);
  case 0x8a: status = take_size(m, 1, &n); return status ? status : push_long(m, n);
  case 0x8b: status = take_size(m, 4, &n); return status ? status : push_long(m, n);
  case 'F': return push_line_float(m);
  case 'G': return push_double(m);
  case 'S': return quoted_line(m);
  case 'V': return plain_line(m);
  case 'U':
  case 0x8c:
    status = take_size(m, 1, &n);
    return status ? status : push_text(m, MICA_PICKLE_TEXT, n);
  case 'T':
  case 'X':
    status = take_size(m, 4, &n);
    return status ? status : push_text(m, MICA_PICKLE_TEXT, n);
  case 0x8d:
    status = take_size(m, 8, &n);
    return status ? status : push_text(m, MICA_PICKLE_TEXT, n);
  case 'C':
    status = take_size(m, 1, &n);
    return status ? status : push_text(m, MICA_PICKLE_BYTES, n);
  case 'B':
    status = take_size(m, 4, &n);
    return status ? status : push_text(m, MICA_PICKLE_BYTES, n);
  case 0x8e:
    status = take_size(m, 8, &n);
    return status ? status : push_text(m, MICA_PICKLE_BYTES, n);
  case ']': return push(m, make(m, MICA_PICKLE_LIST));
  case 'l': return collect(m, MICA_PICKLE_LIST, above_mark(m), true);
  case 'a': return extend(m, MICA_PICKLE_LIST, 1);
  case 'e': return extend(m, MICA_PICKLE_LIST, 0);
  case ')': return push(m, make(m, MICA_PICKLE_TUPLE));
  case 't': return collect(m, MICA_PICKLE_TUPLE, above_mark(m), true);
  case 0x85: return collect(m, MICA_PICKLE_TUPLE, 1, false);
  case 0x86: return collect(m, MICA_PICKLE_TUPLE, 2, false);
  case 0x87: return collect(m, MICA_PICKLE_TUPLE, 3, false);
  case '}': return push(m, make(m, MICA_PICKLE_DICT));
  case 'd': return collect(m, MICA_PICKLE_DICT, above_mark(m), true);
  case 's': return extend(m, MICA_PICKLE_DICT, 2);
  case 'u': return extend(m, MICA_PICKLE_DICT, 0);
  case 'g': status = line_place(m, &n); return status ? status : recall(m, n);
  case 'h': status = take_size(m, 1, &n); return status ? status : recall(m, n);
  case 'j': status = take_size(m, 4, &n); return status ? status : recall(m, n);
  case 'p': status = line_place(m, &n); return status ? status : remember(m, n);
  case 'q': status = take_size(m, 1, &n); return status ? status : remember(m, n);
  case 'r': status = take_size(m, 4, &n); return status ? status : remember(m, n);
  case 0x94: return remember(m, (uint64_t)m->memo_next);
  case 'c': return global_lines(m);
  case 0x93: return global_from_stack(m);
  case 'R': return call(m);
  case 'b': return build(m);
  case 'Q': return load_persistent(m);
  default:
    return mica_fail(MICA_ERR_UNSUPPORTED,
                     "%s: pickle instruction 0x%02x at byte %llu is not one that data needs",
                     m->source->name, op, (unsigned long long)(m->at - 1));
  }
}

mica_status mica_pickle_read(const mica_source *source, uint64_t *at, mica_pickle *out) {
  *out = (mica_pickle){0};
  machine *m = mica_calloc(1, sizeof *m);
  if (!m) return MICA_ERR_MEMORY;
  m->source = source;
  m->at = *at;
  m->doc = out;
  mica_status status = MICA_OK;
  for (;;) {
    uint8_t op;
    status = take(m, &op, 1);
    if (!status && op == '.') break;
    if (!status) status = step(m, op);
    if (status) break;
  }
  if (!status) {
    out->root = pop(m);
    if (!out->root) status = mica_last_status();
  }
  *at = m->at;
  mica_free(m->stack);
  mica_free(m->memo);
  mica_free(m);
  return status;
}

void mica_pickle_free(mica_pickle *p) {
  for (value *v = p->all; v;) {
    value *next = v->next;
    mica_free(v->text);
    mica_free(v->item);
    mica_free(v);
    v = next;
  }
  *p = (mica_pickle){0};
}

const mica_pickle_value *mica_pickle_get(const mica_pickle_value *dict, const char *key) {
  if (!dict || dict->kind != MICA_PICKLE_DICT) return NULL;
  for (int64_t i = 0; i + 1 < dict->count; i += 2)
    if (dict->item[i]->kind == MICA_PICKLE_TEXT && strcmp(dict->item[i]->text, key) == 0)
      return dict->item[i + 1];
  return NULL;
}
