/* Functions of a float32 that the compiler turns into vectors: no branch, no call, no table.

   Each is within 3e-7 of the true value, relatively, where that is a normal float; NaN stays NaN.
   A comparison is written so that NaN takes the branch that keeps it.
*/

INLINE int32_t bits_of(float x)
{
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

INLINE float float_of(int32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* yes if true, else no: where the compiler would make branches of the operator. */
INLINE float choose(int true, float yes, float no)
{
    return float_of((-true & bits_of(yes)) | (~-true & bits_of(no)));
}

/* x = n log(2) + r. Adding 1.5 * 2^23 rounds to a whole number, which then is the low bits. */
typedef struct {
    float r;
    float scale; /* 2^n */
} Reduced;

INLINE Reduced reduce(float x)
{
    float shifted = x * 1.44269504f + 12582912.0f;
    float n = shifted - 12582912.0f;
    Reduced found;
    /* log(2) in two parts, the first short: its product with n is exact (Cody & Waite). */
    found.r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    found.scale = float_of((int32_t)((uint32_t)(bits_of(shifted) + 127) << 23));
    return found;
}

/* (exp(r) - 1 - r) / r^2 on [-log(2) / 2, log(2) / 2].  Source: Moshier, Cephes expf. */
INLINE float exp_tail(float r)
{
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    return p * r + 5.0000001201e-1f;
}

INLINE float power_of(Reduced by)
{
    return (exp_tail(by.r) * by.r * by.r + by.r + 1.0f) * by.scale;
}

/* 0 below the normal floats, infinity from 88.4 on. */
INLINE float exp_f(float x)
{
    float bounded = x < -87.0f ? -87.0f : x;
    float value = power_of(reduce(bounded > 89.0f ? 89.0f : bounded));
    return x < -87.0f ? 0.0f : value;
}

/* exp(x + rest), for x <= 0, rest being small. */
INLINE float exp_of_sum(float x, float rest)
{
    Reduced by = reduce(x < -87.0f ? -87.0f : x);
    by.r += rest;
    return x < -87.0f ? 0.0f : power_of(by);
}

/* exp(x) - 1, for x <= 0. */
INLINE float expm1_f(float x)
{
    float bounded = x < -87.0f ? -87.0f : x;
    Reduced by = reduce(bounded);
    float power = exp_tail(by.r) * by.r * by.r + by.r;
    return by.scale * power + (by.scale - 1.0f);
}

/* log(1 + x), for x in [0, 1]: 2 atanh(x / (2 + x)) by its series. */
INLINE float log1p_f(float x)
{
    float s = x / (2.0f + x);
    float square = s * s;
    float p = 1.0f / 15.0f;
    p = p * square + 1.0f / 13.0f;
    p = p * square + 1.0f / 11.0f;
    p = p * square + 1.0f / 9.0f;
    p = p * square + 1.0f / 7.0f;
    p = p * square + 1.0f / 5.0f;
    p = p * square + 1.0f / 3.0f;
    return 2.0f * s * (p * square + 1.0f);
}

INLINE float sigmoid_f(float x)
{
    float bounded = x < -88.0f ? -88.0f : x; /* beyond, it is below the normal floats, or 1 */
    return 1.0f / (1.0f + power_of(reduce(bounded > 88.0f ? -88.0f : -bounded)));
}

INLINE float tanh_f(float x)
{
    int32_t sign = bits_of(x) & INT32_MIN;
    float less = expm1_f(-2.0f * float_of(bits_of(x) ^ sign)); /* exp(-2 |x|) - 1 */
    return -float_of(bits_of(less / (2.0f + less)) ^ sign);
}

/* The distribution and the density of the standard normal: near 0 by a polynomial; further out the
   tail is exp(-x^2 / 2), the square cut in two so that its rounding is not grown, times erfcx, a
   polynomial in (t - 2) / (t + 2) over 1 + 2 t. Both are fitted to within 4e-8. */
typedef struct {
    float distribution;
    float density;
} Normal;

INLINE Normal normal_f(float x)
{
    float size = x < 0.0f ? -x : x;
    size = choose(size > 15.0f, 15.0f, size);
    float high = (float)(int32_t)(size * 256.0f + 0.5f) * 0.00390625f;
    float power = exp_of_sum(-0.5f * high * high, 0.5f * (high - size) * (high + size));
    float t = size * 0.707106781f;
    float q = (t - 2.0f) / (t + 2.0f);
    float p = -3.93921658e-4f;
    p = p * q - 1.21868048e-3f;
    p = p * q + 1.31200577e-3f;
    p = p * q + 8.62223029e-3f;
    p = p * q - 8.06133842e-3f;
    p = p * q - 5.42017738e-2f;
    p = p * q + 1.64055801e-1f;
    p = p * q - 1.66031648e-1f;
    p = p * q - 9.27640055e-2f;
    p = p * q + 1.27697840f;
    float tail = power * p / (2.0f + 2.82842712f * size);
    float square = size * size;
    float near = -6.80947719e-6f;
    near = near * square + 1.11041070e-4f;
    near = near * square - 1.18383708e-3f;
    near = near * square + 9.97228268e-3f;
    near = near * square - 6.64902079e-2f;
    near = near * square + 3.98942277e-1f;
    float far = choose(x > 0.0f, 1.0f - tail, tail);
    Normal found = {choose(size < 0.5f, 0.5f + x * near, far), power * 0.398942280f};
    return found;
}
