/* Integer kernels in plain C. A convolution gathers the windows of two neighbouring outputs into
 * contiguous bytes and multiplies both with four channels' weights at a time, as PULP-NN does: borders
 * cost nothing in the inner loop, and six loads serve eight products. No branch depends on an
 * activation, so that a network takes the same number of instructions for every frame. */
#include "gearshift/kernels.h"

/* A target with four byte products in one instruction names a header with gs_products4. */
#ifdef GS_PRODUCTS4
#include GS_PRODUCTS4

typedef uint32_t word __attribute__((may_alias));

static inline uint32_t load_word(const void *at)
{
    return *(const word *)at;
}

static inline int are_words(const void *a, const void *b, const void *weights, uint32_t size)
{
    return (((uintptr_t)a | (uintptr_t)b | (uintptr_t)weights | size) & 3u) == 0;
}
#endif

/* An arithmetic shift of a negative number is left to the implementation by C11; every compiler for
 * these targets rounds down. */
_Static_assert((int64_t)-3 >> 1 == -2, "right shifts must round down");

#define PIXELS 2u   /* neighbouring outputs that share the loads of weights */
#define CHANNELS 4u /* output channels that share the loads of activations */

/* clip((kappa * acc + lambda) >> shift, 0, 255), without a branch. */
static inline uint8_t requantise(int32_t acc, int64_t kappa, int64_t lambda, uint32_t shift)
{
    uint64_t value = (uint64_t)((kappa * acc + lambda) >> shift);
    uint32_t negative = (uint32_t)((int64_t)value >> 63);
    uint32_t outside = 0u - (uint32_t)(((uint32_t)(value >> 32) | ((uint32_t)value & ~255u)) != 0);
    return (uint8_t)(((uint32_t)value & ~outside) | (outside & ~negative));
}

static inline uint8_t larger(uint8_t a, uint8_t b)
{
    int32_t more = (int32_t)a - b;
    return (uint8_t)(b + (more & ~(more >> 31)));
}

static inline uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static uint32_t patch_bytes(const gs_layer *layer)
{
    return layer->kernel * layer->kernel * layer->in_channels;
}

uint32_t gs_kernel_scratch_bytes(const gs_layer *layer)
{
    uint32_t bytes = 0;
    if (layer->kind == GS_LAYER_CONVOLUTION) {
        bytes = PIXELS * patch_bytes(layer);
    } else if (layer->kind == GS_LAYER_DEPTHWISE) {
        bytes = layer->out_channels * (uint32_t)sizeof(int32_t);
    }
    return (bytes + 7u) & ~7u;
}

uint32_t gs_kernel_rows(const gs_layer *layer)
{
    return layer->kind == GS_LAYER_CONNECTED ? layer->out_channels : layer->out_height;
}

uint32_t gs_kernel_row_bytes(const gs_layer *layer)
{
    return layer->kind == GS_LAYER_CONNECTED ? (uint32_t)sizeof(int32_t)
                                             : layer->out_width * layer->out_channels;
}

static void fill(uint8_t *to, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++) {
        to[i] = 0;
    }
}

static void copy(uint8_t *restrict to, const uint8_t *restrict from, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++) {
        to[i] = from[i];
    }
}

/* The bytes under the window of output (row, column) in the weights' order, zeros outside. */
static const uint8_t *gather(const gs_layer *layer, const uint8_t *input, uint32_t row,
                             uint32_t column, uint8_t *patch)
{
    uint32_t channels = layer->in_channels, pitch = layer->width * channels;
    uint32_t left = column * layer->stride; /* of the padded input, as is `top` */
    if (layer->kernel == 1) {
        return input + (size_t)row * layer->stride * pitch + (size_t)left * channels;
    }
    uint32_t before = left < layer->padding ? layer->padding - left : 0;
    uint32_t first = left + before - layer->padding;
    uint32_t seen = first < layer->width ? smaller(layer->kernel - before, layer->width - first) : 0;
    uint32_t line = layer->kernel * channels;
    uint8_t *to = patch;
    for (uint32_t k = 0; k < layer->kernel; k++, to += line) {
        uint32_t top = row * layer->stride + k;
        if (top < layer->padding || top - layer->padding >= layer->height) {
            fill(to, line);
            continue;
        }
        const uint8_t *from = input + (size_t)(top - layer->padding) * pitch + (size_t)first * channels;
        fill(to, before * channels);
        copy(to + before * channels, from, seen * channels);
        fill(to + (before + seen) * channels, line - (before + seen) * channels);
    }
    return patch;
}

