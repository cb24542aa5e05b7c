/* Convolutions of 3x3 taps, 2x2 windows at a time, with 16 products where 36 would be needed:
   y = A' [(G g G') (B' d B)] A, with d the 4x4 cells under the four windows and g the kernel. The
   products of all channels are 16 products of matrices, one for each place of the 4x4.
   Source: Lavin & Gray (2016), F(2x2, 3x3); the gradient in the kernel is the same form turned.
*/

enum { PLACES = 16, TILES = 48 }; /* TILES: a multiple of TILE_ROWS */

/* B' d: four vectors, ``step`` apart. */
INLINE void to_places(const Vector *d, int step, Vector *out)
{
    Vector a = d[0], b = d[step], c = d[2 * step], e = d[3 * step];
    out[0] = a - c;
    out[step] = b + c;
    out[2 * step] = c - b;
    out[3 * step] = b - e;
}

/* A' m: four vectors to two. */
INLINE void to_windows(const Vector *m, int step, Vector *out)
{
    Vector sum = m[step] + m[2 * step], difference = m[step] - m[2 * step];
    out[0] = m[0] + sum;
    out[step] = difference - m[3 * step];
}

/* A z: two vectors to four. */
INLINE void from_windows(const Vector *z, int step, Vector *out)
{
    Vector a = z[0], b = z[step];
    out[0] = a;
    out[step] = a + b;
    out[2 * step] = a - b;
    out[3 * step] = -b;
}

/* G g: three numbers to four. */
static void kernel_to_places(const float *g, Py_ssize_t step, float *out, Py_ssize_t apart)
{
    float even = 0.5f * (g[0] + g[2 * step]), odd = 0.5f * g[step];
    out[0] = g[0];
    out[apart] = even + odd;
    out[2 * apart] = even - odd;
    out[3 * apart] = g[2 * step];
}

/* G' m: four numbers to three. */
static void kernel_from_places(const float *m, Py_ssize_t step, float *out, Py_ssize_t apart)
{
    float sum = 0.5f * (m[step] + m[2 * step]), difference = 0.5f * (m[step] - m[2 * step]);
    out[0] = m[0] + sum;
    out[apart] = difference;
    out[2 * apart] = sum + m[3 * step];
}

/* Whether an axis has windows of three cells, one after the other, and two at least. */
static int is_of_three(const Axis *axis)
{
    return axis->kernel == 3 && axis->stride == 1 && axis->dilation == 1 && axis->windows > 1 &&
           axis->size > 1;
}

static int suits_winograd(const Windows *w, const Kernels *k)
{
    return is_of_three(&w->rows) && is_of_three(&w->columns) && k->groups == 1 &&
           k->read % FLOATS == 0 && k->written % FLOATS == 0;
}

/* A line whose taps are turned reads the same cells from the first to the last. */
static Line forwards(Line line)
{
    line.start += line.jump < 0 ? (line.taps - 1) * line.jump : 0;
    return line;
}

/* Pad as far as the last two windows of an axis reach, and share the scratch memory. */
static Work winograd_share(const Array *work, Images *x, const Kernels *k, const Line *rows,
                           const Line *columns)
{
    Py_ssize_t height = forwards(*rows).start + rows->cells + rows->cells % 2 + 2;
    Py_ssize_t width = forwards(*columns).start + columns->cells + columns->cells % 2 + 2;
    x->height = height > x->height ? height : x->height;
    x->width = width > x->width ? width : x->width;
    Py_ssize_t written = in_panels(k->written);
    return share(work, x, k->read, PLACES * k->read * written,
                 PLACES * TILES * (k->read + written));
}

/* The transformed kernel in panels, one for each place and so many written channels. */
static void winograd_kernel(const Kernels *k, int turned, float *panels)
{
    Py_ssize_t size = k->read * in_panels(k->written);
    memset(panels, 0, (size_t)(PLACES * size) * sizeof *panels);
    for (Py_ssize_t c = 0; c < k->read; c++)
        for (Py_ssize_t f = 0; f < k->written; f++) {
            float g[9], half[12], all[PLACES];
            const float *from = k->data + c * k->of_read + f * k->of_written;
            for (int i = 0; i < 9; i++)
                g[i] = from[(turned ? 8 - i : i) * k->tap];
            for (int j = 0; j < 3; j++)
                kernel_to_places(g + j, 3, half + j, 3);
            for (int i = 0; i < 4; i++)
                kernel_to_places(half + 3 * i, 1, all + 4 * i, 1);
            float *to = panels + f / WIDTH * k->read * WIDTH + c * WIDTH + f % WIDTH;
            for (int p = 0; p < PLACES; p++)
                to[p * size] = all[p];
        }
}

