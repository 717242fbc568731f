/* Runs the inputs it is given once each: the kept corpus, where there is no coverage-guided fuzzer. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define LARGEST_INPUT (1u << 24)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run_file(const char *path, uint8_t *buffer)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return 1;
    }
    size_t size = fread(buffer, 1, LARGEST_INPUT, file);
    int failed = ferror(file);
    fclose(file);
    if (failed) {
        fprintf(stderr, "%s: cannot be read\n", path);
        return 1;
    }
    /* A block of exactly its size, so that a sanitizer sees every byte beyond. */
    uint8_t *data = malloc(size == 0 ? 1 : size);
    if (data == NULL) {
        return 1;
    }
    for (size_t i = 0; i < size; i++) {
        data[i] = buffer[i];
    }
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 0;
}

int main(int count, char **paths)
{
    uint8_t *buffer = malloc(LARGEST_INPUT);
    if (buffer == NULL || count < 2) {
        fprintf(stderr, "usage: %s FILE...\n", paths[0]);
        return 2;
    }
    int failed = 0;
    for (int i = 1; i < count; i++) {
        failed |= run_file(paths[i], buffer);
    }
    free(buffer);
    printf("%d inputs\n", count - 1);
    return failed;
}
