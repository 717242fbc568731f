/* The difficulty signals of the portable policies (runtime/decide/policies.py). */
#ifndef GEARSHIFT_CORE_DIFFICULTY_H
#define GEARSHIFT_CORE_DIFFICULTY_H

#include <stdint.h>

#include "gearshift/history.h"

/* What a signal may read beside the history. probe: output of the probe. The times are +inf before
 * what they count from; frames_since_large counts this frame. */
typedef struct gs_signal_input {
    const float *probe;
    uint32_t probe_outputs;
    float age;
    float frames_since_large;
    float seconds_since_large;
} gs_signal_input;

/* The signal of the configured policy, which has one; NaN counts as +inf. */
float gs_signal(const gs_configuration *configuration, const gs_history *history,
                const gs_signal_input *input);

#endif
