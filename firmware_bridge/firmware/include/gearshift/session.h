/* At most once: which commands of a session are new, which were answered before (and how), and
 * which are too old to know. */
#ifndef GEARSHIFT_SESSION_H
#define GEARSHIFT_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "gearshift/protocol.h"

typedef enum {
    GS_ENTRY_UNSEEN,
    GS_ENTRY_PENDING,
    GS_ENTRY_ANSWERED,
} gs_entry_state;

/* One command of the window and, once answered, the closed frame of its answer. */
typedef struct {
    gs_entry_state state;
    uint32_t length;
    uint8_t frame[GS_FRAMING_BYTES + GS_ANSWER_PAYLOAD_BYTES];
} gs_entry;

typedef struct {
    uint32_t boot;
    uint32_t number;      /* the session in the header; 0 before the first hello */
    uint8_t handshakes;
    uint16_t newest;
    uint32_t nonces[GS_NONCES];
    uint8_t nonce_count;
    gs_entry entries[GS_WINDOW];
} gs_session;

typedef enum {
    GS_AGE_NEW,       /* carry it out; its entry is pending now */
    GS_AGE_REPEATED,  /* send the frame of its entry again */
    GS_AGE_PENDING,   /* its answer will come */
    GS_AGE_STALE,     /* too old */
} gs_command_age;

typedef enum {
    GS_HELLO_NEW,         /* a new session has begun */
    GS_HELLO_REPEATED,    /* the hello of the current session again */
    GS_HELLO_STALE,       /* the hello of an earlier session */
} gs_hello_age;

void gs_session_init(gs_session *session, uint32_t boot);

/* Take a hello with this nonce and sequence number. */
gs_hello_age gs_session_hello(gs_session *session, uint32_t nonce, uint16_t sequence);

/* Take a command of the current session. */
gs_command_age gs_session_take(gs_session *session, uint16_t sequence);

/* The entry of a sequence number that `gs_session_take` or `gs_session_hello` has taken and that
 * is still in the window, else NULL. */
gs_entry *gs_session_entry(gs_session *session, uint16_t sequence);

#endif
