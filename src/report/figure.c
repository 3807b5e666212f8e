/* The finished figure and the style that all figures share.
 *
 * The ten series colours begin with those of Okabe and Ito, told apart by nearly everyone, then a
 * wine, an olive, an indigo and a brown; dark pages get lighter ones of the same hues. Marker
 * shapes and dashes repeat what colour says. */
#include "report/figure.h"

#include <string.h>

#include "base/file.h"

/* Two ramps of sixteen levels, from the page's background to full colour: h for what is asked for
 * (blue), e for errors and negative values (orange). */
const char mica_figure_style[] =
    ".mf{font:12px system-ui,-apple-system,\"Segoe UI\",Roboto,\"DejaVu Sans\",sans-serif;"
    "color:#333}"
    ".mf text{fill:#333}.mf .t{font-size:14px;font-weight:600;fill:#111}.mf .m{fill:#666}"
    ".mf .k{font-size:11px;fill:#666;font-variant-numeric:tabular-nums}"
    ".mf .g{stroke:#e6e6e6}.mf .a{stroke:#aaa}.mf .r{stroke:#555;stroke-dasharray:5 4}"
    ".mf "
    ".l{fill:none;stroke:currentColor;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}"
    ".mf .l1{stroke-dasharray:7 4}.mf .l2{stroke-dasharray:2 4}"
    ".mf .b{fill:currentColor;fill-opacity:.18}.mf .d{fill:currentColor}"
    ".mf .p{fill:currentColor;fill-opacity:.75;stroke:#fff;stroke-width:.6}"
    ".mf .w{stroke:#333;stroke-width:1.3;fill:none}"
    ".mf .o{fill:none;stroke:#ccc}.mf .ok{fill:none;stroke:#0072b2;stroke-width:2.5}"
    ".mf .no{fill:none;stroke:#d55e00;stroke-width:2.5}.mf .c{font-size:11px}"
    ".mf .n{fill:#111;font-variant-numeric:tabular-nums}.mf .i{fill:#fff;"
    "font-variant-numeric:tabular-nums}"
    ".mf .f{fill:none;stroke:currentColor;stroke-width:2}"
    ".mf .v{display:none;pointer-events:none}.mf .z:hover .v{display:inline}.mf .z:hover .p{"
    "stroke:#111;stroke-width:1.6}.mf .x{image-rendering:pixelated}.mf .u{fill:#f5f6f7}.mf "
    ".q{stroke-width:1.1;stroke-opacity:.85}"
    ".mf .s0{color:#0072b2}.mf .s1{color:#d55e00}.mf .s2{color:#009e73}.mf .s3{color:#cc79a7}"
    ".mf .s4{color:#e69f00}.mf .s5{color:#56b4e9}.mf .s6{color:#882255}.mf .s7{color:#8a8a1f}"
    ".mf .s8{color:#332288}.mf .s9{color:#8a5a33}.mf .sn{color:#aaa}"
    ".mf .h0{fill:#f4f7fb}.mf .h1{fill:#e6eff8}.mf .h2{fill:#d7e6f4}.mf .h3{fill:#c6dcef}"
    ".mf .h4{fill:#b3d0e9}.mf .h5{fill:#9dc3e2}.mf .h6{fill:#86b4da}.mf .h7{fill:#6ea4d1}"
    ".mf .h8{fill:#5794c7}.mf .h9{fill:#4384bc}.mf .h10{fill:#3174b0}.mf .h11{fill:#2165a2}"
    ".mf .h12{fill:#145693}.mf .h13{fill:#0b4883}.mf .h14{fill:#073a70}.mf .h15{fill:#052d5c}"
    ".mf .e0{fill:#fdf6f0}.mf .e1{fill:#fdebdd}.mf .e2{fill:#fcdfc8}.mf .e3{fill:#fbd1b1}"
    ".mf .e4{fill:#f9c198}.mf .e5{fill:#f6af7d}.mf .e6{fill:#f29c62}.mf .e7{fill:#ec8848}"
    ".mf .e8{fill:#e27531}.mf .e9{fill:#d6641f}.mf .e10{fill:#c65512}.mf .e11{fill:#b34809}"
    ".mf .e12{fill:#9d3d06}.mf .e13{fill:#863305}.mf .e14{fill:#6f2a05}.mf .e15{fill:#5a2205}"
    "@media(prefers-color-scheme:dark){.mf{color:#ccc}.mf text{fill:#d0d3d8}.mf .t{fill:#f2f2f2}"
    ".mf .m,.mf .k{fill:#9aa0a8}.mf .g{stroke:#2f343b}.mf .a{stroke:#666d76}.mf .r{stroke:#aab}"
    ".mf .p{stroke:#16181c}.mf .w{stroke:#d0d3d8}.mf .o{stroke:#444a52}.mf .ok{stroke:#4fa8e0}"
    ".mf .no{stroke:#ff8a3d}.mf .z:hover .p{stroke:#fff}.mf .u{fill:#1f2328}"
    ".mf .s0{color:#4fa8e0}.mf .s1{color:#ff8a3d}.mf .s2{color:#2fc79a}.mf .s3{color:#e79bc4}"
    ".mf .s4{color:#f5b83d}.mf .s5{color:#8fd0f7}.mf .s6{color:#e0699f}.mf .s7{color:#c6c65a}"
    ".mf .s8{color:#9f95f0}.mf .s9{color:#c3936b}.mf .sn{color:#6a7078}"
    ".mf .n{fill:#e6e8eb}.mf .i{fill:#0b1016}"
    ".mf .h0{fill:#1c2127}.mf .h1{fill:#1c2731}.mf .h2{fill:#1c2d3c}.mf .h3{fill:#1c3447}"
    ".mf .h4{fill:#1c3c53}.mf .h5{fill:#1d4460}.mf .h6{fill:#204e6e}.mf .h7{fill:#24597d}"
    ".mf .h8{fill:#2b658d}.mf .h9{fill:#3473a0}.mf .h10{fill:#4183b3}.mf .h11{fill:#5194c5}"
    ".mf .h12{fill:#66a6d6}.mf .h13{fill:#80b9e4}.mf .h14{fill:#9fccf0}.mf .h15{fill:#c3e0f9}"
    ".mf .e0{fill:#241f1b}.mf .e1{fill:#2f241b}.mf .e2{fill:#3a291b}.mf .e3{fill:#462e1a}"
    ".mf .e4{fill:#53341a}.mf .e5{fill:#613a19}.mf .e6{fill:#714119}.mf .e7{fill:#824919}"
    ".mf .e8{fill:#95531b}.mf .e9{fill:#a95f20}.mf .e10{fill:#be6d29}.mf .e11{fill:#d17d36}"
    ".mf .e12{fill:#e29049}.mf .e13{fill:#f0a563}.mf .e14{fill:#f9bc84}.mf .e15{fill:#fdd5ae}}";

