// edge MODE: processes that a capture could harm, or that could spoil it. Each
// says "ready", beats in a shared page, and counts what must not happen there.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_xdp.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096

static struct counters {
	uint64_t ticks, bad;
} *counters;

static void die(const char *what) { perror(what); exit(1); }

static void *map(size_t size, int flags)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

static void tell(const char *name, void *p, size_t size, int c)
{
	memset(p, c, size);
	printf("%s %lx %lx\n", name, (unsigned long)p, (unsigned long)size);
}

static void bad(int unused) { __atomic_add_fetch(&counters->bad, 1, __ATOMIC_RELAXED); }

// seccomp: a filter that kills the process at any kind of fork, and at whatever
// else a capture may want to do in it.
static void filter(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog prog = {sizeof code / sizeof *code, code};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
		die("seccomp");
}

// waits: it waits for any child all the time, and has none.
static void *reaper(void *unused)
{
	for (;;) {
		if (waitpid(-1, NULL, WNOHANG) != -1 || errno != ECHILD)
			bad(0);
		if (waitpid(-1, NULL, 0) != -1 || errno != ECHILD)
			bad(0);
	}
	return NULL;
}

// sleeps: calls without a time limit that the kernel does not restart by itself
// when they were stopped (signal(7)). None of them may return.
static void *sleep_semaphore(void *unused)
{
	int id = semget(IPC_PRIVATE, 1, 0600);
	struct sembuf take = {0, -1, 0};
	semctl(id, 0, SETVAL, 0);
	for (;; bad(0))
		if (semop(id, &take, 1) && errno != EINTR)
			die("semop");
}

static void *sleep_signal(void *unused)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	for (;; bad(0))
		sigwaitinfo(&set, NULL);
}

static void *sleep_events(void *unused)
{
	unsigned long ring = 0;
	char event[64];
	if (syscall(SYS_io_setup, 4, &ring))
		die("io_setup");
	for (;; bad(0))
		syscall(SYS_io_getevents, ring, 1, 1, event, NULL);
}

static void *sleep_ring(void *fd)
{
	for (;; bad(0))
		syscall(SYS_io_uring_enter, (int)(long)fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0);
}

static void start(void *(*f)(void *), long arg)
{
	pthread_t t;
	if (pthread_create(&t, NULL, f, (void *)arg))
		die("pthread_create");
}

static void stay_behind(void)
{
	char *p = map(4 * PAGE, 0);
	tell("dontfork", p, 4 * PAGE, 'f');
	madvise(p, 4 * PAGE, MADV_DONTFORK);
	p = map(4 * PAGE, 0);
	tell("wipeonfork", p, 4 * PAGE, 'w');
	madvise(p, 4 * PAGE, MADV_WIPEONFORK);
}

static void own_userfaultfd(uint64_t features)
{
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	struct uffdio_api api = {.api = UFFD_API, .features = features};
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		die("userfaultfd");
	char *p = map(8 * PAGE, 0);
	tell("followed", p, 4 * PAGE, 'u'); // the rest is missing: who reads it waits for ever
	struct uffdio_register r = {.range = {(unsigned long)p, 8 * PAGE}, .mode = UFFDIO_REGISTER_MODE_MISSING};
	if (ioctl(fd, UFFDIO_REGISTER, &r))
		die("UFFDIO_REGISTER");
}

static void fixed_buffers(void)
{
	struct io_uring_params params = {0};
	int fd = syscall(SYS_io_uring_setup, 4, &params);
	struct iovec v = {map(16 * PAGE, 0), 16 * PAGE};
	tell("pinned", v.iov_base, v.iov_len, 'p');
	if (fd < 0 || syscall(SYS_io_uring_register, fd, IORING_REGISTER_BUFFERS, &v, 1))
		die("io_uring");
	start(sleep_ring, fd);
}

// xdp: memory into which packets are written.
static void packets(void)
{
	int fd = socket(AF_XDP, SOCK_RAW, 0);
	char *p = map(16 * PAGE, 0);
	tell("pinned", p, 16 * PAGE, 'p');
	struct xdp_umem_reg r = {.addr = (unsigned long)p, .len = 16 * PAGE, .chunk_size = PAGE / 2};
	if (fd < 0 || setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &r, sizeof r))
		die("xdp");
}

int main(int argc, char **argv)
{
	alarm(1800);
	const char *mode = argv[1];
	int fd = open(argv[2], O_RDWR);
	counters = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (counters == MAP_FAILED)
		die(argv[2]);
	signal(SIGCHLD, bad);
	tell("plain", map(32 * PAGE, 0), 32 * PAGE, 'a');
	if (!strcmp(mode, "waits")) start(reaper, 0);
	if (!strcmp(mode, "sleeps")) {
		start(sleep_semaphore, 0);
		start(sleep_signal, 0);
		start(sleep_events, 0);
	}
	if (!strcmp(mode, "stay")) stay_behind();
	if (!strcmp(mode, "uffd")) own_userfaultfd(0);
	if (!strcmp(mode, "uffd-fork")) own_userfaultfd(UFFD_FEATURE_EVENT_FORK);
	if (!strcmp(mode, "uffd-left") && syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY) < 0) die("userfaultfd");
	if (!strcmp(mode, "io_uring")) fixed_buffers();
	if (!strcmp(mode, "xdp")) packets();
	if (!strcmp(mode, "huge")) tell("huge", map(2 << 20, MAP_HUGETLB), 2 << 20, 'h');
	if (!strcmp(mode, "nproc")) {
		struct rlimit one = {1, 1};
		setrlimit(RLIMIT_NPROC, &one);
	}
	if (!strcmp(mode, "seccomp")) filter();
	puts("ready");
	fflush(stdout);
	for (;;) {
		struct timespec t = {0, 200000};
		if (nanosleep(&t, NULL))
			bad(0);
		__atomic_add_fetch(&counters->ticks, 1, __ATOMIC_RELAXED);
	}
}
