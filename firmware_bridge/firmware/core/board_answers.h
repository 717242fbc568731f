/* The bodies of answers and events, laid out as docs/protocol.md says. Each function writes at
 * `at`, which has room for GS_ANSWER_PAYLOAD_BYTES - GS_PREFIX_BYTES, and returns how many bytes. */
#ifndef GEARSHIFT_BOARD_ANSWERS_H
#define GEARSHIFT_BOARD_ANSWERS_H

#include "gearshift/board.h"

/* What a piece of work took; also a point in time while it is under way. */
typedef struct {
    uint64_t us;
    uint64_t count;
} gs_work_done;

/* The prefix of every answer and event, GS_PREFIX_BYTES. */
void gs_answer_prefix(uint8_t *at, uint64_t time_us, gs_work_done work, uint32_t received);

uint32_t gs_answer_hello(const gs_board *board, uint32_t nonce, uint8_t *at);
uint32_t gs_answer_status_report(const gs_board *board, uint8_t *at);
uint32_t gs_answer_network(const gs_board *board, uint8_t number, uint8_t *at);
uint32_t gs_answer_counters(const gs_board *board, uint8_t *at);
uint32_t gs_answer_outputs(uint8_t number, const int32_t *outputs, uint32_t length, uint8_t *at);
/* The board's estimate, which is that of its last frame. */
uint32_t gs_answer_estimate(const gs_board *board, uint64_t capture_time_ns, uint8_t *at);

#endif
