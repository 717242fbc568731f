/* What the board says: answers and events are completed here, remembered where a command may come
 * again, put on the line and counted. */
#ifndef GEARSHIFT_CORE_BOARD_LINE_H
#define GEARSHIFT_CORE_BOARD_LINE_H

#include "board_answers.h"
#include "gearshift/board.h"

void gs_board_count(gs_board *board, gs_counter which);

/* Put a closed frame on the line. */
void gs_board_put(gs_board *board, const uint8_t *frame, uint32_t length);

/* Where the body of the next answer is written. */
uint8_t *gs_board_body(gs_board *board);

/* Complete and send an answer or event whose body of `body_bytes` stands there. */
void gs_board_send(gs_board *board, const gs_header *header, gs_work_done work,
                   uint32_t body_bytes);

/* Answer a command whose body of `body_bytes` stands there; refused ones have none. */
void gs_board_answer(gs_board *board, uint8_t type, uint16_t sequence, gs_answer_status status,
                     gs_work_done work, uint32_t body_bytes);
void gs_board_refuse(gs_board *board, const gs_header *command, gs_answer_status status);
void gs_board_accept(gs_board *board, const gs_header *command, uint32_t body_bytes);

#endif
