/* What each command does. What can be answered at once is; what runs networks waits its turn. */
#ifndef GEARSHIFT_CORE_BOARD_COMMANDS_H
#define GEARSHIFT_CORE_BOARD_COMMANDS_H

#include "gearshift/board.h"

void gs_board_hello(gs_board *board, const gs_header *command, const uint8_t *payload,
                    uint32_t length);

/* A command of the current session that was not carried out before. */
void gs_board_carry_out(gs_board *board, const gs_header *command, const uint8_t *payload,
                        uint32_t length);

#endif
