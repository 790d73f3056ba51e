// One call of another ABI: `foreign ia32` by int 0x80, `foreign x32` by the bit in the number. Exits with the
// errno, 0 where the call was made; where the kernel has no such ABI, int 0x80 ends it by SIGSEGV.
#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)
static long call(int ia32)
{
    long r;

    if (ia32)
        __asm__ volatile("int $0x80" : "=a"(r) : "a"(24L) : "memory", "r8", "r9", "r10", "r11"); // getuid16
    else
        __asm__ volatile("syscall" : "=a"(r) : "a"(0x40000000L | 102) : "memory", "rcx", "r11"); // getuid
    return r;
}
#else
static long call(int ia32)
{
    (void)ia32;
    return -38; // arm64 has none that a 64-bit process could enter
}
#endif

int main(int argc, char **argv)
{
    long r = call(argc > 1 && strcmp(argv[1], "ia32") == 0);

    if (r < 0)
        return (int)-r;
    printf("the call was made: %ld\n", r);
    return 0;
}
