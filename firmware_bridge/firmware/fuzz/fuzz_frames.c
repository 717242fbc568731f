/* Whatever comes off the line, and in whatever order: the board must stay inside its memory, every
 * frame that it sends must be whole, and a command must never have two different answers.
 *
 * The input is a script of records, a first byte and what follows from it:
 *   0..127   raw bytes for the line: the low 7 bits are their number
 *   128..191 a well-formed frame, its type the low 6 bits: a byte for session and sequence number,
 *            one for the length of the payload, the payload
 *   192..223 a configuration written in two parts, its header and checksum made good, and taken
 *   224..239 the board works, as often as the low 4 bits say
 *   240..255 a whole image for one of the slots and a command to run it */
#include <stdlib.h>
#include <string.h>

#include "gearshift/board.h"
#include "gearshift/configuration.h"
#include "gearshift/crc32.h"

#define ARENA_BYTES 4096u
#define FRAME_BYTES 48u
#define TABLES_BYTES 256u
#define ANSWERS 65536u

__asm__(".section .rodata\n"
        ".balign 8\n"
        "tiny_bundle: .incbin \"fuzz/tiny_bundle.bin\"\n"
        "tiny_bundle_end: .byte 0\n"
        ".text\n");
extern const uint8_t tiny_bundle[], tiny_bundle_end[];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Answers of earlier runs stay in the table, which is too large to be cleared for each. */
typedef struct {
    uint32_t run, session, crc;
} answer_seen;

static answer_seen answers_seen[ANSWERS];
static uint32_t run;

typedef struct {
    gs_cobs_decoder decoder;
    uint8_t frame[GS_FRAMING_BYTES + GS_ANSWER_PAYLOAD_BYTES];
    uint64_t now_us, counted;
    uint32_t session;
    uint16_t sequence;
    uint32_t image;
} host;

static void require(int condition)
{
    if (!condition) {
        abort();
    }
}

static void check_answer(host *self, const uint8_t *frame, uint32_t length)
{
    gs_header header;
    const uint8_t *payload;
    uint16_t payload_length;
    const gs_frame_result result = gs_frame_open(frame, length, &header, &payload, &payload_length);
    require(result == GS_FRAME_GOOD && payload_length >= GS_PREFIX_BYTES);
    self->session = header.session;
    const int remembered = header.status != GS_ANSWER_WRONG_SESSION &&
                           header.type != (GS_COMMAND_HELLO | GS_ANSWER_FLAG) &&
                           header.type != GS_EVENT_ESTIMATE;
    if (!remembered) {
        return;
    }
    /* While a command is in the window it has one answer; the entry is its last one. */
    answer_seen *seen = &answers_seen[header.sequence];
    const uint32_t crc = gs_crc32(0, frame, length);
    if (seen->run == run && seen->session == header.session && (uint16_t)(self->sequence - header.sequence) < GS_WINDOW) {
        require(seen->crc == crc);
    }
    *seen = (answer_seen){run, header.session, crc};
}

static void transmit(void *context, const uint8_t *bytes, uint32_t length)
{
    host *self = context;
    for (uint32_t i = 0; i < length; i++) {
        const gs_cobs_result result = gs_cobs_decode(&self->decoder, bytes[i]);
        require(result == GS_COBS_MORE || result == GS_COBS_FRAME);
        if (result == GS_COBS_FRAME) {
            check_answer(self, self->frame, self->decoder.length);
        }
    }
}

static uint64_t time_us(void *context)
{
    return ((host *)context)->now_us++;
}

static uint64_t counted(void *context)
{
    return ((host *)context)->counted += 1000;
}

static bool take_camera(void *context, uint8_t *image, uint32_t bytes, int64_t *capture_time_ns)
{
    host *self = context;
    memset(image, (int)self->now_us, bytes);
    *capture_time_ns = (int64_t)(self->now_us * 1000);
    return self->now_us % 3 != 0;
}

static void send(gs_board *board, host *self, uint8_t type, int8_t ahead, const uint8_t *payload,
                 uint32_t length)
{
    static uint8_t frame[GS_FRAMING_BYTES + GS_PAYLOAD_BYTES];
    static uint8_t line[GS_COBS_BOUND(sizeof frame) + 2];
    self->sequence = (uint16_t)(self->sequence + (uint16_t)ahead);
    const gs_header header = {.type = type,
                              .sequence = self->sequence,
                              .session = type == GS_COMMAND_HELLO ? 0 : self->session};
    memcpy(frame + GS_HEADER_BYTES, payload, length);
    const uint32_t closed = gs_frame_close(frame, &header, (uint16_t)length);
    gs_board_receive(board, line, gs_frame_to_line(frame, closed, line));
}

