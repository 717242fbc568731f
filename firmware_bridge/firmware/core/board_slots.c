#include "board_slots.h"

#include <stddef.h>

#define PART_HEADER_BYTES 12u
#define ALL_PARTS(parts) ((parts) >= 32u ? 0xFFFFFFFFu : (1u << (parts)) - 1u)

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

gs_answer_status gs_board_write_part(gs_board *board, const uint8_t *payload, uint32_t length)
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

bool gs_board_is_whole(const gs_slot *slot, uint32_t image)
{
    return slot->parts != 0 && slot->image == image && slot->missing == 0;
}
