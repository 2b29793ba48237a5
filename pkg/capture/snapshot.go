package capture

import (
	"io"
	"slices"
	"time"

	"vigil/pkg/procfs"
	"vigil/pkg/ptrace"
	"vigil/pkg/unwind"
)

const (
	// What of a stack is copied: 256 frames rarely take more. Of many threads
	// less, so that the copies together stay small.
	stackLimit = 256 << 10
	stackFloor = 16 << 10
	stackTotal = 64 << 20

	// A stack that lies in a heap, as that of a goroutine, has no end that could be
	// seen: the mapping is large, and more of it is above than a stack would use.
	// A little is copied, and more where the frame pointers say so.
	heapSize  = 16 << 20
	stackUsed = 1 << 20
	heapStack = 8 << 10
	heapMore  = 64 << 10

	mapsLimit = 32 << 20 // bytes of text; 65530 mappings have about 6 MB

	stackUsual = 16 << 10 // what memory is made ready for before the stop
	redZone    = 128      // below the stack pointer, in use by leaf functions (x86-64 ABI)
)

// Machine is the e_machine of the processes that can be captured here.
const Machine = machine

// Snapshot is what is known of the threads of a process at one moment, without
// the rest of its memory.
type Snapshot struct {
	Threads []StackCopy
	LeftOut []Unstopped
	Maps    []procfs.Mapping // without the counts of smaps
	Time    time.Time        // of the stop
	BootMS  int64
	Pause   time.Duration
}

// StackCopy is one thread that stood.
type StackCopy struct {
	TID    int
	Signal int    // whose delivery the stop interrupted, or that stopped it
	Regs   []byte // pr_reg of the machine

	// Stack is the used part of the stack, from a little below the stack pointer,
	// cut where it is long; behind it that of the stack which a signal interrupted,
	// if its handler has another.
	Stack []unwind.Piece
}

// Unstopped is a thread that did not stop; PC and SP are 0 where the kernel
// does not tell them.
type Unstopped struct {
	ptrace.LeftOut
	PC, SP uint64
}

// Snapshot stops all threads, copies their registers and stacks, and lets them
// go: some ten microseconds for each thread. A thread that hangs in the kernel
// (state D) is waited for a tenth of a second at most. The errors are those of
// Open; however it ends, the target goes on.
func (t *Target) Snapshot() (*Snapshot, error) {
	snap := &Snapshot{}
	arena := newArena(t.status.Threads)
	err := ptrace.Run(func() (err error) {
		snap.Pause, err = t.hold(func(s *ptrace.Session, m *moment) error {
			return snap.take(t.PID, m, arena)
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return snap, nil
}

// take copies what belongs to the moment m.
func (snap *Snapshot) take(pid int, m *moment, a *arena) error {
	mem, err := ptrace.OpenMemory(m.id())
	if err != nil {
		return err
	}
	defer mem.Close()
	// What is beyond the limit is memory without a name, for the frames there.
	if snap.Maps, _, err = procfs.ReadMaps(m.id(), mapsLimit); err != nil {
		return err
	}
	snap.Time, snap.BootMS = m.time, m.bootMS
	limit := min(stackLimit, max(stackFloor, stackTotal/len(m.threads)))
	for _, th := range m.threads {
		c := StackCopy{TID: th.tid, Signal: th.signal, Regs: th.regs[0]}
		c.Stack = copyStack(mem, snap.Maps, c.Regs, limit, a)
		snap.Threads = append(snap.Threads, c)
	}
	for _, l := range m.leftOut {
		u := Unstopped{LeftOut: l}
		if call, err := procfs.ReadSyscall(pid, l.TID); err == nil {
			u.PC, u.SP = call.PC, call.SP
		}
		snap.LeftOut = append(snap.LeftOut, u)
	}
	return nil
}

// copyStack copies the used part of the stack of a thread, and that of the stack
// on which a signal interrupted it, if the handler has another; of each at most
// limit bytes.
func copyStack(mem io.ReaderAt, maps []procfs.Mapping, regs []byte, limit int, a *arena) (pieces []unwind.Piece) {
	sp, ok := unwind.StackPointer(machine, regs)
	for ok && len(pieces) < 2 {
		start, end, heap := stackRange(maps, sp, limit)
		p := copyPiece(mem, start, end, a)
		if heap && unwind.Continues(machine, regs, p) {
			p = copyPiece(mem, start, start+min(heapMore, uint64(limit)), a)
		}
		pieces = append(pieces, p)
		sp, ok = unwind.Interrupted(machine, p)
	}
	return pieces
}

func copyPiece(mem io.ReaderAt, start, end uint64, a *arena) unwind.Piece {
	b := a.take(int(end - start))
	n, _ := mem.ReadAt(b, int64(start))
	return unwind.Piece{Base: start, Bytes: b[:n]}
}

// stackRange is the used part of the stack with the stack pointer sp, empty if
// that points nowhere; of one in a heap it is a beginning.
func stackRange(maps []procfs.Mapping, sp uint64, limit int) (start, end uint64, heap bool) {
	m := mappingAt(maps, sp)
	if m == nil || m.Perm[0] != 'r' {
		return 0, 0, false
	}
	start = max(m.Start, sp-min(sp, redZone)) &^ 7
	if heap = m.Size() > heapSize && m.End-start > stackUsed && m.Name != "[stack]"; heap {
		limit = min(limit, heapStack)
	}
	return start, min(m.End, start+uint64(limit)), heap
}

func mappingAt(maps []procfs.Mapping, addr uint64) *procfs.Mapping {
	i, _ := slices.BinarySearchFunc(maps, addr, func(m procfs.Mapping, a uint64) int {
		if m.End <= a {
			return -1
		}
		return 1
	})
	if i == len(maps) || addr < maps[i].Start {
		return nil
	}
	return &maps[i]
}

// arena is memory that is there already when the target stands.
type arena struct{ free []byte }

func newArena(threads int) *arena {
	a := &arena{make([]byte, min((threads+16)*stackUsual, stackTotal))}
	for i := 0; i < len(a.free); i += int(procfs.PageSize) {
		a.free[i] = 1
	}
	return a
}

func (a *arena) take(n int) []byte {
	if n > len(a.free) {
		return make([]byte, n)
	}
	b := a.free[:n:n]
	a.free = a.free[n:]
	return b
}
