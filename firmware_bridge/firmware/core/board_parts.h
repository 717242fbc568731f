/* What the files of the board share: board.c starts it, takes frames off the line and puts answers
 * on it, board_commands.c does what can be done at once, board_work.c what runs networks. */
#ifndef GEARSHIFT_BOARD_PARTS_H
#define GEARSHIFT_BOARD_PARTS_H

#include "board_answers.h"
#include "gearshift/board.h"

/* board.c */
void gs_board_count(gs_board *board, gs_counter which);
void gs_board_start(gs_board *board, uint32_t boot);
/* Drop images, queued frames and a stream; configuration and history stay. */
void gs_board_forget_work(gs_board *board);
/* Where the body of the next answer is written. */
uint8_t *gs_board_body(gs_board *board);
/* Complete and send an answer or event whose body of `body_bytes` stands there. */
void gs_board_send(gs_board *board, const gs_header *header, gs_work_done work,
                   uint32_t body_bytes);
void gs_board_answer(gs_board *board, uint8_t type, uint16_t sequence, gs_answer_status status,
                     gs_work_done work, uint32_t body_bytes);
void gs_board_refuse(gs_board *board, const gs_header *command, gs_answer_status status);
void gs_board_accept(gs_board *board, const gs_header *command, uint32_t body_bytes);

/* board_commands.c */
void gs_board_hello(gs_board *board, const gs_header *command, const uint8_t *payload,
                    uint32_t length);
/* A command of the current session that was not carried out before. */
void gs_board_carry_out(gs_board *board, const gs_header *command, const uint8_t *payload,
                        uint32_t length);
bool gs_board_is_whole(const gs_slot *slot, uint32_t image);

/* board_work.c; GS_ANSWER_OK: it waits, and is answered when it has run. */
gs_answer_status gs_board_enqueue(gs_board *board, const gs_header *command, const uint8_t *payload,
                                  uint32_t length);

#endif
