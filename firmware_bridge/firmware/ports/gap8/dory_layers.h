/* Layers that DORY generated, behind the portable kernels' seam.
 *
 * DORY (Burrello et al., IEEE Trans. Comp. 2021) writes one C function per layer, which tiles it
 * from L2 to L1 and calls PULP-NN. An application that has such functions for a network lists them
 * in `gs_dory_layers` (ended by an entry without a network) and builds with -DGS_DORY; every other
 * layer runs on the portable kernels. A generated layer reads weights, kappa and lambda behind one
 * another; one whose image holds them apart is left to the portable kernels too. */
#ifndef GEARSHIFT_GAP8_DORY_LAYERS_H
#define GEARSHIFT_GAP8_DORY_LAYERS_H

#include <stdint.h>

#include "gearshift/network.h"

/* The argument of DORY's layer functions (its `layer_args_t`), 32-bit addresses. */
typedef struct gs_dory_arguments {
    uint32_t l3_input, l3_output, l3_after_weights;
    uint32_t l2_input, bypass, l2_output, l2_weights;
    uint32_t l1_buffer;
    uint32_t ram;
    uint32_t padding;
    uint32_t layer_id;
} gs_dory_arguments;

typedef struct gs_dory_layer {
    const char *network; /* its name in the bundle */
    uint32_t index;
    void (*run)(void *arguments); /* on the cluster, from a team of all cores */
} gs_dory_layer;

#ifdef GS_DORY
extern const gs_dory_layer gs_dory_layers[];
#endif

/* A gs_layer_override. */
gs_status gs_dory_override(void *context, const gs_network *network, uint32_t index,
                           const gs_layer *layer, const uint8_t *input, void *output);

#endif
