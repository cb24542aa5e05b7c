/* Sums over rows: the gradients of biases, by themselves and with those of activations; means of
   channels. */

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
        column_sums_loop_f32(NULL, (float *)x->data, rows, columns, (float *)out->data);
    else
        column_sums_loop_f64(NULL, (double *)x->data, rows, columns, (double *)out->data);
    return finish(&call);
}

/* activation_backward(activation, x, y, dy, dx, sums) */
static PyObject *activation_backward(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                     PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 6);
    enum Activation kind = activation(&call, 0);
    Array *x = array(&call, 1), *y = array(&call, 2), *dy = array(&call, 3), *dx = output(&call, 4);
    Array *sums = optional_output(&call, 5);
    want(&call, are_real(&call) && y->size == x->size && dy->size == x->size);
    want(&call, dx->size == x->size && (x->type == 'f' || has_double(kind)));
    want(&call, sums == NULL || (sums->size > 0 && x->shape[x->axes - 1] == sums->size));
    if (call.unfit)
        return fall_back(&call);
    Py_ssize_t columns = sums == NULL ? 1 : sums->size, rows = x->size / columns;
    run(&call, x->size);
    if (x->type == 'f') {
        Slopes_f32 of = {kind, (float *)x->data, (float *)y->data, (float *)dy->data};
        if (sums == NULL)
            deactivate_f32(kind, of.x, of.y, of.dy, (float *)dx->data, x->size);
        else
            column_sums_loop_f32(&of, (float *)dx->data, rows, columns, (float *)sums->data);
    } else {
        Slopes_f64 of = {kind, (double *)x->data, (double *)y->data, (double *)dy->data};
        if (sums == NULL)
            deactivate_f64(kind, of.x, of.y, of.dy, (double *)dx->data, x->size);
        else
            column_sums_loop_f64(&of, (double *)dx->data, rows, columns, (double *)sums->data);
    }
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
            column_sums_loop_f32(NULL, (float *)x->data + from, rows, columns,
                                 (float *)out->data + to);
        else
            column_sums_loop_f64(NULL, (double *)x->data + from, rows, columns,
                                 (double *)out->data + to);
    }
    return finish(&call);
}
