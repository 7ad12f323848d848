/* Preloaded: the n-th time that an extension of foliosim asks the host for memory it gets none.  What others ask for
 * is neither counted nor refused. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);

static struct { unsigned long start, end; } text[256];
static int nr_texts;
static long calls, fails_at;    /* 0: none */

void failing_arm(long nth)
{
    char line[512], path[256];
    FILE *maps = fopen("/proc/self/maps", "r");
    nr_texts = 0;
    while (maps && nr_texts < 256 && fgets(line, sizeof(line), maps))
        if (sscanf(line, "%lx-%lx r-xp %*s %*s %*s %255s", &text[nr_texts].start, &text[nr_texts].end, path) == 3 &&
            strstr(path, "/foliosim/_core"))
            nr_texts++;
    if (maps)
        fclose(maps);
    calls = 0;
    fails_at = nth;
}

long failing_disarm(void)
{
    fails_at = 0;
    return calls;
}

static int refused(void *caller)
{
    int i;
    if (!fails_at)
        return 0;
    for (i = 0; i < nr_texts; i++)
        if ((unsigned long)caller >= text[i].start && (unsigned long)caller < text[i].end) {
            if (++calls != fails_at)
                return 0;
            errno = ENOMEM;
            return 1;
        }
    return 0;
}

void *malloc(size_t size)
{
    return refused(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    return refused(__builtin_return_address(0)) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *at, size_t size)
{
    return refused(__builtin_return_address(0)) ? NULL : __libc_realloc(at, size);
}

void *mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset)
{
    static void *(*next)(void *, size_t, int, int, int, off_t);
    if (refused(__builtin_return_address(0)))
        return MAP_FAILED;
    if (!next)
        next = dlsym(RTLD_NEXT, "mmap");
    return next(at, size, prot, flags, fd, offset);
}
