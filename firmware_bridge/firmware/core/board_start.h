/* How a board starts: with its networks, after a reset, and for a new host. */
#ifndef GEARSHIFT_CORE_BOARD_START_H
#define GEARSHIFT_CORE_BOARD_START_H

#include "gearshift/board.h"

/* Start over in place, as the boot of this number. */
void gs_board_start(gs_board *board, uint32_t boot);

/* Drop images, queued frames and a stream; configuration and history stay. */
void gs_board_forget_work(gs_board *board);

#endif
