/* An engine that costs nothing: answers chat completions from memory, one thread, epoll.
 *
 * upstream            listens on a free port of loopback, prints {"port": N}, ends when its standard input ends.
 *
 * POST …/chat/completions  a fixed answer; with "stream": true 64 chunks, usage and [DONE], each written by itself. A request
 *                          whose text holds `delay=MS;` gets its chunks that many milliseconds apart, the first after one.
 * GET …/models, /health, / 200. Anything else: 404. */
#include "wire.h"

#include <signal.h>

#define CHUNKS 64
#define EVENTS (CHUNKS + 2)
#define CONTENT 1440
#ifndef TOGETHER
#define TOGETHER 8
#endif

typedef struct Connection {
    int fd;
    Buffer in, body, out;
    Head head;
    Chunks chunks;
    int next;         /* event of the stream to be sent next; -1: no stream under way */
    uint64_t due, delay;
    size_t place;     /* in the heap, from 1; 0: not waiting */
    bool writable_wanted, dead;
    struct Connection *next_dead;
} Connection;

static int epoll_fd, timer_fd;
static char *answer, *events[EVENTS + 2]; /* where each event of the stream begins; they lie one after the other */
static size_t answer_size;
static const char *stream_head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
                                 "cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";
static Connection **heap, *dead;
static size_t waiting, heap_room;

static char *whole(const char *status, const char *body, size_t *size) {
    char *made = malloc(strlen(body) + 256);
    *size = (size_t)sprintf(made, "HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s", status,
                            strlen(body), body);
    return made;
}

static void set_event(int place, const char *data) {
    char payload[1024];
    size_t size = (size_t)snprintf(payload, sizeof payload, "data: %s\n\n", data);
    if (place == 0) events[0] = malloc((EVENTS + 1) * (sizeof payload + 32));
    events[place + 1] = events[place] + sprintf(events[place], "%zx\r\n%s\r\n", size, payload);
}

static void make_answers(void) {
    static const char *words = "The invoice names a total of 1,280.00 EUR, due within thirty days of its date. ";
    static const char *start = "{\"id\":\"chatcmpl-%s\",\"object\":\"chat.completion%s\",\"created\":1767225600,"
                               "\"model\":\"mock\",\"system_fingerprint\":\"fp_bench\",";
    static const char *id = "7f3a9c5e1b2d4f60";
    char head[256], body[4096], content[CONTENT + 1];
    snprintf(head, sizeof head, start, id, "");
    for (size_t i = 0; i < CONTENT; i++) content[i] = words[i % strlen(words)];
    content[CONTENT] = 0;
    snprintf(body, sizeof body,
             "%s\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"%s\"},\"logprobs\":null,"
             "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":512,\"completion_tokens\":301,\"total_tokens\":813}}",
             head, content);
    answer = whole("200 OK", body, &answer_size);
    snprintf(head, sizeof head, start, id, ".chunk");
    for (int i = 0; i < CHUNKS; i++) {
        snprintf(body, sizeof body, "%s\"choices\":[{\"index\":0,\"delta\":{%s\"content\":\" tok%03d\"},\"finish_reason\":%s}]}",
                 head, i ? "" : "\"role\":\"assistant\",", i, i == CHUNKS - 1 ? "\"stop\"" : "null");
        set_event(i, body);
    }
    snprintf(body, sizeof body,
             "%s\"choices\":[],\"usage\":{\"prompt_tokens\":512,\"completion_tokens\":64,\"total_tokens\":576}}", head);
    set_event(CHUNKS, body);
    set_event(CHUNKS + 1, "[DONE]");
    events[EVENTS + 1] = events[EVENTS] + sprintf(events[EVENTS], "0\r\n\r\n");
}

/* The heap of streams that wait, the one that is due first at 1. */
static void settle(size_t place, Connection *c) {
    while (place > 1 && heap[place / 2]->due > c->due) {
        heap[place] = heap[place / 2];
        heap[place]->place = place;
        place /= 2;
    }
    for (size_t child; (child = 2 * place) <= waiting; place = child) {
        if (child < waiting && heap[child + 1]->due < heap[child]->due) child++;
        if (heap[child]->due >= c->due) break;
        heap[place] = heap[child];
        heap[place]->place = place;
    }
    heap[place] = c;
    c->place = place;
}

