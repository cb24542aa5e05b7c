/* chainrule.kernels._native: compiled kernels, each bound to its reference in numpy. */
#include "recorded.h"
#include "variants.h"

static const struct {
    const char *name;
    PyMethodDef *kernels;
} VARIANTS[] = {
    {"avx512", avx512_kernels},
    {"avx2", avx2_kernels},
    {"baseline", baseline_kernels},
};

enum { COUNT = sizeof VARIANTS / sizeof *VARIANTS };

static int runs_here(int i)
{
#if defined(__x86_64__)
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (i == 0)
        return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    return i == 1 ? avx2 : 1;
#else
    return i == COUNT - 1;
#endif
}

static PyObject *variants(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    PyObject *names = PyList_New(0);
    for (int i = 0; names != NULL && i < COUNT; i++) {
        if (!runs_here(i))
            continue;
        PyObject *name = PyUnicode_FromString(VARIANTS[i].name);
        if (name == NULL || PyList_Append(names, name) != 0)
            Py_CLEAR(names);
        Py_XDECREF(name);
    }
    return names;
}

static PyObject *bind(PyObject *self, PyObject *args)
{
    (void)self;
    const char *name;
    PyObject *references;
    if (!PyArg_ParseTuple(args, "sO!", &name, &PyDict_Type, &references))
        return NULL;
    int i = 0;
    while (i < COUNT && (strcmp(VARIANTS[i].name, name) != 0 || !runs_here(i)))
        i++;
    if (i == COUNT)
        return PyErr_Format(PyExc_ValueError, "this machine does not run %s kernels", name);
    PyObject *bound = PyDict_New();
    for (PyMethodDef *each = VARIANTS[i].kernels; bound != NULL && each->ml_name != NULL; each++) {
        PyObject *reference = PyDict_GetItemString(references, each->ml_name);
        if (reference == NULL)
            continue;
        PyObject *kernel = PyCFunction_New(each, reference);
        if (kernel == NULL || PyDict_SetItemString(bound, each->ml_name, kernel) != 0)
            Py_CLEAR(bound);
        Py_XDECREF(kernel);
    }
    return bound;
}

static PyMethodDef METHODS[] = {
    {"variants", variants, METH_NOARGS, "Return the variants that this machine runs, best first."},
    {"bind", bind, METH_VARARGS, "Return a variant's kernels, each bound to its reference."},
    {NULL, NULL, 0, NULL},
};

static int add_types(PyObject *module)
{
    return PyModule_AddType(module, &RECORDED) == 0 ? PyModule_AddType(module, &PROGRAM) : -1;
}

static PyModuleDef_Slot SLOTS[] = {{Py_mod_exec, (void *)add_types}, {0, NULL}};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT,
    .m_name = "chainrule.kernels._native",
    .m_methods = METHODS,
    .m_slots = SLOTS,
};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&MODULE);
}