/* Sums of two windows with four channels: sums[pixel][channel]. */
static inline void multiply_block(const uint8_t *restrict x0, const uint8_t *restrict x1,
                                  const int8_t *restrict weights, uint32_t size,
                                  int32_t sums[PIXELS][CHANNELS])
{
    const int8_t *restrict w0 = weights, *restrict w1 = w0 + size;
    const int8_t *restrict w2 = w1 + size, *restrict w3 = w2 + size;
    int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0, b0 = 0, b1 = 0, b2 = 0, b3 = 0;
    uint32_t i = 0;
#ifdef GS_PRODUCTS4
    for (; are_words(x0, x1, weights, size) && i < size; i += 4) {
        uint32_t a = load_word(x0 + i), b = load_word(x1 + i);
        uint32_t c0 = load_word(w0 + i), c1 = load_word(w1 + i);
        uint32_t c2 = load_word(w2 + i), c3 = load_word(w3 + i);
        a0 = gs_products4(a, c0, a0);
        a1 = gs_products4(a, c1, a1);
        a2 = gs_products4(a, c2, a2);
        a3 = gs_products4(a, c3, a3);
        b0 = gs_products4(b, c0, b0);
        b1 = gs_products4(b, c1, b1);
        b2 = gs_products4(b, c2, b2);
        b3 = gs_products4(b, c3, b3);
    }
#endif
    for (; i < size; i++) {
        int32_t a = x0[i], b = x1[i];
        a0 += a * w0[i];
        a1 += a * w1[i];
        a2 += a * w2[i];
        a3 += a * w3[i];
        b0 += b * w0[i];
        b1 += b * w1[i];
        b2 += b * w2[i];
        b3 += b * w3[i];
    }
    sums[0][0] = a0;
    sums[0][1] = a1;
    sums[0][2] = a2;
    sums[0][3] = a3;
    sums[1][0] = b0;
    sums[1][1] = b1;
    sums[1][2] = b2;
    sums[1][3] = b3;
}

static int32_t multiply(const uint8_t *restrict x, const int8_t *restrict weights, uint32_t size)
{
    int32_t sum = 0;
    uint32_t i = 0;
#ifdef GS_PRODUCTS4
    for (; are_words(x, x, weights, size) && i < size; i += 4) {
        sum = gs_products4(load_word(x + i), load_word(weights + i), sum);
    }
#endif
    for (; i < size; i++) {
        sum += x[i] * weights[i];
    }
    return sum;
}

/* `count` outputs of one row, 1 or PIXELS of them, whose windows are x. */
static void convolve_pixels(const gs_layer *layer, const uint8_t *const x[PIXELS], uint32_t count,
                            uint8_t *out)
{
    uint32_t size = patch_bytes(layer), channels = layer->out_channels, channel = 0;
    for (; count == PIXELS && channel + CHANNELS <= channels; channel += CHANNELS) {
        int32_t sums[PIXELS][CHANNELS];
        multiply_block(x[0], x[1], layer->weights + (size_t)channel * size, size, sums);
        for (uint32_t k = 0; k < CHANNELS; k++) {
            int64_t kappa = layer->kappa[channel + k], lambda = layer->lambda[channel + k];
            out[channel + k] = requantise(sums[0][k], kappa, lambda, layer->shift);
            out[channels + channel + k] = requantise(sums[1][k], kappa, lambda, layer->shift);
        }
    }
    for (; channel < channels; channel++) {
        const int8_t *weights = layer->weights + (size_t)channel * size;
        for (uint32_t pixel = 0; pixel < count; pixel++) {
            out[pixel * channels + channel] =
                requantise(multiply(x[pixel], weights, size), layer->kappa[channel],
                           layer->lambda[channel], layer->shift);
        }
    }
}

