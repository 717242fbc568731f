/* Little-endian numbers in byte buffers, without regard to alignment or aliasing.
 *
 * Every target is little-endian (checked here), so a number is read as it lies; the compiler makes
 * one load of it where the address is known to be aligned. */
#ifndef GEARSHIFT_BYTES_H
#define GEARSHIFT_BYTES_H

#include <stdint.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "images and messages are little-endian and read in place"
#endif

#define GS_DEFINE_NUMBER(name, type)                                                               \
    static inline type gs_load_##name(const uint8_t *bytes)                                        \
    {                                                                                              \
        type value;                                                                                \
        __builtin_memcpy(&value, bytes, sizeof value);                                             \
        return value;                                                                              \
    }                                                                                              \
    static inline void gs_store_##name(uint8_t *bytes, type value)                                 \
    {                                                                                              \
        __builtin_memcpy(bytes, &value, sizeof value);                                             \
    }

GS_DEFINE_NUMBER(u16, uint16_t)
GS_DEFINE_NUMBER(u32, uint32_t)
GS_DEFINE_NUMBER(u64, uint64_t)
GS_DEFINE_NUMBER(i32, int32_t)
GS_DEFINE_NUMBER(i64, int64_t)
GS_DEFINE_NUMBER(f32, float)
GS_DEFINE_NUMBER(f64, double)

#undef GS_DEFINE_NUMBER

#endif
