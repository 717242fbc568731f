/* The board on GAP8 (AI-deck): UART to the host, eight cores for the networks, Himax camera.
 *
 * Compiled in CI against declarations of PMSIS (shim/); it has never run on silicon. */
#include "bsp/flash/hyperflash.h"
#include "bsp/fs.h"
#include "camera.h"
#include "cluster.h"
#include "dory_layers.h"
#include "gearshift/board.h"
#include "pmsis.h"
#include "uart.h"

#ifndef GS_BAUD
#define GS_BAUD 1000000u
#endif
#ifndef GS_ARENA_BYTES
#define GS_ARENA_BYTES (45u * 1024u) /* `make size` says what an ensemble needs */
#endif
/* Leaves 8 kB of the 64 kB of L1 to the cores' stacks. */
#define L1_BYTES (48u * 1024u)
#define BUNDLE_FILE "networks.bin"
#define READ_BYTES 4096u
#define CONTROLLER_HZ 250000000u
#define CLUSTER_HZ 175000000u

static gs_board board;
static PI_L2 _Alignas(8) uint8_t arena[GS_ARENA_BYTES];

/* Bytes that fill no block of the UART raise no event, and pi_yield sleeps until there is one: this
 * often it looks at the line. */
#define TICK_US 1000u

/* PMSIS counts in 32 bits. Time is looked at on every tick, cycles only on both sides of a network,
 * so that their total is meaningless and their differences are not. */
typedef struct counter {
    uint64_t total;
    uint32_t last;
} counter;

static counter microseconds, cycles;

static uint64_t extend(counter *self, uint32_t now)
{
    self->total += now - self->last;
    self->last = now;
    return self->total;
}

static uint64_t time_us(void *context)
{
    (void)context;
    return extend(&microseconds, pi_time_get_us());
}

static uint64_t count_cycles(void *context)
{
    (void)context;
    return extend(&cycles, pi_perf_read(PI_PERF_CYCLES));
}

static void transmit(void *context, const uint8_t *bytes, uint32_t length)
{
    (void)context;
    gs_uart_send(bytes, length);
}

static bool take_camera(void *context, uint8_t *image, uint32_t bytes, int64_t *capture_time_ns)
{
    (void)context;
    return gs_camera_take(image, bytes, capture_time_ns);
}

static pi_task_t tick;

static void on_tick(void *argument)
{
    (void)argument;
    (void)time_us(NULL);
    pi_task_push_delayed_us(pi_task_callback(&tick, on_tick, NULL), TICK_US);
}

/* A whole file in L2; null, and no length, when it cannot be read to its end. */
static uint8_t *read_whole(pi_fs_file_t *file, uint32_t *length)
{
    const uint32_t size = file->size;
    uint8_t *block = pi_l2_malloc((int)size + 8);
    if (block == NULL) {
        return NULL;
    }
    uint8_t *bytes = block + (8u - (uintptr_t)block % 8u) % 8u;
    for (uint32_t done = 0; done < size;) {
        const uint32_t left = size - done;
        const uint32_t asked = left < READ_BYTES ? left : READ_BYTES;
        const int32_t got = pi_fs_read(file, bytes + done, asked);
        if (got <= 0 || (uint32_t)got > asked) {
            return NULL;
        }
        done += (uint32_t)got;
    }
    *length = size;
    return bytes;
}

/* The bundle, from the read-only file system in flash; null, and no length, when it is not there. */
static uint8_t *load_bundle(uint32_t *length)
{
    static struct pi_device flash, file_system;
    static struct pi_hyperflash_conf flash_configuration;
    static struct pi_fs_conf configuration;
    *length = 0;
    pi_hyperflash_conf_init(&flash_configuration);
    pi_open_from_conf(&flash, &flash_configuration);
    if (pi_flash_open(&flash) != 0) {
        return NULL;
    }
    pi_fs_conf_init(&configuration);
    configuration.type = PI_FS_READ_ONLY;
    configuration.flash = &flash;
    pi_open_from_conf(&file_system, &configuration);
    if (pi_fs_mount(&file_system) != 0) {
        return NULL;
    }
    pi_fs_file_t *file = pi_fs_open(&file_system, BUNDLE_FILE, PI_FS_FLAGS_READ);
    if (file == NULL) {
        return NULL;
    }
    uint8_t *bytes = read_whole(file, length);
    pi_fs_close(file);
    pi_fs_unmount(&file_system);
    pi_flash_close(&flash);
    return bytes;
}

static void take_bytes(void)
{
    uint32_t length;
    for (const uint8_t *bytes; (bytes = gs_uart_take(&length)) != NULL;) {
        gs_board_receive(&board, bytes, length);
    }
}

static void run(void)
{
    gs_machine machine = {.arena = arena, .arena_bytes = sizeof arena};
    uint32_t length = 0;
    pi_freq_set(PI_FREQ_DOMAIN_FC, CONTROLLER_HZ);
    pi_freq_set(PI_FREQ_DOMAIN_CL, CLUSTER_HZ);
    pi_perf_conf(1u << PI_PERF_CYCLES);
    pi_perf_reset();
    pi_perf_start();
    const uint8_t *bundle = load_bundle(&length);
    if (!gs_cluster_open(&machine, L1_BYTES)) {
        pmsis_exit(-1);
    }
#ifdef GS_DORY
    machine.override = gs_dory_override;
#endif
    on_tick(NULL);
    const bool sees = gs_camera_open(time_us, NULL);
    const gs_port port = {
        .transmit = transmit,
        .time_us = time_us,
        .count = count_cycles,
        .camera = sees ? take_camera : NULL,
        .count_kind = GS_COUNT_CYCLES,
        /* There is no clock or counter that runs through a reset, but noise. */
        .boot = sees ? gs_camera_noise() : pi_perf_read(PI_PERF_CYCLES),
        .credit = GS_UART_CREDIT_BYTES,
        .name = "gap8",
    };
    gs_board_init(&board, &port, &machine, bundle, length);
    if (!gs_uart_open(GS_BAUD)) {
        pmsis_exit(-1);
    }
    for (;;) {
        take_bytes();
        if (!gs_board_poll(&board)) {
            pi_yield();
        }
    }
}

int main(void)
{
    return pmsis_kickoff((void *)(uintptr_t)run);
}
