/* Arithmetic specified to the bit; runtime/decide/portable.py and runtime/decide/angles.py are its twins. */
#include "gearshift/portable.h"

#define PI_F 3.14159265358979f
#define TWO_PI_F 6.28318530717959f
#define WHOLE_FROM 8388608.0f /* 2^23: beyond it float32 has no fractions */

static const float log2_e = 1.44269504f;
static const float lowest_exponent = -126.0f;
static const float exp2_coefficients[5] = {
    0.6931517f, 0.24015969f, 0.05581672f, 0.008993916f, 0.0018779412f,
};

float gs_floor(float value)
{
    if (!(gs_absolute(value) < WHOLE_FROM)) {
        return value;
    }
    float whole = (float)(int32_t)value;
    return whole > value ? whole - 1.0f : whole;
}

float gs_wrap_angle(float angle)
{
    float turns = gs_floor((angle + PI_F) / TWO_PI_F);
    return angle - turns * TWO_PI_F;
}

bool gs_is_valid_output(const float *values, uint32_t n)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        sum += __builtin_fabs((double)values[i]);
    }
    return sum < GS_OUTPUT_LIMIT;
}

/* 2^exponent for -126 <= exponent <= 127. */
static float power_of_two(int32_t exponent)
{
    uint32_t bits = (uint32_t)(exponent + 127) << 23;
    float value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}

float gs_exponential(float score, float largest)
{
    float t = score - largest;
    t = t * log2_e;
    t = t < lowest_exponent ? lowest_exponent : t;
    float whole = gs_floor(t);
    t = t - whole;
    float y = t * exp2_coefficients[4];
    for (int i = 3; i >= 0; i--) {
        y = y + exp2_coefficients[i];
        y = y * t;
    }
    y = y + 1.0f;
    /* y <= 2 and the power is a normal number, so the product is exact. */
    return y * power_of_two((int32_t)whole);
}

uint32_t gs_argmax(const float *scores, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++) {
        best = scores[i] > scores[best] ? i : best;
    }
    return best;
}

float gs_softmax_margin(const float *scores, uint32_t n)
{
    float largest = scores[gs_argmax(scores, n)];
    float total = 0.0f, first = -1.0f, second = -1.0f;
    for (uint32_t i = 0; i < n; i++) {
        float e = gs_exponential(scores[i], largest);
        total = i == 0 ? e : total + e;
        if (e > first) {
            second = first;
            first = e;
        } else if (e > second) {
            second = e;
        }
    }
    return first / total - second / total;
}

float gs_softmax_last(const float *scores, uint32_t n)
{
    float largest = scores[gs_argmax(scores, n)];
    float total = 0.0f, e = 0.0f;
    for (uint32_t i = 0; i < n; i++) {
        e = gs_exponential(scores[i], largest);
        total = i == 0 ? e : total + e;
    }
    return e / total;
}

/* The 32-bit finaliser lowbias32 (C. Wellons). */
static uint32_t mix(uint32_t x)
{
    x ^= x >> 16;
    x *= 0x7FEB352Du;
    x ^= x >> 15;
    x *= 0x846CA68Bu;
    return x ^ x >> 16;
}

float gs_counter_uniform(uint32_t seed, uint32_t index)
{
    uint32_t key = mix(seed + 0x9E3779B9u);
    return (float)(mix(index ^ key) >> 8) * 5.9604644775390625e-8f;
}

void gs_difference(const float *a, const float *b, uint32_t n, uint32_t angular, float *out)
{
    for (uint32_t i = 0; i < n; i++) {
        float difference = a[i] - b[i];
        out[i] = i < 32 && (angular >> i & 1u) ? gs_wrap_angle(difference) : difference;
    }
}
