/* Pooling of contiguous images: channels in strips of vectors, those left over one by one. */

typedef REAL OF(strip) __attribute__((vector_size(STRIP * sizeof(REAL))));
typedef WHOLE OF(whole) __attribute__((vector_size(STRIP * sizeof(REAL))));
typedef uint8_t OF(places) __attribute__((vector_size(STRIP)));

/* The largest cell of one window, for the channels of one strip, and its tap. */
INLINE void OF(largest_of_strip)(const REAL *x, const Strides *steps, const Windows *w,
                                 const Reach *at, REAL *y, uint8_t *place)
{
    OF(strip) most = {0}, cells;
    OF(whole) winner = {0};
    for (Py_ssize_t i = at->top; i < at->bottom; i++)
        for (Py_ssize_t j = at->left; j < at->right; j++) {
            memcpy(&cells, x + cell(&w->rows, at->row, i) * steps->row +
                               cell(&w->columns, at->column, j) * steps->column, sizeof cells);
            OF(whole) tap = (OF(whole)){0} + (WHOLE)(i * w->columns.kernel + j);
            OF(whole) more = (cells > most) | (cells != cells);
            if (i == at->top && j == at->left)
                more = ~(OF(whole)){0};
            most = (OF(strip))((more & (OF(whole))cells) | (~more & (OF(whole))most));
            winner = (more & tap) | (~more & winner);
        }
    memcpy(y, &most, sizeof most);
    for (int k = 0; k < STRIP; k++)
        place[k] = (uint8_t)winner[k];
}

INLINE void OF(largest)(const REAL *x, const Strides *steps, const Windows *w, const Reach *at,
                        REAL *y, uint8_t *place)
{
    REAL most = -INFINITY;
    Py_ssize_t winner = 0;
    for (Py_ssize_t i = at->top; i < at->bottom; i++)
        for (Py_ssize_t j = at->left; j < at->right; j++) {
            REAL value = x[cell(&w->rows, at->row, i) * steps->row +
                           cell(&w->columns, at->column, j) * steps->column];
            int more = value > most || value != value || (i == at->top && j == at->left);
            most = more ? value : most;
            winner = more ? i * w->columns.kernel + j : winner;
        }
    *y = most;
    *place = (uint8_t)winner;
}

static void OF(max_pool_loop)(const REAL *x, Py_ssize_t batch, Py_ssize_t channels,
                              const Windows *w, REAL *y, uint8_t *place)
{
    Strides steps = packed(w, channels);
    for (Py_ssize_t n = 0; n < batch; n++, x += steps.image)
        for (Py_ssize_t row = 0; row < w->rows.windows; row++)
            for (Py_ssize_t column = 0; column < w->columns.windows; column++) {
                Reach at = reach(w, row, column);
                Py_ssize_t c = 0;
                for (; c + STRIP <= channels; c += STRIP)
                    OF(largest_of_strip)(x + c, &steps, w, &at, y + c, place + c);
                for (; c < channels; c++)
                    OF(largest)(x + c, &steps, w, &at, y + c, place + c);
                y += channels;
                place += channels;
            }
}

/* Give the gradient of one window to one of its taps, where that was the largest; ``first`` says
   that nothing was given to the tap's cell yet. */
INLINE void OF(give)(const REAL *dy, const uint8_t *place, Py_ssize_t channels, int tap, int first,
                     REAL *dx)
{
    Py_ssize_t c = 0;
    for (; c + STRIP <= channels; c += STRIP) {
        OF(places) winner;
        OF(strip) slope, into = {0};
        memcpy(&winner, place + c, sizeof winner);
        memcpy(&slope, dy + c, sizeof slope);
        if (!first)
            memcpy(&into, dx + c, sizeof into);
        OF(whole) chosen = __builtin_convertvector(winner, OF(whole)) == (WHOLE)tap;
        into += (OF(strip))(chosen & (OF(whole))slope);
        memcpy(dx + c, &into, sizeof into);
    }
    for (; c < channels; c++)
        dx[c] = (first ? 0 : dx[c]) + (place[c] == tap ? dy[c] : 0);
}

static void OF(max_pool_back_loop)(const REAL *dy, Py_ssize_t batch, Py_ssize_t channels,
                                   const Windows *w, const uint8_t *place, REAL *dx)
{
    Strides steps = packed(w, channels);
    int once = tiles(&w->rows) && tiles(&w->columns); /* each cell is written once */
    if (!once)
        memset(dx, 0, (size_t)(batch * steps.image) * sizeof *dx);
    for (Py_ssize_t n = 0; n < batch; n++, dx += steps.image)
        for (Py_ssize_t row = 0; row < w->rows.windows; row++)
            for (Py_ssize_t column = 0; column < w->columns.windows; column++) {
                Reach at = reach(w, row, column);
                for (Py_ssize_t i = at.top; i < at.bottom; i++)
                    for (Py_ssize_t j = at.left; j < at.right; j++) {
                        REAL *into = dx + cell(&w->rows, row, i) * steps.row +
                                     cell(&w->columns, column, j) * steps.column;
                        OF(give)(dy, place, channels, (int)(i * w->columns.kernel + j), once, into);
                    }
                dy += channels;
                place += channels;
            }
}

static void OF(avg_pool_loop)(const REAL *x, Py_ssize_t batch, Py_ssize_t channels,
                              const Windows *w, REAL *y)
{
    Strides steps = packed(w, channels);
    for (Py_ssize_t n = 0; n < batch; n++, x += steps.image)
        for (Py_ssize_t row = 0; row < w->rows.windows; row++)
            for (Py_ssize_t column = 0; column < w->columns.windows; column++, y += channels) {
                Reach at = reach(w, row, column);
                REAL share = 1 / (REAL)((at.bottom - at.top) * (at.right - at.left));
                memset(y, 0, (size_t)channels * sizeof *y);
                for (Py_ssize_t i = at.top; i < at.bottom; i++)
                    for (Py_ssize_t j = at.left; j < at.right; j++)
                        OF(add)(x + cell(&w->rows, row, i) * steps.row +
                                    cell(&w->columns, column, j) * steps.column, channels, y);
                LOOP
                for (Py_ssize_t c = 0; c < channels; c++)
                    y[c] *= share;
            }
}

static void OF(avg_pool_back_loop)(const REAL *dy, Py_ssize_t batch, Py_ssize_t channels,
                                   const Windows *w, REAL *dx)
{
    Strides steps = packed(w, channels);
    memset(dx, 0, (size_t)(batch * steps.image) * sizeof *dx);
    for (Py_ssize_t n = 0; n < batch; n++, dx += steps.image)
        for (Py_ssize_t row = 0; row < w->rows.windows; row++)
            for (Py_ssize_t column = 0; column < w->columns.windows; column++, dy += channels) {
                Reach at = reach(w, row, column);
                REAL share = 1 / (REAL)((at.bottom - at.top) * (at.right - at.left));
                for (Py_ssize_t i = at.top; i < at.bottom; i++)
                    for (Py_ssize_t j = at.left; j < at.right; j++) {
                        REAL *into = dx + cell(&w->rows, row, i) * steps.row +
                                     cell(&w->columns, column, j) * steps.column;
                        LOOP
                        for (Py_ssize_t c = 0; c < channels; c++)
                            into[c] += dy[c] * share;
                    }
            }
}
