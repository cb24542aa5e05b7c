/* The kernels for any processor of the platform. */
#include "arguments.h"
#include "variants.h"

#define TABLE baseline_kernels
#define FLOATS 4 /* floats of a vector */
#define TILE_ROWS 6
#include "kernels.h"
