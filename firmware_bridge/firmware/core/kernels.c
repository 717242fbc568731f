/* Integer kernels in plain C. A convolution gathers each window into contiguous bytes once and
 * multiplies it with four channels' weights at a time, as PULP-NN does, so that borders cost nothing
 * in the inner loop and an input byte is loaded once for four products. */
#include "gearshift/kernels.h"

/* An arithmetic shift of a negative number is left to the implementation by C11; every compiler for
 * these targets rounds down. */
_Static_assert((int64_t)-3 >> 1 == -2, "right shifts must round down");

static inline uint8_t requantise(int32_t acc, int64_t kappa, int64_t lambda, uint32_t shift)
{
    int64_t value = (kappa * acc + lambda) >> shift;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
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
        bytes = patch_bytes(layer);
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

static void convolve(const gs_layer *layer, const uint8_t *input, void *output, uint32_t begin,
                     uint32_t end, uint8_t *scratch)
{
    uint32_t size = patch_bytes(layer), channels = layer->out_channels;
    uint8_t *out = output;
    for (uint32_t row = begin; row < end; row++) {
        for (uint32_t column = 0; column < layer->out_width; column++, out += channels) {
            const uint8_t *restrict x = gather(layer, input, row, column, scratch);
            uint32_t channel = 0;
            for (; channel + 4 <= channels; channel += 4) {
                const int8_t *restrict w0 = layer->weights + (size_t)channel * size;
                const int8_t *restrict w1 = w0 + size;
                const int8_t *restrict w2 = w1 + size;
                const int8_t *restrict w3 = w2 + size;
                int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0;
                for (uint32_t i = 0; i < size; i++) {
                    int32_t value = x[i];
                    a0 += value * w0[i];
                    a1 += value * w1[i];
                    a2 += value * w2[i];
                    a3 += value * w3[i];
                }
                const gs_image_i64 *kappa = layer->kappa + channel, *lambda = layer->lambda + channel;
                out[channel] = requantise(a0, kappa[0], lambda[0], layer->shift);
                out[channel + 1] = requantise(a1, kappa[1], lambda[1], layer->shift);
                out[channel + 2] = requantise(a2, kappa[2], lambda[2], layer->shift);
                out[channel + 3] = requantise(a3, kappa[3], lambda[3], layer->shift);
            }
            for (; channel < channels; channel++) {
                const int8_t *w = layer->weights + (size_t)channel * size;
                int32_t acc = 0;
                for (uint32_t i = 0; i < size; i++) {
                    acc += x[i] * w[i];
                }
                out[channel] =
                    requantise(acc, layer->kappa[channel], layer->lambda[channel], layer->shift);
            }
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
                    out[channel] = pixel[channel] > out[channel] ? pixel[channel] : out[channel];
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
        const int8_t *weights = layer->weights + (size_t)channel * size;
        int32_t acc = 0;
        for (uint32_t i = 0; i < size; i++) {
            acc += input[i] * weights[i];
        }
        *out++ = acc + layer->bias[channel];
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
            *out++ = (uint8_t)(quarter + (rest > 2 || (rest == 2 && (quarter & 1u))));
        }
    }
}