/* B' d B of the channels of the cells under four windows; places are ``apart``. */
static void cells_to_places(const float *x, Py_ssize_t row, Py_ssize_t channels, float *out,
                            Py_ssize_t apart)
{
    for (Py_ssize_t c = 0; c < channels; c += FLOATS) {
        Vector d[PLACES], half[PLACES];
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++)
                d[4 * i + j] = *(const Vector *)(x + i * row + j * channels + c);
        for (int j = 0; j < 4; j++)
            to_places(d + j, 4, half + j);
        for (int i = 0; i < 4; i++)
            to_places(half + 4 * i, 1, d + 4 * i);
        for (int p = 0; p < PLACES; p++)
            *(Vector *)(out + p * apart + c) = d[p];
    }
}

/* A' m A, written to as many of the 2x2 cells as there are. */
static void places_to_cells(const float *m, Py_ssize_t apart, Py_ssize_t channels, float *y,
                            Py_ssize_t row, Py_ssize_t rows, Py_ssize_t columns)
{
    for (Py_ssize_t c = 0; c < channels; c += FLOATS) {
        Vector d[PLACES], half[8], out[4];
        for (int p = 0; p < PLACES; p++)
            d[p] = *(const Vector *)(m + p * apart + c);
        for (int j = 0; j < 4; j++)
            to_windows(d + j, 4, half + j);
        for (int i = 0; i < 2; i++)
            to_windows(half + 4 * i, 1, out + 2 * i);
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < columns; j++)
                *(Vector *)(y + i * row + j * channels + c) = out[2 * i + j];
    }
}

/* A z A' of as many of the 2x2 slopes as there are, in panels of so many tiles. */
static void slopes_to_places(const float *dy, Py_ssize_t row, Py_ssize_t channels, Py_ssize_t rows,
                             Py_ssize_t columns, float *panels, Py_ssize_t tile, Py_ssize_t apart)
{
    for (Py_ssize_t c = 0; c < channels; c += FLOATS) {
        Vector z[4], half[8], out[PLACES];
        for (int i = 0; i < 2; i++)
            for (int j = 0; j < 2; j++)
                z[2 * i + j] = i < rows && j < columns
                                   ? *(const Vector *)(dy + i * row + j * channels + c)
                                   : (Vector){0};
        for (int j = 0; j < 2; j++)
            from_windows(z + j, 2, half + j);
        for (int i = 0; i < 4; i++)
            from_windows(half + 2 * i, 1, out + 4 * i);
        float *to = panels + c / WIDTH * TILES * WIDTH + tile * WIDTH + c % WIDTH;
        for (int p = 0; p < PLACES; p++)
            *(Vector *)(to + p * apart) = out[p];
    }
}

/* Four windows: where they are read, where they are written, and how many there are. */
typedef struct {
    const float *from;
    Py_ssize_t into, rows, columns;
} Tile;

/* The next tiles of a block of images; at most TILES. */
static Py_ssize_t tiles_of(const Images *x, const float *data, Py_ssize_t images, Place *at,
                           const Line *rows, const Line *columns, Py_ssize_t channels, Tile *tiles)
{
    Line down = *rows, across = *columns;
    down.cells = (rows->cells + 1) / 2, across.cells = (columns->cells + 1) / 2;
    down.step = across.step = 2;
    Py_ssize_t count = 0;
    for (; count < TILES && at->image < images; count++, next(at, &down, &across)) {
        tiles[count].from = data + read_from(at, x, &down, &across);
        tiles[count].into = ((at->image * rows->cells + 2 * at->row) * columns->cells +
                             2 * at->column) * channels;
        tiles[count].rows = least(2, rows->cells - 2 * at->row);
        tiles[count].columns = least(2, columns->cells - 2 * at->column);
    }
    return count;
}

