/* All steps of a recurrent layer; the shapes are in chainrule/kernels/recurrent.py. In float32.

   A block of rows runs through all steps before the next one begins, so that its states stay in
   the cache, and the kernel is packed once for all of them. A product is added to z where it lies,
   and the gates follow while these rows are in the cache.
*/

enum { BLOCK = 96 }; /* rows */

/* A matrix in panels: all panels of its first DEPTH rows, then those of the next. */
typedef struct {
    const float *panels;
    Py_ssize_t depth, columns;
} Packed;

/* Pack a matrix into memory, and move on to what is free behind it. */
static Packed pack_all(Right right, Py_ssize_t depth, Py_ssize_t columns, float **memory)
{
    Packed made = {*memory, depth, columns};
    for (Py_ssize_t p = 0; p < depth; p += DEPTH) {
        Py_ssize_t deep = least(depth - p, DEPTH);
        for (Py_ssize_t j = 0; j < columns; j += WIDTH, *memory += deep * WIDTH) {
            Right part = {right.data + p * right.row + j * right.column, right.row, right.column};
            pack(&part, deep, least(columns - j, WIDTH), *memory);
        }
    }
    return made;
}

/* c = left right, or c += left right, for up to BLOCK rows. */
static void multiply_packed(const float *left, Py_ssize_t left_pitch, Py_ssize_t rows,
                            const Packed *right, float *c, Py_ssize_t c_pitch, int add)
{
    Py_ssize_t in_rows[BLOCK], in_depth[DEPTH];
    for (Py_ssize_t i = 0; i < rows; i++)
        in_rows[i] = i * left_pitch;
    for (Py_ssize_t p = 0; p < least(right->depth, DEPTH); p++)
        in_depth[p] = p;
    const float *panel = right->panels;
    for (Py_ssize_t p = 0; p < right->depth; p += DEPTH, left += DEPTH) {
        Py_ssize_t deep = least(right->depth - p, DEPTH);
        Left part = {left, in_rows, in_depth};
        for (Py_ssize_t j = 0; j < right->columns; j += WIDTH, panel += deep * WIDTH)
            strip(part, rows, deep, panel, least(right->columns - j, WIDTH), c + j, c_pitch,
                  add || p > 0);
    }
}

/* What all layers have, forward and back; NULL where there is no such thing. */
typedef struct {
    Py_ssize_t steps, batch, units;
    const float *kept;
    const char *padded, *shown;
    float *seen;
    const float *dy;
    Py_ssize_t dy_step, dy_row; /* elements; a step of 0: it is the last step's alone */
    float *d, *work;
} Sequence;

/* Some rows of a batch. */
typedef struct {
    Py_ssize_t first, count;
} Rows;

static inline Rows block(const Sequence *s, Py_ssize_t first)
{
    Rows rows = {first, least(s->batch - first, BLOCK)};
    return rows;
}

/* Return what the recurrent kernel sees of the rows' outputs before a step. */
static const float *see(const Sequence *s, const float *h, Py_ssize_t t, Rows rows)
{
    Py_ssize_t at = (t * s->batch + rows.first) * s->units;
    if (s->kept == NULL)
        return h + at;
    const float *kept = s->kept + rows.first * s->units;
    LOOP
    for (Py_ssize_t i = 0; i < rows.count * s->units; i++)
        s->seen[at + i] = h[at + i] * kept[i];
    return s->seen + at;
}

static inline int is_padded(const Sequence *s, Py_ssize_t t, Py_ssize_t row)
{
    return s->padded != NULL && s->padded[t * s->batch + row];
}

/* Repeat the states before a step after it, where it is padding. */
static void hold(const Sequence *s, float *states, Py_ssize_t t, Rows rows)
{
    for (Py_ssize_t row = rows.first; row < rows.first + rows.count; row++) {
        float *before = states + (t * s->batch + row) * s->units;
        if (is_padded(s, t, row))
            memcpy(before + s->batch * s->units, before, (size_t)s->units * sizeof *before);
    }
}

