/* Network images: what a board holds of a network, read in place, without a copy or a heap.
 *
 * Little-endian; an image starts on a multiple of 8 bytes and is a multiple of 8 bytes long. Every
 * offset counts from the start of the image. firmware_bridge/board/network_image.py packs and reads them.
 *
 *   offset size
 *      0    4   magic "GSN1"
 *      4    4   length of the image in bytes
 *      8    4   CRC-32 of everything from byte 12 on
 *     12    2   format version (1)
 *     14    2   number of layers
 *     16   32   SHA-256 of the image with bytes 8..11 and 16..47 taken as zero: its identity
 *     48   32   name, UTF-8, padded with zeros, at least one
 *     80    2   height, 82  2  width of the frames it takes, uint8 each pixel
 *     84    1   1: frames are halved before the first layer (2x2 means, halves to even), else 0
 *     85    1   kind: 0 regression, 1 head localiser
 *     86    1   columns, 87  1  rows of the localiser's grid; 0 for a regression
 *     88    2   number of outputs
 *     90    2   zero
 *     92    4   bit i set: output i is an angle in radians
 *     96    4   offset of the layer table
 *    100    4   offset of the output scales: float64 each, unit per int32 step
 *    104    4   offset, 108  4  length of the metadata: JSON, opaque to the board
 *
 * The layer table has 40 bytes a layer:
 *
 *      0    1   kind: 0 convolution, 1 depthwise convolution, 2 maximum pooling, 3 fully connected
 *      1    1   kernel, 2  1  stride, 3  1  padding, 4  1  right shift of the requantisation
 *      5    3   zero
 *      8    2   input channels, 10  2  height, 12  2  width, 14  2  output channels
 *     16    4   offset, 20  4  size of the weights, int8 [out][row][column][in]
 *     24    4   offset of kappa, 28  4  of lambda: int64 [out]; 0 where the kind has none
 *     32    4   offset of the bias: int32 [out]; 0 where the kind has none
 *     36    4   zero
 *
 * Weights start on multiples of 4, numbers on multiples of their size (8 for float64).
 *
 * Several images make a bundle:
 *
 *      0    4   magic "GSB1"
 *      4    4   length of the bundle in bytes, a multiple of 8
 *      8    4   CRC-32 of bytes 12..16+8*count-1 (images have their own)
 *     12    2   format version (1)
 *     14    2   count of networks, 1..GS_MAX_NETWORKS
 *     16    8   per network: offset (a multiple of 8) and length of its image, 4 bytes each
 */
#ifndef GEARSHIFT_NETWORK_IMAGE_H
#define GEARSHIFT_NETWORK_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "gearshift/status.h"

#define GS_IMAGE_VERSION 1
#define GS_IMAGE_HEADER_BYTES 112
#define GS_LAYER_BYTES 40
#define GS_NAME_BYTES 32
#define GS_SHA256_BYTES 32

#ifndef GS_MAX_NETWORKS
#define GS_MAX_NETWORKS 8
#endif
#ifndef GS_MAX_LAYERS
#define GS_MAX_LAYERS 64
#endif
#ifndef GS_MAX_OUTPUTS
#define GS_MAX_OUTPUTS 128
#endif

/* Numbers in an image, which may lie in memory declared as bytes. */
typedef int64_t gs_image_i64 __attribute__((may_alias));
typedef int32_t gs_image_i32 __attribute__((may_alias));

typedef enum gs_layer_kind {
    GS_LAYER_CONVOLUTION = 0,
    GS_LAYER_DEPTHWISE = 1,
    GS_LAYER_POOL = 2,
    GS_LAYER_CONNECTED = 3
} gs_layer_kind;

typedef enum gs_network_kind { GS_NETWORK_REGRESSION = 0, GS_NETWORK_LOCALISER = 1 } gs_network_kind;

/* One layer on a (height, width, in_channels) activation, uint8 HWC. Of a fully connected layer
 * out_height and out_width are 1 and its outputs are int32. */
typedef struct gs_layer {
    gs_layer_kind kind;
    uint32_t kernel, stride, padding, shift;
    uint32_t in_channels, height, width;
    uint32_t out_channels, out_height, out_width;
    const int8_t *weights;
    const gs_image_i64 *kappa;
    const gs_image_i64 *lambda;
    const gs_image_i32 *bias;
} gs_layer;

/* A checked image; it points into it. */
typedef struct gs_network {
    const uint8_t *image;
    uint32_t length;
    const char *name;      /* ends in a zero byte */
    const uint8_t *sha256; /* GS_SHA256_BYTES */
    uint32_t height, width;
    uint32_t halves;
    gs_network_kind kind;
    uint32_t grid_columns, grid_rows;
    uint32_t outputs;
    uint32_t angular; /* bit i: output i is an angle */
    uint32_t layers;
    const uint8_t *metadata;
    uint32_t metadata_bytes;
} gs_network;

typedef struct gs_bundle {
    uint32_t count;
    gs_network networks[GS_MAX_NETWORKS];
} gs_bundle;

/* Check an image of at most `length` bytes and describe it. After GS_OK nothing in the image can
 * make a kernel read or write outside its buffers or overflow; anything else leaves `network`
 * unspecified. The image has to stay where it is while the network is used. */
gs_status gs_network_open(const uint8_t *image, size_t length, gs_network *network);

/* The layer at `index` < network->layers of an opened network. */
gs_layer gs_network_layer(const gs_network *network, uint32_t index);

/* The unit per int32 step of output `index` < network->outputs. */
double gs_network_output_scale(const gs_network *network, uint32_t index);

/* Check a bundle of at most `length` bytes and every network in it, names being unique. */
gs_status gs_bundle_open(const uint8_t *image, size_t length, gs_bundle *bundle);

/* The index of the network of that name, or -1. */
int32_t gs_bundle_find(const gs_bundle *bundle, const char *name);

#endif
