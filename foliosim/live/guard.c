/*
 * Keeps what must outlive the driver: the settings that were found.
 *
 * Lines on standard input:   "= PATH VALUE"   remember: PATH held VALUE
 *                            "h"              map the huge zero page, so that it exists, and answer with one byte
 * At the end of the input, however the driver ended, every remembered value is written back.  The lock that the driver
 * took is inherited and falls when this program ends.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE (2UL << 20)
#define MADV_HUGE 14

static char lines[1 << 16];
static size_t used;

/* Also puts this process on khugepaged's list, which then does not become empty and filled again in a scenario. */
static void hold_huge_zero_page(void)
{
    static char *area;
    volatile char *at;
    char seen;

    if (!area)
        area = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (area != MAP_FAILED) {
        at = (char *)(((uintptr_t)area + HUGE - 1) & ~(HUGE - 1));
        madvise((void *)at, HUGE, MADV_HUGE);
        seen = *at;
        (void)seen;
    }
    if (write(1, "h", 1) != 1)
        _exit(1);
}

static void write_back(void)
{
    char *line = lines, *end, *value;
    int fd;

    while ((end = memchr(line, '\n', lines + used - line))) {
        *end = 0;
        value = strchr(line, ' ');
        if (value) {
            *value++ = 0;
            fd = open(line, O_WRONLY | O_CLOEXEC);
            if (fd < 0 || write(fd, value, strlen(value)) < 0)
                perror(line);
            if (fd >= 0)
                close(fd);
        }
        line = end + 1;
    }
}

int main(void)
{
    char line[512];
    size_t length;

    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    while (fgets(line, sizeof(line), stdin)) {
        length = strlen(line);
        if (line[0] == 'h')
            hold_huge_zero_page();
        else if (line[0] == '=' && used + length < sizeof(lines)) {
            memcpy(lines + used, line + 2, length - 2);
            used += length - 2;
        }
    }
    write_back();
    return 0;
}
