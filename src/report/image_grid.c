/* Pictures in a grid, each with up to two lines under it and a frame that says right or wrong. */
#include "report/figure.h"

enum { TILES_MAX = 2000 };

static mica_status check(const mica_tile *tiles, int64_t n, const mica_image_grid_options *o) {
  if (n < 0 || n > TILES_MAX || (n > 0 && !tiles))
    return mica_fail(MICA_ERR_INVALID, "an image grid of %lld tiles, expected 0 to %d",
                     (long long)n, TILES_MAX);
  if (o->columns < 1 || o->columns > 40)
    return mica_fail(MICA_ERR_INVALID, "an image grid of %d columns, expected 1 to 40",
                     (int)o->columns);
  if (o->tile < 8 || o->tile > 1024)
    return mica_fail(MICA_ERR_INVALID, "an image grid with tiles of %d pixels, expected 8 to 1024",
                     (int)o->tile);
  for (int64_t i = 0; i < n; i++)
    if (tiles[i].picture.pixels && mica_picture_check(&tiles[i].picture))
      return mica_fail_within("tile %lld of an image grid", (long long)i);
  return MICA_OK;
}

mica_status mica_figure_image_grid(const mica_tile *tiles, int64_t n,
                                   const mica_image_grid_options *options, mica_figure **out) {
  static const mica_image_grid_options defaults = MICA_IMAGE_GRID_OPTIONS;
  mica_image_grid_options o;
  mica_status status = mica_report_options_complete(&o, &defaults, sizeof o, options);
  if (!status) status = check(tiles, n, &o);
  if (status) return status;

  bool captions = false, details = false;
  for (int64_t i = 0; i < n; i++) {
    captions = captions || tiles[i].caption;
    details = details || tiles[i].detail;
  }
  const double gap = 12, side = o.tile, top = o.title ? 28 : 4;
  const double row = side + 10 + (captions ? 15 : 0) + (details ? 14 : 0);
  const int64_t columns = n > 0 && n < o.columns ? n : o.columns,
                rows = (n + columns - 1) / columns;
  const double width = fmax((double)columns * (side + gap), 120);
  mica_canvas c;
  mica_canvas_begin(&c, width, top + row * (double)(rows ? rows : 1), o.title, "images");
  if (n == 0)
    mica_canvas_text(&c, width / 2, top + row / 2, "m", MICA_ANCHOR_MIDDLE, 12, width, "no images");
  for (int64_t i = 0; i < n; i++) {
    const mica_tile *tile = &tiles[i];
    const double x = (double)(i % columns) * (side + gap) + gap / 2,
                 y = top + (double)(i / columns) * row;
    double width_drawn = side, height_drawn = side;
    if (tile->picture.pixels) {
      const mica_picture *p = &tile->picture;
      const double longer = p->width > p->height ? p->width : p->height;
      width_drawn = side * p->width / longer;
      height_drawn = side * p->height / longer;
      mica_canvas_picture(&c, p, x + (side - width_drawn) / 2, y + (side - height_drawn) / 2,
                          width_drawn, height_drawn, o.pixelated && longer < side ? "x" : NULL);
    } else {
      mica_canvas_rect(&c, x, y, side, side, "u", "/>");
    }
    if (tile->mark != MICA_MARK_NONE)
      mica_canvas_rect(&c, x + (side - width_drawn) / 2 - 1, y + (side - height_drawn) / 2 - 1,
                       width_drawn + 2, height_drawn + 2,
                       tile->mark == MICA_MARK_RIGHT ? "ok" : "no", " rx=\"2\"/>");
    mica_canvas_text(&c, x + side / 2, y + side + 14, "c", MICA_ANCHOR_MIDDLE, 11, side + gap - 4,
                     tile->caption);
    mica_canvas_text(&c, x + side / 2, y + side + 14 + (captions ? 14 : 0), "k", MICA_ANCHOR_MIDDLE,
                     11, side + gap - 4, tile->detail);
    mica_bytes_text(&c.out, "\n");
  }
  return mica_canvas_finish(&c, out);
}
