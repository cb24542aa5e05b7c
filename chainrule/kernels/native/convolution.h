/* Convolutions of float32 images and their gradients. */

static Line line_of(const Axis *axis)
{
    Line line = {axis->windows, 0, 1, 0, axis->stride, axis->dilation, axis->kernel, 0, 1};
    return line;
}

static Images images_of(const Array *a)
{
    Images found = {(const float *)a->data, a->shape[0], a->shape[3], a->shape[1], a->shape[2],
                    0, 0, a->shape[1], a->shape[2]};
    return found;
}

/* x, padded so far that every tap of every window is there. */
static Images under(const Array *x, const Windows *w)
{
    Images found = images_of(x);
    Py_ssize_t below = (w->rows.windows - 1) * w->rows.stride - w->rows.before +
                       (w->rows.kernel - 1) * w->rows.dilation + 1;
    Py_ssize_t right = (w->columns.windows - 1) * w->columns.stride - w->columns.before +
                       (w->columns.kernel - 1) * w->columns.dilation + 1;
    found.top = w->rows.before;
    found.left = w->columns.before;
    found.height = found.top + (below > found.rows ? below : found.rows);
    found.width = found.left + (right > found.columns ? right : found.columns);
    return found;
}

/* The windows before the first one and after the last that would hold a cell, were they there. */
static void surplus(const Axis *axis, Py_ssize_t *before, Py_ssize_t *after)
{
    Py_ssize_t taps = (axis->kernel + axis->stride - 1) / axis->stride;
    Py_ssize_t lead = (taps - 1) * axis->dilation - axis->before / axis->stride;
    Py_ssize_t last = (axis->size - 1 + axis->before) / axis->stride;
    *before = lead > 0 ? lead : 0;
    *after = last >= axis->windows ? last - axis->windows + 1 : 0;
}

/* dy, padded with such windows. */
static Images around(const Array *dy, const Windows *w)
{
    Images found = images_of(dy);
    Py_ssize_t below, right;
    surplus(&w->rows, &found.top, &below);
    surplus(&w->columns, &found.left, &right);
    found.height += found.top + below;
    found.width += found.left + right;
    return found;
}

/* The cells of one phase of an axis: those whose windows hold them under every stride-th tap. */
static Line phase_of(const Axis *axis, Py_ssize_t phase, Py_ssize_t lead)
{
    Py_ssize_t first = (axis->before - phase + axis->stride - 1) / axis->stride; /* window */
    Py_ssize_t into = first * axis->stride + phase - axis->before;
    Py_ssize_t cells = into < axis->size ? (axis->size - 1 - into) / axis->stride + 1 : 0;
    Py_ssize_t taps = phase < axis->kernel ? (axis->kernel - 1 - phase) / axis->stride + 1 : 0;
    Line line = {cells, into, axis->stride, lead + first, 1, -axis->dilation, taps, phase,
                 axis->stride};
    return line;
}

/* Whether the arrays are float32: images, a kernel over some or all of their channels, what comes
   out of each window, and scratch memory. */
static int are_convolved(const Array *x, const Array *kernel, const Array *y, const Array *work,
                         const Windows *w)
{
    return x->type == 'f' && kernel->type == 'f' && kernel->is_contiguous && kernel->axes == 4 &&
           y->type == 'f' && x->axes == 4 && y->axes == 4 && x->is_contiguous && y->is_contiguous &&
           are_images(x, y->shape[0], w->rows.size, w->columns.size, x->shape[3]) &&
           are_images(y, x->shape[0], w->rows.windows, w->columns.windows, y->shape[3]) &&
           work->type == 'f' && work->is_contiguous &&
           kernel->shape[0] == w->rows.kernel && kernel->shape[1] == w->columns.kernel &&
           kernel->shape[2] > 0 && x->shape[3] % kernel->shape[2] == 0 &&
           kernel->shape[3] == y->shape[3] && (w->rows.stride == 1 || w->rows.dilation == 1) &&
           (w->columns.stride == 1 || w->columns.dilation == 1) && x->size > 0 && y->size > 0;
}

static Kernels kernels_of(const Array *kernel, const Array *x)
{
    Py_ssize_t channels = kernel->shape[2], filters = kernel->shape[3];
    Py_ssize_t groups = x->shape[3] / channels;
    Kernels found = {(const float *)kernel->data, groups, channels, filters / groups,
                     kernel->shape[1] * channels * filters, channels * filters, filters, 1,
                     filters / groups};
    return found;
}

