/* The board: bytes from the line in, bytes for the line out, networks and the adaptive loop between
 * (docs/protocol.md). No heap, no libc; all memory is in one gs_board. */
#ifndef GEARSHIFT_BOARD_H
#define GEARSHIFT_BOARD_H

#include <stdbool.h>
#include <stdint.h>

#include "gearshift/network.h"
#include "gearshift/protocol.h"
#include "gearshift/scheduler.h"
#include "gearshift/session.h"

#ifndef GS_SLOTS
#define GS_SLOTS 3u
#endif
#ifndef GS_SLOT_BYTES
#define GS_SLOT_BYTES (160u * 96u)
#endif
#ifndef GS_PAYLOAD_BYTES
#define GS_PAYLOAD_BYTES 4096u
#endif

#define GS_BUILD "gearshift 0.1.0"

/* What a port gives the board. transmit: put bytes on the line; returns when they are taken or
 * cannot be. count: cycles or instructions so far, may be null. reset: restart the board; null, or
 * returning from it, makes the board start over in place with the next boot number. camera: a frame
 * of `bytes` pixels when there is a new one, else false; null without a camera. credit: bytes of
 * the port's receive buffer. boot: differs after every reset. */
typedef struct {
    void *context;
    void (*transmit)(void *context, const uint8_t *bytes, uint32_t length);
    uint64_t (*time_us)(void *context);
    uint64_t (*count)(void *context);
    void (*reset)(void *context);
    bool (*camera)(void *context, uint8_t *image, uint32_t bytes, int64_t *capture_time_ns);
    gs_count_kind count_kind;
    uint32_t boot;
    uint32_t credit;
    const char *name;
} gs_port;

/* An image, or tables, written in parts. */
typedef struct {
    uint32_t image;
    uint32_t size;
    uint32_t missing; /* bit k: part k has not come */
    uint8_t parts;    /* 0: nothing was ever written */
    bool busy;        /* a job reads it */
} gs_slot;

typedef struct {
    uint8_t type;
    uint16_t sequence;
    uint8_t slot;
    uint8_t network;
    uint32_t frame;
    uint64_t capture_time_ns;
} gs_job;

typedef struct {
    bool on;
    uint32_t period_us;
    uint32_t left;  /* frames; 0 with `endless` */
    bool endless;
    uint64_t next_us;
    uint16_t sequence;
} gs_stream;

/* Private to the core but for `counters`, and `scheduler` to look at. */
typedef struct gs_board {
    gs_port port;
    gs_machine machine;
    gs_bundle bundle;
    gs_status bundle_status;
    gs_network_context contexts[GS_MAX_NETWORKS];
    gs_engine engines[GS_MAX_NETWORKS];
    gs_scheduler scheduler;
    gs_session session;
    gs_cobs_decoder decoder;
    gs_stream stream;
    gs_slot slots[GS_SLOTS];
    gs_slot tables_slot;
    uint8_t tables_active; /* which of `tables` the loop reads; the other one is written */
    gs_job jobs[GS_SLOTS];
    uint32_t job_count;
    bool any_processed;
    uint32_t last_frame;
    uint32_t processed;
    uint32_t flown; /* frames of the current flight before this one */
    uint32_t received;
    uint32_t counters[GS_COUNTERS_LENGTH];
    gs_estimate estimate;
    _Alignas(8) int32_t outputs[GS_MAX_OUTPUTS];
    _Alignas(8) uint8_t pixels[GS_SLOTS][GS_SLOT_BYTES];
    _Alignas(8) uint8_t tables[2][GS_MAX_CONFIGURATION_BYTES];
    _Alignas(8) uint8_t frame[GS_FRAMING_BYTES + GS_PAYLOAD_BYTES];
    _Alignas(8) uint8_t answer[GS_FRAMING_BYTES + GS_ANSWER_PAYLOAD_BYTES];
    uint8_t line[GS_ANSWER_LINE_BYTES];
} gs_board;

/* Start a board. bundle: `length` bytes, aligned to 8, of a bundle or of a single network image,
 * which stay where they are; one that is refused leaves the board without networks, and its answer
 * to `status` says why. The machine's arena is aligned to 8. */
void gs_board_init(gs_board *board, const gs_port *port, const gs_machine *machine,
                   const uint8_t *bundle, uint32_t length);

/* Bytes that came off the line. Short commands are answered at once, networks are left to
 * `gs_board_poll`. Not to be called from an interrupt. */
void gs_board_receive(gs_board *board, const uint8_t *bytes, uint32_t length);

/* Do one piece of waiting work; false when there is none. A stream without a new camera frame
 * has none. */
bool gs_board_poll(gs_board *board);

/* Whether a stream is on, so that a port that sleeps looks at its camera now and then. */
bool gs_board_streams(const gs_board *board);

/* The port lost this many received bytes. */
void gs_board_overrun(gs_board *board, uint32_t bytes);

#endif
