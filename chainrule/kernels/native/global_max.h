/* The largest number of each channel of a sequence. */

#define LOOPS "global_max_loops.h"
#include "both_types.h"

/* global_max(x, y) */
static PyObject *global_max(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 2);
    Array *x = array(&call, 0), *y = output(&call, 1);
    want(&call, are_real(&call) && x->axes == 3 && x->size > 0);
    want(&call, x->axes == 3 && y->size == x->shape[0] * x->shape[2]);
    if (call.unfit)
        return fall_back(&call);
    run(&call, x->size);
    if (x->type == 'f')
        global_max_loop_f32((float *)x->data, x->shape, (float *)y->data);
    else
        global_max_loop_f64((double *)x->data, x->shape, (double *)y->data);
    return finish(&call);
}

/* global_max_backward(x, y, dy, dx, equal) */
static PyObject *global_max_backward(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                     PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 5);
    Array *x = array(&call, 0), *y = array(&call, 1), *dy = array(&call, 2), *dx = output(&call, 3);
    want(&call, are_real(&call) && x->axes == 3 && x->size > 0 && dx->size == x->size);
    want(&call, x->axes == 3 && y->size == x->shape[0] * x->shape[2] && dy->size == y->size);
    Array *equal = output(&call, 4);
    want(&call, equal->is_contiguous && equal->type == '?' && equal->size == x->size);
    if (call.unfit)
        return fall_back(&call);
    run(&call, x->size);
    if (x->type == 'f')
        global_max_back_loop_f32((float *)x->data, (float *)y->data, (float *)dy->data, x->shape,
                                 (float *)dx->data);
    else
        global_max_back_loop_f64((double *)x->data, (double *)y->data, (double *)dy->data, x->shape,
                                 (double *)dx->data);
    return finish(&call);
}
