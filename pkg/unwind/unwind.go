// Package unwind turns registers, memory and the files of a process into
// stacks: which functions called which. It stops nothing and opens nothing; it
// works on copies, after the process went on, and on cores.
//
// A frame is unwound by what its module offers: the call frame information of
// .eh_frame (or .debug_frame), the tables of a Go program, the form of a signal
// frame and, for code without any of these, such as that of a JIT compiler, the
// chain of frame pointers.
//
// All input may be hostile: a module is a file that a user wrote, memory is
// what a program wanted it to be. Memory, steps and sizes are bounded, and
// nothing here panics.
//
// Source: DWARF 5 section 6.4, the Linux Standard Base 5 on .eh_frame, the ABI
// supplements of x86-64 and AArch64, runtime/symtab.go of Go 1.26, and what
// elfutils 0.188 and gdb 13 answer.
package unwind

import (
	"encoding/binary"
	"io"
	"slices"
	"sort"
)

var le = binary.LittleEndian

// Mapping is a part of the address space that a module, or nothing known, lies
// in.
type Mapping struct {
	Start, End uint64 // End is the first address behind it
	Offset     uint64 // into the file
	Executable bool
	Key        string // the same for all mappings of a file; "" for memory without one
	Name       string // for people
}

// byStart sorts mappings.
type byStart []Mapping

func (b byStart) Len() int           { return len(b) }
func (b byStart) Less(i, j int) bool { return b[i].Start < b[j].Start }
func (b byStart) Swap(i, j int)      { b[i], b[j] = b[j], b[i] }

// Modules gives access to what is mapped. It is asked once for each Key.
type Modules interface {
	// Open returns the file that m is a mapping of, or nil. size bounds it.
	Open(m Mapping) (file io.ReaderAt, size int64)
	// Debug returns the separate file with the symbols of the module that has
	// this build id, or nil.
	Debug(buildID []byte) (file io.ReaderAt, size int64)
}

// Module is one file, or one image in memory, that code came from.
type Module struct {
	Name    string
	BuildID []byte // empty where it has none

	image *image
}

// Frame is one activation of a function.
type Frame struct {
	// PC is where it goes on: for the innermost frame and for one that a signal
	// interrupted the next instruction to run, for others the one behind the call.
	PC uint64
	// Called says that PC lies behind a call, and so perhaps already in the next
	// function.
	Called bool
	SP     uint64

	Module *Module // nil: the code belongs to no file
	Offset uint64  // of PC in the module: a link-time address
	Func   string  // "": unknown. Mangled names stay so.
	Start  uint64  // link-time address of Func
}

// End says why a stack has no further frame.
type End string

// The ends of a stack.
const (
	Complete  End = "complete"     // the outermost frame of the thread
	Limit     End = "limit"        // there may be more frames
	NoMemory  End = "no_memory"    // the stack was not read up to here
	NoRule    End = "no_rule"      // nothing tells how to go on
	Switch    End = "stack_switch" // Go: the caller is on another stack
	NoProcess End = "not_stopped"  // only where the thread was is known
)

// Stack is the frames of one thread, the innermost first.
type Stack struct {
	Frames []Frame
	End    End
}

// Limits. What exceeds them is treated as absent.
const (
	maxPlans   = 1 << 14
	maxModules = 1 << 12
	frameCost  = 64 // steps; so there are a million frames of all threads at most
)

// Piece is a copy of memory.
type Piece struct {
	Base  uint64 // address of Bytes[0]
	Bytes []byte
}

// Process is what Space is made from.
type Process struct {
	Machine uint16 // e_machine, as in a core
	Maps    []Mapping
	Modules Modules

	// Code reads what is loaded of modules, by address, where their files cannot be
	// had: the vdso above all. It may be nil.
	Code io.ReaderAt

	// Memory reads all memory as it was at the moment in question, by address;
	// nil if only copies of the stacks are left of it.
	Memory io.ReaderAt
}

