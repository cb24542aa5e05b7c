/* Calls of kernels that are made again, and lists of such: what Python would cost is paid once. */
#ifndef CHAINRULE_RECORDED_H
#define CHAINRULE_RECORDED_H

#include "arguments.h"

/* Elements: below, handing over the interpreter's lock costs more than others gain. */
enum { LONG_LOOP = 8192 };

extern PyTypeObject RECORDED, PROGRAM;

/* What is known of a call whose self is recorded, which becomes its reference; else NULL. */
Known *known_of(PyObject **self);

#endif
