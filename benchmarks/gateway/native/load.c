/* Load on one gateway: one thread, epoll, kept-alive connections; every answer is checked.
 *
 * load mode=closed|open|streams port=N path=/… body=FILE expect=TEXT connections=N warm=MS run=MS drain=MS
 *      [rate=N] [header=NAME: VALUE]…
 *
 * closed   each connection asks again as soon as it is answered.
 * open     `rate` requests a second whatever happens; latency counts from when a request should have gone out.
 * streams  each connection begins a stream as soon as its last one ended.
 *
 * Counts what ends within `run` after `warm` (gaps: to the end); begins nothing afterwards, and waits up to `drain` for
 * what is under way. Prints one JSON object. Ends with 1 and a line on standard error if it cannot connect. */
#include "wire.h"

#define CHUNKS 64
#define UNIT_NS 100 /* of a kept duration */

typedef struct {
    uint32_t *values;
    size_t count, room;
} Durations;

typedef struct {
    int fd;
    Buffer in, body;
    Head head;
    Chunks chunks;
    bool busy, done, first_seen;
    int served, token;     /* requests on this connection; next piece of the stream that is expected */
    uint64_t intended, last_at;
} Connection;

static enum { CLOSED, OPEN, STREAMS } mode;
static const char *path = "/", *expect = "", *body_file;
static int port, connection_count = 1, rate;
static uint64_t warm, run, drain = 5 * SECOND, from, until, deadline;
static Buffer headers, request;
static Connection *connections, **idle;
static int idle_count, busy_count, epoll_fd, timer_fd;
static uint64_t *pending; /* when requests should have gone out that found no free connection; a ring */
static size_t pending_first, pending_count, pending_room;
static Durations latencies, firsts, gaps;
static struct {
    uint64_t in_window, total, status, broken, content, unfinished, retried, chunks, all_chunks, lost, streams, usage;
} seen;
static char first_error[400];

static void keep(Durations *d, uint64_t ns) {
    if (d->count == d->room) {
        if (d->room >= (size_t)1 << 25) return;
        d->room = d->room ? 2 * d->room : 65536;
        d->values = realloc(d->values, d->room * sizeof *d->values);
        if (d->values == NULL) fail("realloc");
    }
    uint64_t units = ns / UNIT_NS;
    d->values[d->count++] = units > UINT32_MAX ? UINT32_MAX : (uint32_t)units;
}

static int by_size(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void print_durations(const char *name, Durations *d) {
    static const int shares[] = {500, 900, 990, 1000};
    static const char *names[] = {"p50", "p90", "p99", "max"};
    qsort(d->values, d->count, sizeof *d->values, by_size);
    printf("\"%s\": {\"count\": %zu", name, d->count);
    for (int i = 0; i < 4 && d->count > 0; i++) {
        size_t place = (d->count * (size_t)shares[i] + 999) / 1000; /* nearest rank */
        printf(", \"%s\": %.4f", names[i], d->values[place ? place - 1 : 0] * (double)UNIT_NS / MS);
    }
    printf("}");
}

static void note(const char *what, const char *text, size_t size) {
    if (first_error[0] != 0) return;
    size_t place = (size_t)snprintf(first_error, 40, "%s: ", what);
    for (size_t i = 0; i < size && place < sizeof first_error - 1; i++) {
        char c = text[i];
        first_error[place++] = c == '"' ? '\'' : (c < 32 || c > 126 || c == '\\') ? ' ' : c;
    }
    first_error[place] = 0;
}

static void join(Connection *c) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval most = {.tv_sec = 5};
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most); /* bounds connect, too */
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0) fail("connect");
    no_delay(c->fd);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    c->in.start = c->in.end = 0;
    c->served = 0;
    watch(epoll_fd, c->fd, EPOLLIN, c, EPOLL_CTL_ADD);
}

static void rejoin(Connection *c) {
    close(c->fd);
    join(c);
}

static void begin(Connection *c, uint64_t intended) {
    c->head = (Head){0};
    c->chunks = (Chunks){0};
    c->body.start = c->body.end = 0;
    c->done = c->first_seen = false;
    c->token = 0;
    c->intended = intended;
    if (!c->busy) busy_count++;
    c->busy = true;
    /* One request is under way on a connection and fits the socket's buffer: a short write means a broken one. */
    ssize_t sent = send(c->fd, request.bytes, request.end, MSG_NOSIGNAL);
    if (sent != (ssize_t)request.end) shutdown(c->fd, SHUT_RDWR);
}

/* Free the connection and, unless the time is up, put it to work again. */
static void release(Connection *c, uint64_t now) {
    c->busy = false;
    busy_count--;
    if (mode == OPEN) {
        if (pending_count > 0) {
            uint64_t intended = pending[pending_first];
            pending_first = (pending_first + 1) % pending_room;
            pending_count--;
            begin(c, intended);
        } else idle[idle_count++] = c;
    } else if (now < until) begin(c, now);
}

