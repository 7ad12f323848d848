/*
 * The process under observation.
 *
 * It obeys requests that arrive on a SOCK_SEQPACKET socket, one operation each, and answers each with one message.  The
 * arena belongs to the requests: the program itself maps nothing after its start, allocates nothing, and keeps all of
 * its writable pages touched, so that between two requests only the arena can change.
 *
 * usage: puppet FD...   FD number N is the socket of process N.  This one is process 0; a forked one takes the number
 * that the request names.
 *
 * The order of the operations is that of OPS in puppet.py.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    OP_WARM, OP_MMAP, OP_MUNMAP, OP_MPROTECT, OP_MADVISE, OP_MLOCK, OP_MUNLOCK, OP_MLOCK2, OP_MREMAP, OP_MSYNC,
    OP_MSEAL, OP_MINCORE, OP_WRITE, OP_READ, OP_GET, OP_PEEK, OP_PUT, OP_PIN, OP_UNPIN, OP_THP_DISABLE, OP_FILE,
    OP_FTRUNCATE, OP_PUNCH, OP_FORK, OP_EXIT, N_OPS
};
enum { DONE, FAILED, SIGNALLED };

#define PAGE 4096L
#define SCRATCH (64 * PAGE) /* more than is flushed page by page */
#define SLOTS 8         /* files, references and pins that one process can hold */
#define MAX_PROCS 8
#define MAX_BYTES 16384 /* bytes that one answer can carry */
#define PIPE_SIZE (1 << 20)
#define NR_MSEAL 462
#define COLD 20

struct request {
    int64_t op, arg[7];
    char text[192];
};

struct answer {
    int64_t kind, value, code, extra[2];
    unsigned char bytes[MAX_BYTES];
};

static struct request request;
static struct answer answer;
static unsigned char page_of_bytes[PAGE];
static int sockets[MAX_PROCS], here;
static int file_fds[SLOTS], ring_fds[SLOTS], pipe_fds[SLOTS][2];
static char *untouched, *scratch;
static struct { uintptr_t from, to; } writable[64];
static int n_writable;
static sigjmp_buf before_access;
static volatile long n_accesses;

/* ---- answers ---- */

static void send_answer(long n_bytes)
{
    size_t size = offsetof(struct answer, bytes) + (n_bytes > 0 ? n_bytes : 0);

    if (send(sockets[here], &answer, size, MSG_NOSIGNAL) < 0)
        _exit(3);
}

static void set_result(long value)
{
    answer.kind = value == -1 ? FAILED : DONE;
    answer.value = value == -1 ? errno : value;
}

/* ---- the program's own pages ---- */

/* Remember what is writable and private now: all of it is the program's own. */
static void find_writable(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512], perms[5];
    unsigned long from, to;

    while (maps && n_writable < 64 && fgets(line, sizeof(line), maps))
        if (sscanf(line, "%lx-%lx %4s", &from, &to, perms) == 3 && perms[1] == 'w') {
            writable[n_writable].from = from;
            writable[n_writable++].to = to;
        }
    if (maps)
        fclose(maps);
}

/* Write to every own page, so that no later step has to fault one in or to copy it. */
static void warm(void)
{
    volatile char *at;
    int i;

    for (i = 0; i < n_writable; i++)
        for (at = (char *)writable[i].from; at < (char *)writable[i].to; at += PAGE)
            *at = *at;
}

/* MADV_COLD empties this CPU's folio batches before it looks at the range, which holds no page. */
static void drain(void)
{
    madvise(untouched, PAGE, COLD);
}

/* Taking all rights from that many pages flushes the whole TLB.  An entry left in it hides an access: clear_refs and
 * reclaim clear accessed bits without a flush, and a bit is set again only when its entry is loaded anew. */
static void flush(void)
{
    mprotect(scratch, SCRATCH, PROT_NONE);
    mprotect(scratch, SCRATCH, PROT_READ);
}

/* ---- accesses ---- */

static void on_fault(int number, siginfo_t *info, void *context)
{
    (void)context;
    answer.kind = SIGNALLED;
    answer.value = number;
    answer.code = info->si_code;
    answer.extra[0] = (int64_t)(uintptr_t)info->si_addr;
    siglongjmp(before_access, 1);
}

/* addr, length, stride, offset, value, delta */
static long store(const int64_t *arg)
{
    volatile unsigned char *at = (unsigned char *)(arg[0] + arg[3]), *end = (unsigned char *)(arg[0] + arg[1]);

    n_accesses = 0;
    if (sigsetjmp(before_access, 0))
        return 0;
    for (; at < end; at += arg[2])
        *at = (unsigned char)(arg[4] + arg[5] * n_accesses++);
    set_result(n_accesses);
    return 0;
}