static void winograd_sweep(const Images *x, const Kernels *k, const Line *rows,
                           const Line *columns, const Work *work, float *out)
{
    Line down = forwards(*rows), across = forwards(*columns);
    Py_ssize_t size = k->read * in_panels(k->written), cells = rows->cells * columns->cells;
    float *in = work->tiles, *products = in + PLACES * TILES * k->read;
    Py_ssize_t apart = TILES * k->written, at_row[TILES];
    winograd_kernel(k, rows->jump < 0, work->panels);
    for (Py_ssize_t c = 0; c < k->read; c++)
        work->depth[c] = c;
    for (Py_ssize_t t = 0; t < TILES; t++)
        at_row[t] = t * k->read;
    for (Py_ssize_t first = 0; first < x->batch; first += work->block) {
        Py_ssize_t images = least(work->block, x->batch - first), count;
        const float *data = padded(x, first, images, work->images);
        float *to = out + first * cells * k->written;
        Place at = {0, 0, 0};
        Tile tiles[TILES];
        while ((count = tiles_of(x, data, images, &at, &down, &across, k->written, tiles)) > 0) {
            for (Py_ssize_t t = 0; t < count; t++)
                cells_to_places(tiles[t].from, x->width * x->channels, k->read, in + at_row[t],
                                TILES * k->read);
            for (Py_ssize_t p = 0; p < PLACES; p++) {
                Left left = {in + p * TILES * k->read, at_row, work->depth};
                multiply_panels(left, count, k->read, work->panels + p * size, k->written,
                                products + p * apart, k->written);
            }
            for (Py_ssize_t t = 0; t < count; t++)
                places_to_cells(products + t * k->written, apart, k->written, to + tiles[t].into,
                                columns->cells * k->written, tiles[t].rows, tiles[t].columns);
        }
    }
}

static void winograd_learn(const Images *x, const Kernels *k, const Line *rows,
                           const Line *columns, const float *dy, const Work *work, float *slope)
{
    Py_ssize_t size = k->read * k->written, cells = rows->cells * columns->cells;
    Py_ssize_t apart = TILES * in_panels(k->written), at_tile[TILES];
    float *in = work->tiles, *back = in + PLACES * TILES * k->read, *sums = work->panels;
    memset(sums, 0, (size_t)(PLACES * size) * sizeof *sums);
    for (Py_ssize_t c = 0; c < k->read; c++)
        work->depth[c] = c;
    for (Py_ssize_t t = 0; t < TILES; t++)
        at_tile[t] = t * k->read;
    for (Py_ssize_t first = 0; first < x->batch; first += work->block) {
        Py_ssize_t images = least(work->block, x->batch - first), count;
        const float *data = padded(x, first, images, work->images);
        const float *from = dy + first * cells * k->written;
        Place at = {0, 0, 0};
        Tile tiles[TILES];
        while ((count = tiles_of(x, data, images, &at, rows, columns, k->written, tiles)) > 0) {
            for (Py_ssize_t t = 0; t < count; t++) {
                cells_to_places(tiles[t].from, x->width * x->channels, k->read, in + at_tile[t],
                                TILES * k->read);
                slopes_to_places(from + tiles[t].into, columns->cells * k->written, k->written,
                                 tiles[t].rows, tiles[t].columns, back, t, apart);
            }
            for (Py_ssize_t p = 0; p < PLACES; p++)
                for (Py_ssize_t j = 0; j < k->written; j += WIDTH) {
                    Left left = {in + p * TILES * k->read, work->depth, at_tile};
                    strip(left, k->read, count, back + p * apart + j * TILES,
                          least(k->written - j, WIDTH), sums + p * size + j, k->written, 1);
                }
        }
    }
    for (Py_ssize_t i = 0; i < size; i++) {
        float m[PLACES], half[12], g[9];
        for (int p = 0; p < PLACES; p++)
            m[p] = sums[p * size + i];
        for (int j = 0; j < 4; j++)
            kernel_from_places(m + j, 4, half + j, 4);
        for (int row = 0; row < 3; row++)
            kernel_from_places(half + 4 * row, 1, g + 3 * row, 1);
        for (int tap = 0; tap < 9; tap++)
            slope[tap * size + i] = g[tap];
    }
}
