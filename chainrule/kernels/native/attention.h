/* Attention, a head of a row of the batch at a time: its scores stay in the cache, from the product
   that makes them to the one that they weigh. The shapes are in chainrule/kernels/attention.py. */

/* On either side of a product. */
typedef Right Matrix;

typedef struct {
    Py_ssize_t batch, steps, seen, heads, width, value_width;
    const float *q, *k, *v, *kept;
    float scale;
    float *shares, *work; /* of the work two heads' scores */
} Attention;

/* A head's matrix within rows of all heads. */
static Matrix head_of(const float *rows, Py_ssize_t count, Py_ssize_t heads, Py_ssize_t width,
                      Py_ssize_t row, Py_ssize_t head)
{
    Matrix of = {rows + (row * count * heads + head) * width, heads * width, 1};
    return of;
}

static inline Matrix turned(Matrix of)
{
    Matrix other = {of.data, of.column, of.row};
    return other;
}

static int is_of(const Array *a, Py_ssize_t batch, Py_ssize_t steps, Py_ssize_t heads,
                 Py_ssize_t width)
{
    return is_real(a) && a->type == 'f' && a->axes == 4 && a->shape[0] == batch &&
           a->shape[1] == steps && a->shape[2] == heads && a->shape[3] == width;
}

/* What both ways have; unfit, if it is not as it should be. */
static Attention attention(Call *call, const Array *q, const Array *k, const Array *v,
                           const Array *kept, double scale, const Array *shares, const Array *work)
{
    Attention a = {0};
    want(call, q->axes == 4 && k->axes == 4 && v->axes == 4);
    if (call->unfit)
        return a;
    Py_ssize_t batch = q->shape[0], steps = q->shape[1], heads = q->shape[2], width = q->shape[3];
    Py_ssize_t seen = k->shape[1], scores = batch * heads * steps * seen;
    want(call, is_of(q, batch, steps, heads, width) && is_of(k, batch, seen, heads, width));
    want(call, is_of(v, batch, seen, heads, v->shape[3]) && scores > 0);
    want(call, is_float(shares, scores) && (kept == NULL || is_float(kept, scores)));
    want(call, is_float(work, work->size) && work->size >= 2 * steps * seen);
    Attention found = {batch, steps, seen, heads, width, v->shape[3],
                       (float *)q->data, (float *)k->data, (float *)v->data, data_of(kept),
                       (float)scale, (float *)shares->data, (float *)work->data};
    return found;
}

/* The interpreter's lock is given up if the products are long. */
static void run_heads(Call *call, const Attention *a)
{
    run(call, a->batch * a->heads * a->steps * a->seen * (1 + a->width / 4));
}

/* Write a number where a score must not count. */
static void hide(const Attention *a, const char *padded, int causal, float value, float *scores)
{
    for (Py_ssize_t i = 0; i < a->steps; i++, scores += a->seen)
        for (Py_ssize_t j = 0; j < a->seen; j++)
            if ((padded != NULL && padded[j]) || (causal && j > i))
                scores[j] = value;
}

/* Return a head's shares, less what dropout drops, which are written to ``other``. */
static const float *kept_of(const Attention *a, const float *shares, Py_ssize_t at, float *other)
{
    if (a->kept == NULL)
        return shares;
    LOOP
    for (Py_ssize_t i = 0; i < a->steps * a->seen; i++)
        other[i] = shares[i] * a->kept[at + i];
    return other;
}

