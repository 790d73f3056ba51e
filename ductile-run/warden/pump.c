// The request into the plugin's stdin: first the secrets, from the arena, then the body that the bus handed
// over, unparsed. The bus never holds an end of this pipe: a passed end can be opened again for reading. The
// pipe never blocks. A plugin that closes its stdin does not want the request: it runs on, and the record
// says that the delivery was not made.
#include "log.h"
#include "warden.h"
#include <string.h>

void pump_end(struct slot *s)
{
    fd_closep(&s->stdin_fd);
    secret_wipe(&s->delivery.json);
    fd_closep(&s->body_fd);
}

// The next piece: of the head while that lasts, then of the body. 0 at the end.
static ssize_t next_piece(struct slot *s, char *chunk, size_t size, const void **ret)
{
    if (s->pumped < s->delivery.json.len) {
        *ret = s->delivery.json.data + s->pumped;
        return (ssize_t)(s->delivery.json.len - s->pumped);
    }
    *ret = chunk;
    return pread(s->body_fd, chunk, size, (off_t)(s->pumped - s->delivery.json.len));
}

void pump(struct slot *s)
{
    char chunk[65536];

    while (s->stdin_fd >= 0) {
        const void *piece;
        ssize_t n = next_piece(s, chunk, sizeof(chunk), &piece);
        if (n <= 0) {
            pump_end(s);
            return;
        }
        n = write(s->stdin_fd, piece, (size_t)n);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n < 0) { // EPIPE: it closed its stdin
            s->gave_up = true;
            pump_end(s);
            return;
        }
        s->pumped += (size_t)n;
    }
}
