/* Convolutions to few filters, which would leave a tile's vectors mostly empty: vectors then run
   along the channels under a tap, of which there must be whole ones. */

static int is_narrow(const Kernels *k)
{
    return 4 * k->written <= FLOATS && k->read % FLOATS == 0;
}

/* Write a group's kernel filter by filter, each of all taps and channels. */
static void lay_kernel(const Kernels *k, const Line *rows, const Line *columns, Py_ssize_t group,
                       float *to)
{
    for (Py_ssize_t j = 0; j < k->written; j++)
        for (Py_ssize_t row = 0; row < rows->taps; row++)
            for (Py_ssize_t column = 0; column < columns->taps; column++) {
                const float *from = k->data + group * k->of_group + j * k->of_written +
                                    (rows->first + row * rows->apart) * k->row +
                                    (columns->first + column * columns->apart) * k->tap;
                for (Py_ssize_t c = 0; c < k->read; c++)
                    *to++ = from[c * k->of_read];
            }
}

INLINE float total_of_lanes(Vector lanes)
{
    float all[FLOATS];
    *(Vector *)all = lanes;
#pragma GCC unroll 8
    for (int half = FLOATS / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            all[i] += all[i + half];
    return all[0];
}

/* The dot products of each window with each filter, four windows at a time. */
static void dots(const Left *left, Py_ssize_t rows, Py_ssize_t depth, const float *kernel,
                 Py_ssize_t columns, float *c, const Py_ssize_t *into)
{
    for (Py_ssize_t i = 0; i < rows; i += 4)
        for (Py_ssize_t j = 0; j < columns; j++) {
            const float *a[4], *by = kernel + j * depth;
            Vector sums[4] = {{0}};
            for (int r = 0; r < 4; r++)
                a[r] = left->data + left->rows[i + r < rows ? i + r : i];
            for (Py_ssize_t p = 0; p < depth; p += FLOATS)
#pragma GCC unroll 4
                for (int r = 0; r < 4; r++)
                    sums[r] += *(const Vector *)(a[r] + left->depth[p]) * *(const Vector *)(by + p);
            for (int r = 0; r < 4 && i + r < rows; r++)
                c[into[i + r] + j] = total_of_lanes(sums[r]);
        }
}

/* Whether a kernel's gradient is summed like that. */
static int learns_narrow(const Kernels *k)
{
    return 2 * k->written <= FLOATS && k->read % FLOATS == 0;
}

/* Add each window's cells, some vectors of them, times its slopes in some filters. */
INLINE void add_scaled(int vectors, int filters, const Left *left, Py_ssize_t windows,
                       const float *dy, Py_ssize_t step, float *sums, Py_ssize_t taps)
{
    const float *cells[8];
    Vector some[16];
#pragma GCC unroll 8
    for (int v = 0; v < vectors; v++)
        cells[v] = left->data + left->rows[v * FLOATS];
#pragma GCC unroll 16
    for (int i = 0; i < vectors * filters; i++)
        some[i] = (Vector){0};
    for (Py_ssize_t p = 0; p < windows; p++, dy += step)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) {
            Vector x = *(const Vector *)(cells[v] + left->depth[p]);
#pragma GCC unroll 8
            for (int f = 0; f < filters; f++)
                some[v * filters + f] += x * dy[f];
        }
#pragma GCC unroll 8
    for (int v = 0; v < vectors; v++)
#pragma GCC unroll 8
        for (int f = 0; f < filters; f++)
            *(Vector *)(sums + f * taps + v * FLOATS) += some[v * filters + f];
}

INLINE void learn_some(int vectors, int filters, Left left, Py_ssize_t taps, Py_ssize_t windows,
                       const float *dy, Py_ssize_t step, float *sums)
{
    Py_ssize_t i = 0;
    for (; i + vectors * FLOATS <= taps; i += vectors * FLOATS, left.rows += vectors * FLOATS)
        add_scaled(vectors, filters, &left, windows, dy, step, sums + i, taps);
    for (; i < taps; i += FLOATS, left.rows += FLOATS)
        add_scaled(1, filters, &left, windows, dy, step, sums + i, taps);
}

/* The gradient in the next filters, of which there are so many, from a block of windows: returns in
   how many. */
static Py_ssize_t learn_filters(Left left, Py_ssize_t taps, Py_ssize_t windows, const float *dy,
                                Py_ssize_t filters, Py_ssize_t step, float *sums)
{
    if (filters >= 8) {
        learn_some(2, 8, left, taps, windows, dy, step, sums);
        return 8;
    }
    if (filters >= 4) {
        learn_some(FLOATS / 4, 4, left, taps, windows, dy, step, sums);
        return 4;
    }
    learn_some(8, 1, left, taps, windows, dy, step, sums);
    return 1;
}
