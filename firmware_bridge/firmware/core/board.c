#include "gearshift/board.h"

#include <stddef.h>

#include "board_answers.h"

#define PART_HEADER_BYTES 12u
#define ALL_PARTS(parts) ((parts) >= 32u ? 0xFFFFFFFFu : (1u << (parts)) - 1u)

static void count(gs_board *board, gs_counter which)
{
    board->counters[which]++;
}

static int64_t loop_now_ns(void *context)
{
    const gs_port *port = context;
    return (int64_t)(port->time_us(port->context) * 1000u);
}

static uint64_t loop_count(void *context)
{
    const gs_port *port = context;
    return port->count(port->context);
}

static gs_clock loop_clock(gs_board *board)
{
    return (gs_clock){
        .now_ns = loop_now_ns,
        .instructions = board->port.count == NULL ? NULL : loop_count,
        .context = &board->port,
    };
}

/* -- starting ---------------------------------------------------------------------------------- */

static void forget_work(gs_board *board)
{
    board->job_count = 0;
    board->stream.on = false;
    board->tables_slot = (gs_slot){0};
    for (uint32_t i = 0; i < GS_SLOTS; i++) {
        board->slots[i] = (gs_slot){0};
    }
}

static void start(gs_board *board, uint32_t boot)
{
    board->port.boot = boot;
    gs_session_init(&board->session, boot);
    gs_cobs_decoder_init(&board->decoder, board->frame, sizeof board->frame);
    forget_work(board);
    board->scheduler.configured = 0;
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
    start(board, port->boot);
}

/* -- answering --------------------------------------------------------------------------------- */

static void put_on_line(gs_board *board, const uint8_t *frame, uint32_t length)
{
    const uint32_t bytes = gs_frame_to_line(frame, length, board->line);
    board->port.transmit(board->port.context, board->line, bytes);
}

static void close_and_send(gs_board *board, const gs_header *header, gs_work_done work,
                           uint32_t body_bytes)
{
    uint8_t *frame = board->answer;
    gs_answer_prefix(frame + GS_HEADER_BYTES, board->port.time_us(board->port.context), work,
                     board->received);
    const uint32_t length =
        gs_frame_close(frame, header, (uint16_t)(GS_PREFIX_BYTES + body_bytes));
    if (header->type < GS_ANSWER_FLAG) {
        count(board, GS_COUNTER_EVENTS);
    } else {
        count(board, GS_COUNTER_ANSWERS);
        /* What was said outside the session is no answer to its command of that number. */
        const bool outside = header->type == (GS_COMMAND_HELLO | GS_ANSWER_FLAG) ||
                             header->status == GS_ANSWER_WRONG_SESSION;
        gs_entry *entry =
            outside ? NULL : gs_session_entry(&board->session, header->sequence);
        if (entry != NULL && entry->state == GS_ENTRY_PENDING) {
            entry->state = GS_ENTRY_ANSWERED;
            entry->length = length;
            __builtin_memcpy(entry->frame, frame, length);
        }
    }
    put_on_line(board, frame, length);
}

/* Answer a command whose body of `body_bytes` stands at `body_of(board)`. */
static void answer(gs_board *board, uint8_t type, uint16_t sequence, gs_answer_status status,
                   gs_work_done work, uint32_t body_bytes)
{
    const gs_header header = {
        .type = type | GS_ANSWER_FLAG,
        .status = (uint8_t)status,
        .sequence = sequence,
        .session = board->session.number,
    };
    close_and_send(board, &header, work, body_bytes);
}

static uint8_t *body_of(gs_board *board)
{
    return board->answer + GS_HEADER_BYTES + GS_PREFIX_BYTES;
}

static void refuse(gs_board *board, const gs_header *command, gs_answer_status status)
{
    answer(board, command->type, command->sequence, status, (gs_work_done){0}, 0);
}

static void accept(gs_board *board, const gs_header *command, uint32_t body_bytes)
{
    answer(board, command->type, command->sequence, GS_ANSWER_OK, (gs_work_done){0}, body_bytes);
}

/* -- commands that are answered at once -------------------------------------------------------- */

