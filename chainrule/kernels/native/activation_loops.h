/* The loops of the elementwise activations; those with powers of e only for float32. */

typedef REAL OF(value_t)(REAL x);
typedef REAL OF(slope_t)(REAL x, REAL y);

INLINE REAL OF(linear)(REAL x) { return x; }
INLINE REAL OF(linear_slope)(REAL x, REAL y) { (void)x, (void)y; return 1; }
INLINE REAL OF(relu)(REAL x) { return x < 0 ? 0 : x; }
INLINE REAL OF(relu_slope)(REAL x, REAL y) { (void)x; return y > 0 ? 1 : 0; }
INLINE REAL OF(leaky_relu)(REAL x) { return x < 0 ? x * (REAL)LEAKY_SLOPE : x; }
INLINE REAL OF(leaky_relu_slope)(REAL x, REAL y) { (void)x; return y > 0 ? 1 : (REAL)LEAKY_SLOPE; }

/* y = f(x + bias), x keeping the sum; y may be x. Inlined for each f, so that its loop is one. */
INLINE void OF(map)(OF(value_t) *f, REAL *x, const REAL *bias, REAL *y, Py_ssize_t n)
{
    if (bias == NULL) {
        LOOP
        for (Py_ssize_t i = 0; i < n; i++)
            y[i] = f(x[i]);
    } else if (x == y) {
        LOOP
        for (Py_ssize_t i = 0; i < n; i++)
            y[i] = f(y[i] + bias[i]);
    } else {
        LOOP
        for (Py_ssize_t i = 0; i < n; i++) {
            x[i] += bias[i];
            y[i] = f(x[i]);
        }
    }
}

/* y = f(x + bias), and x = f'(x + bias), which has the dear parts in common; y is not x. */
INLINE void OF(map_slope)(OF(value_t) *f, OF(slope_t) *slope, REAL *x, const REAL *bias, REAL *y,
                          Py_ssize_t n)
{
    LOOP
    for (Py_ssize_t i = 0; i < n; i++) {
        REAL sum = bias == NULL ? x[i] : x[i] + bias[i];
        y[i] = f(sum);
        x[i] = slope(sum, y[i]);
    }
}

/* dx = f'(x) dy. */
INLINE void OF(map_back)(OF(slope_t) *slope, const REAL *x, const REAL *y, const REAL *dy,
                         REAL *dx, Py_ssize_t n)
{
    LOOP
    for (Py_ssize_t i = 0; i < n; i++)
        dx[i] = slope(x[i], y[i]) * dy[i];
}

static void OF(activate)(enum Activation kind, REAL *x, const REAL *bias, REAL *y, Py_ssize_t n)
{
    switch (kind) {
    case LINEAR: OF(map)(OF(linear), x, bias, y, n); break;
    case RELU: OF(map)(OF(relu), x, bias, y, n); break;
    case LEAKY_RELU: OF(map)(OF(leaky_relu), x, bias, y, n); break;
#ifdef SINGLE
    case ELU: OF(map)(elu_f, x, bias, y, n); break;
    case GELU: OF(map)(gelu_f, x, bias, y, n); break;
    case SIGMOID: OF(map)(sigmoid_f, x, bias, y, n); break;
    case TANH: OF(map)(tanh_f, x, bias, y, n); break;
    case SOFTPLUS: OF(map)(softplus_f, x, bias, y, n); break;
    case SWISH: OF(map)(swish_f, x, bias, y, n); break;
#endif
    default: break;
    }
}

static void OF(activate_slope)(enum Activation kind, REAL *x, const REAL *bias, REAL *y,
                               Py_ssize_t n)
{
    switch (kind) {
    case LINEAR: OF(map_slope)(OF(linear), OF(linear_slope), x, bias, y, n); break;
    case RELU: OF(map_slope)(OF(relu), OF(relu_slope), x, bias, y, n); break;
    case LEAKY_RELU: OF(map_slope)(OF(leaky_relu), OF(leaky_relu_slope), x, bias, y, n); break;
#ifdef SINGLE
    case ELU: OF(map_slope)(elu_f, elu_slope, x, bias, y, n); break;
    case GELU: OF(map_slope)(gelu_f, gelu_slope, x, bias, y, n); break;
    case SIGMOID: OF(map_slope)(sigmoid_f, sigmoid_slope, x, bias, y, n); break;
    case TANH: OF(map_slope)(tanh_f, tanh_slope, x, bias, y, n); break;
    case SOFTPLUS: OF(map_slope)(softplus_f, softplus_slope, x, bias, y, n); break;
    case SWISH: OF(map_slope)(swish_f, swish_slope, x, bias, y, n); break;
#endif
    default: break;
    }
}

static void OF(deactivate)(enum Activation kind, const REAL *x, const REAL *y, const REAL *dy,
                           REAL *dx, Py_ssize_t n)
{
    switch (kind) {
    case LINEAR: OF(map_back)(OF(linear_slope), x, y, dy, dx, n); break;
    case RELU: OF(map_back)(OF(relu_slope), x, y, dy, dx, n); break;
    case LEAKY_RELU: OF(map_back)(OF(leaky_relu_slope), x, y, dy, dx, n); break;
#ifdef SINGLE
    case ELU: OF(map_back)(elu_slope, x, y, dy, dx, n); break;
    case GELU: OF(map_back)(gelu_slope, x, y, dy, dx, n); break;
    case SIGMOID: OF(map_back)(sigmoid_slope, x, y, dy, dx, n); break;
    case TANH: OF(map_back)(tanh_slope, x, y, dy, dx, n); break;
    case SOFTPLUS: OF(map_back)(softplus_slope, x, y, dy, dx, n); break;
    case SWISH: OF(map_back)(swish_slope, x, y, dy, dx, n); break;
#endif
    default: break;
    }
}

/* Activate row by row, as ``each`` does. Short rows are taken several at once, with as many copies
   of the bias, so that the vectors are full. */
static void OF(by_rows)(void each(enum Activation, REAL *, const REAL *, REAL *, Py_ssize_t),
                        enum Activation kind, REAL *x, const REAL *bias, REAL *y, Py_ssize_t rows,
                        Py_ssize_t columns)
{
    REAL copies[2 * TILE];
    if (bias != NULL && rows > 1 && columns < TILE) {
        Py_ssize_t together = TILE / columns;
        for (Py_ssize_t i = 0; i < together; i++)
            memcpy(copies + i * columns, bias, (size_t)columns * sizeof *bias);
        Py_ssize_t step = together * columns;
        for (; rows >= together; rows -= together, x += step, y += step)
            each(kind, x, copies, y, step);
        each(kind, x, copies, y, rows * columns);
        return;
    }
    for (Py_ssize_t row = 0; row < rows; row++)
        each(kind, x + row * columns, bias, y + row * columns, columns);
}

static void OF(activate_rows)(enum Activation kind, REAL *x, const REAL *bias, REAL *y,
                              Py_ssize_t rows, Py_ssize_t columns)
{
    OF(by_rows)(OF(activate), kind, x, bias, y, rows, columns);
}

static void OF(activate_slope_rows)(enum Activation kind, REAL *x, const REAL *bias, REAL *y,
                                    Py_ssize_t rows, Py_ssize_t columns)
{
    OF(by_rows)(OF(activate_slope), kind, x, bias, y, rows, columns);
}
