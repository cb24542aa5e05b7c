/* The product of two matrices, and of stacks of them, in blocks that stay in the caches.

   A block of the left matrix is read where it lies, of the right one PANELS at a time are packed.
   Source: Goto & van de Geijn (2008).
*/

/* Rows of a block of the left matrix, which with DEPTH columns is to stay in the second cache; and
   the size of a right matrix that does not. */
enum { MOST_ROWS = 40 * TILE_ROWS, FAR = 1 << 18 };

/* Of the whole depth, packed at once: on the stack. */
enum { PANELS = 4 };

/* Elements of a page: rows or columns of a left matrix that lie whole pages apart push each other out
   of the first cache, whose lines go by the place in the page. Copied rows are PITCH apart. */
enum { PAGE = 1024, PITCH = DEPTH + 16 };

/* A cache line in floats, how many a row of a panel has, and how many tiles fetch the next panel:
   each has the time for one line at every other depth. */
enum { LINE = 16, LINES = WIDTH > LINE ? WIDTH / LINE : 1, FETCHERS = 2 * LINES };

/* One block; ``lines`` is where those of the next panel are, or NULL if they are near. */
typedef struct {
    Py_ssize_t rows, depth, columns;
    Left left;
    Right right;
    float *c;
    Py_ssize_t pitch;
    int add;
    const Py_ssize_t *lines;
} Block;

static Right columns_from(const Block *b, Py_ssize_t j)
{
    return (Right){b->right.data + j * b->right.column, b->right.row, b->right.column};
}

/* Add some rows of the right matrix, each times a number, to sums of its columns. */
INLINE void add_rows(int count, const Block *b, Py_ssize_t p, Py_ssize_t j, Py_ssize_t wide,
                     float *sums)
{
    LOOP
    for (Py_ssize_t k = 0; k < wide; k++)
        for (int r = 0; r < count; r++)
            sums[k] += b->left.data[b->left.depth[p + r]] *
                       b->right.data[(p + r) * b->right.row + j + k];
}

/* A single row, beside rows that are whole: their numbers are read in the order in which they lie. */
static void multiply_one(const Block *b)
{
    enum { MOST = DEPTH * WIDTH };
    float sums[MOST];
    for (Py_ssize_t j = 0; j < b->columns; j += MOST) {
        Py_ssize_t wide = least(b->columns - j, MOST), p = 0;
        memset(sums, 0, sizeof sums);
        for (; p + 4 <= b->depth; p += 4)
            add_rows(4, b, p, j, wide, sums);
        for (; p < b->depth; p++)
            add_rows(1, b, p, j, wide, sums);
        for (Py_ssize_t k = 0; k < wide; k++)
            b->c[j + k] = b->add ? b->c[j + k] + sums[k] : sums[k];
    }
}

/* The rows of one tile, which read the right matrix only once: whole rows of it stay unpacked. */
static void multiply_few(const Block *b)
{
    float packed[DEPTH * WIDTH];
    for (Py_ssize_t j = 0; j < b->columns; j += WIDTH) {
        Right part = columns_from(b, j);
        Py_ssize_t wide = least(b->columns - j, WIDTH);
        Panel panel = {part.data, part.row};
        if (part.column != 1 || wide % FLOATS != 0) {
            pack(&part, b->depth, wide, packed);
            panel = (Panel){packed, WIDTH};
        }
        tile(&b->left, b->rows, b->depth, panel, wide, b->c + j, b->pitch, b->add);
    }
}

/* One of the first tiles beside a panel, the ``t``th: together they fetch the one from column k on. */
static void tile_and_fetch(const Block *b, const Left *left, Py_ssize_t t, Panel panel, float *c,
                           Py_ssize_t k)
{
    Ahead ahead = {columns_from(b, k).data, b->lines};
    if (b->right.column == 1)
        ahead.data += t % LINES * LINE + t / LINES * DEPTH / 2 * b->right.row;
    else
        ahead.data += t * DEPTH / FETCHERS;
    tile_ahead(left, b->depth, panel, c, b->pitch, b->add, &ahead);
}

