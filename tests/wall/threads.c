// Threads must work behind the wall: clone3 answers ENOSYS there, and pthread_create must fall back to clone.
#include <pthread.h>
#include <stdint.h>

static void *twice(void *arg)
{
    return (void *)((uintptr_t)arg * 2);
}

int main(void)
{
    pthread_t t[8];
    void *ret;

    for (uintptr_t i = 0; i < 8; i++)
        if (pthread_create(&t[i], 0, twice, (void *)i) != 0)
            return 1;
    for (uintptr_t i = 0; i < 8; i++)
        if (pthread_join(t[i], &ret) != 0 || (uintptr_t)ret != 2 * i)
            return 2;
    return 0;
}
