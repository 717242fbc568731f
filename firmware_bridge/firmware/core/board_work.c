#include "board_work.h"

#include <stddef.h>

#include "board_line.h"
#include "board_slots.h"

static uint32_t frame_bytes(const gs_board *board, uint8_t type, uint8_t network)
{
    const gs_engine *engine =
        &board->engines[type == GS_COMMAND_INFER ? network : board->scheduler.configuration.small];
    return engine->height * engine->width;
}

gs_answer_status gs_board_enqueue(gs_board *board, const gs_header *command, const uint8_t *payload,
                                  uint32_t length)
{
    const bool infers = command->type == GS_COMMAND_INFER;
    if (length != (infers ? 8u : 20u) || payload[4] >= GS_SLOTS) {
        return GS_ANSWER_BAD_PAYLOAD;
    }
    const uint8_t slot = payload[4];
    const uint8_t network = infers ? payload[5] : 0;
    if (infers && network >= board->bundle.count) {
        return GS_ANSWER_NO_NETWORK;
    }
    if (!infers && !board->scheduler.configured) {
        return GS_ANSWER_NOT_CONFIGURED;
    }
    if (board->slots[slot].busy || board->job_count == GS_SLOTS) {
        return GS_ANSWER_BUSY;
    }
    if (!gs_board_is_whole(&board->slots[slot], gs_load_u32(payload))) {
        return GS_ANSWER_INCOMPLETE;
    }
    if (board->slots[slot].size != frame_bytes(board, command->type, network)) {
        return GS_ANSWER_BAD_PAYLOAD;
    }
    board->slots[slot].busy = true;
    board->jobs[board->job_count++] = (gs_job){
        .type = command->type,
        .sequence = command->sequence,
        .slot = slot,
        .network = network,
        .frame = infers ? 0 : gs_load_u32(payload + 8),
        .capture_time_ns = infers ? 0 : gs_load_u64(payload + 12),
    };
    return GS_ANSWER_OK;
}

static gs_work_done work_begin(gs_board *board)
{
    const gs_port *port = &board->port;
    return (gs_work_done){
        .us = port->time_us(port->context),
        .count = port->count == NULL ? 0 : port->count(port->context),
    };
}

static gs_work_done work_end(gs_board *board, gs_work_done begin)
{
    const gs_work_done now = work_begin(board);
    return (gs_work_done){.us = now.us - begin.us, .count = now.count - begin.count};
}

static void run_inference(gs_board *board, const gs_job *job)
{
    const gs_network *network = &board->bundle.networks[job->network];
    const gs_work_done begin = work_begin(board);
    const gs_status status =
        gs_network_run(network, &board->machine, board->pixels[job->slot], board->outputs);
    const gs_work_done work = work_end(board, begin);
    board->slots[job->slot].busy = false;
    if (status != GS_OK) {
        gs_board_count(board, GS_COUNTER_NETWORK_FAILED);
        gs_board_answer(board, job->type, job->sequence, GS_ANSWER_NETWORK_FAILED, work, 0);
        return;
    }
    const uint32_t bytes =
        gs_answer_outputs(job->network, board->outputs, network->outputs, gs_board_body(board));
    gs_board_answer(board, job->type, job->sequence, GS_ANSWER_OK, work, bytes);
}

/* One turn of the loop; GS_ANSWER_OK leaves the estimate in the board. */
static gs_answer_status turn(gs_board *board, uint32_t frame, int64_t capture_time_ns,
                             uint8_t slot, gs_work_done *work)
{
    if (board->any_processed && (int32_t)(frame - board->last_frame) <= 0) {
        return GS_ANSWER_OUT_OF_ORDER;
    }
    const gs_work_done begin = work_begin(board);
    const gs_status status = gs_scheduler_process(&board->scheduler, board->pixels[slot],
                                                  capture_time_ns, &board->estimate);
    *work = work_end(board, begin);
    if (status != GS_OK) {
        return GS_ANSWER_NOT_CONFIGURED;
    }
    board->any_processed = true;
    board->last_frame = frame;
    board->processed++;
    board->flown++;
    return GS_ANSWER_OK;
}

static void run_turn(gs_board *board, const gs_job *job)
{
    gs_work_done work = {0};
    /* The loop may have been given networks of another size since this was queued. */
    const gs_answer_status status =
        board->slots[job->slot].size != frame_bytes(board, job->type, 0)
            ? GS_ANSWER_BAD_PAYLOAD
            : turn(board, job->frame, (int64_t)job->capture_time_ns, job->slot, &work);
    board->slots[job->slot].busy = false;
    const uint32_t bytes =
        status == GS_ANSWER_OK
            ? gs_answer_estimate(board, job->capture_time_ns, gs_board_body(board))
            : 0;
    gs_board_answer(board, job->type, job->sequence, status, work, bytes);
}

static bool run_stream(gs_board *board)
{
    gs_stream *stream = &board->stream;
    const uint8_t slot = GS_SLOTS - 1u;
    if (!stream->on || board->port.time_us(board->port.context) < stream->next_us) {
        return false;
    }
    const gs_engine *engine = &board->engines[board->scheduler.configuration.small];
    const uint32_t pixels = engine->height * engine->width;
    int64_t capture_time_ns = 0;
    if (pixels > GS_SLOT_BYTES ||
        !board->port.camera(board->port.context, board->pixels[slot], pixels, &capture_time_ns)) {
        return false;
    }
    /* The camera's pixels are nobody's image. */
    board->slots[slot].parts = 0;
    stream->next_us += stream->period_us;
    gs_work_done work = {0};
    const uint32_t frame = board->any_processed ? board->last_frame + 1u : 0;
    const gs_answer_status status = turn(board, frame, capture_time_ns, slot, &work);
    const uint32_t bytes =
        status == GS_ANSWER_OK
            ? gs_answer_estimate(board, (uint64_t)capture_time_ns, gs_board_body(board))
            : 0;
    const gs_header header = {
        .type = GS_EVENT_ESTIMATE,
        .status = (uint8_t)status,
        .sequence = stream->sequence++,
        .session = board->session.number,
    };
    gs_board_send(board, &header, work, bytes);
    if (!stream->endless) {
        stream->left--;
        stream->on = stream->left != 0;
    }
    return true;
}

bool gs_board_poll(gs_board *board)
{
    if (board->job_count == 0) {
        return run_stream(board);
    }
    const gs_job job = board->jobs[0];
    board->job_count--;
    for (uint32_t i = 0; i < board->job_count; i++) {
        board->jobs[i] = board->jobs[i + 1];
    }
    if (job.type == GS_COMMAND_INFER) {
        run_inference(board, &job);
    } else {
        run_turn(board, &job);
    }
    return true;
}

bool gs_board_streams(const gs_board *board)
{
    return board->stream.on;
}
