/* What the networks of a bundle need on a machine of some cores, as one line of JSON each. */
#include <stdio.h>
#include <stdlib.h>

#include "gearshift/board.h"

#define LARGEST_BUNDLE (1l << 26)

static uint8_t *read_file(const char *path, size_t *length)
{
    FILE *file = fopen(path, "rb");
    uint8_t *bytes = aligned_alloc(8, (size_t)LARGEST_BUNDLE);
    if (file == NULL || bytes == NULL) {
        perror(path);
        exit(1);
    }
    *length = fread(bytes, 1, (size_t)LARGEST_BUNDLE, file);
    fclose(file);
    return bytes;
}

int main(int count, char **arguments)
{
    if (count != 3) {
        fprintf(stderr, "usage: %s BUNDLE CORES\n", arguments[0]);
        return 2;
    }
    size_t length;
    const uint8_t *bytes = read_file(arguments[1], &length);
    const uint32_t cores = (uint32_t)strtoul(arguments[2], NULL, 10);
    static gs_bundle bundle;
    const gs_status status = gs_bundle_open(bytes, length, &bundle);
    if (status != GS_OK) {
        fprintf(stderr, "%s: %s\n", arguments[1], gs_status_text(status));
        return 1;
    }
    for (uint32_t i = 0; i < bundle.count; i++) {
        const gs_network *network = &bundle.networks[i];
        const uint32_t scratch = gs_network_scratch_bytes(network, cores);
        const uint32_t arena = gs_network_arena_bytes(network, cores) - scratch;
        printf("{\"image\": %u, \"activations\": %u, \"scratch\": %u}\n", (unsigned)network->length,
               (unsigned)arena, (unsigned)scratch);
    }
    return 0;
}
