package corefile

import (
	"slices"
	"time"

	"vigil/pkg/fmt"
)

// Types of notes that are the same on every machine. Those of the registers
// beyond NT_PRSTATUS belong to the machine and to whoever reads them.
const (
	NTPrstatus = 1
	NTFpregset = 2
	NTPrpsinfo = 3
	NTAuxv     = 6
	NTSiginfo  = 0x53494749
	NTFile     = 0x46494c45
)

// Note is one record of a PT_NOTE segment.
type Note struct {
	Name string // "CORE", "LINUX"
	Type uint32
	Desc []byte
}

const noteHeader = 12

func pad4(n uint64) uint64 { return (n + 3) &^ 3 }

// AppendNote appends a note.
func AppendNote(dst []byte, n Note) []byte {
	dst = le.AppendUint32(dst, uint32(len(n.Name)+1))
	dst = le.AppendUint32(dst, uint32(len(n.Desc)))
	dst = le.AppendUint32(dst, n.Type)
	dst = append(dst, n.Name...)
	dst = append(dst, 0)
	dst = appendPadding(dst, len(n.Name)+1)
	dst = append(dst, n.Desc...)
	return appendPadding(dst, len(n.Desc))
}

func appendPadding(dst []byte, n int) []byte { return append(dst, make([]byte, -n&3)...) }

// Prstatus is struct elf_prstatus: one thread.
type Prstatus struct {
	Signal  int    // the one being delivered: si_signo and pr_cursig; 0 for none
	Pending uint64 // for this thread
	Held    uint64 // blocked
	PID     int    // of the thread
	PPID    int
	PGRP    int
	SID     int
	UTime   time.Duration
	STime   time.Duration
	CUTime  time.Duration
	CSTime  time.Duration
	Regs    []byte // elf_gregset_t of the machine
	FPValid bool   // a NT_FPREGSET note follows
}

// Offsets in elf_prstatus.
const (
	prCursig  = 12
	prSigpend = 16
	prIDs     = 32
	prTimes   = 48
	prReg     = 112
)

// AppendPrstatus appends the content of a NT_PRSTATUS note.
func AppendPrstatus(dst []byte, p Prstatus) []byte {
	dst = le.AppendUint32(dst, uint32(p.Signal))
	dst = append(dst, make([]byte, 8)...) // si_code, si_errno
	dst = le.AppendUint16(dst, uint16(p.Signal))
	dst = append(dst, 0, 0)
	dst = le.AppendUint64(dst, p.Pending)
	dst = le.AppendUint64(dst, p.Held)
	for _, id := range []int{p.PID, p.PPID, p.PGRP, p.SID} {
		dst = le.AppendUint32(dst, uint32(id))
	}
	for _, t := range []time.Duration{p.UTime, p.STime, p.CUTime, p.CSTime} {
		dst = le.AppendUint64(dst, uint64(t/time.Second))
		dst = le.AppendUint64(dst, uint64(t%time.Second/time.Microsecond))
	}
	dst = append(dst, p.Regs...)
	valid := uint64(0)
	if p.FPValid {
		valid = 1
	}
	return le.AppendUint64(dst, valid) // an int and its padding
}

// ParsePrstatus is the reverse of AppendPrstatus. Regs is a part of desc.
func ParsePrstatus(desc []byte) (Prstatus, error) {
	if len(desc) < prReg+8 || len(desc)%8 != 0 {
		return Prstatus{}, fmt.Errorf("core: prstatus: %d bytes", len(desc))
	}
	id := func(i int) int { return int(int32(le.Uint32(desc[prIDs+4*i:]))) }
	tv := func(i int) time.Duration {
		b := desc[prTimes+16*i:]
		return time.Duration(le.Uint64(b))*time.Second + time.Duration(le.Uint64(b[8:]))*time.Microsecond
	}
	last := len(desc) - 8
	return Prstatus{
		Signal:  int(int16(le.Uint16(desc[prCursig:]))),
		Pending: le.Uint64(desc[prSigpend:]),
		Held:    le.Uint64(desc[prSigpend+8:]),
		PID:     id(0),
		PPID:    id(1),
		PGRP:    id(2),
		SID:     id(3),
		UTime:   tv(0),
		STime:   tv(1),
		CUTime:  tv(2),
		CSTime:  tv(3),
		Regs:    desc[prReg:last],
		FPValid: le.Uint32(desc[last:]) != 0,
	}, nil
}

// Prpsinfo is struct elf_prpsinfo: the process.
type Prpsinfo struct {
	State byte // letter of proc(5)
	Nice  int
	Flags uint64 // PF_*
	UID   int
	GID   int
	PID   int
	PPID  int
	PGRP  int
	SID   int
	Name  string // pr_fname, cut to 15 bytes
	Args  string // pr_psargs, cut to 79 bytes
}

// states are the letters that pr_state counts (fill_psinfo in fs/binfmt_elf.c).
const states = "RSDTZW"

// AppendPrpsinfo appends the content of a NT_PRPSINFO note.
func AppendPrpsinfo(dst []byte, p Prpsinfo) []byte {
	number, letter, zombie := len(states), byte('.'), byte(0)
	for i := range len(states) {
		if states[i] == p.State {
			number, letter = i, p.State
		}
	}
	if letter == 'Z' {
		zombie = 1
	}
	dst = append(dst, byte(number), letter, zombie, byte(int8(p.Nice)), 0, 0, 0, 0)
	dst = le.AppendUint64(dst, p.Flags)
	for _, id := range []int{p.UID, p.GID, p.PID, p.PPID, p.PGRP, p.SID} {
		dst = le.AppendUint32(dst, uint32(id))
	}
	dst = appendText(dst, p.Name, 16)
	return appendText(dst, p.Args, 80)
}

// appendText appends s cut and filled to size bytes, the last of them zero.
func appendText(dst []byte, s string, size int) []byte {
	n := min(len(s), size-1)
	dst = append(dst, s[:n]...)
	return append(dst, make([]byte, size-n)...)
}

// FileMapping is one entry of a NT_FILE note.
type FileMapping struct {
	Start, End uint64
	Offset     uint64 // bytes, a multiple of the page size
	Name       string // no NUL
}

// AppendFile appends the content of a NT_FILE note.
func AppendFile(dst []byte, pageSize uint64, files []FileMapping) []byte {
	dst = slices.Grow(dst, 16+24*len(files))
	dst = le.AppendUint64(dst, uint64(len(files)))
	dst = le.AppendUint64(dst, pageSize)
	for _, f := range files {
		dst = le.AppendUint64(dst, f.Start)
		dst = le.AppendUint64(dst, f.End)
		dst = le.AppendUint64(dst, f.Offset/pageSize)
	}
	for _, f := range files {
		dst = append(dst, f.Name...)
		dst = append(dst, 0)
	}
	return dst
}
