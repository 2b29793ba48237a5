package unwind

// How a register of the caller is found (DWARF 5, 6.4.1).
const (
	ruleSame = iota
	ruleUndefined
	ruleOffset        // in memory at CFA+off
	ruleValOffset     // CFA+off
	ruleRegister      // in reg; for the CFA plus off
	ruleExpression    // in memory where expr says; for the CFA its value
	ruleValExpression // what expr says
)

// rule is for one register.
type rule struct {
	kind   uint8
	column uint8
	reg    uint8
	off    int64
	expr   []byte
}

// plan is how to leave a function at one place.
type plan struct {
	cfa    rule
	rules  []rule // other than ruleSame
	ra     uint8  // column of the return address
	raRule uint8
	signal bool // the caller was interrupted and did not call

	trampoline bool // by the form of its code; nothing else is known
	end        End  // instead of all this
}

// maxStates bounds what DW_CFA_remember_state piles up.
const maxStates = 64

// row is a plan in the making.
type row struct {
	cfa  rule
	regs [columns]rule
}

// program runs call frame instructions.
type program struct {
	*fde
	row
	window  *window
	initial row // behind the instructions of the CIE
	stack   []row
	loc     uint64
	target  uint64 // stop before the row of a later address
}

// plan runs the instructions up to addr; nil if they make no sense.
func (f *fde) plan(addr uint64, m *machine, w *window) *plan {
	p := program{fde: f, window: w, loc: f.low, target: addr}
	c := f.cie.instructions
	if !p.run(&c, m) {
		return nil
	}
	p.initial = p.row
	p.loc = f.low
	c = f.instructions
	if !p.run(&c, m) {
		return nil
	}
	out := &plan{cfa: p.cfa, ra: uint8(f.ra), raRule: p.regs[f.ra].kind, signal: f.signal}
	for i, r := range p.regs {
		if r.kind != ruleSame {
			r.column = uint8(i)
			out.rules = append(out.rules, r)
		}
	}
	return out
}

// set notes the rule of a register; those beyond the general ones are not kept.
func (p *program) set(column uint64, r rule) {
	if column < columns {
		p.regs[column] = r
	}
}

// advance goes on by n units of code and says whether that passes the target.
func (p *program) advance(n uint64) (passed bool) {
	p.loc += n * p.codeAlign
	return p.loc > p.target
}

// run runs instructions to their end, or to the target; false if one is not
// understood.
func (p *program) run(c *cursor, m *machine) bool {
	for len(c.b) > 0 && !c.bad {
		if !p.window.spend(1) {
			return false
		}
		op := c.byte()
		low := uint64(op & 0x3f)
		switch op & 0xc0 {
		case 0x40: // DW_CFA_advance_loc
			if p.advance(low) {
				return true
			}
		case 0x80: // DW_CFA_offset
			p.set(low, rule{kind: ruleOffset, off: int64(c.uleb()) * p.dataAlign})
		case 0xc0: // DW_CFA_restore
			p.restore(low)
		default:
			passed, ok := p.extended(op, c, m)
			if !ok {
				return false
			}
			if passed {
				return true
			}
		}
	}
	return !c.bad
}

func (p *program) restore(column uint64) {
	if column < columns {
		p.regs[column] = p.initial.regs[column]
	}
}

// extended runs an instruction whose number takes a whole byte.
func (p *program) extended(op byte, c *cursor, m *machine) (passed, ok bool) {
	switch op {
	case 0x00: // DW_CFA_nop
	case 0x01: // DW_CFA_set_loc
		p.loc = c.pointer(p.encoding, 0)
		return p.loc > p.target, true
	case 0x02, 0x03, 0x04: // DW_CFA_advance_loc1, 2, 4
		return p.advance(c.fixed(1 << (op - 2))), true
	case 0x05: // DW_CFA_offset_extended
		p.set(c.uleb(), rule{kind: ruleOffset, off: int64(c.uleb()) * p.dataAlign})
	case 0x06: // DW_CFA_restore_extended
		p.restore(c.uleb())
	case 0x07: // DW_CFA_undefined
		p.set(c.uleb(), rule{kind: ruleUndefined})
	case 0x08: // DW_CFA_same_value
		p.set(c.uleb(), rule{})
	case 0x09: // DW_CFA_register
		column, reg := c.uleb(), c.uleb()
		if reg >= columns {
			return false, false
		}
		p.set(column, rule{kind: ruleRegister, reg: uint8(reg)})
	case 0x0a: // DW_CFA_remember_state
		if len(p.stack) == maxStates || !p.window.spend(columns) {
			return false, false
		}
		p.stack = append(p.stack, p.row)
	case 0x0b: // DW_CFA_restore_state
		if len(p.stack) == 0 || !p.window.spend(columns) {
			return false, false
		}
		p.row, p.stack = p.stack[len(p.stack)-1], p.stack[:len(p.stack)-1]
	case 0x10: // DW_CFA_expression
		p.set(c.uleb(), rule{kind: ruleExpression, expr: c.take(c.uleb())})
	case 0x11: // DW_CFA_offset_extended_sf
		p.set(c.uleb(), rule{kind: ruleOffset, off: c.sleb() * p.dataAlign})
	case 0x14: // DW_CFA_val_offset
		p.set(c.uleb(), rule{kind: ruleValOffset, off: int64(c.uleb()) * p.dataAlign})
	case 0x15: // DW_CFA_val_offset_sf
		p.set(c.uleb(), rule{kind: ruleValOffset, off: c.sleb() * p.dataAlign})
	case 0x16: // DW_CFA_val_expression
		p.set(c.uleb(), rule{kind: ruleValExpression, expr: c.take(c.uleb())})
	case 0x2d: // DW_CFA_AARCH64_negate_ra_state: addresses are masked anyway
		return false, m == arm64
	case 0x2e: // DW_CFA_GNU_args_size
		c.uleb()
	case 0x2f: // DW_CFA_GNU_negative_offset_extended
		p.set(c.uleb(), rule{kind: ruleOffset, off: -int64(c.uleb()) * p.dataAlign})
	default:
		return false, p.define(op, c)
	}
	return false, true
}

// define runs an instruction about the CFA.
func (p *program) define(op byte, c *cursor) bool {
	cfa := rule{kind: ruleRegister, reg: p.cfa.reg, off: p.cfa.off}
	reg := uint64(cfa.reg)
	switch op {
	case 0x0c: // DW_CFA_def_cfa
		reg, cfa.off = c.uleb(), int64(c.uleb())
	case 0x0d: // DW_CFA_def_cfa_register
		reg = c.uleb()
	case 0x0e: // DW_CFA_def_cfa_offset
		cfa.off = int64(c.uleb())
	case 0x0f: // DW_CFA_def_cfa_expression
		cfa = rule{kind: ruleExpression, expr: c.take(c.uleb())}
	case 0x12: // DW_CFA_def_cfa_sf
		reg, cfa.off = c.uleb(), c.sleb()*p.dataAlign
	case 0x13: // DW_CFA_def_cfa_offset_sf
		cfa.off = c.sleb() * p.dataAlign
	default:
		return false
	}
	if reg >= columns {
		return false
	}
	cfa.reg = uint8(reg)
	p.cfa = cfa
	return true
}
