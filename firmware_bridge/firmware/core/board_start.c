#include "board_start.h"

void gs_board_forget_work(gs_board *board)
{
    board->job_count = 0;
    board->stream.on = false;
    board->tables_slot = (gs_slot){0};
    for (uint32_t i = 0; i < GS_SLOTS; i++) {
        board->slots[i] = (gs_slot){0};
    }
}

void gs_board_start(gs_board *board, uint32_t boot)
{
    board->port.boot = boot;
    gs_session_init(&board->session, boot);
    gs_cobs_decoder_init(&board->decoder, board->frame, sizeof board->frame);
    gs_board_forget_work(board);
    board->scheduler.configured = false;
    board->tables_active = 0;
    board->any_processed = false;
    board->last_frame = 0;
    board->processed = 0;
    board->flown = 0;
    board->received = 0;
    for (uint32_t i = 0; i < GS_COUNTERS_LENGTH; i++) {
        board->counters[i] = 0;
    }
}

static void open_networks(gs_board *board, const uint8_t *bytes, uint32_t length)
{
    gs_bundle *bundle = &board->bundle;
    board->bundle_status = gs_bundle_open(bytes, length, bundle);
    if (board->bundle_status == GS_BAD_MAGIC) {
        board->bundle_status = gs_network_open(bytes, length, &bundle->networks[0]);
        bundle->count = 1;
    }
    if (board->bundle_status != GS_OK) {
        bundle->count = 0;
    }
    for (uint32_t i = 0; i < bundle->count; i++) {
        board->engines[i] =
            gs_network_engine(&board->contexts[i], &bundle->networks[i], &board->machine);
    }
}

void gs_board_init(gs_board *board, const gs_port *port, const gs_machine *machine,
                   const uint8_t *bundle, uint32_t length)
{
    board->port = *port;
    board->machine = *machine;
    board->scheduler = (gs_scheduler){0};
    open_networks(board, bundle, length);
    gs_board_start(board, port->boot);
}
