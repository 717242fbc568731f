/* Names and numbers of docs/protocol.md, and how frames are put on the line and taken off it. */
#ifndef GEARSHIFT_PROTOCOL_H
#define GEARSHIFT_PROTOCOL_H

#include <stdbool.h>
#include <stdint.h>

#include "gearshift/bytes.h"
#include "gearshift/cobs.h"
#include "gearshift/network_image.h"

#define GS_PROTOCOL_VERSION 1u
#define GS_HEADER_BYTES 10u
#define GS_CRC_BYTES 4u
#define GS_FRAMING_BYTES (GS_HEADER_BYTES + GS_CRC_BYTES)
#define GS_PREFIX_BYTES 24u
#define GS_ANSWER_FLAG 0x80u
#define GS_WINDOW 16u
#define GS_NONCES 8u
#define GS_TABLES_TARGET 255u
#define GS_MAX_PARTS 32u

/* Longest payload of an answer or event, which is that to `network`. */
#define GS_NETWORK_ANSWER_BYTES 80u
#define GS_ANSWER_PAYLOAD_BYTES (GS_PREFIX_BYTES + GS_NETWORK_ANSWER_BYTES + 8u * GS_MAX_OUTPUTS)
/* Bytes of an answer or event on the line, both delimiters included. */
#define GS_ANSWER_LINE_BYTES (GS_COBS_BOUND(GS_ANSWER_PAYLOAD_BYTES + GS_FRAMING_BYTES) + 2u)

typedef enum {
    GS_COMMAND_HELLO = 1,
    GS_COMMAND_STATUS = 2,
    GS_COMMAND_NETWORK = 3,
    GS_COMMAND_WRITE = 4,
    GS_COMMAND_CONFIGURE = 5,
    GS_COMMAND_INFER = 6,
    GS_COMMAND_PROCESS = 7,
    GS_COMMAND_STREAM = 8,
    GS_COMMAND_COUNTERS = 9,
    GS_COMMAND_RESET = 10,
    GS_COMMAND_THRESHOLD = 11,
    GS_COMMAND_ECHO = 12,
    GS_EVENT_ESTIMATE = 64,
} gs_message_type;

typedef enum {
    GS_ANSWER_OK = 0,
    GS_ANSWER_UNKNOWN_COMMAND = 1,
    GS_ANSWER_BAD_PAYLOAD = 2,
    GS_ANSWER_WRONG_SESSION = 3,
    GS_ANSWER_STALE = 4,
    GS_ANSWER_BUSY = 5,
    GS_ANSWER_INCOMPLETE = 6,
    GS_ANSWER_NO_NETWORK = 7,
    GS_ANSWER_NETWORK_FAILED = 8,
    GS_ANSWER_NOT_CONFIGURED = 9,
    GS_ANSWER_REFUSED = 10,
    GS_ANSWER_OUT_OF_ORDER = 11,
    GS_ANSWER_NO_CAMERA = 12,
    GS_ANSWER_VERSION = 13,
} gs_answer_status;

typedef enum {
    GS_COUNT_NONE = 0,
    GS_COUNT_CYCLES = 1,
    GS_COUNT_INSTRUCTIONS = 2,
} gs_count_kind;

typedef enum {
    GS_ABILITY_CAMERA = 1,
    GS_ABILITY_LOOP = 2,
} gs_ability;

/* Indices into the answer of `counters`. */
typedef enum {
    GS_COUNTER_GOOD,
    GS_COUNTER_BAD_CRC,
    GS_COUNTER_BAD_COBS,
    GS_COUNTER_TOO_LONG,
    GS_COUNTER_BAD_LENGTH,
    GS_COUNTER_OVERRUN,
    GS_COUNTER_WRONG_SESSION,
    GS_COUNTER_STALE,
    GS_COUNTER_REPEATED,
    GS_COUNTER_PENDING,
    GS_COUNTER_CARRIED_OUT,
    GS_COUNTER_ANSWERS,
    GS_COUNTER_EVENTS,
    GS_COUNTER_NETWORK_FAILED,
    GS_COUNTERS_LENGTH,
} gs_counter;

typedef struct {
    uint8_t type;
    uint8_t status;
    uint16_t sequence;
    uint32_t session;
} gs_header;

/* What a frame that came off the line is. */
typedef enum {
    GS_FRAME_GOOD,
    GS_FRAME_SHORT,       /* no room for header and CRC, or another length than the header says */
    GS_FRAME_BAD_CRC,
} gs_frame_result;

/* Check the `length` bytes between two delimiters, COBS already undone, and take them apart.
 * `payload` points into `frame`; header and payload mean something only when the frame is good. */
gs_frame_result gs_frame_open(const uint8_t *frame, uint32_t length, gs_header *header,
                              const uint8_t **payload, uint16_t *payload_length);

/* Complete a frame whose payload stands at frame + GS_HEADER_BYTES: write header and CRC around
 * it. Returns the length of the frame. */
uint32_t gs_frame_close(uint8_t *frame, const gs_header *header, uint16_t payload_length);

/* Put a closed frame on the line: encoded into `line` between two delimiters. `line` has room for
 * GS_COBS_BOUND(length) + 2 bytes. Returns the number of bytes. */
uint32_t gs_frame_to_line(const uint8_t *frame, uint32_t length, uint8_t *line);

#endif
