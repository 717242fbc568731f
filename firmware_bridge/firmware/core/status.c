/* Words for status codes. */
#include "gearshift/status.h"

const char *gs_status_text(gs_status status)
{
    switch (status) {
    case GS_OK:
        return "ok";
    case GS_BAD_LENGTH:
        return "wrong length";
    case GS_BAD_MAGIC:
        return "not the expected kind of data";
    case GS_BAD_VERSION:
        return "unknown format version";
    case GS_BAD_CHECKSUM:
        return "wrong checksum";
    case GS_MISALIGNED:
        return "not aligned";
    case GS_BAD_OFFSET:
        return "a table lies outside its image";
    case GS_BAD_GEOMETRY:
        return "layers that do not fit together";
    case GS_BAD_ARITHMETIC:
        return "sums can overflow";
    case GS_BAD_VALUE:
        return "a value outside its range";
    case GS_NO_NETWORK:
        return "no such network";
    case GS_MISMATCH:
        return "parts that do not belong together";
    case GS_NO_SPACE:
        return "not enough memory";
    case GS_FAILED:
        return "a network failed";
    case GS_NOT_CONFIGURED:
        return "not configured";
    }
    return "unknown status";
}
