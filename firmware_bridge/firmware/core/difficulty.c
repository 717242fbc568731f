#include "difficulty.h"

#include "gearshift/portable.h"

#define SHORTEST_INTERVAL_S 1e-6f

/* Weighted L1 distance, angles wrapped, summed in the order of the components. */
static float distance(const gs_configuration *configuration, const float *a, const float *b)
{
    float difference[GS_MAX_COMPONENTS];
    uint32_t n = configuration->components;
    gs_difference(a, b, n, configuration->angular, difference);
    float total = gs_absolute(difference[0]) * configuration->weights[0];
    for (uint32_t i = 1; i < n; i++) {
        float term = gs_absolute(difference[i]) * configuration->weights[i];
        total = total + term;
    }
    return total;
}

static float rate(float moved, float seconds)
{
    return moved / (seconds < SHORTEST_INTERVAL_S ? SHORTEST_INTERVAL_S : seconds);
}

float gs_signal(const gs_configuration *configuration, const gs_history *history,
                const gs_signal_input *input)
{
    float value;
    switch (configuration->policy) {
    case GS_POLICY_OP:
        value = distance(configuration, input->probe, history->accepted);
        return configuration->per_second ? rate(value, input->age) : value;
    case GS_POLICY_OP_AHEAD:
        value = distance(configuration, history->accepted, history->previous);
        return configuration->per_second ? rate(value, history->interval) : value;
    case GS_POLICY_AUX_SM:
        return 1.0f - gs_softmax_margin(input->probe, input->probe_outputs);
    case GS_POLICY_AUX_HLC:
        return configuration->head_cell_gain[gs_argmax(input->probe, input->probe_outputs)];
    case GS_POLICY_RANDOM:
        return gs_counter_uniform(configuration->seed, history->index);
    case GS_POLICY_EVERY:
    case GS_POLICY_HOLD:
        return input->frames_since_large;
    case GS_POLICY_ANCHOR:
        value = configuration->anchor_rate * input->seconds_since_large;
        return distance(configuration, input->probe, history->small_at_large) + value;
    case GS_POLICY_ALWAYS_SMALL:
    case GS_POLICY_ALWAYS_LARGE:
    case GS_POLICY_COUNT:
        break;
    }
    return GS_NAN;
}
