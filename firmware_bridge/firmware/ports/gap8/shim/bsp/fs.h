/* See pmsis.h of this shim. */
#ifndef GEARSHIFT_SHIM_FS_H
#define GEARSHIFT_SHIM_FS_H

#include "pmsis.h"

typedef enum { PI_FS_READ_ONLY = 0 } pi_fs_type_e;
enum { PI_FS_FLAGS_READ = 0 };

struct pi_fs_conf {
    pi_fs_type_e type;
    struct pi_device *flash;
};

typedef struct pi_fs_file_s {
    unsigned int offset;
    unsigned int size;
} pi_fs_file_t;

void pi_fs_conf_init(struct pi_fs_conf *configuration);
int32_t pi_fs_mount(struct pi_device *device);
void pi_fs_unmount(struct pi_device *device);
pi_fs_file_t *pi_fs_open(struct pi_device *device, const char *file, int flags);
void pi_fs_close(pi_fs_file_t *file);
int32_t pi_fs_read(pi_fs_file_t *file, void *buffer, uint32_t size);

#endif
