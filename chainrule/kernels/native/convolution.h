/* Convolutions of float32 images, multiplied where they lie: no columns are ever made.

   A sweep reads a window of a padded image for each cell that it writes. Forward it reads x. The
   gradient in x is a sweep over dy with the kernel turned: one for each phase of the strides, with
   every stride-th tap. ``work`` takes the kernel in panels, a table of where each tap's channels
   are, and as many padded images as there is room for.
*/

enum { CHUNK = 192 }; /* windows: a multiple of TILE_ROWS */

/* One axis: cell k is written to the cell into + k stride; it reads the padded cells start + k step
   + tap jump, with the kernel's taps number first, first + apart, ... */
typedef struct {
    Py_ssize_t cells, into, stride, start, step, jump, taps, first, apart;
} Line;

/* Contiguous images and the padding before them; the padded size may be the same. */
typedef struct {
    const float *data;
    Py_ssize_t batch, channels, rows, columns, top, left, height, width;
} Images;

/* For each of the groups of channels: so many are read under each tap, so many written. */
typedef struct {
    const float *data;
    Py_ssize_t groups, read, written;
    Py_ssize_t row, tap, of_read, of_written, of_group; /* elements from one to the next */
} Kernels;

/* The parts of the scratch memory. */
typedef struct {
    float *panels, *images;
    Py_ssize_t *depth;
    Py_ssize_t block; /* images at once; 0 if not one fits */
} Work;

static Py_ssize_t padded_size(const Images *x)
{
    return x->height * x->width * x->channels;
}

static int is_padded(const Images *x)
{
    return x->height != x->rows || x->width != x->columns;
}

static Work share(const Array *work, const Images *x, Py_ssize_t depth, Py_ssize_t panels)
{
    int gap = (uintptr_t)work->data % sizeof(Py_ssize_t) != 0;
    float *data = (float *)work->data + gap;
    Py_ssize_t table = depth * (Py_ssize_t)(sizeof(Py_ssize_t) / sizeof *data);
    Py_ssize_t rest = work->size - gap - table - panels;
    Py_ssize_t block = is_padded(x) ? rest / padded_size(x) : x->batch;
    Work found = {data + table, data + table + panels, (Py_ssize_t *)data, rest < 0 ? 0 : block};
    return found;
}

/* The next block of images, with padding; the zeros around them are there already. */
static const float *padded(const Images *x, Py_ssize_t first, Py_ssize_t count, float *to)
{
    Py_ssize_t line = x->columns * x->channels, image = x->rows * line;
    const float *from = x->data + first * image;
    if (!is_padded(x))
        return from;
    float *row = to + (x->top * x->width + x->left) * x->channels;
    for (Py_ssize_t n = 0; n < count; n++, row += (x->height - x->rows) * x->width * x->channels)
        for (Py_ssize_t i = 0; i < x->rows; i++, from += line, row += x->width * x->channels)
            memcpy(row, from, (size_t)line * sizeof *row);
    return to;
}

static void clear(const Images *x, const Work *work)
{
    if (is_padded(x))
        memset(work->images, 0,
               (size_t)(least(work->block, x->batch) * padded_size(x)) * sizeof(float));
}

/* Write a group's kernel in panels, one after the other, each of all taps and channels. */
static void pack_kernel(const Kernels *k, const Line *rows, const Line *columns, Py_ssize_t group,
                        float *panel)
{
    for (Py_ssize_t j = 0; j < k->written; j += WIDTH)
        for (Py_ssize_t row = 0; row < rows->taps; row++)
            for (Py_ssize_t column = 0; column < columns->taps; column++) {
                Py_ssize_t at = (rows->first + row * rows->apart) * k->row +
                                (columns->first + column * columns->apart) * k->tap;
                Right part = {k->data + at + group * k->of_group + j * k->of_written, k->of_read,
                              k->of_written};
                pack(&part, k->read, least(k->written - j, WIDTH), panel);
                panel += k->read * WIDTH;
            }
}

/* The place of each tap's channels, in elements from the first cell of a window. */
static void tabulate(const Images *x, const Line *rows, const Line *columns, Py_ssize_t channels,
                     Py_ssize_t *depth)
{
    for (Py_ssize_t i = 0; i < rows->taps; i++)
        for (Py_ssize_t j = 0; j < columns->taps; j++)
            for (Py_ssize_t c = 0; c < channels; c++)
                *depth++ = (i * rows->jump * x->width + j * columns->jump) * x->channels + c;
}

/* A cell of an image: counted on, window by window. */
typedef struct {
    Py_ssize_t image, row, column;
} Place;

static void next(Place *at, const Line *rows, const Line *columns)
{
    if (++at->column < columns->cells)
        return;
    at->column = 0;
    if (++at->row < rows->cells)
        return;
    at->row = 0;
    at->image++;
}

static Py_ssize_t read_from(const Place *at, const Images *x, const Line *rows,
                            const Line *columns)
{
    Py_ssize_t row = rows->start + at->row * rows->step;
    Py_ssize_t column = columns->start + at->column * columns->step;
    return ((at->image * x->height + row) * x->width + column) * x->channels;
}

