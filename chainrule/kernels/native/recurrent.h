/* One step of a recurrent layer, forward and back; the shapes are in chainrule/kernels/recurrent.py.
   All in float32. Rows of a matrix may lie apart only where a kernel says so. */

/* simple_rnn_step(z, product, activation, h) */
static PyObject *simple_rnn_step(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                 PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 4);
    Array *z = output(&call, 0), *product = array(&call, 1), *h = output(&call, 3);
    enum Activation kind = activation(&call, 2);
    want(&call, are_vectors(&call) && z->type == 'f');
    if (call.unfit)
        return fall_back(&call);
    run(&call, z->size);
    activate_f32(kind, (float *)z->data, (float *)product->data, (float *)h->data, z->size);
    return finish(&call);
}

/* simple_rnn_step_backward(z, h, activation, dh, dz) */
static PyObject *simple_rnn_step_backward(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                          PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 5);
    Array *z = array(&call, 0), *h = array(&call, 1), *dh = array(&call, 3);
    Array *dz = output(&call, 4);
    enum Activation kind = activation(&call, 2);
    want(&call, are_vectors(&call) && z->type == 'f');
    if (call.unfit)
        return fall_back(&call);
    run(&call, z->size);
    deactivate_f32(kind, (float *)z->data, (float *)h->data, (float *)dh->data,
                   (float *)dz->data, z->size);
    return finish(&call);
}

static void lstm_row(float *restrict gates, const float *restrict product,
                     const float *restrict c_before, float *restrict c, float *restrict active,
                     float *restrict h, Py_ssize_t units)
{
    float *i = gates, *f = i + units, *g = f + units, *o = g + units;
    LOOP
    for (Py_ssize_t u = 0; u < 2 * units; u++)
        gates[u] = sigmoid_f(gates[u] + product[u]);
    LOOP
    for (Py_ssize_t u = 0; u < units; u++)
        g[u] = tanh_f(g[u] + product[2 * units + u]);
    LOOP
    for (Py_ssize_t u = 0; u < units; u++) {
        o[u] = sigmoid_f(o[u] + product[3 * units + u]);
        c[u] = f[u] * c_before[u] + i[u] * g[u];
        active[u] = tanh_f(c[u]);
        h[u] = o[u] * active[u];
    }
}

/* lstm_step(z, product, c_before, activation, recurrent_activation, gates, c, active, h) with the
   usual activations, whose slopes follow from the gates alone: these take z's memory. */
static PyObject *lstm_step(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 9);
    Array *z = output(&call, 0), *product = array(&call, 1), *c_before = array(&call, 2);
    Array *gates = output(&call, 5), *c = output(&call, 6), *active = output(&call, 7);
    Array *h = output(&call, 8);
    want(&call, activation(&call, 3) == TANH && activation(&call, 4) == SIGMOID);
    want(&call, are_real(&call) && z->type == 'f' && z->data == gates->data && c->axes == 2);
    want(&call, z->size == 4 * c->size && gates->size == z->size && product->size == z->size);
    want(&call, c_before->size == c->size && active->size == c->size && h->size == c->size);
    if (call.unfit)
        return fall_back(&call);
    Py_ssize_t rows = c->shape[0], units = c->shape[1];
    run(&call, 8 * c->size);
    for (Py_ssize_t row = 0; row < rows; row++) {
        Py_ssize_t at = row * units;
        lstm_row((float *)gates->data + 4 * at, (float *)product->data + 4 * at,
                 (float *)c_before->data + at, (float *)c->data + at, (float *)active->data + at,
                 (float *)h->data + at, units);
    }
    return finish(&call);
}

