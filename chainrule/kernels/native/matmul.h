/* The product of two matrices, and of stacks of them: blocks of both that stay in the caches. */

/* Rows of a block of the left matrix, which with DEPTH columns is to stay in the second cache. */
enum { MOST_ROWS = 40 * TILE_ROWS };

/* A matrix: its elements from one row and one column to the next. */
typedef Right Matrix;

/* c = left right, or c += left right, for a block of up to MOST_ROWS rows and DEPTH of depth: as
   many panels at a time as there is room for. One tile's rows read the right matrix only once:
   then it stays where it is. */
static void multiply_block(Left left, Right right, Py_ssize_t rows, Py_ssize_t depth,
                           Py_ssize_t columns, float *c, Py_ssize_t pitch, int add)
{
    float memory[DEPTH * WIDTH];
    Panel panels[DEPTH];
    Py_ssize_t most = depth == 0 ? DEPTH : DEPTH / depth; /* panels */
    int in_place = rows <= TILE_ROWS && right.column == 1;
    for (Py_ssize_t j = 0; j < columns; j += most * WIDTH) {
        Py_ssize_t end = least(j + most * WIDTH, columns);
        for (Py_ssize_t k = j, q = 0; k < end; k += WIDTH, q++) {
            Right part = {right.data + k * right.column, right.row, right.column};
            Py_ssize_t wide = least(end - k, WIDTH);
            panels[q] = (Panel){part.data, right.row};
            if (in_place && wide % FLOATS == 0)
                continue;
            panels[q] = (Panel){memory + q * depth * WIDTH, WIDTH};
            pack(&part, depth, wide, memory + q * depth * WIDTH);
        }
        for (Py_ssize_t i = 0; i < rows; i += TILE_ROWS) {
            Left part = {left.data, left.rows + i, left.depth};
            for (Py_ssize_t k = j, q = 0; k < end; k += WIDTH, q++)
                tile(&part, least(rows - i, TILE_ROWS), depth, panels[q], least(end - k, WIDTH),
                     c + i * pitch + k, pitch, add);
        }
    }
}

/* c = left right; c's rows are ``pitch`` apart. */
static void multiply(Matrix left, Matrix right, Py_ssize_t rows, Py_ssize_t depth,
                     Py_ssize_t columns, float *c, Py_ssize_t pitch)
{
    Py_ssize_t in_rows[MOST_ROWS], in_depth[DEPTH];
    for (Py_ssize_t i = 0; i < least(rows, MOST_ROWS); i++)
        in_rows[i] = i * left.row;
    for (Py_ssize_t p = 0; p < least(depth, DEPTH); p++)
        in_depth[p] = p * left.column;
    for (Py_ssize_t i = 0; i < rows; i += MOST_ROWS)
        for (Py_ssize_t p = 0; p == 0 || p < depth; p += DEPTH) {
            Left block = {left.data + i * left.row + p * left.column, in_rows, in_depth};
            Right beside = {right.data + p * right.row, right.row, right.column};
            multiply_block(block, beside, least(rows - i, MOST_ROWS), least(depth - p, DEPTH),
                           columns, c + i * pitch, pitch, p > 0);
        }
}

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
    if (call.unfit)
        return fall_back(&call);
    Py_ssize_t count = rows * columns == 0 ? 0 : out->size / (rows * columns);
    run(&call, out->size * depth / 8);
    for (Py_ssize_t i = 0; i < count; i++) {
        Matrix left = {matrix_of(a, i), a->strides[row] / 4, a->strides[column] / 4};
        Matrix right = {matrix_of(b, i), b->strides[row] / 4, b->strides[column] / 4};
        multiply(left, right, rows, depth, columns, matrix_of(out, i), out->strides[row] / 4);
    }
    return finish(&call);
}
