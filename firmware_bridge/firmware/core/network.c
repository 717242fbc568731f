/* Running networks: activations alternate between the two ends of one area, so that it needs no more
 * than the largest pair of neighbours. */
#include "gearshift/network.h"

#include <stdbool.h>

typedef struct job {
    gs_layer layer;
    gs_layer pooling; /* of the rows that are pooled at once; only where `pools` */
    const gs_kernels *kernels;
    const uint8_t *input;
    uint8_t *output;
    uint8_t *scratch;
    uint32_t scratch_bytes;
    uint32_t cores;
    uint32_t rows;
    uint32_t row_bytes;
    bool pools;
} job;

typedef struct demand {
    uint32_t activations; /* of all pairs of neighbours, the largest */
    uint32_t scratch;     /* per core */
} demand;

static uint32_t aligned(uint32_t bytes)
{
    return (bytes + 7u) & ~7u;
}

static uint32_t input_bytes(const gs_layer *layer)
{
    return layer->height * layer->width * layer->in_channels;
}

/* Whether pooling at `index` can be done on a few rows of the layer before it at a time, without
 * computing any of them twice. */
static bool pools_rows(const gs_network *network, uint32_t index, const gs_layer *before)
{
    if (index >= network->layers || before->kind == GS_LAYER_POOL) {
        return false;
    }
    gs_layer pooling = gs_network_layer(network, index);
    return pooling.kind == GS_LAYER_POOL && pooling.stride >= pooling.kernel;
}

/* What computes the layer at `index`, together with the pooling behind it where `fuses`. Its input,
 * output and scratch are left open. */
static job job_of(const gs_network *network, uint32_t index, bool fuses)
{
    job item = {.layer = gs_network_layer(network, index)};
    const gs_layer *last = &item.layer;
    item.pools = fuses && pools_rows(network, index + 1, &item.layer);
    item.scratch_bytes = gs_kernel_scratch_bytes(&item.layer);
    if (item.pools) {
        item.pooling = gs_network_layer(network, index + 1);
        last = &item.pooling;
        item.scratch_bytes += aligned(item.pooling.kernel * gs_kernel_row_bytes(&item.layer));
    }
    item.rows = gs_kernel_rows(last);
    item.row_bytes = gs_kernel_row_bytes(last);
    return item;
}

static bool is_last(const gs_network *network, uint32_t index, const job *item)
{
    return index + (item->pools ? 2u : 1u) == network->layers;
}

static demand demand_of(const gs_network *network, bool fuses)
{
    demand need = {0, 0};
    for (uint32_t index = 0; index < network->layers;) {
        job item = job_of(network, index, fuses);
        uint32_t input = index > 0 || network->halves ? aligned(input_bytes(&item.layer)) : 0;
        uint32_t output = is_last(network, index, &item) ? 0 : aligned(item.rows * item.row_bytes);
        need.activations = input + output > need.activations ? input + output : need.activations;
        need.scratch = item.scratch_bytes > need.scratch ? item.scratch_bytes : need.scratch;
        index += (item.pools ? 2u : 1u);
    }
    return need;
}

static uint32_t arena_bytes(const gs_network *network, uint32_t cores, bool fuses)
{
    demand need = demand_of(network, fuses);
    return need.activations + need.scratch * (cores == 0 ? 1 : cores);
}

uint32_t gs_network_arena_bytes(const gs_network *network, uint32_t cores)
{
    return arena_bytes(network, cores, 1);
}

uint32_t gs_network_scratch_bytes(const gs_network *network, uint32_t cores)
{
    return demand_of(network, 1).scratch * (cores == 0 ? 1 : cores);
}

uint32_t gs_network_whole_arena_bytes(const gs_network *network, uint32_t cores)
{
    return arena_bytes(network, cores, 0);
}

static uint32_t core_count(const gs_machine *machine)
{
    return machine->cores == 0 ? 1 : machine->cores;
}

/* Whoever looks at single layers wants their outputs whole. */
static bool fuses_layers(const gs_machine *machine)
{
    return machine->observer == NULL && machine->override == NULL;
}

uint32_t gs_machine_arena_bytes(const gs_machine *machine, const gs_network *network)
{
    demand need = demand_of(network, fuses_layers(machine));
    return need.activations + (machine->scratch != NULL ? 0 : need.scratch * core_count(machine));
}

