// A process whose stacks are known: target MODE [N]. It says "ready" when it is
// what the mode promises and never lives longer than half an hour.
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../capture/testdata/settled.h"

#define NOINLINE __attribute__((noinline))

NOINLINE static void ready(void)
{
	puts("ready");
	fflush(stdout);
}

// threads: N in ten functions, at depths from 0 to 30.

static int arrived; // at rest

NOINLINE static void rest(void)
{
	__atomic_add_fetch(&arrived, 1, __ATOMIC_RELAXED);
	for (;;)
		pause();
}

NOINLINE static int dig(int depth)
{
	volatile char frame[40];
	frame[0] = (char)depth;
	if (depth == 0)
		rest();
	else
		dig(depth - 1);
	return frame[0];
}

#define F(n) \
	NOINLINE static int f##n(int depth) { return dig(depth) + n; }
F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9)
static int (*const functions[])(int) = {f0, f1, f2, f3, f4, f5, f6, f7, f8, f9};

static pthread_barrier_t barrier;

static void *work(void *a)
{
	long i = (long)a;
	char name[16];
	snprintf(name, sizeof name, "worker %ld", i);
	prctl(PR_SET_NAME, name);
	pthread_barrier_wait(&barrier);
	functions[i % 10]((int)(i % 31));
	return NULL;
}

static void start(void *(*f)(void *), long arg)
{
	pthread_t t;
	pthread_attr_t a;
	pthread_attr_init(&a);
	pthread_attr_setstacksize(&a, 128 << 10);
	if (pthread_create(&t, &a, f, (void *)arg))
		exit(3);
}

static void threads(long n)
{
	pthread_barrier_init(&barrier, NULL, (unsigned)n + 1);
	for (long i = 0; i < n; i++)
		start(work, i);
	pthread_barrier_wait(&barrier);
	while (__atomic_load_n(&arrived, __ATOMIC_RELAXED) < n)
		usleep(1000);
	settled((int)n, 'S');
	ready();
	rest();
}

// signal, altstack: in a handler.

NOINLINE static void handler(int sig)
{
	ready();
	rest();
}

NOINLINE static void interrupted(int n)
{
	volatile char frame[512];
	frame[0] = (char)n;
	if (n > 0)
		interrupted(n - 1);
	else
		syscall(SYS_tgkill, getpid(), gettid(), SIGUSR1);
	frame[1] = frame[0];
}

static void signalled(int flags)
{
	stack_t s = {.ss_sp = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), .ss_size = 1 << 16};
	struct sigaction sa = {.sa_handler = handler, .sa_flags = flags};
	sigaltstack(&s, NULL);
	sigaction(SIGUSR1, &sa, NULL);
	interrupted(5);
}

// jit: through code in anonymous memory that keeps a frame pointer.

NOINLINE __attribute__((optimize("no-omit-frame-pointer"))) static void called(void)
{
	ready();
	rest();
}

NOINLINE static void jit(void)
{
#if defined __x86_64__
	static const unsigned char code[] = {0x55, 0x48, 0x89, 0xe5, 0xff, 0xd7, 0x5d, 0xc3};
#elif defined __aarch64__
	static const uint32_t code[] = {0xa9bf7bfd, 0x910003fd, 0xd63f0000, 0xa8c17bfd, 0xd65f03c0};
#endif
	char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(p, code, sizeof code);
	__builtin___clear_cache(p, p + sizeof code);
	((void (*)(void (*)(void)))p)(called);
}

// nowhere: a call of address 0; the core tells who did it.

NOINLINE static void nowhere(void)
{
	void (*volatile f)(void) = NULL;
	ready();
	f();
}

// vforked: one thread waits for the child of a vfork and cannot be stopped.

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
	settled(1, 'D');
	ready();
	rest();
}

int main(int argc, char **argv)
{
	const char *mode = argv[1];
	alarm(1800);
	if (!strcmp(mode, "threads")) threads(atol(argv[2]));
	if (!strcmp(mode, "signal")) signalled(0);
	if (!strcmp(mode, "altstack")) signalled(SA_ONSTACK);
	if (!strcmp(mode, "jit")) jit();
	if (!strcmp(mode, "nowhere")) nowhere();
	if (!strcmp(mode, "vforked")) vforked();
	return 2;
}
