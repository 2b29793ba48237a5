// A process to capture: target MODE [FILE]. It says "ready" when it is what the
// mode promises and never lives longer than half an hour.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "settled.h"

#define PAGE 4096

// counters are seen by the test through FILE.
static struct counters {
	uint64_t ticks, bad, eintr, handled;
} own, *counters = &own;

static void die(const char *what) { perror(what); exit(1); }

static void ready(void)
{
	puts("ready");
	fflush(stdout);
}

static void *map(size_t size, int prot, int flags)
{
	void *p = mmap(NULL, size, prot, flags | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

static void start(void *(*f)(void *), long arg)
{
	pthread_t t;
	pthread_attr_t a;
	pthread_attr_init(&a);
	pthread_attr_setstacksize(&a, 256 << 10);
	if ((errno = pthread_create(&t, &a, f, (void *)arg)))
		die("pthread_create");
}

// The ways to wait. Each counts what its call should not have answered.

static void bad(const char *call, long rc)
{
	__atomic_add_fetch(&counters->bad, 1, __ATOMIC_RELAXED);
	fprintf(stderr, "%s: %ld, %s\n", call, rc, strerror(errno));
}

static void wait_nanosleep(void)
{
	struct timespec t = {10000, 0};
	bad("nanosleep", nanosleep(&t, NULL));
}

static void wait_epoll(void)
{
	struct epoll_event ev;
	bad("epoll_wait", epoll_wait(epoll_create1(0), &ev, 1, -1));
}

static void wait_epoll_limited(void)
{
	struct epoll_event ev;
	int n = epoll_wait(epoll_create1(0), &ev, 1, 1000000);
	if (n < 0 && errno == EINTR)
		__atomic_add_fetch(&counters->eintr, 1, __ATOMIC_RELAXED); // a stop does that, see signal(7)
	else
		bad("epoll_wait with a limit", n);
}

static void wait_read(void)
{
	int p[2];
	char c;
	if (pipe(p))
		die("pipe");
	bad("read", read(p[0], &c, 1));
}

static void wait_condition(void)
{
	pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t c = PTHREAD_COND_INITIALIZER;
	pthread_mutex_lock(&m);
	bad("pthread_cond_wait", pthread_cond_wait(&c, &m));
}

static void wait_short(void)
{
	struct timespec t = {0, 1000000};
	int rc = clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
	if (rc)
		bad("clock_nanosleep", rc);
}

static void (*const waits[])(void) = {wait_nanosleep, wait_epoll, wait_read, wait_condition, wait_epoll_limited, wait_short};

static void *forever(void *how)
{
	for (;;)
		waits[(long)how % 6]();
	return NULL;
}

static void *tick(void *unused)
{
	for (;;) {
		struct timespec t = {0, 200000};
		__atomic_add_fetch(&counters->ticks, 1, __ATOMIC_RELAXED);
		nanosleep(&t, NULL);
	}
	return NULL;
}

// threads: 50, each in a function of its own, some computing.

// spin keeps known values in the vector registers.
static void spin(long i)
{
	uint64_t v[8];
	for (int k = 0; k < 8; k++)
		v[k] = 0x0101010101010101u * (uint64_t)(i + k);
#ifdef __x86_64__
	if (__builtin_cpu_supports("avx"))
		__asm__ volatile("vmovups (%0), %%ymm0\n vmovups 32(%0), %%ymm15\n1: pause\n jmp 1b" ::"r"(v) : "xmm0", "xmm15");
#endif
	for (;;)
		__asm__ volatile("" ::: "memory");
}

static int arrived; // at the bottom

static void bottom(long i)
{
	__atomic_add_fetch(&arrived, 1, __ATOMIC_RELAXED);
	if (i % 25 == 7)
		spin(i);
	for (;;)
		waits[i % 5]();
}

static void recurse(long i, long depth, void (*last)(long))
{
	volatile char frame[64];
	frame[0] = (char)i;
	if (depth > 0)
		recurse(i, depth - 1, last);
	else
		last(i);
	frame[1] = frame[0];
}

#define F(n) \
	__attribute__((noinline)) static void *f##n(void *a) { recurse((long)a, n % 20, bottom); return a; }
#define TEN(X, d) X(d##0) X(d##1) X(d##2) X(d##3) X(d##4) X(d##5) X(d##6) X(d##7) X(d##8) X(d##9)
TEN(F, 1) TEN(F, 2) TEN(F, 3) TEN(F, 4) TEN(F, 5)
#define REF(n) f##n,
static void *(*const functions[])(void *) = {TEN(REF, 1) TEN(REF, 2) TEN(REF, 3) TEN(REF, 4) TEN(REF, 5)};

static void threads(void)
{
	for (long i = 0; i < 49; i++)
		start(functions[i], i);
	while (__atomic_load_n(&arrived, __ATOMIC_RELAXED) < 49)
		usleep(1000);
	settled(47, 'S'); // all but those that compute
	ready();
	pause();
}

static void calls(void)
{
	for (long i = 0; i < 12; i++)
		start(forever, i);
	start(tick, 0);
	ready();
	for (;;)
		pause();
}

// signals: counts real-time signals, which are never merged.

static void handler(int sig) { __atomic_add_fetch(&counters->handled, 1, __ATOMIC_RELAXED); }

static void signals(void)
{
	struct sigaction sa = {.sa_handler = handler, .sa_flags = SA_RESTART};
	sigaction(SIGRTMIN, &sa, NULL);
	start(tick, 0);
	start(tick, 0);
	ready();
	for (;;)
		pause();
}

// churn: threads come and go all the time.

static void *brief(void *a) { return a; }

static void *breed(void *unused)
{
	for (;;) {
		pthread_t t;
		if (pthread_create(&t, NULL, brief, NULL) == 0)
			pthread_join(t, NULL);
	}
	return NULL;
}

static void churn(void)
{
	start(breed, 0);
	start(breed, 0);
	start(tick, 0);
	ready();
	for (;;)
		pause();
}

// leader: the first thread has ended, others go on.

static void leader(void)
{
	start(tick, 0);
	ready();
	pthread_exit(NULL);
}

// vforked: one thread waits for the child of a vfork.

static void *vforker(void *unused)
{
	if (vfork() == 0)
		for (;;)
			pause();
	return NULL;
}

static void vforked(void)
{
	start(vforker, 0);
	start(tick, 0);
	settled(1, 'D');
	ready();
	for (;;)
		pause();
}

// memory: mappings of all kinds. Each is told as "NAME ADDRESS SIZE".

static void tell(const char *name, void *p, size_t size) { printf("%s %lx %lx\n", name, (unsigned long)p, (unsigned long)size); }

static void *fill(void *p, size_t size, int c) { return memset(p, c, size); }

static void memory(const char *file)
{
	char *p = map(64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE);
	fill(p + 5 * PAGE, 3 * PAGE, 'a');
	fill(p + (33 << 20), PAGE, 'b');
	tell("sparse", p, 64 << 20);
	p = map(1 << 30, PROT_READ, MAP_PRIVATE | MAP_NORESERVE);
	tell("untouched", p, 1 << 30);
	p = fill(map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE), 4 * PAGE, 'd');
	madvise(p, 4 * PAGE, MADV_DONTDUMP);
	tell("dontdump", p, 4 * PAGE);
	p = fill(map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE), 4 * PAGE, 'n');
	mprotect(p, 4 * PAGE, PROT_NONE);
	tell("protected", p, 4 * PAGE);
	p = map(16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
	if (fork() == 0) {
		fill(p + 3 * PAGE, PAGE, 's'); // by another process
		_exit(0);
	}
	wait(NULL);
	fill(p + 9 * PAGE, PAGE, 't');
	tell("shared", p, 16 * PAGE);
	p = fill(map(8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE), 8 * PAGE, 'f');
	if (fork() == 0) {
		p[0] = 'g';
		for (;;)
			pause();
	}
	tell("forked", p, 8 * PAGE);
	int fd = open(file, O_RDWR | O_CREAT | O_TRUNC, 0600);
	for (int i = 0; i < 4; i++) {
		char b[PAGE];
		if (write(fd, fill(b, PAGE, '0' + i), PAGE) != PAGE)
			die("write");
	}
	p = mmap(NULL, 6 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0); // two pages behind the end
	p[PAGE] = 'w';
	tell("written", p, 6 * PAGE);
	tell("clean", mmap(NULL, 4 * PAGE, PROT_READ, MAP_PRIVATE, fd, 0), 4 * PAGE);
	tell("fileshared", mmap(NULL, 4 * PAGE, PROT_READ, MAP_SHARED, fd, 0), 4 * PAGE);
	ready();
	for (;;)
		pause();
}

// big FILE: that many MiB of data.

static void big(size_t mib)
{
	uint64_t *p = map(mib << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	for (size_t i = 0; i < mib << 17; i++)
		p[i] = i * 0x9E3779B97F4A7C15u;
	start(tick, 0);
	ready();
	for (;;)
		pause();
}

static void undumpable(void)
{
	prctl(PR_SET_DUMPABLE, 0);
	ready();
	pause();
}

int main(int argc, char **argv)
{
	alarm(1800);
	const char *mode = argv[1], *arg = argc > 2 ? argv[2] : NULL;
	if (arg && strcmp(mode, "memory") && strcmp(mode, "big")) {
		int fd = open(arg, O_RDWR | O_CREAT, 0600);
		if (ftruncate(fd, PAGE))
			die(arg);
		counters = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	}
	if (!strcmp(mode, "threads")) threads();
	if (!strcmp(mode, "calls")) calls();
	if (!strcmp(mode, "signals")) signals();
	if (!strcmp(mode, "churn")) churn();
	if (!strcmp(mode, "leader")) leader();
	if (!strcmp(mode, "vforked")) vforked();
	if (!strcmp(mode, "memory")) memory(arg);
	if (!strcmp(mode, "big")) big(strtoul(arg, NULL, 10));
	if (!strcmp(mode, "undumpable")) undumpable();
	return 2;
}
