/* Include LOOPS twice: for REAL float, its functions named OF(name) name_f32, and double, _f64. */
#define REAL float
#define OF(name) name##_f32
#include LOOPS
#undef REAL
#undef OF
#define REAL double
#define OF(name) name##_f64
#include LOOPS
#undef REAL
#undef OF
#undef LOOPS
