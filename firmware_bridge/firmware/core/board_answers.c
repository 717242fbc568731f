#include "board_answers.h"

#include "gearshift/portable.h"

#define BODY_BYTES (GS_ANSWER_PAYLOAD_BYTES - GS_PREFIX_BYTES)
#define ESTIMATE_BYTES 52u
#define BUILD_BYTES 32u
#define PORT_BYTES 16u

_Static_assert(ESTIMATE_BYTES + 4u * (4u * GS_MAX_COMPONENTS + GS_MAX_OUTPUTS) <= BODY_BYTES,
               "the longest estimate fits an answer");

/* Writes one number after the other. */
typedef struct {
    uint8_t *at;
} writer;

static void put_u8(writer *out, uint32_t value)
{
    *out->at++ = (uint8_t)value;
}

static void put_u16(writer *out, uint32_t value)
{
    gs_store_u16(out->at, (uint16_t)value);
    out->at += 2;
}

static void put_u32(writer *out, uint32_t value)
{
    gs_store_u32(out->at, value);
    out->at += 4;
}

static void put_u64(writer *out, uint64_t value)
{
    gs_store_u64(out->at, value);
    out->at += 8;
}

static void put_f32(writer *out, float value)
{
    gs_store_f32(out->at, value);
    out->at += 4;
}

static void put_floats(writer *out, const float *values, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++) {
        put_f32(out, values[i]);
    }
}

/* At most `field` - 1 characters, then zeros. */
static void put_text(writer *out, const char *text, uint32_t field)
{
    uint32_t i = 0;
    for (; i + 1u < field && text[i] != '\0'; i++) {
        put_u8(out, (uint8_t)text[i]);
    }
    for (; i < field; i++) {
        put_u8(out, 0);
    }
}