static void work(void *argument, uint32_t core)
{
    const job *item = argument;
    uint64_t rows = item->rows;
    uint32_t begin = (uint32_t)(rows * core / item->cores);
    uint32_t end = (uint32_t)(rows * (core + 1u) / item->cores);
    uint8_t *scratch = item->scratch + (size_t)core * item->scratch_bytes;
    uint8_t *output = item->output + (size_t)begin * item->row_bytes;
    gs_kernel kernel = item->kernels->by_kind[item->layer.kind];
    if (begin >= end) {
        return;
    }
    if (!item->pools) {
        kernel(&item->layer, item->input, output, begin, end, scratch);
        return;
    }
    uint8_t *rows_to_pool = scratch + gs_kernel_scratch_bytes(&item->layer);
    for (uint32_t row = begin; row < end; row++, output += item->row_bytes) {
        uint32_t first = row * item->pooling.stride;
        kernel(&item->layer, item->input, rows_to_pool, first, first + item->pooling.kernel, scratch);
        item->kernels->by_kind[GS_LAYER_POOL](&item->pooling, rows_to_pool, output, 0, 1, scratch);
    }
}

static gs_status run_job(const gs_network *network, const gs_machine *machine, uint32_t index,
                         job *item)
{
    if (machine->override != NULL) {
        gs_status status = machine->override(machine->context, network, index, &item->layer,
                                             item->input, item->output);
        if (status != GS_NO_NETWORK) {
            return status;
        }
    }
    if (item->cores > 1 && machine->parallel != NULL) {
        machine->parallel(machine->context, work, item, item->cores);
    } else {
        for (uint32_t core = 0; core < item->cores; core++) {
            work(item, core);
        }
    }
    return GS_OK;
}

gs_status gs_network_run(const gs_network *network, const gs_machine *machine, const uint8_t *frame,
                         int32_t *outputs)
{
    bool fuses = fuses_layers(machine);
    uint32_t cores = core_count(machine);
    demand need = demand_of(network, fuses);
    uint64_t scratch_bytes = (uint64_t)need.scratch * cores;
    uint64_t in_arena = machine->scratch != NULL ? 0 : scratch_bytes;
    if (in_arena + need.activations > machine->arena_bytes ||
        (machine->scratch != NULL && scratch_bytes > machine->scratch_bytes)) {
        return GS_NO_SPACE;
    }
    uint8_t *low = machine->arena + in_arena, *high = low + need.activations;
    const uint8_t *input = frame;
    bool next_is_low = true;
    if (network->halves != 0) {
        gs_halve(frame, network->height, network->width, low);
        input = low;
        next_is_low = false;
    }
    for (uint32_t index = 0; index < network->layers;) {
        job item = job_of(network, index, fuses);
        uint32_t bytes = item.rows * item.row_bytes;
        uint8_t *activation = next_is_low ? low : high - aligned(bytes);
        item.kernels = machine->kernels != NULL ? machine->kernels : &gs_portable_kernels;
        item.input = input;
        item.output = is_last(network, index, &item) ? (uint8_t *)outputs : activation;
        item.scratch = machine->scratch != NULL ? machine->scratch : machine->arena;
        item.scratch_bytes = need.scratch;
        item.cores = cores;
        gs_status status = run_job(network, machine, index, &item);
        if (status != GS_OK) {
            return status;
        }
        if (machine->observer != NULL) {
            machine->observer(machine->context, index, &item.layer, item.output, bytes);
        }
        input = item.output;
        next_is_low = !next_is_low;
        index += (item.pools ? 2u : 1u);
    }
    return GS_OK;
}

void gs_network_values(const gs_network *network, const int32_t *outputs, float *values)
{
    for (uint32_t i = 0; i < network->outputs; i++) {
        values[i] = (float)((double)outputs[i] * gs_network_output_scale(network, i));
    }
}

static gs_status run_engine(void *context, const uint8_t *frame, float *values)
{
    const gs_network_context *self = context;
    int32_t outputs[GS_MAX_OUTPUTS];
    gs_status status = gs_network_run(self->network, self->machine, frame, outputs);
    if (status == GS_OK) {
        gs_network_values(self->network, outputs, values);
    }
    return status;
}

gs_engine gs_network_engine(gs_network_context *context, const gs_network *network,
                            const gs_machine *machine)
{
    context->network = network;
    context->machine = machine;
    return (gs_engine){
        .run = run_engine,
        .context = context,
        .height = network->height,
        .width = network->width,
        .outputs = network->outputs,
        .angular = network->angular,
        .kind = network->kind,
    };
}
