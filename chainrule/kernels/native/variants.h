/* The kernels of each kind of processor; a table may be empty, where the compiler has no such. */
extern PyMethodDef baseline_kernels[], avx2_kernels[], avx512_kernels[];
