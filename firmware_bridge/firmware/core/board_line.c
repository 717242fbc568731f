#include "board_line.h"

#include <stddef.h>

void gs_board_count(gs_board *board, gs_counter which)
{
    board->counters[which]++;
}

void gs_board_put(gs_board *board, const uint8_t *frame, uint32_t length)
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
    gs_board_put(board, frame, length);
}

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
