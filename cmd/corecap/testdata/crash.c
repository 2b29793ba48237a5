// crash WORD: ends in the way that WORD says.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define MIB (1L << 20)

__attribute__((noinline)) static void store(volatile int *p) { *p = 42; }

__attribute__((noinline)) static void crash(const char *why)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	fprintf(stderr, "%s %ld%09ld\n", why, (long)now.tv_sec, now.tv_nsec); // date +%s%N tells when it was over
	store((int *)0x20);
}

static char *fill(long size, int with)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		exit(3);
	for (long i = 0; i < size; i += 4096)
		memset(p + i, with + i / 4096 % 200, 4096);
	return p;
}

__attribute__((noinline)) static int deep(int n)
{
	volatile char room[4096];

	memset((char *)room, n, sizeof room);
	return deep(n + 1) + room[n % 4096];
}

static void *waits(void *barrier)
{
	pthread_barrier_wait(barrier);
	for (;;)
		pause();
	return NULL;
}

static void threads(int n)
{
	static pthread_barrier_t all;
	pthread_attr_t small;
	pthread_t t;

	pthread_barrier_init(&all, NULL, n + 1);
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 128 << 10);
	while (n-- > 0)
		pthread_create(&t, &small, waits, &all);
	pthread_barrier_wait(&all);
	crash("threads");
}

// Every kind of memory that a core can hold.
static void zoo(void)
{
	FILE *f = tmpfile();
	char *p;

	if (f == NULL || ftruncate(fileno(f), 64 * 4096) < 0)
		exit(3);
	p = mmap(NULL, 64 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(f), 0);
	memset(p + 5 * 4096, 's', 4096);
	p = mmap(NULL, 64 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fileno(f), 0);
	memset(p + 9 * 4096, 'p', 4096);
	p = mmap(NULL, 64 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	memset(p + 3 * 4096, 'a', 4096);
	p = fill(64 * 4096, 'd');
	madvise(p, 16 * 4096, MADV_DONTDUMP);
	mprotect(p + 32 * 4096, 16 * 4096, PROT_NONE);
	madvise(p + 60 * 4096, 4 * 4096, MADV_DONTNEED);
	fill(3 * MIB, 1);
	crash("zoo");
}

// leaves crashes when the first thread has ended.
static void *leaves(void *unused)
{
	char state = 0;

	while (state != 'Z') {
		FILE *f = fopen("/proc/self/stat", "r");

		if (f == NULL || fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
			exit(3);
		fclose(f);
		usleep(1000);
	}
	crash("orphan");
	return unused;
}

int main(int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : "segv";

	if (strcmp(word, "segv") == 0)
		crash("segv");
	if (strcmp(word, "abrt") == 0)
		abort();
	if (strcmp(word, "bus") == 0) {
		FILE *f = tmpfile();

		store(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(f), 0));
	}
	if (strcmp(word, "deep") == 0)
		return deep(0);
	if (strcmp(word, "threads") == 0)
		threads(200);
	if (strcmp(word, "zoo") == 0)
		zoo();
	if (strcmp(word, "sparse") == 0) {
		char *p = mmap(NULL, 8192 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		madvise(p, 8192 * MIB, MADV_NOHUGEPAGE);
		for (long i = 0; i < 64 * MIB; i += 4096) // here and there
			memset(p + i * 100, 7, 4096);
		crash("sparse");
	}
	if (strcmp(word, "mixed") == 0) { // a quarter each of zeroes, text, pointers, noise
		long size = atol(argv[2]) * MIB, quarter = size / 4;
		char *p = fill(size, 0);
		unsigned long noise = 88172645463325252UL;

		memset(p, 0, quarter);
		for (long i = quarter; i < 2 * quarter; i += 32)
			memcpy(p + i, "GET /index.html HTTP/1.1 200 OK\n", 32);
		for (long i = 2 * quarter; i < 3 * quarter; i += 8)
			*(char **)(p + i) = p + i * 7 % size;
		for (long i = 3 * quarter; i < size; i += 8) {
			noise ^= noise << 13;
			noise ^= noise >> 7;
			noise ^= noise << 17;
			*(unsigned long *)(p + i) = noise;
		}
		crash("mixed");
	}
	if (strcmp(word, "large") == 0) {
		fill(atol(argv[2]) * MIB, 1);
		crash("large");
	}
	if (strcmp(word, "orphan") == 0) { // the first thread ends before the others
		pthread_t t;

		pthread_create(&t, NULL, leaves, NULL);
		pthread_exit(NULL);
	}
	fprintf(stderr, "no such word\n");
	return 2;
}
