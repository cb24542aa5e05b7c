/* Softmax over the last axis. Powers of e are taken of many rows at once. */

enum { SOFTMAX_BLOCK = 4096 }; /* elements */

typedef int32_t WideBits __attribute__((vector_size(64)));

/* The largest of a row, but for what is not a number: powers show that by themselves. */
static float maximum(const float *x, Py_ssize_t n)
{
    enum { LANES = 16 };
    float most = x[0];
    Py_ssize_t i = 0;
    if (n >= LANES) {
        wide_f32 all = load_f32(x);
        for (i = LANES; i + LANES <= n; i += LANES) {
            wide_f32 part = load_f32(x + i);
            WideBits larger = part > all;
            all = (wide_f32)((larger & (WideBits)part) | (~larger & (WideBits)all));
        }
        float lanes[LANES];
        memcpy(lanes, &all, sizeof lanes);
        for (int half = LANES / 2; half > 0; half /= 2)
            for (int k = 0; k < half; k++)
                lanes[k] = lanes[k + half] > lanes[k] ? lanes[k + half] : lanes[k];
        most = lanes[0];
    }
    for (; i < n; i++)
        most = x[i] > most || most != most ? x[i] : most;
    return most;
}

static void subtract_maximum(const float *x, Py_ssize_t n, float scale, float *y)
{
    float most = maximum(x, n);
    LOOP
    for (Py_ssize_t i = 0; i < n; i++)
        y[i] = (x[i] - most) * scale;
}

/* y = exp(scale (x - max(x))) of each row. */
static void powers(const float *x, Py_ssize_t rows, Py_ssize_t n, float scale, float *y)
{
    for (Py_ssize_t row = 0; row < rows; row++)
        subtract_maximum(x + row * n, n, scale, y + row * n);
    LOOP
    for (Py_ssize_t i = 0; i < rows * n; i++)
        y[i] = exp_f(y[i]);
}

/* y = softmax(scale x) of each row, of a scale above 0. */
static void softmax_loop(const float *x, Py_ssize_t rows, Py_ssize_t n, float scale, float *y)
{
    Py_ssize_t block = n < SOFTMAX_BLOCK ? SOFTMAX_BLOCK / n : 1;
    for (Py_ssize_t row = 0; row < rows; row += block) {
        Py_ssize_t count = rows - row < block ? rows - row : block;
        powers(x + row * n, count, n, scale, y + row * n);
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
    softmax_loop((float *)x->data, x->size / columns, columns, 1.0f, (float *)y->data);
    return finish(&call);
}

/* The gradient in x of y = softmax(scale x), of each row. */
static void softmax_back_loop(const float *y, const float *dy, Py_ssize_t rows, Py_ssize_t n,
                              float scale, float *dx)
{
    for (Py_ssize_t row = 0; row < rows; row++, y += n, dy += n, dx += n) {
        LOOP
        for (Py_ssize_t i = 0; i < n; i++)
            dx[i] = dy[i] * y[i];
        float total = row_sum_f32(dx, n);
        LOOP
        for (Py_ssize_t i = 0; i < n; i++)
            dx[i] = (dy[i] - total) * y[i] * scale;
    }
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
    softmax_back_loop((float *)y->data, (float *)dy->data, y->size / columns, columns, 1.0f,
                      (float *)dx->data);
    return finish(&call);
}
