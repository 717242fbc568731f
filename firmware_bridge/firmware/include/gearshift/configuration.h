/* The configuration of the adaptive loop as the `configure` command carries it.
 *
 * Everything that has to be derived from a calibration is derived by the host, in one place, and
 * sent as tables; firmware_bridge/board/board_configuration.py packs and reads it. Little-endian:
 *
 *   offset size
 *      0    4   magic "GSC1"
 *      4    4   length in bytes
 *      8    4   CRC-32 of everything from byte 12 on
 *     12    2   format version (1)
 *     14    1   policy (gs_policy_code)
 *     15    1   combination: 0 large, 1 fusion
 *     16    1   filter: 0 none, 1 anchor, 2 smooth
 *     17    1   index in the bundle of small, 18  1  of large, 19  1  of aux (255: none)
 *     20    1   bit 0: distances per second instead of per frame
 *     21    1   n, the number of components, 1..GS_MAX_COMPONENTS
 *     22    2   c, the entries of the head-cell table; 0 where there is none
 *     24    4   seed of `random`
 *     28    4   bit i set: component i is an angle
 *     32    4   float32 threshold; NaN for a policy without a signal
 *     36    4   float32 max_gap in seconds, may be infinite
 *     40    8   int64 deadline in ns from the start of a frame; negative: none
 *     48    4   float32 rate of `anchor`, per second
 *     52   10   rows of the gain tables: alpha_large, alpha_small, beta_large, beta_small, gamma,
 *               2 bytes each; 0 each without a filter, else at least 1
 *     62    2   zero
 *     64        float32: weights[n], deviation of small[n], of large[n], of both fused[n],
 *               share of small in the fusion[n], head-cell table[c], then the gain tables[rows][n]
 *
 * Deviations that are not known are NaN; without fusion so are `fused` and `share`. */
#ifndef GEARSHIFT_CONFIGURATION_H
#define GEARSHIFT_CONFIGURATION_H

#include <stddef.h>
#include <stdint.h>

#include "gearshift/policy.h"
#include "gearshift/status.h"

#define GS_CONFIGURATION_VERSION 1
#define GS_CONFIGURATION_HEADER_BYTES 64

#ifndef GS_MAX_COMPONENTS
#define GS_MAX_COMPONENTS 16
#endif
#ifndef GS_MAX_CONFIGURATION_BYTES
#define GS_MAX_CONFIGURATION_BYTES 4096
#endif

typedef enum gs_combination { GS_COMBINE_LARGE = 0, GS_COMBINE_FUSION = 1 } gs_combination;
typedef enum gs_filter_code { GS_FILTER_NONE = 0, GS_FILTER_ANCHOR = 1, GS_FILTER_SMOOTH = 2 } gs_filter_code;

typedef float gs_table_f32 __attribute__((may_alias));

/* rows x n; row min(k, rows) - 1 applies k updates after large last ran. */
typedef struct gs_gain_table {
    const gs_table_f32 *values;
    uint32_t rows;
} gs_gain_table;

typedef struct gs_gains {
    gs_gain_table alpha_large, alpha_small, beta_large, beta_small, gamma;
} gs_gains;

/* A checked configuration; its tables point into what it was read from. */
typedef struct gs_configuration {
    gs_policy_code policy;
    gs_combination combination;
    gs_filter_code filter;
    uint32_t small, large;
    int32_t aux; /* -1: none */
    uint32_t per_second;
    uint32_t components;
    uint32_t classes;
    uint32_t seed;
    uint32_t angular;
    float threshold;
    float max_gap_s;
    int64_t deadline_ns; /* negative: none */
    float anchor_rate;
    const gs_table_f32 *weights;
    const gs_table_f32 *deviation_small, *deviation_large, *deviation_fused;
    const gs_table_f32 *fusion_share;
    const gs_table_f32 *head_cell_gain;
    gs_gains gains;
} gs_configuration;

/* Check a configuration of exactly `length` bytes, aligned to 4, and describe it. The bytes have to
 * stay where they are while it is used. */
gs_status gs_configuration_open(const uint8_t *bytes, size_t length, gs_configuration *configuration);

#endif
