/* The kernels for processors with AVX2 (x86-64 since about 2013). */
#include "arguments.h"
#include "variants.h"

#define TABLE avx2_kernels
#define FLOATS 8 /* floats of a vector */
#define TILE_ROWS 6
#if !defined(__x86_64__)
PyMethodDef TABLE[] = {{NULL, NULL, 0, NULL}};
#elif defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#include "kernels.h"
#pragma clang attribute pop
#else
#pragma GCC target("avx2,fma")
#include "kernels.h"
#endif
