# How vigil-debug has gdb attach to a service: only the thread one looks at
# stands still, nothing waits for a key, and nothing stops it unasked.

set pagination off
set confirm off
set width 0

# A thread that is stepped or hits a breakpoint stops alone: the one that beats
# goes on. It has to be set before gdb attaches.
set non-stop on

# A breakpoint exists where it was asked for, or not at all: none that appears
# later, with some library.
set breakpoint pending off
set stop-on-solib-events 0

# Signals that services use every day are theirs.
handle SIGUSR1 SIGUSR2 SIGHUP SIGPIPE SIGALRM SIGCHLD SIGURG SIGTERM nostop noprint pass
set print thread-events off

# A child that the service forks is not ours, nor stopped.
set follow-fork-mode parent
set detach-on-fork on

# A function that gdb calls in the service, and that crashes, is unwound.
set unwindonsignal on

# No look into the network, nothing run that lies beside the program.
set debuginfod enabled off
set auto-load local-gdbinit off
set auto-load python-scripts off
