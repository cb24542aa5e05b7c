/* Shapes: x and dx (batch, steps, channels), y and dy (batch, channels). */

static void OF(global_max_loop)(const REAL *x, const Py_ssize_t *shape, REAL *y)
{
    Py_ssize_t steps = shape[1], channels = shape[2];
    for (Py_ssize_t each = 0; each < shape[0]; each++, y += channels) {
        memcpy(y, x, (size_t)channels * sizeof *y);
        x += channels;
        for (Py_ssize_t step = 1; step < steps; step++, x += channels) {
            LOOP
            for (Py_ssize_t c = 0; c < channels; c++)
                y[c] = x[c] > y[c] || x[c] != x[c] ? x[c] : y[c];
        }
    }
}

/* The gradient goes to the first of the largest; to the first step where that is not a number. */
static void OF(global_max_back_loop)(const REAL *x, const REAL *y, const REAL *dy,
                                     const Py_ssize_t *shape, REAL *dx)
{
    Py_ssize_t steps = shape[1], channels = shape[2];
    for (Py_ssize_t each = 0; each < shape[0]; each++, y += channels, dy += channels) {
        for (Py_ssize_t start = 0; start < channels; start += TILE) {
            REAL left[TILE]; /* of dy */
            Py_ssize_t width = channels - start < TILE ? channels - start : TILE;
            memcpy(left, dy + start, (size_t)width * sizeof *left);
            for (Py_ssize_t step = 0; step < steps; step++) {
                const REAL *from = x + step * channels + start, *most = y + start;
                REAL *to = dx + step * channels + start;
                LOOP
                for (Py_ssize_t c = 0; c < width; c++) {
                    int is_it = from[c] == most[c] || most[c] != most[c];
                    to[c] = is_it ? left[c] : 0;
                    left[c] = is_it ? 0 : left[c];
                }
            }
        }
        x += steps * channels;
        dx += steps * channels;
    }
}
