/* Depthwise convolutions of contiguous images, channels in vectors and those left over one by one.
   The kernel has a row of channels for each tap. */

typedef REAL OF(channels) __attribute__((vector_size(4 * FLOATS), aligned(sizeof(REAL)), may_alias));

/* The taps of a kernel that are real cells: the elements from one row and one column to the next, of
   the images and of the kernel, and from the first window's first tap on. */
typedef struct {
    Py_ssize_t rows, columns, down, right, kernel_down, kernel_right;
} OF(Taps);

/* ``count`` windows, ``step`` apart. */
INLINE void OF(depthwise_windows)(int count, const REAL *x, Py_ssize_t step, const REAL *kernel,
                                  const OF(Taps) *taps, Py_ssize_t channels, REAL *y)
{
    enum { LANES = 4 * FLOATS / sizeof(REAL) };
    Py_ssize_t c = 0;
    for (; c + LANES <= channels; c += LANES) {
        OF(channels) sums[4] = {{0}};
        for (Py_ssize_t i = 0; i < taps->rows; i++) {
            const REAL *cell = x + i * taps->down + c, *weight = kernel + i * taps->kernel_down + c;
            for (Py_ssize_t j = 0; j < taps->columns; j++) {
                OF(channels) by = *(const OF(channels) *)weight;
#pragma GCC unroll 4
                for (int k = 0; k < count; k++)
                    sums[k] += *(const OF(channels) *)(cell + k * step) * by;
                cell += taps->right;
                weight += taps->kernel_right;
            }
        }
#pragma GCC unroll 4
        for (int k = 0; k < count; k++)
            *(OF(channels) *)(y + k * channels + c) = sums[k];
    }
    for (; c < channels; c++)
        for (int k = 0; k < count; k++) {
            REAL sum = 0;
            for (Py_ssize_t i = 0; i < taps->rows; i++)
                for (Py_ssize_t j = 0; j < taps->columns; j++)
                    sum += x[k * step + i * taps->down + j * taps->right + c] *
                           kernel[i * taps->kernel_down + j * taps->kernel_right + c];
            y[k * channels + c] = sum;
        }
}

/* ``turned``: the last tap comes first. */
static void OF(depthwise_loop)(const REAL *x, const REAL *kernel, const Windows *w, int turned,
                               Py_ssize_t batch, Py_ssize_t channels, REAL *y)
{
    Strides steps = packed(w, channels);
    Py_ssize_t step = w->columns.stride * channels, sign = turned ? -1 : 1;
    Py_ssize_t line = w->columns.kernel * channels;
    OF(Taps) taps = {0, 0, w->rows.dilation * steps.row, w->columns.dilation * channels,
                     sign * line, sign * channels};
    if (turned)
        kernel += w->rows.kernel * line - channels;
    for (Py_ssize_t n = 0; n < batch; n++, x += steps.image)
        for (Py_ssize_t row = 0; row < w->rows.windows; row++)
            for (Py_ssize_t column = 0; column < w->columns.windows;) {
                Reach at = reach(w, row, column);
                Py_ssize_t last = column + 3 < w->columns.windows ? column + 3 : column;
                int together = last > column && at.left == 0 &&
                               end_tap(&w->columns, last) == w->columns.kernel;
                taps.rows = at.bottom - at.top;
                taps.columns = at.right - at.left;
                const REAL *from = x + cell(&w->rows, row, at.top) * steps.row +
                                   cell(&w->columns, column, at.left) * channels;
                const REAL *by = kernel + at.top * taps.kernel_down + at.left * taps.kernel_right;
                if (together)
                    OF(depthwise_windows)(4, from, step, by, &taps, channels, y);
                else
                    OF(depthwise_windows)(1, from, step, by, &taps, channels, y);
                column += together ? 4 : 1;
                y += (together ? 4 : 1) * channels;
            }
}

