/* Batch and layer normalisation; the formulas are in chainrule/kernels/normalization.py. */

#define LOOPS "normalization_loops.h"
#include "both_types.h"

/* The memory of an optional array. */
static void *data_of(const Array *a)
{
    return a == NULL ? NULL : a->data;
}

static int is_vector(const Array *a, Py_ssize_t size)
{
    return a == NULL || a->size == size;
}

/* layer_norm(x, gamma, beta, epsilon, y, mean, rstd) */
static PyObject *layer_norm(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 7);
    Array *x = array(&call, 0), *gamma = optional(&call, 1), *beta = optional(&call, 2);
    Array *y = output(&call, 4), *mean = output(&call, 5), *rstd = output(&call, 6);
    double epsilon = number(&call, 3, "epsilon");
    want(&call, are_real(&call) && x->axes == 2 && y->size == x->size && x->size > 0);
    if (call.unfit)
        return fall_back(&call);
    Py_ssize_t rows = x->shape[0], columns = x->shape[1];
    if (!is_vector(gamma, columns) || !is_vector(beta, columns) || mean->size != rows ||
        rstd->size != rows)
        return fall_back(&call);
    run(&call, x->size);
    if (x->type == 'f')
        layer_norm_loop_f32((float *)x->data, data_of(gamma), data_of(beta), (float)epsilon, rows,
                            columns, (float *)y->data, (float *)mean->data, (float *)rstd->data);
    else
        layer_norm_loop_f64((double *)x->data, data_of(gamma), data_of(beta), epsilon, rows,
                            columns, (double *)y->data, (double *)mean->data,
                            (double *)rstd->data);
    return finish(&call);
}

/* layer_norm_backward(dy, x, gamma, mean, rstd, dx, dgamma, dbeta) */
static PyObject *layer_norm_backward(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                     PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 8);
    Array *dy = array(&call, 0), *x = array(&call, 1), *gamma = optional(&call, 2);
    Array *mean = array(&call, 3), *rstd = array(&call, 4), *dx = optional_output(&call, 5);
    Array *dgamma = output(&call, 6), *dbeta = output(&call, 7);
    want(&call, are_real(&call) && x->axes == 2 && dy->size == x->size && x->size > 0);
    want(&call, is_vector(dx, x->size));
    if (call.unfit)
        return fall_back(&call);
    Py_ssize_t rows = x->shape[0], columns = x->shape[1];
    if (!is_vector(gamma, columns) || mean->size != rows || rstd->size != rows ||
        dgamma->size != columns || dbeta->size != columns)
        return fall_back(&call);
    run(&call, x->size);
    if (x->type == 'f')
        layer_norm_back_loop_f32((float *)dy->data, (float *)x->data, data_of(gamma),
                                 (float *)mean->data, (float *)rstd->data, rows, columns,
                                 data_of(dx), (float *)dgamma->data, (float *)dbeta->data);
    else
        layer_norm_back_loop_f64((double *)dy->data, (double *)x->data, data_of(gamma),
                                 (double *)mean->data, (double *)rstd->data, rows, columns,
                                 data_of(dx), (double *)dgamma->data, (double *)dbeta->data);
    return finish(&call);
}

/* batch_norm_moments(x, weights, mean, variance), where all rows count */
static PyObject *batch_norm_moments(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                    PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 4);
    Array *x = array(&call, 0), *mean = output(&call, 2), *variance = output(&call, 3);
    want(&call, object(&call, 1, NULL) == Py_None && are_real(&call) && x->axes == 2);
    if (call.unfit || mean->size != x->shape[1] || variance->size != x->shape[1])
        return fall_back(&call);
    run(&call, x->size);
    if (x->type == 'f')
        moments_loop_f32((float *)x->data, x->shape[0], x->shape[1], (float *)mean->data,
                         (float *)variance->data);
    else
        moments_loop_f64((double *)x->data, x->shape[0], x->shape[1], (double *)mean->data,
                         (double *)variance->data);
    return finish(&call);
}

/* batch_norm(x, gamma, beta, mean, rstd, activation, y) */
static PyObject *batch_norm(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 7);
    Array *x = array(&call, 0), *gamma = optional(&call, 1), *beta = optional(&call, 2);
    Array *mean = array(&call, 3), *rstd = array(&call, 4), *y = output(&call, 6);
    enum Activation kind = activation(&call, 5);
    want(&call, are_real(&call) && x->axes == 2 && y->size == x->size);
    want(&call, x->type == 'f' || has_double(kind));
    if (call.unfit)
        return fall_back(&call);
    Py_ssize_t rows = x->shape[0], columns = x->shape[1];
    if (!is_vector(gamma, columns) || !is_vector(beta, columns) || mean->size != columns ||
        rstd->size != columns)
        return fall_back(&call);
    run(&call, x->size);
    if (x->type == 'f')
        batch_norm_loop_f32(kind, (float *)x->data, data_of(gamma), data_of(beta),
                            (float *)mean->data, (float *)rstd->data, rows, columns,
                            (float *)y->data);
    else
        batch_norm_loop_f64(kind, (double *)x->data, data_of(gamma), data_of(beta),
                            (double *)mean->data, (double *)rstd->data, rows, columns,
                            (double *)y->data);
    return finish(&call);
}

/* batch_norm_backward(dy, x, gamma, beta, mean, rstd, activation, dx, dgamma, dbeta, *, moments,
   weights), where all rows count */
static PyObject *batch_norm_backward(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                     PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 12);
    Array *dy = array(&call, 0), *x = array(&call, 1), *gamma = optional(&call, 2);
    Array *beta = optional(&call, 3), *mean = array(&call, 4), *rstd = array(&call, 5);
    enum Activation kind = activation(&call, 6);
    Array *dx = optional_output(&call, 7), *dgamma = output(&call, 8), *dbeta = output(&call, 9);
    PyObject *moments = object(&call, 10, "moments"), *weights = object(&call, 11, "weights");
    want(&call, n == 10 && (moments == Py_True || moments == Py_False) && weights == Py_None);
    want(&call, are_real(&call) && x->axes == 2 && dy->size == x->size && is_vector(dx, x->size));
    want(&call, x->type == 'f' || has_double(kind));
    if (call.unfit)
        return fall_back(&call);
    Py_ssize_t rows = x->shape[0], columns = x->shape[1];
    if (!is_vector(gamma, columns) || !is_vector(beta, columns) || mean->size != columns ||
        rstd->size != columns || dgamma->size != columns || dbeta->size != columns)
        return fall_back(&call);
    int own = moments == Py_True;
    run(&call, x->size);
    if (x->type == 'f')
        batch_norm_back_loop_f32(kind, (float *)dy->data, (float *)x->data, data_of(gamma),
                                 data_of(beta), (float *)mean->data, (float *)rstd->data, rows,
                                 columns, own, data_of(dx), (float *)dgamma->data,
                                 (float *)dbeta->data);
    else
        batch_norm_back_loop_f64(kind, (double *)dy->data, (double *)x->data, data_of(gamma),
                                 data_of(beta), (double *)mean->data, (double *)rstd->data, rows,
                                 columns, own, data_of(dx), (double *)dgamma->data,
                                 (double *)dbeta->data);
    return finish(&call);
}
