/* Sums of rows: as many partial sums as a vector has lanes.
   Sums of columns: blocks of rows by themselves, then their sums, so that rounding does not
   pile up. */

INLINE void OF(add)(const REAL *from, Py_ssize_t n, REAL *to)
{
    LOOP
    for (Py_ssize_t i = 0; i < n; i++)
        to[i] += from[i];
}

typedef REAL OF(wide) __attribute__((vector_size(64)));
typedef REAL OF(half) __attribute__((vector_size(32)));
typedef REAL OF(quarter) __attribute__((vector_size(16)));

/* The sum of all lanes, by halves. */
INLINE REAL OF(total_of)(const OF(wide) *sums)
{
    OF(half) halves[2];
    OF(quarter) quarters[2];
    REAL total = 0;
    memcpy(halves, sums, sizeof halves);
    halves[0] += halves[1];
    memcpy(quarters, halves, sizeof quarters);
    quarters[0] += quarters[1];
    for (size_t k = 0; k < sizeof *quarters / sizeof(REAL); k++)
        total += quarters[0][k];
    return total;
}

INLINE OF(wide) OF(load)(const REAL *x)
{
    OF(wide) part;
    memcpy(&part, x, sizeof part);
    return part;
}

static REAL OF(row_sum)(const REAL *x, Py_ssize_t n)
{
    enum { LANES = 64 / sizeof(REAL) };
    OF(wide) sums = {0};
    REAL rest = 0;
    Py_ssize_t i = 0;
    for (; i + LANES <= n; i += LANES)
        sums += OF(load)(x + i);
    for (; i < n; i++)
        rest += x[i];
    return OF(total_of)(&sums) + rest;
}

/* Add to out, for up to 4 vectors of columns, the sums over the rows. */
INLINE void OF(add_strip)(const REAL *x, Py_ssize_t rows, Py_ssize_t step, int vectors, REAL *out)
{
    enum { LANES = 64 / sizeof(REAL) };
    OF(wide) sums[4] = {{0}};
    for (Py_ssize_t row = 0; row < rows; row++, x += step)
        for (int k = 0; k < vectors; k++)
            sums[k] += OF(load)(x + k * LANES);
    for (int k = 0; k < vectors; k++) {
        sums[k] += OF(load)(out + k * LANES);
        memcpy(out + k * LANES, &sums[k], sizeof sums[k]);
    }
}

/* out = sums of a block of rows, which are ``step`` elements apart. */
static void OF(sum_block)(const REAL *x, Py_ssize_t rows, Py_ssize_t step, Py_ssize_t columns,
                          REAL *out)
{
    enum { LANES = 64 / sizeof(REAL) };
    Py_ssize_t c = 0;
    for (; c + 4 * LANES <= columns; c += 4 * LANES)
        OF(add_strip)(x + c, rows, step, 4, out + c);
    for (; c + LANES <= columns; c += LANES)
        OF(add_strip)(x + c, rows, step, 1, out + c);
    for (; c < columns; c++) {
        REAL sum = 0;
        for (Py_ssize_t row = 0; row < rows; row++)
            sum += x[row * step + c];
        out[c] += sum;
    }
}

/* What a gradient is made of: as for ``deactivate``. */
typedef struct {
    enum Activation kind;
    const REAL *x, *y, *dy;
} OF(Slopes);

/* Make dx block by block, if it is to be made, and sum it while it is in the cache. */
static void OF(column_sums_loop)(const OF(Slopes) *of, REAL *dx, Py_ssize_t rows,
                                 Py_ssize_t columns, REAL *out)
{
    REAL folded[2 * TILE];
    Py_ssize_t together = columns < TILE ? TILE / columns : 1; /* narrow rows side by side */
    Py_ssize_t width = together * columns, wide_rows = rows / together;
    REAL *sums = together > 1 ? folded : out;
    memset(sums, 0, (size_t)width * sizeof *sums);
    for (Py_ssize_t row = 0; row < wide_rows; row += SUM_ROWS) {
        Py_ssize_t count = wide_rows - row < SUM_ROWS ? wide_rows - row : SUM_ROWS;
        Py_ssize_t start = row * width, size = count * width;
        if (of != NULL)
            OF(deactivate)(of->kind, of->x + start, of->y + start, of->dy + start, dx + start, size);
        OF(sum_block)(dx + start, count, width, width, sums);
    }
    if (together == 1)
        return;
    Py_ssize_t end = wide_rows * width; /* of whole rows */
    if (of != NULL)
        OF(deactivate)(of->kind, of->x + end, of->y + end, of->dy + end, dx + end,
                       rows * columns - end);
    for (Py_ssize_t i = end; i < rows * columns; i++)
        sums[i - end] += dx[i];
    memset(out, 0, (size_t)columns * sizeof *out);
    for (Py_ssize_t part = 0; part < width; part += columns)
        for (Py_ssize_t c = 0; c < columns; c++)
            out[c] += sums[part + c];
}
