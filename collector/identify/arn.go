package identify

import "bytes"

// ARN is an Amazon resource name,
// arn:partition:service:region:account:resource.
type ARN struct {
	Partition, Service, Region, Account, Resource []byte
}

// ParseARN reads an ARN. The parts alias b. It reports false if b has not six
// parts or begins otherwise.
func ParseARN(b []byte) (ARN, bool) {
	var part [6][]byte
	rest := b
	for i := range 5 {
		var found bool
		if part[i], rest, found = bytes.Cut(rest, []byte(":")); !found {
			return ARN{}, false
		}
	}
	part[5] = rest
	if string(part[0]) != "arn" || len(part[1]) == 0 || len(part[2]) == 0 || len(part[5]) == 0 {
		return ARN{}, false
	}
	return ARN{part[1], part[2], part[3], part[4], part[5]}, true
}

// AssumedRole splits the ARN of an assumed-role session,
// arn:aws:sts::ACCOUNT:assumed-role/NAME/SESSION. It returns the ARN of the role
// in its form without a path, which is all that such a session tells, and the
// session as NAME/SESSION.
func (a ARN) AssumedRole() (role, session []byte, ok bool) {
	if string(a.Service) != "sts" {
		return nil, nil, false
	}
	session, ok = bytes.CutPrefix(a.Resource, []byte("assumed-role/"))
	if !ok {
		return nil, nil, false
	}
	name, _, _ := bytes.Cut(session, []byte("/"))
	if len(name) == 0 {
		return nil, nil, false
	}
	for _, part := range [][]byte{[]byte("arn:"), a.Partition, []byte(":iam::"), a.Account, []byte(":role/"), name} {
		role = append(role, part...)
	}
	return role, session, true
}
