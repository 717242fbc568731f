/* Flat functions through which the tests drive the core: scripted networks and a scripted clock for
 * the adaptive loop, and machines of any number of cores for networks. Compiled with the core into
 * one library. */
#include <stdlib.h>
#include <string.h>

#include "gearshift/portable.h"
#include "gearshift/scheduler.h"

/* -- networks ------------------------------------------------------------------------------------ */

typedef struct recorder {
    uint64_t *sums;
    uint8_t *bytes; /* outputs of every layer behind one another */
    size_t used, room;
} recorder;

static void observe(void *context, uint32_t index, const gs_layer *layer, const void *output,
                    uint32_t bytes)
{
    recorder *record = context;
    (void)layer;
    record->sums[index] = 0;
    for (uint32_t i = 0; i < bytes; i++) {
        record->sums[index] += ((const uint8_t *)output)[i];
    }
    if (record->bytes != NULL && record->used + bytes <= record->room) {
        memcpy(record->bytes + record->used, output, bytes);
    }
    record->used += bytes;
}

/* The cores in reverse order: nothing may depend on it. */
static void backwards(void *context, gs_work work, void *argument, uint32_t cores)
{
    (void)context;
    while (cores-- > 0) {
        work(argument, cores);
    }
}

/* Open an image in a heap block of exactly its size, so that a sanitizer sees every byte beyond. */
int driver_open(const uint8_t *image, size_t length, gs_network *network, uint8_t **block)
{
    *block = aligned_alloc(8, (length + 7) / 8 * 8);
    memcpy(*block, image, length);
    return gs_network_open(*block, length, network);
}

/* sums: null to run as a board does, without an observer. */
int driver_run(const uint8_t *image, size_t length, const uint8_t *frame, uint32_t cores,
               uint32_t missing_bytes, int32_t *outputs, float *values, uint64_t *sums,
               uint8_t *bytes, size_t room, uint32_t *arena_bytes)
{
    gs_network network;
    uint8_t *block;
    int status = driver_open(image, length, &network, &block);
    if (status == GS_OK) {
        recorder record = {.sums = sums, .bytes = bytes, .room = room};
        *arena_bytes = sums != NULL ? gs_network_whole_arena_bytes(&network, cores)
                                    : gs_network_arena_bytes(&network, cores);
        gs_machine machine = {
            .arena_bytes = *arena_bytes - missing_bytes,
            .cores = cores,
            .parallel = backwards,
            .observer = sums != NULL ? observe : NULL,
            .context = &record,
        };
        machine.arena = aligned_alloc(8, (machine.arena_bytes + 7) / 8 * 8);
        memset(machine.arena, 0xA5, machine.arena_bytes);
        if (sums == NULL && cores % 2 == 1) {
            machine.scratch_bytes = gs_network_scratch_bytes(&network, cores);
            machine.scratch = aligned_alloc(8, machine.scratch_bytes + 8);
            machine.arena_bytes -= machine.scratch_bytes;
        }
        if (gs_machine_arena_bytes(&machine, &network) != machine.arena_bytes + missing_bytes) {
            abort();
        }
        uint8_t *pixels = malloc((size_t)network.height * network.width);
        memcpy(pixels, frame, (size_t)network.height * network.width);
        status = gs_network_run(&network, &machine, pixels, outputs);
        if (status == GS_OK) {
            gs_network_values(&network, outputs, values);
        }
        free(pixels);
        free(machine.scratch);
        free(machine.arena);
    }
    free(block);
    return status;
}

/* Opens what may be anything and, where it is accepted, runs it. */
int driver_try_image(const uint8_t *image, size_t length)
{
    gs_network network;
    uint8_t *block;
    int status = driver_open(image, length, &network, &block);
    if (status == GS_OK && gs_network_arena_bytes(&network, 1) < (1u << 24)) {
        gs_machine machine = {.arena_bytes = gs_network_arena_bytes(&network, 1)};
        int32_t outputs[GS_MAX_OUTPUTS];
        machine.arena = aligned_alloc(8, machine.arena_bytes + 8);
        uint8_t *frame = calloc(network.height, network.width);
        status = gs_network_run(&network, &machine, frame, outputs);
        free(frame);
        free(machine.arena);
    }
    free(block);
    return status;
}

