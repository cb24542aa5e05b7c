/* Losses with their gradients, and the sums that metrics are made of. */

enum { PARTS = 16 }; /* sums that grow side by side: more than one fits in a vector */

static int are_classes(const Array *classes, Py_ssize_t count)
{
    for (Py_ssize_t i = 0; i < classes->size; i++) {
        int64_t number = ((int64_t *)classes->data)[i];
        if (number < 0 || number >= count)
            return 0;
    }
    return 1;
}

/* Whether an array holds class numbers, one for each row. */
static int are_numbers(const Array *classes, Py_ssize_t rows)
{
    return classes->type == 'l' && classes->view.itemsize == 8 && classes->is_contiguous &&
           classes->size == rows;
}

static double cross_entropy_loop(const float *x, const int64_t *classes, Py_ssize_t rows,
                                 Py_ssize_t n, float *dy)
{
    Py_ssize_t block = n < SOFTMAX_BLOCK ? SOFTMAX_BLOCK / n : 1;
    double loss = 0.0;
    for (Py_ssize_t row = 0; row < rows; row += block) {
        Py_ssize_t count = rows - row < block ? rows - row : block;
        for (Py_ssize_t r = row; r < row + count; r++) {
            subtract_maximum(x + r * n, n, 1.0f, dy + r * n);
            loss -= dy[r * n + classes[r]];
        }
        LOOP
        for (Py_ssize_t i = row * n; i < (row + count) * n; i++)
            dy[i] = exp_f(dy[i]);
        for (Py_ssize_t r = row; r < row + count; r++) {
            float total = row_sum_f32(dy + r * n, n);
            float share = 1.0f / (total * (float)rows);
            loss += logf(total);
            LOOP
            for (Py_ssize_t i = 0; i < n; i++)
                dy[r * n + i] *= share;
            dy[r * n + classes[r]] -= 1.0f / (float)rows;
        }
    }
    return loss / (double)rows;
}

/* softmax_cross_entropy(logits, classes, dy, loss) */
static PyObject *softmax_cross_entropy(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                       PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 4);
    Array *x = array(&call, 0), *dy = output(&call, 2);
    want(&call, are_vectors(&call) && x->type == 'f' && x->axes == 2 && x->size > 0);
    Array *classes = array(&call, 1), *loss = output(&call, 3);
    want(&call, x->axes == 2 && are_numbers(classes, x->shape[0]) && are_sums(loss, 1));
    if (call.unfit || !are_classes(classes, x->shape[1]))
        return fall_back(&call);
    run(&call, x->size);
    *(double *)loss->data = cross_entropy_loop((float *)x->data, (int64_t *)classes->data,
                                               x->shape[0], x->shape[1], (float *)dy->data);
    return finish(&call);
}

static double total_of(const double *parts)
{
    double total = 0;
    for (int k = 0; k < PARTS; k++)
        total += parts[k];
    return total;
}

/* The sum of the losses of independent logits, and their gradients, not divided by anything. */
INLINE double binary_part(const float *x, const float *target, Py_ssize_t count, float *dy)
{
    double parts[PARTS] = {0};
    for (Py_ssize_t k = 0; k < count; k++) {
        float size = x[k] < 0.0f ? -x[k] : x[k];
        float most = x[k] > 0.0f ? 1.0f : 0.0f, power = exp_f(-size);
        parts[k] = log1p_f(power) + (most - target[k]) * x[k];
        dy[k] = (x[k] > 0.0f ? 1.0f : power) / (1.0f + power) - target[k];
    }
    return total_of(parts);
}

/* binary_cross_entropy(logits, target, dy, loss) */
static PyObject *binary_cross_entropy(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                      PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 4);
    Array *x = array(&call, 0), *target = array(&call, 1), *dy = output(&call, 2);
    want(&call, are_vectors(&call) && x->type == 'f' && x->size > 0);
    Array *loss = output(&call, 3);
    want(&call, are_sums(loss, 1));
    if (call.unfit)
        return fall_back(&call);
    run(&call, x->size);
    const float *from = (float *)x->data, *wanted = (float *)target->data;
    float *to = (float *)dy->data, share = 1.0f / (float)x->size;
    double total = 0;
    Py_ssize_t i = 0;
    for (; i + PARTS <= x->size; i += PARTS)
        total += binary_part(from + i, wanted + i, PARTS, to + i);
    total += binary_part(from + i, wanted + i, x->size - i, to + i);
    LOOP
    for (i = 0; i < x->size; i++)
        to[i] *= share;
    *(double *)loss->data = total / (double)x->size;
    return finish(&call);
}

/* accumulate(value, count, sums) */
static PyObject *accumulate(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 3);
    Array *value = array(&call, 0), *sums = output(&call, 2);
    double count = number(&call, 1, "count");
    want(&call, are_sums(value, 1) && are_sums(sums, 2));
    if (call.unfit)
        return fall_back(&call);
    run(&call, 1);
    ((double *)sums->data)[0] += *(double *)value->data * count;
    ((double *)sums->data)[1] += count;
    return finish(&call);
}

/* count_right(y, classes, sums): largest at its class, the first of equals */
static PyObject *count_right(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 3);
    Array *y = array(&call, 0);
    want(&call, is_real(y) && y->type == 'f' && y->axes > 0 && y->size > 0);
    Array *classes = array(&call, 1), *sums = output(&call, 2);
    Py_ssize_t columns = call.unfit ? 1 : y->shape[y->axes - 1], right = 0;
    want(&call, are_numbers(classes, y->size / columns) && are_sums(sums, 2));
    if (call.unfit)
        return fall_back(&call);
    run(&call, y->size);
    for (Py_ssize_t row = 0; row < classes->size; row++) {
        const float *x = (float *)y->data + row * columns;
        Py_ssize_t most = 0;
        for (Py_ssize_t i = 1; i < columns && x[most] == x[most]; i++) /* NaN counts as largest */
            most = x[i] <= x[most] ? most : i;
        right += most == ((int64_t *)classes->data)[row];
    }
    ((double *)sums->data)[0] += (double)right;
    ((double *)sums->data)[1] += (double)classes->size;
    return finish(&call);
}

/* count_agreeing(y, target, sums): on the same side, the logit of 0 and the target of one half */
static PyObject *count_agreeing(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 3);
    Array *y = array(&call, 0), *target = array(&call, 1);
    want(&call, are_vectors(&call) && y->type == 'f');
    Array *sums = output(&call, 2);
    want(&call, are_sums(sums, 2));
    if (call.unfit)
        return fall_back(&call);
    run(&call, y->size);
    Py_ssize_t right = 0;
    for (Py_ssize_t i = 0; i < y->size; i++)
        right += (((float *)y->data)[i] > 0.0f) == (((float *)target->data)[i] > 0.5f);
    ((double *)sums->data)[0] += (double)right;
    ((double *)sums->data)[1] += (double)y->size;
    return finish(&call);
}