static void wait_until_due(Connection *c) {
    if (waiting + 2 > heap_room) {
        heap_room = heap_room ? 2 * heap_room : 1024;
        heap = realloc(heap, heap_room * sizeof *heap);
    }
    waiting++;
    settle(waiting, c);
}

static void wait_no_more(Connection *c) {
    if (c->place == 0) return;
    size_t place = c->place;
    c->place = 0;
    Connection *moved = heap[waiting--];
    if (moved != c) settle(place, moved);
}

static void drop(Connection *c) {
    if (c->dead) return;
    wait_no_more(c);
    close(c->fd);
    c->dead = true;
    c->next_dead = dead; /* freed after this round of events: another of them may still name it */
    dead = c;
}

static void want_writable(Connection *c, bool wanted) {
    if (c->writable_wanted == wanted) return;
    c->writable_wanted = wanted;
    watch(epoll_fd, c->fd, EPOLLIN | (wanted ? EPOLLOUT : 0), c, EPOLL_CTL_MOD);
}

/* Send what is left; bytes that do not fit wait in `out`. */
static void put(Connection *c, const char *bytes, size_t size) {
    if (c->out.end > c->out.start) {
        append(&c->out, bytes, size);
        return;
    }
    ssize_t sent = send(c->fd, bytes, size, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        drop(c);
        return;
    }
    if (sent < 0) sent = 0;
    if ((size_t)sent < size) {
        append(&c->out, bytes + sent, size - (size_t)sent);
        want_writable(c, true);
    }
}

/* Send what is due of the stream. Without a delay some chunks share a write: a write for each would take more of this
 * core than a good gateway takes of its own, and the benchmark would measure itself. */
static void go_on(Connection *c) {
    while (!c->dead && c->next >= 0) {
        if (c->out.end > c->out.start) return; /* the reader is slow: EPOLLOUT brings us back */
        if (c->delay > 0 && c->next < CHUNKS && c->due > now_ns()) {
            wait_until_due(c);
            return;
        }
        int together = c->delay > 0 && c->next < CHUNKS ? 1 : TOGETHER, after = c->next + together;
        if (after > EVENTS + 1) after = EVENTS + 1;
        put(c, events[c->next], (size_t)(events[after] - events[c->next]));
        c->due += c->delay;
        c->next = after > EVENTS ? -1 : after;
    }
}

static void reply(Connection *c, const char *path, const char *body, size_t size) {
    static const char *models = "{\"object\":\"list\",\"data\":[{\"id\":\"mock\",\"object\":\"model\",\"created\":1767225600,"
                                "\"owned_by\":\"bench\",\"max_model_len\":32768}]}";
    size_t length = strcspn(path, " ?\r");
    char *made = NULL;
    size_t made_size = 0;
    if (length >= 17 && memcmp(path + length - 17, "/chat/completions", 17) == 0) {
        const char *stream = memmem(body, size, "\"stream\":", 9);
        if (stream != NULL && (stream[9] == 't' || (stream[9] == ' ' && stream[10] == 't'))) {
            const char *delay = memmem(body, size, "delay=", 6);
            c->delay = delay == NULL ? 0 : strtoul(delay + 6, NULL, 10) * MS;
            c->due = now_ns() + c->delay;
            c->next = 0;
            put(c, stream_head, strlen(stream_head));
            go_on(c);
            return;
        }
        put(c, answer, answer_size);
        return;
    }
    if (length >= 7 && memcmp(path + length - 7, "/models", 7) == 0) made = whole("200 OK", models, &made_size);
    else if (length == 1 || (length >= 7 && memcmp(path + length - 7, "/health", 7) == 0))
        made = whole("200 OK", "{\"status\":\"ok\"}", &made_size);
    else made = whole("404 Not Found", "{\"error\":{\"message\":\"no such path\"}}", &made_size);
    put(c, made, made_size);
    free(made);
}

