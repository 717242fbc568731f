/* What a call into the core can answer. The numbers travel over the wire (docs/protocol.md) and are
 * never reused. */
#ifndef GEARSHIFT_STATUS_H
#define GEARSHIFT_STATUS_H

typedef enum gs_status {
    GS_OK = 0,
    GS_BAD_LENGTH = 1,     /* shorter than it says, longer than a buffer, or not a whole number of items */
    GS_BAD_MAGIC = 2,      /* something else than what was expected */
    GS_BAD_VERSION = 3,    /* of a format version that this firmware does not read */
    GS_BAD_CHECKSUM = 4,   /* its CRC-32 is not that of its content */
    GS_MISALIGNED = 5,     /* an image that does not start on a multiple of 8 bytes */
    GS_BAD_OFFSET = 6,     /* a table that lies outside its image */
    GS_BAD_GEOMETRY = 7,   /* layers that do not follow one another, or sizes no layer can have */
    GS_BAD_ARITHMETIC = 8, /* sums that could leave int32, or a requantisation that could leave int64 */
    GS_BAD_VALUE = 9,      /* a code or number outside what is defined for it */
    GS_NO_NETWORK = 10,    /* a role or name for which there is no network */
    GS_MISMATCH = 11,      /* networks, tables or frames that do not belong together */
    GS_NO_SPACE = 12,      /* a caller's buffer is too small */
    GS_FAILED = 13,        /* a network could not be run */
    GS_NOT_CONFIGURED = 14 /* the adaptive loop has not been configured */
} gs_status;

/* A few words of English, for logs; never null. */
const char *gs_status_text(gs_status status);

#endif