/* As many panels at a time as there is room for, so that whole lines of both matrices are used. */
static void multiply_many(const Block *b)
{
    float panels[PANELS * DEPTH * WIDTH];
    Py_ssize_t most = b->depth == 0 ? WIDTH : PANELS * DEPTH / b->depth * WIDTH;
    for (Py_ssize_t j = 0; j < b->columns; j += most) {
        Py_ssize_t end = least(j + most, b->columns);
        for (Py_ssize_t k = j; k < end; k += WIDTH) {
            Right part = columns_from(b, k);
            pack(&part, b->depth, least(end - k, WIDTH), panels + (k - j) * b->depth);
        }
        for (Py_ssize_t i = 0, t = 0; i < b->rows; i += TILE_ROWS, t++) {
            Left left = {b->left.data, b->left.rows + i, b->left.depth};
            Py_ssize_t rows = least(b->rows - i, TILE_ROWS);
            Py_ssize_t fetched = b->lines != NULL && t < FETCHERS && rows == TILE_ROWS ? most : b->columns;
            float *c = b->c + i * b->pitch;
            for (Py_ssize_t k = j; k < end; k += WIDTH) {
                Panel panel = {panels + (k - j) * b->depth, WIDTH};
                if (k + fetched < b->columns)
                    tile_and_fetch(b, &left, t, panel, c + k, k + fetched);
                else
                    tile(&left, rows, b->depth, panel, least(end - k, WIDTH), c + k, b->pitch,
                         b->add);
            }
        }
    }
}

/* Copy some lines of a block of the left matrix to where they do not push each other out. Threads
   have a copy each. */
static const float *copy_left(const float *from, Py_ssize_t apart, Py_ssize_t lines,
                              Py_ssize_t length, Py_ssize_t pitch)
{
    static _Thread_local float copied[PITCH * MOST_ROWS];
    for (Py_ssize_t i = 0; i < lines; i++)
        memcpy(copied + i * pitch, from + i * apart, (size_t)length * sizeof *copied);
    return copied;
}

/* c = left right; c's rows are ``pitch`` apart. */
static void multiply(Right left, Right right, Py_ssize_t rows, Py_ssize_t depth,
                     Py_ssize_t columns, float *c, Py_ssize_t pitch)
{
    Py_ssize_t in_rows[MOST_ROWS], in_depth[DEPTH], lines[DEPTH];
    int pays = rows > TILE_ROWS && columns >= 4 * WIDTH;
    int copies_columns = pays && left.row == 1 && left.column % PAGE == 0;
    int copies_rows = pays && left.column == 1 && left.row % PAGE == 0;
    for (Py_ssize_t i = 0; i < least(rows, MOST_ROWS); i++)
        in_rows[i] = i * (copies_rows ? PITCH : left.row);
    for (Py_ssize_t p = 0; p < least(depth, DEPTH); p++)
        in_depth[p] = p * (copies_columns ? MOST_ROWS : left.column);
    int is_far = depth * columns >= FAR && depth >= DEPTH;
    for (Py_ssize_t p = 0; is_far && p < DEPTH; p++)
        lines[p] = right.column == 1 ? p / 2 * right.row
                                     : p / 2 % WIDTH * right.column + p / 2 / WIDTH * LINE;
    for (Py_ssize_t i = 0; i < rows; i += MOST_ROWS)
        for (Py_ssize_t p = 0; p == 0 || p < depth; p += DEPTH) {
            Py_ssize_t deep = least(depth - p, DEPTH);
            Block b = {
                .rows = least(rows - i, MOST_ROWS),
                .depth = deep,
                .columns = columns,
                .left = {left.data + i * left.row + p * left.column, in_rows, in_depth},
                .right = {right.data + p * right.row, right.row, right.column},
                .c = c + i * pitch,
                .pitch = pitch,
                .add = p > 0,
                .lines = is_far && deep == DEPTH ? lines : NULL,
            };
            if (copies_columns)
                b.left.data = copy_left(b.left.data, left.column, deep, b.rows, MOST_ROWS);
            else if (copies_rows)
                b.left.data = copy_left(b.left.data, left.row, b.rows, deep, PITCH);
            if (b.rows > TILE_ROWS)
                multiply_many(&b);
            else if (b.rows > 1 || right.column != 1)
                multiply_few(&b);
            else
                multiply_one(&b);
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
        Right left = {matrix_of(a, i), a->strides[row] / 4, a->strides[column] / 4};
        Right right = {matrix_of(b, i), b->strides[row] / 4, b->strides[column] / 4};
        multiply(left, right, rows, depth, columns, matrix_of(out, i), out->strides[row] / 4);
    }
    return finish(&call);
}
