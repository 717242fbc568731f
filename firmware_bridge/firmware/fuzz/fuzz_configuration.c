/* Configurations of the adaptive loop from anywhere, and networks that say anything: whatever the
 * bytes, the loop must stay inside its tables and answer every frame. The input is a configuration,
 * its checksum made good, and behind it what three networks say. */
#include <stdlib.h>
#include <string.h>

#include "gearshift/bytes.h"
#include "gearshift/crc32.h"
#include "gearshift/scheduler.h"

#define FRAMES 12u
#define CLASSES 7u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct source {
    const uint8_t *data;
    size_t size, used;
    int64_t now;
} source;

typedef struct context {
    source *from;
    uint32_t outputs;
} context;

static uint8_t next(source *from)
{
    return from->used < from->size ? from->data[from->used++] : (uint8_t)(from->used++ * 37u);
}

static gs_status say(void *opaque, const uint8_t *frame, float *values)
{
    context *self = opaque;
    (void)frame;
    uint8_t how = next(self->from);
    for (uint32_t i = 0; i < self->outputs; i++) {
        uint8_t bytes[4] = {0, 0, next(self->from), next(self->from)};
        values[i] = how & 1 ? gs_load_f32(bytes) : (float)bytes[3] / 64.0f;
    }
    return how == 0xFF ? GS_FAILED : GS_OK;
}

static int64_t now(void *opaque)
{
    source *from = opaque;
    from->now += next(from);
    return from->now;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < GS_CONFIGURATION_HEADER_BYTES) {
        return 0;
    }
    uint32_t length = gs_load_u32(data + 4);
    if (length < GS_CONFIGURATION_HEADER_BYTES || length > size) {
        length = (uint32_t)size;
    }
    uint8_t *bytes = malloc(length);
    memcpy(bytes, data, length);
    gs_store_u32(bytes + 8, gs_crc32(0, bytes + 12, length - 12));
    source from = {.data = data + length, .size = size - length};
    context contexts[3];
    gs_engine engines[3];
    for (uint32_t i = 0; i < 3; i++) {
        contexts[i] = (context){&from, i == 2 ? CLASSES : bytes[21]};
        engines[i] = (gs_engine){
            .run = say,
            .context = &contexts[i],
            .height = 1,
            .width = 1,
            .outputs = contexts[i].outputs,
            .angular = i == 2 ? 0 : gs_load_u32(bytes + 28),
            .kind = i == 2 ? GS_NETWORK_LOCALISER : GS_NETWORK_REGRESSION,
        };
    }
    gs_scheduler *scheduler = calloc(1, sizeof *scheduler);
    gs_clock clock = {.now_ns = now, .context = &from};
    if (gs_scheduler_configure(scheduler, bytes, length, engines, 3, clock) == GS_OK) {
        int64_t time = 0;
        for (uint32_t i = 0; i < FRAMES; i++) {
            gs_estimate estimate;
            time += ((int64_t)next(&from) - 8) * (1 << 21);
            if (next(&from) == 0) {
                gs_scheduler_reset(scheduler);
            }
            if (gs_scheduler_process(scheduler, bytes, time, &estimate) != GS_OK ||
                estimate.reason > GS_REASON_BOTH_FAILED || estimate.flags > 15) {
                abort();
            }
            int lost = (estimate.flags & GS_FLAG_LOST) != 0;
            if (lost != (estimate.reason == GS_REASON_BOTH_FAILED) ||
                lost != (estimate.answered == GS_ROLE_NONE && !(estimate.flags & GS_FLAG_HELD))) {
                abort();
            }
        }
    }
    free(scheduler);
    free(bytes);
    return 0;
}