static void lstm_row_back(const float *gates, const float *c_before, const float *active,
                          const float *dh, float *dc, float *dz, Py_ssize_t units)
{
    const float *i = gates, *f = i + units, *g = f + units, *o = g + units;
    LOOP
    for (Py_ssize_t u = 0; u < units; u++) {
        float slope = dc[u] + dh[u] * o[u] * tanh_slope(0, active[u]);
        dz[u] = slope * g[u] * sigmoid_slope(0, i[u]);
        dz[units + u] = slope * c_before[u] * sigmoid_slope(0, f[u]);
        dz[2 * units + u] = slope * i[u] * tanh_slope(0, g[u]);
        dz[3 * units + u] = dh[u] * active[u] * sigmoid_slope(0, o[u]);
        dc[u] = slope * f[u];
    }
}

/* lstm_step_backward(z, gates, c_before, c, active, activation, recurrent_activation, dh, dc, dz,
                      work) */
static PyObject *lstm_step_backward(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                    PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 11);
    Array *gates = array(&call, 1), *c_before = array(&call, 2), *active = array(&call, 4);
    Array *dh = array(&call, 7), *dc = output(&call, 8), *dz = output(&call, 9);
    want(&call, activation(&call, 5) == TANH && activation(&call, 6) == SIGMOID);
    want(&call, are_real(&call) && dc->type == 'f' && dc->axes == 2);
    want(&call, gates->size == 4 * dc->size && dz->size == gates->size);
    want(&call, c_before->size == dc->size && active->size == dc->size && dh->size == dc->size);
    if (call.unfit)
        return fall_back(&call);
    Py_ssize_t rows = dc->shape[0], units = dc->shape[1];
    run(&call, 8 * dc->size);
    for (Py_ssize_t row = 0; row < rows; row++) {
        Py_ssize_t at = row * units;
        lstm_row_back((float *)gates->data + 4 * at, (float *)c_before->data + at,
                      (float *)active->data + at, (float *)dh->data + at, (float *)dc->data + at,
                      (float *)dz->data + 4 * at, units);
    }
    return finish(&call);
}

/* gru_gates(z, product, recurrent_activation, gates): product's rows may lie apart */
static PyObject *gru_gates(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 4);
    Array *z = output(&call, 0), *product = array(&call, 1), *gates = output(&call, 3);
    enum Activation kind = activation(&call, 2);
    want(&call, is_real(z) && is_real(gates) && z->type == 'f' && gates->type == 'f');
    want(&call, z->axes == 2 && gates->size == z->size && product->axes == 2);
    want(&call, product->type == 'f' && z->axes == 2 && z->shape[1] % 3 == 0);
    if (call.unfit || !is_matrix(product, z->shape[0], product->shape[1]) ||
        product->shape[1] < z->shape[1] / 3 * 2)
        return fall_back(&call);
    Py_ssize_t rows = z->shape[0], width = z->shape[1], two = width / 3 * 2;
    run(&call, rows * two);
    for (Py_ssize_t row = 0; row < rows; row++)
        activate_f32(kind, (float *)z->data + row * width,
                     (float *)product->data + row * pitch(product),
                     (float *)gates->data + row * width, two);
    return finish(&call);
}

/* gru_output(z, product, h_before, activation, gates, h): product's rows may lie apart */
static PyObject *gru_output(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 6);
    Array *z = output(&call, 0), *product = array(&call, 1), *h_before = array(&call, 2);
    Array *gates = output(&call, 4), *h = output(&call, 5);
    enum Activation kind = activation(&call, 3);
    want(&call, is_real(z) && is_real(gates) && is_real(h_before) && is_real(h));
    want(&call, z->type == 'f' && gates->type == 'f' && h_before->type == 'f' && h->type == 'f');
    want(&call, h->axes == 2 && z->size == 3 * h->size && gates->size == z->size);
    want(&call, h_before->size == h->size && product->type == 'f');
    if (call.unfit || !is_matrix(product, h->shape[0], h->shape[1]))
        return fall_back(&call);
    Py_ssize_t rows = h->shape[0], units = h->shape[1];
    run(&call, 3 * h->size);
    for (Py_ssize_t row = 0; row < rows; row++) {
        Py_ssize_t at = row * units;
        const float *update = (float *)gates->data + 3 * at, *before = (float *)h_before->data + at;
        float *candidate = (float *)gates->data + 3 * at + 2 * units, *after = (float *)h->data + at;
        activate_f32(kind, (float *)z->data + 3 * at + 2 * units,
                     (float *)product->data + row * pitch(product), candidate, units);
        LOOP
        for (Py_ssize_t u = 0; u < units; u++)
            after[u] = (before[u] - candidate[u]) * update[u] + candidate[u];
    }
    return finish(&call);
}

