#include "cluster.h"

#include "pmsis.h"

#define STACK_BYTES 2048u
#define SLAVE_STACK_BYTES 1024u

typedef struct team {
    gs_work work;
    void *argument;
    uint32_t cores;
} team;

static struct pi_device device;
static uint8_t *l1;

static void on_each_core(void *argument)
{
    const team *self = argument;
    self->work(self->argument, (uint32_t)pi_core_id());
}

static void on_first_core(void *argument)
{
    const team *self = argument;
    pi_cl_team_fork((int)self->cores, on_each_core, argument);
}

void gs_cluster_run(void (*entry)(void *), void *argument)
{
    static struct pi_cluster_task task;
    pi_cluster_task(&task, entry, argument);
    task.stack_size = STACK_BYTES;
    task.slave_stack_size = SLAVE_STACK_BYTES;
    pi_cluster_send_task_to_cl(&device, &task);
}

static void parallel(void *context, gs_work work, void *argument, uint32_t cores)
{
    team self = {work, argument, cores};
    (void)context;
    gs_cluster_run(on_first_core, &self);
}

int gs_cluster_open(gs_machine *machine, uint32_t scratch_bytes)
{
    static struct pi_cluster_conf configuration;
    pi_cluster_conf_init(&configuration);
    configuration.id = 0;
    pi_open_from_conf(&device, &configuration);
    if (pi_cluster_open(&device) != 0) {
        return 0;
    }
    l1 = pi_cl_l1_malloc(&device, (int)scratch_bytes);
    if (l1 == NULL) {
        return 0;
    }
    machine->cores = GS_CLUSTER_CORES;
    machine->parallel = parallel;
    machine->scratch = l1;
    machine->scratch_bytes = scratch_bytes;
    return 1;
}

uint8_t *gs_cluster_l1(void)
{
    return l1;
}
