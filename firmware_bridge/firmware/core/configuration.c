/* Reading configurations: sizes, codes and what the policy needs are checked once. */
#include "gearshift/configuration.h"

#include "gearshift/bytes.h"
#include "gearshift/crc32.h"
#include "gearshift/portable.h"

#define CONFIGURATION_MAGIC 0x31435347u /* "GSC1" */
#define NO_NETWORK 255u

static bool is_finite(float value)
{
    return gs_absolute(value) < GS_INFINITY;
}

static bool all_finite(const gs_table_f32 *values, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (!is_finite(values[i])) {
            return false;
        }
    }
    return true;
}

static const gs_table_f32 *take(const gs_table_f32 **cursor, uint32_t count)
{
    const gs_table_f32 *table = *cursor;
    *cursor += count;
    return table;
}

static gs_status read_gains(const uint8_t *bytes, const gs_table_f32 **cursor,
                            gs_configuration *configuration)
{
    gs_gains *gains = &configuration->gains;
    gs_gain_table *tables[5] = {&gains->alpha_large, &gains->alpha_small, &gains->beta_large,
                                &gains->beta_small, &gains->gamma};
    bool filters = configuration->filter != GS_FILTER_NONE;
    for (uint32_t i = 0; i < 5; i++) {
        uint32_t rows = gs_load_u16(bytes + 52 + 2 * i);
        if ((rows > 0) != filters) {
            return GS_BAD_VALUE;
        }
        tables[i]->rows = rows;
        tables[i]->values = take(cursor, rows * configuration->components);
        if (!all_finite(tables[i]->values, rows * configuration->components)) {
            return GS_BAD_VALUE;
        }
    }
    return GS_OK;
}

/* How long a configuration of these sizes is. */
static uint64_t expected_bytes(const uint8_t *bytes)
{
    uint64_t n = bytes[21], numbers = 5 * n + gs_load_u16(bytes + 22);
    for (uint32_t i = 0; i < 5; i++) {
        numbers += n * gs_load_u16(bytes + 52 + 2 * i);
    }
    return GS_CONFIGURATION_HEADER_BYTES + 4 * numbers;
}

static gs_status check_values(const gs_configuration *configuration)
{
    const gs_policy *policy = gs_policy_of(configuration->policy);
    uint32_t n = configuration->components;
    if (policy->has_signal && gs_is_nan(configuration->threshold)) {
        return GS_BAD_VALUE;
    }
    if (!(configuration->max_gap_s >= 0) ||
        !is_finite(configuration->anchor_rate)) {
        return GS_BAD_VALUE;
    }
    if (configuration->angular >> n != 0) {
        return GS_BAD_VALUE;
    }
    if (configuration->combination == GS_COMBINE_FUSION && !all_finite(configuration->fusion_share, n)) {
        return GS_BAD_VALUE;
    }
    if (policy->probe == GS_ROLE_AUX && configuration->aux < 0) {
        return GS_NO_NETWORK;
    }
    if (configuration->policy == GS_POLICY_AUX_HLC && configuration->classes == 0) {
        return GS_MISMATCH;
    }
    return GS_OK;
}

gs_status gs_configuration_open(const uint8_t *bytes, size_t length, gs_configuration *configuration)
{
    if ((uintptr_t)bytes % 4 != 0) {
        return GS_MISALIGNED;
    }
    if (length < GS_CONFIGURATION_HEADER_BYTES || length > GS_MAX_CONFIGURATION_BYTES) {
        return GS_BAD_LENGTH;
    }
    if (gs_load_u32(bytes) != CONFIGURATION_MAGIC) {
        return GS_BAD_MAGIC;
    }
    if (gs_load_u16(bytes + 12) != GS_CONFIGURATION_VERSION) {
        return GS_BAD_VERSION;
    }
    if (gs_load_u32(bytes + 4) != length || expected_bytes(bytes) != length) {
        return GS_BAD_LENGTH;
    }
    if (gs_crc32(0, bytes + 12, (uint32_t)length - 12) != gs_load_u32(bytes + 8)) {
        return GS_BAD_CHECKSUM;
    }
    uint32_t n = bytes[21];
    if (bytes[14] >= GS_POLICY_COUNT || bytes[15] > GS_COMBINE_FUSION || bytes[16] > GS_FILTER_SMOOTH ||
        bytes[20] > 1 || gs_load_u16(bytes + 62) != 0) {
        return GS_BAD_VALUE;
    }
    if (n == 0 || n > GS_MAX_COMPONENTS) {
        return GS_NO_SPACE;
    }
    *configuration = (gs_configuration){
        .policy = (gs_policy_code)bytes[14],
        .combination = (gs_combination)bytes[15],
        .filter = (gs_filter_code)bytes[16],
        .small = bytes[17],
        .large = bytes[18],
        .aux = bytes[19] == NO_NETWORK ? -1 : bytes[19],
        .per_second = bytes[20],
        .components = n,
        .classes = gs_load_u16(bytes + 22),
        .seed = gs_load_u32(bytes + 24),
        .angular = gs_load_u32(bytes + 28),
        .threshold = gs_load_f32(bytes + 32),
        .max_gap_s = gs_load_f32(bytes + 36),
        .deadline_ns = gs_load_i64(bytes + 40),
        .anchor_rate = gs_load_f32(bytes + 48),
    };
    const gs_table_f32 *cursor =
        (const gs_table_f32 *)(const void *)(bytes + GS_CONFIGURATION_HEADER_BYTES);
    configuration->weights = take(&cursor, n);
    configuration->deviation_small = take(&cursor, n);
    configuration->deviation_large = take(&cursor, n);
    configuration->deviation_fused = take(&cursor, n);
    configuration->fusion_share = take(&cursor, n);
    configuration->head_cell_gain = take(&cursor, configuration->classes);
    gs_status status = read_gains(bytes, &cursor, configuration);
    return status != GS_OK ? status : check_values(configuration);
}
