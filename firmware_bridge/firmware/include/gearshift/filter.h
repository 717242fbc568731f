/* The filter over time: the formulas of runtime/decide/filters.py, for one flight. */
#ifndef GEARSHIFT_FILTER_H
#define GEARSHIFT_FILTER_H

#include <stdbool.h>
#include <stdint.h>

#include "gearshift/configuration.h"

/* State of the filter over time (runtime/decide/filters.py). */
typedef struct gs_filter {
    bool started, bias_known, moves;
    uint32_t since_large;
    int64_t time;
    float value[GS_MAX_COMPONENTS];
    float velocity[GS_MAX_COMPONENTS];
    float bias[GS_MAX_COMPONENTS];
} gs_filter;

/* Forget everything. */
void gs_filter_reset(gs_filter *filter, const gs_configuration *configuration);

/* Take in a frame on which a network gave a valid output; what to publish is filter->value.
 * accepted: output of the combination. small, large: read where they ran. */
void gs_filter_update(gs_filter *filter, const gs_configuration *configuration, int64_t time_ns,
                      const float *accepted, const float *small, const float *large, bool small_ran,
                      bool large_ran);

#endif
