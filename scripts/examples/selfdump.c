/*
 * selfdump.c: a C program that writes down how it is when it gets SIGUSR1.
 *
 *	cc -pthread -o selfdump selfdump.c
 *	./selfdump state.txt & kill -USR1 $!; sleep 1; cat state.txt
 *
 * The signal handler does the one thing that is safe in any place the program
 * may be in: it writes a byte into a pipe. A thread of its own reads the pipe
 * and does the rest, so that the others never wait for a disk. Copy what stands
 * between the lines.
 *
 * There is a handler, not a blocked signal with signalfd(2), although that
 * would be shorter: it is in place before the first thread, a signal that comes
 * early is not lost, and diagfifo sends a signal only to who catches it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ------------------------------------------------------------------------ */

typedef void selfdump_write(FILE *);

static int selfdump_pipe[2];
static selfdump_write *selfdump_writer;
static char selfdump_path[4096], selfdump_tmp[4096 + 8];

static void selfdump_wake(int sig)
{
	int saved = errno;
	/* A full pipe is no fault: enough wakes the thread already. */
	ssize_t written = write(selfdump_pipe[1], "", 1);
	(void)sig, (void)written;
	errno = saved;
}

/* The file is replaced as a whole, and is the owner's alone. */
static int selfdump_now(void)
{
	int fd = open(selfdump_tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 && errno == EEXIST && unlink(selfdump_tmp) == 0) /* left by one that was killed */
		fd = open(selfdump_tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -1;
	FILE *f = fdopen(fd, "w");
	if (f == NULL) {
		close(fd);
		return -1;
	}
	selfdump_writer(f);
	int bad = ferror(f);
	if (fclose(f) != 0 || bad || rename(selfdump_tmp, selfdump_path) != 0) {
		unlink(selfdump_tmp);
		return -1;
	}
	return 0;
}

static void *selfdump_thread(void *unused)
{
	char bytes[64]; /* many signals, one dump */
	for (;;) {
		ssize_t n = read(selfdump_pipe[0], bytes, sizeof bytes);
		if (n > 0 && selfdump_now() != 0)
			perror(selfdump_path);
		else if (n == 0 || (n < 0 && errno != EINTR))
			return unused;
	}
}

/*
 * Call it first in main, before there are other threads. The writer runs in a
 * thread of its own: what it reads must be atomic, or it takes locks with
 * pthread_mutex_trylock, for the dump is wanted when one of them is stuck.
 */
static int selfdump_start(int sig, const char *path, selfdump_write *writer)
{
	if (strlen(path) >= sizeof selfdump_path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(selfdump_path, path);
	snprintf(selfdump_tmp, sizeof selfdump_tmp, "%s.tmp", path);
	selfdump_writer = writer;
	if (pipe2(selfdump_pipe, O_CLOEXEC) != 0 || fcntl(selfdump_pipe[1], F_SETFL, O_NONBLOCK) != 0)
		return -1;
	struct sigaction sa = {.sa_handler = selfdump_wake, .sa_flags = SA_RESTART};
	sigset_t all, before;
	sigfillset(&sa.sa_mask);
	sigfillset(&all);
	pthread_t thread;
	if (sigaction(sig, &sa, NULL) != 0)
		return -1;
	pthread_sigmask(SIG_SETMASK, &all, &before); /* the thread takes no signals */
	errno = pthread_create(&thread, NULL, selfdump_thread, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return errno == 0 ? pthread_detach(thread) : -1;
}

/* ------------------------------------------------------------------------ */

/* What the program is about: two workers that count. */
static atomic_long done[2];

static void *work(void *counter)
{
	for (;;) {
		atomic_fetch_add((atomic_long *)counter, 1);
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	return NULL;
}

static void state(FILE *f)
{
	struct timespec now;
	clock_gettime(CLOCK_BOOTTIME, &now);
	fprintf(f, "pid %ld\nbt_ms %lld\n", (long)getpid(), now.tv_sec * 1000LL + now.tv_nsec / 1000000);
	for (int i = 0; i < 2; i++)
		fprintf(f, "worker%d %ld\n", i, atomic_load(&done[i]));
	fprintf(f, "end\n");
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: selfdump FILE\n");
		return 100;
	}
	if (selfdump_start(SIGUSR1, argv[1], state) != 0) {
		perror("selfdump");
		return 111;
	}
	pthread_t worker;
	if ((errno = pthread_create(&worker, NULL, work, &done[0])) != 0) {
		perror("selfdump: worker");
		return 111;
	}
	work(&done[1]);
}
