/* What the compiler calls for behind one's back where there is no libc. */
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict to, const void *restrict from, size_t length);
void *memmove(void *to, const void *from, size_t length);
void *memset(void *to, int value, size_t length);
int memcmp(const void *a, const void *b, size_t length);

typedef uint32_t __attribute__((may_alias)) word;

void *memcpy(void *restrict to, const void *restrict from, size_t length)
{
    uint8_t *target = to;
    const uint8_t *source = from;
    if ((((uintptr_t)target | (uintptr_t)source) & 3u) == 0) {
        for (; length >= 4; length -= 4, target += 4, source += 4) {
            *(word *)target = *(const word *)source;
        }
    }
    while (length-- > 0) {
        *target++ = *source++;
    }
    return to;
}

void *memmove(void *to, const void *from, size_t length)
{
    uint8_t *target = to;
    const uint8_t *source = from;
    if (target <= source) {
        while (length-- > 0) {
            *target++ = *source++;
        }
    } else {
        while (length-- > 0) {
            target[length] = source[length];
        }
    }
    return to;
}

void *memset(void *to, int value, size_t length)
{
    uint8_t *target = to;
    while (length-- > 0) {
        *target++ = (uint8_t)value;
    }
    return to;
}

int memcmp(const void *a, const void *b, size_t length)
{
    const uint8_t *left = a, *right = b;
    for (size_t i = 0; i < length; i++) {
        if (left[i] != right[i]) {
            return left[i] - right[i];
        }
    }
    return 0;
}
