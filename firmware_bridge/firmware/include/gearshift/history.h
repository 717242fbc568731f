/* What a flight remembers between frames; the rules are those of runtime/decide/history.py's
 * FlightHistory. */
#ifndef GEARSHIFT_HISTORY_H
#define GEARSHIFT_HISTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "gearshift/configuration.h"

typedef struct gs_history {
    uint32_t index;
    uint32_t frames_since_large; /* meaningful once large_known */
    bool accepted_known, large_known, has_previous;
    int64_t accepted_time, large_time;
    float interval;
    float accepted[GS_MAX_COMPONENTS];
    float previous[GS_MAX_COMPONENTS];
    float small_at_large[GS_MAX_COMPONENTS];
} gs_history;

/* Seconds from `before` to `now`: float32(nanoseconds) * float32(1e-9). */
float gs_elapsed_s(int64_t now, int64_t before);

/* Forget everything, as before the first frame; n components. */
void gs_history_reset(gs_history *history, uint32_t n);

/* Take in a frame whose output `values` was accepted. small: read where both networks gave a valid
 * output. */
void gs_history_update(gs_history *history, uint32_t n, float max_gap_s, int64_t time_ns,
                       const float *values, bool answered_large, const float *small, bool both_ran);

/* Take in a frame that brought no new output: it was held or lost. */
void gs_history_skip(gs_history *history);

#endif