// Space is the address space of a process. It is not safe for concurrent use.
type Space struct {
	machine *machine
	maps    []Mapping
	modules Modules
	code    io.ReaderAt
	memory  io.ReaderAt

	window *window
	opened map[string]*Module // by Key; nil: cannot be read
	plans  map[uint64]*plan   // by pc; those of callers have bit 63 set
}

// NewSpace takes p over and sorts its mappings. ok is false for a machine that
// is not known.
func NewSpace(p Process) (s *Space, ok bool) {
	m := machines[p.Machine]
	if m == nil {
		return nil, false
	}
	maps := p.Maps
	sort.Sort(byStart(maps))
	return &Space{
		machine: m, maps: maps, modules: p.Modules, code: p.Code, memory: p.Memory, window: newWindow(),
		opened: map[string]*Module{}, plans: map[uint64]*plan{},
	}, true
}

// find returns the mapping that holds addr, or nil.
func (s *Space) find(addr uint64) *Mapping {
	i, _ := slices.BinarySearchFunc(s.maps, addr, func(m Mapping, a uint64) int {
		if m.End <= a {
			return -1
		}
		return 1
	})
	if i == len(s.maps) || addr < s.maps[i].Start {
		return nil
	}
	return &s.maps[i]
}

// locate returns the module of an address of code, and its link-time address.
func (s *Space) locate(pc uint64) (*Module, uint64) {
	m := s.find(pc)
	if m == nil || m.Key == "" || !m.Executable {
		return nil, 0
	}
	mod, known := s.opened[m.Key]
	if !known {
		if len(s.opened) >= maxModules {
			return &Module{Name: m.Name}, 0
		}
		mod = s.open(m)
		s.opened[m.Key] = mod
	}
	if mod == nil || mod.image == nil {
		return mod, 0
	}
	bias, ok := mod.image.bias(*m)
	if !ok {
		return &Module{Name: mod.Name}, 0
	}
	return mod, pc - bias
}

// open reads the file behind m or, where there is none, its image in memory.
func (s *Space) open(m *Mapping) *Module {
	mod := &Module{Name: m.Name}
	if file, size := s.modules.Open(*m); file != nil {
		mod.image = openImage(s.window, file, size)
	}
	if mod.image == nil && s.code != nil {
		base := m.Start
		for _, o := range s.maps {
			if o.Key == m.Key && o.Offset == 0 && o.Start <= m.Start {
				base = o.Start
			}
		}
		mod.image = openLoaded(s.window, s.code, base)
	}
	if mod.image != nil && mod.image.machine != s.machine.id {
		mod.image = nil
	}
	if mod.image != nil {
		mod.BuildID = mod.image.buildID
	}
	return mod
}

// Unwind unwinds a thread from its general registers, in the form of the
// pr_reg of a NT_PRSTATUS note. stack is what was copied for it, which is asked
// before the memory of the process. It returns at most limit frames.
// Functions have no names yet: see Name.
func (s *Space) Unwind(regs []byte, stack []Piece, limit int) Stack {
	var out Stack
	r, ok := s.machine.registers(regs)
	if !ok {
		out.End = NoRule
		return out
	}
	w := walk{Space: s, r: r, stack: stack}
	for {
		if len(out.Frames) == limit || !s.window.spend(frameCost) {
			out.End = Limit
			return out
		}
		f := Frame{PC: w.r.pc, Called: w.called, SP: w.r.v[s.machine.sp]}
		f.Module, f.Offset = s.locate(f.PC - w.back())
		if f.Module != nil && f.Module.image != nil {
			f.Offset += w.back()
		}
		out.Frames = append(out.Frames, f)
		out.End = w.step(f)
		if w.trampoline {
			// Nobody called it: its address is that of its first instruction.
			out.Frames[len(out.Frames)-1].Called = false
		}
		if out.End != "" {
			return out
		}
	}
}

// At gives the frame of a thread of which only its place is known.
func (s *Space) At(pc, sp uint64) Stack {
	f := Frame{PC: pc, SP: sp}
	f.Module, f.Offset = s.locate(pc)
	return Stack{Frames: []Frame{f}, End: NoProcess}
}
