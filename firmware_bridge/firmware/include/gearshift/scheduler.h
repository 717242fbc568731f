/* The adaptive loop: one frame in, one estimate out, and why it came from where it came from.
 *
 * It is runtime/scheduling/scheduler.py in C: selection, combination, filter and override make the same choices
 * and publish the same float32 values, bit for bit, as long as the clocks agree. */
#ifndef GEARSHIFT_SCHEDULER_H
#define GEARSHIFT_SCHEDULER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gearshift/configuration.h"
#include "gearshift/filter.h"
#include "gearshift/history.h"
#include "gearshift/network.h"
#include "gearshift/policy.h"
#include "gearshift/status.h"

/* What a board knows of time. instructions: null where nothing counts them. */
typedef struct gs_clock {
    int64_t (*now_ns)(void *context); /* monotonic */
    uint64_t (*instructions)(void *context);
    void *context;
} gs_clock;

/* values, deviation: `components` float32, NaN when lost. presence: probability that a person is in
 * view, NaN where the auxiliary network did not run. answered: gs_role, GS_ROLE_NONE when held or
 * lost. networks: bit `role` of every network that ran. time_ns, instructions: by role, then the
 * total at index 3; 0 where a network did not run (instructions: or nothing counts them). */
typedef struct gs_estimate {
    float values[GS_MAX_COMPONENTS];
    float deviation[GS_MAX_COMPONENTS];
    uint32_t components;
    float presence;
    float signal;
    float threshold;
    uint8_t answered;
    uint8_t networks;
    uint8_t reason;
    uint8_t flags;
    int64_t time_ns[4];
    uint64_t instructions[4];
} gs_estimate;

/* One network of the loop and how it did on the current frame. output_valid: `output` holds what the
 * network said, be it usable (ok) or not. */
typedef struct gs_stage {
    gs_engine engine;
    bool ran, ok, output_valid;
    int64_t time_ns;
    uint64_t instructions;
    float output[GS_MAX_OUTPUTS];
} gs_stage;

/* Private to the scheduler but for `stages`, whose outputs may be read after a frame (by role). */
typedef struct gs_scheduler {
    bool configured;
    gs_configuration configuration;
    const gs_policy *policy;
    gs_clock clock;
    gs_stage stages[3];
    gs_history history;
    gs_filter filter;
    double large_time_ns; /* what large is expected to take */
    float last_values[GS_MAX_COMPONENTS];
    float last_deviation[GS_MAX_COMPONENTS];
} gs_scheduler;

/* Configure the loop and start a new flight. bytes: a configuration (configuration.h), aligned to 4,
 * which has to stay where it is. engines: as the bundle's networks, `count` of them; the
 * configuration names three. Frames are the size that these agree on. On anything but GS_OK the
 * scheduler is as it was. */
gs_status gs_scheduler_configure(gs_scheduler *scheduler, const uint8_t *bytes, size_t length,
                                 const gs_engine *engines, uint32_t count, gs_clock clock);

/* Start a new flight: forget every frame. What large costs is a fact of the device: kept. */
void gs_scheduler_reset(gs_scheduler *scheduler);

/* Move the threshold from the next frame on; GS_BAD_VALUE when it is NaN. */
gs_status gs_scheduler_set_threshold(gs_scheduler *scheduler, float threshold);

/* The estimate for one frame of the engines' size, captured at capture_time_ns (any monotonic
 * clock). A failed network fails nothing: the other one answers, or the estimate is lost. Only
 * GS_NOT_CONFIGURED can go wrong. */
gs_status gs_scheduler_process(gs_scheduler *scheduler, const uint8_t *frame, int64_t capture_time_ns,
                               gs_estimate *estimate);

#endif
