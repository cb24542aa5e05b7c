/* Products of matrices in float32, tile by tile: what all products and convolutions are made of.

   One tile of the product at a time stays in registers: TILE_ROWS rows of two vectors of FLOATS
   columns, both set by the variant; at the edges a third or two of the rows, and one vector. The
   left matrix is wherever its tables say: its element (i, p) is data[rows[i] + depth[p]], so that
   windows of an image are multiplied where they lie. The right one comes in panels, as wide as a
   tile, depth by depth.
   The sum over the depth runs in order, in blocks of DEPTH: the bits hang on no other size.
   Source: Goto & van de Geijn (2008); Dukhan (2019) for the tables.
*/

typedef float Vector __attribute__((vector_size(4 * FLOATS), aligned(4), may_alias));
typedef int32_t Lanes __attribute__((vector_size(4 * FLOATS)));

enum { WIDTH = 2 * FLOATS, DEPTH = 256, THIRD = TILE_ROWS / 3 };

typedef struct {
    const float *data;
    const Py_ssize_t *rows, *depth; /* elements */
} Left;

/* Up to WIDTH columns of the right matrix: its rows are ``step`` apart. */
typedef struct {
    const float *data;
    Py_ssize_t step;
} Panel;

/* What is to be in the cache when a tile is done: one number's line at each depth. */
typedef struct {
    const float *data;
    const Py_ssize_t *at; /* elements */
} Ahead;

static inline Py_ssize_t least(Py_ssize_t a, Py_ssize_t b)
{
    return a < b ? a : b;
}

/* Copy fewer than 2 * WIDTH numbers: without a call, as memcpy would be. */
INLINE void copy_some(float *to, const float *from, Py_ssize_t count)
{
#pragma GCC unroll 8
    for (Py_ssize_t some = WIDTH; some > 0; some /= 2)
        if (count & some) {
            memcpy(to, from, (size_t)some * sizeof *to);
            to += some, from += some;
        }
}

/* Write one row's sums, or add them to what is there. */
INLINE void put(int vectors, Vector *into, const Vector *sums, int add)
{
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) {
        Vector sum = sums[v];
        if (add)
            sum += into[v];
        into[v] = sum;
    }
}

/* c = left panel, or c += left panel, for up to ``height`` rows and vectors * FLOATS columns. */
INLINE void tile_of(int height, int vectors, const Left *left, Py_ssize_t rows, Py_ssize_t depth,
                    Panel panel, Py_ssize_t columns, float *c, Py_ssize_t pitch, int add,
                    const Ahead *ahead)
{
    const float *a[TILE_ROWS];
    Vector sums[TILE_ROWS][2];
#pragma GCC unroll 16
    for (int i = 0; i < height; i++) { /* rows that are not there repeat the first one */
        a[i] = left->data + left->rows[i < rows ? i : 0];
        sums[i][0] = sums[i][1] = (Vector){0};
        if (ahead != NULL || add) { /* c may be far away, and its rows lie apart */
            __builtin_prefetch(c + (i < rows ? i : 0) * pitch, 1);
            __builtin_prefetch(c + (i < rows ? i : 0) * pitch + FLOATS, 1);
        }
    }
    for (Py_ssize_t p = 0; p < depth; p++, panel.data += panel.step) {
        Py_ssize_t at = left->depth[p];
        if (ahead != NULL)
            __builtin_prefetch(ahead->data + ahead->at[p], 0, 2);
        Vector first = *(const Vector *)panel.data, second = {0};
        if (vectors == 2)
            second = *(const Vector *)(panel.data + FLOATS);
#pragma GCC unroll 16
        for (int i = 0; i < height; i++) {
            float x = a[i][at];
            sums[i][0] += x * first;
            if (vectors == 2)
                sums[i][1] += x * second;
        }
    }
    int whole = columns == vectors * FLOATS;
#pragma GCC unroll 16
    for (int i = 0; i < height; i++, c += pitch) {
        if (i >= rows)
            return;
        if (whole) {
            put(vectors, (Vector *)c, sums[i], add);
        } else {
            float some[WIDTH] = {0};
            if (add)
                copy_some(some, c, columns);
            put(vectors, (Vector *)some, sums[i], add);
            copy_some(c, some, columns);
        }
    }
}

typedef void TileOf(const Left *, Py_ssize_t, Py_ssize_t, Panel, Py_ssize_t, float *, Py_ssize_t, int);

#define TILE(thirds, vectors)                                                                    \
    static void tile_##thirds##_##vectors(const Left *left, Py_ssize_t rows, Py_ssize_t depth,   \
                                          Panel panel, Py_ssize_t columns, float *c,             \
                                          Py_ssize_t pitch, int add)                             \
    {                                                                                            \
        tile_of(thirds *THIRD, vectors, left, rows, depth, panel, columns, c, pitch, add, NULL); \
    }