/* Answer every whole request that has arrived; one at a time, as HTTP/1.1 wants it. */
static void take(Connection *c) {
    while (!c->dead && c->next < 0) {
        char *text = c->in.bytes + c->in.start;
        size_t length = c->in.end - c->in.start;
        if (c->head.size == 0) {
            c->head = read_head(text, length);
            if (c->head.size == 0) return;
            c->body.start = c->body.end = 0;
            c->chunks = (Chunks){0};
        }
        const char *path = memchr(text, ' ', c->head.size);
        if (path == NULL) return drop(c);
        if (c->head.chunked) {
            /* The head stays in front of the body until the whole request is here, so a copy of the rest is read. */
            Buffer rest = {.bytes = text, .start = c->head.size, .end = length, .room = length};
            c->body.start = c->body.end = 0;
            c->chunks = (Chunks){0};
            int done = dechunk(&c->chunks, &rest, &c->body);
            if (done < 0) return drop(c);
            if (done == 0) return;
            append(&c->body, "", 1);
            c->in.start += rest.start;
            c->head.size = 0;
            reply(c, path + 1, c->body.bytes, c->body.end - 1);
        } else {
            size_t whole_size = c->head.size + c->head.body;
            if (length < whole_size) return;
            const char *body = text + c->head.size;
            size_t size = c->head.body;
            c->in.start += whole_size;
            c->head.size = 0;
            reply(c, path + 1, body, size);
        }
        if (c->in.start == c->in.end) {
            c->in.start = c->in.end = 0;
            return;
        }
    }
}

static void receive(Connection *c) {
    for (;;) {
        reserve(&c->in, 16384);
        ssize_t got = recv(c->fd, c->in.bytes + c->in.end, c->in.room - c->in.end - 1, 0);
        if (got == 0 || (got < 0 && errno != EAGAIN)) return drop(c);
        if (got < 0) return;
        c->in.end += (size_t)got;
        c->in.bytes[c->in.end] = 0; /* a text that strtoul cannot run past */
        take(c);
        if (c->dead || (size_t)got < 16383) return;
    }
}

static void flush_out(Connection *c) {
    ssize_t sent = send(c->fd, c->out.bytes + c->out.start, c->out.end - c->out.start, MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN) drop(c);
        return;
    }
    c->out.start += (size_t)sent;
    if (c->out.start < c->out.end) return;
    c->out.start = c->out.end = 0;
    want_writable(c, false);
    go_on(c);
    if (!c->dead) take(c);
}

static void welcome(int listener) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        no_delay(fd);
        Connection *c = calloc(1, sizeof *c);
        c->fd = fd;
        c->next = -1;
        watch(epoll_fd, fd, EPOLLIN, c, EPOLL_CTL_ADD);
    }
}

static void run_due(void) {
    uint64_t now = now_ns();
    while (waiting > 0 && heap[1]->due <= now) {
        Connection *c = heap[1];
        wait_no_more(c);
        go_on(c);
        if (!c->dead && c->next < 0) take(c);
    }
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    make_answers();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, size) < 0 || listen(listener, 4096) < 0) fail("listen");
    getsockname(listener, (struct sockaddr *)&address, &size);
    static int listening, ticking, asking;
    watch(epoll_fd, listener, EPOLLIN, &listening, EPOLL_CTL_ADD);
    watch(epoll_fd, timer_fd, EPOLLIN, &ticking, EPOLL_CTL_ADD);
    watch(epoll_fd, 0, EPOLLIN | EPOLLRDHUP, &asking, EPOLL_CTL_ADD);
    printf("{\"port\": %d}\n", ntohs(address.sin_port));
    fflush(stdout);
    struct epoll_event ready[512];
    for (uint64_t armed = 0;;) {
        uint64_t due = waiting > 0 ? heap[1]->due : 0;
        if (due != armed) set_timer(timer_fd, armed = due);
        int count = epoll_wait(epoll_fd, ready, 512, -1);
        for (int i = 0; i < count; i++) {
            void *whose = ready[i].data.ptr;
            char byte[64];
            if (whose == &listening) welcome(listener);
            else if (whose == &asking) {
                if (read(0, byte, sizeof byte) <= 0) return 0;
            } else if (whose == &ticking) {
                if (read(timer_fd, byte, 8) < 0 && errno != EAGAIN) fail("timer");
                armed = 0;
            } else {
                Connection *c = whose;
                if (!c->dead && (ready[i].events & EPOLLOUT)) flush_out(c);
                if (!c->dead && (ready[i].events & ~(uint32_t)EPOLLOUT)) receive(c);
            }
        }
        run_due();
        while (dead != NULL) {
            Connection *c = dead;
            dead = c->next_dead;
            free(c->in.bytes), free(c->body.bytes), free(c->out.bytes), free(c);
        }
    }
}