/* Add to d what comes in at a step's output. */
static void arrive(const Sequence *s, Py_ssize_t t, Rows rows)
{
    if (s->dy_step == 0 && t < s->steps - 1)
        return;
    for (Py_ssize_t row = rows.first; row < rows.first + rows.count; row++) {
        if (s->shown != NULL && s->dy_step != 0 && !s->shown[t * s->batch + row])
            continue;
        float *d = s->d + row * s->units;
        const float *dy = s->dy + t * s->dy_step + row * s->dy_row;
        LOOP
        for (Py_ssize_t u = 0; u < s->units; u++)
            d[u] += dy[u];
    }
}

/* Add the work to d, which it reaches through the recurrent dropout. */
static void add_work(const Sequence *s, Rows rows)
{
    Py_ssize_t at = rows.first * s->units;
    float *d = s->d + at;
    const float *work = s->work + at, *kept = s->kept == NULL ? NULL : s->kept + at;
    LOOP
    for (Py_ssize_t i = 0; i < rows.count * s->units; i++)
        d[i] += kept == NULL ? work[i] : work[i] * kept[i];
}

/* Add to d what runs back through the recurrent kernel, turned. */
static void back_to_seen(const Sequence *s, const float *dz, Py_ssize_t pitch,
                         const Packed *turned, Rows rows)
{
    Py_ssize_t at = rows.first * s->units;
    float *into = (s->kept == NULL ? s->d : s->work) + at;
    multiply_packed(dz, pitch, rows.count, turned, into, s->units, s->kept == NULL);
    if (s->kept != NULL)
        add_work(s, rows);
}

static int is_float(const Array *a, Py_ssize_t size)
{
    return is_real(a) && a->type == 'f' && a->size == size;
}

static int is_mask(const Array *a, Py_ssize_t size)
{
    return a == NULL || (a->is_contiguous && a->type == '?' && a->size == size);
}

/* The sequence of states (n, steps + 1, batch, units), n being 1 if they have an axis less. */
static Sequence sequence(Call *call, const Array *states, const Array *kept, const Array *padded,
                         const Array *seen)
{
    Sequence s = {0};
    want(call, states->axes >= 3 && states->shape[states->axes - 3] > 0);
    if (call->unfit)
        return s;
    s.units = states->shape[states->axes - 1];
    s.batch = states->shape[states->axes - 2];
    s.steps = states->shape[states->axes - 3] - 1;
    want(call, is_real(states) && states->type == 'f');
    want(call, kept == NULL || is_float(kept, s.batch * s.units));
    want(call, seen == NULL || is_float(seen, s.steps * s.batch * s.units));
    want(call, (kept == NULL || seen != NULL) && is_mask(padded, s.steps * s.batch));
    s.kept = data_of(kept);
    s.padded = data_of(padded);
    s.seen = data_of(seen);
    return s;
}

/* Take in what a backward has besides. */
static void come_back(Call *call, Sequence *s, const Array *kept, const Array *shown,
                      const Array *dy, Array *d, Py_ssize_t states, Array *work)
{
    int last = dy->axes == 2;
    want(call, dy->type == 'f' && dy->axes == (last ? 2 : 3) && is_mask(shown, s->steps * s->batch));
    want(call, is_float(d, states * s->batch * s->units) && is_float(work, s->batch * s->units));
    if (call->unfit)
        return;
    for (int axis = 0; axis < dy->axes; axis++)
        want(call, dy->strides[axis] % 4 == 0);
    want(call, dy->shape[dy->axes - 1] == s->units && dy->shape[dy->axes - 2] == s->batch);
    want(call, s->units == 1 || dy->strides[dy->axes - 1] == 4);
    want(call, last || (dy->shape[0] == s->steps && (dy->strides[0] != 0 || dy->size == 0)));
    want(call, kept == NULL || is_float(kept, s->batch * s->units));
    if (call->unfit)
        return;
    s->kept = data_of(kept);
    s->shown = data_of(shown);
    s->dy = (const float *)dy->data;
    s->dy_step = last ? 0 : dy->strides[0] / 4;
    s->dy_row = dy->strides[dy->axes - 2] / 4;
    s->d = (float *)d->data;
    s->work = (float *)work->data;
    memset(d->data, 0, (size_t)d->size * sizeof *s->d);
}

