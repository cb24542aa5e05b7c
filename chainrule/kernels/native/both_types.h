/* Include LOOPS twice: for REAL float, its functions named OF(name) name_f32, and double, _f64.
   WHOLE is the whole number of the same size; SINGLE is defined for float. */
#define SINGLE
#define REAL float
#define WHOLE int32_t
#define OF(name) name##_f32
#include LOOPS
#undef SINGLE
#undef REAL
#undef WHOLE
#undef OF
#define REAL double
#define WHOLE int64_t
#define OF(name) name##_f64
#include LOOPS
#undef REAL
#undef WHOLE
#undef OF
#undef LOOPS
