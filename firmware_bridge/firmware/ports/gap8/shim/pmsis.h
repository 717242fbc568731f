/* Declarations of the little of PMSIS (GreenWaves' API for GAP8) that this port uses, so that it
 * can be compiled where the GAP SDK is not installed. Nothing here is ever linked or run; a build
 * for a board takes the SDK's headers instead. */
#ifndef GEARSHIFT_SHIM_PMSIS_H
#define GEARSHIFT_SHIM_PMSIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PI_L2
#define PI_PERF_CYCLES 0
#define ARCHI_UDMA_ADDR 0x1A102000u
#define UDMA_PERIPH_OFFSET(id) ((uint32_t)(id) << 7)
#define ARCHI_UDMA_UART_ID(id) 4
#define UDMA_CHANNEL_RX_OFFSET 0x00u
#define UDMA_CHANNEL_SADDR_OFFSET 0x00u

typedef struct pi_device {
    void *data;
    void *config;
} pi_device_t;

typedef struct pi_task {
    uintptr_t arg[4];
} pi_task_t;

struct pi_uart_conf {
    uint32_t baudrate_bps;
    uint32_t stop_bit_count;
    uint8_t parity_mode;
    uint8_t uart_id;
    uint8_t enable_rx;
    uint8_t enable_tx;
};

struct pi_cluster_conf {
    int id;
};

struct pi_cluster_task {
    void (*entry)(void *);
    void *arg;
    uint32_t stack_size;
    uint32_t slave_stack_size;
};

typedef enum { PI_FREQ_DOMAIN_FC = 0, PI_FREQ_DOMAIN_CL = 1 } pi_freq_domain_e;

int pmsis_kickoff(void *entry);
void pmsis_exit(int code);

pi_task_t *pi_task_block(pi_task_t *task);
pi_task_t *pi_task_callback(pi_task_t *task, void (*callback)(void *), void *argument);
void pi_task_push_delayed_us(pi_task_t *task, uint32_t microseconds);
void pi_task_wait_on(pi_task_t *task);
void pi_yield(void);
unsigned int pi_time_get_us(void);
void pi_time_wait_us(int microseconds);

int pi_freq_set(pi_freq_domain_e domain, uint32_t hertz);
void pi_perf_conf(unsigned int events);
void pi_perf_reset(void);
void pi_perf_start(void);
unsigned int pi_perf_read(int event);

void pi_open_from_conf(struct pi_device *device, void *configuration);

void pi_uart_conf_init(struct pi_uart_conf *configuration);
int pi_uart_open(struct pi_device *device);
int pi_uart_write(struct pi_device *device, void *buffer, uint32_t size);
int pi_uart_read_async(struct pi_device *device, void *buffer, uint32_t size, pi_task_t *task);

void pi_cluster_conf_init(struct pi_cluster_conf *configuration);
int pi_cluster_open(struct pi_device *device);
int pi_cluster_send_task_to_cl(struct pi_device *device, struct pi_cluster_task *task);
struct pi_cluster_task *pi_cluster_task(struct pi_cluster_task *task, void (*entry)(void *),
                                        void *argument);
void pi_cl_team_fork(int cores, void (*entry)(void *), void *argument);
int pi_core_id(void);

void *pi_l2_malloc(int size);
void *pi_cl_l1_malloc(struct pi_device *cluster, int size);

#endif
