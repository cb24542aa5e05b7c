/* Convolutions to few filters, which would leave a tile's vectors mostly empty: vectors then run
   along the channels under a tap, of which there must be whole ones. */

static int is_narrow(const Kernels *k)
{
    return 2 * k->written <= FLOATS && k->read % FLOATS == 0;
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
            for (int r = 0; r < 4 && i + r < rows; r++) {
                float total = 0;
                for (int lane = 0; lane < FLOATS; lane++)
                    total += sums[r][lane];
                c[into[i + r] + j] = total;
            }
        }
}

/* Add each window's cells times its slope to ``count`` vectors of sums. */
INLINE void add_scaled(int count, const Left *left, Py_ssize_t windows, const float *dy,
                       Py_ssize_t step, float *sums)
{
    Vector some[6] = {{0}}, *into = (Vector *)sums;
    for (Py_ssize_t p = 0; p < windows; p++)
#pragma GCC unroll 6
        for (int r = 0; r < count; r++)
            some[r] += *(const Vector *)(left->data + left->depth[p] + left->rows[r * FLOATS]) *
                       dy[p * step];
    for (int r = 0; r < count; r++)
        into[r] += some[r];
}

/* The gradient in one filter from a block of windows. */
static void learn_filter(Left left, Py_ssize_t taps, Py_ssize_t windows, const float *dy,
                         Py_ssize_t step, float *sums)
{
    Py_ssize_t i = 0;
    for (; i + 6 * FLOATS <= taps; i += 6 * FLOATS, left.rows += 6 * FLOATS)
        add_scaled(6, &left, windows, dy, step, sums + i);
    for (; i < taps; i += FLOATS, left.rows += FLOATS)
        add_scaled(1, &left, windows, dy, step, sums + i);
}
