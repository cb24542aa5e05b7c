/* What a kernel is called with: arrays through the buffer protocol, numbers, and names.

   A kernel is a method whose self is its reference, the function in numpy of the same name, or a
   Recorded call of it. It takes what it can: where something is unfit (a type, a stride, a shape),
   the reference runs. When it is called again as recorded, no object of Python's may be touched:
   the arguments come from the record, in the order in which they were asked for.

       static PyObject *sgd(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
       {
           Call call;
           begin(&call, self, args, n, names, 3);
           Array *parameters = output(&call, 0), *gradients = array(&call, 1);
           double rate = number(&call, 2, "learning_rate");
           want(&call, are_vectors(&call));
           if (call.unfit)
               return fall_back(&call);
           run(&call, parameters->size);
           ... the loop ...
           return finish(&call);
       }
*/
#ifndef CHAINRULE_ARGUMENTS_H
#define CHAINRULE_ARGUMENTS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { MOST_ARRAYS = 16, MOST_NUMBERS = 16 };

typedef struct {
    Py_buffer view;
    char *data;
    char type; /* as of the module struct: 'f' float32, 'd' float64, 'B' uint8, '?' bool, 'l' int64 */
    int is_contiguous;
    int axes;
    Py_ssize_t size; /* elements */
    const Py_ssize_t *shape;
    const Py_ssize_t *strides; /* bytes */
} Array;

/* Windows over images: as chainrule/spec/layers/sliding.py has them. */
typedef struct {
    Py_ssize_t size, kernel, stride, dilation, before, windows;
} Axis;

typedef struct {
    Axis rows, columns;
} Windows;

/* What the arguments of a call were found to be, so that it can be made again without a look. */
typedef struct {
    int is_complete;
    int fell_back;
    Py_ssize_t elements; /* as run() was told */
    Array arrays[MOST_ARRAYS];
    double numbers[MOST_NUMBERS];
    Windows windows;
    int opened; /* arrays */
} Known;

typedef struct {
    PyObject *reference;
    PyObject *const *args;
    Py_ssize_t given; /* positional arguments */
    PyObject *names;  /* of the others */
    PyThreadState *thread;
    int unfit;
    Known *known; /* NULL, if the call is made but once */
    int used;     /* arrays */
    int counted;  /* numbers */
    Array *arrays;
    Array own[MOST_ARRAYS];
} Call;

/* The activations, in the order of their names in arguments.c. */
enum Activation { LINEAR, RELU, LEAKY_RELU, ELU, GELU, SIGMOID, TANH, SOFTPLUS, SWISH, UNKNOWN };

void begin(Call *call, PyObject *reference, PyObject *const *args, Py_ssize_t given,
           PyObject *names, Py_ssize_t most);

/* The array at a place: one with no elements, if there is none or it is of no use. */
Array *array(Call *call, int place);
Array *output(Call *call, int place);          /* one that may be written to */
Array *optional(Call *call, int place);        /* NULL, if None is given */
Array *optional_output(Call *call, int place); /* NULL, if None is given */

double number(Call *call, int place, const char *name);
double number_or(Call *call, int place, const char *name, double otherwise);
enum Activation activation(Call *call, int place);
Windows windows(Call *call, int place);
PyObject *object(Call *call, int place, const char *name); /* borrowed, NULL if it is not given */

static inline void want(Call *call, int fits)
{
    call->unfit |= !fits;
}

int is_real(const Array *a);                          /* contiguous, float32 or float64 */
int is_matrix(const Array *a, Py_ssize_t rows, Py_ssize_t columns); /* rows may lie apart */
int are_vectors(const Call *call); /* all arrays are real, of one type and as long as the first */
int are_real(const Call *call);    /* all arrays are real, of one type */

/* The first tap of a window that is a real cell, and the one after the last. */
static inline Py_ssize_t first_tap(const Axis *axis, Py_ssize_t window)
{
    Py_ssize_t start = window * axis->stride - axis->before;
    if (start >= 0)
        return 0;
    return axis->dilation == 1 ? -start : (axis->dilation - 1 - start) / axis->dilation;
}

static inline Py_ssize_t end_tap(const Axis *axis, Py_ssize_t window)
{
    Py_ssize_t left = axis->size - (window * axis->stride - axis->before);
    if (left <= 0)
        return 0;
    Py_ssize_t end = axis->dilation == 1 ? left : (left - 1) / axis->dilation + 1;
    return end < axis->kernel ? end : axis->kernel;
}

/* The cell under a window's tap. */
static inline Py_ssize_t cell(const Axis *axis, Py_ssize_t window, Py_ssize_t tap)
{
    return window * axis->stride - axis->before + tap * axis->dilation;
}

/* Whether the array is of images (batch, rows, columns, channels), contiguous or, where a loop takes
   that, with pixels of adjacent channels that lie apart. */
int are_images(const Array *a, Py_ssize_t batch, Py_ssize_t rows, Py_ssize_t columns,
               Py_ssize_t channels);

/* The elements from one row of a matrix to the next. */
static inline Py_ssize_t pitch(const Array *a)
{
    return a->strides[0] / a->view.itemsize;
}

/* Start the loop over so many elements: other threads run meanwhile, if it is worth it. */
void run(Call *call, Py_ssize_t elements);

/* End the call: with None, or with what the reference returns. */
PyObject *finish(Call *call);
PyObject *fall_back(Call *call);

#endif
