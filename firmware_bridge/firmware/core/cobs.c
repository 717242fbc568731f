#include "gearshift/cobs.h"

#define FULL_BLOCK 0xFFu

uint32_t gs_cobs_encode(const uint8_t *data, uint32_t length, uint8_t *out)
{
    uint32_t code_at = 0, write = 1;
    uint8_t code = 1;
    for (uint32_t i = 0; i < length; i++) {
        if (data[i] != 0) {
            out[write++] = data[i];
            code++;
        }
        /* A full block that ends the data needs no further block behind it. */
        if (data[i] == 0 || (code == FULL_BLOCK && i + 1 < length)) {
            out[code_at] = code;
            code_at = write++;
            code = 1;
        }
    }
    out[code_at] = code;
    return write;
}

void gs_cobs_decoder_init(gs_cobs_decoder *decoder, uint8_t *buffer, uint32_t capacity)
{
    *decoder = (gs_cobs_decoder){.buffer = buffer, .capacity = capacity};
}

static void append(gs_cobs_decoder *decoder, uint8_t byte)
{
    if (decoder->length < decoder->capacity) {
        decoder->buffer[decoder->length++] = byte;
    } else {
        decoder->overflow = true;
    }
}

static void begin(gs_cobs_decoder *decoder)
{
    decoder->length = 0;
    decoder->left = 0;
    decoder->zero_next = false;
    decoder->overflow = false;
}

gs_cobs_result gs_cobs_decode(gs_cobs_decoder *decoder, uint8_t byte)
{
    if (byte == 0) {
        const bool started = decoder->started;
        decoder->started = false;
        if (!started) {
            return GS_COBS_MORE;
        }
        if (decoder->left != 0) {
            return GS_COBS_BROKEN;
        }
        return decoder->overflow ? GS_COBS_TOO_LONG : GS_COBS_FRAME;
    }
    if (!decoder->started) {
        begin(decoder);
        decoder->started = true;
    }
    if (decoder->left == 0) {
        if (decoder->zero_next) {
            append(decoder, 0);
        }
        decoder->left = (uint8_t)(byte - 1u);
        decoder->zero_next = byte != FULL_BLOCK;
    } else {
        append(decoder, byte);
        decoder->left--;
    }
    return GS_COBS_MORE;
}
