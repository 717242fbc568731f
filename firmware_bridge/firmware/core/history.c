#include "gearshift/history.h"

#include "gearshift/portable.h"

float gs_elapsed_s(int64_t now, int64_t before)
{
    /* Modulo 2^64, so that clocks of a hostile host cannot overflow. */
    return (float)(int64_t)((uint64_t)now - (uint64_t)before) * 1e-9f;
}

void gs_history_reset(gs_history *history, uint32_t n)
{
    *history = (gs_history){.interval = GS_INFINITY};
    for (uint32_t i = 0; i < n; i++) {
        history->accepted[i] = GS_NAN;
        history->previous[i] = GS_NAN;
        history->small_at_large[i] = GS_NAN;
    }
}

static void count_frame(gs_history *history)
{
    history->index++;
    if (history->frames_since_large < UINT32_MAX - 1) {
        history->frames_since_large++;
    }
}

void gs_history_update(gs_history *history, uint32_t n, float max_gap_s, int64_t time_ns,
                       const float *values, bool answered_large, const float *small, bool both_ran)
{
    float age = history->accepted_known ? gs_elapsed_s(time_ns, history->accepted_time) : GS_INFINITY;
    /* A gap ends the history, so what follows it has no previous output. */
    history->has_previous = history->accepted_known && age <= max_gap_s;
    history->interval = history->has_previous ? age : GS_INFINITY;
    for (uint32_t i = 0; i < n; i++) {
        history->previous[i] = history->has_previous ? history->accepted[i] : GS_NAN;
        history->accepted[i] = values[i];
        if (both_ran) {
            history->small_at_large[i] = small[i];
        }
    }
    history->accepted_known = true;
    history->accepted_time = time_ns;
    count_frame(history);
    if (answered_large) {
        history->large_known = true;
        history->large_time = time_ns;
        history->frames_since_large = 0;
    }
}

void gs_history_skip(gs_history *history)
{
    count_frame(history);
}
