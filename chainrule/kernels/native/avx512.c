/* The kernels for processors with AVX-512 (x86-64 since about 2017). */
#include "arguments.h"
#include "variants.h"

#define TABLE avx512_kernels
#define FLOATS 16 /* floats of a vector */
#define TILE_ROWS 12
#if !defined(__x86_64__)
PyMethodDef TABLE[] = {{NULL, NULL, 0, NULL}};
#elif defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))), apply_to = function)
#include "kernels.h"
#pragma clang attribute pop
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,prefer-vector-width=512")
#include "kernels.h"
#endif
