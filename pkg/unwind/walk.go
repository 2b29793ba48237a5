package unwind

// registers are those of one frame, by their DWARF numbers.
type registers struct {
	v  [columns]uint64
	pc uint64
}

const columns = 34 // of both machines; vector registers are not followed

// walk is one stack being unwound.
type walk struct {
	*Space
	r      registers
	called bool // pc is a return address

	trampoline bool // the last step left the frame of a signal handler
	stack      []Piece
}

// back is what leads from a return address into the call.
func (w *walk) back() uint64 {
	if w.called {
		return 1
	}
	return 0
}

// word reads 8 bytes of memory.
func (w *walk) word(addr uint64) (uint64, bool) {
	for _, p := range w.stack {
		if at := addr - p.Base; at < uint64(len(p.Bytes)) && uint64(len(p.Bytes))-at >= 8 {
			return le.Uint64(p.Bytes[at:]), true
		}
	}
	if w.memory == nil || addr>>63 != 0 {
		return 0, false
	}
	var b [8]byte
	if n, _ := w.memory.ReadAt(b[:], int64(addr)); n < len(b) {
		return 0, false
	}
	return le.Uint64(b[:]), true
}

// step goes to the caller. It returns why it cannot, or "".
func (w *walk) step(f Frame) End {
	if len(w.stack) == 0 && w.memory == nil {
		return NoMemory
	}
	innermost := !w.called
	p := w.plan(f)
	w.trampoline = p != nil && (p.signal || p.trampoline)
	switch {
	case p == nil:
		return w.fallback(f, innermost)
	case p.trampoline:
		if !w.sigreturn() {
			return NoMemory
		}
		return w.arrived(false)
	case p.end == Switch && innermost:
		// Perhaps it has not switched yet.
		if w.apply(p) != "" || w.lost(Frame{PC: w.r.pc & w.machine.addresses}) {
			return Switch
		}
		return w.arrived(true)
	case p.end != "":
		return p.end
	}
	end := w.apply(p)
	if end != "" {
		return end
	}
	return w.arrived(!p.signal)
}

// arrived judges the registers of the caller.
func (w *walk) arrived(called bool) End {
	w.r.pc &= w.machine.addresses
	w.called = called
	if w.r.pc == 0 {
		return Complete
	}
	return ""
}

// plan returns how to leave the frame, nil if nothing is known of its code.
func (w *walk) plan(f Frame) *plan {
	if f.Module == nil || f.Module.image == nil {
		return nil
	}
	key := f.PC
	if w.called {
		key |= 1 << 63
	}
	p, known := w.plans[key]
	if !known {
		if len(w.plans) >= maxPlans {
			clear(w.plans)
		}
		im := f.Module.image
		p = im.plan(f.Offset-w.back(), w.machine)
		if code := im.at(f.Offset, uint64(len(w.machine.trampoline))); (p == nil || !p.signal) && string(code.b) == string(w.machine.trampoline) {
			p = &plan{trampoline: true}
		}
		w.plans[key] = p
	}
	return p
}

// apply computes the registers of the caller.
func (w *walk) apply(p *plan) End {
	if p.raRule == ruleUndefined {
		return Complete
	}
	var cfa uint64
	switch p.cfa.kind {
	case ruleRegister:
		cfa = w.r.v[p.cfa.reg] + uint64(p.cfa.off)
	case ruleExpression:
		var ok bool
		if cfa, ok = w.eval(p.cfa.expr, nil); !ok {
			return NoMemory
		}
	default:
		return NoRule
	}
	next := w.r
	next.v[w.machine.sp] = cfa
	for _, rule := range p.rules {
		v, ok := w.value(rule, cfa)
		if !ok {
			if rule.column == p.ra {
				return NoMemory
			}
			v = 0
		}
		next.v[rule.column] = v
	}
	if p.raRule == ruleSame && (w.called || w.machine.link < 0) {
		return NoRule // a return address that was never saved is there for the innermost only
	}
	next.pc = next.v[p.ra]
	if next.pc == w.r.pc && cfa == w.r.v[w.machine.sp] {
		return NoRule // or it would go on for ever
	}
	w.r = next
	return ""
}

// value computes one register.
func (w *walk) value(r rule, cfa uint64) (uint64, bool) {
	switch r.kind {
	case ruleOffset:
		return w.word(cfa + uint64(r.off))
	case ruleValOffset:
		return cfa + uint64(r.off), true
	case ruleRegister:
		return w.r.v[r.reg], true
	case ruleExpression:
		at, ok := w.eval(r.expr, &cfa)
		if !ok {
			return 0, false
		}
		return w.word(at)
	case ruleValExpression:
		return w.eval(r.expr, &cfa)
	}
	return w.r.v[r.column], true
}

// fallback follows the frame pointer. Where even the code is unknown, the
// innermost frame is taken for a jump to nowhere that has pushed nothing.
func (w *walk) fallback(f Frame, innermost bool) End {
	m := w.machine
	sp, fp := w.r.v[m.sp], w.r.v[m.fp]
	next := w.r
	if innermost && w.lost(f) {
		if m.link >= 0 {
			next.pc = w.r.v[m.link]
		} else {
			ra, ok := w.word(sp)
			if !ok {
				return NoMemory
			}
			next.pc, next.v[m.sp] = ra, sp+8
		}
		if w.lost(Frame{PC: next.pc}) {
			return NoRule
		}
		w.r = next
		return w.arrived(true)
	}
	if fp < sp || fp%8 != 0 || fp+16 < fp {
		return NoRule
	}
	saved, ok := w.word(fp)
	ra, ok2 := w.word(fp + 8)
	if !ok || !ok2 {
		return NoMemory
	}
	if ra &= m.addresses; ra != 0 && w.lost(Frame{PC: ra}) {
		return NoRule
	}
	next.v[m.sp], next.v[m.fp], next.pc = fp+16, saved, ra
	if m.link >= 0 {
		next.v[m.link] = ra
	}
	w.r = next
	return w.arrived(true)
}

// lost says that there is no code where the frame should be.
func (w *walk) lost(f Frame) bool {
	m := w.find(f.PC)
	return m == nil || !m.Executable
}
