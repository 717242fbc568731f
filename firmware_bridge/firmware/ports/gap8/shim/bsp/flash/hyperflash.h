/* See pmsis.h of this shim. */
#ifndef GEARSHIFT_SHIM_HYPERFLASH_H
#define GEARSHIFT_SHIM_HYPERFLASH_H

#include "pmsis.h"

struct pi_hyperflash_conf {
    uint32_t baudrate;
};

void pi_hyperflash_conf_init(struct pi_hyperflash_conf *configuration);
int pi_flash_open(struct pi_device *device);
void pi_flash_close(struct pi_device *device);

#endif