TILE(1, 1)
TILE(1, 2)
TILE(2, 1)
TILE(2, 2)
TILE(3, 1)
TILE(3, 2)
#undef TILE

/* Any tile: of up to TILE_ROWS rows and WIDTH columns. */
static void tile(const Left *left, Py_ssize_t rows, Py_ssize_t depth, Panel panel,
                 Py_ssize_t columns, float *c, Py_ssize_t pitch, int add)
{
    static TileOf *const EACH[3][2] = {
        {tile_1_1, tile_1_2}, {tile_2_1, tile_2_2}, {tile_3_1, tile_3_2},
    };
    EACH[(rows - 1) / THIRD][columns > FLOATS](left, rows, depth, panel, columns, c, pitch, add);
}

/* A whole tile that fetches meanwhile. */
static void tile_ahead(const Left *left, Py_ssize_t depth, Panel panel, float *c, Py_ssize_t pitch,
                       int add, const Ahead *ahead)
{
    tile_of(TILE_ROWS, 2, left, TILE_ROWS, depth, panel, WIDTH, c, pitch, add, ahead);
}

/* Multiply all rows with one panel of up to WIDTH columns; c's rows are ``pitch`` apart. */
static void strip(Left left, Py_ssize_t rows, Py_ssize_t depth, const float *panel,
                  Py_ssize_t columns, float *c, Py_ssize_t pitch, int add)
{
    for (Py_ssize_t i = 0; i < rows; i += TILE_ROWS, left.rows += TILE_ROWS, c += TILE_ROWS * pitch)
        tile(&left, least(rows - i, TILE_ROWS), depth, (Panel){panel, WIDTH}, columns, c, pitch, add);
}

/* The right matrix of a product: its elements from one row and one column to the next. */
typedef struct {
    const float *data;
    Py_ssize_t row, column;
} Right;

#if FLOATS == 16
#define LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif FLOATS == 8
#define LOW 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define LOW 0, 4, 1, 5
#define HIGH 2, 6, 3, 7
#endif
#if defined(__clang__)
#define TAKE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define TAKE(a, b, ...) __builtin_shuffle(a, b, (Lanes){__VA_ARGS__})
#endif

/* Turn a square of numbers: shuffle its rows as often as halving goes down to one. */
INLINE void turn(Vector *rows)
{
#pragma GCC unroll 4
    for (int size = FLOATS; size > 1; size /= 2) {
        Vector next[FLOATS];
#pragma GCC unroll 8
        for (int i = 0; i < FLOATS / 2; i++) {
            next[2 * i] = TAKE(rows[i], rows[i + FLOATS / 2], LOW);
            next[2 * i + 1] = TAKE(rows[i], rows[i + FLOATS / 2], HIGH);
        }
#pragma GCC unroll 16
        for (int i = 0; i < FLOATS; i++)
            rows[i] = next[i];
    }
}

#undef LOW
#undef HIGH
#undef TAKE

/* Pack columns that lie one after the other: square by square. */
static void pack_turned(const float *from, Py_ssize_t column, Py_ssize_t depth, Py_ssize_t columns,
                        float *panel)
{
    Py_ssize_t whole = depth - depth % FLOATS;
    for (Py_ssize_t p = 0; p < whole; p += FLOATS)
        for (Py_ssize_t j = 0; j < columns; j += FLOATS) {
            Vector some[FLOATS];
#pragma GCC unroll 16
            for (int i = 0; i < FLOATS; i++)
                some[i] = j + i < columns ? *(const Vector *)(from + (j + i) * column + p) : (Vector){0};
            turn(some);
#pragma GCC unroll 16
            for (int i = 0; i < FLOATS; i++)
                *(Vector *)(panel + (p + i) * WIDTH + j) = some[i];
        }
    for (Py_ssize_t p = whole; p < depth; p++)
        for (Py_ssize_t j = 0; j < columns; j++)
            panel[p * WIDTH + j] = from[j * column + p];
}

/* Write so many rows of up to WIDTH columns as a panel; what is beyond them, no sum takes. */
static void pack(const Right *from, Py_ssize_t depth, Py_ssize_t columns, float *panel)
{
    if (from->row == 1) {
        pack_turned(from->data, from->column, depth, columns, panel);
        return;
    }
    for (Py_ssize_t p = 0; p < depth; p++, panel += WIDTH) {
        const float *row = from->data + p * from->row;
        if (from->column == 1 && columns == WIDTH)
            memcpy(panel, row, WIDTH * sizeof *panel);
        else if (from->column == 1)
            copy_some(panel, row, columns);
        else
            for (Py_ssize_t j = 0; j < columns; j++)
                panel[j] = row[j * from->column];
    }
}
