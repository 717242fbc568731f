/* zlib's CRC-32: reflected polynomial 0xEDB88320, initial value and final XOR 0xFFFFFFFF. */
#ifndef GEARSHIFT_CRC32_H
#define GEARSHIFT_CRC32_H

#include <stdint.h>

/* The CRC of everything so far, continued over `length` bytes; `crc` is 0 at the start. */
uint32_t gs_crc32(uint32_t crc, const uint8_t *data, uint32_t length);

#endif
