/* Convolutions of 3x3 taps, 4x4 windows at a time, with 36 products where 144 would be needed:
   y = A' [(G g G') (B' d B)] A, with d the 6x6 cells under the windows and g the kernel. The
   products of all channels are 36 products of matrices, one for each place of the 6x6.
   Source: Lavin & Gray (2016), F(4x4, 3x3); the gradient in the kernel is the same form turned.
   Barabasz et al. (2020), on points at which rounding is small.
*/

enum {
    SIDE = 4, PLACES = 36, /* windows of a tile along an axis; (SIDE + 2) squared */
    TILES = 48,            /* a multiple of TILE_ROWS */
    APART = 64 / sizeof(float), /* keeps places out of each other's cache lines */
};

/* The polynomials are taken at 0, +-NEAR, +-FAR and infinity. Of numbers that a float has exactly,
   with all products, these round least: half as well as the sums of a plain convolution. */
#define NEAR 0.625f
#define FAR 1.5f
#define SUM (NEAR * NEAR + FAR * FAR)
#define PRODUCT (NEAR * NEAR * FAR * FAR)

/* B' d, of six vectors. */
INLINE void to_places(const Vector *d, Vector *out, int apart)
{
    Vector near_even = d[4] - FAR * FAR * d[2];
    Vector near_odd = d[3] - FAR * FAR * d[1];
    Vector far_even = d[4] - NEAR * NEAR * d[2];
    Vector far_odd = d[3] - NEAR * NEAR * d[1];
    out[0] = (d[4] - SUM * d[2]) + PRODUCT * d[0];
    out[apart] = near_even + NEAR * near_odd;
    out[2 * apart] = near_even - NEAR * near_odd;
    out[3 * apart] = far_even + FAR * far_odd;
    out[4 * apart] = far_even - FAR * far_odd;
    out[5 * apart] = (d[5] - SUM * d[3]) + PRODUCT * d[1];
}

/* A' m, of six vectors, to four. */
INLINE void to_windows(const Vector *m, Vector *out, int apart)
{
    Vector near_sum = m[1] + m[2], near_rest = m[1] - m[2];
    Vector far_sum = m[3] + m[4], far_rest = m[3] - m[4];
    out[0] = (m[0] + near_sum) + far_sum;
    out[apart] = NEAR * near_rest + FAR * far_rest;
    out[2 * apart] = NEAR * NEAR * near_sum + FAR * FAR * far_sum;
    out[3 * apart] = (m[5] + NEAR * NEAR * NEAR * near_rest) + FAR * FAR * FAR * far_rest;
}

/* A z, of four vectors, to six. */
INLINE void from_windows(const Vector *z, Vector *out, int apart)
{
    Vector near_even = z[0] + NEAR * NEAR * z[2];
    Vector near_odd = z[1] + NEAR * NEAR * z[3];
    Vector far_even = z[0] + FAR * FAR * z[2];
    Vector far_odd = z[1] + FAR * FAR * z[3];
    out[0] = z[0];
    out[apart] = near_even + NEAR * near_odd;
    out[2 * apart] = near_even - NEAR * near_odd;
    out[3 * apart] = far_even + FAR * far_odd;
    out[4 * apart] = far_even - FAR * far_odd;
    out[5 * apart] = z[3];
}

/* One over the product of a point's distances to the others: 0, NEAR and FAR. */
#define AT_ZERO (1 / (NEAR * NEAR * FAR * FAR))
#define AT_NEAR (1 / (2 * NEAR * NEAR * (NEAR * NEAR - FAR * FAR)))
#define AT_FAR (1 / (2 * FAR * FAR * (FAR * FAR - NEAR * NEAR)))

/* G g: three vectors to six. */
INLINE void kernel_to_places(const Vector *g, int step, Vector *out, int apart)
{
    Vector near_even = (g[0] + NEAR * NEAR * g[2 * step]) * AT_NEAR;
    Vector near_odd = NEAR * AT_NEAR * g[step];
    Vector far_even = (g[0] + FAR * FAR * g[2 * step]) * AT_FAR;
    Vector far_odd = FAR * AT_FAR * g[step];
    out[0] = g[0] * AT_ZERO;
    out[apart] = near_even + near_odd;
    out[2 * apart] = near_even - near_odd;
    out[3 * apart] = far_even + far_odd;
    out[4 * apart] = far_even - far_odd;
    out[5 * apart] = g[2 * step];
}

