/* The steps of the optimizers. */

struct adam {
    double beta_1, beta_2;
    double rate;    /* learning rate and both corrections */
    double epsilon; /* times sqrt(1 - beta_2^step) */
    double kept;    /* what weight decay leaves */
};

#define LOOPS "optimizer_loops.h"
#include "both_types.h"

/* sgd(parameters, gradients, learning_rate) */
static PyObject *sgd(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 3);
    Array *p = output(&call, 0), *g = array(&call, 1);
    double rate = number(&call, 2, "learning_rate");
    want(&call, are_vectors(&call));
    if (call.unfit)
        return fall_back(&call);
    run(&call, p->size);
    if (p->type == 'f')
        sgd_loop_f32((float *)p->data, (float *)g->data, p->size, (float)rate);
    else
        sgd_loop_f64((double *)p->data, (double *)g->data, p->size, rate);
    return finish(&call);
}

typedef void momentum_f32(float *, const float *, float *, Py_ssize_t, float, float);
typedef void momentum_f64(double *, const double *, double *, Py_ssize_t, double, double);

/* name(parameters, gradients, velocity, learning_rate, decay) */
static PyObject *with_momentum(PyObject *self, PyObject *const *args, Py_ssize_t n,
                               PyObject *names, momentum_f32 *loop_f32, momentum_f64 *loop_f64)
{
    Call call;
    begin(&call, self, args, n, names, 5);
    Array *p = output(&call, 0), *g = array(&call, 1), *v = output(&call, 2);
    double rate = number(&call, 3, "learning_rate"), decay = number(&call, 4, "decay");
    want(&call, are_vectors(&call));
    if (call.unfit)
        return fall_back(&call);
    run(&call, p->size);
    if (p->type == 'f')
        loop_f32((float *)p->data, (float *)g->data, (float *)v->data, p->size, (float)rate,
                 (float)decay);
    else
        loop_f64((double *)p->data, (double *)g->data, (double *)v->data, p->size, rate, decay);
    return finish(&call);
}

static PyObject *momentum(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    return with_momentum(self, args, n, names, momentum_loop_f32, momentum_loop_f64);
}

static PyObject *nesterov(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    return with_momentum(self, args, n, names, nesterov_loop_f32, nesterov_loop_f64);
}

/* adam(parameters, gradients, m, v, *, learning_rate, beta_1, beta_2, epsilon, step,
        weight_decay=0.0) */
static PyObject *adam(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    Call call;
    begin(&call, self, args, n, names, 10);
    Array *p = output(&call, 0), *g = array(&call, 1), *m = output(&call, 2);
    Array *v = output(&call, 3);
    double rate = number(&call, 4, "learning_rate");
    double beta_1 = number(&call, 5, "beta_1"), beta_2 = number(&call, 6, "beta_2");
    double epsilon = number(&call, 7, "epsilon"), step = number(&call, 8, "step");
    double decay = number_or(&call, 9, "weight_decay", 0.0);
    want(&call, n == 4 && are_vectors(&call));
    if (call.unfit)
        return fall_back(&call);
    double root = sqrt(1.0 - pow(beta_2, step));
    struct adam by = {
        .beta_1 = beta_1,
        .beta_2 = beta_2,
        .rate = rate * root / (1.0 - pow(beta_1, step)),
        .epsilon = epsilon * root,
        .kept = 1.0 - rate * decay,
    };
    run(&call, p->size);
    if (p->type == 'f')
        adam_loop_f32((float *)p->data, (float *)g->data, (float *)m->data, (float *)v->data,
                      p->size, &by);
    else
        adam_loop_f64((double *)p->data, (double *)g->data, (double *)m->data,
                      (double *)v->data, p->size, &by);
    return finish(&call);
}
