#include "uart.h"

#define RING_BYTES (GS_UART_BLOCK_BYTES * GS_UART_BLOCKS)
/* The DMA's register of the address it writes to next. PMSIS has no call for it, and a transfer of
 * fixed length says nothing until it is full, which the end of a frame would wait for. */
#define RX_ADDRESS                                                                                 \
    (ARCHI_UDMA_ADDR + UDMA_PERIPH_OFFSET(ARCHI_UDMA_UART_ID(0)) + UDMA_CHANNEL_RX_OFFSET +         \
     UDMA_CHANNEL_SADDR_OFFSET)

static PI_L2 uint8_t ring[RING_BYTES];
static struct pi_device device;
static pi_task_t tasks[GS_UART_BLOCKS];
static uint32_t taken; /* offset in the ring of the next byte to read */

static void receive_block(uint32_t block);

/* A full block goes back to the end of the queue at once; credit keeps the host from lapping. */
static void block_full(void *argument)
{
    receive_block((uint32_t)(uintptr_t)argument);
}

static void receive_block(uint32_t block)
{
    pi_uart_read_async(&device, ring + block * GS_UART_BLOCK_BYTES, GS_UART_BLOCK_BYTES,
                       pi_task_callback(&tasks[block], block_full, (void *)(uintptr_t)block));
}

int gs_uart_open(uint32_t baud)
{
    static struct pi_uart_conf configuration;
    pi_uart_conf_init(&configuration);
    configuration.uart_id = 0;
    configuration.baudrate_bps = baud;
    configuration.enable_rx = 1;
    configuration.enable_tx = 1;
    pi_open_from_conf(&device, &configuration);
    if (pi_uart_open(&device) != 0) {
        return 0;
    }
    for (uint32_t block = 0; block < GS_UART_BLOCKS; block++) {
        receive_block(block);
    }
    return 1;
}

const uint8_t *gs_uart_take(uint32_t *length)
{
    const uintptr_t next = *(const volatile uint32_t *)(uintptr_t)RX_ADDRESS;
    const uintptr_t start = (uintptr_t)ring;
    *length = 0;
    /* Between two transfers the register may show neither. */
    if (next < start || next > start + RING_BYTES) {
        return NULL;
    }
    const uint32_t written = (uint32_t)(next - start) % RING_BYTES;
    if (written == taken) {
        return NULL;
    }
    const uint8_t *bytes = ring + taken;
    *length = (written > taken ? written : RING_BYTES) - taken;
    taken = (taken + *length) % RING_BYTES;
    return bytes;
}

void gs_uart_send(const uint8_t *bytes, uint32_t length)
{
    pi_uart_write(&device, (void *)(uintptr_t)bytes, length);
}
