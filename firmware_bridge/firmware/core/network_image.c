/* Reading network images: every offset, size and sum is checked once, so that kernels need not. */
#include "gearshift/network_image.h"

#include <stdbool.h>

#include "gearshift/bytes.h"
#include "gearshift/crc32.h"

#define IMAGE_MAGIC 0x314E5347u  /* "GSN1" */
#define BUNDLE_MAGIC 0x31425347u /* "GSB1" */
#define BUNDLE_HEADER_BYTES 16u
#define MAX_ACTIVATION (1u << 26)
#define MAX_BYTE 255u

/* Where `bytes` bytes at `offset` lie inside an image of `length`, or null. */
static const uint8_t *inside(const uint8_t *image, uint32_t length, uint32_t offset, uint64_t bytes,
                             uint32_t alignment)
{
    if (offset % alignment != 0 || offset > length || bytes > length - offset) {
        return 0;
    }
    return image + offset;
}

static uint32_t weight_count_per_output(const gs_layer *layer)
{
    switch (layer->kind) {
    case GS_LAYER_CONVOLUTION:
        return layer->kernel * layer->kernel * layer->in_channels;
    case GS_LAYER_DEPTHWISE:
        return layer->kernel * layer->kernel;
    case GS_LAYER_CONNECTED:
        return layer->height * layer->width * layer->in_channels;
    case GS_LAYER_POOL:
        break;
    }
    return 0;
}

/* The geometry of a table entry; its arrays are left null. */
static gs_status read_geometry(const uint8_t *entry, gs_layer *layer)
{
    if (entry[0] > GS_LAYER_CONNECTED || entry[5] != 0 || entry[6] != 0 || entry[7] != 0 ||
        gs_load_u32(entry + 36) != 0) {
        return GS_BAD_VALUE;
    }
    *layer = (gs_layer){
        .kind = (gs_layer_kind)entry[0],
        .kernel = entry[1],
        .stride = entry[2],
        .padding = entry[3],
        .shift = entry[4],
        .in_channels = gs_load_u16(entry + 8),
        .height = gs_load_u16(entry + 10),
        .width = gs_load_u16(entry + 12),
        .out_channels = gs_load_u16(entry + 14),
        .out_height = 1,
        .out_width = 1,
    };
    if (layer->kernel == 0 || layer->stride == 0 || layer->in_channels == 0 || layer->height == 0 ||
        layer->width == 0 || layer->out_channels == 0 || layer->padding >= layer->kernel ||
        layer->shift > 62) {
        return GS_BAD_GEOMETRY;
    }
    uint32_t high = layer->height + 2 * layer->padding;
    uint32_t wide = layer->width + 2 * layer->padding;
    if ((uint64_t)high * wide * layer->in_channels > MAX_ACTIVATION) {
        return GS_BAD_GEOMETRY;
    }
    if (layer->kind != GS_LAYER_CONNECTED) {
        if (high < layer->kernel || wide < layer->kernel) {
            return GS_BAD_GEOMETRY;
        }
        layer->out_height = (high - layer->kernel) / layer->stride + 1;
        layer->out_width = (wide - layer->kernel) / layer->stride + 1;
    }
    uint64_t pixels = (uint64_t)layer->out_height * layer->out_width;
    uint32_t patch = layer->kernel * layer->kernel *
                     (layer->kind == GS_LAYER_CONVOLUTION ? layer->in_channels : 1u);
    if (pixels * layer->out_channels > MAX_ACTIVATION || pixels * patch > MAX_ACTIVATION) {
        return GS_BAD_GEOMETRY;
    }
    bool keeps_channels = layer->kind == GS_LAYER_DEPTHWISE || layer->kind == GS_LAYER_POOL;
    if ((keeps_channels && layer->in_channels != layer->out_channels) ||
        (layer->kind == GS_LAYER_POOL && layer->padding != 0)) {
        return GS_BAD_GEOMETRY;
    }
    return GS_OK;
}

static gs_status read_arrays(const uint8_t *image, uint32_t length, const uint8_t *entry,
                             gs_layer *layer)
{
    uint32_t weights = gs_load_u32(entry + 16), size = gs_load_u32(entry + 20);
    uint32_t kappa = gs_load_u32(entry + 24), lambda = gs_load_u32(entry + 28);
    uint32_t bias = gs_load_u32(entry + 32);
    bool convolves = layer->kind == GS_LAYER_CONVOLUTION || layer->kind == GS_LAYER_DEPTHWISE;
    bool connects = layer->kind == GS_LAYER_CONNECTED;

    if (size != (uint64_t)layer->out_channels * weight_count_per_output(layer)) {
        return GS_BAD_LENGTH;
    }
    if (layer->kind == GS_LAYER_POOL ? weights != 0 : weights == 0) {
        return GS_BAD_OFFSET;
    }
    if (convolves ? kappa == 0 || lambda == 0 : kappa != 0 || lambda != 0) {
        return GS_BAD_OFFSET;
    }
    if (connects ? bias == 0 : bias != 0) {
        return GS_BAD_OFFSET;
    }
    const uint8_t *weight_bytes = inside(image, length, weights, size, 4);
    const uint8_t *kappa_bytes = inside(image, length, kappa, 8ULL * layer->out_channels, 8);
    const uint8_t *lambda_bytes = inside(image, length, lambda, 8ULL * layer->out_channels, 8);
    const uint8_t *bias_bytes = inside(image, length, bias, 4ULL * layer->out_channels, 4);
    if (weight_bytes == NULL || (convolves && (kappa_bytes == NULL || lambda_bytes == NULL)) ||
        (connects && bias_bytes == NULL)) {
        return GS_BAD_OFFSET;
    }
    if (layer->kind != GS_LAYER_POOL) {
        layer->weights = (const int8_t *)weight_bytes;
    }
    if (convolves) {
        layer->kappa = (const gs_image_i64 *)(const void *)kappa_bytes;
        layer->lambda = (const gs_image_i64 *)(const void *)lambda_bytes;
    }
    if (connects) {
        layer->bias = (const gs_image_i32 *)(const void *)bias_bytes;
    }
    return GS_OK;
}

