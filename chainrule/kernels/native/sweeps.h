/* Windows of float32 images, multiplied where they lie: no columns are ever made.

   A sweep reads a window of a padded image for each cell that it writes. Forward it reads x. The
   gradient in x is a sweep over dy with the kernel turned: one for each phase of the strides, with
   every stride-th tap.
*/

/* Write the sums over all windows to images like ``y``. */
static void sweep(const Images *x, const Kernels *k, const Line *rows, const Line *columns,
                  const Work *work, const Images *y, float *out)
{
    Py_ssize_t depth = rows->taps * columns->taps * k->read;
    Py_ssize_t group_size = depth * in_panels(k->written);
    int narrow = is_narrow(k);
    for (Py_ssize_t g = 0; g < k->groups; g++)
        (narrow ? lay_kernel : pack_kernel)(k, rows, columns, g, work->panels + g * group_size);
    tabulate(x, rows, columns, k->read, work->depth);
    for (Py_ssize_t first = 0; first < x->batch; first += work->block) {
        Py_ssize_t images = least(work->block, x->batch - first);
        const float *data = padded(x, first, images, work->images);
        Py_ssize_t windows = images * rows->cells * columns->cells;
        float *block = out + first * y->rows * y->columns * y->channels;
        Place at = {0, 0, 0};
        for (Py_ssize_t done = 0; done < windows; done += CHUNK) {
            Py_ssize_t from[CHUNK], into[CHUNK], count = least(windows - done, CHUNK);
            trace(&at, count, x, rows, columns, from, y, into);
            for (Py_ssize_t g = 0; g < k->groups; g++) {
                Left left = {data + g * k->read, from, work->depth};
                const float *panels = work->panels + g * group_size;
                float *to = block + g * k->written;
                if (narrow)
                    dots(&left, count, depth, panels, k->written, to, into);
                else if (rows->stride == 1 && columns->stride == 1) /* all of y, cell by cell */
                    multiply_panels(left, count, depth, panels, k->written, to + into[0],
                                    y->channels);
                else
                    scatter_panels(left, count, depth, panels, k->written, to, into);
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
    int narrow = learns_narrow(k); /* then the sums lie filter by filter */
    tabulate(x, rows, columns, k->read, work->depth);
    memset(narrow ? work->panels : slope, 0, (size_t)(taps * filters) * sizeof *slope);
    for (Py_ssize_t first = 0; first < x->batch; first += work->block) {
        Py_ssize_t images = least(work->block, x->batch - first);
        const float *data = padded(x, first, images, work->images);
        const float *back = dy + first * cells * filters;
        Place at = {0, 0, 0};
        for (Py_ssize_t done = 0; done < images * cells; done += DEPTH) {
            Py_ssize_t from[DEPTH], count = least(images * cells - done, DEPTH);
            trace(&at, count, x, rows, columns, from, NULL, NULL);
            for (Py_ssize_t g = 0; g < k->groups; g++)
                for (Py_ssize_t j = 0, wide; j < k->written; j += wide) {
                    Py_ssize_t at_filter = g * k->written + j;
                    Left left = {data + g * k->read, work->depth, from};
                    wide = least(k->written - j, WIDTH);
                    if (narrow) {
                        wide = learn_filters(left, taps, count, back + done * filters + at_filter,
                                             wide, filters, work->panels + at_filter * taps);
                        continue;
                    }
                    Right right = {back + done * filters + at_filter, filters, 1};
                    const float *panel = right.data;
                    if (filters != WIDTH)
                        pack(&right, count, wide, packed), panel = packed;
                    strip(left, taps, count, panel, wide, slope + at_filter, filters, 1);
                }
        }
    }
    for (Py_ssize_t i = 0; narrow && i < taps * filters; i++)
        slope[i] = work->panels[i % filters * taps + i / filters];
}
