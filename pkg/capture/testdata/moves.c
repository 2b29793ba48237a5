// moves: a process that without end changes parts of its mappings, gives them up,
// makes new ones in their place, and moves them. A move that is refused must have
// moved nothing: since Linux 6.17 mremap(2) takes several mappings at once and,
// at one that it refuses, leaves those before it at their new place.
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096
#define SLOTS 48
#define MOST 64

static void die(const char *what) { perror(what); exit(1); }

static char *map(size_t pages)
{
	char *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

static void fill(char *p, size_t pages)
{
	for (size_t i = 0; i < pages; i++)
		p[i * PAGE] = 1;
}

// whole says whether all pages are there.
static int whole(char *p, size_t pages)
{
	unsigned char in[MOST];
	return mincore(p, pages * PAGE, in) == 0;
}

int main(void)
{
	char *p[SLOTS];
	size_t pages[SLOTS];
	unsigned seed = 1;
	alarm(1800);
	for (int i = 0; i < SLOTS; i++)
		fill(p[i] = map(MOST), pages[i] = MOST);
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		int i = rand_r(&seed) % SLOTS;
		size_t at = rand_r(&seed) % (pages[i] - 8);
		mprotect(p[i] + at * PAGE, 8 * PAGE, PROT_READ);
		mprotect(p[i] + at * PAGE, 8 * PAGE, PROT_READ | PROT_WRITE);
		if (rand_r(&seed) % 4 == 0) {
			munmap(p[i], pages[i] * PAGE);
			pages[i] = MOST / 2 + rand_r(&seed) % (MOST / 2);
			fill(p[i] = map(pages[i]), pages[i]);
		}
		char *to = map(pages[i]);
		if (mremap(p[i], pages[i] * PAGE, pages[i] * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to) {
			p[i] = to;
			continue;
		}
		int why = errno;
		if (!whole(p[i], pages[i])) {
			fprintf(stderr, "a move was done in part: %s\n", strerror(why));
			_exit(1);
		}
		munmap(to, pages[i] * PAGE);
	}
}
