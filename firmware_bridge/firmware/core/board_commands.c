#include "board_commands.h"

#include <stddef.h>

#include "board_line.h"
#include "board_slots.h"
#include "board_start.h"
#include "board_work.h"

static int64_t loop_now_ns(void *context)
{
    const gs_port *port = context;
    return (int64_t)(port->time_us(port->context) * 1000u);
}

static uint64_t loop_count(void *context)
{
    const gs_port *port = context;
    return port->count(port->context);
}

static gs_clock loop_clock(gs_board *board)
{
    return (gs_clock){
        .now_ns = loop_now_ns,
        .instructions = board->port.count == NULL ? NULL : loop_count,
        .context = &board->port,
    };
}

void gs_board_hello(gs_board *board, const gs_header *command, const uint8_t *payload,
                    uint32_t length)
{
    if (length < 6) {
        gs_board_refuse(board, command, GS_ANSWER_BAD_PAYLOAD);
        return;
    }
    if (payload[4] > GS_PROTOCOL_VERSION || payload[5] < GS_PROTOCOL_VERSION) {
        gs_board_refuse(board, command, GS_ANSWER_VERSION);
        return;
    }
    const uint32_t nonce = gs_load_u32(payload);
    switch (gs_session_hello(&board->session, nonce, command->sequence)) {
    case GS_HELLO_STALE:
        gs_board_count(board, GS_COUNTER_STALE);
        return;
    case GS_HELLO_REPEATED:
        gs_board_count(board, GS_COUNTER_REPEATED);
        break;
    case GS_HELLO_NEW:
        /* What an earlier host has asked for is nobody's any more; the configuration stays. */
        gs_board_forget_work(board);
        gs_board_count(board, GS_COUNTER_CARRIED_OUT);
        break;
    }
    gs_board_accept(board, command, gs_answer_hello(board, nonce, gs_board_body(board)));
}

static void begin_flight(gs_board *board)
{
    board->any_processed = false;
    board->flown = 0;
}

static void configure(gs_board *board, const gs_header *command, const uint8_t *payload,
                      uint32_t length)
{
    const gs_slot *slot = &board->tables_slot;
    if (length != 8) {
        gs_board_refuse(board, command, GS_ANSWER_BAD_PAYLOAD);
        return;
    }
    if (!gs_board_is_whole(slot, gs_load_u32(payload)) || gs_load_u32(payload + 4) != slot->size) {
        gs_board_refuse(board, command, GS_ANSWER_INCOMPLETE);
        return;
    }
    const uint8_t written = 1u - board->tables_active;
    const gs_status status =
        gs_scheduler_configure(&board->scheduler, board->tables[written], slot->size,
                               board->engines, board->bundle.count, loop_clock(board));
    gs_store_u32(gs_board_body(board), (uint32_t)status);
    if (status == GS_OK) {
        board->tables_active = written;
        begin_flight(board);
    }
    /* The next tables go to the other buffer, so what was written there counts no longer. */
    board->tables_slot = (gs_slot){.image = slot->image, .parts = 1, .size = 1, .missing = 1};
    gs_board_answer(board, command->type, command->sequence,
                    status == GS_OK ? GS_ANSWER_OK : GS_ANSWER_REFUSED, (gs_work_done){0}, 4);
}

static gs_answer_status set_stream(gs_board *board, const uint8_t *payload, uint32_t length)
{
    if (length != 12) {
        return GS_ANSWER_BAD_PAYLOAD;
    }
    if (board->port.camera == NULL) {
        return GS_ANSWER_NO_CAMERA;
    }
    if (!board->scheduler.configured) {
        return GS_ANSWER_NOT_CONFIGURED;
    }
    if (payload[0] != 0 && board->slots[GS_SLOTS - 1u].busy) {
        return GS_ANSWER_BUSY;
    }
    const uint32_t frames = gs_load_u32(payload + 8);
    board->stream = (gs_stream){
        .on = payload[0] != 0,
        .period_us = gs_load_u32(payload + 4),
        .left = frames,
        .endless = frames == 0,
        .next_us = board->port.time_us(board->port.context),
    };
    return GS_ANSWER_OK;
}

static void reset(gs_board *board, const gs_header *command, const uint8_t *payload,
                  uint32_t length)
{
    if (length != 1 || payload[0] > 1) {
        gs_board_refuse(board, command, GS_ANSWER_BAD_PAYLOAD);
        return;
    }
    if (payload[0] == 0) {
        if (board->scheduler.configured) {
            gs_scheduler_reset(&board->scheduler);
        }
        begin_flight(board);
        gs_board_accept(board, command, 0);
        return;
    }
    gs_board_accept(board, command, 0);
    if (board->port.reset != NULL) {
        board->port.reset(board->port.context);
    }
    gs_board_start(board, board->port.boot + 1u);
}

static gs_answer_status set_threshold(gs_board *board, const uint8_t *payload, uint32_t length)
{
    if (length != 4) {
        return GS_ANSWER_BAD_PAYLOAD;
    }
    if (!board->scheduler.configured) {
        return GS_ANSWER_NOT_CONFIGURED;
    }
    const gs_status status = gs_scheduler_set_threshold(&board->scheduler, gs_load_f32(payload));
    return status == GS_OK ? GS_ANSWER_OK : GS_ANSWER_BAD_PAYLOAD;
}

static void echo(gs_board *board, const gs_header *command, const uint8_t *payload,
                 uint32_t length)
{
    if (length > GS_ANSWER_PAYLOAD_BYTES - GS_PREFIX_BYTES) {
        gs_board_refuse(board, command, GS_ANSWER_BAD_PAYLOAD);
        return;
    }
    __builtin_memcpy(gs_board_body(board), payload, length);
    gs_board_accept(board, command, length);
}

void gs_board_carry_out(gs_board *board, const gs_header *command, const uint8_t *payload,
                        uint32_t length)
{
    gs_answer_status status;
    switch (command->type) {
    case GS_COMMAND_STATUS:
        gs_board_accept(board, command, gs_answer_status_report(board, gs_board_body(board)));
        return;
    case GS_COMMAND_NETWORK:
        if (length != 1) {
            gs_board_refuse(board, command, GS_ANSWER_BAD_PAYLOAD);
        } else if (payload[0] >= board->bundle.count) {
            gs_board_refuse(board, command, GS_ANSWER_NO_NETWORK);
        } else {
            gs_board_accept(board, command,
                            gs_answer_network(board, payload[0], gs_board_body(board)));
        }
        return;
    case GS_COMMAND_WRITE:
        status = gs_board_write_part(board, payload, length);
        break;
    case GS_COMMAND_CONFIGURE:
        configure(board, command, payload, length);
        return;
    case GS_COMMAND_INFER:
    case GS_COMMAND_PROCESS:
        status = gs_board_enqueue(board, command, payload, length);
        if (status == GS_ANSWER_OK) {
            return; /* answered when it has run */
        }
        break;
    case GS_COMMAND_STREAM:
        status = set_stream(board, payload, length);
        break;
    case GS_COMMAND_COUNTERS:
        gs_board_accept(board, command, gs_answer_counters(board, gs_board_body(board)));
        return;
    case GS_COMMAND_RESET:
        reset(board, command, payload, length);
        return;
    case GS_COMMAND_THRESHOLD:
        status = set_threshold(board, payload, length);
        break;
    case GS_COMMAND_ECHO:
        echo(board, command, payload, length);
        return;
    default:
        status = GS_ANSWER_UNKNOWN_COMMAND;
        break;
    }
    gs_board_refuse(board, command, status);
}
