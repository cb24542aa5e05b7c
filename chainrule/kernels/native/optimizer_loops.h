/* One pass over flat vectors each; the formulas are in chainrule/kernels/optimizers.py. */

static void OF(sgd_loop)(REAL *p, const REAL *g, Py_ssize_t n, REAL rate)
{
    LOOP
    for (Py_ssize_t i = 0; i < n; i++)
        p[i] -= rate * g[i];
}

static void OF(momentum_loop)(REAL *p, const REAL *g, REAL *v, Py_ssize_t n, REAL rate, REAL decay)
{
    LOOP
    for (Py_ssize_t i = 0; i < n; i++) {
        v[i] = decay * v[i] + g[i];
        p[i] -= rate * v[i];
    }
}

static void OF(nesterov_loop)(REAL *p, const REAL *g, REAL *v, Py_ssize_t n, REAL rate, REAL decay)
{
    LOOP
    for (Py_ssize_t i = 0; i < n; i++) {
        v[i] = decay * v[i] + g[i];
        p[i] -= rate * (g[i] + decay * v[i]);
    }
}

static void OF(adam_loop)(REAL *p, const REAL *g, REAL *m, REAL *v, Py_ssize_t n,
                          const struct adam *by)
{
    REAL beta_1 = (REAL)by->beta_1, beta_2 = (REAL)by->beta_2;
    REAL rest_1 = (REAL)(1.0 - by->beta_1), rest_2 = (REAL)(1.0 - by->beta_2);
    REAL rate = (REAL)by->rate, epsilon = (REAL)by->epsilon, kept = (REAL)by->kept;
    LOOP
    for (Py_ssize_t i = 0; i < n; i++) {
        m[i] = beta_1 * m[i] + rest_1 * g[i];
        v[i] = beta_2 * v[i] + rest_2 * (g[i] * g[i]);
        p[i] = kept * p[i] - rate * (m[i] / ((REAL)sqrt(v[i]) + epsilon));
    }
}
