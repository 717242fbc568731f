/* The board as a process: its line is a pty or a TCP port, its flash a file, its camera another.
 *
 * Prints one line, the device or port to connect to, and runs until its standard input ends, so
 * that no board outlives whoever started it. */
#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "../camera_file.h"
#include "gearshift/board.h"

#define CREDIT_BYTES 32768u
#define ARENA_BYTES (4u << 20)
#define MAX_FILE_BYTES (64 << 20)
#define TRANSMIT_PATIENCE_MS 100

typedef struct {
    int line;     /* pty master or connection; -1 while nobody is connected */
    int held;     /* our own end of the pty, so that it survives its users; else -1 */
    int listener; /* TCP; else -1 */
    struct timespec started;
    gs_camera_file camera;
} host;

static void die(const char *what, const char *why)
{
    fprintf(stderr, "gearshift-board: %s: %s\n", what, why);
    exit(1);
}

static uint64_t time_us(void *context)
{
    const host *self = context;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const int64_t us = (now.tv_sec - self->started.tv_sec) * 1000000 +
                       (now.tv_nsec - self->started.tv_nsec) / 1000;
    return (uint64_t)us;
}

static void transmit(void *context, const uint8_t *bytes, uint32_t length)
{
    host *self = context;
    while (length > 0 && self->line >= 0) {
        const ssize_t written = write(self->line, bytes, length);
        if (written > 0) {
            bytes += written;
            length -= (uint32_t)written;
        } else if (written < 0 && errno != EAGAIN && errno != EINTR) {
            return;
        } else {
            /* A host that does not read must not stop the board: the rest is lost, as on a wire. */
            struct pollfd wait = {.fd = self->line, .events = POLLOUT};
            if (poll(&wait, 1, TRANSMIT_PATIENCE_MS) <= 0) {
                return;
            }
        }
    }
}

static bool take_camera(void *context, uint8_t *image, uint32_t bytes, int64_t *capture_time_ns)
{
    host *self = context;
    return gs_camera_file_take(&self->camera, time_us(self), image, bytes, capture_time_ns);
}

static uint8_t *read_file(const char *path, uint32_t *length)
{
    struct stat status;
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &status) != 0) {
        die(path, strerror(errno));
    }
    if (status.st_size <= 0 || status.st_size > MAX_FILE_BYTES) {
        die(path, "empty or too large");
    }
    uint8_t *content = NULL;
    if (posix_memalign((void **)&content, 8, (size_t)status.st_size) != 0) {
        die(path, "no memory");
    }
    for (off_t done = 0; done < status.st_size;) {
        const ssize_t got = read(file, content + done, (size_t)(status.st_size - done));
        if (got <= 0) {
            die(path, "cannot be read");
        }
        done += got;
    }
    close(file);
    *length = (uint32_t)status.st_size;
    return content;
}

static void open_pty(host *self)
{
    const int master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) {
        die("pty", strerror(errno));
    }
    const char *name = ptsname(master);
    const int slave = name == NULL ? -1 : open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    struct termios raw;
    if (slave < 0 || tcgetattr(slave, &raw) != 0) {
        die("pty", strerror(errno));
    }
    cfmakeraw(&raw);
    if (tcsetattr(slave, TCSANOW, &raw) != 0) {
        die("pty", strerror(errno));
    }
    self->line = master;
    self->held = slave;
    printf("%s\n", name);
    fflush(stdout);
}

static void open_port(host *self, const char *number)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    const int yes = 1;
    address.sin_port = htons((uint16_t)strtoul(number, NULL, 10));
    self->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(self->listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (self->listener < 0 || bind(self->listener, (struct sockaddr *)&address, size) != 0 ||
        listen(self->listener, 1) != 0 ||
        getsockname(self->listener, (struct sockaddr *)&address, &size) != 0) {
        die("tcp", strerror(errno));
    }
    printf("socket://127.0.0.1:%u\n", ntohs(address.sin_port));
    fflush(stdout);
}

static void take_connection(host *self)
{
    const int yes = 1;
    const int connection = accept4(self->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (connection < 0) {
        return;
    }
    setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (self->line >= 0) {
        close(self->line); /* the newest host is the one that is still there */
    }
    self->line = connection;
}

static void read_line(host *self, gs_board *board)
{
    uint8_t bytes[CREDIT_BYTES];
    const ssize_t got = read(self->line, bytes, sizeof bytes);
    if (got > 0) {
        gs_board_receive(board, bytes, (uint32_t)got);
    } else if (self->listener >= 0 && (got == 0 || (errno != EAGAIN && errno != EINTR))) {
        close(self->line);
        self->line = -1;
    }
}

static void run(host *self, gs_board *board)
{
    bool busy = false;
    for (;;) {
        struct pollfd wait[3] = {
            {.fd = STDIN_FILENO, .events = POLLIN},
            {.fd = self->line, .events = POLLIN},
            {.fd = self->listener, .events = POLLIN},
        };
        const int patience_ms = busy ? 0 : gs_board_streams(board) ? 1 : -1;
        if (poll(wait, 3, patience_ms) < 0 && errno != EINTR) {
            die("poll", strerror(errno));
        }
        if (wait[0].revents != 0) {
            char ignored[64];
            if (read(STDIN_FILENO, ignored, sizeof ignored) <= 0) {
                return;
            }
        }
        if (wait[2].revents != 0) {
            take_connection(self);
        } else if (wait[1].revents != 0) {
            read_line(self, board);
        }
        busy = gs_board_poll(board);
    }
}

static uint32_t boot_number(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint32_t)((uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u);
}

int main(int count, char **arguments)
{
    static host self = {.line = -1, .held = -1, .listener = -1};
    static gs_board board;
    static _Alignas(8) uint8_t arena[ARENA_BYTES];
    const char *bundle_path = NULL, *camera_path = NULL, *listen_on = NULL;
    for (int i = 1; i + 1 < count; i += 2) {
        if (strcmp(arguments[i], "--bundle") == 0) {
            bundle_path = arguments[i + 1];
        } else if (strcmp(arguments[i], "--camera") == 0) {
            camera_path = arguments[i + 1];
        } else if (strcmp(arguments[i], "--listen") == 0) {
            listen_on = arguments[i + 1];
        } else {
            die(arguments[i], "unknown option");
        }
    }
    if (bundle_path == NULL || count % 2 == 0) {
        die("usage", "gearshift-board --bundle FILE [--camera FILE] [--listen PORT]");
    }
    signal(SIGPIPE, SIG_IGN);
    clock_gettime(CLOCK_MONOTONIC, &self.started);
    uint32_t bundle_bytes, camera_bytes;
    const uint8_t *bundle = read_file(bundle_path, &bundle_bytes);
    if (camera_path != NULL) {
        const uint8_t *content = read_file(camera_path, &camera_bytes);
        if (!gs_camera_file_open(&self.camera, content, camera_bytes)) {
            die(camera_path, "not a file of camera frames");
        }
    }
    const gs_port port = {
        .context = &self,
        .transmit = transmit,
        .time_us = time_us,
        .camera = camera_path == NULL ? NULL : take_camera,
        .boot = boot_number(),
        .credit = CREDIT_BYTES,
        .name = "posix",
    };
    const gs_machine machine = {.arena = arena, .arena_bytes = sizeof arena};
    gs_board_init(&board, &port, &machine, bundle, bundle_bytes);
    if (listen_on == NULL) {
        open_pty(&self);
    } else {
        open_port(&self, listen_on);
    }
    run(&self, &board);
    return 0;
}
