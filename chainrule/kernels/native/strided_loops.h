/* The loops over a walk. */

static void OF(fill_all)(Walk *w, double value, Py_ssize_t size)
{
    Py_ssize_t place[MOST_AXES] = {0}, n = w->shape[w->axes - 1], step = w->steps[0][w->axes - 1];
    if (size == 0)
        return;
    do {
        if (step == sizeof(REAL)) {
            REAL *to = (REAL *)w->at[0];
            for (Py_ssize_t i = 0; i < n; i++)
                to[i] = (REAL)value;
            continue;
        }
        for (Py_ssize_t i = 0; i < n; i++)
            *(REAL *)(w->at[0] + i * step) = (REAL)value;
    } while (next_run(w, place));
}

/* out = a + b or a b along a run; inlined for the steps that are known, in elements. */
INLINE void OF(run_of)(int is_product, const REAL *a, Py_ssize_t a_step, const REAL *b,
                       Py_ssize_t b_step, REAL *out, Py_ssize_t step, Py_ssize_t n)
{
    LOOP
    for (Py_ssize_t i = 0; i < n; i++)
        out[i * step] = is_product ? a[i * a_step] * b[i * b_step] : a[i * a_step] + b[i * b_step];
}

INLINE void OF(combine_runs)(Walk *w, double value, int is_product)
{
    enum { ONE = sizeof(REAL) };
    REAL number = (REAL)value;
    int last = w->axes - 1, by_number = w->operands == 2;
    Py_ssize_t place[MOST_AXES] = {0}, n = w->shape[last], step = w->steps[0][last];
    Py_ssize_t a_step = w->steps[1][last], b_step = by_number ? 0 : w->steps[2][last];
    do {
        REAL *out = (REAL *)w->at[0];
        const REAL *a = (REAL *)w->at[1], *b = by_number ? &number : (REAL *)w->at[2];
        if (step == ONE && a_step == ONE && b_step == ONE)
            OF(run_of)(is_product, a, 1, b, 1, out, 1, n);
        else if (step == ONE && a_step == ONE && b_step == 0)
            OF(run_of)(is_product, a, 1, b, 0, out, 1, n);
        else
            OF(run_of)(is_product, a, a_step / ONE, b, b_step / ONE, out, step / ONE, n);
    } while (next_run(w, place));
}

static void OF(combine_all)(Walk *w, double value, int is_product, Py_ssize_t size)
{
    if (size == 0)
        return;
    if (is_product)
        OF(combine_runs)(w, value, 1);
    else
        OF(combine_runs)(w, value, 0);
}
