/* Consistent Overhead Byte Stuffing (Cheshire and Baker, IEEE/ACM ToN 1999), the basic form. */
#ifndef GEARSHIFT_COBS_H
#define GEARSHIFT_COBS_H

#include <stdbool.h>
#include <stdint.h>

/* Bytes that `length` bytes may need when encoded, without the delimiter. */
#define GS_COBS_BOUND(length) ((length) + (length) / 254u + 1u)

/* Encode `length` bytes into `out`, which has room for GS_COBS_BOUND(length); returns the number
 * of bytes written, none of which is 0. The buffers must not overlap. */
uint32_t gs_cobs_encode(const uint8_t *data, uint32_t length, uint8_t *out);

/* What one received byte meant to a decoder. */
typedef enum {
    GS_COBS_MORE,      /* inside a frame, or an empty one */
    GS_COBS_FRAME,     /* the delimiter of a whole frame: `length` bytes are in the buffer */
    GS_COBS_BROKEN,    /* the delimiter of a frame that is not COBS */
    GS_COBS_TOO_LONG,  /* the delimiter of a frame that does not fit the buffer */
} gs_cobs_result;

/* Decodes a stream byte by byte into one buffer; holds no more than the bytes of one frame. */
typedef struct {
    uint8_t *buffer;
    uint32_t capacity;
    uint32_t length;
    uint8_t left;      /* bytes of the current block still to come */
    bool zero_next;    /* a zero follows the current block unless the frame ends */
    bool started;
    bool overflow;
} gs_cobs_decoder;

void gs_cobs_decoder_init(gs_cobs_decoder *decoder, uint8_t *buffer, uint32_t capacity);

/* After anything but GS_COBS_MORE the next byte starts a new frame; the buffer holds the frame
 * until then. */
gs_cobs_result gs_cobs_decode(gs_cobs_decoder *decoder, uint8_t byte);

#endif
