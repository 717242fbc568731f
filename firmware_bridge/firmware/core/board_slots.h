/* Images and tables, which the host writes in parts. */
#ifndef GEARSHIFT_CORE_BOARD_SLOTS_H
#define GEARSHIFT_CORE_BOARD_SLOTS_H

#include "gearshift/board.h"

/* Take the part that the payload of a `write` brings. */
gs_answer_status gs_board_write_part(gs_board *board, const uint8_t *payload, uint32_t length);

/* Whether every part of this image has come. */
bool gs_board_is_whole(const gs_slot *slot, uint32_t image);

#endif