static long load(const int64_t *arg)
{
    volatile unsigned char *at = (unsigned char *)(arg[0] + arg[3]), *end = (unsigned char *)(arg[0] + arg[1]);
    long n;

    n_accesses = 0;
    if (sigsetjmp(before_access, 0))
        return 0;
    for (; at < end && n_accesses < MAX_BYTES; at += arg[2]) {
        answer.bytes[n_accesses] = *at;
        n_accesses++;
    }
    n = n_accesses;
    set_result(n);
    return n;
}

static long residence(void *addr, size_t length)
{
    long n = (long)((length + PAGE - 1) / PAGE), i;

    if (n > MAX_BYTES) {
        errno = E2BIG;
        set_result(-1);
        return 0;
    }
    if (mincore(addr, length, answer.bytes)) {
        set_result(-1);
        return 0;
    }
    for (i = 0; i < n; i++)
        answer.bytes[i] &= 1;
    set_result(n);
    return n;
}

/* ---- references: a pipe holds what vmsplice took, an io_uring instance what it registered ---- */

static long wide_pipe(int fds[2])
{
    if (pipe2(fds, O_NONBLOCK | O_CLOEXEC))
        return -1;
    fcntl(fds[1], F_SETPIPE_SZ, PIPE_SIZE);
    return 0;
}

static void close_pipe(int fds[2])
{
    int kept = errno;

    close(fds[0]);
    close(fds[1]);
    fds[0] = fds[1] = -1;
    errno = kept;
}

static void put(int id)
{
    if (pipe_fds[id][0] >= 0)
        close_pipe(pipe_fds[id]);
}

static long get(int id, void *addr, size_t length)
{
    struct iovec range = {addr, length};
    long taken;

    put(id);
    if (wide_pipe(pipe_fds[id]))
        return -1;
    taken = vmsplice(pipe_fds[id][1], &range, 1, 0);
    if (taken < 0)
        put(id);
    return taken;
}

/* tee makes a second pipe of the same references; reading that one leaves the first alone. */
static long peek(int id)
{
    int copy[2];
    long n = 0;

    errno = EBADF;
    if (pipe_fds[id][0] < 0 || wide_pipe(copy)) {
        set_result(-1);
        return 0;
    }
    tee(pipe_fds[id][0], copy[1], PIPE_SIZE, SPLICE_F_NONBLOCK);
    while (n < MAX_BYTES && read(copy[0], page_of_bytes, PAGE) > 0)
        answer.bytes[n++] = page_of_bytes[0];
    close_pipe(copy);
    set_result(n);
    return n;
}

static void close_ring(int id)
{
    int kept = errno;

    close(ring_fds[id]);
    ring_fds[id] = -1;
    errno = kept;
}

static long unpin(int id)
{
    long ret;

    if (ring_fds[id] < 0) {
        errno = EBADF;
        return -1;
    }
    ret = syscall(SYS_io_uring_register, ring_fds[id], IORING_UNREGISTER_BUFFERS, NULL, 0);
    close_ring(id);
    return ret;
}

static long pin(int id, void *addr, size_t length)
{
    struct iovec range = {addr, length};
    struct io_uring_params params;
    long ret;

    if (ring_fds[id] >= 0)
        unpin(id);
    memset(&params, 0, sizeof(params));
    ring_fds[id] = (int)syscall(SYS_io_uring_setup, 1, &params);
    if (ring_fds[id] < 0)
        return -1;
    ret = syscall(SYS_io_uring_register, ring_fds[id], IORING_REGISTER_BUFFERS, &range, 1);
    if (ret < 0)
        close_ring(id);
    return ret;
}

static void put_all(void)
{
    int id;

    for (id = 0; id < SLOTS; id++) {
        put(id);
        if (ring_fds[id] >= 0)
            unpin(id);
    }
}

/* ---- files ---- */

/* slot, 0 memfd | 1 unlinked file in the folder of the text | 2 the same and fsync, length, first byte or -1 */
static long make_file(const int64_t *arg, const char *folder)
{
    int fd = arg[1] == 0 ? memfd_create("foliosim", MFD_CLOEXEC) : open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    struct stat st;
    long at, n;

    if (fd < 0)
        return -1;
    if (arg[3] < 0 && ftruncate(fd, arg[2]))
        return -1;
    for (at = 0; arg[3] >= 0 && at < arg[2]; at += PAGE) {
        n = arg[2] - at < PAGE ? arg[2] - at : PAGE;
        memset(page_of_bytes, (int)(arg[3] + at / PAGE), PAGE);
        if (pwrite(fd, page_of_bytes, n, at) != n)
            return -1;
    }
    if ((arg[1] == 2 && fsync(fd)) || fstat(fd, &st))
        return -1;
    file_fds[arg[0]] = fd;
    answer.extra[0] = (int64_t)st.st_ino;
    answer.extra[1] = (int64_t)major(st.st_dev) << 32 | minor(st.st_dev);
    return 0;
}

