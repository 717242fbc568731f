#include "gearshift/filter.h"

#include "gearshift/history.h"
#include "gearshift/portable.h"

#define MINIMUM_STEP_S 1e-3f

static bool any(const gs_gain_table *table, uint32_t n)
{
    for (uint32_t i = 0; i < table->rows * n; i++) {
        if (table->values[i] != 0.0f) {
            return true;
        }
    }
    return false;
}

void gs_filter_reset(gs_filter *filter, const gs_configuration *configuration)
{
    const gs_gains *gains = &configuration->gains;
    uint32_t n = configuration->components;
    *filter = (gs_filter){
        /* Without a beta the velocity stays 0 and need not be computed. */
        .moves = any(&gains->beta_large, n) || any(&gains->beta_small, n),
    };
    for (uint32_t i = 0; i < n; i++) {
        filter->value[i] = GS_NAN;
    }
}

static const gs_table_f32 *row(const gs_gain_table *table, uint32_t since_large, uint32_t n)
{
    uint32_t index = since_large < table->rows ? since_large : table->rows - 1;
    return table->values + (size_t)index * n;
}

static float wrapped(float value, uint32_t component, uint32_t angular)
{
    return angular >> component & 1u ? gs_wrap_angle(value) : value;
}

static void restart(gs_filter *filter, const gs_configuration *configuration, const float *accepted)
{
    filter->bias_known = false;
    for (uint32_t i = 0; i < configuration->components; i++) {
        filter->bias[i] = 0.0f;
        filter->velocity[i] = 0.0f;
        filter->value[i] = wrapped(accepted[i], i, configuration->angular);
    }
}

static void correct(gs_filter *filter, const gs_configuration *configuration, float step,
                    const float *accepted, const float *small, bool large_ran)
{
    const gs_gains *gains = &configuration->gains;
    uint32_t n = configuration->components, angular = configuration->angular;
    const gs_table_f32 *alpha =
        row(large_ran ? &gains->alpha_large : &gains->alpha_small, filter->since_large, n);
    const gs_table_f32 *beta =
        row(large_ran ? &gains->beta_large : &gains->beta_small, filter->since_large, n);
    float divisor = step < MINIMUM_STEP_S ? MINIMUM_STEP_S : step;
    for (uint32_t i = 0; i < n; i++) {
        float measured = large_ran ? accepted[i] : small[i] - filter->bias[i];
        float value = filter->value[i];
        if (filter->moves) {
            float moved = filter->velocity[i] * step;
            value = value + moved;
        }
        float innovation = wrapped(measured - value, i, angular);
        float correction = alpha[i] * innovation;
        filter->value[i] = wrapped(value + correction, i, angular);
        if (filter->moves) {
            float gain = beta[i] / divisor;
            float change = gain * innovation;
            filter->velocity[i] = filter->velocity[i] + change;
        }
    }
}

static void rebias(gs_filter *filter, const gs_configuration *configuration, const float *small,
                   const float *large)
{
    uint32_t n = configuration->components, angular = configuration->angular;
    const gs_table_f32 *gamma = row(&configuration->gains.gamma, filter->since_large, n);
    for (uint32_t i = 0; i < n; i++) {
        float offset = small[i] - large[i];
        offset = wrapped(offset - filter->bias[i], i, angular);
        if (filter->bias_known) {
            offset = gamma[i] * offset;
        }
        filter->bias[i] = wrapped(filter->bias[i] + offset, i, angular);
    }
    filter->bias_known = true;
}

void gs_filter_update(gs_filter *filter, const gs_configuration *configuration, int64_t time_ns,
                      const float *accepted, const float *small, const float *large, bool small_ran,
                      bool large_ran)
{
    float step = filter->started ? gs_elapsed_s(time_ns, filter->time) : GS_INFINITY;
    if (!filter->started || step > configuration->max_gap_s) {
        restart(filter, configuration, accepted);
    } else {
        correct(filter, configuration, step, accepted, small, large_ran);
    }
    if (configuration->filter == GS_FILTER_ANCHOR && small_ran && large_ran) {
        rebias(filter, configuration, small, large);
    }
    filter->started = true;
    filter->time = time_ns;
    if (large_ran) {
        filter->since_large = 0;
    } else if (filter->since_large < UINT32_MAX) {
        filter->since_large++;
    }
}