/* Whether z, what is as large, the kernel and the memory for its panels have so many blocks. */
static int are_gates(const Sequence *s, Py_ssize_t blocks, const Array *z, const Array *same,
                     const Array *kernel, const Array *bias, const Array *panels)
{
    Py_ssize_t width = blocks * s->units, size = s->steps * s->batch * width;
    return s->units > 0 && is_float(z, size) && is_float(same, size) &&
           is_float(kernel, s->units * width) && (bias == NULL || is_float(bias, width)) &&
           is_float(panels, panels->size) && panels->size >= width * (s->units + WIDTH - 1);
}

/* The interpreter's lock is given up if the products are long. */
static void run_products(Call *call, const Sequence *s, Py_ssize_t blocks)
{
    run(call, s->steps * s->batch * blocks * s->units * (1 + s->units / 8));
}

/* simple_rnn(z, bias, kernel, kept, padded, activation, seen, h, panels) */
static PyObject *simple_rnn(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 9);
    Array *z = output(&call, 0), *bias = optional(&call, 1), *kernel = array(&call, 2);
    Array *kept = optional(&call, 3), *padded = optional(&call, 4);
    Array *seen = optional_output(&call, 6), *h = output(&call, 7), *panels = output(&call, 8);
    enum Activation kind = activation(&call, 5);
    Sequence s = sequence(&call, h, kept, padded, seen);
    if (call.unfit || !are_gates(&s, 1, z, z, kernel, bias, panels))
        return fall_back(&call);
    run_products(&call, &s, 1);
    float *memory = (float *)panels->data, *states = (float *)h->data;
    Packed packed = pack_all((Right){(float *)kernel->data, s.units, 1}, s.units, s.units, &memory);
    for (Py_ssize_t first = 0; first < s.batch; first += BLOCK) {
        Rows rows = block(&s, first);
        for (Py_ssize_t t = 0; t < s.steps; t++) {
            Py_ssize_t at = (t * s.batch + first) * s.units;
            float *into = (float *)z->data + at, *after = states + at + s.batch * s.units;
            multiply_packed(see(&s, states, t, rows), s.units, rows.count, &packed, into, s.units, 1);
            activate_rows_f32(kind, into, data_of(bias), after, rows.count, s.units);
            hold(&s, states, t, rows);
        }
    }
    return finish(&call);
}

/* simple_rnn_backward(z, kernel, kept, padded, shown, activation, h, dy, d, dz, work, panels) */
static PyObject *simple_rnn_backward(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                     PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 12);
    Array *z = array(&call, 0), *kernel = array(&call, 1);
    Array *kept = optional(&call, 2), *padded = optional(&call, 3), *shown = optional(&call, 4);
    Array *h = array(&call, 6), *dy = array(&call, 7), *d = output(&call, 8);
    Array *dz = output(&call, 9), *work = output(&call, 10), *panels = output(&call, 11);
    enum Activation kind = activation(&call, 5);
    Sequence s = sequence(&call, h, NULL, padded, NULL);
    come_back(&call, &s, kept, shown, dy, d, 1, work);
    if (call.unfit || !are_gates(&s, 1, z, dz, kernel, NULL, panels))
        return fall_back(&call);
    run_products(&call, &s, 1);
    float *memory = (float *)panels->data;
    Packed turned = pack_all((Right){(float *)kernel->data, 1, s.units}, s.units, s.units, &memory);
    for (Py_ssize_t first = 0; first < s.batch; first += BLOCK) {
        Rows rows = block(&s, first);
        for (Py_ssize_t t = s.steps - 1; t >= 0; t--) {
            arrive(&s, t, rows);
            for (Py_ssize_t row = first; row < first + rows.count; row++) {
                Py_ssize_t at = (t * s.batch + row) * s.units;
                float *slope = (float *)dz->data + at, *into = s.d + row * s.units;
                size_t bytes = (size_t)s.units * sizeof *slope;
                if (is_padded(&s, t, row)) {
                    memset(slope, 0, bytes);
                    continue;
                }
                deactivate_f32(kind, (float *)z->data + at,
                               (float *)h->data + at + s.batch * s.units, into, slope, s.units);
                memset(into, 0, bytes);
            }
            Py_ssize_t at = (t * s.batch + first) * s.units;
            back_to_seen(&s, (float *)dz->data + at, s.units, &turned, rows);
        }
    }
    return finish(&call);
}