static void convolve(const gs_layer *layer, const uint8_t *input, void *output, uint32_t begin,
                     uint32_t end, uint8_t *scratch)
{
    uint32_t size = patch_bytes(layer);
    uint8_t *out = output;
    for (uint32_t row = begin; row < end; row++) {
        for (uint32_t column = 0; column < layer->out_width;) {
            uint32_t count = smaller(PIXELS, layer->out_width - column);
            const uint8_t *x[PIXELS] = {0};
            for (uint32_t pixel = 0; pixel < count; pixel++) {
                x[pixel] = gather(layer, input, row, column + pixel, scratch + pixel * size);
            }
            convolve_pixels(layer, x, count, out);
            out += count * layer->out_channels;
            column += count;
        }
    }
}

static void convolve_depthwise(const gs_layer *layer, const uint8_t *input, void *output,
                               uint32_t begin, uint32_t end, uint8_t *scratch)
{
    uint32_t channels = layer->out_channels, kernel = layer->kernel, area = kernel * kernel;
    int32_t *acc = (int32_t *)(void *)scratch;
    uint8_t *out = output;
    for (uint32_t row = begin; row < end; row++) {
        for (uint32_t column = 0; column < layer->out_width; column++, out += channels) {
            for (uint32_t channel = 0; channel < channels; channel++) {
                acc[channel] = 0;
            }
            for (uint32_t k = 0; k < area; k++) {
                uint32_t y = row * layer->stride + k / kernel, x = column * layer->stride + k % kernel;
                if (y < layer->padding || y - layer->padding >= layer->height ||
                    x < layer->padding || x - layer->padding >= layer->width) {
                    continue;
                }
                const uint8_t *pixel =
                    input + ((size_t)(y - layer->padding) * layer->width + x - layer->padding) * channels;
                const int8_t *weight = layer->weights + k;
                for (uint32_t channel = 0; channel < channels; channel++, weight += area) {
                    acc[channel] += pixel[channel] * *weight;
                }
            }
            for (uint32_t channel = 0; channel < channels; channel++) {
                out[channel] = requantise(acc[channel], layer->kappa[channel],
                                          layer->lambda[channel], layer->shift);
            }
        }
    }
}

static void pool(const gs_layer *layer, const uint8_t *input, void *output, uint32_t begin,
                 uint32_t end, uint8_t *scratch)
{
    (void)scratch;
    uint32_t channels = layer->out_channels, pitch = layer->width * channels;
    uint8_t *restrict out = output;
    for (uint32_t row = begin; row < end; row++) {
        for (uint32_t column = 0; column < layer->out_width; column++, out += channels) {
            const uint8_t *corner = input + (size_t)row * layer->stride * pitch +
                                    (size_t)column * layer->stride * channels;
            copy(out, corner, channels);
            for (uint32_t k = 1; k < layer->kernel * layer->kernel; k++) {
                const uint8_t *restrict pixel = corner + (size_t)(k / layer->kernel) * pitch +
                                                (size_t)(k % layer->kernel) * channels;
                for (uint32_t channel = 0; channel < channels; channel++) {
                    out[channel] = larger(pixel[channel], out[channel]);
                }
            }
        }
    }
}

static void connect(const gs_layer *layer, const uint8_t *input, void *output, uint32_t begin,
                    uint32_t end, uint8_t *scratch)
{
    (void)scratch;
    uint32_t size = layer->height * layer->width * layer->in_channels;
    int32_t *out = output;
    for (uint32_t channel = begin; channel < end; channel++) {
        int32_t sum = multiply(input, layer->weights + (size_t)channel * size, size);
        *out++ = sum + layer->bias[channel];
    }
}

const gs_kernels gs_portable_kernels = {
    .by_kind = {convolve, convolve_depthwise, pool, connect},
};

void gs_halve(const uint8_t *image, uint32_t height, uint32_t width, uint8_t *out)
{
    for (uint32_t row = 0; row < height / 2; row++) {
        const uint8_t *upper = image + (size_t)(2 * row) * width, *lower = upper + width;
        for (uint32_t column = 0; column < width / 2; column++) {
            uint32_t sum = (uint32_t)upper[2 * column] + upper[2 * column + 1] + lower[2 * column] +
                           lower[2 * column + 1];
            uint32_t quarter = sum >> 2, rest = sum & 3u;
            /* Up for three quarters, and for a half of an odd number. */
            *out++ = (uint8_t)(quarter + ((rest >> 1) & ((rest | quarter) & 1u)));
        }
    }
}
