/* Depthwise convolutions with one kernel for each channel. */

enum { MOST_TAPS = 16 }; /* along an axis */

/* The windows that hold a cell of an axis, and the taps under which they do. */
typedef struct {
    int count;
    int tap[MOST_TAPS];
    int window[MOST_TAPS];
} Holders;

static Holders holders(const Axis *axis, Py_ssize_t at)
{
    Holders found = {.count = 0};
    for (Py_ssize_t tap = 0; tap < axis->kernel; tap++) {
        Py_ssize_t start = at + axis->before - tap * axis->dilation;
        Py_ssize_t window = axis->stride == 1 ? start : start / axis->stride;
        if (start < 0 || window * axis->stride != start || window >= axis->windows)
            continue;
        found.tap[found.count] = (int)tap;
        found.window[found.count] = (int)window;
        found.count++;
    }
    return found;
}

/* The windows of a row whose tap is a real cell. */
static void reaching(const Axis *axis, Py_ssize_t tap, Py_ssize_t *first, Py_ssize_t *end)
{
    Py_ssize_t offset = tap * axis->dilation - axis->before, last = axis->size - 1 - offset;
    if (axis->stride == 1) { /* divisions would take as long as the copy */
        *first = offset >= 0 ? 0 : -offset;
        *end = last < 0 ? 0 : last + 1;
    } else {
        *first = offset >= 0 ? 0 : (axis->stride - 1 - offset) / axis->stride;
        *end = last < 0 ? 0 : last / axis->stride + 1;
    }
    *end = *end < axis->windows ? *end : axis->windows;
    *first = *first < *end ? *first : *end;
}

#define LOOPS "depthwise_loops.h"
#include "both_types.h"

/* The windows over what comes out, one for each cell, that hold the windows that hold the cell. */
static Axis mirrored(const Axis *axis)
{
    Axis back = *axis;
    back.size = axis->windows;
    back.windows = axis->size;
    back.before = (axis->kernel - 1) * axis->dilation - axis->before;
    return back;
}

/* Whether the arrays are images, a kernel for each of their channels, and what comes out. */
static int are_depthwise(const Array *x, const Array *kernel, const Array *y, const Windows *w)
{
    return are_pooled(x, y, w) && is_real(kernel) && kernel->type == x->type && kernel->axes == 4 &&
           kernel->shape[0] == w->rows.kernel && kernel->shape[1] == w->columns.kernel &&
           kernel->shape[2] == x->shape[3] && kernel->shape[3] == 1 &&
           w->rows.kernel <= MOST_TAPS && w->columns.kernel <= MOST_TAPS;
}

/* depthwise(x, kernel, windows, y, scratch) */
static PyObject *depthwise(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 5);
    Array *x = array(&call, 0), *kernel = array(&call, 1), *y = output(&call, 3);
    Windows w = windows(&call, 2);
    if (call.unfit || !are_depthwise(x, kernel, y, &w))
        return fall_back(&call);
    run(&call, y->size);
    if (x->type == 'f')
        depthwise_loop_f32((float *)x->data, (float *)kernel->data, &w, 0, x->shape[0],
                           x->shape[3], (float *)y->data);
    else
        depthwise_loop_f64((double *)x->data, (double *)kernel->data, &w, 0, x->shape[0],
                           x->shape[3], (double *)y->data);
    return finish(&call);
}

/* depthwise_backward(dy, kernel, windows, dx, scratch) */
static PyObject *depthwise_backward(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                    PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 5);
    Array *dy = array(&call, 0), *kernel = array(&call, 1), *dx = output(&call, 3);
    Windows w = windows(&call, 2);
    if (call.unfit || !are_depthwise(dx, kernel, dy, &w))
        return fall_back(&call);
    if (w.rows.stride == 1 && w.columns.stride == 1) {
        Windows back = {mirrored(&w.rows), mirrored(&w.columns)};
        run(&call, dx->size);
        if (dx->type == 'f')
            depthwise_loop_f32((float *)dy->data, (float *)kernel->data, &back, 1, dx->shape[0],
                               dx->shape[3], (float *)dx->data);
        else
            depthwise_loop_f64((double *)dy->data, (double *)kernel->data, &back, 1, dx->shape[0],
                               dx->shape[3], (double *)dx->data);
        return finish(&call);
    }
    Holders *columns = PyMem_RawMalloc((size_t)w.columns.size * sizeof *columns);
    if (columns == NULL)
        return fall_back(&call);
    for (Py_ssize_t column = 0; column < w.columns.size; column++)
        columns[column] = holders(&w.columns, column);
    run(&call, dx->size);
    if (dx->type == 'f')
        depthwise_back_loop_f32((float *)dy->data, (float *)kernel->data, &w, dx->shape[0],
                                dx->shape[3], columns, (float *)dx->data);
    else
        depthwise_back_loop_f64((double *)dy->data, (double *)kernel->data, &w, dx->shape[0],
                                dx->shape[3], columns, (double *)dx->data);
    PyMem_RawFree(columns);
    return finish(&call);
}

/* depthwise_slope(x, dy, windows, slope, scratch) */
static PyObject *depthwise_slope(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                 PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 5);
    Array *x = array(&call, 0), *dy = array(&call, 1), *slope = output(&call, 3);
    Windows w = windows(&call, 2);
    if (call.unfit || !are_depthwise(x, slope, dy, &w))
        return fall_back(&call);
    void *one = PyMem_RawMalloc((size_t)slope->view.len + 1);
    if (one == NULL)
        return fall_back(&call);
    run(&call, x->size);
    if (x->type == 'f')
        depthwise_slope_loop_f32((float *)x->data, (float *)dy->data, &w, x->shape[0],
                                 x->shape[3], one, (float *)slope->data);
    else
        depthwise_slope_loop_f64((double *)x->data, (double *)dy->data, &w, x->shape[0],
                                 x->shape[3], one, (double *)slope->data);
    PyMem_RawFree(one);
    return finish(&call);
}
