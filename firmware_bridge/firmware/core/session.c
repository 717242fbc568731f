#include <stddef.h>

#include "gearshift/session.h"

static int16_t steps_from(uint16_t a, uint16_t b)
{
    return (int16_t)(uint16_t)(a - b);
}

static gs_entry *slot_of(gs_session *session, uint16_t sequence)
{
    return &session->entries[sequence % GS_WINDOW];
}

static void forget_all(gs_session *session)
{
    for (uint32_t i = 0; i < GS_WINDOW; i++) {
        session->entries[i].state = GS_ENTRY_UNSEEN;
    }
}

void gs_session_init(gs_session *session, uint32_t boot)
{
    session->boot = boot;
    session->number = 0;
    session->handshakes = 0;
    session->newest = 0;
    session->nonce_count = 0;
    forget_all(session);
}

static void remember_nonce(gs_session *session, uint32_t nonce)
{
    for (uint32_t i = GS_NONCES - 1; i > 0; i--) {
        session->nonces[i] = session->nonces[i - 1];
    }
    session->nonces[0] = nonce;
    if (session->nonce_count < GS_NONCES) {
        session->nonce_count++;
    }
}

gs_hello_age gs_session_hello(gs_session *session, uint32_t nonce, uint16_t sequence)
{
    for (uint32_t i = 0; i < session->nonce_count; i++) {
        if (session->nonces[i] == nonce) {
            return i == 0 ? GS_HELLO_REPEATED : GS_HELLO_STALE;
        }
    }
    remember_nonce(session, nonce);
    do {
        session->handshakes++;
        session->number = (session->boot << 8) + session->handshakes;
    } while (session->number == 0);
    forget_all(session);
    session->newest = sequence;
    return GS_HELLO_NEW;
}

gs_command_age gs_session_take(gs_session *session, uint16_t sequence)
{
    const int16_t ahead = steps_from(sequence, session->newest);
    if (ahead <= -(int16_t)GS_WINDOW) {
        return GS_AGE_STALE;
    }
    if (ahead > 0) {
        const uint32_t passed = (uint32_t)ahead < GS_WINDOW ? (uint32_t)ahead : GS_WINDOW;
        for (uint32_t i = 0; i < passed; i++) {
            slot_of(session, (uint16_t)(sequence - i))->state = GS_ENTRY_UNSEEN;
        }
        session->newest = sequence;
    }
    gs_entry *entry = slot_of(session, sequence);
    switch (entry->state) {
    case GS_ENTRY_ANSWERED:
        return GS_AGE_REPEATED;
    case GS_ENTRY_PENDING:
        return GS_AGE_PENDING;
    case GS_ENTRY_UNSEEN:
        break;
    }
    entry->state = GS_ENTRY_PENDING;
    return GS_AGE_NEW;
}

gs_entry *gs_session_entry(gs_session *session, uint16_t sequence)
{
    const int16_t ahead = steps_from(sequence, session->newest);
    if (ahead > 0 || ahead <= -(int16_t)GS_WINDOW) {
        return NULL;
    }
    gs_entry *entry = slot_of(session, sequence);
    return entry->state == GS_ENTRY_UNSEEN ? NULL : entry;
}