/* attend(q, k, v, padded, causal, kept, scale, shares, work, mixed) */
static PyObject *attend(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 10);
    Array *q = array(&call, 0), *k = array(&call, 1), *v = array(&call, 2);
    Array *padded = optional(&call, 3), *kept = optional(&call, 5);
    Array *shares = output(&call, 7), *work = output(&call, 8), *mixed = output(&call, 9);
    int causal = number(&call, 4, NULL) != 0, hides = padded != NULL || causal;
    Attention a = attention(&call, q, k, v, kept, number(&call, 6, NULL), shares, work);
    want(&call, is_of(mixed, a.batch, a.steps, a.heads, a.value_width));
    if (call.unfit || !is_mask(padded, a.batch * a.seen))
        return fall_back(&call);
    run_heads(&call, &a);
    for (Py_ssize_t row = 0; row < a.batch; row++)
        for (Py_ssize_t head = 0; head < a.heads; head++) {
            Py_ssize_t at = (row * a.heads + head) * a.steps * a.seen;
            const char *masked = padded == NULL ? NULL : padded->data + row * a.seen;
            Matrix to = head_of((float *)mixed->data, a.steps, a.heads, a.value_width, row, head);
            float *scores = a.shares + at;
            multiply(head_of(a.q, a.steps, a.heads, a.width, row, head),
                     turned(head_of(a.k, a.seen, a.heads, a.width, row, head)), a.steps, a.width,
                     a.seen, scores, a.seen);
            if (hides)
                hide(&a, masked, causal, -0.5f * FLT_MAX, scores);
            softmax_loop(scores, a.steps, a.seen, a.scale, scores);
            if (hides) /* matters where a row has nothing else */
                hide(&a, masked, causal, 0.0f, scores);
            Matrix by = {kept_of(&a, scores, at, a.work), a.seen, 1};
            multiply(by, head_of(a.v, a.seen, a.heads, a.value_width, row, head), a.steps, a.seen,
                     a.value_width, (float *)to.data, to.row);
        }
    return finish(&call);
}

/* attend_backward(q, k, v, kept, scale, shares, dmixed, work, dq, dk, dv) */
static PyObject *attend_backward(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                 PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 11);
    Array *q = array(&call, 0), *k = array(&call, 1), *v = array(&call, 2);
    Array *kept = optional(&call, 3), *shares = array(&call, 5), *dmixed = array(&call, 6);
    Array *work = output(&call, 7), *dq = output(&call, 8), *dk = output(&call, 9);
    Array *dv = output(&call, 10);
    Attention a = attention(&call, q, k, v, kept, number(&call, 4, NULL), shares, work);
    want(&call, is_of(dmixed, a.batch, a.steps, a.heads, a.value_width));
    want(&call, is_of(dq, a.batch, a.steps, a.heads, a.width));
    want(&call, is_of(dk, a.batch, a.seen, a.heads, a.width));
    want(&call, is_of(dv, a.batch, a.seen, a.heads, a.value_width));
    if (call.unfit)
        return fall_back(&call);
    run_heads(&call, &a);
    for (Py_ssize_t row = 0; row < a.batch; row++)
        for (Py_ssize_t head = 0; head < a.heads; head++) {
            Py_ssize_t size = a.steps * a.seen, at = (row * a.heads + head) * size;
            float *slopes = a.work, *other = a.work + size;
            Matrix of = head_of((float *)dmixed->data, a.steps, a.heads, a.value_width, row, head);
            Matrix to_q = head_of((float *)dq->data, a.steps, a.heads, a.width, row, head);
            Matrix to_k = head_of((float *)dk->data, a.seen, a.heads, a.width, row, head);
            Matrix to_v = head_of((float *)dv->data, a.seen, a.heads, a.value_width, row, head);
            Matrix by = {kept_of(&a, a.shares + at, at, other), a.seen, 1};
            multiply(turned(by), of, a.seen, a.steps, a.value_width, (float *)to_v.data, to_v.row);
            multiply(of, turned(head_of(a.v, a.seen, a.heads, a.value_width, row, head)), a.steps,
                     a.value_width, a.seen, slopes, a.seen);
            softmax_back_loop(a.shares + at, kept_of(&a, slopes, at, slopes), a.steps, a.seen,
                              a.scale, other);
            Matrix back = {other, a.seen, 1};
            multiply(back, head_of(a.k, a.seen, a.heads, a.width, row, head), a.steps, a.seen,
                     a.width, (float *)to_q.data, to_q.row);
            multiply(turned(back), head_of(a.q, a.steps, a.heads, a.width, row, head), a.seen,
                     a.steps, a.width, (float *)to_k.data, to_k.row);
        }
    return finish(&call);
}
