/* What convolutions share: the lines of windows along an axis, images with their padding, kernels in
   panels, and the scratch memory ``work``: a table of where each tap's channels are, the kernel, and
   as many padded images as there is room for.
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
    Py_ssize_t *depth;
    float *panels, *tiles, *images;
    Py_ssize_t block; /* images at once; 0 if not one fits */
} Work;

static Py_ssize_t in_panels(Py_ssize_t columns)
{
    return (columns + WIDTH - 1) / WIDTH * WIDTH;
}

static Py_ssize_t padded_size(const Images *x)
{
    return x->height * x->width * x->channels;
}

static int has_border(const Images *x)
{
    return x->height != x->rows || x->width != x->columns;
}

static Work share(const Array *work, const Images *x, Py_ssize_t depth, Py_ssize_t panels,
                  Py_ssize_t tiles)
{
    int gap = (uintptr_t)work->data % sizeof(Py_ssize_t) != 0;
    float *table = (float *)work->data + gap;
    Py_ssize_t taken = depth * (Py_ssize_t)(sizeof(Py_ssize_t) / sizeof *table);
    Work found = {(Py_ssize_t *)table, table + taken, table + taken + panels,
                  table + taken + panels + tiles, x->batch};
    Py_ssize_t rest = work->size - gap - taken - panels - tiles;
    if (has_border(x))
        found.block = rest / padded_size(x);
    if (rest < 0)
        found.block = 0;
    return found;
}

/* The next block of images, with padding; the zeros around them are there already. */
static const float *padded(const Images *x, Py_ssize_t first, Py_ssize_t count, float *to)
{
    Py_ssize_t line = x->columns * x->channels, image = x->rows * line;
    const float *from = x->data + first * image;
    if (!has_border(x))
        return from;
    float *row = to + (x->top * x->width + x->left) * x->channels;
    for (Py_ssize_t n = 0; n < count; n++, row += (x->height - x->rows) * x->width * x->channels)
        for (Py_ssize_t i = 0; i < x->rows; i++, from += line, row += x->width * x->channels)
            memcpy(row, from, (size_t)line * sizeof *row);
    return to;
}

static void clear(const Images *x, const Work *work)
{
    if (has_border(x))
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

/* Where the next cells read and, if that is asked, where in images like y they are written. */
static void trace(Place *at, Py_ssize_t count, const Images *x, const Line *rows,
                  const Line *columns, Py_ssize_t *from, const Images *y, Py_ssize_t *into)
{
    while (count > 0) {
        Py_ssize_t run = least(count, columns->cells - at->column);
        Py_ssize_t read = read_from(at, x, rows, columns), step = columns->step * x->channels;
        for (Py_ssize_t i = 0; i < run; i++)
            *from++ = read + i * step;
        if (into != NULL) {
            Py_ssize_t row = at->image * y->rows + rows->into + at->row * rows->stride;
            Py_ssize_t column = columns->into + at->column * columns->stride;
            Py_ssize_t write = (row * y->columns + column) * y->channels;
            for (Py_ssize_t i = 0; i < run; i++)
                *into++ = write + i * columns->stride * y->channels;
        }
        count -= run;
        at->column += run - 1;
        next(at, rows, columns);
    }
}

/* c = left panels; c's rows are ``pitch`` apart. */
static void multiply_panels(Left left, Py_ssize_t rows, Py_ssize_t depth, const float *panels,
                            Py_ssize_t columns, float *c, Py_ssize_t pitch)
{
    for (Py_ssize_t j = 0; j < columns; j += WIDTH, panels += depth * WIDTH) {
        Left part = left;
        for (Py_ssize_t p = 0; p == 0 || p < depth; p += DEPTH, part.depth += DEPTH)
            strip(part, rows, least(depth - p, DEPTH), panels + p * WIDTH, least(columns - j, WIDTH),
                  c + j, pitch, p > 0);
    }
}

/* The same, written where ``into`` says. */
static void scatter_panels(Left left, Py_ssize_t rows, Py_ssize_t depth, const float *panels,
                           Py_ssize_t columns, float *c, const Py_ssize_t *into)
{
    float some[CHUNK * WIDTH];
    for (Py_ssize_t j = 0; j < columns; j += WIDTH, panels += depth * WIDTH) {
        Py_ssize_t wide = least(columns - j, WIDTH);
        multiply_panels(left, rows, depth, panels, wide, some, WIDTH);
        for (Py_ssize_t i = 0; i < rows; i++) {
            float *to = c + into[i] + j;
            const float *from = some + i * WIDTH;
            if (wide % FLOATS != 0) {
                memcpy(to, from, (size_t)wide * sizeof *to);
                continue;
            }
            *(Vector *)to = *(const Vector *)from;
            if (wide == WIDTH)
                *(Vector *)(to + FLOATS) = *(const Vector *)(from + FLOATS);
        }
    }
}