int driver_try_bundle(const uint8_t *image, size_t length, uint32_t *count, uint8_t *sha256)
{
    uint8_t *block = aligned_alloc(8, (length + 7) / 8 * 8);
    memcpy(block, image, length);
    gs_bundle bundle;
    int status = gs_bundle_open(block, length, &bundle);
    *count = bundle.count;
    for (uint32_t i = 0; status == GS_OK && i < bundle.count; i++) {
        memcpy(sha256 + 32 * i, bundle.networks[i].sha256, 32);
        if (gs_bundle_find(&bundle, bundle.networks[i].name) != (int32_t)i) {
            status = -1;
        }
    }
    free(block);
    return status;
}

/* -- the adaptive loop --------------------------------------------------------------------------- */

typedef struct script {
    const float *outputs;    /* (frames, k) */
    const uint8_t *failing;  /* (frames,) */
    const int64_t *duration; /* (frames,) ns that a run takes */
    uint32_t k;
} script;

typedef struct flight {
    script scripts[3];
    uint32_t frame;
    int64_t now, tick;
    uint64_t calls;
} flight;

typedef struct engine_context {
    flight *flight;
    int role;
} engine_context;

static gs_status run_script(void *context, const uint8_t *frame, float *values)
{
    const engine_context *self = context;
    const script *lines = &self->flight->scripts[self->role];
    uint32_t index = self->flight->frame;
    (void)frame;
    self->flight->now += lines->duration[index];
    if (lines->failing[index]) {
        return GS_FAILED;
    }
    memcpy(values, lines->outputs + (size_t)index * lines->k, lines->k * sizeof *values);
    return GS_OK;
}

static int64_t scripted_now(void *context)
{
    flight *self = context;
    self->calls++;
    self->now += self->tick;
    return self->now;
}

typedef struct result {
    float values[GS_MAX_COMPONENTS];
    float deviation[GS_MAX_COMPONENTS];
    float presence, signal, threshold;
    uint8_t answered, networks, reason, flags;
    int64_t time_ns[4];
} result;

/* Fly a script. reset_at: the frame before which the loop is reset (or `frames`). thresholds: one per
 * frame, NaN to leave it. Returns a status. */
int driver_fly(const uint8_t *configuration, size_t length, uint32_t n, uint32_t classes,
               uint32_t angular, uint32_t frames, const int64_t *times, const float *outputs[3],
               const uint8_t *failing[3], const int64_t *durations[3], int64_t tick,
               const float *thresholds, uint32_t reset_at, result *results)
{
    flight self = {.tick = tick};
    engine_context contexts[3];
    gs_engine engines[3];
    for (int role = 0; role < 3; role++) {
        uint32_t k = role == GS_ROLE_AUX ? classes : n;
        self.scripts[role] = (script){outputs[role], failing[role], durations[role], k};
        contexts[role] = (engine_context){&self, role};
        engines[role] = (gs_engine){
            .run = run_script,
            .context = &contexts[role],
            .height = 8,
            .width = 8,
            .outputs = k,
            .angular = role == GS_ROLE_AUX ? 0 : angular,
            .kind = role == GS_ROLE_AUX ? GS_NETWORK_LOCALISER : GS_NETWORK_REGRESSION,
        };
    }
    uint8_t *block = malloc(length);
    memcpy(block, configuration, length);
    gs_scheduler *scheduler = malloc(sizeof *scheduler);
    memset(scheduler, 0xA5, sizeof *scheduler);
    scheduler->configured = 0;
    gs_clock clock = {.now_ns = scripted_now, .context = &self};
    int status = gs_scheduler_configure(scheduler, block, length, engines, 3, clock);
    uint8_t image[64] = {0};
    for (uint32_t i = 0; status == GS_OK && i < frames; i++) {
        if (i == reset_at) {
            gs_scheduler_reset(scheduler);
        }
        if (thresholds[i] == thresholds[i]) {
            status = gs_scheduler_set_threshold(scheduler, thresholds[i]);
        }
        gs_estimate estimate;
        self.frame = i;
        if (status == GS_OK) {
            status = gs_scheduler_process(scheduler, image, times[i], &estimate);
        }
        result *out = &results[i];
        memset(out, 0, sizeof *out);
        memcpy(out->values, estimate.values, sizeof out->values);
        memcpy(out->deviation, estimate.deviation, sizeof out->deviation);
        out->presence = estimate.presence;
        out->signal = estimate.signal;
        out->threshold = estimate.threshold;
        out->answered = estimate.answered;
        out->networks = estimate.networks;
        out->reason = estimate.reason;
        out->flags = estimate.flags;
        memcpy(out->time_ns, estimate.time_ns, sizeof out->time_ns);
    }
    free(scheduler);
    free(block);
    return status;
}

