/* Rows by their numbers, and numbers as another type. */

/* gather(values, rows, out): numbers beyond the ends count as these */
static PyObject *gather(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 3);
    Array *values = array(&call, 0), *rows = array(&call, 1), *out = output(&call, 2);
    want(&call, values->is_contiguous && values->axes > 0 && values->size > 0);
    want(&call, rows->type == 'l' && rows->view.itemsize == 8 && rows->is_contiguous);
    want(&call, values->type != '\0' && out->type == values->type && out->is_contiguous);
    if (call.unfit || out->size != rows->size * (values->size / values->shape[0]))
        return fall_back(&call);
    size_t size = (size_t)(values->size / values->shape[0] * values->view.itemsize);
    run(&call, out->size);
    for (Py_ssize_t i = 0; i < rows->size; i++) {
        int64_t row = ((int64_t *)rows->data)[i];
        row = row < 0 ? 0 : row < values->shape[0] ? row : values->shape[0] - 1;
        memcpy(out->data + (size_t)i * size, values->data + (size_t)row * size, size);
    }
    return finish(&call);
}

/* cast(x, out) */
static PyObject *cast(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 2);
    Array *x = array(&call, 0), *out = output(&call, 1);
    want(&call, x->is_contiguous && out->is_contiguous && x->size == out->size);
    want(&call, out->type == 'f' && (x->type == 'd' || x->type == 'B'));
    if (call.unfit)
        return fall_back(&call);
    run(&call, x->size);
    float *to = (float *)out->data;
    if (x->type == 'd') {
        LOOP
        for (Py_ssize_t i = 0; i < x->size; i++)
            to[i] = (float)((double *)x->data)[i];
    } else {
        LOOP
        for (Py_ssize_t i = 0; i < x->size; i++)
            to[i] = (float)((uint8_t *)x->data)[i];
    }
    return finish(&call);
}