void mica_figure_free(mica_figure *figure) {
  if (!figure) return;
  mica_free(figure->svg);
  mica_free(figure);
}

const char *mica_figure_svg(const mica_figure *figure, size_t *length) {
  if (!figure) {
    if (length) *length = 0;
    return "";
  }
  if (length) *length = figure->length;
  return figure->svg;
}

mica_status mica_figure_from_svg(const char *svg, mica_figure **out) {
  const char *root = strstr(svg, "<svg"), *style = strstr(svg, "<style>");
  const char *style_end = style ? strstr(style, "</style>") : NULL;
  if (!root) return mica_fail(MICA_ERR_FORMAT, "a figure that is no SVG document");
  mica_figure *figure = mica_calloc(1, sizeof *figure);
  char *copy = figure ? mica_strdup(svg) : NULL;
  if (!copy) {
    mica_free(figure);
    return MICA_ERR_MEMORY;
  }
  *figure = (mica_figure){.svg = copy, .length = strlen(svg), .root_begin = (size_t)(root - svg)};
  if (style_end) {
    figure->style_begin = (size_t)(style - svg);
    figure->style_end = (size_t)(style_end - svg) + strlen("</style>\n");
    if (figure->style_end > figure->length) figure->style_end = figure->length;
  } else {
    figure->style_begin = figure->style_end = figure->root_begin;
  }
  *out = figure;
  return MICA_OK;
}

mica_status mica_figure_save(const mica_figure *figure, const char *path) {
  if (!figure || !path)
    return mica_fail(MICA_ERR_INVALID, "saving a figure needs a figure and a path");
  return mica_file_write_atomic(path, figure->svg, figure->length);
}

mica_status mica_figure_side_check(const char *name, int32_t pixels) {
  if (pixels >= 120 && pixels <= 4000) return MICA_OK;
  return mica_fail(MICA_ERR_INVALID, "a figure's %s is %d pixels, expected 120 to 4000", name,
                   (int)pixels);
}

mica_status mica_report_options_complete(void *out, const void *defaults, size_t bytes,
                                         const void *given) {
  memcpy(out, defaults, bytes);
  if (!given) return MICA_OK;
  uint32_t size;
  memcpy(&size, given, sizeof size);
  if (size < sizeof size)
    return mica_fail(MICA_ERR_INVALID, "an options struct whose size field is %u", (unsigned)size);
  memcpy(out, given, size < bytes ? size : bytes);
  return MICA_OK;
}
