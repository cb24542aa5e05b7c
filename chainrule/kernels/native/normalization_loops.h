/* Normalisation of the rows or of the columns of a contiguous matrix. */

static void OF(layer_norm_loop)(const REAL *x, const REAL *gamma, const REAL *beta, REAL epsilon,
                                Py_ssize_t rows, Py_ssize_t n, REAL *y, REAL *mean, REAL *rstd)
{
    enum { LANES = 64 / sizeof(REAL) };
    for (Py_ssize_t row = 0; row < rows; row++, x += n, y += n) {
        REAL centre = OF(row_sum)(x, n) / (REAL)n, rest = 0;
        OF(wide) squares = {0};
        Py_ssize_t i = 0;
        for (; i + LANES <= n; i += LANES) {
            OF(wide) off = OF(load)(x + i) - centre;
            squares += off * off;
        }
        for (; i < n; i++)
            rest += (x[i] - centre) * (x[i] - centre);
        REAL scale = 1 / (REAL)sqrt((OF(total_of)(&squares) + rest) / (REAL)n + epsilon);
        mean[row] = centre;
        rstd[row] = scale;
        LOOP
        for (i = 0; i < n; i++)
            y[i] = (x[i] - centre) * scale;
        if (gamma != NULL) {
            LOOP
            for (i = 0; i < n; i++)
                y[i] *= gamma[i];
        }
        if (beta != NULL)
            OF(add)(beta, n, y);
    }
}

/* dx = g - mean(g) - h mean(g h), times rstd, where dx holds g and h is the normalised row. */
INLINE void OF(project)(const REAL *x, REAL centre, REAL scale, Py_ssize_t n, REAL *dx)
{
    enum { LANES = 64 / sizeof(REAL) };
    OF(wide) products = {0};
    REAL rest = 0;
    Py_ssize_t i = 0;
    for (; i + LANES <= n; i += LANES)
        products += OF(load)(dx + i) * (OF(load)(x + i) - centre);
    for (; i < n; i++)
        rest += dx[i] * (x[i] - centre);
    REAL tilt = (OF(total_of)(&products) + rest) / (REAL)n * scale * scale;
    REAL shift = OF(row_sum)(dx, n) / (REAL)n;
    LOOP
    for (i = 0; i < n; i++)
        dx[i] = (dx[i] - shift - (x[i] - centre) * tilt) * scale;
}

static void OF(layer_norm_back_loop)(const REAL *dy, const REAL *x, const REAL *gamma,
                                     const REAL *mean, const REAL *rstd, Py_ssize_t rows,
                                     Py_ssize_t n, REAL *dx, REAL *dgamma, REAL *dbeta)
{
    memset(dgamma, 0, (size_t)n * sizeof *dgamma);
    memset(dbeta, 0, (size_t)n * sizeof *dbeta);
    for (Py_ssize_t row = 0; row < rows; row++, x += n, dy += n) {
        REAL centre = mean[row], scale = rstd[row];
        LOOP
        for (Py_ssize_t i = 0; i < n; i++) {
            dgamma[i] += dy[i] * ((x[i] - centre) * scale);
            dbeta[i] += dy[i];
        }
        if (dx == NULL)
            continue;
        LOOP
        for (Py_ssize_t i = 0; i < n; i++)
            dx[i] = gamma == NULL ? dy[i] : dy[i] * gamma[i];
        OF(project)(x, centre, scale, n, dx);
        dx += n;
    }
}

/* The columns of a matrix that are taken at once: some of many, or all of few, then with several
   rows side by side, so that the vectors are full. */
typedef struct {
    Py_ssize_t columns, copies, width; /* width = columns * copies <= TILE */
    Py_ssize_t rows, pitch;            /* of width elements, so far apart */
    Py_ssize_t rest;                   /* elements of a last row that is not whole */
} OF(Tile);

INLINE OF(Tile) OF(tile)(Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t start)
{
    OF(Tile) found = {columns - start, 1, 0, rows, columns, 0};
    if (columns < TILE) {
        found.copies = TILE / columns;
        found.pitch = found.copies * columns;
        found.rows = rows / found.copies;
        found.rest = rows % found.copies * columns;
    } else if (found.columns > TILE) {
        found.columns = TILE;
    }
    found.width = found.columns * found.copies;
    return found;
}