static void hello(gs_board *board, const gs_header *command, const uint8_t *payload,
                  uint32_t length)
{
    if (length < 6) {
        refuse(board, command, GS_ANSWER_BAD_PAYLOAD);
        return;
    }
    if (payload[4] > GS_PROTOCOL_VERSION || payload[5] < GS_PROTOCOL_VERSION) {
        refuse(board, command, GS_ANSWER_VERSION);
        return;
    }
    const uint32_t nonce = gs_load_u32(payload);
    switch (gs_session_hello(&board->session, nonce, command->sequence)) {
    case GS_HELLO_STALE:
        count(board, GS_COUNTER_STALE);
        return;
    case GS_HELLO_REPEATED:
        count(board, GS_COUNTER_REPEATED);
        break;
    case GS_HELLO_NEW:
        /* What an earlier host has asked for is nobody's any more; the configuration stays. */
        forget_work(board);
        count(board, GS_COUNTER_CARRIED_OUT);
        break;
    }
    accept(board, command, gs_answer_hello(board, nonce, body_of(board)));
}

static gs_slot *target_of(gs_board *board, uint8_t target, uint8_t **bytes, uint32_t *capacity)
{
    if (target == GS_TABLES_TARGET) {
        *bytes = board->tables[1u - board->tables_active];
        *capacity = GS_MAX_CONFIGURATION_BYTES;
        return &board->tables_slot;
    }
    if (target >= GS_SLOTS) {
        return NULL;
    }
    *bytes = board->pixels[target];
    *capacity = GS_SLOT_BYTES;
    return &board->slots[target];
}

static gs_answer_status write_part(gs_board *board, const uint8_t *payload, uint32_t length)
{
    if (length <= PART_HEADER_BYTES) {
        return GS_ANSWER_BAD_PAYLOAD;
    }
    const uint32_t image = gs_load_u32(payload), size = gs_load_u32(payload + 4);
    const uint8_t part = payload[9], parts = payload[10];
    uint8_t *bytes;
    uint32_t capacity;
    gs_slot *slot = target_of(board, payload[8], &bytes, &capacity);
    if (slot == NULL || size == 0 || size > capacity || parts == 0 || parts > GS_MAX_PARTS ||
        part >= parts) {
        return GS_ANSWER_BAD_PAYLOAD;
    }
    const uint32_t stride = (size + parts - 1u) / parts;
    const uint32_t from = stride * part;
    if (stride * (parts - 1u) >= size) {
        return GS_ANSWER_BAD_PAYLOAD; /* the last part would be empty */
    }
    const uint32_t expected = size - from < stride ? size - from : stride;
    if (length - PART_HEADER_BYTES != expected) {
        return GS_ANSWER_BAD_PAYLOAD;
    }
    const bool is_cameras = board->stream.on && slot == &board->slots[GS_SLOTS - 1u];
    if (slot->busy || is_cameras) {
        return GS_ANSWER_BUSY;
    }
    if (slot->parts == 0 || (int32_t)(image - slot->image) > 0) {
        *slot = (gs_slot){
            .image = image, .size = size, .parts = parts, .missing = ALL_PARTS(parts)};
    } else if (image != slot->image) {
        return GS_ANSWER_STALE;
    } else if (size != slot->size || parts != slot->parts) {
        return GS_ANSWER_BAD_PAYLOAD;
    }
    __builtin_memcpy(bytes + from, payload + PART_HEADER_BYTES, expected);
    slot->missing &= ~(1u << part);
    return GS_ANSWER_OK;
}

static bool is_whole(const gs_slot *slot, uint32_t image)
{
    return slot->parts != 0 && slot->image == image && slot->missing == 0;
}

static void begin_flight(gs_board *board)
{
    board->any_processed = false;
    board->flown = 0;
}

static void configure(gs_board *board, const gs_header *command, const uint8_t *payload,
                      uint32_t length)
{
    const gs_slot *slot = &board->tables_slot;
    if (length != 8) {
        refuse(board, command, GS_ANSWER_BAD_PAYLOAD);
        return;
    }
    if (!is_whole(slot, gs_load_u32(payload)) || gs_load_u32(payload + 4) != slot->size) {
        refuse(board, command, GS_ANSWER_INCOMPLETE);
        return;
    }
    const uint8_t written = 1u - board->tables_active;
    const gs_status status =
        gs_scheduler_configure(&board->scheduler, board->tables[written], slot->size,
                               board->engines, board->bundle.count, loop_clock(board));
    gs_store_u32(body_of(board), (uint32_t)status);
    if (status == GS_OK) {
        board->tables_active = written;
        begin_flight(board);
    }
    /* The next tables go to the other buffer, so what was written there counts no longer. */
    board->tables_slot = (gs_slot){.image = slot->image, .parts = 1, .size = 1, .missing = 1};
    answer(board, command->type, command->sequence, status == GS_OK ? GS_ANSWER_OK : GS_ANSWER_REFUSED,
           (gs_work_done){0}, 4);
}

