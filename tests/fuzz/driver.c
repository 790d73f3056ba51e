// fuzz TARGET: RUNS inputs, each a seed, or one of the last, mutated. A child runs them, so that an abort is
// reported with its input.   TARGET [RUNS [SEED]] | TARGET -x HEX (one input) | TARGET -w DIR (the seeds as
// files)
#include "fuzz.h"
#include <sys/wait.h>

static uint64_t state;

static uint32_t chance(uint32_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)((state >> 11) % below);
}

enum { INPUT_MAX = 256 };
static struct {
    uint8_t data[INPUT_MAX];
    size_t size;
} * now; // shared: the parent reads what killed the child

static void mutate(void)
{
    const struct seed *s = &seeds[chance((uint32_t)n_seeds)];

    now->size = MIN(s->size, (size_t)INPUT_MAX);
    memcpy(now->data, s->data, now->size);
    for (uint32_t n = chance(6); n > 0; n--) {
        size_t at = now->size ? chance((uint32_t)now->size) : 0;
        switch (chance(5)) {
        case 0: now->data[at] = (uint8_t)chance(256); break;
        case 1: now->data[at] ^= (uint8_t)(1u << chance(8)); break;
        case 2: // a few bytes in between
            if (now->size + 4 <= INPUT_MAX) {
                memmove(now->data + at + 4, now->data + at, now->size - at);
                for (int i = 0; i < 4; i++)
                    now->data[at + (size_t)i] = (uint8_t)chance(i == 0 ? 16 : 256);
                now->size += 4;
            }
            break;
        case 3: now->size = at; break;
        case 4: // another one behind it
            s = &seeds[chance((uint32_t)n_seeds)];
            if (now->size + s->size <= INPUT_MAX) {
                memcpy(now->data + now->size, s->data, s->size);
                now->size += s->size;
            }
            break;
        }
    }
}

static int run_all(unsigned long runs)
{
    for (size_t i = 0; i < n_seeds; i++) {
        now->size = MIN(seeds[i].size, (size_t)INPUT_MAX);
        memcpy(now->data, seeds[i].data, now->size);
        LLVMFuzzerTestOneInput(now->data, now->size);
    }
    for (unsigned long i = 0; i < runs; i++) {
        mutate();
        LLVMFuzzerTestOneInput(now->data, now->size);
    }
    return 0;
}

static int one(const char *hex)
{
    for (now->size = 0; hex[0] && hex[1] && now->size < INPUT_MAX; hex += 2) {
        const char pair[3] = {hex[0], hex[1], '\0'};
        now->data[now->size++] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return LLVMFuzzerTestOneInput(now->data, now->size);
}

static int write_seeds(const char *dir)
{
    for (size_t i = 0; i < n_seeds; i++) {
        char path[512];
        snprintf(path, sizeof(path), "%s/%s", dir, seeds[i].name);
        OWNED(fd_closep) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (fd < 0 || fd_write_all(fd, seeds[i].data, seeds[i].size) < 0)
            return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    const unsigned long runs = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000;
    int status = 0;

    state = argc > 2 ? strtoull(argv[2], NULL, 10) : UINT64_C(0x9e3779b97f4a7c15);
    now = mmap(NULL, sizeof(*now), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (now == MAP_FAILED)
        return 2;
    if (argc > 2 && str_eq(argv[1], "-x"))
        return one(argv[2]);
    if (argc > 2 && str_eq(argv[1], "-w"))
        return write_seeds(argv[2]);
    pid_t pid = fork();
    if (pid == 0)
        return run_all(runs);
    waitpid(pid, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    printf("found: ");
    for (size_t i = 0; i < now->size; i++)
        printf("%02x", now->data[i]);
    printf("\n");
    return 1;
}