/* A vector of the tile's columns, as often as it has them; of one value, if there is none. */
INLINE void OF(lay)(const OF(Tile) *t, const REAL *vector, REAL otherwise, REAL *out)
{
    for (Py_ssize_t i = 0; i < t->width; i++)
        out[i] = vector == NULL ? otherwise : vector[i % t->columns];
}

INLINE void OF(fold)(const OF(Tile) *t, const double *sums, double *out)
{
    for (Py_ssize_t i = 0; i < t->columns; i++)
        out[i] = 0;
    for (Py_ssize_t i = 0; i < t->width; i++)
        out[i % t->columns] += sums[i];
}

/* A batch normalisation and the activation behind it, over the columns of a tile. */
typedef struct {
    enum Activation kind;
    REAL centre[TILE], scale[TILE], shift[TILE];
} OF(Norm);

INLINE void OF(lay_norm)(const OF(Tile) *t, Py_ssize_t start, const REAL *gamma, const REAL *beta,
                         const REAL *mean, const REAL *rstd, OF(Norm) *norm)
{
    REAL factor[TILE];
    OF(lay)(t, mean + start, 0, norm->centre);
    OF(lay)(t, rstd + start, 0, norm->scale);
    OF(lay)(t, gamma == NULL ? NULL : gamma + start, 1, factor);
    OF(lay)(t, beta == NULL ? NULL : beta + start, 0, norm->shift);
    for (Py_ssize_t i = 0; i < t->width; i++)
        norm->scale[i] *= factor[i];
}

/* The row before the activation. */
INLINE void OF(normalize)(const OF(Norm) *norm, const REAL *x, Py_ssize_t n, REAL *z)
{
    LOOP
    for (Py_ssize_t i = 0; i < n; i++)
        z[i] = (x[i] - norm->centre[i]) * norm->scale[i] + norm->shift[i];
}

/* The gradient before the activation, given the one behind it: to read z anew from memory would take
   longer than to make it. */
INLINE const REAL *OF(before_activation)(const OF(Norm) *norm, const REAL *x, const REAL *dy,
                                         Py_ssize_t n, REAL *dz)
{
    REAL z[TILE], y[TILE];
    if (norm->kind == LINEAR)
        return dy;
    OF(normalize)(norm, x, n, z);
    OF(activate)(norm->kind, z, NULL, y, n);
    OF(deactivate)(norm->kind, z, y, dy, dz, n);
    return dz;
}

static void OF(batch_norm_loop)(enum Activation kind, const REAL *x, const REAL *gamma,
                                const REAL *beta, const REAL *mean, const REAL *rstd,
                                Py_ssize_t rows, Py_ssize_t columns, REAL *y)
{
    OF(Norm) norm = {.kind = kind};
    for (Py_ssize_t start = 0; start < columns; start += TILE) {
        OF(Tile) t = OF(tile)(rows, columns, start);
        OF(lay_norm)(&t, start, gamma, beta, mean, rstd, &norm);
        for (Py_ssize_t row = 0; row <= t.rows; row++) {
            Py_ssize_t width = row < t.rows ? t.width : t.rest, at = start + row * t.pitch;
            OF(normalize)(&norm, x + at, width, y + at);
            if (kind != LINEAR)
                OF(activate)(kind, y + at, NULL, y + at, width);
        }
    }
}

/* Sums over the rows of (x - centre) times b, or its square without b, and of b: by blocks. b is the
   gradient behind ``norm``, if there is one. */
INLINE void OF(sum_tile)(const OF(Tile) *t, const REAL *x, const REAL *centre, const REAL *b,
                         const OF(Norm) *norm, double *products, double *others)
{
    REAL slopes[TILE];
    REAL some[TILE], more[TILE];
    memset(products, 0, TILE * sizeof *products);
    memset(others, 0, TILE * sizeof *others);
    for (Py_ssize_t first = 0; first <= t->rows; first += SUM_ROWS) {
        memset(some, 0, sizeof some);
        memset(more, 0, sizeof more);
        for (Py_ssize_t row = first; row <= t->rows && row < first + SUM_ROWS; row++) {
            Py_ssize_t width = row < t->rows ? t->width : t->rest;
            const REAL *one = x + row * t->pitch, *two = one;
            if (b != NULL)
                two = OF(before_activation)(norm, one, b + row * t->pitch, width, slopes);
            if (b == NULL) {
                LOOP
                for (Py_ssize_t i = 0; i < width; i++) {
                    some[i] += (one[i] - centre[i]) * (one[i] - centre[i]);
                    more[i] += one[i];
                }
            } else {
                LOOP
                for (Py_ssize_t i = 0; i < width; i++) {
                    some[i] += (one[i] - centre[i]) * two[i];
                    more[i] += two[i];
                }
            }
        }
        for (Py_ssize_t i = 0; i < t->width; i++) {
            products[i] += some[i];
            others[i] += more[i];
        }
    }
}

