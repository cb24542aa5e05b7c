/* All steps of an LSTM: what recurrent.h has, with its gates. */

typedef struct {
    Sequence s;
    enum Activation kind, gate;
    float *z, *gates, *c, *active; /* c: the cells, of which the first are given */
} LSTM;

/* The gates and the states of one row after a step; ``at`` is where the row is in the states. */
static void lstm_row(const LSTM *l, const float *bias, float *h, Py_ssize_t at)
{
    Py_ssize_t units = l->s.units, after = at + l->s.batch * units;
    float *z = l->z + 4 * at, *i = l->gates + 4 * at, *f = i + units, *g = f + units, *o = g + units;
    const float *before = l->c + at, *of_g = bias == NULL ? NULL : bias + 2 * units;
    float *c = l->c + after, *active = l->active + at;
    activate_f32(l->gate, z, bias, i, 2 * units);
    activate_f32(l->kind, z + 2 * units, of_g, g, units);
    activate_f32(l->gate, z + 3 * units, of_g == NULL ? NULL : of_g + units, o, units);
    LOOP
    for (Py_ssize_t u = 0; u < units; u++)
        c[u] = f[u] * before[u] + i[u] * g[u];
    activate_f32(l->kind, c, NULL, active, units);
    LOOP
    for (Py_ssize_t u = 0; u < units; u++)
        h[after + u] = o[u] * active[u];
}

/* lstm(z, bias, kernel, kept, padded, activation, recurrent_activation, seen, gates, states,
        active, panels) */
static PyObject *lstm(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 12);
    Array *z = output(&call, 0), *bias = optional(&call, 1), *kernel = array(&call, 2);
    Array *kept = optional(&call, 3), *padded = optional(&call, 4);
    Array *seen = optional_output(&call, 7), *gates = output(&call, 8);
    Array *states = output(&call, 9), *active = output(&call, 10), *panels = output(&call, 11);
    LSTM l = {sequence(&call, states, kept, padded, seen), activation(&call, 5),
              activation(&call, 6), (float *)z->data, (float *)gates->data, NULL,
              (float *)active->data};
    const Sequence *s = &l.s;
    Py_ssize_t width = 4 * s->units, all = s->steps * s->batch * s->units;
    want(&call, is_float(active, all) && states->size == 2 * (all + s->batch * s->units));
    if (call.unfit || !are_gates(s, 4, z, gates, kernel, bias, panels))
        return fall_back(&call);
    run_products(&call, s, 4);
    float *memory = (float *)panels->data, *h = (float *)states->data;
    Packed packed = pack_all((Right){(float *)kernel->data, width, 1}, s->units, width, &memory);
    l.c = h + states->size / 2;
    for (Py_ssize_t first = 0; first < s->batch; first += BLOCK) {
        Rows rows = block(s, first);
        for (Py_ssize_t t = 0; t < s->steps; t++) {
            Py_ssize_t at = (t * s->batch + first) * s->units;
            multiply_packed(see(s, h, t, rows), s->units, rows.count, &packed, l.z + 4 * at, width,
                            1);
            for (Py_ssize_t i = 0; i < rows.count; i++)
                lstm_row(&l, data_of(bias), h, at + i * s->units);
            hold(s, h, t, rows);
            hold(s, l.c, t, rows);
        }
    }
    return finish(&call);
}

/* Write one row's dz, and take the gradient in the cells back, and that in h, but for what runs
   through the product. */
static void lstm_row_back(const LSTM *l, Py_ssize_t at, float *dh, float *dc, float *dz)
{
    Py_ssize_t units = l->s.units;
    const float *z = l->z + 4 * at, *before = l->c + at, *c = before + l->s.batch * units;
    const float *i = l->gates + 4 * at, *f = i + units, *g = f + units, *o = g + units;
    const float *active = l->active + at;
    float *df = dz + units, *dg = df + units, *slope = dg + units;
    LOOP
    for (Py_ssize_t u = 0; u < units; u++)
        slope[u] = dh[u] * o[u];
    deactivate_f32(l->kind, c, active, slope, slope, units);
    LOOP
    for (Py_ssize_t u = 0; u < units; u++) {
        float through = dc[u] + slope[u];
        dz[u] = through * g[u];
        df[u] = through * before[u];
        dg[u] = through * i[u];
        dc[u] = through * f[u];
        slope[u] = dh[u] * active[u]; /* now the output gate's */
        dh[u] = 0;
    }
    deactivate_f32(l->gate, z, i, dz, dz, 2 * units);
    deactivate_f32(l->kind, z + 2 * units, g, dg, dg, units);
    deactivate_f32(l->gate, z + 3 * units, o, slope, slope, units);
}