/* What the loop answers when it is misused: before it is configured, to a NaN threshold, and to a
 * second configuration that it must not take over. `held`: whether it went on with the first. */
void driver_misuse(const uint8_t *good, size_t good_length, const uint8_t *bad, size_t bad_length,
                   int status[5], int *held)
{
    flight self = {.tick = 1};
    static const float says[GS_MAX_OUTPUTS];
    static const uint8_t works[1];
    static const int64_t at_once[1];
    engine_context contexts[3];
    gs_engine engines[3];
    gs_configuration wanted;
    gs_configuration_open(good, good_length, &wanted);
    for (int role = 0; role < 3; role++) {
        uint32_t k = role == GS_ROLE_AUX ? wanted.classes : wanted.components;
        self.scripts[role] = (script){says, works, at_once, k};
        contexts[role] = (engine_context){&self, role};
        engines[role] = (gs_engine){
            .run = run_script,
            .context = &contexts[role],
            .height = 1,
            .width = 1,
            .outputs = k,
            .angular = role == GS_ROLE_AUX ? 0 : wanted.angular,
            .kind = role == GS_ROLE_AUX ? GS_NETWORK_LOCALISER : GS_NETWORK_REGRESSION,
        };
    }
    static gs_scheduler scheduler;
    memset(&scheduler, 0, sizeof scheduler);
    gs_clock clock = {.now_ns = scripted_now, .context = &self};
    gs_estimate first, second;
    uint8_t pixel = 0;
    status[0] = gs_scheduler_process(&scheduler, &pixel, 0, &first);
    status[1] = gs_scheduler_set_threshold(&scheduler, 1.0f);
    status[2] = gs_scheduler_configure(&scheduler, good, good_length, engines, 3, clock);
    gs_scheduler_process(&scheduler, &pixel, 0, &first);
    status[3] = gs_scheduler_set_threshold(&scheduler, GS_NAN);
    status[4] = gs_scheduler_configure(&scheduler, bad, bad_length, engines, 3, clock);
    gs_scheduler_process(&scheduler, &pixel, 1, &second);
    *held = first.reason == GS_REASON_FIRST_FRAME && second.reason != GS_REASON_FIRST_FRAME &&
            second.threshold == first.threshold;
}

/* What configuring answers to `count` engines of these heights, widths, outputs, angular components
 * and kinds, in rows of five. */
int driver_configure(const uint8_t *configuration, size_t length, uint32_t count,
                     const uint32_t *described)
{
    gs_engine engines[4] = {{0}};
    for (uint32_t i = 0; i < count && i < 4; i++) {
        const uint32_t *row = described + 5 * i;
        engines[i] = (gs_engine){
            .height = row[0],
            .width = row[1],
            .outputs = row[2],
            .angular = row[3],
            .kind = (gs_network_kind)row[4],
        };
    }
    uint8_t *block = malloc(length);
    memcpy(block, configuration, length);
    gs_scheduler *scheduler = calloc(1, sizeof *scheduler);
    gs_clock clock = {.now_ns = scripted_now};
    int status = gs_scheduler_configure(scheduler, block, length, engines, count, clock);
    free(scheduler);
    free(block);
    return status;
}

const char *driver_policy_name(int code)
{
    return gs_policy_of((gs_policy_code)code)->name;
}
