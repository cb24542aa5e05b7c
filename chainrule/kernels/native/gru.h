/* All steps of a GRU, in both orders of reset and product: what recurrent.h has, with its gates. */

typedef struct {
    Sequence s;
    enum Activation kind, gate;
    int reset_after;
    float *z, *gates, *h, *inner;
    const float *seen; /* in a backward: the outputs before each step, as the kernel saw them */
} GRU;

/* The kernel's blocks of the two gates, and that of the candidate. */
typedef struct {
    Packed gates, candidate;
} Parts;

static Parts parts_of(const float *kernel, Py_ssize_t units, float *memory)
{
    Right gates = {kernel, 3 * units, 1}, candidate = {kernel + 2 * units, 3 * units, 1};
    Parts made = {pack_all(gates, units, 2 * units, &memory),
                  pack_all(candidate, units, units, &memory)};
    return made;
}

static Parts turned_parts_of(const float *kernel, Py_ssize_t units, float *memory)
{
    Right gates = {kernel, 1, 3 * units}, candidate = {kernel + 2 * units, 1, 3 * units};
    Parts made = {pack_all(gates, 2 * units, units, &memory),
                  pack_all(candidate, units, units, &memory)};
    return made;
}

static const float *from(const float *bias, Py_ssize_t place)
{
    return bias == NULL ? NULL : bias + place;
}

/* A step of some rows; ``at`` is where they are in the states. */
static void gru_step(const GRU *l, const Parts *kernel, const float *seen, const float *bias,
                     const float *inner_bias, Py_ssize_t at, Py_ssize_t rows)
{
    Py_ssize_t units = l->s.units, width = 3 * units;
    float *inner = l->inner + at, *into = l->z + 3 * at;
    multiply_packed(seen, units, rows, &kernel->gates, into, width, 1);
    if (l->reset_after) {
        multiply_packed(seen, units, rows, &kernel->candidate, inner, units, 0);
        if (inner_bias != NULL)
            activate_rows_f32(LINEAR, inner, inner_bias, inner, rows, units);
    }
    for (Py_ssize_t row = 0; row < rows; row++) {
        float *z = into + row * width, *gates = l->gates + 3 * at + row * width;
        const float *r = gates + units;
        activate_f32(l->gate, z, bias, gates, 2 * units);
        LOOP
        for (Py_ssize_t u = 0; u < units; u++) {
            if (l->reset_after)
                z[2 * units + u] += r[u] * inner[row * units + u];
            else
                inner[row * units + u] = r[u] * seen[row * units + u];
        }
    }
    if (!l->reset_after)
        multiply_packed(inner, units, rows, &kernel->candidate, into + 2 * units, width, 1);
    for (Py_ssize_t row = 0; row < rows; row++) {
        const float *before = l->h + at + row * units, *update = l->gates + 3 * at + row * width;
        float *g = l->gates + 3 * at + row * width + 2 * units;
        float *h = l->h + at + (l->s.batch + row) * units;
        activate_f32(l->kind, into + row * width + 2 * units, from(bias, 2 * units), g, units);
        LOOP
        for (Py_ssize_t u = 0; u < units; u++)
            h[u] = (before[u] - g[u]) * update[u] + g[u];
    }
}

/* gru(z, bias, inner_bias, kernel, kept, padded, activation, recurrent_activation, reset_after,
       seen, gates, h, inner, panels) */
static PyObject *gru(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 14);
    Array *z = output(&call, 0), *bias = optional(&call, 1), *inner_bias = optional(&call, 2);
    Array *kernel = array(&call, 3), *kept = optional(&call, 4);
    Array *padded = optional(&call, 5), *seen = optional_output(&call, 9);
    Array *gates = output(&call, 10), *h = output(&call, 11), *inner = output(&call, 12);
    Array *panels = output(&call, 13);
    GRU l = {sequence(&call, h, kept, padded, seen), activation(&call, 6), activation(&call, 7),
             number(&call, 8, NULL) != 0, (float *)z->data, (float *)gates->data,
             (float *)h->data, (float *)inner->data, NULL};
    const Sequence *s = &l.s;
    want(&call, is_float(inner, s->steps * s->batch * s->units));
    want(&call, inner_bias == NULL || is_float(inner_bias, s->units));
    if (call.unfit || !are_gates(s, 3, z, gates, kernel, bias, panels))
        return fall_back(&call);
    run_products(&call, s, 3);
    Parts parts = parts_of((float *)kernel->data, s->units, (float *)panels->data);
    for (Py_ssize_t first = 0; first < s->batch; first += BLOCK) {
        Rows rows = block(s, first);
        for (Py_ssize_t t = 0; t < s->steps; t++) {
            gru_step(&l, &parts, see(s, l.h, t, rows), data_of(bias), data_of(inner_bias),
                     (t * s->batch + first) * s->units, rows.count);
            hold(s, l.h, t, rows);
        }
    }
    return finish(&call);
}

/* Write the update gate's and the candidate's dz of one row, and leave in d what does not run
   through a product. */
static void gru_row_back(const GRU *l, Py_ssize_t at, float *d, float *dz)
{
    Py_ssize_t units = l->s.units;
    const float *z = l->z + 3 * at, *update = l->gates + 3 * at, *g = update + 2 * units;
    const float *before = l->h + at;
    float *dg = dz + 2 * units;
    LOOP
    for (Py_ssize_t u = 0; u < units; u++) {
        dz[u] = (before[u] - g[u]) * d[u];
        dg[u] = (1 - update[u]) * d[u];
        d[u] *= update[u];
    }
    deactivate_f32(l->gate, z, update, dz, dz, units);
    deactivate_f32(l->kind, z + 2 * units, g, dg, dg, units);
}

