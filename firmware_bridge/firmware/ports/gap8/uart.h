/* The serial line by DMA: bytes arrive while the cluster computes and cost the controller nothing. */
#ifndef GEARSHIFT_GAP8_UART_H
#define GEARSHIFT_GAP8_UART_H

#include <stdint.h>

#include "pmsis.h"

/* A host with `credit` bytes never has more than that on the way, and one block more is being
 * written while the oldest is read. The credit covers what 3 Mbaud bring while a network runs. */
#define GS_UART_BLOCK_BYTES 2048u
#define GS_UART_BLOCKS 4u
#define GS_UART_CREDIT_BYTES (GS_UART_BLOCK_BYTES * (GS_UART_BLOCKS - 1u))

/* Open the line and start receiving; 0 when the driver refuses. One line per program. */
int gs_uart_open(uint32_t baud);

/* The bytes that came since the last call, in place: at most `*length` up to the end of the ring,
 * null when there are none. They may be overwritten once the host has their credit back. */
const uint8_t *gs_uart_take(uint32_t *length);

/* Send; returns when the bytes are on the line. They have to lie in L2. */
void gs_uart_send(const uint8_t *bytes, uint32_t length);

#endif
