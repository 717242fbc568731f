#include "camera.h"

#include "bsp/camera/himax.h"
#include "gearshift/crc32.h"
#include "pmsis.h"

#define SENSOR_WIDTH 162u
#define SENSOR_HEIGHT 122u
#define LEFT ((SENSOR_WIDTH - GS_CAMERA_WIDTH) / 2u)
#define TOP ((SENSOR_HEIGHT - GS_CAMERA_HEIGHT) / 2u)
#define ABOVE_BYTES (TOP * SENSOR_WIDTH)
#define SEEN_BYTES (GS_CAMERA_HEIGHT * SENSOR_WIDTH)
#define ORIENTATION_REGISTER 0x0101u
#define UPSIDE_DOWN 3u /* as the sensor sits on an AI-deck */
#define FIRST_EXPOSURE_US 1000000u

/* The rows that networks see. Those above them come first and are overwritten, those below are not
 * waited for. */
static PI_L2 uint8_t sensor[SEEN_BYTES];
static struct pi_device device;
static pi_task_t above_done, seen_done;
static volatile bool complete;
static volatile uint64_t complete_us;
static uint64_t (*clock_us)(void *context);
static void *clock_context;

static void rows_above_complete(void *argument)
{
    (void)argument;
}

static void frame_complete(void *argument)
{
    (void)argument;
    pi_camera_control(&device, PI_CAMERA_CMD_STOP, NULL);
    complete_us = clock_us(clock_context);
    complete = true;
}

static void expose(void)
{
    complete = false;
    pi_camera_capture_async(&device, sensor, ABOVE_BYTES,
                            pi_task_callback(&above_done, rows_above_complete, NULL));
    pi_camera_capture_async(&device, sensor, SEEN_BYTES,
                            pi_task_callback(&seen_done, frame_complete, NULL));
    pi_camera_control(&device, PI_CAMERA_CMD_START, NULL);
}

bool gs_camera_open(uint64_t (*now_us)(void *context), void *context)
{
    static struct pi_himax_conf configuration;
    uint8_t orientation = UPSIDE_DOWN;
    clock_us = now_us;
    clock_context = context;
    pi_himax_conf_init(&configuration);
    configuration.format = PI_CAMERA_QQVGA;
    pi_open_from_conf(&device, &configuration);
    if (pi_camera_open(&device) != 0) {
        return false;
    }
    pi_camera_control(&device, PI_CAMERA_CMD_START, NULL);
    pi_camera_reg_set(&device, ORIENTATION_REGISTER, &orientation);
    pi_camera_control(&device, PI_CAMERA_CMD_STOP, NULL);
    pi_camera_control(&device, PI_CAMERA_CMD_AEG_INIT, NULL);
    expose();
    return true;
}

uint32_t gs_camera_noise(void)
{
    const uint64_t patience_ends = clock_us(clock_context) + FIRST_EXPOSURE_US;
    while (!complete && clock_us(clock_context) < patience_ends) {
        pi_yield();
    }
    return gs_crc32(0, sensor, sizeof sensor);
}

bool gs_camera_take(uint8_t *image, uint32_t bytes, int64_t *capture_time_ns)
{
    if (!complete || bytes != GS_CAMERA_WIDTH * GS_CAMERA_HEIGHT) {
        return false;
    }
    for (uint32_t row = 0; row < GS_CAMERA_HEIGHT; row++) {
        const uint8_t *from = sensor + row * SENSOR_WIDTH + LEFT;
        for (uint32_t column = 0; column < GS_CAMERA_WIDTH; column++) {
            *image++ = from[column];
        }
    }
    *capture_time_ns = (int64_t)(complete_us * 1000u);
    expose();
    return true;
}
