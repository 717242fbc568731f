/* The CRC-32 of zlib (reflected 0xEDB88320, initial value and final XOR 0xFFFFFFFF). */
#ifndef GEARSHIFT_CRC32_H
#define GEARSHIFT_CRC32_H

#include <stddef.h>
#include <stdint.h>

/* The CRC of what `crc` is the CRC of, followed by `length` bytes of `data`; start with 0. */
uint32_t gs_crc32(uint32_t crc, const uint8_t *data, size_t length);

#endif
