/* Running a network: its layers, one after the other, through one arena. */
#ifndef GEARSHIFT_NETWORK_H
#define GEARSHIFT_NETWORK_H

#include <stddef.h>
#include <stdint.h>

#include "gearshift/kernels.h"
#include "gearshift/network_image.h"
#include "gearshift/status.h"

typedef void (*gs_work)(void *argument, uint32_t core);

/* Called after each layer: index, the layer and its output. For golden sums and profiles. */
typedef void (*gs_layer_observer)(void *context, uint32_t index, const gs_layer *layer,
                                  const void *output, uint32_t bytes);

/* Does a whole layer in a way of its own, such as a DORY-generated tiled one; GS_NO_NETWORK leaves
 * the layer to the kernels, any other failure fails the run. */
typedef gs_status (*gs_layer_override)(void *context, const gs_network *network, uint32_t index,
                                       const gs_layer *layer, const uint8_t *input, void *output);

/* What networks run on. All zero but `arena` and `arena_bytes` is one core and portable kernels.
 * scratch: fast memory for the kernels' windows and rows; null: part of the arena. parallel: call
 * work(argument, core) once for every core in 0..cores-1 and return when all have returned. One
 * machine serves every network, as one network runs at a time. */
typedef struct gs_machine {
    uint8_t *arena; /* aligned to 8 */
    uint32_t arena_bytes;
    uint8_t *scratch; /* aligned to 8 */
    uint32_t scratch_bytes;
    const gs_kernels *kernels; /* null: gs_portable_kernels */
    uint32_t cores;            /* 0: 1 */
    void (*parallel)(void *context, gs_work work, void *argument, uint32_t cores);
    gs_layer_override override;
    gs_layer_observer observer;
    void *context; /* of the three above */
} gs_machine;

/* Bytes of arena that running the network on `cores` cores needs, a multiple of 8. A convolution
 * before pooling is computed a few rows at a time and never stored whole. */
uint32_t gs_network_arena_bytes(const gs_network *network, uint32_t cores);

/* Of these, how many are scratch, which a machine may have elsewhere; a multiple of 8. */
uint32_t gs_network_scratch_bytes(const gs_network *network, uint32_t cores);

/* The same as gs_network_arena_bytes for a machine with an observer or an override, which want
 * every layer's output whole. */
uint32_t gs_network_whole_arena_bytes(const gs_network *network, uint32_t cores);

/* Bytes of arena that the network needs on this very machine. */
uint32_t gs_machine_arena_bytes(const gs_machine *machine, const gs_network *network);

/* Run on a frame of network->height x network->width bytes, which is only read and may lie outside
 * the arena only. outputs: network->outputs int32 of the last layer. */
gs_status gs_network_run(const gs_network *network, const gs_machine *machine, const uint8_t *frame,
                         int32_t *outputs);

/* values[i] = (float)(outputs[i] * scale[i]), the product in float64. */
void gs_network_values(const gs_network *network, const int32_t *outputs, float *values);

/* A network as the adaptive loop sees it; the loop's engines may just as well be something else. */
typedef struct gs_engine {
    /* values: `outputs` float32. Anything but GS_OK: the network failed on this frame. */
    gs_status (*run)(void *context, const uint8_t *frame, float *values);
    void *context;
    uint32_t height, width; /* of the frames */
    uint32_t outputs;
    uint32_t angular;
    gs_network_kind kind;
} gs_engine;

typedef struct gs_network_context {
    const gs_network *network;
    const gs_machine *machine;
} gs_network_context;

/* The engine of a network on a machine; `context` has to live as long as the engine. */
gs_engine gs_network_engine(gs_network_context *context, const gs_network *network,
                            const gs_machine *machine);

#endif
