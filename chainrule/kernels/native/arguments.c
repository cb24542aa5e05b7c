#include "arguments.h"
#include "recorded.h"

static const char *const ACTIVATIONS[UNKNOWN] = {
    "linear", "relu", "leaky_relu", "elu", "gelu", "sigmoid", "tanh", "softplus", "swish",
};

static const Py_ssize_t NO_AXIS[2] = {0, 0};

void begin(Call *call, PyObject *reference, PyObject *const *args, Py_ssize_t given,
           PyObject *names, Py_ssize_t most)
{
    call->known = known_of(&reference);
    call->reference = reference;
    call->args = args;
    call->given = given;
    call->names = names;
    call->thread = NULL;
    call->used = call->counted = 0;
    call->arrays = call->known == NULL ? call->own : call->known->arrays;
    call->unfit = given + (names == NULL ? 0 : PyTuple_GET_SIZE(names)) > most;
}

static int is_again(const Call *call)
{
    return call->known != NULL && call->known->is_complete;
}

PyObject *object(Call *call, int place, const char *name)
{
    if (place < call->given)
        return call->args[place];
    if (call->names == NULL || name == NULL)
        return NULL;
    Py_ssize_t count = PyTuple_GET_SIZE(call->names);
    Py_ssize_t first = place - call->given; /* where it is, if they come in order */
    for (Py_ssize_t i = 0; i < count; i++) {
        Py_ssize_t at = (first + i) % count;
        if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(call->names, at), name) == 0)
            return call->args[call->given + at];
    }
    return NULL;
}

static int open_array(Array *a, PyObject *from)
{
    if (PyObject_GetBuffer(from, &a->view, PyBUF_STRIDED_RO | PyBUF_FORMAT) != 0) {
        PyErr_Clear();
        return 0;
    }
    const char *format = a->view.format == NULL ? "B" : a->view.format;
    a->data = a->view.buf;
    a->type = format[1] == '\0' ? format[0] : '\0';
    if (a->type == 'q' && sizeof(long) == 8)
        a->type = 'l';
    a->axes = a->view.ndim;
    a->shape = a->axes ? a->view.shape : NO_AXIS;
    a->strides = a->axes ? a->view.strides : NO_AXIS;
    a->size = a->view.len / a->view.itemsize;
    a->is_contiguous = 1;
    Py_ssize_t step = a->view.itemsize;
    for (int axis = a->axes - 1; axis >= 0; axis--) {
        if (a->shape[axis] != 1 && a->strides[axis] != step)
            a->is_contiguous = a->size == 0;
        step *= a->shape[axis];
    }
    return (uintptr_t)a->data % (uintptr_t)a->view.itemsize == 0;
}

Array *array(Call *call, int place)
{
    static Array none = {.shape = NO_AXIS, .strides = NO_AXIS};
    if (is_again(call))
        return &call->arrays[call->used++];
    PyObject *from = object(call, place, NULL);
    if (call->unfit || from == NULL || call->used == MOST_ARRAYS) {
        call->unfit = 1;
        return &none;
    }
    Array *a = &call->arrays[call->used];
    a->view.obj = NULL;
    call->unfit = !open_array(a, from);
    if (a->view.obj == NULL)
        return &none;
    call->used++;
    return a;
}

Array *output(Call *call, int place)
{
    Array *a = array(call, place);
    want(call, !a->view.readonly);
    return a;
}

Array *optional(Call *call, int place)
{
    return object(call, place, NULL) == Py_None ? NULL : array(call, place);
}

Array *optional_output(Call *call, int place)
{
    return object(call, place, NULL) == Py_None ? NULL : output(call, place);
}

/* Note a number, if the call is recorded. */
static double noted(Call *call, double value)
{
    want(call, call->counted < MOST_NUMBERS);
    if (call->known != NULL && !call->unfit)
        call->known->numbers[call->counted++] = value;
    return value;
}

double number_or(Call *call, int place, const char *name, double otherwise)
{
    if (is_again(call))
        return call->known->numbers[call->counted++];
    PyObject *from = object(call, place, name);
    double value = from == NULL ? otherwise : PyFloat_AsDouble(from);
    if (value == -1.0 && PyErr_Occurred()) {
        PyErr_Clear();
        call->unfit = 1;
    }
    return noted(call, value);
}

double number(Call *call, int place, const char *name)
{
    want(call, is_again(call) || object(call, place, name) != NULL);
    return number_or(call, place, name, 0.0);
}