/* convolve(x, kernel, windows, y, work) */
static PyObject *convolve(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 5);
    Array *x = array(&call, 0), *kernel = array(&call, 1), *y = output(&call, 3);
    Array *scratch = output(&call, 4);
    Windows w = windows(&call, 2);
    if (call.unfit || !are_convolved(x, kernel, y, scratch, &w))
        return fall_back(&call);
    Images from = under(x, &w), to = images_of(y);
    Kernels k = kernels_of(kernel, x);
    Py_ssize_t depth = w.rows.kernel * w.columns.kernel * k.read;
    Line rows = line_of(&w.rows), columns = line_of(&w.columns);
    int fast = suits_winograd(&w, &k);
    Work work = fast ? winograd_share(scratch, &from, &k)
                     : share(scratch, &from, depth, k.groups * depth * in_panels(k.written), 0);
    if (work.block == 0)
        return fall_back(&call);
    run(&call, y->size * depth / 8);
    clear(&from, &work);
    if (fast)
        winograd_sweep(&from, &k, &rows, &columns, &work, (float *)y->data);
    else
        sweep(&from, &k, &rows, &columns, &work, &to, (float *)y->data);
    return finish(&call);
}

/* convolve_input_gradient(dy, kernel, windows, dx, work) */
static PyObject *convolve_input_gradient(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                         PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 5);
    Array *dy = array(&call, 0), *kernel = array(&call, 1), *dx = output(&call, 3);
    Array *scratch = output(&call, 4);
    Windows w = windows(&call, 2);
    if (call.unfit || !are_convolved(dx, kernel, dy, scratch, &w))
        return fall_back(&call);
    Images from = around(dy, &w), to = images_of(dx);
    Kernels k = kernels_of(kernel, dx), turned = k;
    turned.read = k.written, turned.written = k.read;
    turned.of_read = k.of_written, turned.of_written = k.of_read;
    Py_ssize_t depth = w.rows.kernel * w.columns.kernel * turned.read;
    Line rows = phase_of(&w.rows, 0, from.top), columns = phase_of(&w.columns, 0, from.left);
    int fast = suits_winograd(&w, &turned);
    Work work = fast ? winograd_share(scratch, &from, &turned)
                     : share(scratch, &from, depth, k.groups * depth * in_panels(turned.written), 0);
    if (work.block == 0)
        return fall_back(&call);
    run(&call, dx->size * depth / 8);
    clear(&from, &work);
    if (fast)
        winograd_sweep(&from, &turned, &rows, &columns, &work, (float *)dx->data);
    for (Py_ssize_t i = 0; !fast && i < w.rows.stride; i++)
        for (Py_ssize_t j = 0; j < w.columns.stride; j++) {
            rows = phase_of(&w.rows, i, from.top);
            columns = phase_of(&w.columns, j, from.left);
            sweep(&from, &turned, &rows, &columns, &work, &to, (float *)dx->data);
        }
    return finish(&call);
}

/* convolve_kernel_gradient(x, dy, windows, slope, work) */
static PyObject *convolve_kernel_gradient(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                          PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 5);
    Array *x = array(&call, 0), *dy = array(&call, 1), *slope = output(&call, 3);
    Array *scratch = output(&call, 4);
    Windows w = windows(&call, 2);
    if (call.unfit || !are_convolved(x, slope, dy, scratch, &w))
        return fall_back(&call);
    Images from = under(x, &w);
    Kernels k = kernels_of(slope, x);
    Py_ssize_t depth = w.rows.kernel * w.columns.kernel * k.read;
    Line rows = line_of(&w.rows), columns = line_of(&w.columns);
    int fast = suits_winograd(&w, &k);
    Work work = fast ? winograd_share(scratch, &from, &k)
                     : share(scratch, &from, depth, is_narrow(&k) ? slope->size : 0, 0);
    if (work.block == 0)
        return fall_back(&call);
    run(&call, dy->size * depth / 8);
    clear(&from, &work);
    if (fast)
        winograd_learn(&from, &k, &rows, &columns, (const float *)dy->data, &work,
                       (float *)slope->data);
    else
        learn(&from, &rows, &columns, &k, (const float *)dy->data, &work, (float *)slope->data);
    return finish(&call);
}