static uint32_t saturated(uint64_t value)
{
    return value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

void gs_answer_prefix(uint8_t *at, uint64_t time_us, gs_work_done work, uint32_t received)
{
    writer out = {at};
    put_u64(&out, time_us);
    put_u32(&out, saturated(work.us));
    put_u32(&out, received);
    put_u64(&out, work.count);
}

uint32_t gs_answer_hello(const gs_board *board, uint32_t nonce, uint8_t *at)
{
    const gs_port *port = &board->port;
    writer out = {at};
    put_u32(&out, nonce);
    put_u8(&out, GS_PROTOCOL_VERSION);
    put_u8(&out, port->count == NULL ? GS_COUNT_NONE : port->count_kind);
    put_u8(&out, board->bundle.count);
    put_u8(&out, GS_SLOTS);
    put_u32(&out, port->boot);
    put_u32(&out, port->credit);
    put_u16(&out, GS_PAYLOAD_BYTES);
    put_u16(&out, GS_WINDOW);
    put_u32(&out, GS_SLOT_BYTES);
    put_u32(&out, GS_MAX_CONFIGURATION_BYTES);
    put_u32(&out, GS_ABILITY_LOOP | (port->camera == NULL ? 0u : GS_ABILITY_CAMERA));
    put_u16(&out, GS_ANSWER_PAYLOAD_BYTES);
    put_u16(&out, 0);
    put_text(&out, GS_BUILD, BUILD_BYTES);
    put_text(&out, port->name, PORT_BYTES);
    return (uint32_t)(out.at - at);
}

uint32_t gs_answer_status_report(const gs_board *board, uint8_t *at)
{
    const gs_scheduler *scheduler = &board->scheduler;
    const bool configured = scheduler->configured;
    uint32_t largest = 0;
    for (uint32_t i = 0; i < board->bundle.count; i++) {
        const uint32_t needed =
            gs_machine_arena_bytes(&board->machine, &board->bundle.networks[i]);
        largest = needed > largest ? needed : largest;
    }
    writer out = {at};
    put_u8(&out, (configured ? 1u : 0u) | (board->stream.on ? 2u : 0u));
    put_u8(&out, configured ? (uint32_t)scheduler->configuration.policy : 255u);
    put_u8(&out, board->job_count);
    put_u8(&out, 0);
    put_f32(&out, configured ? scheduler->configuration.threshold : GS_NAN);
    put_u32(&out, board->processed);
    put_u32(&out, board->machine.arena_bytes);
    put_u32(&out, largest);
    put_u32(&out, (uint32_t)board->bundle_status);
    return (uint32_t)(out.at - at);
}

uint32_t gs_answer_network(const gs_board *board, uint8_t number, uint8_t *at)
{
    const gs_network *network = &board->bundle.networks[number];
    writer out = {at};
    put_u8(&out, number);
    put_u8(&out, (uint32_t)network->kind);
    put_u16(&out, network->outputs);
    put_u16(&out, network->width);
    put_u16(&out, network->height);
    put_u8(&out, network->grid_columns);
    put_u8(&out, network->grid_rows);
    put_u16(&out, 0);
    put_u32(&out, gs_machine_arena_bytes(&board->machine, network));
    put_text(&out, network->name, GS_NAME_BYTES);
    for (uint32_t i = 0; i < GS_SHA256_BYTES; i++) {
        put_u8(&out, network->sha256[i]);
    }
    for (uint32_t i = 0; i < network->outputs; i++) {
        gs_store_f64(out.at, gs_network_output_scale(network, i));
        out.at += 8;
    }
    return (uint32_t)(out.at - at);
}

uint32_t gs_answer_counters(const gs_board *board, uint8_t *at)
{
    writer out = {at};
    put_u32(&out, GS_COUNTERS_LENGTH);
    for (uint32_t i = 0; i < GS_COUNTERS_LENGTH; i++) {
        put_u32(&out, board->counters[i]);
    }
    return (uint32_t)(out.at - at);
}

uint32_t gs_answer_outputs(uint8_t number, const int32_t *outputs, uint32_t length, uint8_t *at)
{
    writer out = {at};
    put_u8(&out, number);
    put_u8(&out, 0);
    put_u16(&out, length);
    for (uint32_t i = 0; i < length; i++) {
        put_u32(&out, (uint32_t)outputs[i]);
    }
    return (uint32_t)(out.at - at);
}

/* The networks that ran on this frame and said something. */
static uint32_t outspoken(const gs_board *board)
{
    uint32_t roles = 0;
    for (uint32_t role = 0; role < 3; role++) {
        roles |= board->scheduler.stages[role].output_valid ? 1u << role : 0u;
    }
    return roles & board->estimate.networks;
}

uint32_t gs_answer_estimate(const gs_board *board, uint64_t capture_time_ns, uint8_t *at)
{
    const gs_estimate *estimate = &board->estimate;
    const gs_scheduler *scheduler = &board->scheduler;
    const uint32_t valid = outspoken(board);
    const bool has_aux = (valid >> GS_ROLE_AUX & 1u) != 0;
    writer out = {at};
    put_u32(&out, board->last_frame);
    put_u32(&out, board->flown - 1u);
    put_u64(&out, capture_time_ns);
    put_u8(&out, estimate->answered);
    put_u8(&out, estimate->networks);
    put_u8(&out, valid);
    put_u8(&out, estimate->reason);
    put_u8(&out, estimate->flags);
    put_u8(&out, estimate->components);
    put_u8(&out, has_aux ? scheduler->stages[GS_ROLE_AUX].engine.outputs : 0);
    put_u8(&out, 0);
    put_f32(&out, estimate->signal);
    put_f32(&out, estimate->threshold);
    put_f32(&out, estimate->presence);
    for (uint32_t i = 0; i < 4; i++) {
        const int64_t time_ns = estimate->time_ns[i];
        put_u32(&out, time_ns < 0 ? 0 : saturated((uint64_t)time_ns));
    }
    put_floats(&out, estimate->values, estimate->components);
    put_floats(&out, estimate->deviation, estimate->components);
    for (uint32_t role = 0; role < 3; role++) {
        if ((valid >> role & 1u) != 0) {
            const gs_stage *stage = &scheduler->stages[role];
            put_floats(&out, stage->output, stage->engine.outputs);
        }
    }
    return (uint32_t)(out.at - at);
}
