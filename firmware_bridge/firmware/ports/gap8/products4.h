/* Four products and their sum in one instruction, as GAP8's cores have it (`pv.sdotusp.b`).
 *
 * core/kernels.c takes it by -DGS_PRODUCTS4. GS_PULP: the compiler is the GAP SDK's and has the
 * builtin; elsewhere the same sum is written out, so that the path that uses it is tested on any
 * computer. */
#ifndef GEARSHIFT_GAP8_PRODUCTS4_H
#define GEARSHIFT_GAP8_PRODUCTS4_H

#include <stdint.h>

#ifdef GS_PULP
typedef unsigned char gs_four_bytes __attribute__((vector_size(4)));
typedef signed char gs_four_signed_bytes __attribute__((vector_size(4)));
#endif

/* sum + the products of four unsigned bytes with four signed ones. */
static inline int32_t gs_products4(uint32_t activations, uint32_t weights, int32_t sum)
{
#ifdef GS_PULP
    return __builtin_pulp_sdotusp4((gs_four_bytes)activations, (gs_four_signed_bytes)weights, sum);
#else
    for (uint32_t bit = 0; bit < 32; bit += 8) {
        sum += (int32_t)(activations >> bit & 0xFFu) * (int8_t)(weights >> bit & 0xFFu);
    }
    return sum;
#endif
}

#endif