/* gru_output_backward(z, gates, h_before, activation, recurrent_activation, dh, dz, work) */
static PyObject *gru_output_backward(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                     PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 8);
    Array *z = array(&call, 0), *gates = array(&call, 1), *h_before = array(&call, 2);
    Array *dh = output(&call, 5), *dz = output(&call, 6), *work = output(&call, 7);
    enum Activation kind = activation(&call, 3), gate = activation(&call, 4);
    want(&call, are_real(&call) && dh->type == 'f' && dh->axes == 2);
    want(&call, z->size == 3 * dh->size && gates->size == z->size && dz->size == z->size);
    want(&call, h_before->size == dh->size && work->size == dh->size);
    if (call.unfit)
        return fall_back(&call);
    Py_ssize_t rows = dh->shape[0], units = dh->shape[1];
    run(&call, 3 * dh->size);
    for (Py_ssize_t row = 0; row < rows; row++) {
        Py_ssize_t at = row * units;
        const float *into = (float *)z->data + 3 * at, *update = (float *)gates->data + 3 * at;
        const float *candidate = update + 2 * units, *before = (float *)h_before->data + at;
        float *slope = (float *)dh->data + at, *through = (float *)work->data + at;
        float *found = (float *)dz->data + 3 * at;
        LOOP
        for (Py_ssize_t u = 0; u < units; u++)
            through[u] = (before[u] - candidate[u]) * slope[u];
        deactivate_f32(gate, into, update, through, found, units);
        LOOP
        for (Py_ssize_t u = 0; u < units; u++) {
            through[u] = (1 - update[u]) * slope[u];
            slope[u] *= update[u];
        }
        deactivate_f32(kind, into + 2 * units, candidate, through, found + 2 * units, units);
    }
    return finish(&call);
}

/* gru_reset_backward(z, gates, value, d, recurrent_activation, dz), with the usual activation:
   the rows of value and d may lie apart. */
static PyObject *gru_reset_backward(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                    PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 6);
    Array *gates = array(&call, 1), *value = array(&call, 2), *d = array(&call, 3);
    Array *dz = output(&call, 5);
    want(&call, activation(&call, 4) == SIGMOID && gates->axes == 2 && dz->size == gates->size);
    want(&call, is_real(gates) && is_real(dz) && gates->type == 'f' && dz->type == 'f');
    want(&call, value->type == 'f' && d->type == 'f');
    if (call.unfit || !is_matrix(value, gates->shape[0], gates->shape[1] / 3) ||
        !is_matrix(d, gates->shape[0], gates->shape[1] / 3))
        return fall_back(&call);
    Py_ssize_t rows = gates->shape[0], units = gates->shape[1] / 3;
    run(&call, rows * units);
    for (Py_ssize_t row = 0; row < rows; row++) {
        const float *reset = (float *)gates->data + (3 * row + 1) * units;
        const float *times = (float *)value->data + row * pitch(value);
        const float *slope = (float *)d->data + row * pitch(d);
        float *found = (float *)dz->data + (3 * row + 1) * units;
        LOOP
        for (Py_ssize_t u = 0; u < units; u++)
            found[u] = sigmoid_slope(0, reset[u]) * times[u] * slope[u];
    }
    return finish(&call);
}