enum Activation activation(Call *call, int place)
{
    if (is_again(call))
        return (enum Activation)call->known->numbers[call->counted++];
    PyObject *name = object(call, place, NULL);
    if (name != NULL && PyUnicode_Check(name))
        for (int i = 0; i < UNKNOWN; i++)
            if (PyUnicode_CompareWithASCIIString(name, ACTIVATIONS[i]) == 0)
                return (enum Activation)noted(call, i);
    call->unfit = 1;
    return UNKNOWN;
}

static Axis axis_of(Call *call, PyObject *from)
{
    static const char *const FIELDS[] = {"size", "kernel", "stride", "dilation", "before", "windows"};
    static PyObject *names[6];
    Py_ssize_t found[6] = {0};
    for (int i = 0; i < 6 && !call->unfit; i++) {
        if (names[i] == NULL)
            names[i] = PyUnicode_InternFromString(FIELDS[i]);
        PyObject *value = from == NULL ? NULL : PyObject_GetAttr(from, names[i]);
        found[i] = value == NULL ? -1 : PyLong_AsSsize_t(value);
        Py_XDECREF(value);
        want(call, found[i] >= 0);
    }
    Axis axis = {found[0], found[1], found[2], found[3], found[4], found[5]};
    want(call, axis.kernel > 0 && axis.stride > 0 && axis.dilation > 0);
    return axis;
}

Windows windows(Call *call, int place)
{
    if (is_again(call))
        return call->known->windows;
    PyObject *from = object(call, place, NULL);
    PyObject *rows = from == NULL ? NULL : PyObject_GetAttrString(from, "rows");
    PyObject *columns = rows == NULL ? NULL : PyObject_GetAttrString(from, "columns");
    Windows found = {axis_of(call, rows), axis_of(call, columns)};
    Py_XDECREF(rows);
    Py_XDECREF(columns);
    PyErr_Clear();
    if (call->known != NULL)
        call->known->windows = found;
    return found;
}

int are_images(const Array *a, Py_ssize_t batch, Py_ssize_t rows, Py_ssize_t columns,
               Py_ssize_t channels)
{
    return a->axes == 4 && a->shape[0] == batch && a->shape[1] == rows && a->shape[2] == columns &&
           a->shape[3] == channels && (channels <= 1 || a->strides[3] == a->view.itemsize) &&
           a->strides[2] % a->view.itemsize == 0 && a->strides[1] % a->view.itemsize == 0 &&
           a->strides[0] % a->view.itemsize == 0;
}

int is_real(const Array *a)
{
    return a->is_contiguous && (a->type == 'f' || a->type == 'd');
}

int is_matrix(const Array *a, Py_ssize_t rows, Py_ssize_t columns)
{
    return a->axes == 2 && a->shape[0] == rows && a->shape[1] == columns &&
           (a->strides[1] == a->view.itemsize || columns <= 1) &&
           a->strides[0] % a->view.itemsize == 0;
}

int are_real(const Call *call)
{
    for (int i = 0; i < call->used; i++)
        if (!is_real(&call->arrays[i]) || call->arrays[i].type != call->arrays[0].type)
            return 0;
    return 1;
}

int are_vectors(const Call *call)
{
    for (int i = 0; i < call->used; i++)
        if (call->arrays[i].size != call->arrays[0].size)
            return 0;
    return are_real(call);
}

void run(Call *call, Py_ssize_t elements)
{
    if (is_again(call))
        return; /* whoever calls it again sees to that */
    if (call->known != NULL)
        call->known->elements = elements;
    if (elements >= LONG_LOOP)
        call->thread = PyEval_SaveThread();
}

/* The arrays of a recorded call stay open. */
static void end(Call *call)
{
    if (call->thread != NULL)
        PyEval_RestoreThread(call->thread);
    if (call->known != NULL)
        call->known->opened = call->used;
    for (int i = 0; call->known == NULL && i < call->used; i++)
        PyBuffer_Release(&call->arrays[i].view);
}

PyObject *finish(Call *call)
{
    if (is_again(call))
        return Py_None; /* not counted: the interpreter's lock may be away */
    end(call);
    Py_RETURN_NONE;
}

PyObject *fall_back(Call *call)
{
    if (is_again(call))
        return NULL;
    end(call);
    if (call->known != NULL)
        call->known->fell_back = 1;
    return PyObject_Vectorcall(call->reference, call->args, (size_t)call->given, call->names);
}
