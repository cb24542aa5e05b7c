/* The kernels for any processor of the platform. */
#include "arguments.h"
#include "variants.h"

#define TABLE baseline_kernels
#include "kernels.h"
