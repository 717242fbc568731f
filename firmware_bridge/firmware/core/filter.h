/* The filter over time: the formulas of runtime/decide/filters.py, for one flight. */
#ifndef GEARSHIFT_CORE_FILTER_H
#define GEARSHIFT_CORE_FILTER_H

#include "gearshift/scheduler.h"

/* Forget everything. */
void gs_filter_reset(gs_filter *filter, const gs_configuration *configuration);

/* Take in a frame on which a network gave a valid output; what to publish is filter->value.
 * accepted: output of the combination. small, large: read where they ran. */
void gs_filter_update(gs_filter *filter, const gs_configuration *configuration, int64_t time_ns,
                      const float *accepted, const float *small, const float *large, int small_ran,
                      int large_ran);

#endif
