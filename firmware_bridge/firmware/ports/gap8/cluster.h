/* The cluster's eight cores behind gs_machine. They see the controller's memories, its stack among
 * them, as the SDK's own examples have it. */
#ifndef GEARSHIFT_GAP8_CLUSTER_H
#define GEARSHIFT_GAP8_CLUSTER_H

#include <stdint.h>

#include "gearshift/network.h"

#define GS_CLUSTER_CORES 8u

/* Switch the cluster on and take `scratch_bytes` of its L1; 0 when either fails. machine: gets
 * cores, parallel and scratch. One cluster per program. */
int gs_cluster_open(gs_machine *machine, uint32_t scratch_bytes);

/* The cluster's L1 that kernels and generated layers share. */
uint8_t *gs_cluster_l1(void);

/* Run `entry` on the cluster's first core and wait for it; it may fork a team. */
void gs_cluster_run(void (*entry)(void *), void *argument);

#endif
