// changes MODE DIR: processes whose mappings, descriptors or program change while
// they are captured. Each says where its control word is, and "ready".
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define PAGES 16

// A turn that is under way has begun and is not done.
static struct control {
	volatile uint64_t begun, done;
} *control;

static void die(const char *what) { perror(what); exit(1); }

static void *map(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

static void pause_a_little(void) { nanosleep(&(struct timespec){0, 300000}, NULL); }

static void place(void *at, int prot, int flags, int fd, off_t offset)
{
	if (mmap(at, PAGES * PAGE, prot, MAP_PRIVATE | MAP_FIXED | flags, fd, offset) != at)
		die("mmap");
}

// file has the pages of every kind: each begins with "\x7f""ELF" and its kind.
static int file(const char *dir, const char *name, uint32_t kinds)
{
	char path[4096];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	for (uint32_t kind = 0; kind < kinds; kind++)
		for (int i = 0; i < PAGES; i++) {
			char b[PAGE] = "\x7f" "ELF";
			memcpy(b + 4, &kind, 4);
			if (name[0] == 'b')
				b[4] = 1;
			if (write(fd, b, PAGE) != PAGE)
				die(path);
		}
	return fd;
}

// windows: one address shows one part of a file after the other.
static void windows(const char *dir, char *at)
{
	int fd = file(dir, "a", 2);
	for (uint64_t n = 1;; n++) {
		control->begun = n;
		place(at, PROT_READ | PROT_WRITE, 0, fd, n % 2 * PAGES * PAGE);
		at[PAGES * PAGE - 1] = 1; // all of it belongs into the core then
		control->done = n;
		pause_a_little();
	}
}

// libraries: one address bears the header of one file after the other.
static void libraries(const char *dir, char *at)
{
	int fd[2] = {file(dir, "a", 1), file(dir, "b", 1)};
	for (uint64_t n = 1;; n++) {
		control->begun = n;
		place(at, PROT_READ, 0, fd[n % 2], 0);
		control->done = n;
		pause_a_little();
	}
}

// forks: a thread that waits, and one that makes children all the time. None of them
// may inherit what is made in the process for a moment.
static void *waits(void *unused)
{
	for (;;)
		pause_a_little();
	return NULL;
}

static void look(void)
{
	DIR *d = opendir("/proc/self/fd");
	for (struct dirent *e; (e = readdir(d));) {
		char target[64] = "";
		if (readlinkat(dirfd(d), e->d_name, target, sizeof target - 1) > 0 && strstr(target, "userfaultfd"))
			fprintf(stderr, "a child inherited %s\n", target);
	}
	_exit(0);
}

static void forks(void)
{
	pthread_t t;
	pthread_create(&t, NULL, waits, NULL);
	for (;;) {
		pid_t pid = fork();
		if (pid == 0)
			look();
		waitpid(pid, NULL, 0);
	}
}

// becomes: a program that soon becomes another one (execve(2)), which has other
// memory at the same addresses.
static void becomes(char **argv, uint64_t n)
{
	char next[32];
	const size_t size = 8 << 20;
	uint64_t *at = mmap((void *)0x10000000, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (at == MAP_FAILED)
		die("mmap");
	for (size_t i = PAGE / 8; i < size / 8; i += PAGE / 8)
		at[i] = n;
	at[0] = n; // all is there
	if (n == 1) {
		printf("control 10000000 10000000\nready\n");
		fflush(stdout);
	}
	for (int i = 0; i < 40; i++)
		pause_a_little();
	snprintf(next, sizeof next, "%lu", (unsigned long)n + 1);
	argv[2] = next;
	execv("/proc/self/exe", argv);
	die("execve");
}

// stays: in turn memory that does not go along in a fork, and more of it that does.
static void stays(char *at)
{
	for (uint64_t n = 1;; n++) {
		control->begun = n;
		munmap(at, PAGES * PAGE);
		size_t from = n % 2 ? 4 : 0, to = n % 2 ? 8 : PAGES;
		if (mmap(at + from * PAGE, (to - from) * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
			die("mmap");
		if (n % 2)
			madvise(at + from * PAGE, (to - from) * PAGE, n % 4 == 1 ? MADV_DONTFORK : MADV_WIPEONFORK);
		memset(at + from * PAGE, n % 100, (to - from) * PAGE);
		control->done = n;
		pause_a_little();
	}
}

// shares: a shared mapping that comes and goes, and what takes its place.
static void shares(const char *dir, char *at)
{
	int fd = file(dir, "a", 64);
	for (uint64_t n = 1;; n++) {
		control->begun = n;
		void *p = MAP_FAILED;
		if (n % 2)
			p = mmap(at, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, n / 2 % 64 * PAGES * PAGE);
		else if ((p = mmap(at, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)) == at)
			memset(at, 'x', PAGES * PAGE);
		if (p != at)
			die("mmap");
		control->done = n;
		pause_a_little();
		control->begun = n + 1;
		if (n % 4 == 3)
			munmap(at, PAGES * PAGE);
	}
}

// huge: memory in huge pages, which begins and ends amid one.
static void huge(void)
{
	const size_t unit = 2 << 20, size = 50 * unit;
	char *p = map(size + unit);
	p = (char *)(((uintptr_t)p + unit - 1) & ~(unit - 1));
	munmap(p + size - PAGE, PAGE);
	madvise(p, size - PAGE, MADV_HUGEPAGE);
	memset(p, 1, size - PAGE);
	control->begun = control->done = (uintptr_t)p;
}

// rings: at a signal it gives memory to io_uring(7), whose writes are not seen.
static void ring(int unused)
{
	struct io_uring_params params = {0};
	int fd = syscall(SYS_io_uring_setup, 4, &params);
	struct iovec v = {map(16 * PAGE), 16 * PAGE};
	if (fd < 0 || syscall(SYS_io_uring_register, fd, IORING_REGISTER_BUFFERS, &v, 1))
		die("io_uring");
	fprintf(stderr, "registered\n");
}

int main(int argc, char **argv)
{
	if (!strcmp(argv[1], "becomes")) {
		uint64_t n = strtoul(argv[2], NULL, 10);
		if (n == 0)
			alarm(600);
		becomes(argv, n ? n : 1);
	}
	alarm(600);
	control = map(PAGE);
	char *at = map(3 * PAGES * PAGE);
	munmap(at, PAGES * PAGE);
	munmap(at + 2 * PAGES * PAGE, PAGES * PAGE);
	at += PAGES * PAGE;
	if (!strcmp(argv[1], "huge"))
		huge();
	printf("control %lx %lx\nready\n", (unsigned long)control, (unsigned long)at);
	fflush(stdout);
	if (!strcmp(argv[1], "windows")) windows(argv[2], at);
	if (!strcmp(argv[1], "huge"))
		for (;;)
			pause();
	if (!strcmp(argv[1], "stays")) stays(at);
	if (!strcmp(argv[1], "shares")) shares(argv[2], at);
	if (!strcmp(argv[1], "rings"))
		for (signal(SIGUSR1, ring);; pause_a_little())
			;
	if (!strcmp(argv[1], "forks")) forks();
	if (!strcmp(argv[1], "libraries")) libraries(argv[2], at);
}
