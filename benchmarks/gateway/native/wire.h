/* What the load generator and the upstream share: time, buffers, the reading of HTTP/1.1 messages.
 *
 * Just enough for a benchmark on loopback between known parties; nothing here is fit for a network. */
#ifndef WIRE_H
#define WIRE_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define MS 1000000ull
#define SECOND 1000000000ull

typedef struct {
    char *bytes;
    size_t start, end, room;
} Buffer;

static inline void fail(const char *what) {
    perror(what);
    exit(1);
}

static inline uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

/* Make room for `more` bytes after `end`. Moves what is left to the front first. */
static inline void reserve(Buffer *b, size_t more) {
    if (b->room - b->end >= more) return;
    if (b->start > 0) {
        memmove(b->bytes, b->bytes + b->start, b->end - b->start);
        b->end -= b->start;
        b->start = 0;
    }
    if (b->room - b->end >= more) return;
    while (b->room - b->end < more) b->room = b->room ? 2 * b->room : 4096;
    b->bytes = realloc(b->bytes, b->room);
    if (b->bytes == NULL) fail("realloc");
}

static inline void append(Buffer *b, const char *bytes, size_t count) {
    reserve(b, count);
    memcpy(b->bytes + b->end, bytes, count);
    b->end += count;
}

static inline void no_delay(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* Wake `timer` at `at` (CLOCK_MONOTONIC, ns); 0 stops it. */
static inline void set_timer(int timer, uint64_t at) {
    struct itimerspec when = {.it_value = {.tv_sec = (time_t)(at / SECOND), .tv_nsec = (long)(at % SECOND)}};
    if (timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL) < 0) fail("timerfd_settime");
}

static inline void watch(int epoll, int fd, uint32_t events, void *whose, int op) {
    struct epoll_event event = {.events = events, .data.ptr = whose};
    if (epoll_ctl(epoll, op, fd, &event) < 0) fail("epoll_ctl");
}

/* The head of one message, read from `length` bytes at `text`. */
typedef struct {
    size_t size;      /* of the head, the empty line included; 0: not all of it is here */
    int status;       /* of an answer; 0: a request */
    size_t body;      /* Content-Length, 0 without one */
    bool chunked, close;
} Head;

static inline Head read_head(const char *text, size_t length) {
    Head head = {0};
    const char *end = memmem(text, length, "\r\n\r\n", 4);
    if (end == NULL) return head;
    head.size = (size_t)(end - text) + 4;
    if (length > 12 && memcmp(text, "HTTP/1.", 7) == 0) head.status = atoi(text + 9);
    const char *line = memmem(text, head.size, "\r\n", 2);
    while (line != NULL && line < end) {
        line += 2;
        if (strncasecmp(line, "content-length:", 15) == 0) head.body = strtoul(line + 15, NULL, 10);
        else if (strncasecmp(line, "transfer-encoding:", 18) == 0) head.chunked = true;
        else if (strncasecmp(line, "connection:", 11) == 0) {
            const char *value = line + 11;
            while (*value == ' ') value++;
            head.close = strncasecmp(value, "close", 5) == 0;
        }
        line = memmem(line, (size_t)(end + 2 - line), "\r\n", 2);
    }
    return head;
}

/* Where a reader of a chunked body stands. */
typedef struct {
    size_t left;      /* of the chunk under way, its line end included */
    bool last;        /* the chunk of size zero was read; trailers follow */
} Chunks;

/* Move what is whole from `in` to `out`, without the frames. Returns 1 at the end of the body, 0 before, -1 on nonsense. */
static inline int dechunk(Chunks *c, Buffer *in, Buffer *out) {
    for (;;) {
        char *text = in->bytes + in->start;
        size_t length = in->end - in->start;
        if (c->left > 0) {
            if (length == 0) return 0;
            size_t take = length < c->left ? length : c->left;
            size_t data = c->left > 2 ? c->left - 2 : 0;
            if (data > take) data = take;
            append(out, text, data);
            c->left -= take;
            in->start += take;
            continue;
        }
        char *end = memmem(text, length, "\r\n", 2);
        if (end == NULL) return length > 4096 ? -1 : 0;
        in->start += (size_t)(end - text) + 2;
        if (c->last) {
            if (end == text) {
                c->last = false;
                return 1;
            }
            continue;
        }
        char *stop;
        size_t size = strtoul(text, &stop, 16);
        if (stop == text) return -1;
        if (size == 0) c->last = true;
        else c->left = size + 2;
    }
}

#endif
