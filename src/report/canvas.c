/* A canvas writes SVG elements: text that fits its room, lines, rectangles, markers, pictures. */
#include "report/figure.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/png.h"

void mica_canvas_begin(mica_canvas *c, double width, double height, const char *title,
                       const char *kind) {
  *c = (mica_canvas){.width = width, .height = height};
  mica_bytes_text(&c->out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
  c->root_begin = c->out.n;
  mica_bytes_text(&c->out, "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"mf\" role=\"img\"");
  mica_canvas_attribute(c, "width", width);
  mica_canvas_attribute(c, "height", height);
  mica_bytes_text(&c->out, " viewBox=\"0 0 ");
  mica_markup_coordinate(&c->out, width);
  mica_bytes_text(&c->out, " ");
  mica_markup_coordinate(&c->out, height);
  mica_bytes_text(&c->out, "\" aria-label=\"");
  mica_markup_escaped(&c->out, title ? title : kind);
  mica_bytes_text(&c->out, "\">");
  c->style_begin = c->out.n;
  mica_bytes_text(&c->out, "<style>");
  mica_bytes_text(&c->out, mica_figure_style);
  mica_bytes_text(&c->out, "</style>\n");
  c->style_end = c->out.n;
  if (title) mica_canvas_text(c, 0, 14, "t", MICA_ANCHOR_START, 14, width, title);
}

mica_status mica_canvas_finish(mica_canvas *c, mica_figure **out) {
  mica_bytes_text(&c->out, "</svg>\n");
  mica_figure *figure = c->out.status ? NULL : mica_malloc(sizeof *figure);
  if (!figure) {
    const mica_status status = c->out.status ? c->out.status : MICA_ERR_MEMORY;
    mica_bytes_free(&c->out);
    return status;
  }
  *figure = (mica_figure){
      .style_begin = c->style_begin, .style_end = c->style_end, .root_begin = c->root_begin};
  const mica_status status = mica_markup_finish(&c->out, &figure->svg, &figure->length);
  if (status) {
    mica_free(figure);
    return status;
  }
  *out = figure;
  return MICA_OK;
}

void mica_canvas_discard(mica_canvas *c) {
  mica_bytes_free(&c->out);
}

void mica_canvas_attribute(mica_canvas *c, const char *name, double value) {
  mica_bytes_printf(&c->out, " %s=\"", name);
  mica_markup_coordinate(&c->out, value);
  mica_bytes_text(&c->out, "\"");
}

void mica_canvas_hover(mica_canvas *c, const char *text) {
  mica_bytes_text(&c->out, "<title>");
  mica_markup_escaped(&c->out, text);
  mica_bytes_text(&c->out, "</title>");
}

/* The advance of a character in a plain sans-serif font, in ems. */
static double advance(uint32_t code) {
  if (code < 0x80) {
    if (code >= '0' && code <= '9') return 0.6;
    if (strchr("iljI.,:;'|!()[] ", (int)code)) return 0.34;
    if (strchr("ftr-/\\\"*", (int)code)) return 0.42;
    if (strchr("mwMW@%", (int)code)) return 0.94;
    if (code >= 'A' && code <= 'Z') return 0.7;
    return 0.59;
  }
  return code == 0x2026 ? 0.9 : 0.66 * mica_code_columns(code);
}

double mica_text_width(const char *text, double size) {
  double width = 0;
  while (text && *text) {
    uint32_t code;
    text += mica_utf8_next(text, &code);
    width += advance(code);
  }
  return width * size;
}

void mica_canvas_text(mica_canvas *c, double x, double y, const char *class_name,
                      mica_anchor anchor, double size, double room, const char *text) {
  if (!text || !*text) return;
  mica_bytes_text(&c->out, "<text");
  if (*class_name) mica_bytes_printf(&c->out, " class=\"%s\"", class_name);
  if (anchor != MICA_ANCHOR_START)
    mica_bytes_printf(&c->out, " text-anchor=\"%s\"", anchor == MICA_ANCHOR_END ? "end" : "middle");
  mica_canvas_attribute(c, "x", x);
  mica_canvas_attribute(c, "y", y);
  mica_bytes_text(&c->out, ">");
  if (mica_text_width(text, size) <= room) {
    mica_markup_escaped(&c->out, text);
  } else {
    const char *end = text;
    double width = 0.9 * size;
    while (*end) {
      uint32_t code;
      const int bytes = mica_utf8_next(end, &code);
      width += advance(code) * size;
      if (width > room) break;
      end += bytes;
    }
    mica_markup_escaped_n(&c->out, text, (size_t)(end - text));
    mica_bytes_text(&c->out, "\u2026");
    mica_canvas_hover(c, text);
  }
  mica_bytes_text(&c->out, "</text>\n");
}

void mica_canvas_line(mica_canvas *c, double x1, double y1, double x2, double y2,
                      const char *class_name) {
  mica_bytes_printf(&c->out, "<path class=\"%s\" d=\"M", class_name);
  mica_markup_coordinate(&c->out, x1);
  mica_bytes_text(&c->out, " ");
  mica_markup_coordinate(&c->out, y1);
  if (y1 == y2) {
    mica_bytes_text(&c->out, "H");
    mica_markup_coordinate(&c->out, x2);
  } else if (x1 == x2) {
    mica_bytes_text(&c->out, "V");
    mica_markup_coordinate(&c->out, y2);
  } else {
    mica_bytes_text(&c->out, "L");
    mica_markup_coordinate(&c->out, x2);
    mica_bytes_text(&c->out, " ");
    mica_markup_coordinate(&c->out, y2);
  }
  mica_bytes_text(&c->out, "\"/>\n");
}

void mica_canvas_rect(mica_canvas *c, double x, double y, double width, double height,
                      const char *class_name, const char *tail) {
  mica_bytes_printf(&c->out, "<rect class=\"%s\"", class_name);
  mica_canvas_attribute(c, "x", x);
  mica_canvas_attribute(c, "y", y);
  mica_canvas_attribute(c, "width", width);
  mica_canvas_attribute(c, "height", height);
  mica_bytes_text(&c->out, tail);
}

/* Path data through points given as offsets from a centre, in radii. */
static void polygon(mica_canvas *c, double x, double y, double r, const double (*at)[2], int n) {
  for (int i = 0; i < n; i++) {
    mica_bytes_text(&c->out, i ? "L" : "M");
    mica_markup_coordinate(&c->out, x + r * at[i][0]);
    mica_bytes_text(&c->out, " ");
    mica_markup_coordinate(&c->out, y + r * at[i][1]);
  }
  mica_bytes_text(&c->out, "z\"/>");
}

void mica_canvas_marker(mica_canvas *c, int k, double x, double y, double r) {
  static const double square[4][2] = {{-0.88, -0.88}, {0.88, -0.88}, {0.88, 0.88}, {-0.88, 0.88}};
  static const double triangle[3][2] = {{0, -1.25}, {1.1, 0.8}, {-1.1, 0.8}};
  static const double diamond[4][2] = {{0, -1.3}, {1.3, 0}, {0, 1.3}, {-1.3, 0}};
  static const double cross[12][2] = {{-0.4, -1.2}, {0.4, -1.2}, {0.4, -0.4},  {1.2, -0.4},
                                      {1.2, 0.4},   {0.4, 0.4},  {0.4, 1.2},   {-0.4, 1.2},
                                      {-0.4, 0.4},  {-1.2, 0.4}, {-1.2, -0.4}, {-0.4, -0.4}};
  if (k % 5 == 0) {
    mica_bytes_text(&c->out, "<circle class=\"p\"");
    mica_canvas_attribute(c, "cx", x);
    mica_canvas_attribute(c, "cy", y);
    mica_canvas_attribute(c, "r", r);
    mica_bytes_text(&c->out, "/>");
    return;
  }
  mica_bytes_text(&c->out, "<path class=\"p\" d=\"");
  switch (k % 5) {
  case 1: polygon(c, x, y, r, square, 4); break;
  case 2: polygon(c, x, y, r, triangle, 3); break;
  case 3: polygon(c, x, y, r, diamond, 4); break;
  default: polygon(c, x, y, r, cross, 12);
  }
}

mica_status mica_picture_check(const mica_picture *picture) {
  if (picture->width < 1 || picture->width > 1024 || picture->height < 1 || picture->height > 1024)
    return mica_fail(MICA_ERR_INVALID, "a picture of %d x %d pixels, expected 1 to 1024 a side",
                     (int)picture->width, (int)picture->height);
  if (picture->channels != 1 && picture->channels != 3 && picture->channels != 4)
    return mica_fail(MICA_ERR_INVALID, "a picture of %d channels, expected 1, 3 or 4",
                     (int)picture->channels);
  return MICA_OK;
}

void mica_canvas_picture(mica_canvas *c, const mica_picture *picture, double x, double y,
                         double width, double height, const char *class_name) {
  if (c->out.status) return;
  uint8_t *png = NULL;
  size_t length = 0;
  c->out.status = mica_png_thumbnail(picture, &png, &length);
  mica_bytes_text(&c->out, "<image");
  if (class_name) mica_bytes_printf(&c->out, " class=\"%s\"", class_name);
  mica_canvas_attribute(c, "x", x);
  mica_canvas_attribute(c, "y", y);
  mica_canvas_attribute(c, "width", width);
  mica_canvas_attribute(c, "height", height);
  mica_bytes_text(&c->out, " href=\"data:image/png;base64,");
  mica_markup_base64(&c->out, png, length);
  mica_bytes_text(&c->out, "\"/>");
  mica_free(png);
}