/* Both, and d_inner, with the usual functions and the reset after the product: in one loop. */
static void usual_gru_row_back(const GRU *l, Py_ssize_t at, float *d, float *dz, float *d_inner)
{
    Py_ssize_t units = l->s.units;
    const float *update = l->gates + 3 * at, *r = update + units, *g = r + units;
    const float *before = l->h + at, *inner = l->inner + at;
    LOOP
    for (Py_ssize_t u = 0; u < units; u++) {
        float dg = (1 - update[u]) * d[u] * (1 - g[u] * g[u]);
        dz[u] = (before[u] - g[u]) * d[u] * ((1 - update[u]) * update[u]);
        dz[units + u] = inner[u] * dg * ((1 - r[u]) * r[u]);
        dz[2 * units + u] = dg;
        d_inner[u] = dg * r[u];
        d[u] *= update[u];
    }
}

/* The reset gate's dz of some rows, and d_inner; where it comes before the product, through that. */
static void reset_back(const GRU *l, const Parts *turned, Py_ssize_t at, Rows rows, float *slopes,
                       float *d_inner)
{
    Py_ssize_t units = l->s.units, width = 3 * units;
    const float *factor = (l->reset_after ? l->inner : l->seen) + at;
    float *work = l->s.work + rows.first * units;
    if (!l->reset_after)
        multiply_packed(slopes + 2 * units, width, rows.count, &turned->candidate, d_inner, units, 0);
    for (Py_ssize_t row = 0; row < rows.count; row++) {
        const float *r = l->gates + 3 * at + row * width + units;
        float *dr = slopes + row * width + units, *dg = dr + units;
        Py_ssize_t first = row * units;
        LOOP
        for (Py_ssize_t u = 0; u < units; u++) {
            float slope = l->reset_after ? dg[u] : d_inner[first + u];
            dr[u] = factor[first + u] * slope;
            (l->reset_after ? d_inner : work)[first + u] = slope * r[u];
        }
        deactivate_f32(l->gate, l->z + 3 * at + row * width + units, r, dr, dr, units);
    }
}

/* gru_backward(z, kernel, kept, padded, shown, activation, recurrent_activation, reset_after, seen,
                gates, h, inner, dy, d, dz, d_inner, work, panels) */
static PyObject *gru_backward(PyObject *self, PyObject *const *args, Py_ssize_t n,
                              PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 18);
    Array *z = array(&call, 0), *kernel = array(&call, 1);
    Array *kept = optional(&call, 2), *padded = optional(&call, 3), *shown = optional(&call, 4);
    Array *seen = array(&call, 8), *gates = array(&call, 9), *h = array(&call, 10);
    Array *inner = array(&call, 11), *dy = array(&call, 12), *d = output(&call, 13);
    Array *dz = output(&call, 14), *d_inner = output(&call, 15), *work = output(&call, 16);
    Array *panels = output(&call, 17);
    GRU l = {sequence(&call, h, NULL, padded, NULL), activation(&call, 5), activation(&call, 6),
             number(&call, 7, NULL) != 0, (float *)z->data, (float *)gates->data,
             (float *)h->data, (float *)inner->data, (float *)seen->data};
    Sequence *s = &l.s;
    come_back(&call, s, kept, shown, dy, d, 1, work);
    Py_ssize_t width = 3 * s->units, all = s->steps * s->batch * s->units;
    want(&call, is_float(inner, all) && is_float(seen, all) && is_float(d_inner, all));
    want(&call, is_float(gates, 3 * all));
    if (call.unfit || !are_gates(s, 3, z, dz, kernel, NULL, panels))
        return fall_back(&call);
    run_products(&call, s, 3);
    int is_usual = l.kind == TANH && l.gate == SIGMOID && l.reset_after;
    Parts turned = turned_parts_of((float *)kernel->data, s->units, (float *)panels->data);
    for (Py_ssize_t first = 0; first < s->batch; first += BLOCK) {
        Rows rows = block(s, first);
        for (Py_ssize_t t = s->steps - 1; t >= 0; t--) {
            Py_ssize_t at = (t * s->batch + first) * s->units;
            float *slopes = (float *)dz->data + 3 * at, *inside = (float *)d_inner->data + at;
            float *into = s->work + first * s->units;
            arrive(s, t, rows);
            for (Py_ssize_t i = 0; i < rows.count; i++) {
                Py_ssize_t of = i * s->units;
                float *d_of = s->d + first * s->units + of, *slope = slopes + 3 * of;
                if (is_padded(s, t, first + i)) {
                    memset(slope, 0, (size_t)width * sizeof *slope);
                    memset(inside + of, 0, (size_t)s->units * sizeof *inside);
                } else if (is_usual) {
                    usual_gru_row_back(&l, at + of, d_of, slope, inside + of);
                } else {
                    gru_row_back(&l, at + of, d_of, slope);
                }
            }
            if (!is_usual)
                reset_back(&l, &turned, at, rows, slopes, inside);
            if (l.reset_after)
                multiply_packed(inside, s->units, rows.count, &turned.candidate, into, s->units, 0);
            multiply_packed(slopes, width, rows.count, &turned.gates, into, s->units, 1);
            add_work(s, rows);
        }
    }
    return finish(&call);
}
