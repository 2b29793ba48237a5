package spool

import (
	"slices"
	"sort"
	"strings"
	"time"
)

// Entry is one capture in a directory: files that share a base name.
type Entry struct {
	Base    string // PROGRAM_PID_TIME
	Program string
	PID     int
	Time    time.Time
	UID     int   // who owns its largest file: the user whose process it was
	Disk    int64 // bytes that its files take
	Size    int64 // of the core as it reads, holes included; 0 without one
	Files   []string
}

// Core is the name of the core, compressed or not; "" if there is none.
func (e *Entry) Core() string {
	for _, f := range e.Files {
		if strings.HasSuffix(f, ".core") || strings.HasSuffix(f, ".core.gz") {
			return f
		}
	}
	return ""
}

// Limits bound a directory of captures. Zero is no limit.
type Limits struct {
	Keep      int   // captures of one program of one user
	KeepBytes int64 // on disk, in all
	KeepFree  int64 // bytes that the file system has to have left for others
}

// Excess says which entries have to go for the rest to be within l, in the order
// in which to remove them; free is what the file system has left now, and it
// grows by what is removed.
//
// Of one program of one user the oldest go first. Where bytes are wanted, those
// who take the most pay: the user with the most bytes, and of that user the
// program with the most captures. So a program that crashes in a loop pushes out
// its own captures and not the only one of another, and a user who crashes
// programs by the hundred pushes out that user's. The newest capture of all is
// never in excess: it is the one that somebody is about to look for. And where
// something else has filled the disk, so that it would not help if all went, none
// goes for that: else whoever can fill it could have all evidence removed.
func Excess(entries []Entry, l Limits, free int64) []Entry {
	left := slices.Clone(entries)
	sort.SliceStable(left, func(i, j int) bool { return left[i].Time.Before(left[j].Time) })
	var gone []Entry
	remove := func(i int) {
		free += left[i].Disk
		gone = append(gone, left[i])
		left = slices.Delete(left, i, i+1)
	}
	for l.Keep > 0 {
		i := crowded(left, l.Keep)
		if i < 0 {
			break
		}
		remove(i)
	}
	for len(left) > 1 && (l.KeepBytes > 0 && total(left) > l.KeepBytes || short(left, free, l.KeepFree)) {
		remove(payer(left))
	}
	return gone
}

// short says whether the file system has less left than it should, and the
// captures can make good for it.
func short(left []Entry, free, keepFree int64) bool {
	return free < keepFree && free+total(left)-left[len(left)-1].Disk >= keepFree
}

func total(entries []Entry) (n int64) {
	for _, e := range entries {
		n += e.Disk
	}
	return n
}

// share is a program of a user.
type share struct {
	uid     int
	program string
}

func (e *Entry) share() share { return share{e.UID, e.Program} }

// crowded gives the oldest entry of a share that has more than keep, or -1.
func crowded(left []Entry, keep int) int {
	count := map[share]int{}
	for i := range left {
		count[left[i].share()]++
	}
	return slices.IndexFunc(left, func(e Entry) bool { return count[e.share()] > keep })
}

// payer chooses who goes for want of bytes; left is in the order of time, and has
// at least two.
func payer(left []Entry) int {
	bytes, count := map[int]int64{}, map[share]int{}
	for i := range left {
		bytes[left[i].UID] += left[i].Disk
		count[left[i].share()]++
	}
	best := -1
	for i := range left[:len(left)-1] { // not the newest
		if best < 0 {
			best = i
			continue
		}
		a, b := left[i], left[best]
		switch {
		case a.UID != b.UID:
			if bytes[a.UID] > bytes[b.UID] {
				best = i
			}
		case count[a.share()] > count[b.share()]:
			best = i
		}
	}
	return best
}
