/* Convolutions: windows of images to the columns of a matrix, and their gradients back. */

/* The elements from one image, row and column to the next. */
typedef struct {
    Py_ssize_t image, row, column;
} Strides;

static Strides steps_of(const Array *images)
{
    Py_ssize_t size = images->view.itemsize;
    Strides steps = {images->strides[0] / size, images->strides[1] / size, images->strides[2] / size};
    return steps;
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

#define LOOPS "convolution_loops.h"
#include "both_types.h"

/* Whether the arrays are images and the columns of their windows. */
static int are_columns(const Array *images, const Array *cols, const Windows *w)
{
    return cols->axes == 6 && is_real(cols) && cols->type == images->type &&
           are_images(images, cols->shape[0], w->rows.size, w->columns.size, cols->shape[5]) &&
           cols->shape[1] == w->rows.windows && cols->shape[2] == w->columns.windows &&
           cols->shape[3] == w->rows.kernel && cols->shape[4] == w->columns.kernel;
}

/* im2col(x, windows, cols, padded): x may be some of the channels of images */
static PyObject *im2col(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 4);
    Array *x = array(&call, 0), *cols = output(&call, 2);
    Windows w = windows(&call, 1);
    if (call.unfit || !are_columns(x, cols, &w))
        return fall_back(&call);
    Strides steps = steps_of(x);
    run(&call, cols->size);
    if (x->type == 'f')
        im2col_loop_f32((float *)x->data, &steps, cols->shape[0], cols->shape[5], &w,
                        (float *)cols->data);
    else
        im2col_loop_f64((double *)x->data, &steps, cols->shape[0], cols->shape[5], &w,
                        (double *)cols->data);
    return finish(&call);
}

/* col2im(cols, windows, images): the images may be some of the channels of others */
static PyObject *col2im(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 3);
    Array *cols = array(&call, 0), *images = output(&call, 2);
    Windows w = windows(&call, 1);
    if (call.unfit || !are_columns(images, cols, &w))
        return fall_back(&call);
    Strides steps = steps_of(images);
    run(&call, cols->size);
    if (images->type == 'f')
        col2im_loop_f32((float *)cols->data, &w, cols->shape[0], cols->shape[5],
                        (float *)images->data, &steps);
    else
        col2im_loop_f64((double *)cols->data, &w, cols->shape[0], cols->shape[5],
                        (double *)images->data, &steps);
    return finish(&call);
}