static gs_answer_status set_stream(gs_board *board, const uint8_t *payload, uint32_t length)
{
    if (length != 12) {
        return GS_ANSWER_BAD_PAYLOAD;
    }
    if (board->port.camera == NULL) {
        return GS_ANSWER_NO_CAMERA;
    }
    if (!board->scheduler.configured) {
        return GS_ANSWER_NOT_CONFIGURED;
    }
    if (payload[0] != 0 && board->slots[GS_SLOTS - 1u].busy) {
        return GS_ANSWER_BUSY;
    }
    const uint32_t frames = gs_load_u32(payload + 8);
    board->stream = (gs_stream){
        .on = payload[0] != 0,
        .period_us = gs_load_u32(payload + 4),
        .left = frames,
        .endless = frames == 0,
        .next_us = board->port.time_us(board->port.context),
    };
    return GS_ANSWER_OK;
}

static void reset(gs_board *board, const gs_header *command, const uint8_t *payload,
                  uint32_t length)
{
    if (length != 1 || payload[0] > 1) {
        refuse(board, command, GS_ANSWER_BAD_PAYLOAD);
        return;
    }
    if (payload[0] == 0) {
        if (board->scheduler.configured) {
            gs_scheduler_reset(&board->scheduler);
        }
        begin_flight(board);
        accept(board, command, 0);
        return;
    }
    accept(board, command, 0);
    if (board->port.reset != NULL) {
        board->port.reset(board->port.context);
    }
    start(board, board->port.boot + 1u);
}

static gs_answer_status set_threshold(gs_board *board, const uint8_t *payload, uint32_t length)
{
    if (length != 4) {
        return GS_ANSWER_BAD_PAYLOAD;
    }
    if (!board->scheduler.configured) {
        return GS_ANSWER_NOT_CONFIGURED;
    }
    const gs_status status = gs_scheduler_set_threshold(&board->scheduler, gs_load_f32(payload));
    return status == GS_OK ? GS_ANSWER_OK : GS_ANSWER_BAD_PAYLOAD;
}

static void echo(gs_board *board, const gs_header *command, const uint8_t *payload,
                 uint32_t length)
{
    if (length > GS_ANSWER_PAYLOAD_BYTES - GS_PREFIX_BYTES) {
        refuse(board, command, GS_ANSWER_BAD_PAYLOAD);
        return;
    }
    __builtin_memcpy(body_of(board), payload, length);
    accept(board, command, length);
}

/* -- commands that run networks ---------------------------------------------------------------- */

static uint32_t frame_bytes(const gs_board *board, uint8_t type, uint8_t network)
{
    const gs_engine *engine =
        &board->engines[type == GS_COMMAND_INFER ? network : board->scheduler.configuration.small];
    return engine->height * engine->width;
}

