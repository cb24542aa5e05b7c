/* Sums over rows: the gradients of biases. */

enum { SUM_ROWS = 128 };

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
