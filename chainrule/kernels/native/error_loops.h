/* dy = 2 (y - target) / n; the squares are summed in double precision, by blocks. */
static double OF(squared_error_loop)(const REAL *y, const REAL *target, Py_ssize_t n, REAL *dy)
{
    enum { LANES = 64 / sizeof(REAL) };
    REAL scale = (REAL)(2.0 / (double)n);
    double total = 0;
    for (Py_ssize_t start = 0; start < n; start += TILE) {
        Py_ssize_t end = n - start < TILE ? n : start + TILE, i = start;
        OF(wide) sums = {0};
        REAL rest = 0;
        for (; i + LANES <= end; i += LANES) {
            OF(wide) error = OF(load)(y + i) - OF(load)(target + i);
            sums += error * error;
            error *= scale;
            memcpy(dy + i, &error, sizeof error);
        }
        for (; i < end; i++) {
            REAL error = y[i] - target[i];
            rest += error * error;
            dy[i] = error * scale;
        }
        total += OF(total_of)(&sums) + rest;
    }
    return total / (double)n;
}

/* Add the sums of up to TILE columns: of the errors squared, of their sizes, of the targets and of
   their squares, each of all columns. */
static void OF(add_errors_loop)(const REAL *y, const REAL *target, Py_ssize_t rows,
                                Py_ssize_t columns, Py_ssize_t start, double *into)
{
    OF(Tile) t = OF(tile)(rows, columns, start);
    double sums[4][TILE], total[TILE];
    memset(sums, 0, sizeof sums);
    for (Py_ssize_t row = 0; row <= t.rows; row++) {
        Py_ssize_t width = row < t.rows ? t.width : t.rest;
        const REAL *one = y + start + row * t.pitch, *two = target + start + row * t.pitch;
        LOOP
        for (Py_ssize_t i = 0; i < width; i++) {
            REAL error = one[i] - two[i];
            sums[0][i] += (double)(error * error);
            sums[1][i] += (double)(error < 0 ? -error : error);
            sums[2][i] += (double)two[i];
            sums[3][i] += (double)two[i] * (double)two[i]; /* a variance is in the last digits */
        }
    }
    for (int k = 0; k < 4; k++) {
        OF(fold)(&t, sums[k], total);
        for (Py_ssize_t i = 0; i < t.columns; i++)
            into[k * columns + start + i] += total[i];
    }
}
