/* Pooling: one number of each window and channel. */

enum { STRIP = 8 }; /* channels */

/* A window, and which of its taps are real cells. */
typedef struct {
    Py_ssize_t row, column, top, bottom, left, right;
} Reach;

INLINE Reach reach(const Windows *w, Py_ssize_t row, Py_ssize_t column)
{
    Reach found = {
        row, column,
        first_tap(&w->rows, row), end_tap(&w->rows, row),
        first_tap(&w->columns, column), end_tap(&w->columns, column),
    };
    return found;
}

/* The elements from one image, row and column to the next. */
typedef struct {
    Py_ssize_t image, row, column;
} Strides;

/* The steps of contiguous images. */
INLINE Strides packed(const Windows *w, Py_ssize_t channels)
{
    Strides steps = {w->rows.size * w->columns.size * channels, w->columns.size * channels, channels};
    return steps;
}

/* Whether each cell of an axis is in one window. */
INLINE int tiles(const Axis *axis)
{
    return axis->stride == axis->kernel && axis->dilation == 1 && axis->before == 0 &&
           axis->windows * axis->stride == axis->size;
}

#define LOOPS "pooling_loops.h"
#include "both_types.h"

/* Whether the arrays are contiguous images and one number for each of their windows. */
static int are_pooled(const Array *x, const Array *y, const Windows *w)
{
    return is_real(x) && is_real(y) && x->type == y->type && x->axes == 4 && y->axes == 4 &&
           are_images(x, y->shape[0], w->rows.size, w->columns.size, y->shape[3]) &&
           are_images(y, x->shape[0], w->rows.windows, w->columns.windows, x->shape[3]);
}

/* Whether an array of bytes tells the tap of each number, of enough channels for a vector: of fewer
   numpy takes many windows at once. */
static int are_places(const Array *place, const Array *y, const Windows *w)
{
    return y->shape[3] >= STRIP && place->type == 'B' && place->is_contiguous && place->size == y->size &&
           w->rows.kernel * w->columns.kernel <= 256;
}

/* max_pool(x, windows, y, place) */
static PyObject *max_pool(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 4);
    Array *x = array(&call, 0), *y = output(&call, 2), *place = output(&call, 3);
    Windows w = windows(&call, 1);
    if (call.unfit || !are_pooled(x, y, &w) || !are_places(place, y, &w))
        return fall_back(&call);
    run(&call, x->size);
    if (x->type == 'f')
        max_pool_loop_f32((float *)x->data, x->shape[0], x->shape[3], &w, (float *)y->data,
                          (uint8_t *)place->data);
    else
        max_pool_loop_f64((double *)x->data, x->shape[0], x->shape[3], &w, (double *)y->data,
                          (uint8_t *)place->data);
    return finish(&call);
}

/* max_pool_backward(dy, windows, place, dx) */
static PyObject *max_pool_backward(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                   PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 4);
    Array *dy = array(&call, 0), *place = array(&call, 2), *dx = output(&call, 3);
    Windows w = windows(&call, 1);
    if (call.unfit || !are_pooled(dx, dy, &w) || !are_places(place, dy, &w))
        return fall_back(&call);
    run(&call, dx->size);
    if (dx->type == 'f')
        max_pool_back_loop_f32((float *)dy->data, dx->shape[0], dx->shape[3], &w,
                               (uint8_t *)place->data, (float *)dx->data);
    else
        max_pool_back_loop_f64((double *)dy->data, dx->shape[0], dx->shape[3], &w,
                               (uint8_t *)place->data, (double *)dx->data);
    return finish(&call);
}

/* avg_pool(x, windows, y) */
static PyObject *avg_pool(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 3);
    Array *x = array(&call, 0), *y = output(&call, 2);
    Windows w = windows(&call, 1);
    if (call.unfit || !are_pooled(x, y, &w))
        return fall_back(&call);
    run(&call, x->size);
    if (x->type == 'f')
        avg_pool_loop_f32((float *)x->data, x->shape[0], x->shape[3], &w, (float *)y->data);
    else
        avg_pool_loop_f64((double *)x->data, x->shape[0], x->shape[3], &w, (double *)y->data);
    return finish(&call);
}

/* avg_pool_backward(dy, windows, dx, scaled) */
static PyObject *avg_pool_backward(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                   PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 4);
    Array *dy = array(&call, 0), *dx = output(&call, 2);
    Windows w = windows(&call, 1);
    if (call.unfit || !are_pooled(dx, dy, &w))
        return fall_back(&call);
    run(&call, dx->size);
    if (dx->type == 'f')
        avg_pool_back_loop_f32((float *)dy->data, dx->shape[0], dx->shape[3], &w,
                               (float *)dx->data);
    else
        avg_pool_back_loop_f64((double *)dy->data, dx->shape[0], dx->shape[3], &w,
                               (double *)dx->data);
    return finish(&call);
}
