/* Products of matrices in float32, for sizes at which a call of the BLAS costs more than it gains.

   One tile of the product at a time stays in registers: TILE_ROWS rows of two vectors of FLOATS
   columns, both set by the variant. The left matrix is wherever its tables say: its element (i, p)
   is data[rows[i] + depth[p]], so that windows of an image are multiplied where they lie. The right
   one is packed in panels, as wide as a tile, depth by depth.
   The sum over the depth runs in order, in blocks of DEPTH: the bits hang on no other size.
   Source: Goto & van de Geijn (2008); Dukhan (2019) for the tables.
*/

typedef float Vector __attribute__((vector_size(4 * FLOATS), aligned(4), may_alias));

enum { WIDTH = 2 * FLOATS, DEPTH = 256 };

typedef struct {
    const float *data;
    const Py_ssize_t *rows, *depth; /* elements */
} Left;

/* c = left panel, or c += left panel, for up to TILE_ROWS rows and vectors * FLOATS columns. */
INLINE void tile_of(int vectors, const Left *left, Py_ssize_t rows, Py_ssize_t depth,
                    const float *panel, Py_ssize_t columns, float *c, Py_ssize_t pitch, int add)
{
    const float *a[TILE_ROWS];
    Vector sums[TILE_ROWS][2];
#pragma GCC unroll 16
    for (int i = 0; i < TILE_ROWS; i++) { /* rows that are not there repeat the first one */
        a[i] = left->data + left->rows[i < rows ? i : 0];
        sums[i][0] = sums[i][1] = (Vector){0};
    }
    for (Py_ssize_t p = 0; p < depth; p++, panel += WIDTH) {
        Py_ssize_t at = left->depth[p];
        Vector first = *(const Vector *)panel, second = *(const Vector *)(panel + FLOATS);
#pragma GCC unroll 16
        for (int i = 0; i < TILE_ROWS; i++) {
            float x = a[i][at];
            sums[i][0] += x * first;
            if (vectors == 2)
                sums[i][1] += x * second;
        }
    }
    if (rows == TILE_ROWS && columns == vectors * FLOATS) {
#pragma GCC unroll 16
        for (int i = 0; i < TILE_ROWS; i++, c += pitch) {
            Vector *into = (Vector *)c;
            if (add)
                sums[i][0] += into[0];
            into[0] = sums[i][0];
            if (add && vectors == 2)
                sums[i][1] += into[1];
            if (vectors == 2)
                into[1] = sums[i][1];
        }
        return;
    }
    float some[TILE_ROWS][WIDTH];
#pragma GCC unroll 16
    for (int i = 0; i < TILE_ROWS; i++) {
        *(Vector *)some[i] = sums[i][0];
        *(Vector *)(some[i] + FLOATS) = sums[i][1];
    }
    for (Py_ssize_t i = 0; i < rows; i++, c += pitch)
        for (Py_ssize_t j = 0; j < columns; j++)
            c[j] = add ? c[j] + some[i][j] : some[i][j];
}

static void tile_of_one(const Left *left, Py_ssize_t rows, Py_ssize_t depth, const float *panel,
                        Py_ssize_t columns, float *c, Py_ssize_t pitch, int add)
{
    tile_of(1, left, rows, depth, panel, columns, c, pitch, add);
}

static void tile_of_two(const Left *left, Py_ssize_t rows, Py_ssize_t depth, const float *panel,
                        Py_ssize_t columns, float *c, Py_ssize_t pitch, int add)
{
    tile_of(2, left, rows, depth, panel, columns, c, pitch, add);
}

/* Multiply all rows with one panel of up to WIDTH columns; c's rows are ``pitch`` apart. */
static void strip(Left left, Py_ssize_t rows, Py_ssize_t depth, const float *panel,
                  Py_ssize_t columns, float *c, Py_ssize_t pitch, int add)
{
    for (Py_ssize_t i = 0; i < rows; i += TILE_ROWS, left.rows += TILE_ROWS, c += TILE_ROWS * pitch) {
        Py_ssize_t some = rows - i < TILE_ROWS ? rows - i : TILE_ROWS;
        (columns > FLOATS ? tile_of_two : tile_of_one)(&left, some, depth, panel, columns, c, pitch,
                                                      add);
    }
}

/* The right matrix of a product: its elements from one row and one column to the next. */
typedef struct {
    const float *data;
    Py_ssize_t row, column;
} Right;

/* Write so many rows of up to WIDTH columns as a panel, filled up with zeros. */
static void pack(const Right *from, Py_ssize_t depth, Py_ssize_t columns, float *panel)
{
    if (from->column == 1 && columns == WIDTH) {
        for (Py_ssize_t p = 0; p < depth; p++, panel += WIDTH)
            memcpy(panel, from->data + p * from->row, WIDTH * sizeof *panel);
        return;
    }
    if (columns < WIDTH)
        memset(panel, 0, (size_t)(depth * WIDTH) * sizeof *panel);
    for (Py_ssize_t j = 0; j < columns; j++) {
        const float *column = from->data + j * from->column;
        for (Py_ssize_t p = 0; p < depth; p++)
            panel[p * WIDTH + j] = column[p * from->row];
    }
}

