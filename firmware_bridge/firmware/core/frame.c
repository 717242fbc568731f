#include "gearshift/crc32.h"
#include "gearshift/protocol.h"

gs_frame_result gs_frame_open(const uint8_t *frame, uint32_t length, gs_header *header,
                              const uint8_t **payload, uint16_t *payload_length)
{
    if (length < GS_FRAMING_BYTES) {
        return GS_FRAME_SHORT;
    }
    const uint32_t body = length - GS_CRC_BYTES;
#ifndef GS_TEST_ACCEPT_ANY_CRC
    /* The negative control of the fault tests is built without this check and has to fail them. */
    if (gs_crc32(0, frame, body) != gs_load_u32(frame + body)) {
        return GS_FRAME_BAD_CRC;
    }
#endif
    header->type = frame[0];
    header->status = frame[1];
    header->sequence = gs_load_u16(frame + 2);
    header->session = gs_load_u32(frame + 4);
    *payload_length = gs_load_u16(frame + 8);
    *payload = frame + GS_HEADER_BYTES;
    return *payload_length == body - GS_HEADER_BYTES ? GS_FRAME_GOOD : GS_FRAME_SHORT;
}

uint32_t gs_frame_close(uint8_t *frame, const gs_header *header, uint16_t payload_length)
{
    const uint32_t body = GS_HEADER_BYTES + payload_length;
    frame[0] = header->type;
    frame[1] = header->status;
    gs_store_u16(frame + 2, header->sequence);
    gs_store_u32(frame + 4, header->session);
    gs_store_u16(frame + 8, payload_length);
    gs_store_u32(frame + body, gs_crc32(0, frame, body));
    return body + GS_CRC_BYTES;
}

uint32_t gs_frame_to_line(const uint8_t *frame, uint32_t length, uint8_t *line)
{
    line[0] = 0;
    const uint32_t encoded = gs_cobs_encode(frame, length, line + 1);
    line[1 + encoded] = 0;
    return encoded + 2;
}