static void lose(Connection *c) {
    if (mode == STREAMS && c->head.status / 100 == 2) seen.lost += (uint64_t)(CHUNKS - c->token);
}

static void break_off(Connection *c, uint64_t now) {
    bool stale = c->in.start == c->in.end && c->head.size == 0 && c->served > 0;
    uint64_t intended = c->intended;
    if (!stale) {
        seen.broken++;
        note("broken", c->in.bytes + c->in.start, c->in.end - c->in.start);
        lose(c);
    }
    rejoin(c);
    if (stale) { /* closed while it was kept: any client asks again */
        seen.retried++;
        begin(c, intended);
    } else release(c, now);
}

/* Read what is whole of the stream's lines. False: it is not what was asked for. */
static bool read_events(Connection *c, uint64_t now) {
    bool fine = true;
    for (;;) {
        char *line = c->body.bytes + c->body.start;
        char *end = memchr(line, '\n', c->body.end - c->body.start);
        if (end == NULL) return fine;
        size_t size = (size_t)(end - line);
        c->body.start += size + 1;
        if (size < 6 || memcmp(line, "data:", 5) != 0) continue;
        for (char *at = line; (at = memmem(at, (size_t)(end - at), "tok", 3)) != NULL; at += 3) {
            if (at + 6 > end || at[3] < '0' || at[3] > '9') continue; /* such as `prompt_tokens` */
            fine &= atoi(at + 3) == c->token++;
            seen.all_chunks++;
            seen.chunks += now >= from && now < until;
            if (c->first_seen && now >= from) keep(&gaps, now - c->last_at);
            if (!c->first_seen) keep(&firsts, now - c->intended);
            c->first_seen = true;
            c->last_at = now;
        }
        if (memmem(line, size, "[DONE]", 6) != NULL) c->done = true;
        else if (memmem(line, size, "\"usage\":{", 9) != NULL || memmem(line, size, "\"usage\": {", 10) != NULL) seen.usage++;
    }
}

static void finish(Connection *c, uint64_t now) {
    bool good = c->head.status / 100 == 2;
    size_t size = c->body.end - c->body.start;
    if (!good) seen.status++, note("status", c->body.bytes, c->body.end);
    else if (mode == STREAMS) {
        good = c->done && c->token == CHUNKS;
        if (!good) seen.broken++, note("stream ended early", c->body.bytes, c->body.end);
        lose(c);
    } else {
        good = memmem(c->body.bytes + c->body.start, size, expect, strlen(expect)) != NULL;
        if (!good) seen.content++, note("content", c->body.bytes, c->body.end);
    }
    seen.total++;
    seen.streams += mode == STREAMS;
    uint64_t counted = mode == OPEN ? c->intended : now;
    if (good && counted >= from && counted < until) {
        seen.in_window++;
        keep(&latencies, now - c->intended);
    }
    c->served++;
    if (c->head.close) rejoin(c);
    release(c, now);
}

/* Read what has arrived of the answer. 1: whole, 0: not yet, -1: nonsense. */
static int read_answer(Connection *c, uint64_t now) {
    if (c->head.size == 0) {
        c->head = read_head(c->in.bytes + c->in.start, c->in.end - c->in.start);
        if (c->head.size == 0) return c->in.end - c->in.start > 65536 ? -1 : 0;
        c->in.start += c->head.size;
    }
    int done;
    if (c->head.chunked) done = dechunk(&c->chunks, &c->in, &c->body);
    else {
        size_t here = c->in.end - c->in.start, left = c->head.body - (c->body.end - c->body.start);
        size_t size = here < left ? here : left;
        append(&c->body, c->in.bytes + c->in.start, size);
        c->in.start += size;
        done = size == left;
    }
    if (c->in.start == c->in.end) c->in.start = c->in.end = 0;
    if (mode == STREAMS && c->head.status / 100 == 2 && !read_events(c, now)) {
        seen.content++;
        note("order", c->body.bytes, c->body.end);
    }
    return done;
}

static void receive(Connection *c) {
    reserve(&c->in, 65536);
    ssize_t got = recv(c->fd, c->in.bytes + c->in.end, c->in.room - c->in.end - 1, 0);
    uint64_t now = now_ns();
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        if (c->busy) break_off(c, now);
        else rejoin(c);
        return;
    }
    c->in.end += (size_t)got;
    c->in.bytes[c->in.end] = 0;
    if (!c->busy) return rejoin(c); /* an answer nobody asked for */
    int done = read_answer(c, now);
    if (done < 0) break_off(c, now);
    else if (done > 0) finish(c, now);
}

/* Send what is due of the open load; gives when the next is. */
static uint64_t send_due(uint64_t next, uint64_t step, uint64_t now) {
    for (; next <= now && next < until; next += step) {
        if (idle_count > 0) {
            begin(idle[--idle_count], next);
            continue;
        }
        pending[(pending_first + pending_count++) % pending_room] = next; /* room for all there can be */
    }
    return next;
}