static uint64_t magnitude(int64_t value)
{
    return value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
}

/* Whether no sum can leave int32 and no requantisation int64, whatever the activations are
 * (IntegerLayer.accumulator_bound and requantisation_bound of runtime/engines/integer_network.py). */
static bool is_safe(const gs_layer *layer)
{
    if (layer->kind == GS_LAYER_POOL) {
        return true;
    }
    uint32_t count = weight_count_per_output(layer);
    uint64_t largest = 0, largest_bias = 0;
    for (uint32_t channel = 0; channel < layer->out_channels; channel++) {
        const int8_t *weights = layer->weights + (size_t)channel * count;
        uint64_t positive = 0, negative = 0;
        for (uint32_t i = 0; i < count; i++) {
            int32_t weight = weights[i];
            if (weight > 0) {
                positive += (uint32_t)weight;
            } else {
                negative += (uint32_t)-weight;
            }
        }
        uint64_t bound = MAX_BYTE * (positive > negative ? positive : negative);
        if (bound > largest) {
            largest = bound;
        }
        if (layer->kind == GS_LAYER_CONNECTED) {
            uint64_t bias = magnitude(layer->bias[channel]);
            largest_bias = bias > largest_bias ? bias : largest_bias;
            continue;
        }
        uint64_t offset = magnitude(layer->lambda[channel]);
        if (offset > INT64_MAX ||
            (bound != 0 && magnitude(layer->kappa[channel]) > (INT64_MAX - offset) / bound)) {
            return false;
        }
    }
    return largest + largest_bias <= INT32_MAX;
}

static gs_status check_layers(const gs_network *network)
{
    const uint8_t *table = network->image + gs_load_u32(network->image + 96);
    uint32_t factor = network->halves ? 2 : 1;
    uint32_t channels = 1, height = network->height / factor, width = network->width / factor;
    for (uint32_t index = 0; index < network->layers; index++) {
        const uint8_t *entry = table + (size_t)index * GS_LAYER_BYTES;
        gs_layer layer;
        gs_status status = read_geometry(entry, &layer);
        if (status == GS_OK) {
            status = read_arrays(network->image, network->length, entry, &layer);
        }
        if (status != GS_OK) {
            return status;
        }
        bool last = index == network->layers - 1;
        if (layer.in_channels != channels || layer.height != height || layer.width != width ||
            (layer.kind == GS_LAYER_CONNECTED) != last) {
            return GS_BAD_GEOMETRY;
        }
        if (!is_safe(&layer)) {
            return GS_BAD_ARITHMETIC;
        }
        channels = layer.out_channels;
        height = layer.out_height;
        width = layer.out_width;
    }
    return channels == network->outputs ? GS_OK : GS_BAD_GEOMETRY;
}

static gs_status check_interface(const gs_network *network)
{
    const uint8_t *image = network->image;
    if (image[84] > 1 || image[85] > GS_NETWORK_LOCALISER || gs_load_u16(image + 90) != 0 ||
        image[48] == 0 || image[48 + GS_NAME_BYTES - 1] != 0) {
        return GS_BAD_VALUE;
    }
    if (network->layers == 0 || network->layers > GS_MAX_LAYERS || network->outputs == 0 ||
        network->outputs > GS_MAX_OUTPUTS) {
        return GS_NO_SPACE;
    }
    if (network->height == 0 || network->width == 0 ||
        (network->halves && (network->height % 2 != 0 || network->width % 2 != 0))) {
        return GS_BAD_GEOMETRY;
    }
    uint32_t cells = network->grid_columns * network->grid_rows;
    if (network->kind == GS_NETWORK_LOCALISER) {
        if (cells == 0 || cells + 1 != network->outputs || network->angular != 0) {
            return GS_BAD_VALUE;
        }
    } else if (network->grid_columns != 0 || network->grid_rows != 0 ||
               (network->outputs < 32 && network->angular >> network->outputs != 0)) {
        return GS_BAD_VALUE;
    }
    return GS_OK;
}

