/* Recorded frames that stand in for a board's camera: little-endian u32 "GSF1", u32 number of frames,
 * u32 bytes per frame, u32 period in us, then the frames. They come round and round. */
#ifndef GEARSHIFT_CAMERA_FILE_H
#define GEARSHIFT_CAMERA_FILE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    const uint8_t *frames;
    uint32_t count;
    uint32_t bytes;
    uint32_t period_us;
    uint64_t next; /* index of the next frame, counted on through the rounds */
} gs_camera_file;

/* False, and a camera without frames, when `length` bytes hold no such file. */
bool gs_camera_file_open(gs_camera_file *camera, const uint8_t *content, uint32_t length);

/* The next frame, once its time has come by a clock that started with the board. */
bool gs_camera_file_take(gs_camera_file *camera, uint64_t now_us, uint8_t *image, uint32_t bytes,
                         int64_t *capture_time_ns);

#endif
