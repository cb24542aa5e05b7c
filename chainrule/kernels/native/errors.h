/* Squared errors: the loss with its gradient, and the sums of a regression's metrics. */

#define LOOPS "error_loops.h"
#include "both_types.h"

/* mean_squared_error(y, target, dy, loss) */
static PyObject *mean_squared_error(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                    PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 4);
    Array *y = array(&call, 0), *target = array(&call, 1), *dy = output(&call, 2);
    want(&call, are_vectors(&call) && y->size > 0);
    Array *loss = output(&call, 3);
    want(&call, are_sums(loss, 1));
    if (call.unfit)
        return fall_back(&call);
    run(&call, y->size);
    double *mean = (double *)loss->data;
    if (y->type == 'f')
        *mean = squared_error_loop_f32((float *)y->data, (float *)target->data, y->size,
                                      (float *)dy->data);
    else
        *mean = squared_error_loop_f64((double *)y->data, (double *)target->data, y->size,
                                      (double *)dy->data);
    return finish(&call);
}

/* add_errors(y, target, work, sums) */
static PyObject *add_errors(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 4);
    Array *y = array(&call, 0), *target = array(&call, 1);
    (void)array(&call, 2); /* the reference's scratch */
    want(&call, are_vectors(&call) && y->axes == 2);
    Array *sums = output(&call, 3);
    want(&call, y->axes == 2 && are_sums(sums, 1 + 4 * y->shape[1]));
    if (call.unfit)
        return fall_back(&call);
    Py_ssize_t rows = y->shape[0], columns = y->shape[1];
    double *into = (double *)sums->data;
    run(&call, y->size);
    *into++ += (double)rows;
    for (Py_ssize_t start = 0; start < columns; start += TILE) {
        if (y->type == 'f')
            add_errors_loop_f32((float *)y->data, (float *)target->data, rows, columns, start, into);
        else
            add_errors_loop_f64((double *)y->data, (double *)target->data, rows, columns, start, into);
    }
    return finish(&call);
}
