/* Pooling of contiguous images: channels in strips of vectors, those left over one by one. */

typedef REAL OF(strip) __attribute__((vector_size(STRIP * sizeof(REAL))));
typedef WHOLE OF(whole) __attribute__((vector_size(STRIP * sizeof(REAL))));
typedef uint8_t OF(places) __attribute__((vector_size(STRIP)));

/* The taps of a window that are real cells: how many rows and columns of them, the elements from one
   to the next, and the number of the first tap and of the one below it. */
typedef struct {
    Py_ssize_t rows, columns, down, right, first, below;
} OF(Cells);

INLINE OF(Cells) OF(cells)(const Strides *steps, const Windows *w, const Reach *at)
{
    OF(Cells) found = {
        at->bottom - at->top, at->right - at->left,
        w->rows.dilation * steps->row, w->columns.dilation * steps->column,
        at->top * w->columns.kernel + at->left, w->columns.kernel,
    };
    return found;
}

/* The largest cell of one window, for the channels of one strip, and its tap. */
INLINE void OF(largest_of_strip)(const REAL *x, const OF(Cells) *c, Py_ssize_t rows,
                                 Py_ssize_t columns, REAL *y, uint8_t *place)
{
    OF(strip) most, cells;
    OF(whole) winner = (OF(whole)){0} + (WHOLE)c->first;
    memcpy(&most, x, sizeof most);
    for (Py_ssize_t i = 0; i < rows; i++)
        for (Py_ssize_t j = 0; j < columns; j++) {
            memcpy(&cells, x + i * c->down + j * c->right, sizeof cells);
            OF(whole) tap = (OF(whole)){0} + (WHOLE)(c->first + i * c->below + j);
            OF(whole) more = (cells > most) | (cells != cells);
            most = (OF(strip))((more & (OF(whole))cells) | (~more & (OF(whole))most));
            winner = (more & tap) | (~more & winner);
        }
    memcpy(y, &most, sizeof most);
    OF(places) narrow = __builtin_convertvector(winner, OF(places));
    memcpy(place, &narrow, sizeof narrow);
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
                OF(Cells) under = OF(cells)(&steps, w, &at);
                const REAL *from = x + cell(&w->rows, row, at.top) * steps.row +
                                   cell(&w->columns, column, at.left) * steps.column;
                Py_ssize_t c = 0;
                if (under.rows == 2 && under.columns == 2)
                    for (; c + STRIP <= channels; c += STRIP)
                        OF(largest_of_strip)(from + c, &under, 2, 2, y + c, place + c);
                for (; c + STRIP <= channels; c += STRIP)
                    OF(largest_of_strip)(from + c, &under, under.rows, under.columns, y + c,
                                         place + c);
                for (; c < channels; c++)
                    OF(largest)(x + c, &steps, w, &at, y + c, place + c);
                y += channels;
                place += channels;
            }
}

/* Give the gradient of one window to its largest cells; ``once`` says that no cell is in two. */
INLINE void OF(give)(const REAL *dy, const uint8_t *place, Py_ssize_t channels,
                     const OF(Cells) *under, Py_ssize_t rows, Py_ssize_t columns, int once, REAL *dx)
{
    Py_ssize_t c = 0;
    for (; c + STRIP <= channels; c += STRIP) {
        OF(places) narrow;
        OF(strip) slope;
        memcpy(&narrow, place + c, sizeof narrow);
        memcpy(&slope, dy + c, sizeof slope);
        OF(whole) winner = __builtin_convertvector(narrow, OF(whole));
        for (Py_ssize_t i = 0; i < rows; i++)
            for (Py_ssize_t j = 0; j < columns; j++) {
                REAL *to = dx + i * under->down + j * under->right + c;
                OF(strip) into = {0};
                if (!once)
                    memcpy(&into, to, sizeof into);
                OF(whole) chosen = winner == (WHOLE)(under->first + i * under->below + j);
                into += (OF(strip))(chosen & (OF(whole))slope);
                memcpy(to, &into, sizeof into);
            }
    }
    for (; c < channels; c++)
        for (Py_ssize_t i = 0; i < rows; i++)
            for (Py_ssize_t j = 0; j < columns; j++) {
                REAL *to = dx + i * under->down + j * under->right + c;
                REAL given = place[c] == under->first + i * under->below + j ? dy[c] : 0;
                *to = (once ? 0 : *to) + given;
            }
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
                OF(Cells) under = OF(cells)(&steps, w, &at);
                REAL *into = dx + cell(&w->rows, row, at.top) * steps.row +
                             cell(&w->columns, column, at.left) * steps.column;
                if (once && under.rows == 2 && under.columns == 2)
                    OF(give)(dy, place, channels, &under, 2, 2, 1, into);
                else
                    OF(give)(dy, place, channels, &under, under.rows, under.columns, once, into);
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
