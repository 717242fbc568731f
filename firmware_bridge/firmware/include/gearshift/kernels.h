/* The integer kernels, and the seam behind which a board puts faster ones.
 *
 * Activations are uint8 in HWC order, zero padding is implied, weights int8, sums int32. A
 * convolution requantises per output channel: clip((kappa * acc + lambda) >> shift, 0, 255) in
 * int64, the shift rounds down (DORY, Burrello et al., IEEE Trans. Comp. 2021). */
#ifndef GEARSHIFT_KERNELS_H
#define GEARSHIFT_KERNELS_H

#include <stdint.h>

#include "gearshift/network_image.h"

/* Computes rows begin..end-1 of a layer's output (of a fully connected layer: outputs begin..end-1),
 * so that rows can be shared out among cores: any split gives the same bytes. output: where row
 * `begin` goes. scratch: gs_kernel_scratch_bytes(layer), aligned to 8, not shared between cores. */
typedef void (*gs_kernel)(const gs_layer *layer, const uint8_t *input, void *output, uint32_t begin,
                          uint32_t end, uint8_t *scratch);

typedef struct gs_kernels {
    gs_kernel by_kind[4]; /* indexed by gs_layer_kind */
} gs_kernels;

/* Plain C. */
extern const gs_kernels gs_portable_kernels;

/* Bytes of scratch that a kernel needs for this layer, on each core; a multiple of 8. */
uint32_t gs_kernel_scratch_bytes(const gs_layer *layer);

/* How many rows there are to share out: out_height, or out_channels of a fully connected layer. */
uint32_t gs_kernel_rows(const gs_layer *layer);

/* Bytes of one such row of the output. */
uint32_t gs_kernel_row_bytes(const gs_layer *layer);

/* out (height/2, width/2) = means over 2x2 pixels of (height, width), halves to the even byte. */
void gs_halve(const uint8_t *image, uint32_t height, uint32_t width, uint8_t *out);

#endif
