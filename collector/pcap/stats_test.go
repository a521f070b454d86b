package pcap

import (
	"reflect"
	"testing"
)

// TestStatsAdd adds each field: one that is forgotten would be a loss untold.
func TestStatsAdd(t *testing.T) {
	fill := func(n uint64) *Stats {
		s := newStats()
		v := reflect.ValueOf(s).Elem()
		for i := range v.NumField() {
			switch f := v.Field(i); f.Kind() {
			case reflect.Uint64:
				f.SetUint(n)
			case reflect.Bool:
				f.SetBool(n > 1)
			case reflect.Map:
				f.Set(reflect.ValueOf(map[string]uint64{"a": n}))
			default:
				t.Fatalf("field %s is of a kind that Add does not know", v.Type().Field(i).Name)
			}
		}
		return s
	}
	s, two := fill(1), fill(2)
	before := s.Skipped
	s.Add(two)
	if want := fill(3); !reflect.DeepEqual(s, want) {
		t.Errorf("got %+v, want %+v", s, want)
	}
	if before["a"] != 1 || two.Skipped["a"] != 2 {
		t.Error("Add changed a map that others may hold")
	}
	s = &Stats{}
	s.Add(two)
	if want := fill(2); !reflect.DeepEqual(s, want) {
		t.Errorf("got %+v, want %+v", s, want)
	}
}