/* G' m: six vectors to three. */
INLINE void kernel_from_places(const Vector *m, int step, Vector *out, int apart)
{
    Vector near_sum = (m[step] + m[2 * step]) * AT_NEAR;
    Vector near_rest = (m[step] - m[2 * step]) * AT_NEAR;
    Vector far_sum = (m[3 * step] + m[4 * step]) * AT_FAR;
    Vector far_rest = (m[3 * step] - m[4 * step]) * AT_FAR;
    out[0] = (m[0] * AT_ZERO + near_sum) + far_sum;
    out[apart] = NEAR * near_rest + FAR * far_rest;
    out[2 * apart] = (m[5 * step] + NEAR * NEAR * near_sum) + FAR * FAR * far_sum;
}

/* Whether an axis has windows of three cells, one after the other, and more than two. */
static int is_of_three(const Axis *axis)
{
    return axis->kernel == 3 && axis->stride == 1 && axis->dilation == 1 && axis->windows > 2;
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

/* The scratch memory: no image is padded. */
static Work winograd_share(const Array *work, Images *x, const Kernels *k)
{
    Py_ssize_t written = in_panels(k->written);
    x->height = x->rows, x->width = x->columns;
    return share(work, x, k->read, PLACES * k->read * written,
                 PLACES * (TILES * (k->read + written) + 2 * APART));
}

/* The transformed kernel in panels, one for each place and so many written channels. */
static void winograd_kernel(const Kernels *k, int turned, float *panels)
{
    Py_ssize_t size = k->read * in_panels(k->written);
    int along = k->of_written == 1; /* else the channels that are read lie side by side */
    Py_ssize_t inner = along ? k->written : k->read, outer = along ? k->read : k->written;
    for (Py_ssize_t a = 0; a < outer; a++)
        for (Py_ssize_t b = 0; b < inner; b += FLOATS) {
            Vector g[9], half[18], all[PLACES];
            const float *from = k->data + a * (along ? k->of_read : k->of_written) + b;
            for (int i = 0; i < 9; i++)
                g[i] = *(const Vector *)(from + (turned ? 8 - i : i) * k->tap);
            for (int j = 0; j < 3; j++)
                kernel_to_places(g + j, 3, half + j, 3);
            for (int i = 0; i < 6; i++)
                kernel_to_places(half + 3 * i, 1, all + 6 * i, 1);
            Py_ssize_t c = along ? a : b, f = along ? b : a;
            float *to = panels + f / WIDTH * k->read * WIDTH + c * WIDTH + f % WIDTH;
            for (int p = 0; p < PLACES; p++, to += size)
                if (along)
                    *(Vector *)to = all[p];
                else
                    for (int lane = 0; lane < FLOATS; lane++)
                        to[lane * WIDTH] = all[p][lane];
        }
}

/* A tile of 4x4 windows: the first cell that it reads, of which there are the rows from top to
   bottom and the columns from left to right; where it is written, and how many windows it has. */
typedef struct {
    Py_ssize_t from, top, bottom, left, right, into, rows, columns;
} Tile;

/* The next tiles of all images, at most TILES. */
static Py_ssize_t tiles_of(const Images *x, Place *at, const Line *rows, const Line *columns,
                           Py_ssize_t channels, Tile *tiles)
{
    Line down = *rows, across = *columns;
    down.cells = (rows->cells + SIDE - 1) / SIDE;
    across.cells = (columns->cells + SIDE - 1) / SIDE;
    Py_ssize_t count = 0;
    for (; count < TILES && at->image < x->batch; count++, next(at, &down, &across)) {
        Py_ssize_t row = SIDE * at->row, column = SIDE * at->column;
        Py_ssize_t first = rows->start + row - x->top, left = columns->start + column - x->left;
        tiles[count] = (Tile){
            ((at->image * x->rows + first) * x->columns + left) * x->channels,
            first < 0 ? -first : 0, least(SIDE + 2, x->rows - first),
            left < 0 ? -left : 0, least(SIDE + 2, x->columns - left),
            ((at->image * rows->cells + row) * columns->cells + column) * channels,
            least(SIDE, rows->cells - row), least(SIDE, columns->cells - column),
        };
    }
    return count;
}

/* The cells under a tile of some channels, zeros where there are none. */
INLINE void fill(const float *from, Py_ssize_t line, Py_ssize_t step, const Tile *tile, Vector *out)
{
    for (int i = 0; i < SIDE + 2; i++)
        for (int j = 0; j < SIDE + 2; j++)
            *out++ = tile->top <= i && i < tile->bottom && tile->left <= j && j < tile->right
                         ? *(const Vector *)(from + i * line + j * step) : (Vector){0};
}

/* B' d B of the channels of the cells under a tile; places are ``apart``. */
static void cells_to_places(const Images *x, const Tile *tile, float *out, Py_ssize_t apart)
{
    int whole = tile->top == 0 && tile->bottom == SIDE + 2 && tile->left == 0 &&
                tile->right == SIDE + 2;
    for (Py_ssize_t c = 0; c < x->channels; c += FLOATS, out += FLOATS) {
        Vector cells[PLACES], half[PLACES], some[SIDE + 2];
        const float *from = x->data + tile->from + c;
        Py_ssize_t step = x->channels, line = x->columns * step;
        if (!whole) {
            fill(from, line, step, tile, cells);
            from = (const float *)cells, step = FLOATS, line = (SIDE + 2) * FLOATS;
        }
#pragma GCC unroll 6
        for (int j = 0; j < SIDE + 2; j++, from += step) {
#pragma GCC unroll 6
            for (int i = 0; i < SIDE + 2; i++)
                some[i] = *(const Vector *)(from + i * line);
            to_places(some, half + j, SIDE + 2);
        }
#pragma GCC unroll 6
        for (int i = 0; i < SIDE + 2; i++) {
            to_places(half + (SIDE + 2) * i, some, 1);
#pragma GCC unroll 6
            for (int j = 0; j < SIDE + 2; j++)
                *(Vector *)(out + ((SIDE + 2) * i + j) * apart) = some[j];
        }
    }
}

/* A' m A, written to the windows of a tile; y's rows are ``line`` elements long. */
static void places_to_cells(const float *m, Py_ssize_t apart, Py_ssize_t channels,
                            const Tile *tile, float *y, Py_ssize_t line)
{
    int whole = tile->rows == SIDE && tile->columns == SIDE;
    for (Py_ssize_t c = 0; c < channels; c += FLOATS) {
        Vector half[SIDE * (SIDE + 2)], some[SIDE + 2];
#pragma GCC unroll 6
        for (int j = 0; j < SIDE + 2; j++) {
#pragma GCC unroll 6
            for (int i = 0; i < SIDE + 2; i++)
                some[i] = *(const Vector *)(m + ((SIDE + 2) * i + j) * apart + c);
            to_windows(some, half + j, SIDE + 2);
        }
        float *to = y + tile->into + c;
#pragma GCC unroll 4
        for (int i = 0; i < SIDE; i++, to += line) {
            to_windows(half + (SIDE + 2) * i, some, 1);
#pragma GCC unroll 4
            for (int j = 0; j < SIDE; j++)
                if (whole || (i < tile->rows && j < tile->columns))
                    *(Vector *)(to + j * channels) = some[j];
        }
    }
}

/* A z A' of the slopes of a tile's windows, in panels of TILES rows. */
static void slopes_to_places(const float *dy, Py_ssize_t line, Py_ssize_t channels,
                             const Tile *tile, float *panels, Py_ssize_t apart)
{
    int whole = tile->rows == SIDE && tile->columns == SIDE;
    for (Py_ssize_t c = 0; c < channels; c += FLOATS) {
        Vector half[SIDE * (SIDE + 2)], some[SIDE + 2];
        const float *from = dy + tile->into + c;
#pragma GCC unroll 4
        for (int j = 0; j < SIDE; j++, from += channels) {
#pragma GCC unroll 4
            for (int i = 0; i < SIDE; i++)
                some[i] = whole || (i < tile->rows && j < tile->columns)
                              ? *(const Vector *)(from + i * line) : (Vector){0};
            from_windows(some, half + j, SIDE);
        }
        float *to = panels + c / WIDTH * TILES * WIDTH + c % WIDTH;
#pragma GCC unroll 6
        for (int i = 0; i < SIDE + 2; i++) {
            from_windows(half + SIDE * i, some, 1);
#pragma GCC unroll 6
            for (int j = 0; j < SIDE + 2; j++, to += apart)
                *(Vector *)to = some[j];
        }
    }
}

static void winograd_sweep(const Images *x, const Kernels *k, const Line *rows,
                           const Line *columns, const Work *work, float *out)
{
    Line down = forwards(*rows), across = forwards(*columns);
    Py_ssize_t size = k->read * in_panels(k->written), count, at_row[TILES];
    Py_ssize_t apart = TILES * k->read + APART, off = TILES * k->written + APART;
    float *in = work->tiles, *products = in + PLACES * apart;
    Place at = {0, 0, 0};
    Tile tiles[TILES];
    winograd_kernel(k, rows->jump < 0, work->panels);
    for (Py_ssize_t c = 0; c < k->read; c++)
        work->depth[c] = c;
    for (Py_ssize_t t = 0; t < TILES; t++)
        at_row[t] = t * k->read;
    while ((count = tiles_of(x, &at, &down, &across, k->written, tiles)) > 0) {
        for (Py_ssize_t t = 0; t < count; t++)
            cells_to_places(x, &tiles[t], in + at_row[t], apart);
        for (Py_ssize_t p = 0; p < PLACES; p++) {
            Left left = {in + p * apart, at_row, work->depth};
            multiply_panels(left, count, k->read, work->panels + p * size, k->written,
                            products + p * off, k->written);
        }
        for (Py_ssize_t t = 0; t < count; t++)
            places_to_cells(products + t * k->written, off, k->written, &tiles[t], out,
                            columns->cells * k->written);
    }
}

static void winograd_learn(const Images *x, const Kernels *k, const Line *rows,
                           const Line *columns, const float *dy, const Work *work, float *slope)
{
    Py_ssize_t size = k->read * k->written, count, at_tile[TILES];
    Py_ssize_t apart = TILES * k->read + APART, off = TILES * in_panels(k->written) + APART;
    float *in = work->tiles, *back = in + PLACES * apart, *sums = work->panels;
    Place at = {0, 0, 0};
    Tile tiles[TILES];
    memset(sums, 0, (size_t)(PLACES * size) * sizeof *sums);
    for (Py_ssize_t c = 0; c < k->read; c++)
        work->depth[c] = c;
    for (Py_ssize_t t = 0; t < TILES; t++)
        at_tile[t] = t * k->read;
    while ((count = tiles_of(x, &at, rows, columns, k->written, tiles)) > 0) {
        for (Py_ssize_t t = 0; t < count; t++) {
            cells_to_places(x, &tiles[t], in + at_tile[t], apart);
            slopes_to_places(dy, columns->cells * k->written, k->written, &tiles[t],
                             back + t * WIDTH, off);
        }
        for (Py_ssize_t p = 0; p < PLACES; p++)
            for (Py_ssize_t j = 0; j < k->written; j += WIDTH) {
                Left left = {in + p * apart, work->depth, at_tile};
                strip(left, k->read, count, back + p * off + j * TILES,
                      least(k->written - j, WIDTH), sums + p * size + j, k->written, 1);
            }
    }
    for (Py_ssize_t i = 0; i < size; i += FLOATS) {
        Vector m[PLACES], half[18], g[9];
        for (int p = 0; p < PLACES; p++)
            m[p] = *(const Vector *)(sums + p * size + i);
        for (int j = 0; j < 6; j++)
            kernel_from_places(m + j, 6, half + j, 6);
        for (int row = 0; row < 3; row++)
            kernel_from_places(half + 6 * row, 1, g + 3 * row, 1);
        for (int tap = 0; tap < 9; tap++)
            *(Vector *)(slope + tap * size + i) = g[tap];
    }
}
