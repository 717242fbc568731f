/* Arithmetic specified to the bit (runtime/decide/portable.py, runtime/decide/angles.py).
 *
 * Everything is IEEE float32, rounded after each operation, in the order written: compile with
 * -ffp-contract=off, without -ffast-math, and on x86 with SSE. */
#ifndef GEARSHIFT_PORTABLE_H
#define GEARSHIFT_PORTABLE_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __FAST_MATH__
#error "the policies are specified to the bit: compile without -ffast-math"
#endif
#if defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ != 0
#error "float32 operations must round to float32"
#endif

#define GS_INFINITY __builtin_inff()
#define GS_NAN __builtin_nanf("")

/* An output is valid when its magnitudes sum to less than this, which no NaN does. */
#define GS_OUTPUT_LIMIT 1e18

static inline bool gs_is_nan(float value)
{
    return value != value;
}

static inline float gs_absolute(float value)
{
    return __builtin_fabsf(value);
}

/* The largest whole number that is not larger; infinities and NaN as they are. */
float gs_floor(float value);

/* Radians wrapped to [-pi, pi): a - 2 pi floor((a + pi) / 2 pi). */
float gs_wrap_angle(float angle);

/* Whether n values sum, in magnitude and in float64, to less than GS_OUTPUT_LIMIT. */
bool gs_is_valid_output(const float *values, uint32_t n);

/* exp(score - largest): t = (score - largest) * log2(e), not below -126; k = floor(t); f = t - k;
 * (((((c4 f + c3) f + c2) f + c1) f + c0) f + 1) * 2^k. */
float gs_exponential(float score, float largest);

/* p1 - p2 of the two largest softmax probabilities of n >= 2 finite scores. */
float gs_softmax_margin(const float *scores, uint32_t n);

/* Softmax probability of the last of n >= 1 finite scores. */
float gs_softmax_last(const float *scores, uint32_t n);

/* The first index of the largest of n >= 1 scores without NaN. */
uint32_t gs_argmax(const float *scores, uint32_t n);

/* A uniform number in [0, 1): a hash of (seed, index). */
float gs_counter_uniform(uint32_t seed, uint32_t index);

/* a - b for n components, those of the bits in `angular` wrapped. */
void gs_difference(const float *a, const float *b, uint32_t n, uint32_t angular, float *out);

#endif
