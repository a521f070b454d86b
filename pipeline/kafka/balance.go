package kafka

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"sync"

	kafka "github.com/segmentio/kafka-go"
)

// balance gives out a topic's partitions so that each member keeps what it had, as
// far as all have the same number then, give or take one. A member says what it
// had in what it tells the leader when it joins; the leader decides.
//
// Kept partitions still stop for a moment, as the protocol here stops all lanes at
// each change, but the next owner is the last one: its plan, caches and
// connections are at hand.
type balance struct {
	mu   sync.Mutex
	held []int
}

// ProtocolName is what members agree on.
func (*balance) ProtocolName() string { return "scopedrift-sticky" }

// remember keeps what the member was given, for the next time.
func (b *balance) remember(partitions []int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held = slices.Clone(partitions)
}

// UserData is what the member had: a version byte, then the numbers.
func (b *balance) UserData() ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	data := []byte{1}
	for _, p := range b.held {
		data = binary.AppendUvarint(data, uint64(p))
	}
	return data, nil
}

func heldBy(data []byte) []int {
	if len(data) == 0 || data[0] != 1 {
		return nil
	}
	var held []int
	for data = data[1:]; len(data) > 0; {
		p, n := binary.Uvarint(data)
		if n <= 0 {
			return held
		}
		held, data = append(held, int(p)), data[n:]
	}
	return held
}

// AssignGroups decides. Whoever is asked decides the same.
func (*balance) AssignGroups(members []kafka.GroupMember, partitions []kafka.Partition) kafka.GroupMemberAssignments {
	assignments := kafka.GroupMemberAssignments{}
	byTopic := map[string][]int{}
	for _, p := range partitions {
		byTopic[p.Topic] = append(byTopic[p.Topic], p.ID)
	}
	for _, m := range members {
		assignments[m.ID] = map[string][]int{}
	}
	for _, topic := range slices.Sorted(maps.Keys(byTopic)) {
		var readers []kafka.GroupMember
		for _, m := range members {
			if slices.Contains(m.Topics, topic) {
				readers = append(readers, m)
			}
		}
		slices.SortFunc(readers, func(a, b kafka.GroupMember) int { return cmp.Compare(a.ID, b.ID) })
		for id, given := range share(readers, byTopic[topic]) {
			assignments[id][topic] = given
		}
	}
	return assignments
}

// share gives one topic's partitions to members, which are sorted.
func share(members []kafka.GroupMember, partitions []int) map[string][]int {
	if len(members) == 0 {
		return nil
	}
	free := map[int]bool{}
	for _, p := range partitions {
		free[p] = true
	}
	least, more := len(partitions)/len(members), len(partitions)%len(members)
	// Those that had most may have one more.
	order := slices.Clone(members)
	slices.SortStableFunc(order, func(a, b kafka.GroupMember) int {
		return cmp.Compare(len(heldBy(b.UserData)), len(heldBy(a.UserData)))
	})
	given, room := map[string][]int{}, map[string]int{}
	for i, m := range order {
		room[m.ID] = least
		if i < more {
			room[m.ID]++
		}
		for _, p := range heldBy(m.UserData) {
			if free[p] && len(given[m.ID]) < room[m.ID] {
				given[m.ID] = append(given[m.ID], p)
				free[p] = false
			}
		}
	}
	left := slices.Sorted(maps.Keys(free))
	left = slices.DeleteFunc(left, func(p int) bool { return !free[p] })
	for _, m := range order {
		n := room[m.ID] - len(given[m.ID])
		given[m.ID] = append(given[m.ID], left[:n]...)
		left = left[n:]
		slices.Sort(given[m.ID])
	}
	return given
}