/* The sum over the windows that hold a cell. */
static void OF(depthwise_back_loop)(const REAL *dy, const REAL *kernel, const Windows *w,
                                    Py_ssize_t batch, Py_ssize_t channels,
                                    const Holders *of_columns, REAL *dx)
{
    enum { LANES = 64 / sizeof(REAL) };
    Py_ssize_t across = w->columns.windows * channels;
    for (Py_ssize_t n = 0; n < batch; n++, dy += w->rows.windows * across)
        for (Py_ssize_t row = 0; row < w->rows.size; row++) {
            Holders rows = holders(&w->rows, row);
            for (Py_ssize_t column = 0; column < w->columns.size; column++, dx += channels) {
                const Holders *columns = &of_columns[column];
                Py_ssize_t c = 0;
                for (; c + LANES <= channels; c += LANES) {
                    OF(wide) sum = {0};
                    for (int i = 0; i < rows.count; i++)
                        for (int j = 0; j < columns->count; j++) {
                            int tap = rows.tap[i] * (int)w->columns.kernel + columns->tap[j];
                            sum += OF(load)(dy + rows.window[i] * across +
                                            columns->window[j] * channels + c) *
                                   OF(load)(kernel + tap * channels + c);
                        }
                    memcpy(dx + c, &sum, sizeof sum);
                }
                for (; c < channels; c++) {
                    REAL sum = 0;
                    for (int i = 0; i < rows.count; i++)
                        for (int j = 0; j < columns->count; j++) {
                            int tap = rows.tap[i] * (int)w->columns.kernel + columns->tap[j];
                            sum += dy[rows.window[i] * across + columns->window[j] * channels + c] *
                                   kernel[tap * channels + c];
                        }
                    dx[c] = sum;
                }
            }
        }
}

/* Add the products of a row of cells with a row of slopes, four at a time. */
INLINE void OF(add_products)(const REAL *x, Py_ssize_t step, const REAL *dy, Py_ssize_t count,
                             Py_ssize_t channels, REAL *slope)
{
    Py_ssize_t k = 0;
    for (; k + 4 <= count; k += 4, x += 4 * step, dy += 4 * channels) {
        const REAL *x1 = x + step, *x2 = x1 + step, *x3 = x2 + step;
        const REAL *dy1 = dy + channels, *dy2 = dy1 + channels, *dy3 = dy2 + channels;
        LOOP
        for (Py_ssize_t c = 0; c < channels; c++)
            slope[c] += (x[c] * dy[c] + x1[c] * dy1[c]) + (x2[c] * dy2[c] + x3[c] * dy3[c]);
    }
    for (; k < count; k++, x += step, dy += channels) {
        LOOP
        for (Py_ssize_t c = 0; c < channels; c++)
            slope[c] += x[c] * dy[c];
    }
}

/* Each image by itself, then their sum, so that rounding does not pile up. */
static void OF(depthwise_slope_loop)(const REAL *x, const REAL *dy, const Windows *w,
                                     Py_ssize_t batch, Py_ssize_t channels, REAL *one, REAL *slope)
{
    Strides steps = packed(w, channels);
    Py_ssize_t size = w->rows.kernel * w->columns.kernel * channels;
    memset(slope, 0, (size_t)size * sizeof *slope);
    for (Py_ssize_t n = 0; n < batch; n++, x += steps.image) {
        memset(one, 0, (size_t)size * sizeof *one);
        for (Py_ssize_t row = 0; row < w->rows.windows; row++) {
            for (Py_ssize_t i = first_tap(&w->rows, row); i < end_tap(&w->rows, row); i++)
                for (Py_ssize_t j = 0; j < w->columns.kernel; j++) {
                    Py_ssize_t first, end;
                    reaching(&w->columns, j, &first, &end);
                    OF(add_products)(x + cell(&w->rows, row, i) * steps.row +
                                         cell(&w->columns, first, j) * steps.column,
                                     w->columns.stride * steps.column, dy + first * channels,
                                     end - first, channels,
                                     one + (i * w->columns.kernel + j) * channels);
                }
            dy += w->columns.windows * channels;
        }
        OF(add)(one, size, slope);
    }
}
