/* Takes commands off the line and sees that each is carried out at most once. */
#include "gearshift/board.h"

#include "board_commands.h"
#include "board_line.h"

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
        gs_board_put(board, entry->frame, entry->length);
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