gs_status gs_network_open(const uint8_t *image, size_t length, gs_network *network)
{
    if ((uintptr_t)image % 8 != 0) {
        return GS_MISALIGNED;
    }
    if (length < GS_IMAGE_HEADER_BYTES) {
        return GS_BAD_LENGTH;
    }
    if (gs_load_u32(image) != IMAGE_MAGIC) {
        return GS_BAD_MAGIC;
    }
    uint32_t total = gs_load_u32(image + 4);
    if (total < GS_IMAGE_HEADER_BYTES || total % 8 != 0 || total > length) {
        return GS_BAD_LENGTH;
    }
    if (gs_load_u16(image + 12) != GS_IMAGE_VERSION) {
        return GS_BAD_VERSION;
    }
    if (gs_crc32(0, image + 12, total - 12) != gs_load_u32(image + 8)) {
        return GS_BAD_CHECKSUM;
    }
    *network = (gs_network){
        .image = image,
        .length = total,
        .name = (const char *)(image + 48),
        .sha256 = image + 16,
        .height = gs_load_u16(image + 80),
        .width = gs_load_u16(image + 82),
        .halves = image[84],
        .kind = (gs_network_kind)image[85],
        .grid_columns = image[86],
        .grid_rows = image[87],
        .outputs = gs_load_u16(image + 88),
        .angular = gs_load_u32(image + 92),
        .layers = gs_load_u16(image + 14),
        .metadata_bytes = gs_load_u32(image + 108),
    };
    gs_status status = check_interface(network);
    if (status != GS_OK) {
        return status;
    }
    uint64_t table_bytes = (uint64_t)network->layers * GS_LAYER_BYTES;
    network->metadata = inside(image, total, gs_load_u32(image + 104), network->metadata_bytes, 1);
    if (network->metadata == NULL || inside(image, total, gs_load_u32(image + 96), table_bytes, 4) == NULL ||
        inside(image, total, gs_load_u32(image + 100), 8ULL * network->outputs, 8) == NULL) {
        return GS_BAD_OFFSET;
    }
    for (uint32_t i = 0; i < network->outputs; i++) {
        double scale = gs_network_output_scale(network, i);
        if (!(scale > 0 && scale < __builtin_inf())) {
            return GS_BAD_VALUE;
        }
    }
    return check_layers(network);
}

gs_layer gs_network_layer(const gs_network *network, uint32_t index)
{
    const uint8_t *entry =
        network->image + gs_load_u32(network->image + 96) + (size_t)index * GS_LAYER_BYTES;
    gs_layer layer = {0};
    /* Checked when the image was opened. */
    (void)read_geometry(entry, &layer);
    (void)read_arrays(network->image, network->length, entry, &layer);
    return layer;
}

double gs_network_output_scale(const gs_network *network, uint32_t index)
{
    return gs_load_f64(network->image + gs_load_u32(network->image + 100) + 8 * (size_t)index);
}

static bool same_name(const char *a, const char *b)
{
    while (*a != 0 && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

gs_status gs_bundle_open(const uint8_t *image, size_t length, gs_bundle *bundle)
{
    bundle->count = 0;
    if ((uintptr_t)image % 8 != 0) {
        return GS_MISALIGNED;
    }
    if (length < BUNDLE_HEADER_BYTES) {
        return GS_BAD_LENGTH;
    }
    if (gs_load_u32(image) != BUNDLE_MAGIC) {
        return GS_BAD_MAGIC;
    }
    uint32_t total = gs_load_u32(image + 4);
    uint32_t count = gs_load_u16(image + 14);
    if (gs_load_u16(image + 12) != GS_IMAGE_VERSION) {
        return GS_BAD_VERSION;
    }
    if (total > length || total % 8 != 0 || total < BUNDLE_HEADER_BYTES + 8 * count) {
        return GS_BAD_LENGTH;
    }
    if (count == 0 || count > GS_MAX_NETWORKS) {
        return GS_NO_SPACE;
    }
    if (gs_crc32(0, image + 12, 4 + 8 * count) != gs_load_u32(image + 8)) {
        return GS_BAD_CHECKSUM;
    }
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *entry = image + BUNDLE_HEADER_BYTES + 8 * i;
        uint32_t bytes = gs_load_u32(entry + 4);
        const uint8_t *start = inside(image, total, gs_load_u32(entry), bytes, 8);
        if (start == NULL) {
            return GS_BAD_OFFSET;
        }
        gs_status status = gs_network_open(start, bytes, &bundle->networks[i]);
        if (status != GS_OK) {
            return status;
        }
        for (uint32_t other = 0; other < i; other++) {
            if (same_name(bundle->networks[other].name, bundle->networks[i].name)) {
                return GS_MISMATCH;
            }
        }
    }
    bundle->count = count;
    return GS_OK;
}

int32_t gs_bundle_find(const gs_bundle *bundle, const char *name)
{
    for (uint32_t i = 0; i < bundle->count; i++) {
        if (same_name(bundle->networks[i].name, name)) {
            return (int32_t)i;
        }
    }
    return -1;
}