/* Two passes: the squares are of what is off the mean. */
static void OF(moments_loop)(const REAL *x, Py_ssize_t rows, Py_ssize_t columns, REAL *mean,
                             REAL *variance)
{
    REAL centre[TILE];
    double squares[TILE], sums[TILE], total[TILE];
    for (Py_ssize_t start = 0; start < columns; start += TILE) {
        OF(Tile) t = OF(tile)(rows, columns, start);
        OF(lay)(&t, NULL, 0, centre);
        OF(sum_tile)(&t, x + start, centre, NULL, NULL, squares, sums);
        OF(fold)(&t, sums, total);
        for (Py_ssize_t i = 0; i < t.columns; i++)
            mean[start + i] = (REAL)(total[i] / (double)(rows > 0 ? rows : 1));
        OF(lay)(&t, mean + start, 0, centre);
        OF(sum_tile)(&t, x + start, centre, NULL, NULL, squares, sums);
        OF(fold)(&t, squares, total);
        for (Py_ssize_t i = 0; i < t.columns; i++)
            variance[start + i] = (REAL)(total[i] / (double)(rows > 0 ? rows : 1));
    }
}

/* dx = dz slope - (x - mean) tilt - shift, the last two only where moments are the batch's own. */
static void OF(batch_norm_back_loop)(enum Activation kind, const REAL *dy, const REAL *x,
                                     const REAL *gamma, const REAL *beta, const REAL *mean,
                                     const REAL *rstd, Py_ssize_t rows, Py_ssize_t columns,
                                     int moments, REAL *dx, REAL *dgamma, REAL *dbeta)
{
    OF(Norm) norm = {.kind = kind};
    REAL tilt[TILE], shift[TILE], own[TILE], slopes[TILE];
    double products[TILE], sums[TILE], total[TILE];
    double count = (double)(rows > 0 ? rows : 1);
    for (Py_ssize_t start = 0; start < columns; start += TILE) {
        OF(Tile) t = OF(tile)(rows, columns, start);
        OF(lay_norm)(&t, start, gamma, beta, mean, rstd, &norm);
        OF(sum_tile)(&t, x + start, norm.centre, dy + start, &norm, products, sums);
        OF(fold)(&t, products, total);
        for (Py_ssize_t i = 0; i < t.columns; i++)
            dgamma[start + i] = (REAL)total[i] * rstd[start + i];
        OF(fold)(&t, sums, total);
        for (Py_ssize_t i = 0; i < t.columns; i++)
            dbeta[start + i] = (REAL)total[i];
        if (dx == NULL)
            continue;
        for (Py_ssize_t i = 0; i < t.columns; i++)
            own[i] = moments ? norm.scale[i] * rstd[start + i] * dgamma[start + i] / (REAL)count : 0;
        OF(lay)(&t, own, 0, tilt);
        for (Py_ssize_t i = 0; i < t.columns; i++)
            own[i] = moments ? norm.scale[i] * dbeta[start + i] / (REAL)count : 0;
        OF(lay)(&t, own, 0, shift);
        for (Py_ssize_t row = 0; row <= t.rows; row++) {
            Py_ssize_t width = row < t.rows ? t.width : t.rest, at = start + row * t.pitch;
            const REAL *from = x + at;
            const REAL *back = OF(before_activation)(&norm, from, dy + at, width, slopes);
            REAL *to = dx + at;
            LOOP
            for (Py_ssize_t i = 0; i < width; i++)
                to[i] = back[i] * norm.scale[i] -
                        ((from[i] - norm.centre[i]) * tilt[i] + shift[i]);
        }
    }
}
