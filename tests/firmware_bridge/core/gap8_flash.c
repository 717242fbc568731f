/* The gap8 port's reading of its bundle, on a flash that fails where it is told to: the port's own
 * main.c, whose PMSIS is here as far as load_bundle calls it. The rest of it is not linked.
 *
 * Arguments: bytes of the file, bytes of one read at most, number of the read that fails (from 0),
 * what it gives. Prints what load_bundle gives: the length, and a sum of the bytes or "null". */
#define main port_main
#include "ports/gap8/main.c"
#undef main

#include <stdio.h>
#include <stdlib.h>

static pi_fs_file_t file;
static uint32_t most, failing, reads;
static int32_t failure;
static uint8_t next_byte;

void pi_hyperflash_conf_init(struct pi_hyperflash_conf *configuration)
{
    (void)configuration;
}

void pi_open_from_conf(struct pi_device *device, void *configuration)
{
    device->config = configuration;
}

int pi_flash_open(struct pi_device *device)
{
    (void)device;
    return 0;
}

void pi_flash_close(struct pi_device *device)
{
    (void)device;
}

void pi_fs_conf_init(struct pi_fs_conf *configuration)
{
    (void)configuration;
}

int32_t pi_fs_mount(struct pi_device *device)
{
    (void)device;
    return 0;
}

void pi_fs_unmount(struct pi_device *device)
{
    (void)device;
}

pi_fs_file_t *pi_fs_open(struct pi_device *device, const char *name, int flags)
{
    (void)device;
    (void)name;
    (void)flags;
    return &file;
}

void pi_fs_close(pi_fs_file_t *closed)
{
    (void)closed;
}

int32_t pi_fs_read(pi_fs_file_t *from, void *buffer, uint32_t size)
{
    (void)from;
    if (reads++ == failing) {
        return failure;
    }
    const uint32_t bytes = size < most ? size : most;
    for (uint32_t i = 0; i < bytes; i++) {
        ((uint8_t *)buffer)[i] = next_byte++;
    }
    return (int32_t)bytes;
}

void *pi_l2_malloc(int size)
{
    return malloc((size_t)size);
}

int main(int count, char **words)
{
    if (count != 5) {
        return 2;
    }
    file.size = (unsigned int)strtoul(words[1], NULL, 10);
    most = (uint32_t)strtoul(words[2], NULL, 10);
    failing = (uint32_t)strtoul(words[3], NULL, 10);
    failure = (int32_t)strtol(words[4], NULL, 10);
    uint32_t length = 12345;
    const uint8_t *bytes = load_bundle(&length);
    uint64_t sum = 0;
    for (uint32_t i = 0; bytes != NULL && i < length; i++) {
        sum += bytes[i];
    }
    printf(bytes == NULL ? "%u null\n" : "%u %llu\n", length, (unsigned long long)sum);
    return 0;
}
