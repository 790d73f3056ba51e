// Installed setuid root by a test: 0 where that made it root.
#include <unistd.h>

int main(void)
{
    return geteuid() == 0 ? 0 : 13;
}