/* The same with the usual functions. */
static void usual_row_back(const LSTM *l, Py_ssize_t at, float *dh, float *dc, float *dz)
{
    Py_ssize_t units = l->s.units;
    const float *before = l->c + at, *active = l->active + at;
    const float *i = l->gates + 4 * at, *f = i + units, *g = f + units, *o = g + units;
    LOOP
    for (Py_ssize_t u = 0; u < units; u++) {
        float a = active[u], through = dc[u] + dh[u] * o[u] * (1 - a * a);
        dz[u] = through * g[u] * ((1 - i[u]) * i[u]);
        dz[units + u] = through * before[u] * ((1 - f[u]) * f[u]);
        dz[2 * units + u] = through * i[u] * (1 - g[u] * g[u]);
        dz[3 * units + u] = dh[u] * a * ((1 - o[u]) * o[u]);
        dc[u] = through * f[u];
        dh[u] = 0;
    }
}

/* lstm_backward(z, kernel, kept, padded, shown, activation, recurrent_activation, gates, states,
                 active, dy, d, dz, work, panels) */
static PyObject *lstm_backward(PyObject *self, PyObject *const *args, Py_ssize_t n,
                               PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 15);
    Array *z = array(&call, 0), *kernel = array(&call, 1);
    Array *kept = optional(&call, 2), *padded = optional(&call, 3), *shown = optional(&call, 4);
    Array *gates = array(&call, 7), *states = array(&call, 8), *active = array(&call, 9);
    Array *dy = array(&call, 10), *d = output(&call, 11), *dz = output(&call, 12);
    Array *work = output(&call, 13), *panels = output(&call, 14);
    LSTM l = {sequence(&call, states, NULL, padded, NULL), activation(&call, 5),
              activation(&call, 6), (float *)z->data, (float *)gates->data, NULL,
              (float *)active->data};
    Sequence *s = &l.s;
    come_back(&call, s, kept, shown, dy, d, 2, work);
    Py_ssize_t width = 4 * s->units, all = s->steps * s->batch * s->units;
    want(&call, is_float(active, all) && states->size == 2 * (all + s->batch * s->units));
    want(&call, is_float(gates, 4 * all));
    if (call.unfit || !are_gates(s, 4, z, dz, kernel, NULL, panels))
        return fall_back(&call);
    run_products(&call, s, 4);
    float *memory = (float *)panels->data;
    Packed turned = pack_all((Right){(float *)kernel->data, 1, width}, width, s->units, &memory);
    l.c = (float *)states->data + states->size / 2;
    int is_usual = l.kind == TANH && l.gate == SIGMOID;
    for (Py_ssize_t first = 0; first < s->batch; first += BLOCK) {
        Rows rows = block(s, first);
        for (Py_ssize_t t = s->steps - 1; t >= 0; t--) {
            float *slopes = (float *)dz->data + (t * s->batch + first) * width;
            arrive(s, t, rows);
            for (Py_ssize_t i = 0; i < rows.count; i++) {
                Py_ssize_t row = first + i;
                float *dh = s->d + row * s->units, *dc = dh + s->batch * s->units;
                if (is_padded(s, t, row))
                    memset(slopes + i * width, 0, (size_t)width * sizeof *slopes);
                else
                    (is_usual ? usual_row_back : lstm_row_back)(
                        &l, (t * s->batch + row) * s->units, dh, dc, slopes + i * width);
            }
            back_to_seen(s, slopes, width, &turned, rows);
        }
    }
    return finish(&call);
}
