package watch

// table finds the key of an id: a hash table of keys alone, for the ids are in
// the entries. A map would need five times the memory. The zero table is ready.
type table struct {
	slots []int32 // key+1; 0: none. A power of two, at most three quarters full
	n     int
}

// slot gives where id is, or the free slot where it belongs; the table is not
// full.
func (x *table) slot(entries []*entry, id string) int {
	last := len(x.slots) - 1
	at := int(bootMark(id)>>7) & last
	for x.slots[at] != 0 && entries[x.slots[at]-1].id != id {
		at = (at + 1) & last
	}
	return at
}

func (x *table) get(entries []*entry, id string) (key int32, ok bool) {
	if x.n == 0 {
		return 0, false
	}
	key = x.slots[x.slot(entries, id)] - 1
	return max(key, 0), key >= 0
}

// set takes in the key of an entry that is not in the table.
func (x *table) set(entries []*entry, key int32) {
	if x.n++; x.n > len(x.slots)/4*3 {
		old := x.slots
		x.slots = make([]int32, max(16, 2*len(old)))
		for _, s := range old {
			if s != 0 {
				x.slots[x.slot(entries, entries[s-1].id)] = s
			}
		}
	}
	x.slots[x.slot(entries, entries[key].id)] = key + 1
}

// drop removes an id that is in the table, while its entry still has it.
func (x *table) drop(entries []*entry, id string) {
	last := len(x.slots) - 1
	hole := x.slot(entries, id)
	x.slots[hole] = 0
	x.n--
	// Who had to go on beyond the hole comes nearer.
	for at := (hole + 1) & last; x.slots[at] != 0; at = (at + 1) & last {
		s := x.slots[at]
		x.slots[at] = 0
		x.slots[x.slot(entries, entries[s-1].id)] = s
	}
}