/* ---- processes ---- */

/* The new process is a sibling, so that the driver can wait for it.  It has no part in pipes and pins. */
static void fork_into(int number)
{
    long pid = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
    int id;

    if (pid == 0) {
        here = number;
        warm();
        for (id = 0; id < SLOTS; id++) {
            put(id);
            if (ring_fds[id] >= 0)
                close_ring(id);
        }
        pid = getpid();
    }
    set_result(pid);
    send_answer(0);
}

static long perform(int op, const int64_t *arg)
{
    void *addr = (void *)arg[0];

    errno = 0;
    switch (op) {
    case OP_WARM: warm(); set_result(N_OPS); return 0;
    case OP_MMAP:
        set_result((long)mmap(addr, arg[1], (int)arg[2], (int)arg[3], arg[4] < 0 ? -1 : file_fds[arg[4]], arg[5]));
        return 0;
    case OP_MUNMAP: set_result(munmap(addr, arg[1])); return 0;
    case OP_MPROTECT: set_result(mprotect(addr, arg[1], (int)arg[2])); return 0;
    case OP_MADVISE: set_result(madvise(addr, arg[1], (int)arg[2])); return 0;
    case OP_MLOCK: set_result(syscall(SYS_mlock, arg[0], arg[1])); return 0;
    case OP_MUNLOCK: set_result(syscall(SYS_munlock, arg[0], arg[1])); return 0;
    case OP_MLOCK2: set_result(syscall(SYS_mlock2, arg[0], arg[1], arg[2])); return 0;
    case OP_MREMAP: set_result(syscall(SYS_mremap, arg[0], arg[1], arg[2], arg[3], arg[4])); return 0;
    case OP_MSYNC: set_result(msync(addr, arg[1], (int)arg[2])); return 0;
    case OP_MSEAL: set_result(syscall(NR_MSEAL, arg[0], arg[1], 0)); return 0;
    case OP_MINCORE: return residence(addr, arg[1]);
    case OP_WRITE: return store(arg);
    case OP_READ: return load(arg);
    case OP_GET: set_result(get((int)arg[0], (void *)arg[1], arg[2])); return 0;
    case OP_PEEK: return peek((int)arg[0]);
    case OP_PUT: put((int)arg[0]); set_result(0); return 0;
    case OP_PIN: set_result(pin((int)arg[0], (void *)arg[1], arg[2])); return 0;
    case OP_UNPIN: set_result(unpin((int)arg[0])); return 0;
    case OP_THP_DISABLE: set_result(prctl(PR_SET_THP_DISABLE, arg[0], arg[1], 0, 0)); return 0;
    case OP_FILE: set_result(make_file(arg, request.text)); return 0;
    case OP_FTRUNCATE: set_result(ftruncate(file_fds[arg[0]], arg[1])); return 0;
    case OP_PUNCH:
        set_result(fallocate(file_fds[arg[0]], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, arg[1], arg[2]));
        return 0;
    case OP_EXIT: put_all(); _exit(0);
    }
    errno = ENOSYS;
    set_result(-1);
    return 0;
}

/* With every protection key taken, memory that is mapped PROT_EXEC alone gets none: it can be read. */
static void take_protection_keys(void)
{
    int i;

    for (i = 0; i < 16 && syscall(SYS_pkey_alloc, 0, 0) >= 0; i++)
        ;
}

static void start(int argc, char **argv)
{
    struct sigaction action;
    int i;

    if (!(personality(0xffffffff) & ADDR_NO_RANDOMIZE)) { /* page tables outside the arena: the same in every run */
        personality(ADDR_NO_RANDOMIZE);
        execv("/proc/self/exe", argv);
    }
    signal(SIGINT, SIG_IGN); /* the driver decides when to end */
    for (i = 0; i < SLOTS; i++)
        file_fds[i] = ring_fds[i] = pipe_fds[i][0] = pipe_fds[i][1] = -1;
    for (i = 0; i < MAX_PROCS && i + 1 < argc; i++)
        sockets[i] = atoi(argv[i + 1]);
    memset(&action, 0, sizeof(action));
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    take_protection_keys();
    untouched = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    find_writable();
    scratch = mmap(NULL, SCRATCH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (untouched == MAP_FAILED || scratch == MAP_FAILED)
        _exit(2);
    warm();
}

int main(int argc, char **argv)
{
    long n_bytes;
    ssize_t n;

    start(argc, argv);
    while ((n = recv(sockets[here], &request, sizeof(request), 0)) > 0) {
        memset(&answer, 0, offsetof(struct answer, bytes));
        flush();
        drain();
        if (request.op == OP_FORK) {
            fork_into((int)request.arg[0]);
            continue;
        }
        n_bytes = perform((int)request.op, request.arg);
        send_answer(n_bytes);
    }
    put_all();
    return 0;
}
