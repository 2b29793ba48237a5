package unwind

// machine is what differs between processors.
type machine struct {
	id        uint16 // e_machine
	columns   uint64 // that .eh_frame may name and that are followed
	sp, fp    int    // DWARF numbers
	ra        int    // column of the return address
	link      int    // register that holds it on entry; -1: it is pushed
	addresses uint64 // the bits of an address of code

	order      []byte // of pr_reg: the DWARF number of each word, none for others
	pcWord     int    // of pr_reg
	trampoline []byte // code that a signal handler returns to

	savedSP int // offset in struct ucontext of the interrupted stack pointer

	// Where that code finds the interrupted registers, from SP on: the DWARF number
	// of each word.
	context      int
	contextOrder []byte
}

const none = 0xff

// redZone is how far below the stack pointer a copy of a stack may begin.
const redZone = 128

var machines = map[uint16]*machine{amd64.id: amd64, arm64.id: arm64}

// The order of struct user_regs_struct (arch/x86/include/asm/user_64.h), that of
// struct sigcontext_64 and, behind the system call number 15, rt_sigreturn.
var amd64 = &machine{
	id: 62, columns: 17, sp: 7, fp: 6, ra: 16, link: -1, addresses: ^uint64(0),
	order:        []byte{15, 14, 13, 12, 6, 3, 11, 10, 9, 8, 0, 2, 1, 4, 5, none, 16, none, none, 7, none, none, none, none, none, none, none},
	pcWord:       16,
	trampoline:   []byte("\x48\xc7\xc0\x0f\x00\x00\x00\x0f\x05"), // mov $15,%rax; syscall
	savedSP:      160,
	context:      40, // uc_mcontext in struct ucontext
	contextOrder: []byte{8, 9, 10, 11, 12, 13, 14, 15, 5, 4, 6, 3, 1, 0, 2, 7, 16},
}

// struct user_pt_regs and struct sigcontext of arch/arm64/include/uapi/asm. Its
// sigreturn is unwound by the code alone: the kernel took the directives out
// (arch/arm64/kernel/vdso/sigreturn.S).
var arm64 = &machine{
	id: 183, columns: 34, sp: 31, fp: 29, ra: 30, link: 30, addresses: 1<<48 - 1,
	order:        append(upTo(32), none, none),
	pcWord:       32,
	trampoline:   []byte("\x68\x11\x80\xd2\x01\x00\x00\xd4"), // mov x8,#139; svc #0
	savedSP:      432,
	context:      128 + 176 + 8, // siginfo, ucontext up to uc_mcontext.regs
	contextOrder: append(upTo(32), none),
}

func upTo(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

// registers reads pr_reg.
func (m *machine) registers(b []byte) (r registers, ok bool) {
	if len(b) < 8*len(m.order) {
		return r, false
	}
	for i, column := range m.order {
		if column != none {
			r.v[column] = le.Uint64(b[8*i:])
		}
	}
	r.pc = le.Uint64(b[8*m.pcWord:])
	return r, true
}

// StackPointer and ProgramCounter read pr_reg, of a machine that NewSpace knows.
func StackPointer(machineID uint16, regs []byte) (uint64, bool) {
	m := machines[machineID]
	if m == nil {
		return 0, false
	}
	r, ok := m.registers(regs)
	return r.v[m.sp], ok
}

// Interrupted looks in the stack of a thread for the frame of a signal handler
// that runs on an alternate stack, and gives the stack pointer that the signal
// interrupted: what is above has to be copied, too. The frame is recognized by
// the description of the alternate stack in it, in which it lies itself.
func Interrupted(machineID uint16, stack Piece) (sp uint64, found bool) {
	m := machines[machineID]
	if m == nil {
		return 0, false
	}
	b := stack.Bytes
	for i := 0; i+m.savedSP+8 <= len(b); i += 8 {
		at := stack.Base + uint64(i)
		link, low, flags, size := le.Uint64(b[i+8:]), le.Uint64(b[i+16:]), le.Uint32(b[i+24:]), le.Uint64(b[i+32:])
		const (
			autodisarm = 1 << 31
			most       = 1 << 32 // bytes of an alternate stack
		)
		if le.Uint64(b[i:]) > 15 || link != 0 || low == 0 || low > stack.Base+redZone || at-low >= size || size > most || flags&^(autodisarm|3) != 0 {
			continue
		}
		sp := le.Uint64(b[i+m.savedSP:])
		if sp-stack.Base >= uint64(len(b)) {
			return sp, true
		}
	}
	return 0, false
}

// Continues says whether the chain of frame pointers leads out of a copy of a
// stack, further up: more of it has to be copied. Where there is no such chain the
// answer may be either.
func Continues(machineID uint16, regs []byte, stack Piece) bool {
	m := machines[machineID]
	if m == nil {
		return false
	}
	r, ok := m.registers(regs)
	for fp := r.v[m.fp]; ok && fp >= stack.Base; {
		at := fp - stack.Base
		if at+8 > uint64(len(stack.Bytes)) {
			return true
		}
		next := le.Uint64(stack.Bytes[at:])
		if next <= fp {
			return false
		}
		fp = next
	}
	return false
}

// sigreturn leaves the code that a signal handler returns to.
func (w *walk) sigreturn() bool {
	m := w.machine
	next := w.r
	at := w.r.v[m.sp] + uint64(m.context)
	for i, column := range m.contextOrder {
		v, ok := w.word(at + 8*uint64(i))
		switch {
		case !ok:
			return false
		case column != none:
			next.v[column] = v
		}
		next.pc = v // the last
	}
	w.r = next
	return true
}
