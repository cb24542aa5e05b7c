/* Windows to columns and back. Images have their pixels ``steps`` apart; columns are contiguous. */

INLINE void OF(copy)(const REAL *from, Py_ssize_t n, REAL *to)
{
    LOOP
    for (Py_ssize_t i = 0; i < n; i++)
        to[i] = from[i];
}

INLINE void OF(add)(const REAL *from, Py_ssize_t n, REAL *to)
{
    LOOP
    for (Py_ssize_t i = 0; i < n; i++)
        to[i] += from[i];
}

/* Images of one channel: a window's rows are short, and copied for a row of windows at once. */
static void OF(im2col_of_one)(const REAL *x, const Strides *steps, Py_ssize_t batch,
                              const Windows *w, REAL *cols)
{
    Py_ssize_t taps = w->rows.kernel * w->columns.kernel, width = w->columns.windows * taps;
    for (Py_ssize_t n = 0; n < batch; n++, x += steps->image)
        for (Py_ssize_t row = 0; row < w->rows.windows; row++, cols += width) {
            Py_ssize_t top = first_tap(&w->rows, row), bottom = end_tap(&w->rows, row);
            for (Py_ssize_t i = 0; i < w->rows.kernel; i++)
                for (Py_ssize_t j = 0; j < w->columns.kernel; j++) {
                    Py_ssize_t first, end, step = w->columns.stride * steps->column;
                    reaching(&w->columns, j, &first, &end);
                    if (i < top || i >= bottom)
                        first = end = w->columns.windows;
                    const REAL *from = x + cell(&w->rows, row, i) * steps->row +
                                       cell(&w->columns, 0, j) * steps->column;
                    REAL *to = cols + i * w->columns.kernel + j;
                    for (Py_ssize_t column = 0; column < first; column++)
                        to[column * taps] = 0;
                    for (Py_ssize_t column = first; column < end; column++)
                        to[column * taps] = from[column * step];
                    for (Py_ssize_t column = end; column < w->columns.windows; column++)
                        to[column * taps] = 0;
                }
        }
}

static void OF(col2im_of_one)(const REAL *cols, const Windows *w, Py_ssize_t batch, REAL *x,
                              const Strides *steps)
{
    Py_ssize_t taps = w->rows.kernel * w->columns.kernel, width = w->columns.windows * taps;
    for (Py_ssize_t n = 0; n < batch; n++, x += steps->image)
        for (Py_ssize_t row = 0; row < w->rows.windows; row++, cols += width)
            for (Py_ssize_t i = first_tap(&w->rows, row); i < end_tap(&w->rows, row); i++)
                for (Py_ssize_t j = 0; j < w->columns.kernel; j++) {
                    Py_ssize_t first, end, step = w->columns.stride * steps->column;
                    reaching(&w->columns, j, &first, &end);
                    const REAL *from = cols + i * w->columns.kernel + j;
                    REAL *to = x + cell(&w->rows, row, i) * steps->row +
                               cell(&w->columns, 0, j) * steps->column;
                    LOOP
                    for (Py_ssize_t column = first; column < end; column++)
                        to[column * step] += from[column * taps];
                }
}

/* Copy a window's cells, a run of them for each of its rows; padding is 0. */
static void OF(im2col_loop)(const REAL *x, const Strides *steps, Py_ssize_t batch,
                            Py_ssize_t channels, const Windows *w, REAL *cols)
{
    Py_ssize_t width = w->columns.kernel * channels;
    if (channels == 1) {
        OF(im2col_of_one)(x, steps, batch, w, cols);
        return;
    }
    for (Py_ssize_t n = 0; n < batch; n++)
        for (Py_ssize_t row = 0; row < w->rows.windows; row++)
            for (Py_ssize_t column = 0; column < w->columns.windows; column++) {
                Py_ssize_t top = first_tap(&w->rows, row), bottom = end_tap(&w->rows, row);
                Py_ssize_t left = first_tap(&w->columns, column);
                Py_ssize_t right = end_tap(&w->columns, column);
                for (Py_ssize_t i = 0; i < w->rows.kernel; i++, cols += width) {
                    if (i < top || i >= bottom || left >= right) {
                        memset(cols, 0, (size_t)width * sizeof *cols);
                        continue;
                    }
                    const REAL *from = x + n * steps->image +
                                       cell(&w->rows, row, i) * steps->row +
                                       cell(&w->columns, column, left) * steps->column;
                    if (left > 0)
                        memset(cols, 0, (size_t)(left * channels) * sizeof *cols);
                    if (w->columns.dilation == 1 && steps->column == channels) {
                        OF(copy)(from, (right - left) * channels, cols + left * channels);
                    } else {
                        Py_ssize_t step = w->columns.dilation * steps->column;
                        for (Py_ssize_t j = left; j < right; j++, from += step)
                            OF(copy)(from, channels, cols + j * channels);
                    }
                    if (right < w->columns.kernel)
                        memset(cols + right * channels, 0,
                               (size_t)(width - right * channels) * sizeof *cols);
                }
            }
}

/* Add to each cell what the windows over it hold of it. */
static void OF(col2im_loop)(const REAL *cols, const Windows *w, Py_ssize_t batch,
                            Py_ssize_t channels, REAL *x, const Strides *steps)
{
    Py_ssize_t width = w->columns.kernel * channels;
    if (channels == 1) {
        OF(col2im_of_one)(cols, w, batch, x, steps);
        return;
    }
    for (Py_ssize_t n = 0; n < batch; n++)
        for (Py_ssize_t row = 0; row < w->rows.windows; row++)
            for (Py_ssize_t column = 0; column < w->columns.windows; column++) {
                Py_ssize_t top = first_tap(&w->rows, row), bottom = end_tap(&w->rows, row);
                Py_ssize_t left = first_tap(&w->columns, column);
                Py_ssize_t right = end_tap(&w->columns, column);
                for (Py_ssize_t i = top; i < bottom && left < right; i++) {
                    const REAL *from = cols + i * width + left * channels;
                    REAL *into = x + n * steps->image + cell(&w->rows, row, i) * steps->row +
                                 cell(&w->columns, column, left) * steps->column;
                    if (w->columns.dilation == 1 && steps->column == channels) {
                        OF(add)(from, (right - left) * channels, into);
                    } else {
                        Py_ssize_t step = w->columns.dilation * steps->column;
                        for (Py_ssize_t j = left; j < right; j++, from += channels, into += step)
                            OF(add)(from, channels, into);
                    }
                }
                cols += w->rows.kernel * width;
            }
}
