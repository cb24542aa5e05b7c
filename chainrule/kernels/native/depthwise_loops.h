/* Depthwise convolutions of contiguous images, channels in vectors and those left over one by one.
   The kernel has a row of channels for each tap. */

static void OF(depthwise_loop)(const REAL *x, const REAL *kernel, const Windows *w,
                               Py_ssize_t batch, Py_ssize_t channels, REAL *y)
{
    enum { LANES = 64 / sizeof(REAL) };
    Strides steps = packed(w, channels);
    for (Py_ssize_t n = 0; n < batch; n++, x += steps.image)
        for (Py_ssize_t row = 0; row < w->rows.windows; row++)
            for (Py_ssize_t column = 0; column < w->columns.windows; column++, y += channels) {
                Reach at = reach(w, row, column);
                const REAL *corner = x + cell(&w->rows, row, 0) * steps.row +
                                     cell(&w->columns, column, 0) * steps.column;
                Py_ssize_t down = w->rows.dilation * steps.row;
                Py_ssize_t right = w->columns.dilation * steps.column;
                Py_ssize_t c = 0;
                for (; c + LANES <= channels; c += LANES) {
                    OF(wide) sum = {0};
                    for (Py_ssize_t i = at.top; i < at.bottom; i++)
                        for (Py_ssize_t j = at.left; j < at.right; j++)
                            sum += OF(load)(corner + i * down + j * right + c) *
                                   OF(load)(kernel + (i * w->columns.kernel + j) * channels + c);
                    memcpy(y + c, &sum, sizeof sum);
                }
                for (; c < channels; c++) {
                    REAL sum = 0;
                    for (Py_ssize_t i = at.top; i < at.bottom; i++)
                        for (Py_ssize_t j = at.left; j < at.right; j++)
                            sum += corner[i * down + j * right + c] *
                                   kernel[(i * w->columns.kernel + j) * channels + c];
                    y[c] = sum;
                }
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
