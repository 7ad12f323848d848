/* What memory pressure makes of a few pages, as pagemap and kpageflags show it.  Usage: pressure SCENARIO FILLER_MIB.
 * Prints one line of JSON for each look: runs of pages that are alike, as [where, flags, pages]; where is "m" in
 * memory, "s" in swap, "-" neither.  The caller has put it into a memory cgroup with a limit and has swap on. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096UL
#define HUGE (2UL << 20)
/* DIRTY, MMAP, ANON, SWAPCACHE, SWAPBACKED, UNEVICTABLE, THP, MLOCKED */
#define FLAGS (1ULL << 4 | 1ULL << 11 | 1ULL << 12 | 1ULL << 13 | 1ULL << 14 | 1ULL << 18 | 1ULL << 22 | 1ULL << 33)

static uint64_t word(const char *file, uint64_t index)
{
	int fd = open(file, O_RDONLY);
	uint64_t w = 0;

	if (fd < 0 || pread(fd, &w, 8, index * 8) != 8)
		exit(2);
	close(fd);
	return w;
}

static void state(char *at, char *where, uint64_t *flags)
{
	uint64_t w = word("/proc/self/pagemap", (uintptr_t)at / PAGE);

	*where = w >> 63 ? 'm' : w >> 62 & 1 ? 's' : '-';
	*flags = w >> 63 ? word("/proc/kpageflags", w & ((1ULL << 55) - 1)) & FLAGS : 0;
}

static void look(char *at, int pages)
{
	char where, last = 0;
	uint64_t flags, last_flags = 0;
	int run = 0;

	madvise(mmap(0, PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), PAGE, MADV_COLD);	/* drains the batches */
	printf("[");
	for (int i = 0; i <= pages; i++) {
		if (i < pages)
			state(at + i * PAGE, &where, &flags);
		if (i == pages || (run && (where != last || flags != last_flags))) {
			printf("%s[\"%c\", %llu, %d]", i == run ? "" : ", ", last, (unsigned long long)last_flags, run);
			run = 0;
		}
		last = where;
		last_flags = flags;
		run++;
	}
	printf("]\n");
	fflush(stdout);
}

static char *area(unsigned long size, int advice)
{
	char *at = mmap(0, size + HUGE, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	at = (char *)(((uintptr_t)at + HUGE - 1) & ~(HUGE - 1));
	madvise(at, size, advice);
	return at;
}

static void fill(char *at, unsigned long size)
{
	for (unsigned long i = 0; i < size / PAGE; i++)
		at[i * PAGE] = (1 + 2 * i) % 256;
}

static void pressure(unsigned long size)
{
	char *at = area(size, MADV_NOHUGEPAGE);

	sleep(3);		/* the cgroup's counts are brought up to date every two seconds */
	fill(at, size);
}

static void half_locked(unsigned long first, unsigned long filler)
{
	char *at = area(8 * HUGE, MADV_HUGEPAGE);

	fill(at, 8 * HUGE);
	for (int i = 0; i < 8; i++)
		mlock(at + i * HUGE + first, HUGE / 2);
	pressure(filler);
	look(at, 512);
}

int main(int argc, char **argv)
{
	unsigned long filler = strtoul(argv[2], 0, 10) << 20;
	cpu_set_t cpu;
	char *at;

	CPU_ZERO(&cpu);
	CPU_SET(0, &cpu);
	sched_setaffinity(0, sizeof(cpu), &cpu);
	if (!strcmp(argv[1], "upper half locked"))
		half_locked(HUGE / 2, filler);
	else if (!strcmp(argv[1], "lower half locked"))
		half_locked(0, filler);
	else {
		int huge = !strcmp(argv[1], "huge") || !strcmp(argv[1], "partly unmapped");

		at = area(HUGE, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
		fill(at, HUGE);
		if (!strcmp(argv[1], "partly unmapped"))
			munmap(at + HUGE / 2, HUGE / 2);
		pressure(filler);
		look(at, 512);
		if (!strcmp(argv[1], "huge")) {
			volatile char sum = at[0] + at[PAGE];
			at[300 * PAGE] = sum;
			look(at, 512);
		} else if (!strcmp(argv[1], "locked afterwards")) {
			mlock(at, 16 * PAGE);
			look(at, 512);
		} else if (!strcmp(argv[1], "forked afterwards")) {
			int pipes[2];
			char byte;

			if (pipe(pipes))
				return 2;
			if (!fork()) {
				for (int i = 0; i < 16; i++)
					byte = at[i * PAGE];
				byte = 1;
				if (write(pipes[1], &byte, 1) != 1)
					return 2;
				sleep(1);
				_exit(0);
			}
			if (read(pipes[0], &byte, 1) != 1)
				return 2;
			byte = at[0];
			at[PAGE] = 1;
			look(at, 512);
			wait(0);
		}
	}
	return 0;
}
