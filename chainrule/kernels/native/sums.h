/* Sums over rows: the gradients of biases, means of channels. */

enum { SUM_ROWS = 128 };

/* Whether an array holds so many running sums, which are in double precision. */
static int are_sums(const Array *a, Py_ssize_t size)
{
    return a->type == 'd' && a->is_contiguous && a->size == size;
}

#define LOOPS "sum_loops.h"
#include "both_types.h"

/* column_sums(x, out) */
static PyObject *column_sums(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 2);
    Array *x = array(&call, 0), *out = output(&call, 1);
    want(&call, are_real(&call) && out->size > 0 && x->axes >= out->axes);
    for (int axis = 1; !call.unfit && axis <= out->axes; axis++)
        want(&call, x->shape[x->axes - axis] == out->shape[out->axes - axis]);
    if (call.unfit)
        return fall_back(&call);
    Py_ssize_t columns = out->size, rows = x->size / columns;
    run(&call, x->size);
    if (x->type == 'f')
        column_sums_loop_f32((float *)x->data, rows, columns, (float *)out->data);
    else
        column_sums_loop_f64((double *)x->data, rows, columns, (double *)out->data);
    return finish(&call);
}

/* middle_sums(x, out) */
static PyObject *middle_sums(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 2);
    Array *x = array(&call, 0), *out = output(&call, 1);
    want(&call, are_real(&call) && x->axes == 3 && out->size == x->shape[0] * x->shape[2]);
    if (call.unfit || out->size == 0)
        return fall_back(&call);
    Py_ssize_t rows = x->shape[1], columns = x->shape[2];
    run(&call, x->size);
    for (Py_ssize_t each = 0; each < x->shape[0]; each++) {
        Py_ssize_t from = each * rows * columns, to = each * columns;
        if (x->type == 'f')
            column_sums_loop_f32((float *)x->data + from, rows, columns, (float *)out->data + to);
        else
            column_sums_loop_f64((double *)x->data + from, rows, columns, (double *)out->data + to);
    }
    return finish(&call);
}
