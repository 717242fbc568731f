#include "camera_file.h"

#include "gearshift/bytes.h"

#define MAGIC 0x31465347u
#define HEADER_BYTES 16u

bool gs_camera_file_open(gs_camera_file *camera, const uint8_t *content, uint32_t length)
{
    *camera = (gs_camera_file){0};
    if (length < HEADER_BYTES || gs_load_u32(content) != MAGIC) {
        return false;
    }
    const uint32_t count = gs_load_u32(content + 4), bytes = gs_load_u32(content + 8);
    if (count == 0 || bytes == 0 || count > (length - HEADER_BYTES) / bytes) {
        return false;
    }
    *camera = (gs_camera_file){
        .frames = content + HEADER_BYTES,
        .count = count,
        .bytes = bytes,
        .period_us = gs_load_u32(content + 12),
    };
    return true;
}

bool gs_camera_file_take(gs_camera_file *camera, uint64_t now_us, uint8_t *image, uint32_t bytes,
                         int64_t *capture_time_ns)
{
    const uint64_t due_us = camera->next * camera->period_us;
    if (camera->count == 0 || bytes != camera->bytes || now_us < due_us) {
        return false;
    }
    const uint8_t *frame = camera->frames + camera->next % camera->count * bytes;
    __builtin_memcpy(image, frame, bytes);
    camera->next++;
    *capture_time_ns = (int64_t)(due_us * 1000u);
    return true;
}
