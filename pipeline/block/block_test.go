package block

import (
	"testing"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/table"
)

func TestColumnsAreThoseOfTheTable(t *testing.T) {
	if len(callColumns) != len(table.CallColumns) {
		t.Fatalf("%d columns are filled, the table has %d", len(callColumns), len(table.CallColumns))
	}
	for i, c := range callColumns {
		if c.name != table.CallColumns[i] {
			t.Errorf("column %d is %s, want %s", i, c.name, table.CallColumns[i])
		}
	}
}

func TestPresentedHash(t *testing.T) {
	same := presentedHash([]string{"a", "b"}, []string{"g"})
	if presentedHash([]string{"b", "a", "b"}, []string{"g"}) != same {
		t.Error("the order or repetition of scopes changes the hash")
	}
	for name, other := range map[string]schema.PresentedHash{
		"scope as group": presentedHash([]string{"a"}, []string{"b", "g"}),
		"joined names":   presentedHash([]string{"ab"}, []string{"g"}),
		"no groups":      presentedHash([]string{"a", "b"}, nil),
	} {
		if other == same {
			t.Errorf("%s has the same hash", name)
		}
	}
	if presentedHash(nil, nil) == presentedHash([]string{}, nil) {
		t.Error("no scopes and an empty list of scopes have the same hash")
	}
}
