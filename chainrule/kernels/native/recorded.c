#include "recorded.h"

/* A call of a kernel, with its arguments; ``again`` makes it once more. */
typedef struct {
    PyObject_HEAD
    PyObject *kernel;     /* a method of this module */
    PyObject *reference;  /* its function in numpy */
    PyObject *args;       /* of the call, those by name after the others */
    PyObject *names;      /* NULL, if there are none */
    Py_ssize_t given;     /* those by place */
    Known known;
} Recorded;

Known *known_of(PyObject **self)
{
    if (Py_TYPE(*self) != &RECORDED)
        return NULL;
    Recorded *recorded = (Recorded *)*self;
    *self = recorded->reference;
    return &recorded->known;
}

static void forget(Recorded *self)
{
    for (int i = 0; i < self->known.opened; i++)
        PyBuffer_Release(&self->known.arrays[i].view);
    Py_XDECREF(self->kernel);
    Py_XDECREF(self->reference);
    Py_XDECREF(self->args);
    Py_XDECREF(self->names);
    PyObject_Free(self);
}

/* The kernel itself: of a complete record it returns NULL, with no error, if it is unfit by now. */
static PyObject *call(Recorded *self)
{
    PyCFunction method = PyCFunction_GET_FUNCTION(self->kernel);
    return ((_PyCFunctionFastWithKeywords)(void (*)(void))method)(
        (PyObject *)self, &PyTuple_GET_ITEM(self->args, 0), self->given, self->names);
}

static PyObject *call_reference(Recorded *self)
{
    return PyObject_Vectorcall(self->reference, &PyTuple_GET_ITEM(self->args, 0),
                               (size_t)self->given, self->names);
}

static int are_recorded(PyObject *kernel, PyObject *args, PyObject *named)
{
    return PyCFunction_CheckExact(kernel) && PyCFunction_GET_SELF(kernel) != NULL &&
           PyCFunction_GET_FLAGS(kernel) == (METH_FASTCALL | METH_KEYWORDS) &&
           PyTuple_CheckExact(args) && PyDict_CheckExact(named);
}

/* Recorded(kernel, args, named): make the call, and keep it. */
static PyObject *record(PyTypeObject *type, PyObject *from, PyObject *unused)
{
    PyObject *kernel, *args, *named;
    (void)unused;
    if (!PyArg_ParseTuple(from, "OOO", &kernel, &args, &named))
        return NULL;
    if (!are_recorded(kernel, args, named)) {
        PyErr_SetString(PyExc_TypeError, "wants a kernel of this module, a tuple and a dict");
        return NULL;
    }
    Recorded *self = PyObject_New(Recorded, type);
    if (self == NULL)
        return NULL;
    memset(&self->known, 0, sizeof self->known);
    self->kernel = Py_NewRef(kernel);
    self->reference = Py_NewRef(PyCFunction_GET_SELF(kernel));
    self->given = PyTuple_GET_SIZE(args);
    self->names = NULL;
    Py_ssize_t more = PyDict_GET_SIZE(named), at = self->given, place = 0;
    self->args = PyTuple_New(self->given + more);
    if (more > 0)
        self->names = PyTuple_New(more);
    if (self->args == NULL || (more > 0 && self->names == NULL)) {
        Py_DECREF(self);
        return NULL;
    }
    for (Py_ssize_t i = 0; i < self->given; i++)
        PyTuple_SET_ITEM(self->args, i, Py_NewRef(PyTuple_GET_ITEM(args, i)));
    PyObject *name, *value;
    for (; PyDict_Next(named, &place, &name, &value); at++) {
        PyTuple_SET_ITEM(self->names, at - self->given, Py_NewRef(name));
        PyTuple_SET_ITEM(self->args, at, Py_NewRef(value));
    }
    PyObject *result = call(self);
    if (result == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    Py_DECREF(result);
    self->known.is_complete = 1;
    return (PyObject *)self;
}

static PyObject *again(PyObject *object, PyObject *args, PyObject *named)
{
    (void)args, (void)named;
    Recorded *self = (Recorded *)object;
    if (!self->known.fell_back && call(self) != NULL)
        Py_RETURN_NONE;
    return call_reference(self);
}

PyTypeObject RECORDED = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "chainrule.kernels._native.Recorded",
    .tp_doc = "A call of a kernel, made when it is recorded and again whenever it is called.",
    .tp_basicsize = sizeof(Recorded),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = record,
    .tp_dealloc = (destructor)forget,
    .tp_call = again,
};

/* Callables, of which the recorded ones are called without the interpreter. */
typedef struct {
    PyObject_HEAD
    PyObject *calls;
    int is_long;
} Program;

static PyObject *plan(PyTypeObject *type, PyObject *from, PyObject *unused)
{
    PyObject *calls;
    (void)unused;
    if (!PyArg_ParseTuple(from, "O!", &PyTuple_Type, &calls))
        return NULL;
    Program *self = PyObject_New(Program, type);
    if (self == NULL)
        return NULL;
    self->calls = Py_NewRef(calls);
    Py_ssize_t elements = 0;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(calls); i++)
        if (Py_TYPE(PyTuple_GET_ITEM(calls, i)) == &RECORDED)
            elements += ((Recorded *)PyTuple_GET_ITEM(calls, i))->known.elements;
    self->is_long = elements >= LONG_LOOP;
    return (PyObject *)self;
}

static void drop(Program *self)
{
    Py_DECREF(self->calls);
    PyObject_Free(self);
}

/* Make all calls. The interpreter's lock is away while nothing needs it. */
static PyObject *execute(PyObject *object, PyObject *args, PyObject *named)
{
    (void)args, (void)named;
    Program *self = (Program *)object;
    PyThreadState *thread = NULL;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(self->calls); i++) {
        PyObject *each = PyTuple_GET_ITEM(self->calls, i);
        Recorded *recorded = Py_TYPE(each) == &RECORDED ? (Recorded *)each : NULL;
        if (recorded != NULL && !recorded->known.fell_back) {
            if (thread == NULL && self->is_long)
                thread = PyEval_SaveThread();
            if (call(recorded) != NULL)
                continue;
        }
        if (thread != NULL) {
            PyEval_RestoreThread(thread);
            thread = NULL;
        }
        PyObject *result = recorded ? call_reference(recorded) : PyObject_CallNoArgs(each);
        if (result == NULL)
            return NULL;
        Py_DECREF(result);
    }
    if (thread != NULL)
        PyEval_RestoreThread(thread);
    Py_RETURN_NONE;
}

PyTypeObject PROGRAM = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "chainrule.kernels._native.Program",
    .tp_doc = "Calls, made one after the other whenever it is called.",
    .tp_basicsize = sizeof(Program),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = plan,
    .tp_dealloc = (destructor)drop,
    .tp_call = execute,
};
