// sequence FILE: memory that is a pure function of a number. Two threads take
// turns in making steps; which pages a step changes, and to what, follows from
// its number alone, so that a checker can tell from the number in a core what
// every byte of that core must be. See sequence_test.go, which knows the same
// rules.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif

#define PAGE 4096
#define WORDS (PAGE / 8)
#define MOST 128 // pages of a slot of the first kind
#define ANON 10
#define FILES 2
#define HUGE 1
#define SLOTS (ANON + FILES + HUGE)
#define FILE_PAGES 64
#define HUGE_PAGES 512

static struct control {
	volatile uint64_t begun, done;
	volatile struct {
		uint64_t addr, pages;
	} slots[SLOTS];
	volatile uint64_t refused;
} *control;

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static int file;
static pid_t child;

static void die(const char *what) { perror(what); exit(1); }

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static uint64_t word(uint64_t seq, uint64_t k) { return mix(seq << 10 | k); }

static void *need(void *p)
{
	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

static void *map(size_t pages) { return need(mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)); }

// move is mremap(2) and, as in the C library, a copy where that is refused.
static void *move(void *from, size_t old, size_t pages, void *to)
{
	void *p = to ? mremap(from, old * PAGE, pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) : mremap(from, old * PAGE, pages * PAGE, MREMAP_MAYMOVE);
	if (p != MAP_FAILED)
		return p;
	control->refused++;
	if (to)
		munmap(to, pages * PAGE); // if that is not already done
	p = map(pages);
	memcpy(p, from, (old < pages ? old : pages) * PAGE);
	munmap(from, old * PAGE);
	return p;
}

static void step(uint64_t seq)
{
	uint64_t r = mix(seq ^ 0xabcdef), how = r % 100, i = (r >> 8) % SLOTS;
	volatile uint64_t *addr = &control->slots[i].addr, *pages = &control->slots[i].pages;
	uint64_t page = (r >> 16) % *pages, count = 1 + (r >> 32) % 16, variant = (r >> 56) % 3;
	volatile uint64_t *p;
	if (i >= ANON + FILES && how >= 95 && how < 98)
		madvise((void *)*addr, HUGE_PAGES * PAGE, MADV_COLLAPSE);
	if (i >= ANON && how >= 87 && how < 98)
		how = 0;
	if (i >= ANON && how >= 80 && how < 87 && variant == 0)
		page = 0, count = *pages; // with the page tables, if there are that many
	p = (uint64_t *)(*addr + page * PAGE);
	if (count > *pages - page)
		count = *pages - page;
	if (how < 80) {
		for (int k = 0; k < WORDS; k++)
			p[k] = word(seq, k);
	} else if (how < 87) {
		if (variant == 0 && i < ANON) { // the kernel drops the pages, where it can
			madvise((void *)p, count * PAGE, MADV_GUARD_INSTALL);
			madvise((void *)p, count * PAGE, MADV_GUARD_REMOVE);
		}
		if (madvise((void *)p, count * PAGE, MADV_DONTNEED))
			die("madvise");
	} else if (how < 90) {
		if (variant == 0) {
			void *same = (void *)*addr;
			if (mmap(same, *pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != same)
				die("mmap");
			return;
		}
		munmap((void *)*addr, *pages * PAGE);
		*pages = 64 + (r >> 40) % (MOST - 63);
		*addr = (uint64_t)map(*pages);
	} else if (how < 93) {
		*addr = (uint64_t)move((void *)*addr, *pages, *pages, map(*pages));
	} else if (how < 95) {
		uint64_t size = 64 + (r >> 40) % (MOST - 63);
		*addr = (uint64_t)move((void *)*addr, *pages, size, NULL);
		*pages = size;
	} else if (how < 96) {
		if (child && waitpid(child, NULL, WNOHANG) == child)
			child = 0;
		if (!child && (child = fork()) == 0) {
			usleep(20000);
			_exit(0);
		}
	} else if (how < 98) {
		if (variant == 0) // to the swap, if there is one
			madvise((void *)*addr, *pages * PAGE, MADV_PAGEOUT);
		mprotect((void *)p, count * PAGE, PROT_READ);
		mprotect((void *)p, count * PAGE, PROT_READ | PROT_WRITE);
	} else {
		for (int k = 0; k < WORDS; k++)
			p[k] = 0;
	}
}

static void *work(void *unused)
{
	for (;;) {
		pthread_mutex_lock(&turn);
		uint64_t seq = control->done + 1;
		control->begun = seq;
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
		step(seq);
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
		control->done = seq;
		pthread_mutex_unlock(&turn);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	alarm(1800);
	file = open(argv[1], O_RDWR | O_CREAT | O_TRUNC, 0600);
	for (int i = 0; i < FILE_PAGES; i++) {
		uint64_t b[WORDS];
		for (int k = 0; k < WORDS; k++)
			b[k] = word(0, i << 9 | k);
		if (write(file, b, PAGE) != PAGE)
			die(argv[1]);
	}
	control = map(1);
	for (int i = 0; i < SLOTS; i++) {
		void *p;
		if (i < ANON) {
			p = map(control->slots[i].pages = MOST);
		} else if (i < ANON + FILES) {
			control->slots[i].pages = FILE_PAGES;
			p = need(mmap(NULL, FILE_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0));
		} else {
			control->slots[i].pages = HUGE_PAGES;
			p = map(2 * HUGE_PAGES);
			p = (void *)(((uint64_t)p + (2 << 20) - 1) & ~(uint64_t)((2 << 20) - 1));
			madvise(p, HUGE_PAGES * PAGE, MADV_HUGEPAGE);
		}
		control->slots[i].addr = (uint64_t)p;
	}
	printf("control %lx %x\nready\n", (unsigned long)control, PAGE);
	fflush(stdout);
	pthread_t t;
	pthread_create(&t, NULL, work, NULL);
	work(NULL);
}
