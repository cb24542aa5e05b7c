/* Elementwise activations, with a bias before them. */

#define LEAKY_SLOPE 0.2 /* as in chainrule/kernels/elementwise.py */

enum { TILE = 256 };

INLINE float elu_f(float x) { return x < 0 ? expm1_f(x) : x; }
INLINE float elu_slope(float x, float y) { (void)x; return y < 0 ? y + 1 : 1; }
INLINE float gelu_f(float x) { return x * normal_f(x).distribution; }
INLINE float sigmoid_slope(float x, float y) { (void)x; return (1 - y) * y; }
INLINE float tanh_slope(float x, float y) { (void)x; return 1 - y * y; }
INLINE float softplus_slope(float x, float y) { (void)x; return -expm1_f(-y); }
INLINE float swish_f(float x) { return x * sigmoid_f(x); }

INLINE float gelu_slope(float x, float y)
{
    (void)y;
    Normal at = normal_f(x);
    return at.distribution + x * at.density;
}

INLINE float softplus_f(float x)
{
    float size = x < 0 ? -x : x;
    return (x < 0 ? 0 : x) + log1p_f(exp_f(-size));
}

INLINE float swish_slope(float x, float y)
{
    (void)y; /* 1 - y, of a large y, would have lost the 1 */
    float s = sigmoid_f(x);
    return s * (1 + x * (1 - s));
}

#define LOOPS "activation_loops.h"
#include "both_types.h"

static int has_double(enum Activation kind)
{
    return kind == LINEAR || kind == RELU || kind == LEAKY_RELU;
}

/* bias_activation(x, bias, activation, y), or bias_activation_slope of the same. */
static PyObject *activate_all(Call *call, int keeps_slope)
{
    Array *x = array(call, 0), *bias = optional(call, 1), *y = output(call, 3);
    enum Activation kind = activation(call, 2);
    want(call, are_real(call) && x->size == y->size && x->axes > 0);
    want(call, x->type == 'f' || has_double(kind));
    want(call, bias == NULL || bias->axes == 1);
    want(call, !x->view.readonly || (bias == NULL && !keeps_slope));
    if (call->unfit)
        return fall_back(call);
    Py_ssize_t columns = bias == NULL ? x->size : bias->size;
    if (bias != NULL && x->shape[x->axes - 1] != columns)
        return fall_back(call);
    Py_ssize_t rows = columns == 0 ? 0 : x->size / columns;
    void *added = bias == NULL ? NULL : bias->data;
    run(call, x->size);
    if (x->type == 'f')
        (keeps_slope ? activate_slope_rows_f32 : activate_rows_f32)(
            kind, (float *)x->data, added, (float *)y->data, rows, columns);
    else
        (keeps_slope ? activate_slope_rows_f64 : activate_rows_f64)(
            kind, (double *)x->data, added, (double *)y->data, rows, columns);
    return finish(call);
}

static PyObject *bias_activation(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                 PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 4);
    return activate_all(&call, 0);
}

static PyObject *bias_activation_slope(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                       PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 4);
    return activate_all(&call, 1);
}
