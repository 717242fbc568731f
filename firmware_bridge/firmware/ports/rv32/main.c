/* The board on QEMU's `virt` machine, a RISC-V core of GAP8's instruction set family: NS16550 with
 * receive interrupts through the PLIC, WFI while there is nothing to do. Time is the machine timer;
 * what is counted are instructions, deterministic under `-icount shift=0`. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../camera_file.h"
#include "gearshift/board.h"

#define UART 0x10000000u
#define UART_DATA 0u
#define UART_INTERRUPTS 1u
#define UART_FIFO 2u
#define UART_LINE_CONTROL 3u
#define UART_LINE_STATUS 5u
#define STATUS_RECEIVED 0x01u
#define STATUS_OVERRUN 0x02u
#define STATUS_CAN_SEND 0x20u

#define PLIC 0x0C000000u
#define PLIC_ENABLE (PLIC + 0x2000u)
#define PLIC_THRESHOLD (PLIC + 0x200000u)
#define PLIC_CLAIM (PLIC + 0x200004u)
#define UART_SOURCE 10u

#define MACHINE_TIME 0x0200BFF8u
#define TICKS_PER_US 10u
#define WALL_CLOCK 0x00101000u

#define BUNDLE ((const uint8_t *)0x80400000u)
#define BUNDLE_BYTES 0x00600000u
#define CAMERA ((const uint8_t *)0x80A00000u)
#define CAMERA_BYTES 0x00600000u

#define ARENA_BYTES (1u << 20)
#define RING_BYTES 65536u
/* Half of the ring: what the host may have on its way. The rest takes garbage and repetitions. */
#define CREDIT_BYTES (RING_BYTES / 2u)

#define EXTERNAL_INTERRUPT 0x8000000Bu
#define MIE_EXTERNAL (1u << 11)
#define MSTATUS_MIE (1u << 3)

int main(void);
void handle_trap(uint32_t cause);

static volatile uint8_t ring[RING_BYTES];
static volatile uint32_t ring_head; /* written by the interrupt */
static volatile uint32_t ring_tail;
static volatile uint32_t overruns;

static inline volatile uint8_t *uart(uint32_t offset)
{
    return (volatile uint8_t *)(UART + offset);
}

static inline volatile uint32_t *word_at(uint32_t address)
{
    return (volatile uint32_t *)address;
}

void handle_trap(uint32_t cause)
{
    if (cause != EXTERNAL_INTERRUPT) {
        for (;;) {
            /* A fault is a defect of the firmware: stand still, the host's time-outs tell. */
        }
    }
    const uint32_t source = *word_at(PLIC_CLAIM);
    uint8_t status;
    while ((status = *uart(UART_LINE_STATUS)) & STATUS_RECEIVED) {
        const uint8_t byte = *uart(UART_DATA);
        const uint32_t head = ring_head;
        if (status & STATUS_OVERRUN || head - ring_tail == RING_BYTES) {
            overruns++;
        }
        if (head - ring_tail < RING_BYTES) {
            ring[head % RING_BYTES] = byte;
            ring_head = head + 1u;
        }
    }
    *word_at(PLIC_CLAIM) = source;
}

static void transmit(void *context, const uint8_t *bytes, uint32_t length)
{
    (void)context;
    for (uint32_t i = 0; i < length; i++) {
        while ((*uart(UART_LINE_STATUS) & STATUS_CAN_SEND) == 0) {
        }
        *uart(UART_DATA) = bytes[i];
    }
}

static uint64_t time_us(void *context)
{
    uint32_t high, low;
    (void)context;
    do {
        high = *word_at(MACHINE_TIME + 4u);
        low = *word_at(MACHINE_TIME);
    } while (high != *word_at(MACHINE_TIME + 4u));
    return ((uint64_t)high << 32 | low) / TICKS_PER_US;
}

static uint64_t instructions(void *context)
{
    uint32_t high, low, again;
    (void)context;
    do {
        __asm__ volatile("csrr %0, minstreth" : "=r"(high));
        __asm__ volatile("csrr %0, minstret" : "=r"(low));
        __asm__ volatile("csrr %0, minstreth" : "=r"(again));
    } while (high != again);
    return (uint64_t)high << 32 | low;
}

static uint32_t boot_number(void)
{
    const uint32_t low = *word_at(WALL_CLOCK); /* latches the other half */
    const uint64_t ns = (uint64_t)*word_at(WALL_CLOCK + 4u) << 32 | low;
    return (uint32_t)(ns / 1000000u);
}

static gs_camera_file camera_file;

static bool take_camera(void *context, uint8_t *image, uint32_t bytes, int64_t *capture_time_ns)
{
    return gs_camera_file_take(&camera_file, time_us(context), image, bytes, capture_time_ns);
}

static void open_uart(void)
{
    *uart(UART_LINE_CONTROL) = 0x03; /* 8N1; QEMU's line has no baud rate */
    *uart(UART_FIFO) = 0xC7;
    (void)*uart(UART_DATA); /* else QEMU's character device may stall for a second */
    *uart(UART_INTERRUPTS) = 0x01;
    *word_at(PLIC + 4u * UART_SOURCE) = 1;
    *word_at(PLIC_ENABLE) = 1u << UART_SOURCE;
    *word_at(PLIC_THRESHOLD) = 0;
    __asm__ volatile("csrs mie, %0" ::"r"(MIE_EXTERNAL));
    __asm__ volatile("csrs mstatus, %0" ::"r"(MSTATUS_MIE));
}

/* Sleep until an interrupt, unless bytes have come in the meantime: WFI returns for a pending
 * interrupt even while they are masked, so none is missed. */
static void sleep_unless_bytes(void)
{
    __asm__ volatile("csrc mstatus, %0" ::"r"(MSTATUS_MIE));
    if (ring_head == ring_tail) {
        __asm__ volatile("wfi");
    }
    __asm__ volatile("csrs mstatus, %0" ::"r"(MSTATUS_MIE));
}

static bool take_bytes(gs_board *board)
{
    static uint8_t bytes[1024];
    uint32_t length = 0;
    uint32_t tail = ring_tail;
    const uint32_t head = ring_head;
    while (tail != head && length < sizeof bytes) {
        bytes[length++] = ring[tail++ % RING_BYTES];
    }
    ring_tail = tail;
    if (length > 0) {
        gs_board_receive(board, bytes, length);
    }
    return length > 0;
}

int main(void)
{
    static gs_board board;
    static _Alignas(8) uint8_t arena[ARENA_BYTES];
    const bool has_camera = gs_camera_file_open(&camera_file, CAMERA, CAMERA_BYTES);
    const gs_port port = {
        .transmit = transmit,
        .time_us = time_us,
        .count = instructions,
        .camera = has_camera ? take_camera : NULL,
        .count_kind = GS_COUNT_INSTRUCTIONS,
        .boot = boot_number(),
        .credit = CREDIT_BYTES,
        .name = "rv32",
    };
    const gs_machine machine = {.arena = arena, .arena_bytes = sizeof arena};
    gs_board_init(&board, &port, &machine, BUNDLE, BUNDLE_BYTES);
    open_uart();
    uint32_t overruns_told = 0;
    for (;;) {
        const uint32_t lost = overruns;
        if (lost != overruns_told) {
            gs_board_overrun(&board, lost - overruns_told);
            overruns_told = lost;
        }
        if (!take_bytes(&board) && !gs_board_poll(&board) && !gs_board_streams(&board)) {
            sleep_unless_bytes();
        }
    }
}
