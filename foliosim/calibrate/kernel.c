/*
 * The machine's own kernel doing what is to be timed.  kernel OP ORDER BYTES ROUNDS prints, per round, the CPU seconds
 * of the thread that did it: of the operation on an area of BYTES in folios of ORDER; what prepares it is not timed.
 * Exit status 1: unknown operation; 3: no huge pages here.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_COLD
#define MADV_COLD 20
#endif
#define PAGE 4096UL
#define PMD (2UL << 20)
#define READ_WRITE (PROT_READ | PROT_WRITE)

static size_t bytes;
static int order;
static char *area;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static void die(const char *what)
{
	perror(what);
	exit(2);
}

static void check(int result, const char *what)
{
	if (result)
		die(what);
}

/* a 2 MiB aligned mapping that may have folios of the wanted order only */
static void map_area(void)
{
	char *at = mmap(NULL, bytes + PMD, READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t lead;

	if (at == MAP_FAILED)
		die("mmap");
	lead = -(uintptr_t)at & (PMD - 1);
	if (lead)
		munmap(at, lead);
	munmap(at + lead + bytes, PMD - lead);
	area = at + lead;
	check(madvise(area, bytes, order ? MADV_HUGEPAGE : MADV_NOHUGEPAGE), "madvise");
}

static void touch(void)
{
	for (size_t i = 0; i < bytes; i += PAGE)
		area[i] = 1;
}

static int has_huge(void)
{
	FILE *smaps = fopen("/proc/self/smaps", "r");
	char line[256];
	long kb, most = 0;

	if (smaps == NULL)
		return 0;
	while (fgets(line, sizeof(line), smaps))
		if (sscanf(line, "AnonHugePages: %ld kB", &kb) == 1 && kb > most)
			most = kb;
	fclose(smaps);
	return (size_t)most * 1024 >= bytes / 2;
}

static double timed_fork(void)
{
	double start = now(), spent;
	pid_t child = fork();

	if (child == 0)
		_exit(0);
	spent = now() - start;
	if (child < 0)
		die("fork");
	waitpid(child, NULL, 0);
	return spent;
}

/* every huge folio mapped by PTEs: one page of each read-only and writable again */
static void split_pmds(void)
{
	for (size_t i = 0; i < bytes; i += PMD) {
		check(mprotect(area + i, PAGE, PROT_READ), "mprotect");
		check(mprotect(area + i, PAGE, READ_WRITE), "mprotect");
	}
}

static void look(void)
{
	volatile char *at = area;

	for (size_t i = 0; i < bytes; i += PAGE)
		(void)at[i];
}

/* what the kernel does of it: the loop itself is what a second pass takes */
static double timed_loop(void (*loop)(void))
{
	double start = now(), middle;

	loop();
	middle = now();
	loop();
	return 2 * middle - start - now();
}

/* what a child of a process that filled the area takes to write to it */
static double timed_cow(void)
{
	double spent;
	int pipes[2];

	check(pipe(pipes), "pipe");
	if (fork() == 0) {
		spent = timed_loop(touch);
		_exit(write(pipes[1], &spent, sizeof(spent)) != sizeof(spent));
	}
	if (read(pipes[0], &spent, sizeof(spent)) != sizeof(spent))
		die("read");
	wait(NULL);
	close(pipes[0]);
	close(pipes[1]);
	return spent;
}

/* what the parent takes to write again once the child is gone */
static double timed_reuse(void)
{
	timed_fork();
	return timed_loop(touch);
}

/* the first page of every folio is treated unlike the others */
static double timed_parts(const char *op)
{
	size_t step = order ? PAGE << order : PMD;
	double start = now();

	for (size_t i = 0; i < bytes; i += step) {
		if (!strcmp(op, "split-pmd"))
			check(mprotect(area + i, PAGE, PROT_READ), "mprotect");
		else if (!strcmp(op, "split-free"))
			check(madvise(area + i, PAGE, MADV_FREE), "madvise");
		else if (!strcmp(op, "unmap-part"))
			check(munmap(area + i, PAGE), "munmap");
		else
			check(madvise(area + i, PAGE, MADV_COLD), "madvise");
	}
	return now() - start;
}

/* one page in the middle of an area, and back */
static double timed_page_protect(void)
{
	size_t n = bytes / PAGE;
	double start = now();

	for (size_t i = 0; i < n; i += 2) {
		check(mprotect(area + i * PAGE, PAGE, PROT_READ), "mprotect");
		check(mprotect(area + i * PAGE, PAGE, READ_WRITE), "mprotect");
	}
	return now() - start;
}

static double timed_call(const char *op)
{
	double start = now();

	if (!strcmp(op, "protect"))
		check(mprotect(area, bytes, PROT_READ), "mprotect");
	else if (!strcmp(op, "unprotect"))
		check(mprotect(area, bytes, READ_WRITE), "mprotect");
	else if (!strcmp(op, "munmap"))
		check(munmap(area, bytes), "munmap");
	else if (!strcmp(op, "dontneed"))
		check(madvise(area, bytes, MADV_DONTNEED), "madvise");
	else if (!strcmp(op, "mlock"))
		check(mlock(area, bytes), "mlock");
	else if (!strcmp(op, "munlock"))
		check(munlock(area, bytes), "munlock");
	else
		exit(1);
	return now() - start;
}

static double timed(const char *op)
{
	if (!strcmp(op, "fork-bare"))
		return timed_fork();
	map_area();
	if (!strcmp(op, "populate") || !strcmp(op, "fault-page"))
		return timed_loop(touch);
	if (!strcmp(op, "read"))
		return timed_loop(look);
	touch();
	if (!strcmp(op, "fork-pte"))
		split_pmds();
	if (!strncmp(op, "fork", 4))
		return timed_fork();
	if (!strncmp(op, "cow", 3))
		return timed_cow();
	if (!strcmp(op, "reuse"))
		return timed_reuse();
	if (!strncmp(op, "split", 5) || !strcmp(op, "unmap-part"))
		return timed_parts(op);
	if (!strcmp(op, "protect-page"))
		return timed_page_protect();
	if (!strcmp(op, "unprotect"))
		check(mprotect(area, bytes, PROT_READ), "mprotect");
	if (!strcmp(op, "munlock"))
		check(mlock(area, bytes), "mlock");
	return timed_call(op);
}

int main(int argc, char **argv)
{
	int rounds;

	if (argc != 5)
		return 1;
	order = atoi(argv[2]);
	bytes = strtoull(argv[3], NULL, 0);
	rounds = atoi(argv[4]);
	if (order == 9) {
		map_area();
		touch();
		if (!has_huge())
			return 3;
		munmap(area, bytes);
	}
	for (int i = 0; i <= rounds; i++) {
		double spent = timed(argv[1]);

		if (area)
			munmap(area, bytes);
		if (i) /* the first round warms up */
			printf("%.12g\n", spent);
	}
	return 0;
}
