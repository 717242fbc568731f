#include "gearshift/board.h"

#include <stddef.h>

#include "board_parts.h"

void gs_board_count(gs_board *board, gs_counter which)
{
    board->counters[which]++;
}

/* -- starting ---------------------------------------------------------------------------------- */

void gs_board_forget_work(gs_board *board)
{
    board->job_count = 0;
    board->stream.on = false;
    board->tables_slot = (gs_slot){0};
    for (uint32_t i = 0; i < GS_SLOTS; i++) {
        board->slots[i] = (gs_slot){0};
    }
}

void gs_board_start(gs_board *board, uint32_t boot)
{
    board->port.boot = boot;
    gs_session_init(&board->session, boot);
    gs_cobs_decoder_init(&board->decoder, board->frame, sizeof board->frame);
    gs_board_forget_work(board);
    board->scheduler.configured = 0;
    board->tables_active = 0;
    board->any_processed = false;
    board->last_frame = 0;
    board->processed = 0;
    board->flown = 0;
    board->received = 0;
    for (uint32_t i = 0; i < GS_COUNTERS_LENGTH; i++) {
        board->counters[i] = 0;
    }
}

static void open_networks(gs_board *board, const uint8_t *bytes, uint32_t length)
{
    gs_bundle *bundle = &board->bundle;
    board->bundle_status = gs_bundle_open(bytes, length, bundle);
    if (board->bundle_status == GS_BAD_MAGIC) {
        board->bundle_status = gs_network_open(bytes, length, &bundle->networks[0]);
        bundle->count = 1;
    }
    if (board->bundle_status != GS_OK) {
        bundle->count = 0;
    }
    for (uint32_t i = 0; i < bundle->count; i++) {
        board->engines[i] =
            gs_network_engine(&board->contexts[i], &bundle->networks[i], &board->machine);
    }
}

void gs_board_init(gs_board *board, const gs_port *port, const gs_machine *machine,
                   const uint8_t *bundle, uint32_t length)
{
    board->port = *port;
    board->machine = *machine;
    board->scheduler = (gs_scheduler){0};
    open_networks(board, bundle, length);
    gs_board_start(board, port->boot);
}

/* -- answering --------------------------------------------------------------------------------- */

static void put_on_line(gs_board *board, const uint8_t *frame, uint32_t length)
{
    const uint32_t bytes = gs_frame_to_line(frame, length, board->line);
    board->port.transmit(board->port.context, board->line, bytes);
}

void gs_board_send(gs_board *board, const gs_header *header, gs_work_done work, uint32_t body_bytes)
{
    uint8_t *frame = board->answer;
    gs_answer_prefix(frame + GS_HEADER_BYTES, board->port.time_us(board->port.context), work,
                     board->received);
    const uint32_t length =
        gs_frame_close(frame, header, (uint16_t)(GS_PREFIX_BYTES + body_bytes));
    if (header->type < GS_ANSWER_FLAG) {
        gs_board_count(board, GS_COUNTER_EVENTS);
    } else {
        gs_board_count(board, GS_COUNTER_ANSWERS);
        /* What was said outside the session is no answer to its command of that number. */
        const bool outside = header->type == (GS_COMMAND_HELLO | GS_ANSWER_FLAG) ||
                             header->status == GS_ANSWER_WRONG_SESSION;
        gs_entry *entry =
            outside ? NULL : gs_session_entry(&board->session, header->sequence);
        if (entry != NULL && entry->state == GS_ENTRY_PENDING) {
            entry->state = GS_ENTRY_ANSWERED;
            entry->length = length;
            __builtin_memcpy(entry->frame, frame, length);
        }
    }
    put_on_line(board, frame, length);
}

/* Answer a command whose body of `body_bytes` stands at `gs_board_body(board)`. */
void gs_board_answer(gs_board *board, uint8_t type, uint16_t sequence, gs_answer_status status,
                     gs_work_done work, uint32_t body_bytes)
{
    const gs_header header = {
        .type = type | GS_ANSWER_FLAG,
        .status = (uint8_t)status,
        .sequence = sequence,
        .session = board->session.number,
    };
    gs_board_send(board, &header, work, body_bytes);
}

uint8_t *gs_board_body(gs_board *board)
{
    return board->answer + GS_HEADER_BYTES + GS_PREFIX_BYTES;
}

void gs_board_refuse(gs_board *board, const gs_header *command, gs_answer_status status)
{
    gs_board_answer(board, command->type, command->sequence, status, (gs_work_done){0}, 0);
}

void gs_board_accept(gs_board *board, const gs_header *command, uint32_t body_bytes)
{
    gs_board_answer(board, command->type, command->sequence, GS_ANSWER_OK, (gs_work_done){0},
                    body_bytes);
}

/* -- taking commands off the line -------------------------------------------------------------- */

static void take_command(gs_board *board, const gs_header *command, const uint8_t *payload,
                         uint32_t length)
{
    if (command->type == GS_COMMAND_HELLO) {
        gs_board_hello(board, command, payload, length);
        return;
    }
    if (command->type == 0 || command->type >= GS_EVENT_ESTIMATE) {
        return; /* an answer or event: the line echoes */
    }
    if (board->session.number == 0 || command->session != board->session.number) {
        gs_board_count(board, GS_COUNTER_WRONG_SESSION);
        gs_board_refuse(board, command, GS_ANSWER_WRONG_SESSION);
        return;
    }
    switch (gs_session_take(&board->session, command->sequence)) {
    case GS_AGE_STALE:
        gs_board_count(board, GS_COUNTER_STALE);
        return;
    case GS_AGE_PENDING:
        gs_board_count(board, GS_COUNTER_PENDING);
        return;
    case GS_AGE_REPEATED: {
        gs_board_count(board, GS_COUNTER_REPEATED);
        const gs_entry *entry = gs_session_entry(&board->session, command->sequence);
        put_on_line(board, entry->frame, entry->length);
        return;
    }
    case GS_AGE_NEW:
        gs_board_count(board, GS_COUNTER_CARRIED_OUT);
        gs_board_carry_out(board, command, payload, length);
        return;
    }
}

static void take_frame(gs_board *board)
{
    gs_header header;
    const uint8_t *payload;
    uint16_t length;
    switch (gs_frame_open(board->frame, board->decoder.length, &header, &payload, &length)) {
    case GS_FRAME_SHORT:
        gs_board_count(board, GS_COUNTER_BAD_LENGTH);
        return;
    case GS_FRAME_BAD_CRC:
        gs_board_count(board, GS_COUNTER_BAD_CRC);
        return;
    case GS_FRAME_GOOD:
        gs_board_count(board, GS_COUNTER_GOOD);
        take_command(board, &header, payload, length);
        return;
    }
}

void gs_board_receive(gs_board *board, const uint8_t *bytes, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++) {
        board->received++;
        switch (gs_cobs_decode(&board->decoder, bytes[i])) {
        case GS_COBS_MORE:
            break;
        case GS_COBS_BROKEN:
            gs_board_count(board, GS_COUNTER_BAD_COBS);
            break;
        case GS_COBS_TOO_LONG:
            gs_board_count(board, GS_COUNTER_TOO_LONG);
            break;
        case GS_COBS_FRAME:
            take_frame(board);
            break;
        }
    }
}

void gs_board_overrun(gs_board *board, uint32_t bytes)
{
    board->counters[GS_COUNTER_OVERRUN] += bytes;
}
