/* Running networks: activations alternate between the two ends of one area, so that it needs no more
 * than the largest pair of neighbours. */
#include "gearshift/network.h"

typedef struct job {
    const gs_layer *layer;
    gs_kernel kernel;
    const uint8_t *input;
    void *output;
    uint8_t *scratch;
    uint32_t scratch_bytes;
    uint32_t cores;
} job;

static uint32_t aligned(uint32_t bytes)
{
    return (bytes + 7u) & ~7u;
}

static uint32_t output_bytes(const gs_layer *layer)
{
    return layer->out_height * layer->out_width * layer->out_channels;
}

static uint32_t input_bytes(const gs_layer *layer)
{
    return layer->height * layer->width * layer->in_channels;
}

typedef struct demand {
    uint32_t activations; /* of all pairs of neighbours, the largest */
    uint32_t scratch;     /* per core */
} demand;

static demand demand_of(const gs_network *network)
{
    demand need = {0, 0};
    for (uint32_t index = 0; index < network->layers; index++) {
        gs_layer layer = gs_network_layer(network, index);
        uint32_t input = index > 0 || network->halves ? aligned(input_bytes(&layer)) : 0;
        uint32_t output = index < network->layers - 1 ? aligned(output_bytes(&layer)) : 0;
        uint32_t scratch = gs_kernel_scratch_bytes(&layer);
        need.activations = input + output > need.activations ? input + output : need.activations;
        need.scratch = scratch > need.scratch ? scratch : need.scratch;
    }
    return need;
}

uint32_t gs_network_arena_bytes(const gs_network *network, uint32_t cores)
{
    demand need = demand_of(network);
    return need.activations + need.scratch * (cores == 0 ? 1 : cores);
}

static void work(void *argument, uint32_t core)
{
    const job *item = argument;
    uint64_t rows = gs_kernel_rows(item->layer);
    uint32_t begin = (uint32_t)(rows * core / item->cores);
    uint32_t end = (uint32_t)(rows * (core + 1u) / item->cores);
    if (begin < end) {
        item->kernel(item->layer, item->input, item->output, begin, end,
                     item->scratch + (size_t)core * item->scratch_bytes);
    }
}

static gs_status run_layer(const gs_network *network, const gs_machine *machine, uint32_t index,
                           job *item)
{
    if (machine->override != 0) {
        gs_status status = machine->override(machine->context, network, index, item->layer,
                                             item->input, item->output);
        if (status != GS_NO_NETWORK) {
            return status;
        }
    }
    if (item->cores > 1 && machine->parallel != 0) {
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
    const gs_kernels *kernels = machine->kernels != 0 ? machine->kernels : &gs_portable_kernels;
    demand need = demand_of(network);
    job item = {
        .scratch = machine->arena,
        .scratch_bytes = need.scratch,
        .cores = machine->cores == 0 ? 1 : machine->cores,
    };
    uint64_t scratch_bytes = (uint64_t)need.scratch * item.cores;
    if (scratch_bytes + need.activations > machine->arena_bytes) {
        return GS_NO_SPACE;
    }
    uint8_t *low = machine->arena + scratch_bytes, *high = low + need.activations;
    int next_is_low = 1;
    item.input = frame;
    if (network->halves) {
        gs_halve(frame, network->height, network->width, low);
        item.input = low;
        next_is_low = 0;
    }
    for (uint32_t index = 0; index < network->layers; index++) {
        gs_layer layer = gs_network_layer(network, index);
        int last = index == network->layers - 1;
        uint32_t bytes = last ? 4u * layer.out_channels : output_bytes(&layer);
        item.layer = &layer;
        item.kernel = kernels->by_kind[layer.kind];
        item.output = last ? (void *)outputs : next_is_low ? low : high - aligned(bytes);
        gs_status status = run_layer(network, machine, index, &item);
        if (status != GS_OK) {
            return status;
        }
        if (machine->observer != 0) {
            machine->observer(machine->context, index, &layer, item.output, bytes);
        }
        item.input = item.output;
        next_is_low = !next_is_low;
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