static void write_part(gs_board *board, host *self, uint8_t target, uint8_t part, uint8_t parts,
                       const uint8_t *content, uint32_t size)
{
    uint8_t payload[12 + TABLES_BYTES];
    const uint32_t stride = (size + parts - 1u) / parts;
    const uint32_t from = stride * part, length = size - from < stride ? size - from : stride;
    gs_store_u32(payload, self->image);
    gs_store_u32(payload + 4, size);
    payload[8] = target;
    payload[9] = part;
    payload[10] = parts;
    payload[11] = 0;
    memcpy(payload + 12, content + from, length);
    send(board, self, GS_COMMAND_WRITE, 1, payload, 12 + length);
}

static void configure(gs_board *board, host *self, const uint8_t *data, uint32_t length)
{
    uint8_t tables[TABLES_BYTES] = {0}, payload[8];
    memcpy(tables, data, length);
    const uint32_t size = length < GS_CONFIGURATION_HEADER_BYTES + 4 ? sizeof tables : length & ~3u;
    memcpy(tables, "GSC1", 4);
    gs_store_u32(tables + 4, size);
    gs_store_u16(tables + 12, GS_CONFIGURATION_VERSION);
    gs_store_u32(tables + 8, gs_crc32(0, tables + 12, size - 12));
    self->image++;
    write_part(board, self, GS_TABLES_TARGET, 0, 2, tables, size);
    write_part(board, self, GS_TABLES_TARGET, 1, 2, tables, size);
    gs_store_u32(payload, self->image);
    gs_store_u32(payload + 4, size);
    send(board, self, GS_COMMAND_CONFIGURE, 1, payload, sizeof payload);
}

static void run_frame(gs_board *board, host *self, uint8_t how)
{
    uint8_t pixels[FRAME_BYTES], payload[20] = {0};
    const uint8_t slot = how & 3u;
    memset(pixels, how * 17, sizeof pixels);
    self->image++;
    write_part(board, self, slot, 0, 1, pixels, sizeof pixels);
    gs_store_u32(payload, self->image);
    payload[4] = slot;
    if (how & 4u) {
        payload[5] = how >> 3 & 1u;
        send(board, self, GS_COMMAND_INFER, 1, payload, 8);
    } else {
        gs_store_u32(payload + 8, self->image);
        gs_store_u64(payload + 12, self->image * 33333333ull);
        send(board, self, GS_COMMAND_PROCESS, 1, payload, 20);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static gs_board board;
    static _Alignas(8) uint8_t arena[ARENA_BYTES];
    static host self;
    memset(&self, 0, sizeof self);
    run++;
    gs_cobs_decoder_init(&self.decoder, self.frame, sizeof self.frame);
    const gs_port port = {.context = &self,
                          .transmit = transmit,
                          .time_us = time_us,
                          .count = counted,
                          .camera = take_camera,
                          .count_kind = GS_COUNT_CYCLES,
                          .boot = 7,
                          .credit = 4096,
                          .name = "fuzz"};
    const gs_machine machine = {.arena = arena, .arena_bytes = sizeof arena};
    gs_board_init(&board, &port, &machine, tiny_bundle, (uint32_t)(tiny_bundle_end - tiny_bundle));
    const uint8_t greeting[8] = {1, 2, 3, 4, 1, 1, 0, 0};
    send(&board, &self, GS_COMMAND_HELLO, 1, greeting, sizeof greeting);
    require(board.session.number != 0 && board.bundle.count == 3);
    while (size > 0) {
        const uint8_t record = data[0];
        data++;
        size--;
        uint32_t take = 0;
        if (record < 128) {
            take = record < size ? record : (uint32_t)size;
            gs_board_receive(&board, data, take);
        } else if (record < 192 && size >= 2) {
            const int8_t ahead = (int8_t)data[0];
            take = data[1] < size - 2 ? data[1] : (uint32_t)size - 2;
            send(&board, &self, record & 63u, ahead, data + 2, take);
            take += 2;
        } else if (record < 224) {
            take = TABLES_BYTES < size ? TABLES_BYTES : (uint32_t)size;
            configure(&board, &self, data, take);
        } else if (record < 240) {
            for (uint32_t i = 0; i < (record & 15u); i++) {
                gs_board_poll(&board);
            }
        } else {
            run_frame(&board, &self, record & 15u);
        }
        data += take;
        size -= take;
    }
    return 0;
}
