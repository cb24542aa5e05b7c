/* Softmax over the last axis. Powers of e are taken of many rows at once. */

enum { SOFTMAX_BLOCK = 4096 }; /* elements */

static void subtract_maximum(const float *x, Py_ssize_t n, float *y)
{
    float most = x[0];
    for (Py_ssize_t i = 1; i < n; i++)
        most = x[i] > most || x[i] != x[i] ? x[i] : most;
    LOOP
    for (Py_ssize_t i = 0; i < n; i++)
        y[i] = x[i] - most;
}

/* y = exp(x - max(x)) of each row. */
static void powers(const float *x, Py_ssize_t rows, Py_ssize_t n, float *y)
{
    for (Py_ssize_t row = 0; row < rows; row++)
        subtract_maximum(x + row * n, n, y + row * n);
    LOOP
    for (Py_ssize_t i = 0; i < rows * n; i++)
        y[i] = exp_f(y[i]);
}

static void softmax_loop(const float *x, Py_ssize_t rows, Py_ssize_t n, float *y)
{
    Py_ssize_t block = n < SOFTMAX_BLOCK ? SOFTMAX_BLOCK / n : 1;
    for (Py_ssize_t row = 0; row < rows; row += block) {
        Py_ssize_t count = rows - row < block ? rows - row : block;
        powers(x + row * n, count, n, y + row * n);
        for (Py_ssize_t r = row; r < row + count; r++) {
            float share = 1.0f / row_sum_f32(y + r * n, n);
            LOOP
            for (Py_ssize_t i = 0; i < n; i++)
                y[r * n + i] *= share;
        }
    }
}

/* softmax(x, y) */
static PyObject *softmax(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 2);
    Array *x = array(&call, 0), *y = output(&call, 1);
    want(&call, are_vectors(&call) && x->type == 'f' && x->axes > 0 && x->size > 0);
    if (call.unfit)
        return fall_back(&call);
    Py_ssize_t columns = x->shape[x->axes - 1];
    run(&call, x->size);
    softmax_loop((float *)x->data, x->size / columns, columns, (float *)y->data);
    return finish(&call);
}

/* softmax_backward(y, dy, dx) */
static PyObject *softmax_backward(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                  PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 3);
    Array *y = array(&call, 0), *dy = array(&call, 1), *dx = output(&call, 2);
    want(&call, are_vectors(&call) && y->type == 'f' && y->axes > 0 && y->size > 0);
    if (call.unfit)
        return fall_back(&call);
    Py_ssize_t columns = y->shape[y->axes - 1];
    run(&call, y->size);
    for (Py_ssize_t start = 0; start < y->size; start += columns) {
        const float *share = (float *)y->data + start, *slope = (float *)dy->data + start;
        float *into = (float *)dx->data + start;
        LOOP
        for (Py_ssize_t i = 0; i < columns; i++)
            into[i] = slope[i] * share[i];
        float total = row_sum_f32(into, columns);
        LOOP
        for (Py_ssize_t i = 0; i < columns; i++)
            into[i] = (slope[i] - total) * share[i];
    }
    return finish(&call);
}
