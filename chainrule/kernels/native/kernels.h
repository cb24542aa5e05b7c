/* Every kernel, compiled once for each kind of processor: TABLE names the methods of one. */

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define LOOP _Pragma("clang loop vectorize(assume_safety)")
#else
#define LOOP _Pragma("GCC ivdep") /* arrays are apart, or the very same */
#endif

#include "functions.h"

#include "activations.h"
#include "optimizers.h"
#include "strided.h"
#include "sums.h"

#include "tiles.h"

#include "matmul.h"

#include "normalization.h"
#include "errors.h"
#include "global_max.h"
#include "pooling.h"

#include "convolution_parts.h"
#include "narrow.h"
#include "sweeps.h"
#include "winograd.h"
#include "convolution.h"
#include "depthwise.h"

#include "softmax.h"

#include "losses.h"
#include "rows.h"

#include "recurrent.h"

#include "gru.h"
#include "lstm.h"

#define NAMED(name, function) \
    {#name, (PyCFunction)(void (*)(void))function, METH_FASTCALL | METH_KEYWORDS, NULL}
#define KERNEL(name) NAMED(name, name)

PyMethodDef TABLE[] = {
    KERNEL(accumulate),
    KERNEL(activation_backward),
    KERNEL(adam),
    KERNEL(add),
    KERNEL(add_errors),
    KERNEL(avg_pool),
    KERNEL(avg_pool_backward),
    KERNEL(batch_norm),
    KERNEL(batch_norm_backward),
    KERNEL(batch_norm_moments),
    KERNEL(bias_activation),
    KERNEL(binary_cross_entropy),
    KERNEL(cast),
    KERNEL(column_sums),
    KERNEL(convolve),
    KERNEL(convolve_input_gradient),
    KERNEL(convolve_kernel_gradient),
    KERNEL(copy),
    KERNEL(count_agreeing),
    KERNEL(count_right),
    KERNEL(depthwise),
    KERNEL(depthwise_backward),
    KERNEL(depthwise_slope),
    NAMED(fill, fill_numbers),
    KERNEL(gather),
    KERNEL(global_max),
    KERNEL(global_max_backward),
    KERNEL(gru),
    KERNEL(gru_backward),
    KERNEL(layer_norm),
    KERNEL(layer_norm_backward),
    KERNEL(lstm),
    KERNEL(lstm_backward),
    KERNEL(matmul),
    KERNEL(max_pool),
    KERNEL(max_pool_backward),
    KERNEL(mean_squared_error),
    KERNEL(middle_sums),
    KERNEL(momentum),
    NAMED(multiply, multiply_numbers),
    KERNEL(nesterov),
    KERNEL(sgd),
    KERNEL(simple_rnn),
    KERNEL(simple_rnn_backward),
    KERNEL(softmax),
    KERNEL(softmax_backward),
    KERNEL(softmax_cross_entropy),
    {NULL, NULL, 0, NULL},
};