static gs_answer_status enqueue(gs_board *board, const gs_header *command, const uint8_t *payload,
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
    if (!is_whole(&board->slots[slot], gs_load_u32(payload))) {
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
        count(board, GS_COUNTER_NETWORK_FAILED);
        answer(board, job->type, job->sequence, GS_ANSWER_NETWORK_FAILED, work, 0);
        return;
    }
    const uint32_t bytes =
        gs_answer_outputs(job->network, board->outputs, network->outputs, body_of(board));
    answer(board, job->type, job->sequence, GS_ANSWER_OK, work, bytes);
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
            ? gs_answer_estimate(board, job->capture_time_ns, body_of(board))
            : 0;
    answer(board, job->type, job->sequence, status, work, bytes);
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
            ? gs_answer_estimate(board, (uint64_t)capture_time_ns, body_of(board))
            : 0;
    const gs_header header = {
        .type = GS_EVENT_ESTIMATE,
        .status = (uint8_t)status,
        .sequence = stream->sequence++,
        .session = board->session.number,
    };
    close_and_send(board, &header, work, bytes);
    if (!stream->endless && --stream->left == 0) {
        stream->on = false;
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

/* -- taking commands off the line -------------------------------------------------------------- */

static void carry_out(gs_board *board, const gs_header *command, const uint8_t *payload,
                      uint32_t length)
{
    gs_answer_status status;
    switch (command->type) {
    case GS_COMMAND_STATUS:
        accept(board, command, gs_answer_status_report(board, body_of(board)));
        return;
    case GS_COMMAND_NETWORK:
        if (length != 1) {
            refuse(board, command, GS_ANSWER_BAD_PAYLOAD);
        } else if (payload[0] >= board->bundle.count) {
            refuse(board, command, GS_ANSWER_NO_NETWORK);
        } else {
            accept(board, command, gs_answer_network(board, payload[0], body_of(board)));
        }
        return;
    case GS_COMMAND_WRITE:
        status = write_part(board, payload, length);
        break;
    case GS_COMMAND_CONFIGURE:
        configure(board, command, payload, length);
        return;
    case GS_COMMAND_INFER:
    case GS_COMMAND_PROCESS:
        status = enqueue(board, command, payload, length);
        if (status == GS_ANSWER_OK) {
            return; /* answered when it has run */
        }
        break;
    case GS_COMMAND_STREAM:
        status = set_stream(board, payload, length);
        break;
    case GS_COMMAND_COUNTERS:
        accept(board, command, gs_answer_counters(board, body_of(board)));
        return;
    case GS_COMMAND_RESET:
        reset(board, command, payload, length);
        return;
    case GS_COMMAND_THRESHOLD:
        status = set_threshold(board, payload, length);
        break;
    case GS_COMMAND_ECHO:
        echo(board, command, payload, length);
        return;
    default:
        status = GS_ANSWER_UNKNOWN_COMMAND;
        break;
    }
    refuse(board, command, status);
}

static void take_command(gs_board *board, const gs_header *command, const uint8_t *payload,
                         uint32_t length)
{
    if (command->type == GS_COMMAND_HELLO) {
        hello(board, command, payload, length);
        return;
    }
    if (command->type == 0 || command->type >= GS_EVENT_ESTIMATE) {
        return; /* an answer or event: the line echoes */
    }
    if (board->session.number == 0 || command->session != board->session.number) {
        count(board, GS_COUNTER_WRONG_SESSION);
        refuse(board, command, GS_ANSWER_WRONG_SESSION);
        return;
    }
    switch (gs_session_take(&board->session, command->sequence)) {
    case GS_AGE_STALE:
        count(board, GS_COUNTER_STALE);
        return;
    case GS_AGE_PENDING:
        count(board, GS_COUNTER_PENDING);
        return;
    case GS_AGE_REPEATED: {
        count(board, GS_COUNTER_REPEATED);
        const gs_entry *entry = gs_session_entry(&board->session, command->sequence);
        put_on_line(board, entry->frame, entry->length);
        return;
    }
    case GS_AGE_NEW:
        count(board, GS_COUNTER_CARRIED_OUT);
        carry_out(board, command, payload, length);
        return;
    }
}

static void take_frame(gs_board *board)
{
    gs_header header;
    const uint8_t *payload;
    uint16_t length;
    switch (gs_frame_open(board->frame, board->decoder.length, &header, &payload, &length)) {
    case GS_FRAME_SHORT:
        count(board, GS_COUNTER_BAD_LENGTH);
        return;
    case GS_FRAME_BAD_CRC:
        count(board, GS_COUNTER_BAD_CRC);
        return;
    case GS_FRAME_GOOD:
        count(board, GS_COUNTER_GOOD);
        take_command(board, &header, payload, length);
        return;
    }
}

void gs_board_receive(gs_board *board, const uint8_t *bytes, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++) {
        board->received++;
        switch (gs_cobs_decode(&board->decoder, bytes[i])) {
        case GS_COBS_MORE:
            break;
        case GS_COBS_BROKEN:
            count(board, GS_COUNTER_BAD_COBS);
            break;
        case GS_COBS_TOO_LONG:
            count(board, GS_COUNTER_TOO_LONG);
            break;
        case GS_COBS_FRAME:
            take_frame(board);
            break;
        }
    }
}

void gs_board_overrun(gs_board *board, uint32_t bytes)
{
    board->counters[GS_COUNTER_OVERRUN] += bytes;
}
