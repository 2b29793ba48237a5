package unwind

const (
	maxOperands   = 64
	maxOperations = 1024 // a branch may go back
)

// expression is a DWARF expression being evaluated (DWARF 5, 2.5).
type expression struct {
	*walk
	stack []uint64
	code  []byte
	c     cursor
	bad   bool
}

// eval evaluates an expression, with the CFA on its stack if there is one.
func (w *walk) eval(code []byte, cfa *uint64) (uint64, bool) {
	e := expression{walk: w, code: code, c: cursor{b: code}}
	if cfa != nil {
		e.push(*cfa)
	}
	for steps := 0; len(e.c.b) > 0; steps++ {
		e.operation(e.c.byte())
		if e.bad || e.c.bad || steps == maxOperations || !w.window.spend(1) {
			return 0, false
		}
	}
	v := e.pop()
	return v, !e.bad
}

func (e *expression) push(v uint64) {
	if len(e.stack) == maxOperands {
		e.bad = true
		return
	}
	e.stack = append(e.stack, v)
}

func (e *expression) pop() (v uint64) {
	n := len(e.stack) - 1
	if n < 0 {
		e.bad = true
		return 0
	}
	v, e.stack = e.stack[n], e.stack[:n]
	return v
}

// pick copies the operand at a depth to the top.
func (e *expression) pick(depth int) {
	if depth >= len(e.stack) {
		e.bad = true
		return
	}
	e.push(e.stack[len(e.stack)-1-depth])
}

func (e *expression) register(n, off uint64) {
	if n >= columns {
		e.bad = true
		return
	}
	e.push(e.r.v[n] + off)
}

func (e *expression) deref(size byte) {
	v, ok := e.word(e.pop())
	if !ok || size > 8 {
		e.bad = true
		return
	}
	if size < 8 {
		v &= 1<<(8*size) - 1
	}
	e.push(v)
}

// operation runs one; the table is that of DW_OP.
func (e *expression) operation(op byte) {
	c := &e.c
	switch {
	case op >= 0x30 && op <= 0x4f: // DW_OP_lit
		e.push(uint64(op - 0x30))
	case op >= 0x50 && op <= 0x6f: // DW_OP_reg: as libgcc takes it
		e.register(uint64(op-0x50), 0)
	case op >= 0x70 && op <= 0x8f: // DW_OP_breg
		e.register(uint64(op-0x70), uint64(c.sleb()))
	case op >= 0x1a && op <= 0x2e && op != 0x1f && op != 0x20 && op != 0x23 && op != 0x28:
		e.binary(op)
	default:
		e.other(op, c)
	}
}

func (e *expression) other(op byte, c *cursor) {
	switch op {
	case 0x03, 0x0e, 0x0f: // DW_OP_addr, const8u, const8s
		e.push(c.fixed(8))
	case 0x06: // DW_OP_deref
		e.deref(8)
	case 0x94: // DW_OP_deref_size
		e.deref(c.byte())
	case 0x08, 0x0a, 0x0c: // DW_OP_const1u, 2u, 4u
		e.push(c.fixed(1 << ((op - 0x08) / 2)))
	case 0x09, 0x0b, 0x0d: // DW_OP_const1s, 2s, 4s
		e.push(c.signed(1 << ((op - 0x09) / 2)))
	case 0x10: // DW_OP_constu
		e.push(c.uleb())
	case 0x11: // DW_OP_consts
		e.push(uint64(c.sleb()))
	case 0x12: // DW_OP_dup
		e.pick(0)
	case 0x13: // DW_OP_drop
		e.pop()
	case 0x14: // DW_OP_over
		e.pick(1)
	case 0x15: // DW_OP_pick
		e.pick(int(c.byte()))
	case 0x16: // DW_OP_swap
		a, b := e.pop(), e.pop()
		e.push(a)
		e.push(b)
	case 0x17: // DW_OP_rot
		x, y, z := e.pop(), e.pop(), e.pop()
		e.push(x)
		e.push(z)
		e.push(y)
	case 0x1f: // DW_OP_neg
		e.push(-e.pop())
	case 0x20: // DW_OP_not
		e.push(^e.pop())
	case 0x23: // DW_OP_plus_uconst
		e.push(e.pop() + c.uleb())
	case 0x28: // DW_OP_bra
		if to := c.signed(2); e.pop() != 0 {
			e.jump(to)
		}
	case 0x2f: // DW_OP_skip
		e.jump(c.signed(2))
	case 0x92: // DW_OP_bregx
		n := c.uleb()
		e.register(n, uint64(c.sleb()))
	case 0x96: // DW_OP_nop
	default:
		e.bad = true
	}
}

// jump goes on at a distance from the next operation.
func (e *expression) jump(distance uint64) {
	to := uint64(len(e.code)-len(e.c.b)) + distance
	if to > uint64(len(e.code)) {
		e.bad = true
		return
	}
	e.c.b = e.code[to:]
}

func (e *expression) binary(op byte) {
	b, a := e.pop(), e.pop()
	x, y := int64(a), int64(b)
	truth := func(t bool) uint64 {
		if t {
			return 1
		}
		return 0
	}
	var v uint64
	switch op {
	case 0x1a: // DW_OP_and
		v = a & b
	case 0x1b, 0x1d: // DW_OP_div, mod
		switch {
		case b == 0:
			e.bad = true
		case op == 0x1b:
			v = uint64(x / y)
		default:
			v = a % b
		}
	case 0x1c: // DW_OP_minus
		v = a - b
	case 0x1e: // DW_OP_mul
		v = a * b
	case 0x21: // DW_OP_or
		v = a | b
	case 0x22: // DW_OP_plus
		v = a + b
	case 0x24: // DW_OP_shl
		v = a << b
	case 0x25: // DW_OP_shr
		v = a >> b
	case 0x26: // DW_OP_shra
		v = uint64(x >> min(b, 63))
	case 0x27: // DW_OP_xor
		v = a ^ b
	case 0x29: // DW_OP_eq
		v = truth(a == b)
	case 0x2a: // DW_OP_ge
		v = truth(x >= y)
	case 0x2b: // DW_OP_gt
		v = truth(x > y)
	case 0x2c: // DW_OP_le
		v = truth(x <= y)
	case 0x2d: // DW_OP_lt
		v = truth(x < y)
	case 0x2e: // DW_OP_ne
		v = truth(a != b)
	}
	e.push(v)
}