/* Multiply a chunk of windows with all panels of a group; cells that lie apart go through ``some``. */
static void sweep_chunk(Left left, Py_ssize_t count, Py_ssize_t depth, const float *panels,
                        Py_ssize_t written, float *out, const Py_ssize_t *into)
{
    float some[CHUNK * WIDTH];
    Py_ssize_t pitch = count > 1 ? into[1] - into[0] : 0;
    int even = 1;
    for (Py_ssize_t i = 1; i < count; i++)
        even &= into[i] - into[i - 1] == pitch;
    for (Py_ssize_t j = 0; j < written; j += WIDTH, panels += depth * WIDTH) {
        Py_ssize_t wide = least(written - j, WIDTH);
        float *to = even ? out + into[0] + j : some;
        Left part = left;
        for (Py_ssize_t p = 0; p == 0 || p < depth; p += DEPTH, part.depth += DEPTH)
            strip(part, count, least(depth - p, DEPTH), panels + p * WIDTH, wide, to,
                  even ? pitch : WIDTH, p > 0);
        for (Py_ssize_t i = 0; !even && i < count; i++)
            memcpy(out + into[i] + j, some + i * WIDTH, (size_t)wide * sizeof *some);
    }
}

/* Write the sums over all windows to images like ``y``. */
static void sweep(const Images *x, const Kernels *k, const Line *rows, const Line *columns,
                  const Work *work, const Images *y, float *out)
{
    Py_ssize_t depth = rows->taps * columns->taps * k->read;
    Py_ssize_t group_size = depth * ((k->written + WIDTH - 1) / WIDTH) * WIDTH;
    for (Py_ssize_t g = 0; g < k->groups; g++)
        pack_kernel(k, rows, columns, g, work->panels + g * group_size);
    tabulate(x, rows, columns, k->read, work->depth);
    for (Py_ssize_t first = 0; first < x->batch; first += work->block) {
        Py_ssize_t images = least(work->block, x->batch - first);
        const float *data = padded(x, first, images, work->images);
        Py_ssize_t windows = images * rows->cells * columns->cells;
        Place at = {0, 0, 0};
        for (Py_ssize_t done = 0; done < windows; done += CHUNK) {
            Py_ssize_t from[CHUNK], into[CHUNK], count = least(windows - done, CHUNK);
            for (Py_ssize_t i = 0; i < count; i++, next(&at, rows, columns)) {
                from[i] = read_from(&at, x, rows, columns);
                into[i] = (((first + at.image) * y->rows + rows->into + at.row * rows->stride) *
                               y->columns + columns->into + at.column * columns->stride) *
                          y->channels;
            }
            for (Py_ssize_t g = 0; g < k->groups; g++) {
                Left left = {data + g * k->read, from, work->depth};
                sweep_chunk(left, count, depth, work->panels + g * group_size, k->written,
                            out + g * k->written, into);
            }
        }
    }
}

/* Write the sums over all windows of x times dy: depth by depth of windows, in the same order. */
static void learn(const Images *x, const Line *rows, const Line *columns, const Kernels *k,
                  const float *dy, const Work *work, float *slope)
{
    float packed[DEPTH * WIDTH];
    Py_ssize_t taps = rows->taps * columns->taps * k->read, filters = k->groups * k->written;
    Py_ssize_t cells = rows->cells * columns->cells;
    tabulate(x, rows, columns, k->read, work->depth);
    memset(slope, 0, (size_t)(taps * filters) * sizeof *slope);
    for (Py_ssize_t first = 0; first < x->batch; first += work->block) {
        Py_ssize_t images = least(work->block, x->batch - first);
        const float *data = padded(x, first, images, work->images);
        const float *back = dy + first * cells * filters;
        Place at = {0, 0, 0};
        for (Py_ssize_t done = 0; done < images * cells; done += DEPTH) {
            Py_ssize_t from[DEPTH], count = least(images * cells - done, DEPTH);
            for (Py_ssize_t i = 0; i < count; i++, next(&at, rows, columns))
                from[i] = read_from(&at, x, rows, columns);
            for (Py_ssize_t g = 0; g < k->groups; g++)
                for (Py_ssize_t j = 0; j < k->written; j += WIDTH) {
                    Py_ssize_t wide = least(k->written - j, WIDTH), at_filter = g * k->written + j;
                    Left left = {data + g * k->read, work->depth, from};
                    Right right = {back + done * filters + at_filter, filters, 1};
                    const float *panel = right.data;
                    if (filters != WIDTH)
                        pack(&right, count, wide, packed), panel = packed;
                    strip(left, taps, count, panel, wide, slope + at_filter, filters, 1);
                }
        }
    }
}

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

static Py_ssize_t in_panels(Py_ssize_t columns)
{
    return (columns + WIDTH - 1) / WIDTH * WIDTH;
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
    Work work = share(scratch, &from, depth, k.groups * depth * in_panels(k.written));
    if (work.block == 0)
        return fall_back(&call);
    Line rows = line_of(&w.rows), columns = line_of(&w.columns);
    run(&call, y->size * depth / 8);
    clear(&from, &work);
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
    Work work = share(scratch, &from, depth, k.groups * depth * in_panels(turned.written));
    if (work.block == 0)
        return fall_back(&call);
    run(&call, dx->size * depth / 8);
    clear(&from, &work);
    for (Py_ssize_t i = 0; i < w.rows.stride; i++)
        for (Py_ssize_t j = 0; j < w.columns.stride; j++) {
            Line rows = phase_of(&w.rows, i, from.top), columns = phase_of(&w.columns, j, from.left);
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
    Work work = share(scratch, &from, depth, 0);
    if (work.block == 0)
        return fall_back(&call);
    Line rows = line_of(&w.rows), columns = line_of(&w.columns);
    run(&call, dy->size * depth / 8);
    clear(&from, &work);
    learn(&from, &rows, &columns, &k, (const float *)dy->data, &work, (float *)slope->data);
    return finish(&call);
}
