/* The Himax camera of an AI-deck: 324x244 binned to 162x122, of which networks see 160x96. */
#ifndef GEARSHIFT_GAP8_CAMERA_H
#define GEARSHIFT_GAP8_CAMERA_H

#include <stdbool.h>
#include <stdint.h>

#define GS_CAMERA_WIDTH 160u
#define GS_CAMERA_HEIGHT 96u

/* Open the camera and start the first exposure; false when there is none. now_us: the board's
 * clock. */
bool gs_camera_open(uint64_t (*now_us)(void *context), void *context);

/* A new frame of GS_CAMERA_WIDTH x GS_CAMERA_HEIGHT pixels and when it was complete; false when
 * there is none yet or `bytes` is another size. The next exposure starts at once. */
bool gs_camera_take(uint8_t *image, uint32_t bytes, int64_t *capture_time_ns);

/* CRC-32 of the pixels of the first exposure, whose noise differs after every reset. Waits for it,
 * a second at the most; something has to wake pi_yield meanwhile. */
uint32_t gs_camera_noise(void);

#endif
