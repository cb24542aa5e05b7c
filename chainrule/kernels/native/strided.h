/* Copies, sums and products of arrays of any strides, number by number; what is smaller than out is
   repeated along its axes. Arrays are apart, or the very same. */

enum { MOST_AXES = 8, MOST_OPERANDS = 3 };

/* The way through all elements of an array, out, and of others with it: without axes of one, and
   with neighbours joined where all step from one to the other alike. The last is gone by itself. */
typedef struct {
    int axes, operands;
    Py_ssize_t shape[MOST_AXES];
    Py_ssize_t steps[MOST_OPERANDS][MOST_AXES]; /* bytes */
    char *at[MOST_OPERANDS];                    /* out, and the others */
} Walk;

/* The bytes from one element to the next along an axis of out; NO_STEP, if a does not fit. */
static const Py_ssize_t NO_STEP = PY_SSIZE_T_MIN;

static Py_ssize_t step_along(const Array *a, const Array *out, int axis)
{
    int own = axis - (out->axes - a->axes);
    if (own < 0 || (a->shape[own] == 1 && out->shape[axis] != 1))
        return 0;
    int fits = a->shape[own] == out->shape[axis] && a->strides[own] % a->view.itemsize == 0;
    return fits ? a->strides[own] : NO_STEP;
}

static Walk walk_over(Call *call, const Array *out, const Array *first, const Array *second)
{
    const Array *operands[MOST_OPERANDS] = {out, first, second};
    Walk w = {0};
    while (w.operands < MOST_OPERANDS && operands[w.operands] != NULL) {
        w.at[w.operands] = operands[w.operands]->data;
        want(call, operands[w.operands++]->axes <= out->axes);
    }
    want(call, out->axes <= MOST_AXES);
    for (int axis = 0; !call->unfit && axis < out->axes; axis++) {
        Py_ssize_t size = out->shape[axis], by[MOST_OPERANDS];
        int joins = w.axes > 0;
        for (int k = 0; k < w.operands; k++) {
            by[k] = step_along(operands[k], out, axis);
            want(call, by[k] != NO_STEP);
            joins = joins && w.steps[k][w.axes - 1] == by[k] * size;
        }
        if (size == 1)
            continue;
        w.axes += !joins;
        w.shape[w.axes - 1] = joins ? w.shape[w.axes - 1] * size : size;
        for (int k = 0; k < w.operands; k++)
            w.steps[k][w.axes - 1] = by[k];
    }
    if (w.axes == 0)
        w.shape[w.axes++] = 1;
    return w;
}

/* Go on to the next run of the last axis; 0 after the last one. */
static int next_run(Walk *w, Py_ssize_t *place)
{
    for (int axis = w->axes - 2; axis >= 0; axis--) {
        int ends = ++place[axis] == w->shape[axis];
        Py_ssize_t times = ends ? 1 - w->shape[axis] : 1;
        for (int k = 0; k < w->operands; k++)
            w->at[k] += times * w->steps[k][axis];
        if (!ends)
            return 1;
        place[axis] = 0;
    }
    return 0;
}

#define LOOPS "strided_loops.h"
#include "both_types.h"

static void copy_run(const char *from, Py_ssize_t step, char *to, Py_ssize_t to_step, Py_ssize_t n,
                     Py_ssize_t size)
{
    if (step == size && to_step == size) {
        memmove(to, from, (size_t)(n * size));
        return;
    }
    for (Py_ssize_t i = 0; i < n; i++, from += step, to += to_step) {
        switch (size) {
        case 4: memcpy(to, from, 4); break;
        case 8: memcpy(to, from, 8); break;
        default: memcpy(to, from, (size_t)size);
        }
    }
}

/* copy(x, out) */
static PyObject *copy(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 2);
    Array *x = array(&call, 0), *out = output(&call, 1);
    want(&call, x->type != '\0' && x->type == out->type && x->view.itemsize == out->view.itemsize);
    Walk w = walk_over(&call, out, x, NULL);
    if (call.unfit)
        return fall_back(&call);
    run(&call, out->size);
    Py_ssize_t place[MOST_AXES] = {0}, size = out->view.itemsize;
    int last = w.axes - 1;
    if (out->size > 0)
        do
            copy_run(w.at[1], w.steps[1][last], w.at[0], w.steps[0][last], w.shape[last], size);
        while (next_run(&w, place));
    return finish(&call);
}

/* fill(out, value) */
static PyObject *fill_numbers(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 2);
    Array *out = output(&call, 0);
    double value = number(&call, 1, "value");
    want(&call, out->type == 'f' || out->type == 'd');
    Walk w = walk_over(&call, out, NULL, NULL);
    if (call.unfit)
        return fall_back(&call);
    run(&call, out->size);
    (out->type == 'f' ? fill_all_f32 : fill_all_f64)(&w, value, out->size);
    return finish(&call);
}

/* One of add(a, b, out) and multiply(a, b, out), whose b may be a number. */
static PyObject *combine(Call *call, int is_product)
{
    Array *a = array(call, 0), *out = output(call, 2);
    PyObject *given = object(call, 1, NULL);
    int by_number = given != NULL && PyFloat_Check(given);
    Array *b = by_number ? NULL : array(call, 1);
    double value = by_number ? number(call, 1, NULL) : 0.0;
    want(call, out->type == 'f' || out->type == 'd');
    want(call, a->type == out->type && (b == NULL || b->type == out->type));
    Walk w = walk_over(call, out, a, b);
    if (call->unfit)
        return fall_back(call);
    run(call, out->size);
    (out->type == 'f' ? combine_all_f32 : combine_all_f64)(&w, value, is_product, out->size);
    return finish(call);
}

/* add(a, b, out) */
static PyObject *add(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 3);
    return combine(&call, 0);
}

/* multiply(a, b, out) */
static PyObject *multiply_numbers(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                  PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 3);
    return combine(&call, 1);
}