static inline Py_ssize_t least(Py_ssize_t a, Py_ssize_t b)
{
    return a < b ? a : b;
}

/* c = left right; c's rows are ``pitch`` apart. */
static void multiply(Left left, Right right, Py_ssize_t rows, Py_ssize_t depth, Py_ssize_t columns,
                     float *c, Py_ssize_t pitch)
{
    float panel[DEPTH * WIDTH];
    for (Py_ssize_t p = 0; p == 0 || p < depth; p += DEPTH, left.depth += DEPTH) {
        Py_ssize_t deep = least(depth - p, DEPTH);
        for (Py_ssize_t j = 0; j < columns; j += WIDTH) {
            Py_ssize_t wide = least(columns - j, WIDTH);
            Right part = {right.data + p * right.row + j * right.column, right.row, right.column};
            pack(&part, deep, wide, panel);
            strip(left, rows, deep, panel, wide, c + j, pitch, p > 0);
        }
    }
}

/* Above so many multiplications the BLAS is faster; where neither matrix is transposed, far above.
   In sums of LONG and more, as in the gradients of a sequence's weights, its speed hangs on where
   memory lies: from 5 to 35 GFLOP/s were seen, beside 25 here. */
enum {
    MOST_PRODUCTS = 1 << 21, MOST_OF_ROWS = 1 << 25, MOST_OF_LONG = 1 << 26,
    MOST_SIDE = 2048, LONG = 2048, MOST_DEPTH = 8192,
};

/* Whether it is a stack of matrices in float32, a plain one included, all axes of which may lie
   apart. */
static int is_stack(const Array *a)
{
    int fits = a->axes >= 2 && a->type == 'f';
    for (int axis = 0; fits && axis < a->axes; axis++)
        fits = a->strides[axis] % 4 == 0;
    return fits;
}

static int are_stacked_alike(const Array *a, const Array *b)
{
    int alike = a->axes == b->axes;
    for (int axis = 0; alike && axis < a->axes - 2; axis++)
        alike = a->shape[axis] == b->shape[axis];
    return alike;
}

/* Where a stack's matrix of this number is. */
static float *matrix_of(const Array *a, Py_ssize_t number)
{
    char *at = a->data;
    for (int axis = a->axes - 3; axis >= 0; axis--) {
        at += number % a->shape[axis] * a->strides[axis];
        number /= a->shape[axis];
    }
    return (float *)at;
}

/* matmul(a, b, out): matrices, or stacks of them alike, all axes of which may lie apart, but for
   the columns of out */
static PyObject *matmul(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 3);
    Array *a = array(&call, 0), *b = array(&call, 1), *out = output(&call, 2);
    want(&call, is_stack(a) && is_stack(b) && is_stack(out));
    want(&call, are_stacked_alike(a, b) && are_stacked_alike(a, out));
    if (call.unfit)
        return fall_back(&call);
    int row = a->axes - 2, column = a->axes - 1;
    Py_ssize_t rows = a->shape[row], depth = a->shape[column], columns = b->shape[column];
    want(&call, b->shape[row] == depth && out->shape[row] == rows && out->shape[column] == columns);
    want(&call, out->strides[column] == 4 || columns <= 1);
    want(&call, rows <= MOST_SIDE && depth <= MOST_DEPTH && columns <= MOST_PRODUCTS);
    int of_rows = a->strides[column] == 4 && b->strides[column] == 4;
    Py_ssize_t most = of_rows ? MOST_OF_ROWS : depth >= LONG ? MOST_OF_LONG : MOST_PRODUCTS;
    want(&call, rows * depth * columns <= most);
    if (call.unfit)
        return fall_back(&call);
    Py_ssize_t in_rows[MOST_SIDE], in_depth[MOST_DEPTH];
    for (Py_ssize_t i = 0; i < rows; i++)
        in_rows[i] = i * a->strides[row] / 4;
    for (Py_ssize_t p = 0; p < depth; p++)
        in_depth[p] = p * a->strides[column] / 4;
    Py_ssize_t count = rows * columns == 0 ? 0 : out->size / (rows * columns);
    run(&call, out->size * depth / 8);
    for (Py_ssize_t i = 0; i < count; i++) {
        Left left = {matrix_of(a, i), in_rows, in_depth};
        Right right = {matrix_of(b, i), b->strides[row] / 4, b->strides[column] / 4};
        multiply(left, right, rows, depth, columns, matrix_of(out, i), out->strides[row] / 4);
    }
    return finish(&call);
}