static void work(void) {
    uint64_t start = now_ns(), step = rate > 0 ? SECOND / (uint64_t)rate : 0, next = start, armed = 0;
    static int ticking;
    from = start + warm, until = from + run, deadline = until + drain;
    if (mode == OPEN) {
        pending_room = (size_t)((until - start) / step) + 2;
        pending = malloc(pending_room * sizeof *pending);
        watch(epoll_fd, timer_fd, EPOLLIN, &ticking, EPOLL_CTL_ADD);
        for (int i = connection_count; i-- > 0;) idle[idle_count++] = &connections[i];
    } else
        for (int i = 0; i < connection_count; i++) begin(&connections[i], now_ns());
    struct epoll_event ready[512];
    for (;;) {
        uint64_t now = now_ns();
        if (mode == OPEN) {
            next = send_due(next, step, now);
            if (next != armed && next < until) set_timer(timer_fd, armed = next);
        }
        if (now >= deadline || (now >= until && busy_count == 0 && pending_count == 0)) break;
        uint64_t stop = now < until ? until : deadline;
        int count = epoll_wait(epoll_fd, ready, 512, (int)((stop - now) / MS) + 1);
        for (int i = 0; i < count; i++) {
            if (ready[i].data.ptr == &ticking) {
                uint64_t times;
                if (read(timer_fd, &times, sizeof times) < 0 && errno != EAGAIN) fail("timer");
            } else receive(ready[i].data.ptr);
        }
    }
    seen.unfinished = (uint64_t)busy_count + pending_count;
}

static void read_arguments(int count, char **arguments) {
    for (int i = 1; i < count; i++) {
        char *value = strchr(arguments[i], '=');
        if (value == NULL) fprintf(stderr, "%s: write NAME=VALUE\n", arguments[i]), exit(2);
        *value++ = 0;
        const char *name = arguments[i];
        if (!strcmp(name, "mode")) mode = value[0] == 'o' ? OPEN : value[0] == 's' ? STREAMS : CLOSED;
        else if (!strcmp(name, "port")) port = atoi(value);
        else if (!strcmp(name, "path")) path = value;
        else if (!strcmp(name, "body")) body_file = value;
        else if (!strcmp(name, "expect")) expect = value;
        else if (!strcmp(name, "connections")) connection_count = atoi(value);
        else if (!strcmp(name, "rate")) rate = atoi(value);
        else if (!strcmp(name, "warm")) warm = strtoul(value, NULL, 10) * MS;
        else if (!strcmp(name, "run")) run = strtoul(value, NULL, 10) * MS;
        else if (!strcmp(name, "drain")) drain = strtoul(value, NULL, 10) * MS;
        else if (!strcmp(name, "header")) append(&headers, value, strlen(value)), append(&headers, "\r\n", 2);
        else fprintf(stderr, "no option %s\n", name), exit(2);
    }
    if (body_file == NULL || port == 0 || connection_count < 1 || (mode == OPEN && rate < 1))
        fprintf(stderr, "port=, body=, connections= and with mode=open rate= are needed\n"), exit(2);
}

static void make_request(void) {
    FILE *file = fopen(body_file, "rb");
    if (file == NULL) fail(body_file);
    static char body[1 << 20];
    char head[1024];
    size_t size = fread(body, 1, sizeof body, file);
    fclose(file);
    int length = snprintf(head, sizeof head,
                          "POST %s HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nuser-agent: bench\r\naccept: */*\r\n"
                          "content-type: application/json\r\ncontent-length: %zu\r\n",
                          path, port, size);
    append(&request, head, (size_t)length);
    append(&request, headers.bytes, headers.end);
    append(&request, "\r\n", 2);
    append(&request, body, size);
}

int main(int count, char **arguments) {
    read_arguments(count, arguments);
    append(&headers, "", 0);
    make_request();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    connections = calloc((size_t)connection_count, sizeof *connections);
    idle = calloc((size_t)connection_count, sizeof *idle);
    for (int i = 0; i < connection_count; i++) join(&connections[i]);
    work();
    printf("{\"seconds\": %.3f, \"requests\": %lu, \"total\": %lu, \"requests_per_s\": %.1f, ", (double)run / SECOND,
           seen.in_window, seen.total, (double)seen.in_window * SECOND / (double)run);
    printf("\"errors\": {\"status\": %lu, \"broken\": %lu, \"content\": %lu, \"unfinished\": %lu}, \"retried\": %lu, ",
           seen.status, seen.broken, seen.content, seen.unfinished, seen.retried);
    printf("\"streams\": %lu, \"chunks\": %lu, \"all_chunks\": %lu, \"lost_chunks\": %lu, \"with_usage\": %lu, ",
           seen.streams, seen.chunks, seen.all_chunks, seen.lost, seen.usage);
    print_durations("latency_ms", &latencies);
    printf(", ");
    print_durations("first_chunk_ms", &firsts);
    printf(", ");
    print_durations("gap_ms", &gaps);
    printf(", \"first_error\": \"%s\"}\n", first_error);
    return 0;
}
