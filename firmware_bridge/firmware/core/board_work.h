/* Commands that run networks, and the stream: one piece of work for every gs_board_poll. */
#ifndef GEARSHIFT_CORE_BOARD_WORK_H
#define GEARSHIFT_CORE_BOARD_WORK_H

#include "gearshift/board.h"

/* Queue an inference or a turn of the loop. GS_ANSWER_OK: it waits, and is answered when it has
 * run. */
gs_answer_status gs_board_enqueue(gs_board *board, const gs_header *command, const uint8_t *payload,
                                  uint32_t length);

#endif
