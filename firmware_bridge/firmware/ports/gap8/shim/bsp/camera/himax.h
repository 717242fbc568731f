/* See pmsis.h of this shim. */
#ifndef GEARSHIFT_SHIM_HIMAX_H
#define GEARSHIFT_SHIM_HIMAX_H

#include "pmsis.h"

typedef enum { PI_CAMERA_VGA, PI_CAMERA_QVGA, PI_CAMERA_QQVGA } pi_camera_format_e;
typedef enum {
    PI_CAMERA_CMD_ON,
    PI_CAMERA_CMD_OFF,
    PI_CAMERA_CMD_START,
    PI_CAMERA_CMD_STOP,
    PI_CAMERA_CMD_AEG_INIT
} pi_camera_cmd_e;

struct pi_himax_conf {
    pi_camera_format_e format;
    char skip_pads_config;
};

void pi_himax_conf_init(struct pi_himax_conf *configuration);
int pi_camera_open(struct pi_device *device);
int pi_camera_control(struct pi_device *device, pi_camera_cmd_e command, void *argument);
void pi_camera_capture(struct pi_device *device, void *buffer, uint32_t size);
void pi_camera_capture_async(struct pi_device *device, void *buffer, uint32_t size, pi_task_t *task);
int pi_camera_reg_set(struct pi_device *device, uint32_t address, uint8_t *value);

#endif
