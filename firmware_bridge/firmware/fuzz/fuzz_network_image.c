/* Network images and bundles from anywhere: whatever the bytes, opening them must stay inside them,
 * and what is accepted must run inside its arena. Checksums are made good first, or a fuzzer would
 * never get past them. */
#include <stdlib.h>
#include <string.h>

#include "gearshift/bytes.h"
#include "gearshift/crc32.h"
#include "gearshift/network.h"

#define LARGEST_ARENA (1u << 22)
#define LARGEST_FRAME (1u << 16)
#define MOST_WORK (1u << 22)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void sign_network(uint8_t *image, size_t size)
{
    if (size < GS_IMAGE_HEADER_BYTES) {
        return;
    }
    uint32_t total = gs_load_u32(image + 4);
    if (total >= GS_IMAGE_HEADER_BYTES && total <= size) {
        gs_store_u32(image + 8, gs_crc32(0, image + 12, total - 12));
    }
}

static void sign_bundle(uint8_t *image, size_t size)
{
    if (size < 16) {
        return;
    }
    uint32_t count = gs_load_u16(image + 14);
    for (uint32_t i = 0; i < count && 24 + 8 * i <= size; i++) {
        uint32_t offset = gs_load_u32(image + 16 + 8 * i), length = gs_load_u32(image + 20 + 8 * i);
        if (offset <= size && length <= size - offset) {
            sign_network(image + offset, length);
        }
    }
    if (16 + 8 * count <= size) {
        gs_store_u32(image + 8, gs_crc32(0, image + 12, 4 + 8 * count));
    }
}

/* Small networks only: a fuzzer that waits for sums finds nothing. */
static int is_small(const gs_network *network)
{
    uint64_t work = 0;
    for (uint32_t i = 0; i < network->layers; i++) {
        gs_layer layer = gs_network_layer(network, i);
        work += (uint64_t)layer.out_height * layer.out_width * layer.out_channels * layer.kernel *
                layer.kernel * layer.in_channels;
    }
    return work < MOST_WORK && network->height * network->width < LARGEST_FRAME &&
           gs_network_arena_bytes(network, 2) < LARGEST_ARENA;
}

static void run(const gs_network *network)
{
    if (!is_small(network)) {
        return;
    }
    uint32_t bytes = gs_network_arena_bytes(network, 2);
    gs_machine machine = {.arena = malloc(bytes + 8), .arena_bytes = bytes, .cores = 2};
    uint8_t *frame = malloc((size_t)network->height * network->width);
    memset(frame, 0xFF, (size_t)network->height * network->width);
    int32_t outputs[GS_MAX_OUTPUTS];
    float values[GS_MAX_OUTPUTS];
    if (gs_network_run(network, &machine, frame, outputs) != GS_OK) {
        abort();
    }
    gs_network_values(network, outputs, values);
    free(frame);
    free(machine.arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *image = malloc(size + 1);
    memcpy(image, data, size);
    gs_bundle bundle;
    sign_bundle(image, size);
    if (gs_bundle_open(image, size, &bundle) == GS_OK) {
        for (uint32_t i = 0; i < bundle.count; i++) {
            run(&bundle.networks[i]);
        }
    }
    memcpy(image, data, size);
    gs_network network;
    sign_network(image, size);
    if (gs_network_open(image, size, &network) == GS_OK) {
        run(&network);
    }
    free(image);
    return 0;
}
