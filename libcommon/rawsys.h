// System calls without libc, for a child that shares its parent's memory: libc's wrappers would write the
// parent's errno. Results are as the kernel gives them: >= 0, or -errno.
#pragma once
#include <sys/syscall.h>

#if defined(__x86_64__)
__attribute__((always_inline)) static inline long raw6(long nr, long a, long b, long c, long d, long e,
                                                       long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long ret;

    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return ret;
}
#elif defined(__aarch64__)
__attribute__((always_inline)) static inline long raw6(long nr, long a, long b, long c, long d, long e,
                                                       long f)
{
    register long x8 __asm__("x8") = nr;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;

    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
}
#else
#error "ductile knows x86-64 and arm64: the seccomp filter and the raw calls are written for these"
#endif

#define RAW0(nr)                raw6(nr, 0, 0, 0, 0, 0, 0)
#define RAW1(nr, a)             raw6(nr, (long)(a), 0, 0, 0, 0, 0)
#define RAW2(nr, a, b)          raw6(nr, (long)(a), (long)(b), 0, 0, 0, 0)
#define RAW3(nr, a, b, c)       raw6(nr, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define RAW4(nr, a, b, c, d)    raw6(nr, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define RAW5(nr, a, b, c, d, e) raw6(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)
